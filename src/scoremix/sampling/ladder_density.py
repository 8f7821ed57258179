"""Log densities of a ladder: in closed form where it is a mixture, else by an integral over its noise levels."""

from __future__ import annotations

from math import log, pi

import numpy as np

from scoremix.arrays import Array, Floats, namespace
from scoremix.models.ladder import Ladder
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, shares_and_score
from scoremix.sampling.density import STEP, divergence, heat_weights, log_density

ROWS = 8192  # Rows evaluated together.


def base_of(ladder: Ladder) -> Mixture | None:
    """The mixture that all levels correct, in the coordinates of the frame; None where there is no such mixture."""
    first = ladder.levels[0]
    if not isinstance(first, CorrectedMixture):
        return None
    shared = all(isinstance(level, CorrectedMixture) and level.base is first.base for level in ladder.levels)
    return first.base if shared else None


def ladder_log_density(ladder: Ladder, x: Array, floor: float = 0.0) -> Array:
    """Log density of rows under the distribution that a ladder describes.

    x (n, d) -> (n,), in nats, in the library of x.

    The cost of one evaluation of the mixture and, in a frame of rank r, of ``2 r + 1`` corrections per corrected level;
    of ``2 r + 1`` evaluations per level where there is no mixture.
    """
    xp = namespace(x)
    parts = [_of_chunk(ladder, x[a : min(a + ROWS, x.shape[0]), :], floor) for a in range(0, x.shape[0], ROWS)]
    return xp.concat(parts, axis=0)


def _of_chunk(ladder: Ladder, x: Array, floor: float) -> Array:
    coordinates, base = ladder.frame.encode(x), base_of(ladder)
    if base is None:
        inside, variances = ladder.inside(), ladder.frame.variances
        found = log_density(inside.denoise, coordinates.T, ladder.sigmas, np.zeros(len(variances)), np.diag(variances))
        if floor:  # the integral went down to 0, with the slope of the lowest level
            found = found + 0.5 * floor**2 * _growth(inside, coordinates.T, float(ladder.sigmas[-1]))
    else:
        found = (base.smooth(floor) if floor else base).log_density(coordinates.T)
        found = found - 0.5 * _corrections(ladder, coordinates, floor)
    if ladder.frame.is_whole:
        return found
    outside = ladder.frame.residual(x, coordinates)
    variance = ladder.noise_scale**2 + floor**2
    idle = ladder.frame.n_features - ladder.frame.rank
    return found - namespace(x).sum(outside * outside, axis=1) / (2 * variance) - 0.5 * idle * log(2 * pi * variance)


def _growth(ladder: Ladder, y: Array, sigma: float) -> Array:
    """``div s + |s|^2`` at the rows y."""
    xp = namespace(y)
    rows = xp.astype(y, xp.float64)
    score = ladder.score(rows, sigma)
    return xp.astype(divergence(ladder.score, rows, STEP * sigma, sigma) + xp.sum(score * score, axis=1), y.dtype)


def _corrections(ladder: Ladder, y: Array, floor: float) -> Array | float:
    """Integral of what corrections c add to ``div s + |s|^2``: ``div c + 2 s_base . c + |c|^2``, at the points (r, n).

    The mixture obeys the heat equation exactly, so only what differs from it is left to a rule on few levels.
    """
    total: Array | float = 0.0
    weights: Floats = heat_weights(ladder.sigmas, floor)
    for level, sigma, weight in zip(ladder.levels, ladder.sigmas.tolist(), weights.tolist(), strict=True):
        if not isinstance(level, CorrectedMixture) or level.degrees.max() < 0:
            continue

        def correction(rows: Array, sigma: float, level: CorrectedMixture = level) -> Array:
            return (level.score(rows.T, sigma) - shares_and_score(level.base, rows.T, sigma)[1]).T

        xp = namespace(y)
        rows = xp.astype(y.T, xp.float64)
        added, score = correction(rows, sigma), shares_and_score(level.base, rows.T, sigma)[1].T
        change = divergence(correction, rows, STEP * sigma, sigma) + xp.sum(added * (added + 2 * score), axis=1)
        total = total + weight * change
    return total if isinstance(total, float) else namespace(y).astype(total, y.dtype)
