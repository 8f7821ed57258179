"""Coordinates for a search: columns in units of their own, without those that say nothing new.

A column that others determine (a constant, a copy, the last of a group of indicators, a sum) has no width beside them.
Components of free shape follow it exactly, whatever they are; but their likelihood then measures how thin the rows are
in its direction, rises with every pass and with every number that rounds, and rules every decision. So a search sees
the columns that determine the others, and what it finds is extended to these.

A column is measured by its standard deviation, unless few rows rule that: then by the median of what lies about its
median, so that one wrong entry does not make all the others look the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.linalg.lapack import dpstrf

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, to_numpy
from scoremix.learning.em.posterior import InMemorySamples, Ints
from scoremix.learning.moments import Moments
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import Covariance
from scoremix.models.covariance.types import TYPES, covariance_of
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace
from scoremix.samples.source import Mapped, Source

Samples = TypeVar("Samples", bound=InMemorySamples)

NO_WIDTH = 1e-10  # A column of less than this share of its variance beside the others is determined by them.
RULED = 10.0  # A standard deviation of so many robust ones is ruled by few rows.
NORMAL = 1.4826  # Standard deviation of a normal distribution, in units of its median absolute deviation.
BLOCK = 2**17  # Numbers that are added up at a time: 1 MB.
MANY, SOME = 64, 128  # In many columns so many rows tell about medians at first.
THIN = 1e-6  # Variance where there is none, in units of a typical one.


@dataclass(frozen=True)
class IndependentColumns:
    """How rows are seen in a search.

    scale, origin (d,); kept (r,); center (d,), the mean of rows as seen, about which `loads` (d, r) say the columns.
    """

    scale: Floats
    origin: Floats
    kept: Ints
    center: Floats
    loads: Floats

    @classmethod
    def of(cls, rows: InMemorySamples, kind: str, *, counting: bool = False) -> IndependentColumns:
        """Find the coordinates for components of a kind.

        Components without correlations do not follow a column that others determine: it counts in their likelihood,
        but not where components are to be counted (`counting`). Constant columns never do.
        """
        follow = counting or not TYPES[kind].is_diagonal
        origin, scale, ruled, variance = _origin_and_scale(rows, kind)
        if not ruled.any() and not follow:
            kept, loads = _varying(variance)
            return cls(scale, origin, kept, np.zeros_like(scale), loads)
        weight = rows.weight
        z = (rows.x - origin) / scale
        if ruled.any():
            reach = np.max(np.abs(z[:, ruled]), axis=1)
            # Every row may be far out in some column, as those of clusters in the corners of a triangle: then none is.
            are_few = float(np.median(reach)) <= RULED
            weight = np.where(are_few & (reach > RULED), 0.0, weight)
        center = np.average(z, axis=0, weights=weight)
        kept, loads = _independent(z - center, weight, follow=follow)
        return cls(scale, origin, kept, center, loads)

    def rows(self, rows: Samples) -> Samples:
        """The rows as they are seen."""
        x = (rows.x if self._is_complete else rows.x[:, self.kept]) - self.origin[self.kept]
        x /= self.seen_scale
        return replace(rows, x=x)

    @property
    def seen_scale(self) -> Floats:
        """Scales of the columns that are seen."""
        return self.scale[self.kept]

    def inside(self, mixture: Mixture) -> Mixture:
        """A mixture as it is seen."""
        whole = mixture.scaled(1 / self.scale, -self.origin / self.scale)
        return whole if self._is_complete else whole.marginal(self.kept)

    def outside(self, mixture: Mixture) -> Mixture:
        """A mixture that was found, of all columns."""
        if not self._is_complete:
            mixture = self._extended(mixture)
        return mixture.scaled(self.scale, self.origin)

    @property
    def _is_complete(self) -> bool:
        return len(self.kept) == len(self.scale)

    def _extended(self, mixture: Mixture) -> Mixture:
        covariance, d = mixture.covariance, len(self.scale)
        dense = mixture.covariances[:1] if covariance.is_shared else mixture.covariances
        wide = self.loads @ dense @ self.loads.T
        new = np.setdiff1d(np.arange(d), self.kept)
        # As thin for all components: else thinness would be for some of them.
        wide[:, new, new] += THIN * float(np.median(np.trace(dense, axis1=1, axis2=2))) / len(self.kept)
        means = self.center + (mixture.means - self.center[self.kept]) @ self.loads.T
        means[:, self.kept] = mixture.means
        return Mixture(mixture.weights, means, covariance.extended(wide))


def _origin_and_scale(rows: InMemorySamples, kind: str) -> tuple[Floats, Floats, NDArray[np.bool_], Floats]:
    """Mean and standard deviation of the columns (1 where it is constant), or robust ones, and where they are that.

    And the variances in these units.
    """
    x, weight = rows.x, rows.weight
    some = x if x.shape[1] < MANY else np.asfortranarray(x[:: max(1, len(x) // SOME)])
    middle = np.median(some, axis=0)
    mean, deviation = _mean_and_deviation(x, weight, middle)
    scale = deviation
    robust = NORMAL * np.median(np.abs(some - middle), axis=0)
    if some is not x:  # what some rows leave open, all decide
        open_ = np.flatnonzero(scale > RULED / 2 * robust)
        robust[open_] = NORMAL * np.median(np.abs(x[:, open_] - np.median(x[:, open_], axis=0)), axis=0)
    ruled = (robust > 0) & (scale > RULED * robust)
    origin, scale = np.where(ruled, middle, middle + mean), np.where(ruled, robust, scale)
    if TYPES[kind].is_round:
        scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
    rounding = 4 * np.finfo(x.dtype).eps * np.abs(origin)
    scale = np.where(scale > rounding, scale, 1.0)
    return origin, scale, ruled, (deviation / scale) ** 2


def _mean_and_deviation(x: Floats, weight: Floats, middle: Floats) -> tuple[Floats, Floats]:
    """Means of the columns about a point amid the rows, and standard deviations; some rows at a time, near by.

    They are exactly 0 in a constant column, whose mean need not be its value.
    """
    first, second, step = np.zeros_like(middle), np.zeros_like(middle), max(1, BLOCK // len(middle))
    for start in range(0, len(x), step):
        local, mine = x[start : start + step] - middle, weight[start : start + step]
        first += product(mine, local)
        local *= local
        second += product(mine, local)
    mean = first / weight.sum()
    return mean, np.sqrt(np.maximum(second / weight.sum() - mean**2, 0.0))


def _varying(variance: Floats) -> tuple[Ints, Floats]:
    """Columns that are not constant; one where all are."""
    kept = np.flatnonzero(variance > NO_WIDTH) if np.any(variance > NO_WIDTH) else np.arange(1)
    return kept, np.eye(len(variance))[:, kept]


def _independent(centered: Floats, weight: Floats, *, follow: bool) -> tuple[Ints, Floats]:
    """Columns that determine the others, and how; but for constant ones all, where others are not followed."""
    d = centered.shape[1]
    if not follow:
        return _varying(product(weight, centered**2) / weight.sum())
    second = product(centered.T * weight, centered) / weight.sum()
    variance = np.diagonal(second).copy()
    width = np.sqrt(np.where(variance > NO_WIDTH, variance, 1.0))
    factor, pivots, rank, _ = lapack.dpstrf(second / width[:, None] / width, tol=NO_WIDTH)
    order = pivots - 1
    sorting = np.argsort(order[:rank])
    kept = order[:rank][sorting]
    slopes = solve_triangular(factor[:rank, :rank], np.triu(factor[:rank])[:, rank:]).T
    loads = np.zeros((d, rank))
    loads[order[:rank], np.argsort(sorting)] = 1.0
    loads[order[rank:]] = (slopes[:, sorting] * width[order[rank:], None]) / width[kept]
    return (kept, loads) if len(kept) else (np.arange(1), np.eye(d)[:, :1])


# Most dimensions that covariances are learnt in; the search for many components affords more below so many rows.
MOST_DIRECTIONS, AT_ROWS = 50, 20_000


# A column of which others leave less than this share of the variance unexplained is a linear combination of them.
DEPENDENT = 1e-9


MIN_WIDTH = 1e-4  # Least standard deviation of a component, in those of the columns.


NARROW = 0.1  # Share of the data that may lie in narrower components than the one whose scale counts as local.


@dataclass(frozen=True)
class BaseMixture:
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


def in_subspace(source: Source, frame: Subspace) -> Source:
    """The rows of a source in the coordinates of a frame."""
    return Mapped(source, frame.rank, lambda x: frame.encode(x).T)


def as_float64(source: Source) -> Source:
    """The rows of a source in double precision: in single, columns that others determine cannot be told."""
    return Mapped(source, source.n_features, lambda x: namespace(x).astype(x, namespace(x).float64))


@dataclass(frozen=True)
class StandardizedColumns:
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
    def of(cls, moments: Moments) -> StandardizedColumns:
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


@dataclass(frozen=True)
class LeadingDirections:
    """Directions in which components differ; in the others they share a Gaussian.

    lead (r, m); common (r, r).
    """

    lead: Floats
    common: Floats

    @classmethod
    def leading(cls, correlation: Floats, most: int) -> LeadingDirections:
        """The principal axes of a correlation matrix (r, r), at most so many; the columns where these are no more."""
        if len(correlation) <= most:
            return cls(np.eye(len(correlation)), np.zeros_like(correlation))
        values, axes = np.linalg.eigh(correlation)
        values, axes = values[::-1], axes[:, ::-1]
        rest = axes[:, most:]
        return cls(axes[:, :most], (rest * values[most:]) @ rest.T)

    def along(self, rows: Source) -> Source:
        """The coordinates of rows of r columns."""
        return Mapped(rows, self.lead.shape[1], lambda x: product(x, like(self.lead, x)))

    def embedded(self, mixture: Mixture) -> Mixture:
        """A mixture of coordinates as one of the columns."""
        covariances = self.lead @ mixture.covariances @ self.lead.T + self.common
        return Mixture(mixture.weights, mixture.means @ self.lead.T, Full(covariances))


@dataclass(frozen=True)
class Units:
    """Coordinates in which components have unit covariance: ``x = root u``.

    root (d, d), none where x and u are the same.
    """

    kind: str
    root: Floats | None

    def encode(self, x: Array) -> Array:
        """Rows x (n, d) in these coordinates; the same array where they are the same."""
        if self.root is None:
            return x
        xp = namespace(x)
        x = xp.astype(x, xp.float64, copy=False)
        return product(x, like(np.linalg.inv(self.root).T, x))

    def decode(self, means: Floats) -> Floats:
        """Points u (k, d) in the units of the data."""
        return means if self.root is None else means @ self.root.T

    def covariance(self, covariance: Covariance | None, n_components: int, n_features: int) -> Covariance:
        """Covariances in the units of the data: known ones, or learnt in these coordinates."""
        root = np.eye(n_features) if self.root is None else self.root
        shared = root @ root.T
        if covariance is not None:
            values = root @ covariance.dense(n_components, n_features) @ root.T
            values = (values + np.swapaxes(values, 1, 2)) / 2
            values = np.diagonal(values, axis1=1, axis2=2) if self.kind == "diag" else values
        elif self.kind == "tied":
            values = shared
        else:
            values = np.repeat(np.diagonal(shared)[None, :], n_components, axis=0)
            values = values[:, 0] if self.kind == "spherical" else values
        return covariance_of(self.kind, np.ascontiguousarray(values), n_features)


def encoded_rows(source: Source, frame: Subspace, size: int, rng: np.random.Generator) -> Floats:
    """A sample of the rows, by weight and in random order, in the frame: shape (r, at most size), NumPy numbers."""
    rows = to_numpy(frame.encode(source.draw(size, rng))).astype(np.float64)
    return np.asarray(rng.permutation(rows, axis=1))
