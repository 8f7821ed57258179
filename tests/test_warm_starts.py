"""Warm starts: covers that find what is there, and EM steps that go where they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scoremix.learning.gkl.warm_starts import (
    MAX_CELLS,
    OVER_COVER,
    UNCOVERED,
    greedy_cover,
    nearest_centers,
    over_cover,
    refine_by_em,
)
from scoremix.models.gates import SoftCells

CENTERS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def clusters(counts=(400, 300, 200, 100), spread=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return np.repeat(CENTERS, counts, axis=0) + spread * rng.standard_normal((sum(counts), 2))


def test_cover_finds_separated_clusters_largest_first():
    centers, left = greedy_cover(clusters(), 1.0, min_count=10)
    assert left == 0
    # Means of 100 to 400 points of spread 0.2: 0.02 at most, four times.
    np.testing.assert_allclose(centers, CENTERS, atol=0.08)


def test_small_groups_are_left_uncovered():
    points = np.concatenate([clusters(), [[30.0, 30.0]] * 9])
    centers, left = greedy_cover(points, 1.0, min_count=10)
    assert (len(centers), left) == (4, 9)
    centers, left = greedy_cover(points, 1.0, min_count=9)
    assert (len(centers), left) == (5, 0)


def test_there_is_always_one_centre():
    centers, left = greedy_cover(CENTERS, 1.0, min_count=10)
    assert (len(centers), left) == (1, 3)
    np.testing.assert_array_equal(centers[0], CENTERS[0])


@given(st.integers(1, 120), st.integers(1, 5), st.floats(0.1, 3), st.integers(0, 50))
def test_covering_property(m, min_count, radius, seed):
    points = np.random.default_rng(seed).standard_normal((m, 2)) * 2
    centers, left = greedy_cover(points, radius, min_count)
    distances = cdist(points, centers)
    # A ball's mean is within a radius of its middle, and what lies within two of the middle is covered.
    assert np.count_nonzero(distances.min(axis=1) >= 3 * radius) <= left
    if min_count == 1:
        assert left == 0
    # What is left has no ball with min_count points of its own.
    assert left < m
    assert len(centers) >= 1


def test_cover_is_algorithm_2_line_by_line():
    # 600 points make three blocks of distances; this is Algorithm 2 line by line, from all distances at once.
    points, radius = np.random.default_rng(1).uniform(0, 10, (600, 2)), 1.0
    distance, alive, expected = cdist(points, points), np.ones(600, dtype=bool), []
    while alive.any():
        counts = np.where(alive, (distance < radius) @ alive.astype(int), -1)
        best = int(np.argmax(counts))
        if counts[best] < 3 and expected:
            break
        expected.append(points[(distance[best] < radius) & alive].mean(axis=0))
        alive &= distance[best] >= 2 * radius
    centers, left = greedy_cover(points, radius, 3)
    np.testing.assert_allclose(centers, expected, rtol=1e-12)
    assert left == alive.sum()


def test_nearest():
    points = np.random.default_rng(0).uniform(-2, 10, (200, 2))
    np.testing.assert_array_equal(nearest_centers(points, CENTERS), cdist(points, CENTERS).argmin(axis=1))


@given(st.integers(1, 40), st.floats(0.2, 3.0), st.integers(0, 30))
def test_over_cover_stays_within_its_bounds(max_cells, scale, seed):
    points = np.random.default_rng(seed).standard_normal((300, 2)) * 4
    cells = over_cover(points, scale, max_cells)
    assert 1 <= len(cells.centers) <= max_cells
    assert cells.weights.min() > 0
    np.testing.assert_allclose(cells.weights.sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("max_cells", [8, 20, 60, MAX_CELLS])
def test_over_cover_takes_the_finest_radius_that_fits(max_cells):
    points = np.random.default_rng(0).uniform(0, 6, (1500, 2))
    tried = [greedy_cover(points, factor, 2) for factor in OVER_COVER]
    outliers = tried[-1][1]
    fitting = [len(c) for c, left in tried if len(c) <= max_cells and left <= outliers + UNCOVERED * len(points)]
    expected = fitting[0] if fitting else min(max_cells, len(tried[-1][0]))
    assert len(over_cover(points, 1.0, max_cells).centers) == expected


def test_over_cover_needs_more_cells_than_clusters_but_few_where_points_gather():
    spread_out = over_cover(clusters(spread=1.0), 1.0)
    assert len(spread_out.centers) > 4
    gathered = over_cover(clusters(spread=0.01), 1.0)
    assert len(gathered.centers) == 4
    by_place = np.lexsort(gathered.centers.round().T)
    np.testing.assert_allclose(gathered.weights[by_place], np.array([401, 301, 201, 101]) / 1004, rtol=1e-12)


def test_lone_points_are_not_cells():
    cells = over_cover(np.concatenate([clusters(spread=0.01), [[100.0, 0.0], [0.0, 100.0]]]), 1.0)
    assert len(cells.centers) == 4


def test_neighbouring_cells_are_near():
    centers = over_cover(np.random.default_rng(0).uniform(0, 30, (3000, 2)), 1.0).centers
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    # At random a step is 0.52 x 30 = 16; the cells are about 1.5 apart.
    assert steps.mean() < 5


def noisy_batches(n_batches, m, shares, scale, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n_batches):
        yield (CENTERS[rng.choice(4, size=m, p=shares)] + scale * rng.standard_normal((m, 2))).T


def test_refine_reaches_the_centres():
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    start = SoftCells(CENTERS + np.random.default_rng(3).uniform(-1.5, 1.5, (4, 2)), np.full(4, 0.25))
    cells = refine_by_em(start, list(noisy_batches(20, 5000, shares, 2.0)), 4.0)
    # The second half averages 5e4 points; the smallest cell has 5e3 of spread 2, so 0.03 per coordinate, and overlap
    # (separation 4) doubles it: three times that. Shares: 0.5 / sqrt(5e4) = 0.0022, doubled, three times.
    np.testing.assert_allclose(cells.centers, CENTERS, atol=0.18)
    np.testing.assert_allclose(cells.weights, shares, atol=0.013)


def test_a_first_step_is_plain_em():
    start = SoftCells(CENTERS + 0.5, np.array([0.1, 0.2, 0.3, 0.4]))
    (y,) = noisy_batches(1, 500, np.full(4, 0.25), 2.0)
    r = start.responsibilities(y, 4.0)
    cells = refine_by_em(start, [y], 4.0)
    np.testing.assert_allclose(cells.weights, r.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(cells.centers, (r @ y.T) / r.sum(axis=1)[:, None], rtol=1e-12)


def test_steps_of_the_second_half_are_averaged():
    # So far apart that responsibilities are 0 or 1: every step is a mean of labelled points.
    batches = list(noisy_batches(6, 300, np.full(4, 0.25), 0.1))
    cells = refine_by_em(SoftCells(CENTERS + 0.5, np.full(4, 0.25)), batches, 0.01)
    late = np.concatenate(batches[3:], axis=1).T
    labels = nearest_centers(late, CENTERS)
    np.testing.assert_allclose(cells.weights, np.bincount(labels) / len(late), rtol=1e-12)
    np.testing.assert_allclose(
        cells.centers, [late[labels == j].mean(axis=0) for j in range(4)], rtol=1e-11, atol=1e-13
    )


def test_empty_cells_are_dropped():
    start = SoftCells(np.concatenate([CENTERS, [[500.0, 500.0]]]), np.full(5, 0.2))
    cells = refine_by_em(start, list(noisy_batches(3, 1000, np.full(4, 0.25), 1.0)), 1.0)
    assert len(cells.centers) == 4
    np.testing.assert_allclose(cells.weights.sum(), 1.0, rtol=1e-12)
    assert len(start.centers) == 5  # what was given stays as it was
