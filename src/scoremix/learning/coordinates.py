"""Coordinates for a search: columns in units of their own, without those that say nothing new.

A column that others determine (a constant, a copy, the last of a group of indicators, a sum) has no width beside them.
Components of free shape follow it exactly, whatever they are; but their likelihood then measures how thin the rows are
in its direction, rises with every pass and with every number that rounds, and rules every decision. So a search sees
the columns that determine the others, and what it finds is extended to these.

A column is measured by its standard deviation, unless few rows rule that: then by the median of what lies about its
median, so that one wrong entry does not make all the others look the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from scoremix.arrays import Floats, product
from scoremix.learning.posterior import Ints, Rows
from scoremix.models.covariance import covariance_of
from scoremix.models.mixture import Mixture

NO_WIDTH = 1e-10  # A column of less than this share of its variance beside the others is determined by them.
RULED = 10.0  # A standard deviation of so many robust ones is ruled by few rows.
NORMAL = 1.4826  # Standard deviation of a normal distribution, in units of its median absolute deviation.
THIN = 1e-6  # Variance where there is none, in units of a typical one.


@dataclass(frozen=True)
class Coordinates:
    """How rows are seen in a search.

    scale, origin (d,); kept (r,); loads (d, r).
    """

    scale: Floats
    origin: Floats
    kept: Ints
    loads: Floats

    @classmethod
    def of(cls, rows: Rows, kind: str, *, counting: bool = False) -> Coordinates:
        """Find the coordinates for components of a kind.

        Components without correlations do not follow a column that others determine: it counts in their likelihood,
        but not where components are to be counted (`counting`). Constant columns never do.
        """
        origin, scale, ruled = _origin_and_scale(rows, kind)
        z = (rows.x - origin) / scale
        weight = np.where(np.any(np.abs(z[:, ruled]) > RULED, axis=1), 0.0, rows.weight)
        kept, loads = _independent(z, weight, follow=counting or kind in ("full", "tied"))
        return cls(scale, origin, kept, loads)

    def rows(self, rows: Rows) -> Rows:
        """The rows as they are seen."""
        return Rows((rows.x[:, self.kept] - self.origin[self.kept]) / self.seen_scale, rows.weight)

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
        kind, d = mixture.covariance.kind, len(self.scale)
        dense = mixture.covariances if kind != "tied" else mixture.covariances[:1]
        wide = self.loads @ dense @ self.loads.T
        new = np.setdiff1d(np.arange(d), self.kept)
        # As thin for all components: else thinness would be for some of them.
        wide[:, new, new] += THIN * float(np.median(np.trace(dense, axis1=1, axis2=2))) / len(self.kept)
        diagonal = np.diagonal(wide, axis1=1, axis2=2)
        values = {
            "full": wide,
            "tied": wide[0],
            "diag": diagonal,
            "spherical": mixture.covariance.values,
        }[kind]
        return Mixture(mixture.weights, mixture.means @ self.loads.T, covariance_of(kind, values, d))


def _origin_and_scale(rows: Rows, kind: str) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Mean and standard deviation of the columns (1 where it is constant), or robust ones, and where they are that."""
    x, weight = rows.x, rows.weight
    middle = np.median(x, axis=0)
    local = x - middle  # exactly 0 in a constant column, whose mean need not be its value
    mean = np.average(local, axis=0, weights=weight)
    scale = np.sqrt(np.average((local - mean) ** 2, axis=0, weights=weight))
    robust = NORMAL * np.median(np.abs(local), axis=0)
    ruled = (robust > 0) & (scale > RULED * robust)
    origin, scale = np.where(ruled, middle, middle + mean), np.where(ruled, robust, scale)
    if kind == "spherical":
        scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
    rounding = 4 * np.finfo(x.dtype).eps * np.abs(origin)
    return origin, np.where(scale > rounding, scale, 1.0), ruled


def _independent(z: Floats, weight: Floats, *, follow: bool) -> tuple[Ints, Floats]:
    """Columns that determine the others, and how; but for constant ones all, where others are not followed."""
    d = z.shape[1]
    centred = z - np.average(z, axis=0, weights=weight)
    second = product(centred.T * weight, centred) / weight.sum()
    variance = np.diagonal(second).copy()
    width = np.sqrt(np.where(variance > NO_WIDTH, variance, 1.0))
    if not follow:
        kept = np.flatnonzero(variance > NO_WIDTH)
        loads = np.eye(d)[:, kept]
    else:
        factor, pivots, rank, _ = lapack.dpstrf(second / width[:, None] / width, tol=NO_WIDTH)
        order = pivots - 1
        sorting = np.argsort(order[:rank])
        kept = order[:rank][sorting]
        slopes = solve_triangular(factor[:rank, :rank], np.triu(factor[:rank])[:, rank:]).T
        loads = np.zeros((d, rank))
        loads[order[:rank], np.argsort(sorting)] = 1.0
        loads[order[rank:]] = (slopes[:, sorting] * width[order[rank:], None]) / width[kept]
    return (kept, loads) if len(kept) else (np.arange(1), np.eye(d)[:, :1])
