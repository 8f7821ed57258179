"""The kernel: packed and stacked, one frame and many, double and single precision give the same densities."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scoremix.arrays import to_numpy
from scoremix.models.covariance.types import covariance_of
from scoremix.models.log_joint import LogJoint, choose_origins, itemsize_of, normalize_posterior


def dense_joint(weights, means, covariance, x):
    """``log w_k N_k(x)`` from SciPy, shape (k, n)."""
    matrices = covariance.dense(*means.shape)
    return np.array(
        [np.log(w) + multivariate_normal(m, s).logpdf(x.T) for w, m, s in zip(weights, means, matrices, strict=True)]
    )


def assembled(joint, x, n):
    """The blocks of a joint, put together in the order of the points."""
    out = np.full((joint.n_components, n), np.nan)
    for part in joint.parts(x):
        order = slice(None) if part.order is None else to_numpy(part.order)
        out[:, order] = to_numpy(part.log_joint)
    return out


def scene(k, d, spread=3.0, condition=1.0, n=200, seed=0):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((k, d))
    axes = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    full = (axes * np.geomspace(1, 1 / condition, d)) @ np.swapaxes(axes, 1, 2)
    labels = rng.integers(k, size=n)
    x = means[labels] + np.einsum("nij,nj->ni", np.linalg.cholesky(full)[labels], rng.standard_normal((n, d)))
    return np.full(k, 1 / k), means, covariance_of("full", (full + np.swapaxes(full, 1, 2)) / 2, d), x.T


@pytest.mark.parametrize(
    ("k", "d", "condition", "stacked"), [(20, 3, 1, False), (2, 8, 1, True), (8, 3, 1e6, True), (3, 3, 10, False)]
)
def test_densities_are_those_of_scipy(xp, k, d, condition, stacked):
    weights, means, covariance, x = scene(k, d, condition=condition)
    joint = LogJoint(weights, means, covariance)
    assert joint.is_stacked == stacked
    ours = assembled(joint, xp.asarray(x), x.shape[1])
    expected = dense_joint(weights, means, covariance, x)
    # Rounding relative to each logarithm (far components have large ones); SciPy's carries 2e-16 x condition.
    np.testing.assert_allclose(ours, expected, rtol=1e-8 if condition > 10 else 1e-11, atol=1e-9)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_frames_keep_the_digits_of_distant_components(kind):
    weights, means, _, _ = scene(4, 3, spread=1e6)
    x = (means[np.arange(40) % 4] + np.random.default_rng(1).standard_normal((40, 3))).T
    values = {
        "full": np.tile(np.eye(3), (4, 1, 1)),
        "tied": np.eye(3),
        "diag": np.ones((4, 3)),
        "spherical": np.ones(4),
    }
    joint = LogJoint(weights, means, covariance_of(kind, values[kind], 3))
    assert len(joint.frames) == 4
    nearest = np.arange(40) % 4
    ours = assembled(joint, x, 40)[nearest, np.arange(40)]
    offsets = x.T - means[nearest]
    expected = np.log(0.25) - 0.5 * (3 * np.log(2 * np.pi) + np.sum(offsets**2, axis=1))
    # x - m itself is exact to 1e6 x 1e-16 = 1e-10; one frame at the centre would lose all but 4 digits.
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_one_frame_where_means_are_near():
    weights, means, covariance, _ = scene(5, 2)
    np.testing.assert_allclose(choose_origins(weights, means, covariance, 1e4), weights @ means[None])


def test_every_mean_is_near_a_frame():
    weights, means, covariance, _ = scene(30, 2, spread=1e3)
    frames = choose_origins(weights, means, covariance, 1e4)
    assert 1 < len(frames) <= 30
    nearest = np.min([covariance.squared_distance(means, frame) for frame in frames], axis=0)
    assert nearest.max() <= 1e4


def test_single_precision_is_kept_and_close(xp):
    weights, means, covariance, x = scene(6, 3)
    joint = LogJoint(weights, means, covariance, itemsize=4)
    single = xp.asarray(x, dtype=xp.float32)
    assert itemsize_of(single) == 4
    for part in joint.parts(single):
        assert part.log_joint.dtype == xp.float32
    # Products of size 100 in single precision: 100 x 6e-8 x some ten of them.
    np.testing.assert_allclose(
        assembled(joint, single, 200), dense_joint(weights, means, covariance, x), rtol=1e-4, atol=1e-3
    )


def test_normalise_never_makes_denormal_or_infinite_numbers(xp):
    log_joint = np.array([[0.0, -1e5, 700.0], [-1e5, 3.0, -700.0]])
    relative, total, log_density = (to_numpy(part) for part in normalize_posterior(xp.asarray(log_joint)))
    np.testing.assert_array_equal(log_density, [0.0, 3.0, 700.0])
    assert relative.min() > 1e-300
    np.testing.assert_array_equal(total, 1.0)


@pytest.mark.parametrize("stacked", [False, True])
def test_gradient_is_the_score(stacked):
    condition, spread = (1e6, 1e-3) if stacked else (1.0, 3.0)
    weights, means, covariance, x = scene(3, 3, spread, condition, n=5)
    joint = LogJoint(weights, means, covariance)
    assert joint.is_stacked == stacked
    (part,) = joint.parts(x)
    relative, total, _ = normalize_posterior(part.log_joint)
    ours = joint.gradient(part, relative / total)
    inverse = np.linalg.inv(covariance.values)
    shares = np.exp(dense_joint(weights, means, covariance, x))
    shares /= shares.sum(axis=0)
    expected = np.einsum("kn,kij,kjn->in", shares, -inverse, x[None] - means[:, :, None])
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
