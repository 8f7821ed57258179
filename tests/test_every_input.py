"""Inputs that once gave wrong answers, hung or broke: each is a sample of a kind."""

import threading
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture
from scoremix.learning.regression.normal_equations import ridge_solve
from scoremix.models.covariance.types import covariance_of
from scoremix.models.log_joint import choose_origins

KINDS = ("full", "tied", "diag", "spherical")
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-4, 1, (300, 2)), RNG.normal(4, 1, (700, 2))])
QUICK = {"n_levels": 4, "random_state": 0}


def estimators():
    return [
        GaussianMixture(2, random_state=0),
        DiffusionMixture(**QUICK),
        DiffusionMixture(covariance="general", **QUICK),
        DDPMMixture(2, n_steps=(20, 20), random_state=0),
    ]


def three(seed=0):
    """Three clusters 8 standard deviations apart."""
    rng = np.random.default_rng(seed)
    return np.array([[0.0, 0.0], [8.0, 0.0], [4.0, 7.0]])[rng.integers(3, size=600)] + rng.standard_normal((600, 2))


class TestColumnsThatSayNothingNew:
    @pytest.mark.parametrize("kind", ["full", "tied", "diag"])
    @pytest.mark.parametrize(
        "extend",
        [
            lambda x: np.column_stack([x, np.full(len(x), 3.0)]),
            lambda x: np.column_stack([x, x[:, 0]]),
            lambda x: np.column_stack([x, np.arange(len(x)) % 2, 1 - np.arange(len(x)) % 2]),
            lambda x: np.column_stack([x, np.ones((len(x), 2))]),
            lambda x: np.column_stack([x, x]),
        ],
        ids=["constant", "duplicate", "one-hot pair", "two constants", "doubled"],
    )
    def test_do_not_change_the_number_of_components(self, kind, extend):
        for seed in range(3):
            model = GaussianMixture("auto", covariance_type=kind, random_state=0).fit(extend(three(seed)))
            assert model.n_components_ == 3

    @pytest.mark.parametrize("kind", ["full", "tied", "diag"])
    def test_categories_tell_components_apart_and_rule_nothing_else(self, kind):
        for seed in range(4):
            rng = np.random.default_rng(seed)
            places, label = 5.0 * rng.standard_normal((5, 3)), rng.integers(10, size=3000)
            yes = label % 2
            x = np.column_stack([places[label // 2] + rng.standard_normal((3000, 3)), yes, 1 - yes])
            means = np.array([x[label == j].mean(axis=0) for j in range(10)])
            best = GaussianMixture(10, covariance_type=kind, means_init=means, init_params="kmeans", random_state=0)
            model = GaussianMixture(10, covariance_type=kind, random_state=seed).fit(x)
            # Without one of the ten a tenth of the rows lose some nats each: a tenth of that, at most.
            assert model.score(x) > best.fit(x).score(x) - 0.02

    @pytest.mark.parametrize("kind", ["full", "tied"])  # without correlations a sum is another column
    def test_sums_of_others_do_not_either(self, kind):
        for seed in range(3):
            x = np.column_stack([three(seed), three(seed) @ [1.0, -2.0]])
            assert GaussianMixture("auto", covariance_type=kind, random_state=0).fit(x).n_components_ == 3

    @pytest.mark.parametrize("kind", ["full", "tied"])
    def test_do_not_change_what_a_global_start_finds(self, kind):
        x = three()
        plain = GaussianMixture(3, covariance_type=kind, random_state=0).fit(x)
        wide = GaussianMixture(3, covariance_type=kind, random_state=0).fit(np.column_stack([x, x[:, 1], x[:, 0] * 0]))
        np.testing.assert_array_equal(
            np.bincount(plain.predict(x)), np.bincount(wide.predict(np.c_[x, x[:, 1], x[:, 0] * 0]))
        )
        np.testing.assert_allclose(wide.means_[:, :2], plain.means_, atol=1e-3)


class TestWeights:
    @pytest.mark.parametrize("total", [300, 1e-6, 5e4, 1e300])
    @pytest.mark.parametrize("equal", [True, False])
    def test_are_relative_where_components_are_counted(self, total, equal):
        weight = np.full(1000, total / 1000) if equal else np.random.default_rng(1).uniform(0.5, 2, 1000) * total / 1000
        assert GaussianMixture("auto", random_state=0).fit(X, sample_weight=weight).n_components_ == 2

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("scale", [1e-46, pytest.param(1e-3, marks=pytest.mark.slow), 1e250])
    def test_do_not_change_a_fit_by_their_scale(self, number, scale):
        weight = np.random.default_rng(2).uniform(0.5, 2, 1000)
        one, other = (estimators()[number].fit(X.astype(np.float32), sample_weight=w) for w in (weight, scale * weight))
        np.testing.assert_allclose(one.weights_, other.weights_, rtol=1e-4)
        if number == 1:
            assert other.n_cells_ == one.n_cells_ == 2

    @pytest.mark.parametrize("number", range(4))
    def test_of_a_score_are_checked(self, number):
        model = estimators()[number].fit(X)
        for weight, message in ((-np.ones(1000), "negative"), (np.full(1000, np.nan), "finite"), (np.ones(5), "shape")):
            with pytest.raises(ValueError, match=message):
                model.score(X, sample_weight=weight)
        heavy = np.r_[np.ones(300), np.zeros(700)]
        assert model.score(X, sample_weight=heavy) == pytest.approx(model.score(X[:300]), rel=1e-9)

    @pytest.mark.parametrize("number", range(4))
    def test_of_one_row_are_too_few(self, number):
        with pytest.raises(ValueError, match="has 1 row"):
            estimators()[number].fit(X, sample_weight=(np.arange(1000) == 3).astype(float))

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("little", [1e-20, pytest.param(1e-300, marks=pytest.mark.slow), 5e-324])
    def test_that_no_sum_sees_are_absence(self, number, little):
        more, weight = np.concatenate([X, np.full((500, 2), 20.0)]), np.r_[np.ones(1000), np.full(500, little)]
        one, other = estimators()[number].fit(X), estimators()[number].fit(more, sample_weight=weight)
        np.testing.assert_array_equal(other.predict(X), one.predict(X))
        with pytest.raises(ValueError, match="has 1 row"):
            estimators()[number].fit(X, sample_weight=np.r_[1.0, np.full(999, little)])

    @pytest.mark.parametrize("seed", [8, 9])  # one of a dozen started with an atom where nothing counts
    def test_rule_where_atoms_start(self, seed):
        more = np.concatenate([20 + np.random.default_rng(seed).standard_normal((3000, 2)), three(seed)])
        model = DiffusionMixture(n_levels=4, random_state=seed)
        assert model.fit(more, sample_weight=np.r_[np.full(3000, 1e-18), np.ones(600)]).n_cells_ == 3

    def test_of_zero_are_absence(self):
        one = GaussianMixture("auto", random_state=0).fit(X)
        more = np.concatenate([X, np.full((2000, 2), 50.0)])
        other = GaussianMixture("auto", random_state=0).fit(more, sample_weight=np.r_[np.ones(1000), np.zeros(2000)])
        np.testing.assert_array_equal(other.means_, one.means_)
        assert other.selection_path_ == one.selection_path_


def test_components_of_weight_zero_have_no_part():
    model = GaussianMixture.from_parameters([1, 0], [[0.0], [100.0]], [[[1.0]], [[1.0]]])
    np.testing.assert_allclose(model.score_samples([[100.0]]), -5000 - 0.5 * np.log(2 * np.pi))
    np.testing.assert_array_equal(model.predict_proba([[100.0]]), [[1, 0]])
    fitted = GaussianMixture(2, weights_init=[1, 0], means_init=[[0, 0], [4, 4]], random_state=0).fit(X)
    np.testing.assert_array_equal(fitted.weights_, [1, 0])
    np.testing.assert_allclose(fitted.means_, [X.mean(axis=0), [4, 4]])


@pytest.mark.parametrize("init_params", ["kmeans", "global"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_any_value_are_not_there(init_params, kind):
    how = {"covariance_type": kind, "init_params": init_params, "missing_values": np.nan, "random_state": 0}
    few = np.where(np.random.default_rng(3).random(X.shape) < 0.1, np.nan, X)
    more = np.concatenate([few, np.full((9000, 2), np.nan)])
    one, other = (GaussianMixture(2, **how).fit(x) for x in (few[~np.isnan(few).all(axis=1)], more))
    np.testing.assert_array_equal(one.means_, other.means_)
    assert other.n_iter_ == one.n_iter_
    for ask in ("score", "bic", "aic"):
        assert getattr(one, ask)(few) == getattr(one, ask)(more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_denoising_keeps_its_digits_at_any_level(kind, precision, tolerance):
    model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X.astype(precision))
    for sigma in (0.0, 1.0, 1e5, 1e7, 1e12):
        y = (X[:40] + sigma * np.random.default_rng(4).standard_normal((40, 2))).astype(precision)
        log_joint, means = [], []
        for w, mean, cov in zip(model._mixture.weights, model._mixture.means, model._mixture.covariances, strict=True):
            noisy = cov + sigma**2 * np.eye(2)
            log_joint.append(np.log(w) + multivariate_normal(mean, noisy).logpdf(y.astype(float)))
            means.append(mean + (y - mean) @ np.linalg.solve(noisy, cov))
        shares = np.exp(np.array(log_joint) - logsumexp(log_joint, axis=0))
        exact = np.einsum("kn,kni->ni", shares, means)
        for level in (sigma, np.full(40, sigma)):
            np.testing.assert_allclose(model.denoise(y, level), exact, atol=tolerance)


@pytest.mark.parametrize("covariance", ["identity", "general"])
def test_a_ladder_far_above_its_levels_says_the_mean(covariance):
    model = DiffusionMixture(covariance=covariance, **QUICK).fit(X)
    for precision in (np.float32, np.float64):
        y = (1e7 * np.random.default_rng(5).standard_normal((20, 2))).astype(precision)
        for sigma in (1e7, np.full(20, 1e7)):
            np.testing.assert_allclose(model.denoise(y, sigma), np.tile(X.mean(axis=0), (20, 1)), atol=1e-4)


def _attributes(model):
    return {name: value for name, value in vars(model).items() if name.endswith("_") and not name.startswith("_")}


class TestFitsThatFail:
    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("bad", [X[:1], np.where(X > 3, np.nan, X), np.full((50, 5), np.inf), X * 1e155])
    def test_leave_the_fit_before(self, number, bad):
        model = estimators()[number].fit(X)
        before, asked = _attributes(model), model.score_samples(X[:5])
        with pytest.raises(ValueError, match=r"X|Fitting|constant|array"):
            model.fit(bad)
        after = _attributes(model)
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] for name in before)
        np.testing.assert_array_equal(model.score_samples(X[:5]), asked)

    @pytest.mark.parametrize("number", range(4))
    def test_leave_nothing_where_there_was_none(self, number):
        model = estimators()[number]
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.where(X > 3, np.nan, X))
        with pytest.raises(NotFittedError):
            model.predict(X)
        assert not hasattr(model, "n_features_in_")

    @pytest.mark.parametrize("number", range(4))
    def test_interruptions_are_failures(self, number, monkeypatch):
        from scoremix.samples import reduce

        model = estimators()[number].fit(X)
        before, calls, mapped = _attributes(model), [], reduce._mapped

        def interrupted(*args):
            calls.append(1)
            if len(calls) > 5:
                raise KeyboardInterrupt
            return mapped(*args)

        monkeypatch.setattr(reduce, "_mapped", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X[:, ::-1] + 7)
        assert all(_attributes(model)[name] is before[name] for name in before)

    def test_are_not_seen_by_other_threads(self):
        model, seen, stop = GaussianMixture(2, random_state=0).fit(X), [], threading.Event()

        def ask():
            while not stop.is_set():
                seen.append(float(model.score(X[:50])))

        thread = threading.Thread(target=ask)
        thread.start()
        for k in (3, 2, 4, 2):
            model.set_params(n_components=k).fit(X)
        stop.set()
        thread.join()
        assert np.all(np.isfinite(seen))


def test_other_shapes_are_no_stream():
    model = GaussianMixture(3, random_state=0).partial_fit(X)
    for change in ({"n_components": 5}, {"n_components": 3, "covariance_type": "diag"}):
        with pytest.raises(ValueError, match="call fit to begin anew"):
            model.set_params(**change).partial_fit(X)


def test_a_batch_may_lack_a_column():
    model = GaussianMixture(2, missing_values=np.nan, random_state=0).partial_fit(X)
    before = model.means_.copy()
    model.partial_fit(np.column_stack([X[:200, 0], np.full(200, np.nan)]))
    assert np.all(np.isfinite(model.means_))
    assert not np.array_equal(model.means_, before)


@pytest.mark.parametrize("number", range(4))
def test_masks_are_missing_values(number):
    masked = np.ma.masked_greater(X, 5)
    with pytest.raises(ValueError, match="masked"):
        estimators()[number].fit(masked)
    if number == 0:
        how = {"missing_values": np.nan, "random_state": 0}
        one, other = (GaussianMixture(2, **how).fit(x) for x in (masked, np.where(X > 5, np.nan, X)))
        np.testing.assert_array_equal(one.means_, other.means_)
    np.testing.assert_array_equal(
        estimators()[number].fit(np.ma.array(X)).predict(X), estimators()[number].fit(X).predict(X)
    )


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["density", "clusters"])
def test_the_number_of_components_does_not_hang_on_rounding_or_order(criterion):
    rng = np.random.default_rng(6)
    angle = rng.uniform(0, 2 * np.pi, 1000)
    ring = 5 * np.column_stack([np.cos(angle), np.sin(angle)]) + 0.2 * rng.standard_normal((1000, 2))

    def number(rows):
        return GaussianMixture("auto", criterion=criterion, random_state=0).fit(rows).n_components_

    for x, allowed in ((three(), 0), (ring, 1), (ring[:72], 1)):  # how many cover a ring is not determined
        expected = number(x)
        assert abs(number(x[rng.permutation(len(x))]) - expected) <= allowed
        assert abs(number(x * (1 + 1e-15 * rng.standard_normal(x.shape))) - expected) <= allowed


@pytest.mark.parametrize(
    "method",
    ["dpm", *(pytest.param(m, marks=pytest.mark.slow) for m in ("ancestral", "reverse_sde", "probability_flow"))],
)
def test_samplers_give_clusters_their_shares(method):
    grid = 6.0 * np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2)
    share = np.linspace(1, 5, 25) / 75
    rng = np.random.default_rng(7)
    x = grid[rng.choice(25, 8000, p=share)] + rng.standard_normal((8000, 2))
    model = DiffusionMixture(random_state=0).fit(x)
    drawn = model.sample(8000, method=method, random_state=0)
    nearest = np.argmin(((model.centers_[:, None] - drawn) ** 2).sum(axis=2), axis=0)
    found = np.bincount(nearest, minlength=25) / 8000
    # Half of a sum of 25 absolute errors, each .8 sqrt(w / 8000) on average, is .022; twice that is asked.
    assert 0.5 * np.abs(found - model.weights_).sum() < 0.044


@pytest.mark.parametrize("scale", [1e155, 1e-160, 1e300, 1e100, 1e-100])
@pytest.mark.parametrize("number", range(4))
def test_values_without_squares_are_refused(number, scale):
    with pytest.raises(ValueError, match="squares are no numbers"):
        estimators()[number].fit(X * scale)
    with pytest.raises(ValueError, match="squares are no numbers"):
        estimators()[number].fit((X * 1e-20).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-70, 1e70])
def test_values_with_squares_are_fitted(kind, scale):
    model = GaussianMixture("auto", covariance_type=kind, random_state=0, reg_covar=1e-6 * scale**2).fit(X * scale)
    np.testing.assert_array_equal(np.bincount(model.predict(X * scale)), [300, 700])
    assert np.isfinite(model.set_params(reg_covar=1e-6).fit(X * scale).score(X * scale))


@pytest.mark.parametrize("number", range(4))
def test_integers_of_other_libraries_are_samples(number):
    xp = pytest.importorskip("array_api_strict")
    whole = np.round(10 * X).astype(np.int64)
    one, other = (estimators()[number].fit(x) for x in (whole, xp.asarray(whole)))
    np.testing.assert_allclose(np.asarray(other.weights_), one.weights_, rtol=1e-6)


@pytest.mark.parametrize("kind", ["M8[D]", "m8[s]", "O"])
@pytest.mark.parametrize("number", range(4))
def test_dates_are_no_numbers(number, kind):
    days = np.arange(40).reshape(20, 2).astype("M8[D]" if kind == "O" else kind).astype(kind)
    with pytest.raises(ValueError, match="dates or durations"):
        estimators()[number].fit(days)


def test_frames_end_whatever_the_means_are():
    means = np.array([[0.0, np.nan], [1.0, 2.0], [np.inf, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(choose_origins(np.ones(3) / 3, means, covariance_of("diag", np.ones((3, 2)), 2), 1.0)) <= 3


class TestFarRows:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("far", [[1e6, 0.5], [1e9, 1e9], [99999.0, 3.0]])
    def test_do_not_hide_the_clusters(self, kind, far):
        x = np.concatenate([X, [far]])
        model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(x)
        best = GaussianMixture(3, covariance_type=kind, means_init=[[-4, -4], [4, 4], far], random_state=0).fit(x)
        assert model.lower_bound_ > best.lower_bound_ - 0.01
        assert len(set(model.predict([[-4, -4], [4, 4], far]))) == 3

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("far", [[1e12, -1e12], [1e15, 3.0], [1e23, 1.0], [1e60, 0.0]])
    def test_are_components_where_these_are_counted(self, kind, far):
        if kind == "tied":
            far = np.divide(far, max(far) / 1e12)  # the moment of all rows has no digits left for the others beyond
        model = GaussianMixture("auto", covariance_type=kind, random_state=0).fit(np.concatenate([three(), [far]]))
        assert model.n_components_ == 4

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("apart", [100, 1e4, 1e6])
    @pytest.mark.parametrize("corners", [3, 6])
    def test_may_be_all(self, kind, apart, corners):
        rng = np.random.default_rng(0)
        label = rng.integers(corners, size=500)
        x = apart * np.eye(corners)[label] + rng.standard_normal((500, corners))
        found = GaussianMixture("auto", covariance_type=kind, random_state=0).fit_predict(x)
        assert len(set(found)) == corners == len(set(zip(found, label, strict=True)))

    def test_may_be_all_where_others_are_missing(self):
        rng = np.random.default_rng(0)
        x = np.column_stack([three(), rng.standard_normal((600, 2))])
        x[:300, :2], x[300:, 2:] = np.nan, np.nan
        model = GaussianMixture(3, missing_values=np.nan, random_state=0)
        assert np.isfinite(model.fit(x, sample_weight=np.r_[3.0, np.ones(599)]).score(x))

    @pytest.mark.parametrize("init_params", ["random", "kmeans", "global"])
    def test_leave_random_starts_a_width(self, init_params):
        for far in ([[1e12, 1e12]], 10.0 ** np.arange(2, 14, 2)[:, None] * [1.0, 0.5]):
            model = GaussianMixture(3, init_params=init_params, max_iter=20, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                try:
                    assert np.isfinite(model.fit(np.concatenate([three(), far])).score(three()))
                except ValueError as error:  # rounding may leave a random start none, and then that is said
                    if init_params != "random" or "collapsed samples" not in str(error):
                        raise

    @pytest.mark.parametrize("seed", range(40))
    def test_may_share_a_component(self, seed):
        # A covariance of two rows has one variance of 1e12, and others that no double holds beside it.
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.standard_normal((500, 5)), 1e6 * rng.standard_normal((2, 5))])
        means = [np.zeros(5), x[-2:].mean(axis=0)]
        assert np.isfinite(GaussianMixture(2, means_init=means, random_state=0).fit(x).score(x))

    @pytest.mark.parametrize("kind", KINDS)
    def test_groups_far_apart_are_two(self, kind):
        rng = np.random.default_rng(8)
        x = rng.standard_normal((400, 2)) + np.repeat([0.0, 1e9], 200)[:, None]
        model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(x)
        assert np.bincount(model.predict(x)).tolist() == [200, 200]
        assert model.score(x) > -4


def test_products_of_features_that_round_have_a_solution():
    gram = np.array([[1.0, 1.0 + 1e-6], [1.0 + 1e-6, 1.0]])  # of rows so far out that no vectors have these products
    found = ridge_solve(gram, np.ones((2, 1)), 1.0, 1e-8)
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


def test_narrow_components_far_out_keep_their_digits_in_single_precision():
    # The mean lies between two numbers of single precision, a tenth of a standard deviation apart.
    mean, rows = 1650.62691, np.float32(1650.62691) + np.float32([[0.01], [-0.008], [0.0]])
    model = GaussianMixture.from_parameters([0.5, 0.5], [[mean], [0.0]], [[[1e-6]], [[1e4]]])
    right = np.log(0.5) + multivariate_normal(mean, 1e-6).logpdf(rows.astype(np.float64))
    np.testing.assert_allclose(model.score_samples(rows), right, atol=0.01)


def test_warnings_point_to_the_line_of_the_user():
    model = DiffusionMixture(**QUICK).fit(X)
    with pytest.warns(ConvergenceWarning) as seen:
        GaussianMixture(3, max_iter=1, tol=0).fit_predict(X)
    with pytest.warns(UserWarning, match="farther|far") as also:
        model.score(50 * X)
    assert {w.filename for w in [*seen, *also]} == {__file__}


@pytest.mark.parametrize("number", range(1, 4))
def test_missing_values_are_refused_with_advice(number):
    with pytest.raises(ValueError, match=r"GaussianMixture\(missing_values=numpy.nan\) integrates"):
        estimators()[number].fit(np.where(X > 5, np.nan, X))


@pytest.mark.parametrize("covariance", ["identity", "general"])
@pytest.mark.parametrize("correction_of", ["mixture", "nothing"])
def test_cells_have_probabilities(covariance, correction_of):
    model = DiffusionMixture(covariance=covariance, correction_of=correction_of, **QUICK)
    labels = model.fit_predict(X)
    shares = model.predict_proba(X)
    assert model.n_components_ == model.n_cells_ == shares.shape[1]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(labels, model.predict(X))
    assert np.mean(shares.argmax(axis=1) == labels) > 0.99


def test_a_descent_says_whether_it_converged():
    how = {"noise_times": "all", "step_rule": "scaled", "learning_rate": 1.0, "random_state": 0}
    assert DDPMMixture(2, n_steps=300, **how).fit(X).converged_
    model = DDPMMixture(2, n_steps=2, **how).fit(X)
    assert not model.converged_
    assert model.n_components_ == 2
