"""A mixture's answers against SciPy, finite differences, closed forms and its own samples."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from scoremix.arrays import to_numpy
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture, repeated

KINDS = ("full", "tied", "diag", "spherical")
K, D = 3, 3


def mixture(kind="full", seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((K, D, D))
    full = roots @ np.swapaxes(roots, 1, 2) / D + 0.3 * np.eye(D)
    values = {"full": full, "tied": full[0], "diag": full.diagonal(axis1=1, axis2=2), "spherical": full[:, 0, 0]}[kind]
    return Mixture(np.array([0.5, 0.3, 0.2]), spread * rng.standard_normal((K, D)), covariance_of(kind, values, D))


def log_joint(asked, x):
    parts = zip(asked.weights, asked.means, asked.covariances, strict=True)
    return np.array([np.log(w) + multivariate_normal(m, s).logpdf(x) for w, m, s in parts])


def rows(n=40, seed=1):
    return 3 * np.random.default_rng(seed).standard_normal((n, D))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [2.0, 1e6])
def test_density_and_responsibilities(xp, kind, spread):
    asked = mixture(kind, spread=spread)
    x = asked.sample(40, np.random.default_rng(1))[0]
    expected = log_joint(asked, x)
    log_density, shares = (to_numpy(part) for part in asked.evaluate(xp.asarray(x)))
    # Differences x - m of size 1e6 carry 1e-10, their squares the same relative error.
    atol = 1e-11 if spread == 2.0 else 1e-8
    np.testing.assert_allclose(log_density, logsumexp(expected, axis=0), atol=atol)
    np.testing.assert_allclose(shares, np.exp(expected - logsumexp(expected, axis=0)).T, atol=atol)
    np.testing.assert_allclose(to_numpy(asked.log_density(xp.asarray(x))), log_density, atol=1e-12)
    np.testing.assert_array_equal(to_numpy(asked.predict(xp.asarray(x))), expected.argmax(axis=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_score_is_the_gradient_of_the_smoothed_log_density(xp, kind, sigma):
    asked, y, h = mixture(kind), rows(8), 1e-5
    smooth = asked.smooth(sigma)
    steps = h * np.eye(D)
    numeric = np.stack([(smooth.log_density(y + e) - smooth.log_density(y - e)) / (2 * h) for e in steps], axis=1)
    # Central differences: third derivatives of order 10 times h^2, and rounding 1e-14 / h.
    np.testing.assert_allclose(to_numpy(asked.score(xp.asarray(y), sigma)), numeric, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_level_per_row_equals_one_level(xp, kind):
    asked, y = mixture(kind), xp.asarray(rows(6))
    together = to_numpy(asked.score(y, np.array([0.0, 0.5, 2.0, 0.0, 0.5, 2.0])))
    for i, sigma in enumerate((0.0, 0.5, 2.0)):
        np.testing.assert_allclose(together[i::3], to_numpy(asked.score(y, sigma))[i::3], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(to_numpy(asked.denoise(y, np.full(6, 0.5))), to_numpy(asked.denoise(y, 0.5)), rtol=1e-9)


def test_denoise_is_the_posterior_mean():
    asked, sigma = mixture(), 0.8
    y = rows(20)
    noisy = asked.covariances + sigma**2 * np.eye(D)
    shares = np.exp(log_joint(asked.smooth(sigma), y))
    shares /= shares.sum(axis=0)
    gain = asked.covariances @ np.linalg.inv(noisy)
    each = asked.means[:, None] + np.einsum("kij,knj->kni", gain, y[None] - asked.means[:, None])
    np.testing.assert_allclose(asked.denoise(y, sigma), np.einsum("kn,kni->ni", shares, each), atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_times_marginal_is_the_joint_density(kind):
    asked = mixture(kind)
    for given in ([1], [2, 0]):
        columns = np.array(given)
        rest = np.setdiff1d(np.arange(D), columns)
        for x in rows(4):
            conditional = asked.conditional(columns, x[columns])
            marginal = asked.marginal(columns)
            total = conditional.log_density(x[None, rest])[0] + marginal.log_density(x[None, columns])[0]
            np.testing.assert_allclose(total, asked.log_density(x[None])[0], atol=1e-10)


def test_conditions_forget_no_component():
    # The first column makes the second component exp(-650) as likely, the second column the first one exp(-5000).
    asked = Mixture(np.full(2, 0.5), np.array([[0.0, 0.0], [36.0, 100.0]]), covariance_of("diag", np.ones((2, 2)), 2))
    there = asked.conditional(np.array([0]), np.zeros(1))
    assert np.log(there.weights[1]) == pytest.approx(-648, rel=1e-12)
    np.testing.assert_allclose(there.log_density(np.full((1, 1), 100.0)), -648 - 0.5 * np.log(2 * np.pi), rtol=1e-12)


@pytest.mark.parametrize("weight", [1e-300, 5e-301, 1e-307])
def test_no_weight_is_too_small(weight):
    asked = Mixture(np.array([1.0, weight]), np.array([[0.0], [1e3]]), covariance_of("diag", np.ones((2, 1)), 1))
    expected = np.log(weight) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(asked.log_density(np.array([[1e3]])), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_the_mixture(kind):
    asked, n = mixture(kind), 40_000
    x, labels = asked.sample(n, np.random.default_rng(0))
    # Standard errors: 3 / sqrt(n) = .015 for means, about 10 / sqrt(n) = .05 for covariances; 4.5 times.
    np.testing.assert_allclose(x.mean(axis=0), asked.mean(), atol=0.07)
    np.testing.assert_allclose(np.cov(x.T), asked.cov(), atol=0.25)
    np.testing.assert_allclose(np.bincount(labels) / n, asked.weights, atol=0.012)
    assert np.any(np.diff(labels) < 0)  # not sorted by component
    for k in range(K):
        mine = x[labels == k]
        np.testing.assert_allclose(np.cov(mine.T), asked.covariances[k], atol=0.16)


def test_precision_and_input_are_kept(xp):
    asked, x = mixture(), rows().astype(np.float32)
    given = xp.asarray(x)
    for out in (asked.log_density(given), asked.evaluate(given)[1], asked.score(given, 0.5), asked.denoise(given, 0.5)):
        assert out.dtype == xp.float32
        assert type(out) is type(given)
    np.testing.assert_array_equal(to_numpy(given), x)
    # Products of size 100 in single precision.
    np.testing.assert_allclose(to_numpy(asked.log_density(given)), asked.log_density(x.astype(float)), atol=1e-3)


def test_far_points_have_finite_answers():
    asked = mixture()
    far = np.array([[1e8, 0, 0], [0, -1e12, 3.0], [1e150, 1e150, 1e150]])
    with np.errstate(over="ignore"):
        assert np.all(np.isfinite(asked.score(far[:2])))
        assert np.all(np.isfinite(asked.evaluate(far[:2])[1]))


def test_number_of_parameters():
    assert [mixture(kind).n_parameters for kind in KINDS] == [2 + 9 + 18, 2 + 9 + 6, 2 + 9 + 9, 2 + 9 + 3]


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_copies_of_components_change_no_density(kind):
    rng = np.random.default_rng(0)
    values = {
        "full": np.array([np.eye(2), 2 * np.eye(2)]),
        "tied": np.eye(2),
        "diag": np.ones((2, 2)),
        "spherical": np.ones(2),
    }
    mixture = Mixture(np.array([0.3, 0.7]), rng.standard_normal((2, 2)), covariance_of(kind, values[kind], 2))
    more, x = repeated(mixture, 5), rng.standard_normal((20, 2))
    assert more.n_components == 5
    np.testing.assert_allclose(more.weights, [0.1, 0.1, 0.1, 0.35, 0.35])
    np.testing.assert_allclose(more.log_density(x), mixture.log_density(x), atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_component_of_no_weight_has_no_part(xp, kind):
    values = {
        "full": np.tile(np.eye(2), (3, 1, 1)),
        "tied": np.eye(2),
        "diag": np.ones((3, 2)),
        "spherical": np.ones(3),
    }
    mixture = Mixture(
        np.array([0.4, 0.0, 0.6]),
        np.array([[0.0, 0.0], [50.0, 50.0], [3.0, 0.0]]),
        covariance_of(kind, values[kind], 2),
    )
    x = np.array([[50.0, 50.0], [1.0, 1.0], [-60.0, 0.0]])
    part = mixture.take(np.array([0, 2]))
    log_density, shares = (to_numpy(answer) for answer in mixture.evaluate(xp.asarray(x)))
    # By hand: at (50, 50) the nearer of the two is (3, 0), whose weight is .6.
    assert log_density[0] == pytest.approx(np.log(0.6) - np.log(2 * np.pi) - (47**2 + 50**2) / 2)
    np.testing.assert_allclose(shares[:, [0, 2]], part.evaluate(x)[1])
    np.testing.assert_array_equal(shares[:, 1], 0)
    np.testing.assert_array_equal(to_numpy(mixture.predict(xp.asarray(x))), [2, 0, 0])
    np.testing.assert_allclose(to_numpy(mixture.log_density(xp.asarray(x))), log_density)
    for sigma in (0.0, 0.5, np.array([0.1, 0.5, 2.0])):
        np.testing.assert_allclose(to_numpy(mixture.denoise(xp.asarray(x), sigma)), part.denoise(x, sigma))
