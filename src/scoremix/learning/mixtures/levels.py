"""A ladder from a mixture: its score is known at every noise level, and where it errs polynomials correct it.

Two mixtures serve as the base. Where the data carry isotropic noise of one scale, atoms (`learning.mixtures.npmle`),
in the leading subspace of the data. Else a Gaussian mixture with full covariances whose number of components is found:

1. *Units.* Columns are standardised, so units do not matter; columns that are linear combinations of others, or
   constant, are left out: the frame of the model is the space that the data span, and outside it there is nothing.
2. *Directions.* Of more than `MOST_DIRECTIONS`, the principal ones are the mixture's; all components share the Gaussian
   of the others.
3. *Components.* They are searched for with full covariances or, where rows are few and held-out ones prefer it, with
   diagonal ones, in more directions if need be; covariances are full in the end (`learning.mixtures.full_covariances`).
4. *Width.* A component that lies in a plane, a line or a point has no score without noise. Covariances are kept above
   `MIN_WIDTH`, which the caller is told of: learning has to stop at a level above 0 (CKS, Remark 4).

Corrections are learnt for such a base only. Atoms are already all that the data tell of the mixing measure: on
clusters, curves and balls no polynomial gained on held-out rows.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893); Gatmiry, Kelner and Lee, COLT 2025 (arXiv 2404.18869).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scoremix.arrays import Floats, namespace, to_numpy
from scoremix.features import Hermite, hermite_size
from scoremix.learning.coordinates import (
    AT_ROWS,
    MIN_WIDTH,
    MOST_DIRECTIONS,
    BaseMixture,
    LeadingDirections,
    StandardizedColumns,
    as_float64,
    in_subspace,
)
from scoremix.learning.em.em import e_step
from scoremix.learning.mixtures.full_covariances import find_full_mixture
from scoremix.learning.moments import Moments
from scoremix.learning.regression.corrections import fit_residual, highest_degree
from scoremix.learning.regression.scores import FittedLevel, RegressionSettings
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture
from scoremix.models.subspace import Subspace
from scoremix.noise import antithetic, normal_rows
from scoremix.samples.source import ArraySource, Mapped, Source

MOST_COMPONENTS = 100  # Most components that are found.


ROWS_PER_MATRIX = 10  # Rows per dimension that it must have there.


ROWS_PER_DIRECTION = 5  # Rows per dimension that a component must have to be called flat: few rows are flat by chance.

# Rows that corrections are first tried on, and standard errors that a promising one gains there.
SCREEN_ROWS, PROMISING = 10_000, 0.5

STRIDE, BESIDE = 3, (-2, -1, 1, 2)  # Levels of which one is tried first, and those beside it.

ROWS_PER_FEATURE = 2  # Of a component, which corrections need.

# Rows that denoising losses are measured on where nothing is regressed, at most; pairs of noise, at least, and numbers
# of a sample from which on there are fewer of both: a loss is a mean over coordinates, too.
LOSS_ROWS, LEAST_PAIRS, LOSS_NUMBERS = 10_000, 4096, 2**18


def fine_directions(n_rows: int) -> int:
    """Dimensions in which a pass over n rows costs no more, O(n d^2), than one over `AT_ROWS` in `MOST_DIRECTIONS`."""
    affordable = MOST_DIRECTIONS * np.sqrt(AT_ROWS / n_rows)
    return int(max(MOST_DIRECTIONS, min(affordable, n_rows / ROWS_PER_MATRIX)))


def find_base_mixture(source: Source, moments: Moments, rank: int | None, rng: np.random.Generator) -> BaseMixture:
    """Learn a Gaussian mixture with full covariances, its number of components found.

    The cost of `find_full_mixture`: O(n k d^2) per pass. Multiplying columns by numbers changes nothing else.
    """
    space = StandardizedColumns.of(moments)
    rows = Mapped(as_float64(source), len(space.columns), space.encode)
    wide, fine = (
        LeadingDirections.leading(space.correlation, most if rank is None else rank)
        for most in (MOST_DIRECTIONS, fine_directions(source.n_rows))
    )
    found = find_full_mixture(rows, wide, fine, MOST_COMPONENTS, MIN_WIDTH**2, rng)
    mixture = space.embedded(found.directions.embedded(found.mixture))
    is_flat = space.is_flat or has_flat_component(found.directions.along(rows), found.mixture)
    return BaseMixture(space.frame, mixture, is_flat)


def has_flat_component(rows: Source, mixture: Mixture) -> bool:
    """Whether rows of a component have no width in some direction: far less than priors let the component have.

    Of m rows in d dimensions the smallest variance is low by chance, by ``(1 - sqrt(d / m))^2`` at the edge of the
    spectrum (Marchenko-Pastur).
    """
    expected, d = e_step(rows, mixture), rows.n_features
    mass = np.maximum(expected.mass, 1e-300)
    shift = expected.first / mass[:, None]
    second = expected.second / mass[:, None, None] - shift[:, :, None] * shift[:, None, :]
    seen = np.linalg.eigvalsh((second + np.swapaxes(second, 1, 2)) / 2)[:, 0]
    kept = np.linalg.eigvalsh(mixture.covariances)[:, 0]
    by_chance = np.maximum(1 - np.sqrt(d / mass), 0.0) ** 2
    enough = expected.mass > ROWS_PER_DIRECTION * d
    return bool(np.any(enough & ((seen < kept / 4 * by_chance) | (kept < 4 * MIN_WIDTH**2))))


def uncorrected_level(base: BaseMixture) -> CorrectedMixture:
    """The mixture alone, as the model of any noise level."""
    k, r = base.mixture.means.shape
    return CorrectedMixture(base.mixture, Hermite(r, 0), np.zeros((k, 1, r)), np.full(k, -1), base.frame.noise_scale)


def learn_levels(
    source: Source,
    base: BaseMixture,
    sigmas: Floats,
    how: RegressionSettings,
    rng: np.random.Generator,
    report: Callable[[int, FittedLevel[CorrectedMixture]], None] | None = None,
) -> list[FittedLevel[CorrectedMixture]]:
    """Learn the model of every noise level: the mixture, corrected where its covariances were learnt.

    What a mixture misses it misses at several levels in a row. So every third level is tried first, and of the others
    those beside one that was corrected: a pass over `SCREEN_ROWS` rows for each that is tried, and one over all rows
    where a correction is promising on these. With few rows for their features none is tried: it could not surely gain.
    """
    rows = in_subspace(source, base.frame)
    few = ArraySource(rows.draw(max(SCREEN_ROWS, LOSS_ROWS), rng))

    def tried(level: int) -> FittedLevel[CorrectedMixture]:
        return _corrected(rows, few, base, float(sigmas[level]), level, how)

    features = hermite_size(base.frame.rank, highest_degree(base.frame.rank)) * base.mixture.n_components
    may_gain = not base.frame.noise_scale and ROWS_PER_FEATURE * features <= rows.n_rows
    first = {level: tried(level) for level in range(len(sigmas))[1::STRIDE]} if may_gain else {}
    promising = {level + step for level, fit in first.items() if fit.model.degrees.max() >= 0 for step in BESIDE}
    fits = []
    for level, sigma in enumerate(sigmas.tolist()):
        if level in first:
            found = first[level]
        elif level in promising:
            found = tried(level)
        else:
            found = FittedLevel(uncorrected_level(base), mixture_loss(few, base.mixture, sigma, (how.seed, level)))
        fits.append(_in_whole_space(found, base.frame, sigma))
        if report is not None:
            report(level, fits[-1])
    return fits


def _corrected(
    rows: Source, few: Source, base: BaseMixture, sigma: float, level: int, how: RegressionSettings
) -> FittedLevel[CorrectedMixture]:
    """Correct a level by all rows, if a few say that it may pay."""
    if rows.n_rows > 2 * few.n_rows:
        tried = fit_residual(few, base.mixture, sigma, level, replace(how, n_draws=1), PROMISING)
        if tried.model.degrees.max() < 0:
            return tried
    return fit_residual(rows, base.mixture, sigma, level, how)


def _in_whole_space(
    found: FittedLevel[CorrectedMixture], frame: Subspace, sigma: float
) -> FittedLevel[CorrectedMixture]:
    """Add the share of the complement, exactly Gaussian with the noise of the data, to losses per coordinate."""
    d, r, noise, t = frame.n_features, frame.rank, frame.noise_scale**2, sigma**2
    outside = (d - r) * noise * t / (noise + t)
    return FittedLevel(found.model, (r * found.denoising_loss + outside) / d)


def mixture_loss(rows: ArraySource, mixture: Mixture, sigma: float, key: tuple[int, int]) -> float:
    """Mean squared error of a mixture's denoiser per coordinate, on antithetic pairs of noise, at least one per row."""
    most = max(1, LOSS_NUMBERS // rows.n_features)
    x = next(rows.chunks(min(rows.n_rows, most))).x.T
    x = namespace(x).concat([x] * -(-min(LEAST_PAIRS, most) // x.shape[1]), axis=1)
    x, _, y = antithetic(x, normal_rows(key, 0, x.shape[1], rows.n_features, x), sigma)
    return float(np.mean((to_numpy(mixture.denoise(y.T, sigma)) - to_numpy(x.T)) ** 2))
