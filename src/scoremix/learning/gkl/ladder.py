"""Cells at all noise levels, from the top down (GKL Algorithm 1, the outer loop).

One cell at the top; below it, centers that the level above denoises fresh noisy samples to are the warm starts of the
next one (Algorithm 2).

``gates="hard"`` is the paper line by line: Voronoi cells, its schedule, new centers whenever t has halved. ``"soft"``
differs where that was measured to be better: responsibilities instead of labels, one joint regression, over-covering,
a few EM steps on the gates, geometric levels, new cells at every level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scoremix.arrays import Floats
from scoremix.features import hermite_size
from scoremix.learning.coordinates import encoded_rows
from scoremix.learning.gkl.posterior_mean import candidate_degrees, fit_level
from scoremix.learning.gkl.warm_starts import MAX_CELLS, greedy_cover, nearest_centers, over_cover, refine_by_em
from scoremix.learning.regression.scores import FittedLevel, RegressionSettings
from scoremix.models.gates import Cells, SoftCells, Voronoi
from scoremix.models.ladder import Ladder
from scoremix.models.score_model import PiecewisePolynomial
from scoremix.models.subspace import Subspace
from scoremix.samples.source import Source

HARD_COVER = 0.5  # Radius of Algorithm 2 for Voronoi cells, in units of s: the constant C that the paper leaves open.


# Rows that warm starts are made from: many more than a level asks for, few enough to be held in memory.
POOL_ROWS = 50_000

EM_STEPS, EM_ROWS = 20, 5000  # Steps on the soft gates of a level, and noisy samples per step.


def learn_ladder(
    source: Source,
    frame: Subspace,
    sigmas: Floats,
    how: RegressionSettings,
    rng: np.random.Generator,
    report: Callable[[int, FittedLevel[PiecewisePolynomial]], None] | None = None,
) -> tuple[Ladder, Floats]:
    """Learn a level at every noise level, from the top down."""
    center = np.zeros((1, frame.rank))
    soft = how.gates == "soft"
    cells: Cells = SoftCells(center, np.ones(1)) if soft else Voronoi(center, np.ones(1))
    fits: list[FittedLevel[PiecewisePolynomial]] = []
    pool, placed = encoded_rows(source, frame, POOL_ROWS, rng), sigmas[0]
    for level, sigma in enumerate(sigmas):
        if isinstance(cells, SoftCells) and len(cells.centers) > 1:
            batches = [noisy_rows(pool, sigma, EM_ROWS, rng) for _ in range(EM_STEPS)]
            cells = refine_by_em(cells, batches, frame.noise_scale**2 + sigma**2)
        above = fits[-1].model if fits else None
        candidates = candidate_degrees(cells, frame.rank, above, how.degree)
        fit = fit_level(source, cells, candidates, float(sigma), level, frame, how)
        fits.append(fit)
        if report is not None:
            report(level, fit)
        if level + 1 < len(sigmas) and (soft or sigmas[level + 1] ** 2 <= placed**2 / 2):
            placed = sigmas[level + 1]
            cells = _next_cells(pool, fit.model, float(sigma), how, rng)
    return Ladder(sigmas, tuple(f.model for f in fits), frame), np.array([f.denoising_loss for f in fits])


def noisy_rows(pool: Floats, sigma: float, size: int, rng: np.random.Generator) -> Floats:
    """Fresh noisy samples of a level, shape (r, at most size), from encoded rows of shape (r, m) in random order."""
    m = pool.shape[1]
    if m > size:
        pool = np.take(pool, rng.integers(m) + np.arange(size), axis=1, mode="wrap")
    return np.asarray(pool + sigma * rng.standard_normal(pool.shape))


def cover_size(min_weight: float) -> int:
    """Samples that Algorithm 2 needs: a few for the smallest cluster, O(1 / a_min) in all."""
    return int(np.clip(6 / min_weight, 500, 4000))


def _next_cells(
    pool: Floats, model: PiecewisePolynomial, sigma: float, how: RegressionSettings, rng: np.random.Generator
) -> Cells:
    """Warm starts for the next level (GKL Algorithm 2) on fresh noisy samples of this one."""
    y = noisy_rows(pool, sigma, cover_size(how.min_weight), rng)
    points = model.posterior_mean(y, sigma).T
    scale = float(np.hypot(model.noise_scale, sigma))
    if how.gates == "soft":
        limit = MAX_CELLS
        if how.degree is not None:
            limit = max(1, min(MAX_CELLS, 2000 // hermite_size(len(pool), how.degree)))
        return over_cover(points, scale, limit)
    centers, _ = greedy_cover(points, HARD_COVER * scale, min_count=max(2, int(how.min_weight * len(points))))
    weights = np.bincount(nearest_centers(points, centers), minlength=len(centers)) / len(points)
    return Voronoi(centers, weights)
