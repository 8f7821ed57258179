"""The four ways in which `DiffusionMixture` learns, as functions from samples to what was learnt.

============================================  ====================================================================
`learn_identity_cells`                        Voronoi or soft cells under known noise, as published (GKL)
`learn_general_cells`                         likelihood-ratio or soft cells of any shape, as published (CKS)
`learn_identity_mixture`                      atoms under known noise: nothing is left to correct
`learn_general_mixture`                       full covariances, corrected where that surely gains
============================================  ====================================================================

All take a source, its moments, what the user asked for (`Wanted`) and random numbers, and return `Learnt`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

import numpy as np

from scoremix.arrays import Floats, to_numpy
from scoremix.features import Hermite
from scoremix.learning.cks.candidates import find_candidates
from scoremix.learning.cks.ladder import cell_components, learn_cell_ladder
from scoremix.learning.coordinates import BaseMixture, StandardizedColumns, in_subspace
from scoremix.learning.gkl.clusters import Clusters, find_clusters
from scoremix.learning.gkl.ladder import learn_ladder
from scoremix.learning.mixtures.levels import find_base_mixture, learn_levels
from scoremix.learning.mixtures.mean_subspace import rotate_to_means
from scoremix.learning.mixtures.noise_scale import ROWS, local_noise_scale
from scoremix.learning.mixtures.npmle import learn_atoms
from scoremix.learning.moments import Moments
from scoremix.learning.regression.corrections import FOLDS
from scoremix.learning.regression.scores import FittedLevel, RegressionSettings
from scoremix.models.ladder import Ladder
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace, leading_subspace
from scoremix.noise import geometric_levels, paper_levels
from scoremix.samples.source import Source

# Powers of ten that `n_levels` levels span at most, where the scales of the data are found: more have more levels.
DECADES = 3

Report = Callable[[Floats], Callable[[int, FittedLevel[Any]], None] | None]  # from the levels to what is told of each


@dataclass(frozen=True)
class Wanted:
    """What the user asked for, checked; None where that is to be found."""

    noise_scale: float | None
    rank: int | None
    degree: int | None
    is_hard: bool
    n_levels: int
    sigma_min: float | None
    sigma_max: float | None
    min_weight: float
    n_draws: int
    folds: int
    report: Report

    def frame(self, source: Source, moments: Moments, rng: np.random.Generator) -> Subspace:
        """The subspace that the noise in the data does not explain alone, with the scale of that noise."""
        scale = self.noise_scale
        if scale is None:
            scale = local_noise_scale(to_numpy(source.draw(ROWS, rng)).astype(np.float64), rng)
        n = float(moments.effective_rows)
        return leading_subspace(moments.mean, moments.covariance, n, scale, self.rank, moments.origin)

    def levels(self, frame: Subspace, scale: float) -> Floats:
        """Noise levels, from the widest direction of the data down to the finest scale of their distribution.

        ValueError: If the last is not below the first.
        """
        top = 2.5 * float(np.sqrt(frame.variances[0])) if self.sigma_max is None else self.sigma_max
        low = 0.2 * scale if self.sigma_min is None else self.sigma_min
        if low >= top:
            known = f"noise_scale={scale:g} may be far above the scale of the data; lower it, or give both levels."
            advice = known if frame.noise_scale else "give levels within the scales of the data, or leave them out."
            raise ValueError(f"sigma_min={low:g} is not below sigma_max={top:g}: {advice}")
        if self.is_hard and frame.noise_scale:
            return paper_levels(top, low, self.n_levels, scale)
        if frame.noise_scale:
            return geometric_levels(top, low, self.n_levels)
        return geometric_levels(top, low, max(self.n_levels, ceil(self.n_levels * log10(top / low) / DECADES)))

    def regression(self, frame: Subspace, rng: np.random.Generator) -> RegressionSettings:
        """How scores of cells are learnt."""
        seed = int(rng.integers(2**31))
        if self.degree is not None:
            Hermite(frame.rank, self.degree)  # refuses what is too large
        gates = "hard" if self.is_hard else "soft"
        return RegressionSettings(gates, self.degree, self.min_weight, self.n_draws, self.folds, seed)


@dataclass(frozen=True)
class Learnt:
    """A model of all levels, with what is reported of it: clusters, or components in the coordinates of the frame."""

    ladder: Ladder
    denoising_loss: Floats
    clusters: Clusters | None
    components: Mixture | None
    is_flat: bool = False


def learn_identity_cells(source: Source, moments: Moments, want: Wanted, rng: np.random.Generator) -> Learnt:
    """Learn piecewise polynomials alone: cells of centers under noise of known scale."""
    frame = want.frame(source, moments, rng)
    how, sigmas = want.regression(frame, rng), want.levels(frame, frame.noise_scale)
    ladder, losses = learn_ladder(source, frame, sigmas, how, rng, want.report(sigmas))
    return Learnt(ladder, losses, find_clusters(source, ladder, want.min_weight, rng), None)


def learn_general_cells(source: Source, moments: Moments, want: Wanted, rng: np.random.Generator) -> Learnt:
    """Learn cells of general covariances alone: their number is found."""
    space = StandardizedColumns.of(moments)
    how = want.regression(space.frame, rng)
    found = find_candidates(source, space, want.rank, how, rng)
    sigmas = want.levels(space.frame, found.local_scale)
    fits = learn_cell_ladder(source, space.frame, found.sets, sigmas, how, rng, want.report(sigmas))
    ladder, losses = _ladder_of(sigmas, fits, space.frame)
    return Learnt(ladder, losses, None, cell_components(source, ladder, how.min_weight, rng), found.is_flat)


def learn_identity_mixture(source: Source, moments: Moments, want: Wanted, rng: np.random.Generator) -> Learnt:
    """Learn atoms under noise of known scale, the heaviest first."""
    frame = want.frame(source, moments, rng)
    want.levels(frame, frame.noise_scale)  # refuses a noise scale that is not that of the data before long work
    atoms = learn_atoms(in_subspace(source, frame), frame.noise_scale, rng)
    frame, atoms = rotate_to_means(source, moments, frame, atoms)
    base = BaseMixture(frame, atoms.take(np.argsort(-atoms.weights, kind="stable")), is_flat=False)
    ladder, losses = _corrected(source, base, frame.noise_scale, want, rng)
    return Learnt(ladder, losses, find_clusters(source, ladder, want.min_weight, rng), None)


def learn_general_mixture(source: Source, moments: Moments, want: Wanted, rng: np.random.Generator) -> Learnt:
    """Learn a mixture of general covariances, corrected where that pays."""
    base = find_base_mixture(source, moments, want.rank, rng)
    ladder, losses = _corrected(source, base, base.local_scale, want, rng)
    return Learnt(ladder, losses, None, base.mixture, base.is_flat)


def _corrected(
    source: Source, base: BaseMixture, scale: float, want: Wanted, rng: np.random.Generator
) -> tuple[Ladder, Floats]:
    """All levels of a mixture, down to a fifth of a scale."""
    sigmas = want.levels(base.frame, scale)
    how = RegressionSettings(n_draws=want.n_draws, folds=FOLDS, seed=int(rng.integers(2**31)))
    return _ladder_of(sigmas, learn_levels(source, base, sigmas, how, rng, want.report(sigmas)), base.frame)


def _ladder_of(sigmas: Floats, fits: Sequence[FittedLevel[Any]], frame: Subspace) -> tuple[Ladder, Floats]:
    """Fitted levels as one model, and their losses."""
    return Ladder(sigmas, tuple(fit.model for fit in fits), frame), np.array([fit.denoising_loss for fit in fits])


# By what is asked for: `covariance` and `correction_of`.
MODES = {
    ("identity", "nothing"): learn_identity_cells,
    ("general", "nothing"): learn_general_cells,
    ("identity", "mixture"): learn_identity_mixture,
    ("general", "mixture"): learn_general_mixture,
}
