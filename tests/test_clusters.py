"""Clusters: pieces of one Gaussian become one, two Gaussians stay two."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scoremix.arrays import to_numpy
from scoremix.features import Hermite, packed
from scoremix.learning.gkl.clusters import find_clusters, merge_cells
from scoremix.models.gates import SoftCells
from scoremix.models.ladder import Ladder
from scoremix.models.score_model import PiecewisePolynomial
from scoremix.models.subspace import Subspace
from scoremix.samples.source import ArraySource

CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 7.0]])
SHARES = np.array([0.2, 0.5, 0.3])


def sums_of(x, centers):
    """Packed moments of the points next to every centre."""
    labels = cdist(x, centers).argmin(axis=1)
    return np.array([packed(x[labels == j].T).sum(axis=1) for j in range(len(centers))])


def partition_of(groups):
    return {frozenset(group) for group in groups}


def test_an_elongated_gaussian_cut_in_pieces_is_one():
    x = np.random.default_rng(0).standard_normal((4000, 2)) * [10.0, 1.0]
    pieces = np.array([[-16.0, 0], [-8, 0], [0, 0], [8, 0], [16, 0]])
    assert partition_of(merge_cells(sums_of(x, pieces), 2, 1.0)) == {frozenset(range(5))}


def test_small_samples_of_one_gaussian_do_not_fall_apart():
    # What two Gaussians gain by chance is paid by the charge: 20 of 20 samples, none of 20 without it.
    pieces = np.array([[-9.0, 0], [-3, 0], [3, 0], [9, 0]])
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((30, 2)) * [6.0, 1.0]
        assert len(merge_cells(sums_of(x, pieces), 2, 1.0)) == 1


@pytest.mark.parametrize("pieces_each", [1, 3])
def test_two_gaussians_at_distance_4_stay_two(pieces_each):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 2)) * [1.0, 4.0] + np.repeat([[0.0, 0.0], [4.0, 0.0]], 2000, axis=0)
    heights = np.array([0.0]) if pieces_each == 1 else np.array([-4.0, 0.0, 4.0])
    centers = np.array([[side, height] for side in (0.0, 4.0) for height in heights])
    expected = {frozenset(range(pieces_each)), frozenset(range(pieces_each, 2 * pieces_each))}
    assert partition_of(merge_cells(sums_of(x, centers), 2, 1.0)) == expected


def test_two_round_gaussians_at_distance_2_look_like_one():
    x = np.random.default_rng(0).standard_normal((4000, 2)) + np.repeat([[0.0, 0], [2.0, 0]], 2000, axis=0)
    assert len(merge_cells(sums_of(x, np.array([[0.0, 0], [2.0, 0]])), 2, 1.0)) == 1


def test_cells_without_points_join_the_first_group():
    x = np.random.default_rng(0).standard_normal((1000, 2)) + np.repeat([[0.0, 0], [9.0, 0]], 500, axis=0)
    sums = np.insert(sums_of(x, np.array([[0.0, 0], [9.0, 0]])), 1, 0.0, axis=0)
    assert merge_cells(sums, 2, 1.0) == [[0, 1], [2]]


def test_every_cell_is_in_one_group_and_sums_are_kept():
    x = np.random.default_rng(0).uniform(-10, 10, (3000, 2))
    centers = np.random.default_rng(1).uniform(-10, 10, (20, 2))
    sums = sums_of(x, centers)
    kept = sums.copy()
    groups = merge_cells(sums, 2, 1.0)
    assert sorted(j for group in groups for j in group) == list(range(20))
    np.testing.assert_array_equal(sums, kept)


def test_a_few_points_are_no_cluster_of_their_own():
    # Five points on top of a Gaussian: the covariance shrunk to the floor, the charge does not pay.
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((1000, 2)), [1.5, 0.0] + 0.01 * rng.standard_normal((5, 2))])
    sums = np.array([packed(x[:1000].T).sum(axis=1), packed(x[1000:].T).sum(axis=1)])
    assert len(merge_cells(sums, 2, 1.0)) == 1


@pytest.fixture
def ladder():
    """The exact ladder of three clusters in a plane of 4 dimensions."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 2)))
    frame = Subspace(np.arange(4.0), basis, np.array([12.0, 10.0]), 1.0)
    level = PiecewisePolynomial(SoftCells(CENTERS, SHARES), Hermite(2, 0), np.zeros((3, 1, 2)), np.zeros(3, int), 1.0)
    return Ladder(np.array([3.0, 0.3]), (level, level), frame)


def rows_of(ladder, n=3000, seed=1):
    rng = np.random.default_rng(seed)
    mu = ladder.frame.embed(CENTERS[rng.choice(3, size=n, p=SHARES)].T)
    return mu + rng.standard_normal(mu.shape), ladder.frame.encode(mu).T


def test_clusters_of_a_ladder(xp, ladder):
    x, mu = rows_of(ladder)
    found = find_clusters(ArraySource(xp.asarray(x)), ladder, 0.01, np.random.default_rng(0), n_threads=1)
    order = np.argsort(-SHARES)
    # Shares and means of 600 to 1,500 rows: 0.009 and 0.04, four times; 0.2 % lie on the wrong side of a border.
    np.testing.assert_allclose(found.weights, SHARES[order], atol=0.04)
    np.testing.assert_allclose(found.centers, ladder.frame.embed(CENTERS[order].T), atol=0.17)
    np.testing.assert_allclose(found.weights.sum(), 1.0, rtol=1e-12)
    labels = found.labels(xp.asarray(np.ascontiguousarray(mu.T)))
    np.testing.assert_array_equal(to_numpy(labels), np.argsort(order)[cdist(mu, CENTERS).argmin(axis=1)])


def test_a_weight_is_a_share(ladder):
    x, mu = rows_of(ladder)
    labels = cdist(mu, CENTERS).argmin(axis=1)
    weight = np.array([4.0, 1.0, 1.0])[labels]
    found = find_clusters(ArraySource(x, weight), ladder, 0.01, np.random.default_rng(0), n_threads=1)
    expected = np.bincount(labels, weight) / weight.sum()
    # 0.2 % of the rows are on the wrong side of a border, four of them count fourfold.
    np.testing.assert_allclose(found.weights, np.sort(expected)[::-1], atol=0.01)


def test_chunks_and_threads_do_not_matter(ladder, monkeypatch):
    x, _ = rows_of(ladder)
    one = find_clusters(ArraySource(x), ladder, 0.01, np.random.default_rng(0), n_threads=1)
    monkeypatch.setattr("scoremix.learning.gkl.clusters.CHUNK_ROWS", 100)
    two = find_clusters(ArraySource(x), ladder, 0.01, np.random.default_rng(0), n_threads=2)
    np.testing.assert_allclose(one.centers, two.centers, rtol=1e-11)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-12)


def test_in_many_dimensions_a_matrix_is_not_worth_two_balls():
    # Two balls 4 apart, 400 points each: apart they gain about 0.3 nats per point over one Gaussian, 250 in all; a
    # matrix of 20 dimensions is charged 231 / 2 log 800 = 770, twice, a ball 21 / 2 log 800 = 70.
    rng, d = np.random.default_rng(0), 20
    centers = np.zeros((2, d))
    centers[1, 0] = 4.0
    x = np.repeat(centers, 400, axis=0) + rng.standard_normal((800, d))
    assert len(merge_cells(sums_of(x, centers), d, 1.0)) == 2
    wide = np.repeat(centers[:1], 800, axis=0) + rng.standard_normal((800, d))
    assert len(merge_cells(sums_of(wide, centers / 4), d, 1.0)) == 1
