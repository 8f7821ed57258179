"""One covariance matrix for all components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, product, squared_lengths
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import (
    LOG_2PI,
    CollapsedError,
    as_float64,
    inverse_factor,
    linear_features,
    pivots_of,
    raised_matrices,
    representable,
)


@dataclass(frozen=True)
class Tied:
    """One covariance matrix for all components.

    values (d, d).
    """

    values: Floats
    kind: ClassVar[str] = "tied"
    shape: ClassVar[str] = "d d"
    is_shared: ClassVar[bool] = True
    is_diagonal: ClassVar[bool] = False
    has_shapes: ClassVar[bool] = False
    is_round: ClassVar[bool] = False

    @classmethod
    def of(cls, values: Floats, n_features: int) -> Tied:
        """From the matrix."""
        return cls(values)

    @staticmethod
    def n_parameters(n_components: int, n_features: int) -> int:
        """``d (d + 1) / 2``."""
        return n_features * (n_features + 1) // 2

    def n_sums(self, n_features: int) -> int:
        """``2 + d``."""
        return 2 + n_features

    def dense(self, n_components: int, n_features: int) -> Floats:
        """The matrix, k times."""
        return np.broadcast_to(self.values, (n_components, n_features, n_features))

    def precisions_cholesky(self) -> Floats:
        """Upper triangular, shape (d, d)."""
        return self._factor

    @cached_property
    def _factor(self) -> Floats:
        return inverse_factor(self.values)

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """The same for all."""
        return np.full(n_components, -2 * np.log(np.diagonal(self._factor)).sum())

    def condition(self, n_features: int) -> float:
        """1: the quadratic form is a sum of squares."""
        return 1.0

    def squared_distance(self, means: Floats, point: Floats) -> Floats:
        """In whitened coordinates."""
        return np.asarray(np.sum(((means - point) @ self.precisions_cholesky()) ** 2, axis=1))

    def features(self, x: Array, frame: Floats) -> Array:
        """The quadratic form is the same for all components: one row."""
        d = x.shape[0]
        phi = linear_features(x, frame, d + 2)
        phi[d + 1, :] = squared_lengths(product(like(self.precisions_cholesky().T, x), phi[1 : d + 1, :]))
        return phi

    def natural(self, weights: Floats, means: Floats) -> Floats:
        """``[log w - ..., A m, -1/2]``."""
        k, d = means.shape
        factor = self.precisions_cholesky()
        white = means @ factor
        constant = np.log(weights) - 0.5 * (d * LOG_2PI + self.log_det(k, d) + np.sum(white**2, axis=1))
        return np.concatenate([constant[:, None], white @ factor.T, np.full((k, 1), -0.5)], axis=1)

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """``2 c U U^T x`` for the quadratic form."""
        d, factor = x.shape[0], self.precisions_cholesky()
        return coefficients[1 : d + 1, :] + 2 * coefficients[d + 1 :, :] * product(like(factor @ factor.T, x), x)

    def second(self, sums: Floats, common: Floats | None, delta: Floats) -> Floats:
        """The second moment of all points about the frame, moved to the means."""
        if common is None:
            raise ValueError("A tied covariance needs the second moment of all points.")
        d = delta.shape[1]
        cross = sums[:, 1 : d + 1].T @ delta
        return np.asarray(common - cross - cross.T + (sums[:, :1] * delta).T @ delta)

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Tied:
        """The second moment per unit of all mass."""
        return Tied((second + second.T) / (2 * mass.sum()) + reg * np.eye(len(second)))

    def plus(self, variance: float) -> Tied:
        """Adds to the diagonal."""
        return Tied(self.values + variance * np.eye(len(self.values)))

    def marginal(self, columns: NDArray[np.intp]) -> Tied:
        """The sub-matrix."""
        return Tied(self.values[np.ix_(columns, columns)])

    def with_values(self, values: Floats) -> Tied:
        """The same kind."""
        return Tied(values)

    def guarded(self, ratio: float) -> Tied:
        """One matrix does not collapse alone; it must be positive."""
        if not np.all(pivots_of(self.values[None]) > 0):
            raise CollapsedError
        return self

    def take(self, components: NDArray[np.intp]) -> Tied:
        """The same matrix."""
        return self

    def scaled(self, scale: Floats) -> Tied:
        """Rows and columns."""
        return Tied(self.values * np.outer(scale, scale))

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Full:
        """What the matrix would become, a different one for every pair."""
        between = weights.prod(axis=0) / weights.sum(axis=0)
        return Full(representable(self.values + between[:, None, None] * delta[:, :, None] * delta[:, None, :]))

    def whiten(self, offsets: Floats) -> Floats:
        """By the factor of the precision."""
        return np.asarray(product(offsets, like(self._factor, offsets)))

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """Of all components together."""
        d = offsets.shape[-1]
        return as_float64(product((offsets * weight[:, :, None]).reshape(-1, d).T, offsets.reshape(-1, d)))

    def recentered(self, second: Floats, first: Floats, left: Floats, shift: Floats) -> Floats:
        """All components together."""
        return np.asarray(second - first.T @ shift - shift.T @ left)

    def second_of(self, weights: Floats) -> Floats:
        """The matrix, for weights that sum to 1."""
        return self.values

    def reduced(self, second: Floats) -> Floats:
        """Their sum."""
        return np.asarray(second.sum(axis=0))

    def extended(self, wide: Floats) -> Tied:
        """The first matrix: they are the same."""
        return Tied(wide[0])

    @staticmethod
    def spread(moment: Floats, n_features: int) -> Floats:
        """On the diagonal."""
        return np.asarray(moment[..., None] * np.eye(n_features))

    @staticmethod
    def raised(mass: Floats, second: Floats, floor: Floats) -> Floats:
        """Along the eigenvectors, in units of the floor."""
        return raised_matrices(np.array(mass.sum()), second, floor)
