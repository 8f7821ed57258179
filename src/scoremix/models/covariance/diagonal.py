"""A variance for every component and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, multiply_into, product
from scoremix.models.covariance.interface import LOG_2PI, as_float64, linear_features, typical_component


@dataclass(frozen=True)
class Diagonal:
    """One variance per component and column.

    values (k, d).
    """

    values: Floats
    kind: ClassVar[str] = "diag"
    shape: ClassVar[str] = "k d"
    is_shared: ClassVar[bool] = False
    is_diagonal: ClassVar[bool] = True
    has_shapes: ClassVar[bool] = True
    is_round: ClassVar[bool] = False

    @classmethod
    def of(cls, values: Floats, n_features: int) -> Diagonal:
        """From the variances."""
        return cls(values)

    @staticmethod
    def n_parameters(n_components: int, n_features: int) -> int:
        """``k d``."""
        return n_components * n_features

    def n_sums(self, n_features: int) -> int:
        """``1 + 2 d``."""
        return 1 + 2 * n_features

    def dense(self, n_components: int, n_features: int) -> Floats:
        """Diagonal matrices."""
        return np.asarray(self.values[:, :, None] * np.eye(n_features))

    def precisions_cholesky(self) -> Floats:
        """Inverse standard deviations, shape (k, d)."""
        return np.asarray(1 / np.sqrt(self.values))

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """Sums of logarithms."""
        return np.asarray(np.log(self.values).sum(axis=1))

    def condition(self, n_features: int) -> float:
        """1: every coordinate stands alone."""
        return 1.0

    def squared_distance(self, means: Floats, point: Floats) -> Floats:
        """Coordinate by coordinate."""
        return np.asarray(np.sum((means - point) ** 2 / self.values, axis=1))

    def features(self, x: Array, frame: Floats) -> Array:
        """Squares of all coordinates."""
        d = x.shape[0]
        phi = linear_features(x, frame, 2 * d + 1)
        multiply_into(phi[1 : d + 1, :], phi[1 : d + 1, :], phi[d + 1 :, :])
        return phi

    def natural(self, weights: Floats, means: Floats) -> Floats:
        """``[log w - ..., m / v, -1 / (2 v)]``."""
        pull = means / self.values
        constant = np.log(weights) - 0.5 * (np.sum(LOG_2PI + np.log(self.values) + pull * means, axis=1))
        return np.concatenate([constant[:, None], pull, -0.5 / self.values], axis=1)

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """``2 c x`` for every square."""
        d = x.shape[0]
        return coefficients[1 : d + 1, :] + 2 * coefficients[d + 1 :, :] * x

    def second(self, sums: Floats, common: Floats | None, delta: Floats) -> Floats:
        """Coordinate by coordinate."""
        d = delta.shape[1]
        mass, first = sums[:, :1], sums[:, 1 : d + 1]
        return np.asarray(sums[:, d + 1 :] - 2 * first * delta + mass * delta**2)

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Diagonal:
        """Second moments per unit of mass; in single precision rounding may make one of them negative."""
        return Diagonal(np.maximum(second, 0.0) / mass[:, None] + reg)

    def plus(self, variance: float) -> Diagonal:
        """Adds to every variance."""
        return Diagonal(self.values + variance)

    def marginal(self, columns: NDArray[np.intp]) -> Diagonal:
        """Some columns."""
        return Diagonal(self.values[:, columns])

    def with_values(self, values: Floats) -> Diagonal:
        """The same kind."""
        return Diagonal(values)

    def guarded(self, ratio: float) -> Diagonal:
        """Variances relative to those of the typical component, column by column."""
        with np.errstate(divide="ignore", invalid="ignore"):
            typical = self.values[typical_component(np.sum(np.log(np.maximum(self.values, 0)), axis=1))]
        return Diagonal(np.fmax(self.values, ratio * typical))

    def take(self, components: NDArray[np.intp]) -> Diagonal:
        """Some rows."""
        return Diagonal(self.values[components])

    def scaled(self, scale: Floats) -> Diagonal:
        """Column by column."""
        return Diagonal(self.values * scale**2)

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Diagonal:
        """Within plus between, column by column."""
        a = (weights[0] / weights.sum(axis=0))[:, None]
        return Diagonal(a * self.values[i] + (1 - a) * self.values[j] + a * (1 - a) * delta**2)

    def whiten(self, offsets: Floats) -> Floats:
        """Over the standard deviations."""
        return np.asarray(offsets / like(np.sqrt(self.values), offsets)[:, None, :])

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """Column by column."""
        return as_float64(product(weight[:, None, :], offsets**2)[:, 0, :])

    def recentered(self, second: Floats, first: Floats, left: Floats, shift: Floats) -> Floats:
        """Column by column; what rounding made negative is 0."""
        return np.asarray(np.maximum(second - (first + left) * shift, 0.0))

    def second_of(self, weights: Floats) -> Floats:
        """Column by column."""
        return np.asarray(self.values * weights[:, None])

    def reduced(self, second: Floats) -> Floats:
        """As they are."""
        return second

    def extended(self, wide: Floats) -> Diagonal:
        """The diagonals."""
        return Diagonal(np.diagonal(wide, axis1=1, axis2=2))

    @staticmethod
    def spread(moment: Floats, n_features: int) -> Floats:
        """Column by column."""
        return moment

    @staticmethod
    def raised(mass: Floats, second: Floats, floor: Floats) -> Floats:
        """Column by column."""
        return np.asarray(np.maximum(second, mass[:, None] * floor))
