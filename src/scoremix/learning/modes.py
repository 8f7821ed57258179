"""The ways in which `DiffusionMixture` learns, as functions from samples to what was learnt.

============================================  ====================================================================
`learn_identity_cells`                        Voronoi or soft cells under known noise, as published (GKL)
`learn_general_cells`                         likelihood-ratio or soft cells of any shape, as published (CKS)
`learn_identity_mixture`                      atoms under known noise: nothing is left to correct
`learn_general_mixture`                       full covariances, corrected where that surely gains
`learn_chosen`                                one of two of these: as one noise scale explains the samples, or not
============================================  ====================================================================

All take a source, its moments, what the user asked for (`Wanted`) and random numbers, and return `Learnt`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any

import numpy as np

from scoremix.arrays import Floats
from scoremix.features import Hermite
from scoremix.learning.cks.candidates import find_candidates
from scoremix.learning.cks.ladder import cell_components, learn_cell_ladder
from scoremix.learning.coordinates import BaseMixture, StandardizedColumns, in_subspace
from scoremix.learning.gkl.clusters import Clusters, find_clusters
from scoremix.learning.gkl.ladder import learn_ladder
from scoremix.learning.mixtures.levels import find_base_mixture, learn_levels
from scoremix.learning.mixtures.mean_subspace import rotate_to_means
from scoremix.learning.mixtures.noise_scale import OneScale, find_one_scale
from scoremix.learning.mixtures.npmle import TOO_MANY, finish_atoms, learn_atoms
from scoremix.learning.moments import Moments
from scoremix.learning.regression.corrections import FOLDS
from scoremix.learning.regression.scores import FittedLevel, RegressionSettings
from scoremix.models.ladder import Ladder
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace, leading_subspace
from scoremix.noise import geometric_levels, paper_levels
from scoremix.samples.source import Source

FEW_ROWS = 20  # Fewer rows cannot tell one scale of noise from shapes.

MUCH_LARGER = 1.5  # A given noise scale is wrong where it needs too many atoms and the data suggest so many times it.

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

    def frame(self, moments: Moments, scale: float) -> Subspace:
        """The subspace that noise of a scale does not explain alone."""
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
    """A model of all levels, with what is reported of it: clusters, or components in the coordinates of the frame.

    better_scale: the noise scale that the samples suggest, where the given one needed far too many atoms.
    """

    ladder: Ladder
    denoising_loss: Floats
    clusters: Clusters | None
    components: Mixture | None
    is_flat: bool = False
    better_scale: float | None = None


def learn_identity_cells(
    source: Source, moments: Moments, want: Wanted, rng: np.random.Generator, found: OneScale | None = None
) -> Learnt:
    """Learn piecewise polynomials alone: cells of centers under noise of a scale that is known, or found."""
    scale = want.noise_scale or (found or find_one_scale(source, moments, rng)).scale
    frame = want.frame(moments, scale)
    how, sigmas = want.regression(frame, rng), want.levels(frame, scale)
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


def learn_identity_mixture(
    source: Source, moments: Moments, want: Wanted, rng: np.random.Generator, found: OneScale | None = None
) -> Learnt:
    """Learn atoms under noise of a scale that is known, or found with them, the heaviest first."""
    if want.noise_scale is None and found is None:
        found = find_one_scale(source, moments, rng)
    scale = want.noise_scale if found is None else found.scale
    assert scale is not None
    frame = want.frame(moments, scale)
    want.levels(frame, scale)  # refuses a noise scale that is not that of the data before long work
    inside = in_subspace(source, frame)
    if found is not None and found.explains:
        found = found.leading(frame.rank)
        atoms = finish_atoms(inside, found.trials, found.atoms, rng)
    else:
        atoms = learn_atoms(inside, scale, rng)
    better = None
    if found is None and atoms.n_components >= TOO_MANY:
        suggested = find_one_scale(source, moments, rng).scale
        better = suggested if suggested > MUCH_LARGER * scale else None
    frame, atoms = rotate_to_means(source, moments, frame, atoms)
    base = BaseMixture(frame, atoms.take(np.argsort(-atoms.weights, kind="stable")), is_flat=False)
    ladder, losses = _corrected(source, base, scale, want, rng)
    clusters = find_clusters(source, ladder, want.min_weight, rng)
    return Learnt(ladder, losses, clusters, None, better_scale=better)


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
IDENTITY = {"nothing": learn_identity_cells, "mixture": learn_identity_mixture}
GENERAL = {"nothing": learn_general_cells, "mixture": learn_general_mixture}


def learn_chosen(
    source: Source, moments: Moments, want: Wanted, rng: np.random.Generator, *, correction_of: str
) -> Learnt:
    """Learn as one scale of noise explains the samples, or as covariances have to be learnt.

    A noise scale that is given says that it does; samples without width in some direction, or hardly any, that it does
    not.
    """
    if want.noise_scale is not None:
        return IDENTITY[correction_of](source, moments, want, rng)
    if moments.effective_rows >= FEW_ROWS and not StandardizedColumns.of(moments).is_flat:
        found = find_one_scale(source, moments, rng)
        if found.explains:
            return IDENTITY[correction_of](source, moments, want, rng, found)
    return GENERAL[correction_of](source, moments, want, rng)


def learn(
    covariance: str, correction_of: str, source: Source, moments: Moments, want: Wanted, rng: np.random.Generator
) -> Learnt:
    """Learn in the way that is asked for."""
    if covariance == "auto":
        return learn_chosen(source, moments, want, rng, correction_of=correction_of)
    return (IDENTITY if covariance == "identity" else GENERAL)[correction_of](source, moments, want, rng)
