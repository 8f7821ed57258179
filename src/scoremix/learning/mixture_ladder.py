"""A ladder from a mixture: its score is known at every noise level, and where it errs polynomials correct it.

Two mixtures serve as the base. Where the data carry isotropic noise of known scale, atoms (`learning.atoms`), in the
leading subspace of the data. Else a Gaussian mixture with full covariances whose number of components is found:

1. *Units.* Columns are standardised, so units do not matter; columns that are linear combinations of others, or
   constant, are left out: the frame of the model is the space that the data span, and outside it there is nothing.
2. *Directions.* Of more than `MOST_DIRECTIONS`, the principal ones are the mixture's; all components share the Gaussian
   of the others.
3. *Components.* They are searched for with full covariances or, where rows are few and held-out ones prefer it, with
   diagonal ones, in more directions if need be; covariances are full in the end (`learning.general_mixture`).
4. *Width.* A component that lies in a plane, a line or a point has no score without noise. Covariances are kept above
   `FLAT`, which the caller is told of: learning has to stop at a level above 0 (CKS, Remark 4).

Corrections are learnt for such a base only. Atoms are already all that the data tell of the mixing measure: on
clusters, curves and balls no polynomial gained on held-out rows.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893); Gatmiry, Kelner and Lee, COLT 2025 (arXiv 2404.18869).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf

from scoremix.arrays import Array, Floats, indices_like, like, namespace, to_numpy
from scoremix.features import Hermite
from scoremix.learning.em import expectation
from scoremix.learning.general_mixture import Directions, general_mixture
from scoremix.learning.moments import Moments
from scoremix.learning.residual_regression import CorrectedFit, Correcting, fit_residual
from scoremix.models.corrected import CorrectedMixture
from scoremix.models.covariance import Full
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace
from scoremix.noise import antithetic, normal_rows
from scoremix.samples.source import ArraySource, Mapped, Source

MOST_COMPONENTS = 100  # Most components that are found.

# Most dimensions that covariances are learnt in; the search for many components affords more below so many rows.
MOST_DIRECTIONS, AT_ROWS = 50, 20_000

ROWS_PER_MATRIX = 10  # Rows per dimension that it must have there.

# A column of which others leave less than this share of the variance unexplained is a linear combination of them.
DEPENDENT = 1e-9

FLAT = 1e-4  # Least standard deviation of a component, in those of the columns.
ROWS_PER_DIRECTION = 5  # Rows per dimension that a component must have to be called flat: few rows are flat by chance.
NARROW = 0.1  # Share of the data that may lie in narrower components than the one whose scale counts as local.

# Rows that corrections are first tried on, and standard errors that a promising one gains there.
SCREEN_ROWS, PROMISING = 10_000, 0.5

# Rows that denoising losses are measured on where nothing is regressed, at most; pairs of noise, at least.
LOSS_ROWS, LEAST_PAIRS = 10_000, 4096


@dataclass(frozen=True)
class Base:
    """A mixture in the coordinates of a frame."""

    frame: Subspace
    mixture: Mixture
    is_flat: bool

    @property
    def local_scale(self) -> float:
        """Smallest standard deviation of a component, but for components that hold few of the data."""
        narrowest = np.linalg.eigvalsh(self.mixture.covariances)[:, 0]
        order = np.argsort(narrowest)
        below = np.cumsum(self.mixture.weights[order])
        return float(np.sqrt(narrowest[order][np.searchsorted(below, NARROW * below[-1])]))


def encoded(source: Source, frame: Subspace) -> Source:
    """The rows of a source in the coordinates of a frame."""
    return Mapped(source, frame.rank, lambda x: frame.encode(x).T)


def in_double(source: Source) -> Source:
    """The rows of a source in double precision: in single, columns that others determine cannot be told."""
    return Mapped(source, source.n_features, lambda x: namespace(x).astype(x, namespace(x).float64))


def fine_directions(n_rows: int) -> int:
    """Dimensions in which a pass over n rows costs no more, O(n d^2), than one over `AT_ROWS` in `MOST_DIRECTIONS`."""
    affordable = MOST_DIRECTIONS * np.sqrt(AT_ROWS / n_rows)
    return int(max(MOST_DIRECTIONS, min(affordable, n_rows / ROWS_PER_MATRIX)))


def general_base(source: Source, moments: Moments, rank: int | None, rng: np.random.Generator) -> Base:
    """Learn a Gaussian mixture with full covariances, its number of components found.

    The cost of `general_mixture`: O(n k d^2) per pass. Multiplying columns by numbers changes nothing else.
    """
    space = Standard.of(moments)
    rows = Mapped(in_double(source), len(space.columns), space.encode)
    wide, fine = (
        Directions.leading(space.correlation, most if rank is None else rank)
        for most in (MOST_DIRECTIONS, fine_directions(source.n_rows))
    )
    found = general_mixture(rows, wide, fine, MOST_COMPONENTS, FLAT**2, rng)
    mixture = space.embedded(found.directions.embedded(found.mixture))
    is_flat = space.is_flat or has_flat_component(found.directions.along(rows), found.mixture)
    return Base(space.frame, mixture, is_flat)


def has_flat_component(rows: Source, mixture: Mixture) -> bool:
    """Whether rows of a component have no width in some direction: far less than priors let the component have.

    Of m rows in d dimensions the smallest variance is low by chance, by ``(1 - sqrt(d / m))^2`` at the edge of the
    spectrum (Marchenko-Pastur).
    """
    expected, d = expectation(rows, mixture), rows.n_features
    mass = np.maximum(expected.mass, 1e-300)
    shift = expected.first / mass[:, None]
    second = expected.second / mass[:, None, None] - shift[:, :, None] * shift[:, None, :]
    seen = np.linalg.eigvalsh((second + np.swapaxes(second, 1, 2)) / 2)[:, 0]
    kept = np.linalg.eigvalsh(mixture.covariances)[:, 0]
    by_chance = np.maximum(1 - np.sqrt(d / mass), 0.0) ** 2
    enough = expected.mass > ROWS_PER_DIRECTION * d
    return bool(np.any(enough & ((seen < kept / 4 * by_chance) | (kept < 4 * FLAT**2))))


@dataclass(frozen=True)
class Standard:
    """Standardised columns that span the space of the data, and how that space lies.

    columns (r,); location, scale (r,); correlation (r, r); turn (r, r).
    """

    columns: NDArray[np.intp]
    location: Floats
    scale: Floats
    correlation: Floats
    frame: Subspace
    turn: Floats

    @classmethod
    def of(cls, moments: Moments) -> Standard:
        """Choose the columns by pivoted Cholesky, those with most left to say first."""
        covariance, mean = moments.covariance, moments.mean
        scale = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
        scale = np.where(scale > 0, scale, 1.0)
        correlation = covariance / np.outer(scale, scale)
        _, pivots, rank, _ = dpstrf(correlation, tol=DEPENDENT)
        columns = np.sort(pivots[:rank] - 1)
        own = correlation[np.ix_(columns, columns)]
        span = scale[:, None] * np.linalg.solve(own, correlation[columns]).T  # x - mean = span @ standardised columns
        # Singular values of a root know small variances beside large ones; eigenvalues of the covariance do not.
        basis, widths, _ = np.linalg.svd(span @ np.linalg.cholesky(own), full_matrices=False)
        basis = basis * np.where((moments.origin - mean) @ basis < 0, -1.0, 1.0)
        frame = Subspace(mean, np.ascontiguousarray(basis), widths**2, 0.0)
        return cls(columns, mean[columns], scale[columns], own, frame, basis.T @ span)

    @property
    def is_flat(self) -> bool:
        """Whether the data have no width in some direction."""
        return not self.frame.is_whole

    def encode(self, x: Array) -> Array:
        """Standardised columns of the rows x, shape (n, r)."""
        own = namespace(x).take(x, indices_like(self.columns, x), axis=1)
        return (own - like(self.location, x)[None, :]) / like(self.scale, x)[None, :]

    def embedded(self, mixture: Mixture) -> Mixture:
        """A mixture of standardised columns in the coordinates of the frame."""
        covariances = self.turn @ mixture.covariances @ self.turn.T
        covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
        return Mixture(mixture.weights, mixture.means @ self.turn.T, Full(covariances))


def plain_level(base: Base) -> CorrectedMixture:
    """The mixture alone, as the model of any noise level."""
    k, r = base.mixture.means.shape
    return CorrectedMixture(base.mixture, Hermite(r, 0), np.zeros((k, 1, r)), np.full(k, -1), base.frame.noise_scale)


def learn_levels(
    source: Source,
    base: Base,
    sigmas: Floats,
    how: Correcting,
    rng: np.random.Generator,
    report: Callable[[int, CorrectedFit], None] | None = None,
) -> list[CorrectedFit]:
    """Learn the model of every noise level: the mixture, corrected where its covariances were learnt.

    A pass over `SCREEN_ROWS` rows per level, and one over all rows where a correction is promising on these.
    """
    fits, rows = [], encoded(source, base.frame)
    few = ArraySource(rows.draw(max(SCREEN_ROWS, LOSS_ROWS), rng))
    for level, sigma in enumerate(sigmas.tolist()):
        if base.frame.noise_scale:
            loss = mixture_loss(few, base.mixture, sigma, (how.seed, level))
            found = CorrectedFit(plain_level(base), loss, loss)
        else:
            found = _corrected(rows, few, base, sigma, level, how)
        fits.append(_in_whole_space(found, base.frame, sigma))
        if report is not None:
            report(level, fits[-1])
    return fits


def _corrected(rows: Source, few: Source, base: Base, sigma: float, level: int, how: Correcting) -> CorrectedFit:
    """Correct a level by all rows, if a few say that it may pay."""
    if rows.n_rows > 2 * few.n_rows:
        tried = fit_residual(few, base.mixture, sigma, level, 0.0, replace(how, n_draws=1, sure=PROMISING))
        if tried.model.degrees.max() < 0:
            return tried
    return fit_residual(rows, base.mixture, sigma, level, 0.0, how)


def _in_whole_space(found: CorrectedFit, frame: Subspace, sigma: float) -> CorrectedFit:
    """Add the share of the complement, exactly Gaussian with the noise of the data, to losses per coordinate."""
    d, r, noise, t = frame.n_features, frame.rank, frame.noise_scale**2, sigma**2
    outside = (d - r) * noise * t / (noise + t)
    base_loss, loss = ((r * inside + outside) / d for inside in (found.base_loss, found.denoising_loss))
    return CorrectedFit(found.model, base_loss, loss)


def mixture_loss(rows: ArraySource, mixture: Mixture, sigma: float, key: tuple[int, int]) -> float:
    """Mean squared error of a mixture's denoiser per coordinate, on antithetic pairs of noise, at least one per row."""
    x = next(rows.chunks(rows.n_rows)).x.T
    x = namespace(x).concat([x] * -(-LEAST_PAIRS // rows.n_rows), axis=1)
    x, _, y = antithetic(x, normal_rows(key, 0, x.shape[1], rows.n_features, x), sigma)
    return float(np.mean((to_numpy(mixture.denoise(y.T, sigma)) - to_numpy(x.T)) ** 2))
