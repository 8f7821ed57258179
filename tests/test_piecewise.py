"""The piecewise polynomial of one level: written out term by term, and where it is exact."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from scoremix.arrays import to_numpy
from scoremix.features import Hermite
from scoremix.models import gates as cells_module
from scoremix.models.gates import LOGIT_CUT, SoftCells, Voronoi
from scoremix.models.score_model import TRUST_RADIUS, PiecewisePolynomial, clip_to_ball, design

CENTERS = np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def model(degree, kind=SoftCells, noise_scale=0.8, centers=CENTERS, weights=WEIGHTS, seed=0):
    """A model with random coefficients."""
    features = Hermite(centers.shape[1], degree)
    coef = 0.3 * np.random.default_rng(seed).standard_normal((len(centers), features.sizes[-1], centers.shape[1]))
    return PiecewisePolynomial(kind(centers, weights), features, coef, np.full(len(centers), degree), noise_scale)


def crowd(k):
    """Many cells, on a grid."""
    rng = np.random.default_rng(3)
    side = int(np.ceil(np.sqrt(k)))
    centers = np.array([(1.5 * i, 1.5 * j) for i in range(side) for j in range(side)])[:k]
    return centers, rng.dirichlet(np.ones(k))


def points(n=300, seed=1, spread=3.0):
    return spread * np.random.default_rng(seed).standard_normal((2, n)) + 1.0


def exact_posterior_mean(centers, weights, y, variance):
    """E[mu | y] of a mixture of Gaussians of equal variance."""
    r = softmax(np.log(weights)[:, None] - cdist(centers, y.T, "sqeuclidean") / (2 * variance), axis=0)
    return centers.T @ r


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_degree_0_at_the_exact_centres_is_the_posterior_mean(xp, sigma, monkeypatch):
    monkeypatch.setattr(cells_module, "LOGIT_CUT", -600.0)
    features = Hermite(2, 0)
    exact = PiecewisePolynomial(SoftCells(CENTERS, WEIGHTS), features, np.zeros((3, 1, 2)), np.zeros(3, int), 0.8)
    y = points()
    ours = to_numpy(exact.posterior_mean(xp.asarray(y), sigma))
    # Rounding of logits of size 100.
    np.testing.assert_allclose(ours, exact_posterior_mean(CENTERS, WEIGHTS, y, 0.64 + sigma**2), atol=1e-12)


def test_the_threshold_moves_the_posterior_mean_little():
    centers, weights = crowd(40)
    features = Hermite(2, 0)
    fast = PiecewisePolynomial(SoftCells(centers, weights), features, np.zeros((40, 1, 2)), np.zeros(40, int), 0.8)
    y = points()
    error = fast.posterior_mean(y, 0.6) - exact_posterior_mean(centers, weights, y, 1.0)
    # Each of a cells loses at most 1e-3, which goes to the others: |error| <= 2 a 1e-3 x the distances that matter.
    # With s = 1 and 1.5 between centres about 15 cells are active, within 4 of each other.
    assert 0 < np.abs(error).max() < 2 * 15 * np.exp(LOGIT_CUT) * 4


@pytest.mark.parametrize("kind", [SoftCells, Voronoi])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_formula_term_by_term(xp, kind, degree, monkeypatch):
    monkeypatch.setattr(cells_module, "LOGIT_CUT", -600.0)
    asked, sigma, y = model(degree, kind), 0.6, points()
    scale, expected = 1.0, np.zeros_like(y)  # 0.8^2 + 0.6^2 = 1
    squared = cdist(CENTERS, y.T, "sqeuclidean")
    soft = softmax(np.log(WEIGHTS)[:, None] - squared / 2, axis=0)
    r = soft if kind is SoftCells else (np.arange(3)[:, None] == squared.argmin(axis=0)).astype(float)
    for j, center in enumerate(CENTERS):
        u = (y - center[:, None]) / scale
        u *= np.minimum(1, TRUST_RADIUS / np.linalg.norm(u, axis=0))
        polynomial = asked.coef[j].T @ Hermite(2, degree)(u)
        expected += r[j] * (center[:, None] + scale * polynomial)
    # Polynomials of degree 3 within radius 4.5 are sums of terms <= 100: rounding 1e-13.
    np.testing.assert_allclose(to_numpy(asked.posterior_mean(xp.asarray(y), sigma)), expected, atol=1e-11)


@pytest.mark.parametrize("kind", [SoftCells, Voronoi])
def test_constant_beyond_the_trust_radius(kind):
    one = model(3, kind, centers=CENTERS[:1], weights=np.ones(1))
    direction = np.array([[0.6], [0.8]])
    for sigma in (0.6, 3.0):
        scale = np.hypot(0.8, sigma)
        edge = one.posterior_mean(TRUST_RADIUS * scale * direction, sigma)
        beyond = one.posterior_mean(direction * np.array([[5.0, 40.0, 1e8]]) * scale, sigma)
        inside = one.posterior_mean(4.0 * scale * direction, sigma)
        np.testing.assert_allclose(beyond, np.repeat(edge, 3, axis=1), rtol=1e-9)
        assert np.abs(inside - edge).max() > 1e-3


@pytest.mark.parametrize("kind", [SoftCells, Voronoi])
@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("degree", [0, 2])
def test_a_level_per_row_equals_a_level_for_all(xp, kind, k, degree):
    centers, weights = (CENTERS, WEIGHTS) if k == 3 else crowd(k)
    asked, y = model(degree, kind, centers=centers, weights=weights), points(spread=4.0)
    sigmas = np.array([0.3, 1.1, 2.5])[np.arange(y.shape[1]) % 3]
    together = to_numpy(asked.posterior_mean(xp.asarray(y), xp.asarray(sigmas)))
    for sigma in (0.3, 1.1, 2.5):
        rows = sigmas == sigma
        alone = to_numpy(asked.posterior_mean(xp.asarray(np.ascontiguousarray(y[:, rows])), sigma))
        # Blocks of other rows only change the order of sums; terms are <= 100.
        np.testing.assert_allclose(together[:, rows], alone, atol=1e-11)


def test_a_row_does_not_depend_on_its_neighbours():
    centers, weights = crowd(40)
    asked, y = model(1, centers=centers, weights=weights), points()
    alone = np.concatenate([asked.posterior_mean(y[:, i : i + 1], 0.6) for i in range(60)], axis=1)
    np.testing.assert_allclose(asked.posterior_mean(y, 0.6)[:, :60], alone, atol=1e-11)


def test_precision_and_input_are_kept(xp):
    asked, y = model(2), points()
    single = xp.asarray(y, dtype=xp.float32)
    out = asked.posterior_mean(single, 0.6)
    assert out.dtype == xp.float32
    np.testing.assert_array_equal(to_numpy(single), y.astype(np.float32))
    # Single precision: 6e-8 relative of terms <= 100, some ten of them.
    np.testing.assert_allclose(to_numpy(out), asked.posterior_mean(y, 0.6), atol=2e-4)


def test_design_holds_the_weight_in_feature_0_and_leaves_room(xp):
    asked, y = model(2), points()
    partition = asked.cells.partition(xp.asarray(y), 1.0)
    for room in (0, 2):
        for block, matrix in design(asked.cells, partition, asked.features, xp.asarray(y), 1.0, room):
            np.testing.assert_array_equal(to_numpy(matrix[: 6 * len(block.cells) : 6, :]), to_numpy(block.weight))
            assert matrix.shape == (6 * len(block.cells) + room, block.stop - block.start)


def test_clip_to_ball_keeps_directions_and_what_is_inside(xp):
    u = np.random.default_rng(0).standard_normal((2, 3, 50)) * 2
    given = xp.asarray(u.copy())
    clip_to_ball(given, 2.5)
    clipped = to_numpy(given)
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    assert (norm > 2.5).any()
    np.testing.assert_allclose(clipped, u * np.minimum(1, 2.5 / norm), rtol=1e-14)
