"""Warm starts: where the cells of the next noise level go (GKL Algorithm 2).

Denoised points gather where the centers are. A greedy cover by balls finds them, without knowing how many there are:
take the point whose ball holds most uncovered points, put a center at the mean of the ball, cross out everything within
two radii, go on. Soft cells are then moved by a few EM steps on noisy samples of the level, each on fresh noise and
averaged, which makes their weights responsibilities.

Two radii are in use, both in units of the noise ``s = sqrt(noise_scale**2 + sigma**2)``: 1 reports the clusters; a
smaller one *over-covers* and serves the regression, where too many cells cost little and too few cannot be repaired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats, product
from scoremix.models.gates import SoftCells, neighbour_order

OVER_COVER = (0.4, 0.55, 0.75, 1.0, 1.4)  # Radii tried for over-covering, finest first.
UNCOVERED = 0.02  # Share of the denoised points that over-covering may miss.
MAX_CELLS = 300  # Soft cells of one level, at most (their regression is one joint system).


def greedy_cover(points: Floats, radius: float, min_count: int) -> tuple[Floats, int]:
    """Cover points greedily by balls.

    points (m, d) -> centers (k, d).

    O(m^2 d) time, m^2 bytes. GKL Algorithm 2.
    """
    m = len(points)
    # |a - b|^2 / 2 = |a|^2 / 2 + |b|^2 / 2 - a b: one product, about the mean so that nothing cancels.
    local = points - points.mean(axis=0)
    half = 0.5 * np.sum(local**2, axis=1)
    near = np.empty((m, m), dtype=bool)
    for start in range(0, m, 64):
        some = slice(start, start + 64)
        gap = product(local[some], local.T)
        np.subtract(half, gap, out=gap)
        np.less(gap, 0.5 * radius**2 - half[some, None], out=near[some])
    counts = near.sum(axis=1)
    alive = np.ones(m, dtype=bool)
    centers: list[Floats] = []
    while alive.any():
        best = int(np.argmax(np.where(alive, counts, -1)))
        if counts[best] < min_count and centers:
            break
        centers.append(points[near[best] & alive].mean(axis=0))
        far = half + half[best] - product(local, local[best]) < 2 * radius**2
        far[best] = True  # whatever the rounding
        gone = np.flatnonzero(far & alive)
        alive[gone] = False
        counts -= near[gone].sum(axis=0)
    return np.array(centers), int(alive.sum())


def nearest_centers(points: Floats, centers: Floats) -> NDArray[np.intp]:
    """Index of the nearest center of every point."""
    return np.asarray(np.argmax(product(points, centers.T) - 0.5 * np.sum(centers**2, axis=1), axis=1))


def over_cover(points: Floats, scale: float, max_cells: int = MAX_CELLS) -> SoftCells:
    """Place soft cells on denoised points, more of them than there are clusters.

    Takes the finest of the radii ``OVER_COVER * scale`` that needs at most `max_cells` balls and leaves at most 2 %
    of the points uncovered beyond what the coarsest leaves (those are outliers).

    points (m, d).
    """
    slack, tried = UNCOVERED * len(points), []
    for factor in OVER_COVER:
        # Two points make a ball: a lone point is an outlier, and must not become a cell.
        tried.append(greedy_cover(points, factor * scale, min_count=2))
        if len(tried[-1][0]) <= max_cells and tried[-1][1] <= slack:
            break
    outliers = tried[-1][1]
    centers = next((c for c, left in tried if len(c) <= max_cells and left <= outliers + slack), tried[-1][0])
    centers = centers[:max_cells]
    centers = centers[neighbour_order(centers)]
    # One pseudo-point per cell: a weight of 0 would never grow again.
    weights = np.bincount(nearest_centers(points, centers), minlength=len(centers)) + 1.0
    return SoftCells(centers, weights / weights.sum())


def refine_by_em(cells: SoftCells, noisy: list[Floats], variance: float) -> SoftCells:
    """Move soft cells by one EM step per batch of noisy samples, centers and weights free, variance known.

    The sums of a step are averaged with those of the steps before it (weights 1/i after the first half), so that the
    noise of a batch averages out while the cells still move.

    noisy (d, m).
    """
    burn_in = len(noisy) // 2
    mass, first = np.zeros(len(cells.centers)), np.zeros_like(cells.centers)
    for i, y in enumerate(noisy):
        r = cells.responsibilities(y, variance)
        rate = 1 / max(1, i - burn_in + 1)
        mass += rate * (r.sum(axis=1) / y.shape[1] - mass)
        first += rate * (product(r, y.T) / y.shape[1] - first)
        keep = mass > 1e-4
        mass, first = mass[keep], first[keep]
        cells = SoftCells(first / mass[:, None], mass / mass.sum())
    return cells
