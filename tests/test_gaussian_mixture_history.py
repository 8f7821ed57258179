"""Bugs that others had: each is a test here, named after its report."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from scoremix import GaussianMixture
from scoremix.estimators import gaussian_mixture
from scoremix.learning.em.em import EMResult

KINDS = ("full", "tied", "diag", "spherical")


@pytest.fixture
def noise():
    return np.random.default_rng(0).standard_normal((400, 3))


@pytest.fixture
def runs(monkeypatch):
    """Records every run of EM: its start and what it found."""
    seen, fit = [], gaussian_mixture.run_em

    def recorded(source, start, **options):
        found = fit(source, start, **options)
        seen.append((start, found))
        return found

    monkeypatch.setattr(gaussian_mixture, "run_em", recorded)
    return seen


def test_sklearn_7377_starts_differ_although_random_state_is_given(noise, runs):
    GaussianMixture(4, n_init=5, init_params="random_from_data", random_state=0, tol=0.1).fit(noise)
    assert len(runs) == 5
    assert len({start.means.tobytes() for start, _ in runs}) == 5


def test_sklearn_10869_the_lower_bound_is_the_largest(noise, runs):
    model = GaussianMixture(4, n_init=6, init_params="random_from_data", random_state=0, tol=0.01).fit(noise)
    bounds = [found.lower_bounds[-1] for _, found in runs]
    assert len(set(bounds)) > 1
    assert model.lower_bound_ == max(bounds) == model.lower_bounds_[-1]
    best = runs[int(np.argmax(bounds))][1]
    np.testing.assert_array_equal(model.means_, best.mixture.means)
    assert model.n_iter_ == best.n_passes


@pytest.mark.parametrize("seed", range(3))
def test_sklearn_13070_fit_predict_is_predict_after_fit(seed):
    X = np.random.default_rng(seed).standard_normal((500, 5))
    model = GaussianMixture(5, n_init=3, random_state=seed, tol=0.05)
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))


@pytest.mark.parametrize("kind", KINDS)
def test_sklearn_26415_precisions_init_is_not_transposed(noise, kind):
    rng = np.random.default_rng(1)
    root = rng.standard_normal((2, 3, 3))
    full = root @ np.swapaxes(root, 1, 2) + 0.3 * np.eye(3)
    precisions = {"full": full, "tied": full[0], "diag": full[:, 0] ** 2 + 0.1, "spherical": full[:, 0, 0]}[kind]
    model = GaussianMixture(2, covariance_type=kind, precisions_init=precisions, max_iter=0, random_state=0).fit(noise)
    np.testing.assert_allclose(model.precisions_, precisions, rtol=1e-9)
    if kind in ("full", "tied"):
        factor = model.precisions_cholesky_
        np.testing.assert_allclose(factor @ np.swapaxes(factor, -1, -2), precisions, rtol=1e-9)
        np.testing.assert_array_equal(factor, np.triu(factor))


def test_sklearn_18216_20030_divergence_sets_the_attributes():
    X = np.random.RandomState(0).uniform(size=(30, 3))
    model = GaussianMixture(
        6,
        covariance_type="spherical",
        reg_covar=0,
        means_init=X[:6],
        weights_init=[1 / 30, 1 / 30, 2 / 30, 2 / 30, 0.7, 0.1],
        precisions_init=[1e6, 1e6, 554.0, 205.0, 15.9, 85.5],
        max_iter=1,
    )
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X)
    assert not model.converged_
    assert model.n_iter_ == 1
    assert np.isfinite(model.lower_bound_)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert np.all(np.isfinite(getattr(model, name)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("max_iter", [0, 1, 50])
def test_sklearn_24085_weights_sum_to_one(noise, dtype, max_iter):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(3, max_iter=max_iter, random_state=0).fit(noise.astype(dtype))
    # Three numbers near 1/3 are rounded to half a unit in the last place each.
    assert abs(float(model.weights_.sum()) - 1) <= 2 * np.finfo(dtype).eps


def test_sklearn_30382_no_negative_variance_in_single_precision():
    X = np.array([[9999.0], [0.0]], dtype=np.float32)
    model = GaussianMixture(2, covariance_type="spherical", reg_covar=0.1, random_state=0).fit(X)
    np.testing.assert_allclose(model.covariances_, [0.1, 0.1], rtol=1e-6)
    assert sorted(model.means_.ravel()) == pytest.approx([0, 9999])
    assert set(model.predict(X)) == {0, 1}


@pytest.mark.parametrize(("first", "second", "warned"), [(False, True, False), (True, False, True)])
def test_sklearn_26621_the_warning_is_about_the_best_start(noise, monkeypatch, first, second, warned):
    """The second start is the better one: only whether it converged matters."""
    answers = iter([(-5.0, first), (-4.0, second)])

    def staged(source, start, **options):
        bound, converged = next(answers)
        return EMResult(start, [bound], converged, 1)

    monkeypatch.setattr(gaussian_mixture, "run_em", staged)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = GaussianMixture(2, n_init=2, random_state=0).fit(noise)
    assert [w.category for w in seen] == [ConvergenceWarning] * warned
    assert model.lower_bound_ == -4
    assert model.converged_ is second


def test_sklearn_12099_warm_starts_do_not_collapse():
    rng = np.random.default_rng(0)
    model = GaussianMixture(4, warm_start=True, random_state=0, tol=1e-2, max_iter=200)
    for shift in (0.0, 0.5, 30.0, 30.5, 0.0):  # components are left behind, and found again
        model.fit(rng.standard_normal((60, 2)) + shift)
        assert np.all(np.isfinite(model.means_))
        assert np.all(np.linalg.eigvalsh(model.covariances_) > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_sklearn_7701_samples_have_the_shape_that_was_asked_for(noise, kind):
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(noise)
    for n in (1, 2, 7, 50):
        X, y = model.sample(n)
        assert X.shape == (n, 3)
        assert y.shape == (n,)


def test_pomegranate_1145_a_large_loss_is_not_convergence():
    rng = np.random.default_rng(0)
    tight, wide = rng.normal(0, 0.01, (300, 2)), rng.normal(0, 3, (300, 2)) + np.repeat([[0.0], [20.0]], 150, axis=0)
    model = GaussianMixture(2, warm_start=True, random_state=0, max_iter=500).fit(tight)
    before = model.lower_bound_
    model.fit(wide)
    assert model.lower_bounds_[0] < before - 1000
    assert model.n_iter_ > 1
    assert model.converged_
    assert model.lower_bound_ > model.lower_bounds_[0] + 1000


def test_pomegranate_800_a_component_without_data_is_not_nan(noise):
    means = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1e6, 1e6, 1e6]])
    model = GaussianMixture(3, means_init=means, precisions_init=[np.eye(3)] * 3, weights_init=[0.3, 0.4, 0.3])
    model.fit(noise)
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        assert np.all(np.isfinite(getattr(model, name)))
    assert np.all(np.isfinite(model.score_samples(noise)))
    assert model.weights_[2] < 1e-6


def test_gmr_9_columns_of_any_scale(noise):
    X = noise.copy()
    X[:200] += 8
    scale, shift = np.array([1e-2, 1.0, 5e3]), np.array([0.0, -40.0, 1e5])
    plain, scaled = (GaussianMixture(2, random_state=0, reg_covar=0).fit(Y) for Y in (X, X * scale + shift))
    order, other = np.argsort(plain.means_[:, 0]), np.argsort(scaled.means_[:, 0])
    np.testing.assert_allclose(scaled.means_[other], plain.means_[order] * scale + shift, rtol=1e-8)
    np.testing.assert_allclose(
        scaled.covariances_[other], plain.covariances_[order] * np.outer(scale, scale), rtol=1e-6
    )
