"""A covariance matrix for every component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from scoremix.arrays import Array, Floats, like, namespace, product
from scoremix.features import complete_packed, packed_size
from scoremix.models.covariance.interface import (
    LOG_2PI,
    WIDE,
    CollapsedError,
    are_beyond_rounding,
    as_float64,
    inverse_factor,
    linear_features,
    pivots_of,
    raised_matrices,
    representable,
    typical_component,
    upper_index,
)


@dataclass(frozen=True)
class Full:
    """One covariance matrix per component.

    values (k, d, d).
    """

    values: Floats
    kind: ClassVar[str] = "full"
    shape: ClassVar[str] = "k d d"
    is_shared: ClassVar[bool] = False
    is_diagonal: ClassVar[bool] = False
    has_shapes: ClassVar[bool] = True
    is_round: ClassVar[bool] = False

    @classmethod
    def of(cls, values: Floats, n_features: int) -> Full:
        """From the matrices."""
        return cls(values)

    @staticmethod
    def n_parameters(n_components: int, n_features: int) -> int:
        """``k d (d + 1) / 2``."""
        return n_components * n_features * (n_features + 1) // 2

    def n_sums(self, n_features: int) -> int:
        """``(d + 1)(d + 2) / 2``."""
        return packed_size(n_features)

    def dense(self, n_components: int, n_features: int) -> Floats:
        """The values themselves."""
        return self.values

    def precisions_cholesky(self) -> Floats:
        """Upper triangular, shape (k, d, d)."""
        return self._factor

    @cached_property
    def _factor(self) -> Floats:
        return inverse_factor(self.values)

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """From the factors of the precisions."""
        return np.asarray(-2 * np.log(np.diagonal(self._factor, axis1=1, axis2=2)).sum(axis=1))

    @cached_property
    def _precision(self) -> Floats:
        return self._factor @ np.swapaxes(self._factor, 1, 2)

    def condition(self, n_features: int) -> float:
        """The worst of all components, from Frobenius norms: at most d times the ratio of the extreme eigenvalues."""
        return float(np.max(_norms(self.values) * _norms(self._precision)))

    def squared_distance(self, means: Floats, point: Floats) -> Floats:
        """With the precisions."""
        delta = (means - point)[:, :, None]
        return np.asarray(np.swapaxes(delta, 1, 2) @ self._precision @ delta)[:, 0, 0]

    def features(self, x: Array, frame: Floats) -> Array:
        """Packed polynomials of degree 2."""
        d = x.shape[0]
        phi = linear_features(x, frame, packed_size(d))
        complete_packed(phi, d)
        return phi

    def natural(self, weights: Floats, means: Floats) -> Floats:
        """``[log w - ..., A m, -A (half on the diagonal)]``."""
        d = means.shape[1]
        precision = self._precision
        pull = (precision @ means[:, :, None])[:, :, 0]
        rows, columns = upper_index(d)
        quadratic = -precision[:, rows, columns]
        quadratic[:, rows == columns] /= 2
        constant = np.log(weights) - 0.5 * (d * LOG_2PI + self.log_det(len(means), d) + np.sum(pull * means, axis=1))
        return np.concatenate([constant[:, None], pull, quadratic], axis=1)

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """Each product ``x_i x_j`` gives to both of its coordinates."""
        d = x.shape[0]
        out, at = coefficients[1 : d + 1, :] * 1.0, d + 1
        for i in range(d):
            row = coefficients[at : at + d - i, :]
            out[i, :] += namespace(x).sum(row * x[i:, :], axis=0)
            out[i:, :] += row * x[i : i + 1, :]
            at += d - i
        return out

    def second(self, sums: Floats, common: Floats | None, delta: Floats) -> Floats:
        """Unpack, where they are packed, then move the origin to the means."""
        d = delta.shape[1]
        if sums.shape[1] == 1 + d + d * d > packed_size(d):
            out = sums[:, d + 1 :].reshape(-1, d, d).copy()
        else:
            rows, columns = upper_index(d)
            out = np.empty((len(sums), d, d))
            out[:, rows, columns] = out[:, columns, rows] = sums[:, d + 1 :]
        mass, first = sums[:, 0], sums[:, 1 : d + 1]
        cross = first[:, :, None] * delta[:, None, :]
        out -= cross + np.swapaxes(cross, 1, 2)
        out += mass[:, None, None] * delta[:, :, None] * delta[:, None, :]
        return out

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Full:
        """Second moments per unit of mass."""
        d = second.shape[-1]
        if d < WIDE:
            symmetric = (second + np.swapaxes(second, 1, 2)) / (2 * mass[:, None, None])
            return Full(symmetric + reg * np.eye(d))
        values = np.empty(second.shape)
        for value, moment, weight in zip(values, second, mass, strict=True):  # one after the other, in the cache
            np.add(moment, moment.T, out=value)
            value /= 2 * weight
            value.flat[:: d + 1] += reg
        return Full(values)

    def plus(self, variance: float) -> Full:
        """Adds to the diagonals."""
        return Full(self.values + variance * np.eye(self.values.shape[-1]))

    def marginal(self, columns: NDArray[np.intp]) -> Full:
        """Sub-matrices."""
        return Full(self.values[:, columns[:, None], columns])

    def with_values(self, values: Floats) -> Full:
        """The same kind."""
        return Full(values)

    def guarded(self, ratio: float) -> Full:
        """Eigenvalues relative to the typical matrix, so that the scales of the columns do not matter."""
        if self._is_sound(ratio):
            return self
        pivots = pivots_of(self.values)
        healthy = are_beyond_rounding(self.values, pivots)
        log_det = np.full(len(pivots), -np.inf)
        log_det[healthy] = 2 * np.log(pivots[healthy]).sum(axis=1)
        typical = typical_component(log_det)
        # trace(S^-1 T) bounds the inverse of the smallest relative eigenvalue: healthy components need no more.
        trace = np.full(len(log_det), np.inf)
        precision = (self if np.all(healthy) else Full(self.values[healthy]))._precision
        trace[healthy] = np.einsum("kij,ij->k", precision, self.values[typical])
        lower = np.linalg.cholesky(self.values[typical])
        out = None
        for k in np.flatnonzero(~(trace < 1 / ratio)):
            one = self.values[k]
            relative = solve_triangular(lower, solve_triangular(lower, one, lower=True).T, lower=True)
            values, vectors = np.linalg.eigh((relative + relative.T) / 2)
            if values[0] < ratio or not healthy[k]:
                out = self.values.copy() if out is None else out
                root = lower @ (vectors * np.sqrt(np.maximum(values, ratio)))
                out[k] = representable((root @ root.T)[None])[0]
        return self if out is None else Full(out)

    def _is_sound(self, ratio: float) -> bool:
        """Whether large matrices surely need no raising: from their factors, which are needed anyway."""
        if self.values.shape[-1] < WIDE:
            return False
        try:
            factor = self._factor
        except CollapsedError:
            return False
        if not np.all(are_beyond_rounding(self.values, 1 / np.diagonal(factor, axis1=1, axis2=2))):
            return False
        typical = self.values[typical_component(self.log_det(*factor.shape[:2]))]
        # The largest eigenvalue, by the norm of the square, times the trace of an inverse bounds that of the product.
        largest = np.sqrt(np.linalg.norm(typical @ typical))
        return bool(np.all(np.einsum("kij,kij->k", factor, factor) * largest < 1 / ratio))

    def take(self, components: NDArray[np.intp]) -> Full:
        """Some matrices."""
        if np.array_equal(components, np.arange(len(self.values))):
            return self
        return self._with(self.values[components], lambda: self._factor[components])

    def _with(self, values: Floats, factor: Callable[[], Floats]) -> Full:
        """Other matrices, whose factors follow from those of these where these are known."""
        other = Full(values)
        if "_factor" in vars(self):
            vars(other)["_factor"] = factor()
        return other

    def scaled(self, scale: Floats) -> Full:
        """Rows and columns."""
        if len(scale) < WIDE:
            return Full(self.values * np.outer(scale, scale))
        return self._with(self.values * np.outer(scale, scale), lambda: self._factor / scale[:, None])

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Full:
        """Within plus between."""
        a = (weights[0] / weights.sum(axis=0))[:, None, None]
        between = delta[:, :, None] * delta[:, None, :]
        values = a * self.values[i] + (1 - a) * self.values[j] + a * (1 - a) * between
        return Full(representable(values))

    def whiten(self, offsets: Floats) -> Floats:
        """By the factors of the precisions."""
        return np.asarray(product(offsets, like(self._factor, offsets)))

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """A product per component."""
        return as_float64(product(np.swapaxes(offsets, 1, 2), offsets * weight[:, :, None]))

    def recentered(self, second: Floats, first: Floats, left: Floats, shift: Floats) -> Floats:
        """Matrix by matrix."""
        if shift.shape[1] < WIDE:
            cross = first[:, :, None] * shift[:, None, :]
            return np.asarray(second - cross - np.swapaxes(left[:, :, None] * shift[:, None, :], 1, 2))
        moved = second.copy()
        for one, before, after, by in zip(moved, first, left, shift, strict=True):
            one -= np.stack([before, by], axis=1) @ np.stack([by, after])
        return moved

    def second_of(self, weights: Floats) -> Floats:
        """Matrix by matrix."""
        return np.asarray(self.values * weights[:, None, None])

    def reduced(self, second: Floats) -> Floats:
        """As they are."""
        return second

    def extended(self, wide: Floats) -> Full:
        """The matrices."""
        return Full(wide)

    @staticmethod
    def spread(moment: Floats, n_features: int) -> Floats:
        """On the diagonals."""
        return np.asarray(moment[..., None] * np.eye(n_features))

    @staticmethod
    def raised(mass: Floats, second: Floats, floor: Floats) -> Floats:
        """Along the eigenvectors, in units of the floor."""
        return raised_matrices(mass[:, None, None], second, floor)


def _norms(matrices: Floats) -> Floats:
    """Frobenius norms of positive matrices, also of entries whose squares are no numbers."""
    trace = np.einsum("kii->k", matrices)
    unit = matrices / trace[:, None, None]
    return np.asarray(trace * np.sqrt(np.einsum("kij,kij->k", unit, unit)))
