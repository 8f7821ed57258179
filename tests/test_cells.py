"""Cells: brute force, SciPy and the dense partition are the judges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import softmax

from scoremix.arrays import to_numpy
from scoremix.models import gates as module
from scoremix.models.gates import DENSE_CELLS, LOGIT_CUT, SoftCells, Voronoi, neighbour_order


def scene(k, n=700, d=2, seed=0):
    """Centres in a square that grows with k, points around them, weights far from equal."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 2 * np.sqrt(k), (k, d))
    centers = centers[neighbour_order(centers)]
    y = centers[rng.integers(k, size=n)] + rng.standard_normal((n, d))
    weights = rng.dirichlet(np.ones(k))
    return centers, weights, np.ascontiguousarray(y.T)


def dense_weights(partition, k, n):
    """The weights of a partition as one (k, n) matrix, in the order the points came in."""
    out = np.zeros((k, n))
    for block in partition.blocks:
        weight = 1.0 if block.weight is None else to_numpy(block.weight)
        out[block.cells, block.start : block.stop] = weight
    order = np.arange(n) if partition.order is None else to_numpy(partition.order)
    restored = np.empty_like(out)
    restored[:, order] = out
    return restored


def thresholded(centers, weights, y, variance):
    """Responsibilities from SciPy, with the small ones cut as `SoftCells` says."""
    logits = np.log(weights)[:, None] - cdist(centers, y.T, "sqeuclidean") / (2 * np.asarray(variance))
    r = np.maximum(np.exp(logits - logits.max(axis=0)) - np.exp(LOGIT_CUT), 0)
    return r / r.sum(axis=0)


def test_voronoi_labels_are_the_nearest_centres(xp):
    centers, weights, y = scene(12)
    labels = Voronoi(centers, weights).labels(xp.asarray(y))
    np.testing.assert_array_equal(to_numpy(labels), cdist(y.T, centers).argmin(axis=1))


def test_voronoi_blocks_are_the_cells_that_have_points(xp):
    centers, weights, y = scene(12)
    cells = Voronoi(np.concatenate([centers, [[1e6, 1e6]]]), np.append(weights, 0.0))
    partition = cells.partition(xp.asarray(y))
    nearest = cdist(y.T, centers).argmin(axis=1)
    np.testing.assert_array_equal(dense_weights(partition, 13, y.shape[1]), np.arange(13)[:, None] == nearest)
    assert [int(b.cells[0]) for b in partition.blocks] == sorted(set(nearest))
    assert cells.systems() == (13, 1)


@pytest.mark.parametrize("per_point", [False, True])
def test_responsibilities_are_scipys_softmax(xp, per_point):
    centers, weights, y = scene(9)
    variance = np.linspace(0.3, 5, y.shape[1]) if per_point else 1.7
    asked = xp.asarray(variance) if per_point else variance
    ours = SoftCells(centers, weights).responsibilities(xp.asarray(y), asked)
    logits = np.log(weights)[:, None] - cdist(centers, y.T, "sqeuclidean") / (2 * variance)
    # Logits of size 100 carry rounding 100 * 2e-16.
    np.testing.assert_allclose(to_numpy(ours), softmax(logits, axis=0), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("per_point", [False, True])
@pytest.mark.parametrize("k", [1, 5, DENSE_CELLS, DENSE_CELLS + 1, 120])
def test_partition_equals_the_dense_computation(xp, k, per_point):
    centers, weights, y = scene(k)
    variance = np.linspace(0.5, 2, y.shape[1]) if per_point else 1.3
    asked = xp.asarray(variance) if per_point else variance
    partition = SoftCells(centers, weights).partition(xp.asarray(y), asked)
    expected = thresholded(centers, weights, y, variance)
    # Weights are divided by at least 1 - 1e-3: 1e-12 as above is ample.
    np.testing.assert_allclose(dense_weights(partition, k, y.shape[1]), expected, atol=1e-12)
    assert (partition.order is None) == (k <= DENSE_CELLS)


def test_many_cells_are_walked_in_sparse_blocks():
    centers, weights, y = scene(120, n=5000)
    blocks = SoftCells(centers, weights).partition(y, 1.0).blocks
    work = sum(len(b.cells) * (b.stop - b.start) for b in blocks)
    assert len(blocks) > 5
    assert work < 0.5 * 120 * 5000  # the whole point: fewer than half of all pairs are touched


@given(st.integers(1, 60), st.integers(1, 900), st.booleans(), st.integers(0, 9))
def test_blocks_cover_all_points_once_with_weights_that_sum_to_one(k, n, hard, seed):
    centers, weights, y = scene(k, n, seed=seed)
    cells = Voronoi(centers, weights) if hard else SoftCells(centers, weights)
    partition = cells.partition(y, 1.0)
    ends = [0, *(b.stop for b in partition.blocks)]
    assert [b.start for b in partition.blocks] == ends[:-1]
    assert ends[-1] == n
    assert all(b.stop > b.start for b in partition.blocks)
    total = dense_weights(partition, k, n)
    assert total.min() >= 0
    np.testing.assert_allclose(total.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("k", [3, 80])
def test_restore_undoes_arrange(xp, k):
    centers, weights, y = scene(k)
    for cells in (Voronoi(centers, weights), SoftCells(centers, weights)):
        partition = cells.partition(xp.asarray(y), 1.0)
        back = partition.restore(partition.arrange(xp.asarray(y)))
        np.testing.assert_array_equal(to_numpy(back), y)


def test_points_far_outside_have_weights_too(xp):
    centers, weights, _ = scene(40)
    far = np.array([[1e9, -1e9, 0.0, 3e7], [0.0, 1e9, -1e12, 3e7]])
    for k in (5, 40):
        cells = SoftCells(centers[:k], weights[:k] / weights[:k].sum())
        total = dense_weights(cells.partition(xp.asarray(far), 0.01), k, 4)
        assert np.all(np.isfinite(total))
        np.testing.assert_allclose(total.sum(axis=0), 1.0, rtol=1e-12)


def test_equal_responsibilities_survive_however_many_they_are():
    k = 2 * int(np.exp(-LOGIT_CUT))
    cells = SoftCells(np.zeros((k, 1)), np.full(k, 1 / k))
    weight = dense_weights(cells.partition(np.zeros((1, 3)), 1.0), k, 3)
    np.testing.assert_allclose(weight, 1 / k)


def test_weights_are_continuous_where_a_cell_drops_out():
    cells = SoftCells(np.array([[0.0], [4.0]]), np.array([0.5, 0.5]))
    y = np.linspace(-1, 5, 60_001)[None, :]
    weight = dense_weights(cells.partition(y, 1.0), 2, y.shape[1])
    # The responsibility has slope <= 1 here and steps are 1e-4; a plain cut would jump by 1e-3.
    assert np.abs(np.diff(weight, axis=1)).max() < 1.2e-4
    assert weight.min() == 0.0


def test_ties_go_to_the_first_centre(xp):
    # Points on a lattice lie exactly between centres: the sum of their indices would be another cell.
    centers = np.array([[-1.0], [1.0], [3.0], [5.0]])
    labels = Voronoi(centers, np.full(4, 0.25)).labels(xp.asarray([[0.0, 0.5, 2.0, 4.0, 9.0]]))
    np.testing.assert_array_equal(to_numpy(labels), [0, 1, 1, 2, 3])


def test_asking_does_not_change_the_points():
    centers, weights, y = scene(40)
    before = y.copy()
    for cells in (Voronoi(centers, weights), SoftCells(centers, weights)):
        cells.partition(y, 1.0)
    np.testing.assert_array_equal(y, before)


@given(st.integers(1, 70), st.integers(1, 4), st.integers(0, 99))
def test_neighbour_order_is_a_permutation(k, d, seed):
    centers = np.random.default_rng(seed).standard_normal((k, d))
    np.testing.assert_array_equal(np.sort(neighbour_order(centers)), np.arange(k))


def test_neighbour_order_takes_short_steps():
    centers = np.random.default_rng(0).uniform(size=(256, 2))
    steps = np.linalg.norm(np.diff(centers[neighbour_order(centers)], axis=0), axis=1)
    # At random a step is 0.52 long; one cell of a 16 x 16 grid is 1/16. Halving costs about two of these.
    assert steps.mean() < 2.5 / 16


def test_a_block_holds_enough_rows_to_be_worth_it(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 50)
    centers, weights, y = scene(60, n=2000)
    blocks = SoftCells(centers, weights).partition(y, 1.0).blocks
    assert all(b.stop - b.start >= 50 for b in blocks[:-1])
