"""GaussianMixture: scikit-learn's contract and numbers, weights, missing values, streams, conditionals, laws.

Tolerances. Two programs that iterate the same map from the same start differ by rounding, 1e-16 times the condition of
the map; fits here are well separated, so EM contracts and differences stay below 1e-12 per pass: EXACT leaves three
digits. Single precision rounds at 6e-8 per operation, sums of a few hundred rows at 1e-5: SINGLE.
"""

import copy
import pickle
import warnings

import array_api_strict
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data, parametrize_with_checks

from scoremix import GaussianMixture, load
from scoremix.arrays import to_numpy
from scoremix.estimators import gaussian_mixture

EXACT, SINGLE = 1e-9, 2e-4
KINDS = ("full", "tied", "diag", "spherical")
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def clusters(n=400, seed=0, k=3, d=2):
    """Clusters of different shapes whose centres are about 6 apart."""
    rng = np.random.default_rng(seed)
    label = rng.choice(k, size=n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    root = rng.standard_normal((k, d, d)) * 0.5 + np.eye(d)
    centers = 6 * np.stack([np.cos(np.arange(k) + j) * (1 + np.arange(k)) for j in range(d)], axis=1)
    return centers[label] + np.einsum("nij,nj->ni", root[label], rng.standard_normal((n, d)))


def start_of(X, kind, k=3, seed=1):
    """A start that owes nothing to either program: random rows, the covariance of all."""
    rng = np.random.default_rng(seed)
    cov = np.cov(X.T).reshape(X.shape[1], X.shape[1])
    precisions = {
        "full": np.tile(np.linalg.inv(cov), (k, 1, 1)),
        "tied": np.linalg.inv(cov),
        "diag": np.tile(1 / np.diag(cov), (k, 1)),
        "spherical": np.full(k, 1 / np.diag(cov).mean()),
    }[kind]
    means = X[rng.choice(len(X), k, replace=False)]
    return {"weights_init": np.full(k, 1 / k), "means_init": means, "precisions_init": precisions}


def fitted(X, kind="full", k=3, sample_weight=None, **params):
    """Fit without the warning of fits that are cut short on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(k, covariance_type=kind, **params).fit(X, sample_weight=sample_weight)


def assert_same(a, b, tolerance=EXACT):
    for name in ATTRIBUTES:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance, err_msg=name)


def contract_exceptions(estimator):
    """Starts are drawn, and draws from weighted rows are not those from repeated ones: another optimum may be found."""
    if estimator.n_components == 1:
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": "draws differ, as for scikit-learn's KMeans"}


def test_weights_are_repetition_where_the_start_is_given():
    """The check of scikit-learn on its own data, from a start that is not drawn."""

    class Started(GaussianMixture):
        def fit(self, X, y=None, sample_weight=None):
            d = X.shape[1]
            means = np.stack([np.full(d, -0.5), np.full(d, 0.5)])
            self.set_params(n_components=2, covariance_type="diag", means_init=means, precisions_init=np.ones((2, d)))
            return super().fit(X, sample_weight=sample_weight)

    check_sample_weight_equivalence_on_dense_data("GaussianMixture", Started())


@parametrize_with_checks(
    [
        GaussianMixture(),
        GaussianMixture(2, covariance_type="diag", acceleration="squarem"),
        GaussianMixture(covariance_type="tied", missing_values=np.nan),
        GaussianMixture(3, covariance_type="spherical", init_params="random_from_data", acceleration="anderson"),
    ],
    expected_failed_checks=contract_exceptions,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_scikit_learn_from_the_same_start(kind):
    X = clusters()
    params = {"n_components": 3, "covariance_type": kind, "tol": 1e-10, "max_iter": 2000, **start_of(X, kind)}
    ours, theirs = GaussianMixture(**params).fit(X), sklearn.mixture.GaussianMixture(**params).fit(X)
    assert_same(ours, theirs)
    assert ours.converged_
    assert abs(ours.n_iter_ - theirs.n_iter_) <= 1  # a change of 1e-10 nats is at the edge of what rounding leaves
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=EXACT)
    fresh = clusters(seed=5)
    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
        np.testing.assert_allclose(getattr(ours, method)(fresh), getattr(theirs, method)(fresh), rtol=1e-8, atol=EXACT)
    assert ours._n_parameters() == theirs._n_parameters()


@pytest.mark.parametrize("kind", KINDS)
def test_every_pass_is_that_of_scikit_learn(kind):
    X = clusters(seed=2)
    params = {"n_components": 3, "covariance_type": kind, "tol": 0.0, "max_iter": 7, **start_of(X, kind)}
    with pytest.warns(ConvergenceWarning, match="Best performing initialization did not converge"):
        ours = GaussianMixture(**params).fit(X)
    with pytest.warns(ConvergenceWarning):
        theirs = sklearn.mixture.GaussianMixture(**params).fit(X)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, atol=EXACT)
    assert ours.n_iter_ == theirs.n_iter_ == 7


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_single_and_close(kind):
    X = clusters()
    start = start_of(X, kind) | {"means_init": centers_of(X)}  # near the end: passes shrink errors
    single, double = (fitted(X.astype(dtype), kind, tol=0.0, max_iter=30, **start) for dtype in ("float32", "float64"))
    assert {getattr(single, name).dtype for name in ATTRIBUTES} == {np.dtype("float32")}
    assert single.predict_proba(X.astype("float32")).dtype == single.score_samples(X.astype("float32")).dtype
    assert single.score_samples(X.astype("float32")).dtype == np.float32
    # Squares of samples round at 6e-8 of the largest; in precisions that stands beside the smallest variance.
    rounding = 6e-8 * np.max(X**2) * np.max(double.precisions_)
    for name in ATTRIBUTES:
        ours, theirs = getattr(single, name), getattr(double, name)
        tolerance = max(SINGLE, 8 * rounding) if name.startswith("precisions") else SINGLE
        assert np.max(np.abs(ours - theirs)) < tolerance * np.max(np.abs(theirs)), name


@pytest.mark.parametrize("acceleration", ["squarem", "anderson"])
def test_acceleration_finds_the_same_optimum_in_fewer_passes(acceleration):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-1.2, 1, (400, 1)), rng.normal(1.2, 1, (400, 1))])  # overlapping: EM is slow
    params = {"tol": 1e-11, "max_iter": 20000, **start_of(X, "tied", k=2), "means_init": [[-0.5], [0.7]]}
    plain, fast = (fitted(X, "tied", 2, acceleration=name, **params) for name in (None, acceleration))
    assert fast.converged_
    assert plain.converged_
    # A third in most data sets; where plain EM takes few passes, those before the first guess count more.
    assert fast.n_iter_ < plain.n_iter_
    # EM stops where a pass gains 1e-11 nats: at a rate near 1 that leaves sqrt(1e-11 * 1000) of the way, at most.
    np.testing.assert_allclose(fast.means_, plain.means_, atol=1e-3)
    assert fast.lower_bound_ >= plain.lower_bound_ - 1e-8


@pytest.mark.scene  # whether one of five draws of rows leads to the best optimum is up to the data
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data"])
def test_finds_the_clusters_from_its_own_starts(kind, init_params):
    X = clusters(1500)
    model = fitted(X, kind, init_params=init_params, n_init=5, random_state=0)
    best = fitted(X, kind, **start_of(X, kind) | {"means_init": centers_of(X)})
    # The ends of two runs that stop at a change of 1e-3 nats.
    assert model.lower_bound_ > best.lower_bound_ - 0.01


def centers_of(X):
    """Means of the three clusters, by a fit of scikit-learn."""
    return sklearn.mixture.GaussianMixture(3, random_state=0, n_init=3).fit(X).means_


def test_random_starts_differ_and_work():
    X = clusters()
    first, second = (fitted(X, init_params="random", max_iter=0, random_state=seed) for seed in (0, 1))
    assert not np.allclose(first.means_, second.means_)
    assert fitted(X, init_params="random", random_state=0, max_iter=300).converged_


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_start_are_kept(kind):
    X = clusters()
    start = start_of(X, kind)
    for name, attribute in (("weights_init", "weights_"), ("means_init", "means_"), ("precisions_init", "precisions_")):
        model = fitted(X, kind, max_iter=0, random_state=0, **{name: start[name]})
        np.testing.assert_allclose(getattr(model, attribute), start[name], rtol=1e-10)
        assert model.n_iter_ == 0
        assert model.lower_bounds_ == []


class TestWeights:
    """The list of scikit-learn's pull request 17130."""

    X = clusters(300)

    def fit(self, X, weight=None, kind="full"):
        return fitted(X, kind, sample_weight=weight, tol=1e-6, **start_of(self.X, kind))

    @pytest.mark.parametrize("kind", KINDS)
    def test_unit_weights_are_no_weights(self, kind):
        assert_same(self.fit(self.X, np.ones(300), kind), self.fit(self.X, None, kind))

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_row_of_weight_zero_is_left_out(self, kind):
        weight = (np.arange(300) % 3 > 0).astype(float)
        assert_same(self.fit(self.X, weight, kind), self.fit(self.X[weight > 0], None, kind))

    def test_a_common_factor_changes_nothing(self):
        weight = np.random.default_rng(0).random(300)
        assert_same(self.fit(self.X, weight), self.fit(self.X, 1e4 * weight))

    @pytest.mark.parametrize("kind", KINDS)
    def test_weights_are_repetition(self, kind):
        weight = np.random.default_rng(0).integers(0, 4, 300)
        assert_same(self.fit(self.X, weight, kind), self.fit(np.repeat(self.X, weight, axis=0), None, kind))

    def test_of_the_score(self):
        model, weight = self.fit(self.X), np.random.default_rng(0).integers(0, 4, 300)
        expected = np.average(model.score_samples(self.X), weights=weight)
        assert model.score(self.X, sample_weight=weight) == pytest.approx(expected, abs=EXACT)
        assert model.score(np.repeat(self.X, weight, axis=0)) == pytest.approx(expected, abs=EXACT)

    def test_of_seeds(self):
        weight = (self.X[:, 0] > np.median(self.X[:, 0])).astype(float)
        model = fitted(self.X, k=2, sample_weight=weight, max_iter=0, random_state=0)
        assert np.all(model.means_[:, 0] > np.median(self.X[:, 0]))

    @pytest.mark.parametrize(
        "weight", [-np.ones(300), np.zeros(300), np.full(300, np.nan), np.full(300, np.inf), np.ones(299)]
    )
    def test_that_make_no_sense_are_refused(self, weight):
        for method in ("fit", "partial_fit", "fit_predict"):
            with pytest.raises(ValueError, match="sample_weight"):
                getattr(GaussianMixture(), method)(self.X, sample_weight=weight)
        with pytest.raises(ValueError, match="sample_weight"):
            self.fit(self.X).score(self.X, sample_weight=weight)


@pytest.mark.slow
@given(seed=st.integers(0, 2**20))
def test_affine_equivariance(seed):
    X, rng = clusters(150, seed=3), np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
    A, b = left @ np.diag(rng.uniform(0.2, 20, 2)) @ right, 50 * rng.standard_normal(2)
    start, inverse = start_of(X, "full"), np.linalg.inv(A)
    moved = start | {
        "means_init": start["means_init"] @ A.T + b,
        "precisions_init": inverse.T @ start["precisions_init"] @ inverse,
    }
    plain, other = (fitted(Y, reg_covar=0, tol=0.0, max_iter=15, **s) for Y, s in ((X, start), (X @ A.T + b, moved)))
    # Rounding is multiplied by the squared condition of A, at most 1e4.
    np.testing.assert_allclose(other.means_, plain.means_ @ A.T + b, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(other.covariances_, A @ plain.covariances_ @ A.T, rtol=1e-6, atol=1e-6)
    determinant = np.log(abs(np.linalg.det(A)))
    np.testing.assert_allclose(other.score(X @ A.T + b), plain.score(X) - determinant, atol=1e-8)


@given(order=st.permutations(range(3)), kind=st.sampled_from(KINDS))
def test_permutation_of_components(order, kind):
    X, order = clusters(150, seed=4), np.array(order)
    start = start_of(X, kind)
    permuted = {name: value if name[0] == "p" and kind == "tied" else value[order] for name, value in start.items()}
    plain, other = (fitted(X, kind, tol=0.0, max_iter=15, **s) for s in (start, permuted))
    np.testing.assert_allclose(other.means_, plain.means_[order], rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(other.predict_proba(X), plain.predict_proba(X)[:, order], atol=EXACT)


@pytest.mark.slow
@given(seed=st.integers(0, 2**20), kind=st.sampled_from(KINDS), weighted=st.booleans(), missing=st.booleans())
def test_em_never_lowers_the_likelihood(seed, kind, weighted, missing):
    rng = np.random.default_rng(seed)
    X = clusters(120, seed=seed)
    start = start_of(X, kind, seed=seed)
    if missing:
        X[rng.random(X.shape) < 0.2] = np.nan
    weight = rng.random(120) if weighted else None
    missing_values = np.nan if missing else None
    model = fitted(
        X, kind, sample_weight=weight, reg_covar=0, tol=0.0, max_iter=25, missing_values=missing_values, **start
    )
    assume(model.weights_.min() * 120 > 4)  # a component of as many rows as parameters collapses, and is guarded
    # What one row is left to has a floor, a millionth of a typical width, that moves with the others.
    variances = np.linalg.eigvalsh(model._mixture.covariances)
    assume(variances.min() > 1e-5 * np.median(variances))
    # Rounding, 1e-16, times the condition of components that few of the 120 rows are left to.
    assert np.min(np.diff(model.lower_bounds_)) > -1e-10


def test_probabilities_and_labels_belong_together():
    X = clusters()
    model = fitted(X, random_state=0)
    shares = model.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_array_equal(model.predict(X), shares.argmax(axis=1))
    np.testing.assert_array_equal(fitted(X, random_state=0).predict(X), model.predict(X))


class TestMissing:
    X = clusters(1500)

    def with_holes(self, share=0.25, seed=0):
        rng = np.random.default_rng(seed)
        return np.where(rng.random(self.X.shape) < share, np.nan, self.X)

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_any_nothing_changes(self, kind):
        start = start_of(self.X, kind)
        assert_same(fitted(self.X, kind, missing_values=np.nan, **start), fitted(self.X, kind, **start))

    def test_parameters_are_found(self):
        full = fitted(self.X, means_init=centers_of(self.X), random_state=0, tol=1e-8, max_iter=500)
        start = {
            "means_init": full.means_ + 0.5,
            "precisions_init": full.precisions_,
            "weights_init": np.full(3, 1 / 3),
        }
        model = fitted(self.with_holes(), missing_values=np.nan, tol=1e-8, max_iter=500, **start)
        # Standard errors of a mean: 2 / sqrt(250 * .75) = .15 for the smallest cluster; three of them.
        np.testing.assert_allclose(model.means_, full.means_, atol=0.45)
        np.testing.assert_allclose(model.weights_, full.weights_, atol=0.03)

    def test_seeds_are_found(self):
        model = fitted(self.with_holes(0.05), missing_values=np.nan, random_state=0, n_init=5)
        assert model.score(self.X) > fitted(self.X, random_state=0, n_init=5).score(self.X) - 0.05

    def test_density_is_that_of_the_known_entries(self):
        model, rows = fitted(self.X, random_state=0, missing_values=np.nan), self.with_holes()[:200]
        known = ~np.isnan(rows)
        for columns, mask in (([0], [True, False]), ([1], [False, True])):
            some = np.all(known == mask, axis=1)
            expected = model.marginal(columns).score_samples(rows[some][:, columns])
            np.testing.assert_allclose(model.score_samples(rows[some]), expected, atol=EXACT)

    def test_a_row_without_entries_says_nothing(self):
        model, nothing = fitted(self.X, random_state=0, missing_values=np.nan), np.full((1, 2), np.nan)
        np.testing.assert_allclose(model.predict_proba(nothing)[0], model.weights_, atol=1e-15)
        assert model.predict(nothing)[0] == np.argmax(model.weights_)
        assert model.score_samples(nothing)[0] == 0
        np.testing.assert_allclose(model.impute(nothing)[0], model.weights_ @ model.means_, atol=1e-12)
        start = start_of(self.X, "full")
        more = np.concatenate([self.X, np.full((500, 2), np.nan)])
        params = {"missing_values": np.nan, "tol": 1e-9, "max_iter": 2000, **start}
        assert_same(fitted(more, **params), fitted(self.X, **params))

    def test_imputed_values_are_conditional_means(self):
        model, row = fitted(self.X, random_state=0), np.array([[np.nan, 3.0]])
        conditional = model.conditional({1: 3.0})
        filled = model.impute(row)
        np.testing.assert_allclose(filled[0, 0], conditional.weights_ @ conditional.means_[:, 0], atol=EXACT)
        assert filled[0, 1] == 3.0
        assert np.isnan(row[0, 0])

    def test_are_refused_unless_they_are_expected(self):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            GaussianMixture().fit(self.with_holes())
        model = fitted(self.X, missing_values=np.nan)
        for ask in (model.score_function, lambda X: model.denoise(X, 1.0)):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                ask(self.with_holes())
        for missing_values in (None, np.nan):
            with pytest.raises(ValueError, match="infinity"):
                GaussianMixture(missing_values=missing_values).fit(np.where(self.X > 8, np.inf, self.X))


def law(model, columns=None):
    """The density of a fitted model by SciPy."""
    columns = np.arange(model.n_features_in_) if columns is None else columns
    parts = zip(model.weights_, model.means_, dense(model), strict=True)
    frozen = [(w, multivariate_normal(m[columns], S[np.ix_(columns, columns)])) for w, m, S in parts]
    return lambda x: sum(w * part.pdf(x) for w, part in frozen)


def dense(model):
    k, d = model.means_.shape
    values = model.covariances_
    return {
        "full": lambda: values,
        "tied": lambda: np.tile(values, (k, 1, 1)),
        "diag": lambda: values[:, :, None] * np.eye(d),
        "spherical": lambda: values[:, None, None] * np.eye(d),
    }[model.covariance_type]()


@pytest.mark.parametrize("kind", KINDS)
def test_marginal_and_conditional_densities(kind):
    X = clusters(400, d=3)
    model = fitted(X, kind, random_state=0)
    points = np.random.default_rng(0).normal(0, 6, (40, 3))
    np.testing.assert_allclose(np.exp(model.score_samples(points)), law(model)(points), rtol=1e-8)
    chosen = np.array([2, 0])
    marginal = model.marginal(chosen)
    np.testing.assert_allclose(np.exp(marginal.score_samples(points[:, chosen])), law(model, chosen)(points[:, chosen]))
    conditional = model.conditional({1: 0.7})
    together = np.insert(points[:, :2], 1, 0.7, axis=1)
    expected = law(model)(together) / law(model, np.array([1]))(0.7)
    np.testing.assert_allclose(np.exp(conditional.score_samples(points[:, :2])), expected, rtol=1e-8)
    assert conditional.n_features_in_ == 2
    assert conditional.covariance_type == kind


def test_columns_may_be_named():
    frame = pd.DataFrame(clusters(200, d=3), columns=["a", "b", "c"])
    model = fitted(frame, random_state=0)
    assert list(model.conditional({"b": 1.0}).feature_names_in_) == ["a", "c"]
    assert list(model.marginal(["c", 0]).feature_names_in_) == ["c", "a"]
    np.testing.assert_array_equal(model.conditional({"b": 1.0}).means_, model.conditional({1: 1.0}).means_)


@pytest.mark.parametrize(
    ("given_columns", "words"),
    [
        ({}, "no column is given"),
        ({0: 1.0, 1: 1.0}, "every column is given"),
        ({2: 1.0}, "column 2 is not known: give a number from 0 to 1"),
        ({-1: 1.0}, "column -1 is not known"),
        ({"a": 1.0}, "column 'a' is not known"),
        ({True: 1.0}, "column True is not known"),
        ({0: np.nan}, "the value of a given column"),
        ({0: "high"}, "the value of a given column"),
    ],
)
def test_conditions_that_make_no_sense(given_columns, words):
    with pytest.raises(ValueError, match=words):
        fitted(clusters()).conditional(given_columns)


def test_marginal_refuses_a_column_twice():
    with pytest.raises(ValueError, match="column 1 is given twice"):
        fitted(clusters()).marginal([1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_score_function_is_the_gradient(kind):
    model = fitted(clusters(), kind, random_state=0)
    points, h = np.random.default_rng(0).normal(0, 5, (30, 2)), 1e-5
    for sigma in (0.0, 0.8):
        smooth = GaussianMixture.from_parameters(model.weights_, model.means_, dense(model) + sigma**2 * np.eye(2))
        steps = h * np.eye(2)
        slopes = [(smooth.score_samples(points + e) - smooth.score_samples(points - e)) / (2 * h) for e in steps]
        # Central differences: h^2 = 1e-10 times third derivatives, and rounding 1e-14 / h.
        np.testing.assert_allclose(model.score_function(points, sigma), np.stack(slopes, axis=1), atol=1e-6)
    sigma = np.linspace(0, 2, 30)
    np.testing.assert_allclose(
        model.denoise(points, sigma), points + sigma[:, None] ** 2 * model.score_function(points, sigma), atol=1e-12
    )
    with pytest.raises(ValueError, match="sigma"):
        model.denoise(points, -1.0)


def test_sample_has_the_law_and_is_shuffled():
    model = fitted(clusters(1000), random_state=0)
    X, y = model.sample(40000, random_state=0)
    assert X.shape == (40000, 2)
    assert y.shape == (40000,)
    assert np.mean(np.diff(y) != 0) > 0.5
    for k in range(3):
        # Standard errors of at most 3 / sqrt(6000) = .04 for means, and 9 * sqrt(2 / 6000) = .16 for covariances.
        np.testing.assert_allclose(X[y == k].mean(axis=0), model.means_[k], atol=0.2)
        np.testing.assert_allclose(np.cov(X[y == k].T), model.covariances_[k], atol=0.7)
    np.testing.assert_allclose(np.bincount(y) / 40000, model.weights_, atol=0.01)


def test_samples_of_equal_fits_are_equal_and_go_on(tmp_path):
    X = clusters()
    one, other = (fitted(X, random_state=5) for _ in range(2))
    first, second = (one.sample(50) for _ in range(2))
    assert not np.array_equal(first[0], second[0])
    for expected in (first, second):
        for mine, theirs in zip(expected, other.sample(50), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(copy.deepcopy(one).sample(5)[0], one.sample(5)[0])
    one.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").sample(50)[0], first[0])
    np.testing.assert_array_equal(one.fit(X).sample(50)[0], first[0])
    begun = (model.set_params(random_state=6).sample(5)[0] for model in (one, load(tmp_path / "model")))
    np.testing.assert_array_equal(*begun)
    assert not np.array_equal(fitted(X).sample(5)[0], fitted(X).sample(5)[0])
    shared = np.random.RandomState(0)
    assert not np.array_equal(*(fitted(X, random_state=shared).sample(5)[0] for _ in range(2)))


def test_sample_follows_its_own_seed_only():
    model = fitted(clusters(), random_state=0)
    np.testing.assert_array_equal(model.sample(9, random_state=3)[0], model.sample(9, random_state=3)[0])
    assert not np.array_equal(model.sample(9)[0], model.sample(9)[0])
    for n_samples in (0, -1, 2.5):
        with pytest.raises(ValueError, match="Invalid value for 'n_samples'"):
            model.sample(n_samples)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_learnt(kind):
    model, rng = GaussianMixture(3, covariance_type=kind, random_state=0), np.random.default_rng(0)
    X = clusters(12000)
    for batch in np.split(X, 60):
        model.partial_fit(batch)
    full = fitted(X, kind, random_state=0, n_init=3)
    fresh = X[rng.choice(12000, 2000, replace=False)]
    assert model.n_iter_ == 60
    assert len(model.lower_bounds_) == 60
    # Batches of 200 at a final rate of .06 are an average of about 6,000 rows: p / 6000 nats, p = 17, and some slack.
    assert model.score(fresh) > full.score(fresh) - 0.02


def test_a_stream_may_start_from_a_fit():
    X = clusters(4000)
    model = fitted(X[:2000], random_state=0, tol=1e-8, max_iter=500)
    before = model.score(X)
    for batch in np.split(X[2000:], 10):
        model.partial_fit(batch)
    # Rates of .46, .38, ... of 200 rows each: about 500 rows' worth of noise in 17 parameters.
    assert model.score(X) > before - 0.1


def test_a_stream_takes_weights_and_holes():
    X = clusters(1000)
    doubled, weighted = (GaussianMixture(missing_values=np.nan) for _ in range(2))
    for batch in np.split(np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X), 4):
        doubled.partial_fit(np.repeat(batch, 2, axis=0))
        weighted.partial_fit(batch, sample_weight=np.full(250, 2.0))
    # One component: the start owes nothing to chance.
    assert_same(doubled, weighted)
    doubled.partial_fit(X[:1])  # one row is a batch
    with pytest.raises(ValueError, match="X has 1 features"):
        doubled.partial_fit(X[:, :1])


def test_warm_start_continues():
    X = clusters()
    start = start_of(X, "full")
    warm = GaussianMixture(3, warm_start=True, max_iter=1, tol=0.0, **start)
    for _ in range(5):
        with pytest.warns(ConvergenceWarning):
            warm.fit(X)
    assert_same(warm, fitted(X, max_iter=5, tol=0.0, **start))
    with pytest.warns(ConvergenceWarning):
        warm.set_params(n_components=1, weights_init=None, means_init=None, precisions_init=None).fit(X)
    assert warm.means_.shape == (1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_from_parameters_and_to_sklearn(kind):
    X = clusters()
    model = fitted(X, kind, random_state=0)
    again = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, kind)
    theirs = model.to_sklearn()
    assert isinstance(theirs, sklearn.mixture.GaussianMixture)
    for other in (again, theirs):
        np.testing.assert_allclose(other.predict_proba(X), model.predict_proba(X), atol=EXACT)
        np.testing.assert_allclose(other.score_samples(X), model.score_samples(X), atol=EXACT)
    assert theirs.sample(3)[0].shape == (3, 2)
    theirs.means_[:] = 0
    assert np.any(model.means_)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (([0.5, 0.6], [[0.0], [1.0]], [[[1.0]], [[1.0]]]), "should be normalized"),
        (([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[-1.0]]]), "'full covariance' should be symmetric, positive-definite"),
        (([0.5, 0.5], [0.0, 1.0], [[[1.0]], [[1.0]]]), "means has shape"),
        (([0.5, 0.5], [[0.0], [np.inf]], [[[1.0]], [[1.0]]]), "infinity"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.2], [0.1, 1.0]]]), "symmetric"),
        (([1.0], [[0.0]], [1.0], "spheres"), "covariance_type='spheres' is not known"),
        (([1.0], [[0.0]], [0.0], "spherical"), "'spherical covariance' should be positive"),
    ],
)
def test_parameters_that_are_no_mixture(parameters, words):
    with pytest.raises(ValueError, match=words):
        GaussianMixture.from_parameters(*parameters)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_components": 0}, "n_components=0 is out of range"),
        ({"n_components": 2.0}, "n_components=2.0 is out of range: give an integer >= 1"),
        ({"covariance_type": "round"}, "covariance_type='round' is not known: choose 'full' or 'tied'"),
        ({"tol": -1.0}, "tol=-1.0 is out of range"),
        ({"tol": np.nan}, "tol=nan is out of range"),
        ({"reg_covar": -1e-6}, "reg_covar"),
        ({"max_iter": -1}, "max_iter"),
        ({"n_init": 0}, "n_init"),
        ({"init_params": "best"}, "init_params='best' is not known"),
        ({"warm_start": "yes"}, "warm_start='yes' is not known"),
        ({"verbose": -1}, "verbose"),
        ({"verbose_interval": 0}, "verbose_interval"),
        ({"missing_values": -999}, "missing_values=-999 is not known: choose None or numpy.nan"),
        ({"acceleration": "fast"}, "acceleration='fast' is not known: choose 'squarem' or 'anderson'"),
        ({"n_components": 401}, "Expected n_samples >= n_components but got n_components = 401, n_samples = 400"),
        ({"weights_init": [0.5, 0.5]}, r"The parameter 'weights' should have the shape of \(1,\), but got \(2,\)"),
        ({"weights_init": [1.5]}, r"in the range \[0, 1\], but got max value 1.50000, min value 1.50000"),
        ({"weights_init": [0.9]}, r"normalized, but got sum\(weights\) = 0.90000"),
        ({"means_init": [[0.0]]}, r"The parameter 'means' should have the shape of \(1, 2\), but got \(1, 1\)"),
        ({"precisions_init": np.eye(2)}, r"The parameter 'full precision' should have the shape of \(1, 2, 2\)"),
        ({"precisions_init": [-np.eye(2)]}, "'full precision' should be symmetric, positive-definite"),
        ({"precisions_init": [[1.0, 0.0]], "covariance_type": "diag"}, "'diag precision' should be positive"),
    ],
)
def test_parameters_out_of_range(params, words):
    with pytest.raises(ValueError, match=words):
        GaussianMixture(**params).fit(clusters())


@pytest.mark.parametrize("init_params", ["global", "diffusion", "kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("kind", KINDS)
def test_more_components_than_distinct_rows(kind, init_params):
    X = np.repeat([[0.0, 0.0], [1.0, 3.0]], 20, axis=0)
    model = GaussianMixture(10, covariance_type=kind, init_params=init_params, random_state=0)
    for ask in (model.fit, model.partial_fit):
        with pytest.warns(ConvergenceWarning, match=r"n_components=10 is more than X has distinct rows \(2\)"):
            ask(X)
        assert model.means_.shape == (10, 2)
        assert model.weights_.sum() == pytest.approx(1)
        assert np.all(np.isfinite(model.score_samples(X)))
        if init_params != "random":  # copies share a row, and have all of it together
            shares = model.predict_proba(X) @ (model.means_[:, 0] < 0.5)
            np.testing.assert_allclose(shares, np.repeat([1.0, 0.0], 20), atol=1e-9)
            assert model.bic(X) > GaussianMixture(2, covariance_type=kind, random_state=0).fit(X).bic(X)
        del model.weights_
    with pytest.raises(ValueError, match="ill-defined empirical covariance"), pytest.warns(ConvergenceWarning):
        model.set_params(reg_covar=0).fit(X if init_params != "random" else np.zeros((40, 2)))


def test_rows_of_weight_zero_are_not_there():
    X, weight = np.arange(20.0).reshape(10, 2), (np.arange(10) < 2).astype(float)
    with pytest.raises(ValueError, match="n_components = 4, n_samples = 2"):
        GaussianMixture(4, random_state=0).fit(X, sample_weight=weight)
    with pytest.raises(ValueError, match=r"says something: at least 2"):
        GaussianMixture(1).fit(X, sample_weight=weight * (X[:, 0] < 1))
    model = GaussianMixture(2, random_state=0).fit(X, sample_weight=weight)
    np.testing.assert_allclose(np.unique(model.means_.round(9), axis=0), X[:2])
    with pytest.warns(ConvergenceWarning, match=r"distinct rows \(1\)"):
        assert np.all(np.isfinite(GaussianMixture(4, random_state=0).fit(np.ones((10, 2))).score_samples(X)))


def test_parts_of_a_start_are_kept_where_rows_are_not_distinct():
    X = np.repeat([[0.0, 0.0], [1.0, 3.0]], 20, axis=0)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    with pytest.warns(ConvergenceWarning):
        model = GaussianMixture(4, weights_init=weights, max_iter=0, random_state=0).fit(X)
    np.testing.assert_allclose(model.weights_, weights)


def test_unfitted_estimators_say_so():
    model = GaussianMixture()
    for ask in ("predict", "score_samples", "impute", "bic", "score_function"):
        with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted yet"):
            getattr(model, ask)(clusters())
    for ask in (model.sample, model.to_sklearn, lambda: model.marginal([0]), lambda: model.save("nowhere")):
        with pytest.raises(NotFittedError):
            ask()


def test_verbose_speaks_as_scikit_learn(capsys):
    X = clusters()
    params = {"tol": 0.0, "max_iter": 4, "verbose_interval": 2, **start_of(X, "full")}
    fitted(X, verbose=1, **params)
    assert (
        capsys.readouterr().out == "Initialization 0\n  Iteration 2\n  Iteration 4\nInitialization did not converge.\n"
    )
    fitted(X, verbose=2, **params)
    said = capsys.readouterr().out
    assert "  Iteration 4\t time lapse " in said
    assert "ll change 0." in said
    assert "lower bound -" in said
    fitted(X, **params)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing_values", [None, np.nan])
def test_arrays_of_other_libraries_stay_there(xp, missing_values):
    X = clusters()
    inside, outside = xp.asarray(X), fitted(X, random_state=0, missing_values=missing_values)
    model = fitted(inside, random_state=0, missing_values=missing_values)
    assert_same(model, outside)
    asked = {
        "predict": (), "predict_proba": (), "score_samples": (), "score_function": (0.5,), "denoise": (np.ones(400),),
        "impute": (),
    }  # fmt: skip
    for name, arguments in asked.items():
        answer = getattr(model, name)(inside, *arguments)
        assert type(answer) is type(inside)
        np.testing.assert_allclose(to_numpy(answer), getattr(outside, name)(X, *arguments), atol=EXACT)
    assert model.bic(inside) == pytest.approx(outside.bic(X))


@pytest.mark.parametrize("kind", KINDS)
def test_with_dispatch_attributes_live_with_the_samples(xp, kind, monkeypatch, tmp_path):
    """scikit-learn's own switch needs an environment of its own: test_scikit_learn_suite.py turns it."""
    monkeypatch.setattr(gaussian_mixture, "get_config", lambda: {"array_api_dispatch": True})
    X = xp.asarray(clusters(), dtype=xp.float32)
    model, inside = fitted(X, kind, random_state=0), fitted(clusters().astype("float32"), kind, random_state=0)

    def assert_lives_there():
        for name in ATTRIBUTES:
            value = getattr(model, name)
            assert type(value) is type(X)
            assert value.dtype == X.dtype
        samples, labels = model.sample(20, random_state=0)
        assert type(samples) is type(labels) is type(X)
        assert samples.dtype == xp.float64
        assert all(type(getattr(model, score)(X)) is float for score in ("score", "aic", "bic"))

    assert_lives_there()
    for name in ATTRIBUTES:
        np.testing.assert_allclose(to_numpy(getattr(model, name)), getattr(inside, name), rtol=SINGLE, atol=SINGLE)
    model.save(tmp_path / "model")
    assert type(load(tmp_path / "model").means_) is np.ndarray
    known = GaussianMixture.from_parameters(model._mixture.weights, model._mixture.means + 1, inside.covariances_, kind)
    model.means_ += 1
    model.covariances_ = xp.asarray(inside.covariances_)
    np.testing.assert_allclose(to_numpy(model.score_samples(X)), known.score_samples(to_numpy(X)), rtol=10 * SINGLE)
    assert_lives_there()
    model.partial_fit(X)
    assert_lives_there()


def test_other_libraries_are_checked_too():
    X = array_api_strict.asarray(clusters())
    model = fitted(X)
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2"):
        model.predict(X[:, :1])
    with pytest.raises(ValueError, match="X has shape"):
        model.predict(X[0, :])
    with pytest.raises(ValueError, match="X contains NaN or infinite entries"):
        model.predict(X * array_api_strict.asarray(np.nan))


def test_a_memory_map_is_fitted(tmp_path):
    X = clusters()
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same(fitted(mapped, random_state=0), fitted(X, random_state=0))


def test_clone_pickle_pipeline():
    X = clusters()
    model = fitted(X, random_state=0, missing_values=np.nan)
    assert repr(clone(model)) == repr(model)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(3, random_state=0))
    assert pipeline.fit_predict(X).shape == (400,)
    assert np.isfinite(pipeline.score(X))


def test_nan_without_missing_values_says_what_to_do():
    x = np.random.default_rng(0).standard_normal((20, 2))
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"missing_values=numpy\.nan"):
        GaussianMixture(2).fit(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_few_distinct_rows_are_fitted_at_any_scale(kind, scale):
    X = scale * np.repeat([[0.0, 0.0], [1.0, 1.0], [2.0, 5.0]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="distinct rows"):
        model = GaussianMixture(10, covariance_type=kind, random_state=0).fit(X)
    assert np.isfinite(model.score(X))
    assert model.means_.shape == (10, 2)


def categories(n, seed):
    """Six categories of three levels as columns of 0 and 1, of three profiles, and a number."""
    rng = np.random.default_rng(seed)
    profile = rng.integers(3, size=n)
    shares = rng.dirichlet(np.full(3, 0.4), size=(6, 3))
    columns = [np.eye(3)[[rng.choice(3, p=p[k]) for k in profile]] for p in shares]
    return np.hstack([*columns, rng.standard_normal((n, 1)) + profile[:, None]])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("prior", ["shared", None])
def test_where_columns_determine_each_other_the_start_is_no_worse_than_that_by_kmeans(prior, kind):
    for seed in range(3):
        x = categories(400, seed)
        options = {"covariance_type": kind, "covariance_prior": prior, "random_state": seed}
        found, kmeans = (
            GaussianMixture(3, init_params=start, **options).fit(x).lower_bound_ for start in ("global", "kmeans")
        )
        # The same fit of the same start, if not a better one; of "spherical", which has a width everywhere, EM that
        # ends within the tolerance of its optimum.
        assert found >= kmeans - (0 if kind != "spherical" else 1e-2)


def test_parts_of_a_subclass_are_no_subclass():
    class Mine(GaussianMixture):
        pass

    model = Mine(2, random_state=0).fit(np.random.default_rng(0).standard_normal((50, 3)))
    assert type(model.marginal([0, 2])) is type(model.conditional({1: 0.0})) is GaussianMixture
