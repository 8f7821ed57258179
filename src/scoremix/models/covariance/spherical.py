"""A variance for every component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, squared_lengths
from scoremix.models.covariance.interface import LOG_2PI, as_float64, linear_features, typical_component


@dataclass(frozen=True)
class Spherical:
    """One variance per component.

    values (k,).
    """

    values: Floats
    n_features: int
    kind: ClassVar[str] = "spherical"
    shape: ClassVar[str] = "k"
    is_shared: ClassVar[bool] = False
    is_diagonal: ClassVar[bool] = True
    has_shapes: ClassVar[bool] = False
    is_round: ClassVar[bool] = True

    @classmethod
    def of(cls, values: Floats, n_features: int) -> Spherical:
        """From the variances."""
        return cls(values, n_features)

    @staticmethod
    def n_parameters(n_components: int, n_features: int) -> int:
        """``k``."""
        return n_components

    def n_sums(self, n_features: int) -> int:
        """``2 + d``."""
        return 2 + n_features

    def dense(self, n_components: int, n_features: int) -> Floats:
        """Multiples of the identity."""
        return np.asarray(self.values[:, None, None] * np.eye(n_features))

    def precisions_cholesky(self) -> Floats:
        """Inverse standard deviations, shape (k,)."""
        return np.asarray(1 / np.sqrt(self.values))

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """``d log v``."""
        return np.asarray(n_features * np.log(self.values))

    def condition(self, n_features: int) -> float:
        """1."""
        return 1.0

    def squared_distance(self, means: Floats, point: Floats) -> Floats:
        """In units of the standard deviation."""
        return np.asarray(np.sum((means - point) ** 2, axis=1) / self.values)

    def features(self, x: Array, frame: Floats) -> Array:
        """The squared length."""
        d = x.shape[0]
        phi = linear_features(x, frame, d + 2)
        phi[d + 1, :] = squared_lengths(phi[1 : d + 1, :])
        return phi

    def natural(self, weights: Floats, means: Floats) -> Floats:
        """``[log w - ..., m / v, -1 / (2 v)]``."""
        d, v = means.shape[1], self.values
        constant = np.log(weights) - 0.5 * (d * (LOG_2PI + np.log(v)) + np.sum(means**2, axis=1) / v)
        return np.concatenate([constant[:, None], means / v[:, None], -0.5 / v[:, None]], axis=1)

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """``2 c x``."""
        d = x.shape[0]
        return coefficients[1 : d + 1, :] + 2 * coefficients[d + 1 :, :] * x

    def second(self, sums: Floats, common: Floats | None, delta: Floats) -> Floats:
        """Squared distances from the means."""
        d = delta.shape[1]
        mass, first = sums[:, 0], sums[:, 1 : d + 1]
        return np.asarray(sums[:, d + 1] - 2 * np.sum(first * delta, axis=1) + mass * np.sum(delta**2, axis=1))

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Spherical:
        """Second moments per unit of mass and column; in single precision rounding may make one of them negative."""
        return Spherical(np.maximum(second, 0.0) / (self.n_features * mass) + reg, self.n_features)

    def plus(self, variance: float) -> Spherical:
        """Adds to every variance."""
        return Spherical(self.values + variance, self.n_features)

    def marginal(self, columns: NDArray[np.intp]) -> Spherical:
        """The same variances in fewer columns."""
        return Spherical(self.values, len(columns))

    def with_values(self, values: Floats) -> Spherical:
        """The same kind."""
        return Spherical(values, self.n_features)

    def guarded(self, ratio: float) -> Spherical:
        """Variances relative to the typical one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            typical = self.values[typical_component(np.log(np.maximum(self.values, 0)))]
        return Spherical(np.fmax(self.values, ratio * typical), self.n_features)

    def take(self, components: NDArray[np.intp]) -> Spherical:
        """Some variances."""
        return Spherical(self.values[components], self.n_features)

    def scaled(self, scale: Floats) -> Spherical:
        """By the first: there is one for all columns."""
        return Spherical(self.values * scale[0] ** 2, self.n_features)

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Spherical:
        """Within plus between, the mean of the columns."""
        share = weights[0] / weights.sum(axis=0)
        between = share * (1 - share) * np.mean(delta**2, axis=1)
        return Spherical(share * self.values[i] + (1 - share) * self.values[j] + between, self.n_features)

    def whiten(self, offsets: Floats) -> Floats:
        """Over the standard deviation."""
        return np.asarray(offsets / like(np.sqrt(self.values), offsets)[:, None, None])

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """Summed over columns."""
        return as_float64(np.sum(np.einsum("kmd,kmd->km", offsets, offsets) * weight, axis=1))

    def recentered(self, second: Floats, first: Floats, left: Floats, shift: Floats) -> Floats:
        """Summed over columns; what rounding made negative is 0."""
        return np.asarray(np.maximum(second - np.sum((first + left) * shift, axis=1), 0.0))

    def second_of(self, weights: Floats) -> Floats:
        """Summed over columns."""
        return np.asarray(self.values * weights * self.n_features)

    def reduced(self, second: Floats) -> Floats:
        """Summed over columns."""
        return np.asarray(second.sum(axis=1))

    def extended(self, wide: Floats) -> Spherical:
        """The variances, in more columns."""
        return Spherical(self.values, wide.shape[-1])

    @staticmethod
    def spread(moment: Floats, n_features: int) -> Floats:
        """Summed over columns."""
        return np.asarray(moment.sum(axis=1))

    @staticmethod
    def raised(mass: Floats, second: Floats, floor: Floats) -> Floats:
        """The mean of the columns."""
        return np.asarray(np.maximum(second, mass * floor.sum()))
