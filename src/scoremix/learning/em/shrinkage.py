"""Priors of covariances: what small components borrow from the others.

Components of few rows overfit their covariances, and maximum likelihood likes it: the held-out likelihood falls while
the likelihood rises. Restarts and early stopping hide this; shrinkage cures it.

`EmpiricalBayesShapePrior` is empirical Bayes. Each covariance is a volume times a shape (of unit volume). Shapes shrink
towards the common shape, and volumes towards the common volume, each as strongly as the components are found to be
alike. The common shape counts as the number of rows that makes the second moments of all components most probable; the
common volume as ``2 / (d t2)`` rows, with ``t2`` the variance between the logarithms of volumes that is left after
sampling noise is taken off. Where components differ, or rows are many, nothing changes; nothing depends on units, nor
on scales that differ from component to component.

`PseudoObservations` is a row or so of a small variance, for components that have hardly any of their own; and the least
variance of data that were rounded, which the likelihood would otherwise pile up on single values; and, in a search, the
width of categories.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri
from scipy.special import gammaln, multigammaln

from scoremix.arrays import Floats
from scoremix.models.covariance.types import TYPES

MOST = 1000.0  # Rows that a common value counts for, at most.
ROWS = np.geomspace(0.1, MOST, 25)  # Numbers of rows that the common shape may count for.
ENOUGH_ROWS = 16  # With more rows per parameter of a component the prior changes nothing that matters.
SURE = 2.0  # Nats by which a number of rows may be less probable than the best one, and still be taken for possible.
GHOST = 0.1  # Variance of a ghost, in units of a typical one.
ENOUGH = 10.0  # Rows per dimension with which a component needs no ghosts.
CATEGORIES = 10  # A column of fewer values is not a measurement that was rounded.
CATEGORY = 0.1  # Standard deviation of a category in a search, as a share of the smallest step to another.

# Matrices of so many numbers are large: they are taken one after the other, and by their factors, not eigenvalues.
LARGE = 64**2
FEW = 3  # So many, the heaviest, tell about where the evidence is largest.
SELDOM = 4  # How much their common shape counts for is found anew at every fourth update: it hardly changes.

# What is added to the diagonal of the common shape, relative to it: more where that is not enough.
SINGULAR = (1e-9, 1e-6, 1e-3)

LEAST_VOLUME = 1e-12  # Smallest volume relative to the largest: what is flat has one all the same.


@dataclass(frozen=True)
class PseudoObservations:
    """Rows about the mean of every component that are not there; they fade where the component has enough of its own.

    floor (d,); blur (d,), variances that are added.
    """

    kind: str
    n_features: int
    variance: float = 0.0
    mass: float = 0.0
    floor: Floats | None = None
    blur: Floats | None = None

    def add(self, mass: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Masses and second moments with them."""
        d, total = self.n_features, mass.sum() if TYPES[self.kind].is_shared else mass
        ghosts = self.mass / (1 + (total / (ENOUGH * (d + 1))) ** 2)
        moment = np.multiply.outer(ghosts * self.variance, np.ones(d))
        if self.blur is not None:
            moment = moment + np.multiply.outer(total, self.blur)
        added = second + TYPES[self.kind].spread(moment, d)
        mass = np.append(mass, ghosts) if TYPES[self.kind].is_shared else mass + ghosts
        return mass, added if self.floor is None else TYPES[self.kind].raised(mass, added, self.floor)


@dataclass(frozen=True)
class FixedShapePrior:
    """Rows of a known shape, in every component's own volume.

    shape (d, d).
    """

    kind: str
    rows: float
    shape: Floats
    ghosts: PseudoObservations | None = None

    def add(self, mass: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Masses and second moments with them."""
        if self.ghosts is not None:
            mass, second = self.ghosts.add(mass, second)
        if self.rows == 0:
            return mass, second
        if not TYPES[self.kind].is_diagonal:
            moment = np.einsum("kij,ji->k", second, self._inverse)
        else:
            moment = np.sum(second / self.shape, axis=1)
        volume = moment / (mass * len(self.shape))
        pulled = self.rows * volume.reshape(-1, *[1] * (second.ndim - 1)) * self.shape
        return mass + self.rows, second + pulled

    def white(self, n_features: int) -> FixedShapePrior:
        """The same in directions in which the covariance that is known is 1."""
        ghosts = None if self.ghosts is None else PseudoObservations(self.kind, n_features, GHOST, self.ghosts.mass)
        return FixedShapePrior(self.kind, self.rows, np.eye(n_features), ghosts)

    @cached_property
    def _inverse(self) -> Floats:
        inverse = _inverse_factor(self.shape)
        return np.asarray(inverse.T @ inverse, dtype=np.float64)


@dataclass(frozen=True)
class EmpiricalBayesShapePrior:
    """Shapes and volumes shrunk towards their common values by empirical Bayes."""

    kind: str
    n_features: int
    ghosts: PseudoObservations | None = None
    _likely: list[int] = field(default_factory=list, compare=False)  # in `ROWS`, by update

    def add(self, mass: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Masses (k,) and second moments about the means with the prior added; O(k d^3) for full covariances."""
        if self.ghosts is not None:
            mass, second = self.ghosts.add(mass, second)
        if TYPES[self.kind].is_shared or len(mass) == 1:
            return mass, second
        d = self.n_features
        if not TYPES[self.kind].has_shapes:
            return mass, second * _volume_ratio(mass, second / (d * mass), d)
        per_row = (slice(None),) + (None,) * (second.ndim - 1)
        rows, volume, shape = self._shapes(mass, second)
        ratio = _volume_ratio(mass, volume, d)
        if second[0].size < LARGE:
            return mass + rows, ratio[per_row] * (second + (rows * volume)[per_row] * shape)
        pulled = np.multiply.outer(ratio * rows * volume, shape)
        for one, by, moment in zip(pulled, ratio, second, strict=True):  # one after the other they stay in the cache
            one += by * moment
        return mass + rows, pulled

    def known(self, mass: Floats, second: Floats) -> FixedShapePrior:
        """The prior with the common shape of these components, for others that are to be like them."""
        if not TYPES[self.kind].has_shapes or len(mass) == 1:
            return FixedShapePrior(self.kind, 0.0, np.ones(self.n_features), self.ghosts)
        if self.ghosts is not None:
            mass, second = self.ghosts.add(mass, second)
        rows, _, shape = self._shapes(mass, second)
        return FixedShapePrior(self.kind, rows, shape, self.ghosts)

    def rows(self, mass: Floats, second: Floats) -> float:
        """How many rows the common shape counts for at least, by the majority of the components."""
        if not TYPES[self.kind].has_shapes or len(mass) == 1 or self.n_features == 1:
            return 0.0
        if self.ghosts is not None:
            mass, second = self.ghosts.add(mass, second)
        _, volume, relative = _common_shape(self.kind, second / _per_row(mass, second), mass)
        evidence = _evidence(mass, volume, relative, not TYPES[self.kind].is_diagonal)
        # The median: a component that covers two clusters has an odd shape, and is not to speak for all.
        total = len(mass) * np.median(evidence - evidence[0], axis=1)
        return float(ROWS[np.argmax(total >= total.max() - SURE)])

    def _shapes(self, mass: Floats, second: Floats) -> tuple[float, Floats, Floats]:
        """How many rows the common shape counts for, volumes (k,), and the common shape."""
        if second[0].size >= LARGE and not TYPES[self.kind].is_diagonal:
            shape, volume = _shape_and_volumes(second, mass)
            if len(self._likely) % SELDOM == 0:
                self._likely.append(_most_probable(mass, volume, second, shape, self._likely[-1:]))
            else:
                self._likely.append(self._likely[-1])
            return float(ROWS[self._likely[-1]]), volume, shape
        shape, volume, relative = _common_shape(self.kind, second / _per_row(mass, second), mass)
        if self.n_features == 1:
            return 0.0, volume, shape
        return (
            float(ROWS[np.argmax(_evidence(mass, volume, relative, not TYPES[self.kind].is_diagonal).sum(axis=1))]),
            volume,
            shape,
        )


def _per_row(mass: Floats, second: Floats) -> Floats:
    return mass.reshape(-1, *[1] * (second.ndim - 1))


def _common_shape(kind: str, values: Floats, mass: Floats) -> tuple[Floats, Floats, Floats]:
    """The common shape, volumes (k,), and eigenvalues (k, d) of the covariances relative to the common shape."""
    shape = np.asarray(np.tensordot(mass, values, axes=1))
    for _ in range(3):  # volumes depend on the shape, and it on them; the last turn is for the eigenvalues
        used = shape
        if not TYPES[kind].is_diagonal:
            inverse = _inverse_factor(shape)
            volume = _positive(np.tensordot(values, inverse.T @ inverse, axes=2) / len(shape))
        else:
            white = values / np.where(shape > 0, shape, 1.0)
            volume = _positive(white.mean(axis=1))
        shape = np.tensordot(mass / volume, values, axes=1) / mass.sum()
    relative = np.linalg.eigvalsh(inverse @ values @ inverse.T) if not TYPES[kind].is_diagonal else white
    return used, volume, np.maximum(relative, 0.0)


def _shape_and_volumes(second: Floats, mass: Floats) -> tuple[Floats, Floats]:
    """The common shape of large matrices, and volumes (k,), as `_common_shape` finds them."""
    shape, flat = second.sum(axis=0), second.reshape(len(second), -1)
    for _ in range(3):
        used = shape
        inverse = dpotri(_lower_factor(shape).T, lower=0)[0]  # the upper half; below it is the factor's nothing
        inverse *= 2 - np.eye(len(shape))
        volume = _positive(flat @ inverse.ravel() / (mass * len(shape)))
        shape = ((1 / volume) @ flat).reshape(shape.shape) / mass.sum()
    return used, volume


def _most_probable(mass: Floats, volume: Floats, second: Floats, shape: Floats, last: list[int]) -> int:
    """Where in `ROWS` the evidence of large matrices is largest: uphill, from where it was, or it is for some of them.

    With determinants instead of eigenvalues it is exact at every number that is tried, and few are.
    """
    d, known = len(shape), dict[tuple[int, bool], float]()
    few = np.argsort(-mass, kind="stable")[:FEW]
    lower = _lower_factor(shape)
    base, sound = 2 * float(np.log(np.diagonal(lower)).sum()), lower @ lower.T

    def evidence(at: int) -> float:
        if (at, step == 1) not in known:
            prior, some = ROWS[at], np.arange(len(mass)) if step == 1 else few
            spread = np.array([_log_det(prior * volume[k] * sound + second[k]) for k in some]) - base
            each = _wishart(mass[some], np.array(prior), np.log(prior * volume[some]), spread, d)
            known[at, step == 1] = float(np.sum(each))
        return known[at, step == 1]

    start, step = (last[0], 1) if last else (len(ROWS) // 2, 4)
    while step:
        near = [at for at in (start - step, start + step) if 0 <= at < len(ROWS)]
        best = max(near, key=evidence)
        if evidence(best) > evidence(start):
            start = best
        else:
            step //= 2
    return start


def _log_det(matrix: Floats) -> float:
    """Log determinant of a matrix that is overwritten; infinite where it is not positive."""
    factor, info = dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    return np.inf if info else 2 * float(np.log(np.diagonal(factor)).sum())


def _inverse_factor(shape: Floats) -> Floats:
    """Lower triangular L with ``L^T L`` the inverse of a matrix, as far as it has one."""
    return np.asarray(dtrtri(_lower_factor(shape).T, lower=0)[0].T, dtype=np.float64)


def _lower_factor(shape: Floats) -> Floats:
    """Cholesky factor of a matrix with as much on its diagonal as it needs, whatever the units of the columns."""
    diagonal = np.diagonal(shape)
    for ratio in SINGULAR:
        try:
            return np.asarray(np.linalg.cholesky(shape + np.diag(np.where(diagonal > 0, ratio * diagonal, 1.0))))
        except np.linalg.LinAlgError:
            continue
    return np.diag(np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))


def _evidence(mass: Floats, volume: Floats, relative: Floats, is_full: bool) -> Floats:
    """Log marginal likelihood of the covariances, for every number of rows in `ROWS` (g,) and component (k,).

    Covariances are inverse Wishart about volume times common shape (products of inverse gammas, where they are
    diagonal), and second moments Wishart about them; what does not depend on the number of rows is left out.
    """
    d = relative.shape[1]
    n, prior = mass[None, :], ROWS[:, None]
    center = np.log(prior * volume)
    spread = np.log(prior[:, :, None] * volume[:, None] + mass[:, None] * relative).sum(axis=2)
    if is_full:
        return _wishart(n, prior, center, spread, d)
    freedom = prior + 2
    gammas = d * (gammaln((freedom + n) / 2) - gammaln(freedom / 2))
    return np.asarray(gammas + freedom / 2 * d * center - (freedom + n) / 2 * spread)


def _wishart(n: Floats, prior: Floats, center: Floats, spread: Floats, d: int) -> Floats:
    freedom = prior + d + 1
    gammas = multigammaln((freedom + n) / 2, d) - multigammaln(freedom / 2, d)
    return np.asarray(gammas + freedom / 2 * d * center - (freedom + n) / 2 * spread)


def rounding_floor(x: Floats, *, counting: bool = False) -> Floats | None:
    """Least variances of the columns of x (n, d) that were rounded, shape (d,); None where none was.

    A quarter of the squared step: at the variance of the rounding error itself, a twelfth, a component on a single
    value would still have 1.4 times the density there of rows that lie anywhere.

    A column counts as rounded where it has each value twice on average, and is no list of categories; its step is the
    smallest gap between values. Where components are counted, categories are values too: else there would be a
    component for each, however the other columns are.
    """
    return _floor(*_steps(x), counting)


def _floor(values: NDArray[np.intp], steps: Floats, counting: bool) -> Floats | None:
    floor = np.where(values >= (2 if counting else CATEGORIES), steps**2 / 4, 0.0)
    # Where some columns were rounded, the others get a floor that does nothing, for a direction needs one in each.
    return np.maximum(floor, 1e-12 * floor.max()) if np.any(floor > 0) else None


def width_of_categories(x: Floats) -> Floats | None:
    """Variances that a search adds for the categories in columns of x (n, d), shape (d,); None where there are none.

    They tell components apart. But a component of a single one has no width there, and what is left in its place, a
    ghost or a rounding error, says how many rows it has: the largest would gain by taking in its neighbours.
    """
    return _blur(*_steps(x))


def floor_and_width(x: Floats, *, counting: bool = False) -> tuple[Floats | None, Floats | None]:
    """Both for a search, by one look at the rows; no width of categories where components are counted."""
    values, steps = _steps(x)
    return _floor(values, steps, counting), None if counting else _blur(values, steps)


def _blur(values: NDArray[np.intp], steps: Floats) -> Floats | None:
    blur = np.where(values < CATEGORIES, (CATEGORY * steps) ** 2, 0.0)
    return blur if np.any(blur > 0) else None


def _steps(x: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Numbers of values, and smallest gaps between them, of the columns that have each twice on average; else 0."""
    number, steps = np.zeros(x.shape[1], dtype=np.intp), np.zeros(x.shape[1])
    with np.errstate(over="ignore"):
        # What is equal is so in single precision, which is sorted several times as fast.
        some = np.sort(x[: 8 * isqrt(len(x))].astype(np.float32).T, axis=1)
    # Of n / 2 values one would be among some rows twice, but for a chance of e^-64.
    for j in np.flatnonzero((some[:, 1:] == some[:, :-1]).any(axis=1)):
        column = x[:, j]
        values = np.unique(column[~np.isnan(column)])
        if 2 <= len(values) <= len(column) / 2:
            number[j], steps[j] = len(values), np.min(np.diff(values))
    return number, steps


def _positive(volume: Floats) -> Floats:
    return np.asarray(np.maximum(volume, max(LEAST_VOLUME * float(volume.max()), 1e-300)))


def _volume_ratio(mass: Floats, volume: Floats, d: int) -> Floats:
    """By how much volumes (k,) change when they shrink towards their geometric mean."""
    log_volume = np.log(_positive(volume))
    typical = float(np.average(log_volume, weights=mass))
    # The logarithm of a volume has the sampling variance 2 / (d n_k).
    variance = float(np.average((log_volume - typical) ** 2, weights=mass)) - 2 * len(mass) / (d * float(mass.sum()))
    rows = min(2 / (d * max(variance, 1e-12)), MOST)
    # On the logarithm: a part of a row of the typical volume would swamp a component that is much smaller.
    return np.asarray(np.exp(rows / (mass + rows) * (typical - log_volume)))
