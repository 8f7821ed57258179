"""Likelihood-ratio cells: Bayes' rule, Voronoi cells and closed-form scores are the judges."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from scoremix.arrays import to_numpy
from scoremix.features import Hermite
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.score_model import PiecewiseScore, local_design, trust_radius

CROSSED = np.array([np.diag([9.0, 0.04]), np.diag([0.04, 9.0])])
ONE = np.zeros(1, dtype=np.intp)


def cells(means=((0.0, 0.0), (8.0, 1.0), (9.0, 2.0)), groups=(0, 1, 1), covariances=CROSSED, kinds=(0, 1), basis=None):
    means, groups, kinds = np.array(means), np.array(groups), np.array(kinds)
    n_cells = (groups.max() + 1) * (kinds.max() + 1)
    basis = np.eye(means.shape[1]) if basis is None else basis
    return LikelihoodRatio(means, groups, np.array(covariances), kinds, basis, np.full(n_cells, 1 / n_cells))


def points(n=600, seed=0, scale=6.0):
    return np.random.default_rng(seed).normal(4.0, scale, (2, n))


def brute_force(asked, y, variance):
    """Labels by densities of SciPy, pair of lists after pair of lists."""
    nearest = cdist((asked.basis.T @ y).T, asked.means @ asked.basis).argmin(axis=1)
    noise = np.broadcast_to(variance, y.shape[1])
    labels = []
    for point, m, v in zip(y.T, nearest, noise, strict=True):
        logs = [multivariate_normal.logpdf(point, asked.means[m], s + v * np.eye(len(s))) for s in asked.covariances]
        labels.append(asked.groups[m] * (asked.kinds.max() + 1) + asked.kinds[int(np.argmax(logs))])
    return np.array(labels)


@pytest.mark.parametrize("per_point", [False, True])
def test_labels_are_those_of_densities(xp, per_point):
    y = points()
    variance = np.linspace(0.01, 30, y.shape[1]) if per_point else 0.5
    labels = cells().labels(xp.asarray(y), xp.asarray(variance) if per_point else variance)
    np.testing.assert_array_equal(to_numpy(labels), brute_force(cells(), y, variance))


def test_the_winner_passes_every_pairwise_test():
    """Algorithm 5 word for word: z^T (K_i - K_j) z < t_ij for all j, K of the noisy covariances."""
    rng = np.random.default_rng(1)
    root = rng.standard_normal((4, 2, 2))
    covariances = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(2)
    asked, z, v = cells(covariances=covariances, kinds=np.arange(4)), rng.standard_normal((2, 300)), 0.3
    precision = np.linalg.inv(covariances + v * np.eye(2))
    for offset, winner in zip(z.T, asked.likeliest(z, v), strict=True):
        for j in set(range(4)) - {int(winner)}:
            threshold = np.linalg.slogdet(precision[winner])[1] - np.linalg.slogdet(precision[j])[1]
            assert offset @ (precision[winner] - precision[j]) @ offset < threshold


def test_crossed_components_of_one_mean_are_told_apart_where_voronoi_cells_cannot():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 4000)
    y = rng.standard_normal((2, 4000)) * np.sqrt(CROSSED[truth][:, [0, 1], [0, 1]]).T
    labels = cells(means=[[0.0, 0.0]], groups=[0]).labels(y, 0.0)
    # Equal determinants: a row is misjudged where its long coordinate is the shorter one, of probability
    # (2 / pi) atan(.2 / 3) = .0424; three standard errors of 4000 rows are .0095.
    assert np.mean(labels != truth) == pytest.approx(0.0424, abs=0.0095)


def test_cells_are_the_common_refinement():
    y, asked = points(), cells()
    by_mean = replace(asked, kinds=np.zeros(2, dtype=np.intp), weights=np.ones(2)).labels(y, 1.0)
    by_covariance = replace(asked, groups=np.zeros(3, dtype=np.intp), weights=np.ones(2)).labels(y, 1.0)
    np.testing.assert_array_equal(asked.labels(y, 1.0), 2 * by_mean + by_covariance)
    assert len(set(asked.labels(y, 1.0))) == 4


def test_means_are_compared_in_the_subspace_only():
    """A candidate far away across the subspace is as near as its projection."""
    asked = cells(means=[[0.0, 0.0], [5.0, 100.0]], groups=[0, 1], kinds=[0, 0], basis=np.array([[1.0], [0.0]]))
    np.testing.assert_array_equal(asked.labels(np.array([[4.0, 1.0], [0.0, 50.0]]), 1.0), [1, 0])


def test_noise_makes_the_ratios_forget():
    """At large noise the thresholds follow: both kinds are as common among points of the noisy mixture."""
    rng, sigma = np.random.default_rng(3), 20.0
    y = rng.standard_normal((2, 20_000)) * np.sqrt(CROSSED[0].diagonal())[:, None]
    y = np.concatenate([y, y[::-1]], axis=1) + sigma * rng.standard_normal((2, 40_000))
    share = np.mean(cells(means=[[0.0, 0.0]], groups=[0]).labels(y, sigma**2))
    assert share == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(40_000))  # four standard errors of a coin


@pytest.mark.parametrize("variance", [0.0, 2.0])
def test_partition_covers_all_points_once_and_restores_their_order(xp, variance):
    y, asked = xp.asarray(points()), cells()
    partition = asked.partition(y, variance)
    assert [b.start for b in partition.blocks] == [0, *(b.stop for b in partition.blocks)][:-1]
    assert partition.blocks[-1].stop == y.shape[1]
    labels = np.repeat([int(b.cells[0]) for b in partition.blocks], [b.stop - b.start for b in partition.blocks])
    np.testing.assert_array_equal(labels, to_numpy(partition.arrange(asked.labels(y, variance))))
    np.testing.assert_array_equal(to_numpy(partition.restore(partition.arrange(y))), to_numpy(y))
    assert asked.systems() == (4, 1)


def test_cells_have_the_gaussian_of_their_group_and_kind():
    asked = cells()
    np.testing.assert_allclose(asked.centers, [[0, 0], [0, 0], [8.5, 1.5], [8.5, 1.5]])
    spread = np.full((2, 2), 0.25)  # of the means (8, 1) and (9, 2) about (8.5, 1.5)
    np.testing.assert_allclose(asked.spreads, [CROSSED[0], CROSSED[1], CROSSED[0] + spread, CROSSED[1] + spread])


def test_flat_covariances_do_not_fail():
    flat = np.array([np.diag([1.0, 0.0]), np.zeros((2, 2)), np.diag([0.0, 4.0])])
    asked = cells(means=[[0.0, 0.0]], groups=[0], covariances=flat, kinds=np.arange(3))
    np.testing.assert_array_equal(asked.labels(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), 0.0), [0, 1, 2])
    model = PiecewiseScore(asked, Hermite(2, 0), np.zeros((3, 1, 2)), np.zeros(3, dtype=np.intp))
    assert np.all(np.isfinite(model.score(points(), 0.3)))


def model(degree=2, seed=4):
    asked, features = cells(), Hermite(2, degree)
    coef = 0.1 * np.random.default_rng(seed).standard_normal((4, features.sizes[-1], 2))
    return PiecewiseScore(asked, features, coef, np.full(4, degree))


@pytest.mark.parametrize("per_point", [False, True])
def test_score_is_the_formula(xp, per_point):
    y, asked = points(), model()
    sigma = np.linspace(0.3, 3, y.shape[1]) if per_point else 0.7
    labels = brute_force(asked.cells, y, sigma**2)
    expected = np.empty_like(y)
    for i, (point, j, s) in enumerate(zip(y.T, labels, np.broadcast_to(sigma, y.shape[1]), strict=True)):
        values, axes = np.linalg.eigh(asked.cells.spreads[j] + s**2 * np.eye(2))
        root = axes / np.sqrt(values) @ axes.T
        u = root @ (point - asked.centers[j])
        clipped = u * min(1.0, trust_radius(2) / np.linalg.norm(u))
        expected[:, i] = root @ (asked.coef[j].T @ asked.features(clipped[:, None])[:, 0] - u)
    got = to_numpy(asked.score(xp.asarray(y), xp.asarray(sigma) if per_point else sigma))
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)  # rounding times u^2 <= 1e3


def test_one_cell_without_polynomial_is_its_gaussian(xp):
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    asked = cells(means=[[1.0, -1.0]], groups=[0], covariances=[covariance], kinds=[0])
    alone = PiecewiseScore(asked, Hermite(2, 0), np.zeros((1, 1, 2)), ONE, 0.5)
    y = points()
    expected = -np.linalg.solve(covariance + 0.49 * np.eye(2), y - np.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(to_numpy(alone.score(xp.asarray(y), 0.7)), expected, rtol=1e-11, atol=1e-12)
    mean = to_numpy(alone.posterior_mean(xp.asarray(y), 0.7))
    np.testing.assert_allclose(mean, y + 0.74 * expected, rtol=1e-11, atol=1e-12)


def test_far_away_the_score_is_linear_with_the_slope_of_the_cell():
    asked, direction = model(3), np.array([[0.0], [-1.0]])
    precision = np.linalg.inv(asked.cells.spreads[1] + 0.49 * np.eye(2))
    steps = asked.score(1e3 * direction, 0.7) - asked.score(3e3 * direction, 0.7)
    np.testing.assert_allclose(steps, 2e3 * precision @ direction, rtol=1e-9, atol=1e-9)


def test_local_coordinates_whiten_the_cell():
    rng, asked = np.random.default_rng(5), cells()
    y = asked.centers[2][:, None] + np.linalg.cholesky(asked.spreads[2] + 0.25 * np.eye(2)) @ rng.standard_normal(
        (2, 100_000)
    )
    u, matrix = local_design(asked, Hermite(2, 1), 2, y, 0.25)
    np.testing.assert_allclose(u @ u.T / u.shape[1], np.eye(2), atol=5 * np.sqrt(2 / 100_000))  # five standard errors
    assert np.linalg.norm(matrix[1:], axis=0).max() <= trust_radius(2) * (1 + 1e-12)
