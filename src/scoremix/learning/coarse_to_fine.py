"""EM on growing samples of the rows: where these are many, most passes need not see them all."""

from __future__ import annotations

import numpy as np

from scoremix.learning.em import fit
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource, Source


def coarse_to_fine(
    source: Source,
    start: Mixture,
    rng: np.random.Generator,
    *,
    fractions: tuple[float, ...] = (0.01, 0.1),
    min_rows: int = 2000,
    tol: float = 1e-3,
    max_iter: int = 100,
    reg: float = 1e-6,
) -> Mixture:
    """Fit growing samples of the rows, each from the fit before: a start for all rows at a fraction of the cost."""
    mixture = start
    for fraction in fractions:
        rows = int(fraction * source.n_rows)
        if rows >= max(min_rows, 10 * mixture.n_parameters):
            sample = ArraySource(source.draw(rows, rng))
            mixture = fit(sample, mixture, tol=tol, max_iter=max_iter, reg=reg).mixture
    return mixture
