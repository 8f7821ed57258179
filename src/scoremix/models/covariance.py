"""Covariances of the components of a Gaussian mixture: four final classes with the same methods, no flags.

A mixture is an exponential family: with features ``phi(x)`` about a *frame* (a point near the data) the logarithm of
``w_k N(x; m_k, S_k)`` is linear, ``theta_k . phi(x)``, and so is the statistic of an EM step, ``sum_n r_nk phi(x_n)``.
So a pass over the data is two matrix products, whatever the covariance; what a class says is its features, its natural
parameters ``theta``, and what the sums mean:

===========  ============================  =================  =======================
class        features about the frame      their number       second moment of a mass
===========  ============================  =================  =======================
`Full`       ``1, x, upper(x x^T)``        (d + 1)(d + 2)/2   (k, d, d)
`Diagonal`   ``1, x, x * x``               1 + 2 d            (k, d)
`Spherical`  ``1, x, |x|^2``               2 + d              (k,), summed over axes
`Tied`       ``1, x, |U^T x|^2``           2 + d              (d, d), all components
===========  ============================  =================  =======================

Parameters are NumPy float64 arrays, small; data keep their library and precision, feature major: (d, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dtrtri

from scoremix.arrays import Array, Floats, like, multiply_into, namespace, product, squared_lengths, subtract_into
from scoremix.features import complete_packed, packed_size

LOG_2PI = float(np.log(2 * np.pi))

WIDE = 24  # From so many columns on a call per triangular matrix is worth the operations that it saves.


class Covariance(Protocol):
    """What mixtures and learners ask of covariances."""

    kind: ClassVar[str]

    @property
    def values(self) -> Floats:
        """Parameters, in the shape of scikit-learn's `covariances_`."""

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Number of free parameters."""

    def n_sums(self, n_features: int) -> int:
        """Number of features."""

    def dense(self, n_components: int, n_features: int) -> Floats:
        """Covariance matrices, shape (k, d, d)."""

    def precisions_cholesky(self) -> Floats:
        """Factors U of the precisions, ``U U^T``, in the shape of `values` (square roots where these are diagonal)."""

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """Logarithms of the determinants, shape (k,)."""

    def condition(self, n_features: int) -> float:
        """Largest condition number that products of features suffer from."""

    def squared_distance(self, means: Floats, point: Floats) -> Floats:
        """Mahalanobis distances of the means from a point, squared, shape (k,)."""

    def features(self, x: Array, frame: Floats) -> Array:
        """Features of the points x (d, n) about a frame, shape (p, n): rows ``1 .. d`` are x - frame."""

    def natural(self, weights: Floats, means: Floats) -> Floats:
        """Natural parameters theta, shape (k, p), of components with these means about the frame."""

    def gradient(self, coefficients: Array, x: Array) -> Array:
        """Gradient in x of ``sum_j c_jn phi_j(x_n)``: (p, n), (d, n) -> (d, n)."""

    def second(self, sums: Floats, common: Floats | None, delta: Floats) -> Floats:
        """Second moments about the means, from sums of features (k, p) about the frame; delta = means - frame."""

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Self:
        """Maximum-likelihood covariances from second moments about the means, plus `reg` on the diagonal."""

    def plus(self, variance: float) -> Self:
        """Covariances after isotropic noise of this variance is added."""

    def marginal(self, columns: NDArray[np.intp]) -> Self:
        """Covariances of some columns."""

    def with_values(self, values: Floats) -> Self:
        """Covariances of the same kind with other values."""

    def guarded(self, ratio: float) -> Self:
        """Raise what has collapsed to `ratio` times the covariance of a typical component."""

    def take(self, components: NDArray[np.intp]) -> Self:
        """Covariances of some components."""

    def scaled(self, scale: Floats) -> Self:
        """Covariances after the columns are multiplied by `scale` (d,), one number for all where they are spherical."""

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Covariance:
        """Covariances of pairs of components: weights (2, p) of the two, delta (p, d) between their means."""

    def whiten(self, offsets: Floats) -> Floats:
        """Offsets from the mean, those of every component (k, m, d), in units in which its covariance is 1."""

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """Second moments of such offsets with weights (k, m), in the shape that `fitted` takes."""


def _double(x: NDArray[Any]) -> Floats:
    """The array in double precision, itself where it is so already."""
    return x.astype(np.float64, copy=False)


@lru_cache(maxsize=4)
def _upper_index(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the upper triangle of (d, d) matrices."""
    rows, columns = np.triu_indices(d)
    return rows, columns


def _inverse_factor(covariance: Floats) -> Floats:
    """Upper factors U of the inverses of covariance matrices (.., d, d): ``U U^T``."""
    lower = np.linalg.cholesky(covariance)
    if covariance.shape[-1] >= WIDE:
        inverses = [dtrtri(one.T, lower=0)[0] for one in lower.reshape(-1, *lower.shape[-2:])]
        return np.ascontiguousarray(np.reshape(inverses, lower.shape))
    # The inverse of a triangular factor by the general routine costs six times the operations, and no loop in Python.
    return np.ascontiguousarray(np.swapaxes(np.tril(np.linalg.inv(lower)), -1, -2))


class CollapsedError(ValueError):
    """No component has a positive definite covariance."""

    def __init__(self) -> None:
        super().__init__(
            "Fitting the mixture model failed because some components have ill-defined empirical covariance (for "
            "instance caused by singleton or collapsed samples). Try to decrease the number of components, increase "
            "reg_covar, or scale the input data."
        )


def shrinkage(covariance: Covariance, variance: float) -> Floats:
    """``S (S + variance I)^-1``, in the shape of the covariances: what is kept of an offset under noise."""
    values = covariance.values
    if covariance.kind in ("diag", "spherical"):
        return np.asarray(values / (values + variance))
    eigenvalues, axes = np.linalg.eigh(values)
    return np.asarray(axes * (eigenvalues / (eigenvalues + variance))[..., None, :] @ np.swapaxes(axes, -1, -2))


def least_variance(covariance: Covariance) -> float:
    """The smallest variance of any component, in the direction in which it is."""
    values = covariance.values
    return float(np.min(values if covariance.kind in ("diag", "spherical") else np.linalg.eigvalsh(values)))


def are_positive(covariance: Covariance) -> NDArray[np.bool_]:
    """Which covariances are positive definite beyond rounding: shape (k,), or (1,) of tied ones.

    The square of a pivot is a variance given the features before it: below the rounding error of that feature's own
    variance, its sign is chance.
    """
    values = covariance.values
    if covariance.kind in ("diag", "spherical"):
        return np.asarray(np.all(values > 0, axis=tuple(range(1, values.ndim))))
    return _have_pivots(values.reshape(-1, *values.shape[-2:]))


def _have_pivots(matrices: Floats) -> NDArray[np.bool_]:
    """Which symmetric matrices (k, d, d) have Cholesky factors with pivots that are not rounding: (k,)."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)
    except np.linalg.LinAlgError:
        return np.zeros(1, bool) if len(matrices) == 1 else np.concatenate([_have_pivots(m[None]) for m in matrices])
    least = 10 * matrices.shape[-1] * np.finfo(np.float64).eps * np.diagonal(matrices, axis1=1, axis2=2)
    return np.asarray(np.all(pivots**2 > least, axis=1))


def _typical(log_det: Floats) -> int:
    """The component whose volume is the (upper) median of those that are positive."""
    order = np.argsort(log_det)
    order = order[np.isfinite(log_det[order])]
    if not len(order):
        raise CollapsedError
    return int(order[len(order) // 2])


def _log_dets(matrices: Floats) -> Floats:
    """Log determinants of symmetric matrices (k, d, d); -inf where one is not numerically positive definite."""
    try:
        return np.asarray(2 * np.log(np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)).sum(axis=1))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.array([-np.inf])
        return np.concatenate([_log_dets(one[None]) for one in matrices])


@dataclass(frozen=True)
class Full:
    """One covariance matrix per component.

    values (k, d, d).
    """

    values: Floats
    kind: ClassVar[str] = "full"

    def n_parameters(self, n_components: int, n_features: int) -> int:
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
        return _inverse_factor(self.values)

    def log_det(self, n_components: int, n_features: int) -> Floats:
        """From the factors of the precisions."""
        return np.asarray(-2 * np.log(np.diagonal(self._factor, axis1=1, axis2=2)).sum(axis=1))

    @cached_property
    def _precision(self) -> Floats:
        return self._factor @ np.swapaxes(self._factor, 1, 2)

    def condition(self, n_features: int) -> float:
        """The worst of all components, from Frobenius norms: at most d times the ratio of the extreme eigenvalues."""
        norms = np.linalg.norm(self.values, axis=(1, 2)) * np.linalg.norm(self._precision, axis=(1, 2))
        return float(np.max(norms))

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
        rows, columns = _upper_index(d)
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
            rows, columns = _upper_index(d)
            out = np.empty((len(sums), d, d))
            out[:, rows, columns] = out[:, columns, rows] = sums[:, d + 1 :]
        mass, first = sums[:, 0], sums[:, 1 : d + 1]
        cross = first[:, :, None] * delta[:, None, :]
        out -= cross + np.swapaxes(cross, 1, 2)
        out += mass[:, None, None] * delta[:, :, None] * delta[:, None, :]
        return out

    def fitted(self, mass: Floats, second: Floats, reg: float) -> Full:
        """Second moments per unit of mass."""
        symmetric = (second + np.swapaxes(second, 1, 2)) / (2 * mass[:, None, None])
        return Full(symmetric + reg * np.eye(second.shape[-1]))

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
        log_det = _log_dets(self.values)
        typical = _typical(log_det)
        # trace(S^-1 T) bounds the inverse of the smallest relative eigenvalue: healthy components need no more.
        trace = np.full(len(log_det), np.inf)
        healthy = np.isfinite(log_det)
        precision = (self if np.all(healthy) else Full(self.values[healthy]))._precision
        trace[healthy] = np.einsum("kij,ij->k", precision, self.values[typical])
        lower = np.linalg.cholesky(self.values[typical])
        out = None
        for k in np.flatnonzero(~(trace < 1 / ratio)):
            one = self.values[k]
            relative = solve_triangular(lower, solve_triangular(lower, one, lower=True).T, lower=True)
            values, vectors = np.linalg.eigh((relative + relative.T) / 2)
            if values[0] < ratio:
                out = self.values.copy() if out is None else out
                root = lower @ (vectors * np.sqrt(np.maximum(values, ratio)))
                out[k] = root @ root.T
        return self if out is None else Full(out)

    def take(self, components: NDArray[np.intp]) -> Full:
        """Some matrices."""
        return Full(self.values[components])

    def scaled(self, scale: Floats) -> Full:
        """Rows and columns."""
        return Full(self.values * np.outer(scale, scale))

    def merged(self, i: NDArray[np.intp], j: NDArray[np.intp], weights: Floats, delta: Floats) -> Full:
        """Within plus between."""
        a = (weights[0] / weights.sum(axis=0))[:, None, None]
        between = delta[:, :, None] * delta[:, None, :]
        return Full(a * self.values[i] + (1 - a) * self.values[j] + a * (1 - a) * between)

    def whiten(self, offsets: Floats) -> Floats:
        """By the factors of the precisions."""
        return np.asarray(product(offsets, like(self._factor, offsets)))

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """A product per component."""
        return _double(product(np.swapaxes(offsets, 1, 2), offsets * weight[:, :, None]))


@dataclass(frozen=True)
class Tied:
    """One covariance matrix for all components.

    values (d, d).
    """

    values: Floats
    kind: ClassVar[str] = "tied"

    def n_parameters(self, n_components: int, n_features: int) -> int:
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
        return _inverse_factor(self.values)

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
        if not np.all(np.isfinite(_log_dets(self.values[None]))):
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
        return Full(self.values + between[:, None, None] * delta[:, :, None] * delta[:, None, :])

    def whiten(self, offsets: Floats) -> Floats:
        """By the factor of the precision."""
        return np.asarray(product(offsets, like(self._factor, offsets)))

    def moment(self, offsets: Floats, weight: Floats) -> Floats:
        """Of all components together."""
        d = offsets.shape[-1]
        return _double(product((offsets * weight[:, :, None]).reshape(-1, d).T, offsets.reshape(-1, d)))


@dataclass(frozen=True)
class Diagonal:
    """One variance per component and column.

    values (k, d).
    """

    values: Floats
    kind: ClassVar[str] = "diag"

    def n_parameters(self, n_components: int, n_features: int) -> int:
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
            typical = self.values[_typical(np.sum(np.log(np.maximum(self.values, 0)), axis=1))]
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
        return _double(product(weight[:, None, :], offsets**2)[:, 0, :])


@dataclass(frozen=True)
class Spherical:
    """One variance per component.

    values (k,).
    """

    values: Floats
    n_features: int
    kind: ClassVar[str] = "spherical"

    def n_parameters(self, n_components: int, n_features: int) -> int:
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
            typical = self.values[_typical(np.log(np.maximum(self.values, 0)))]
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
        return _double(np.sum(np.einsum("kmd,kmd->km", offsets, offsets) * weight, axis=1))


def linear_features(x: Array, frame: Floats, n_sums: int) -> Array:
    """Room for features, the constant and the points about the frame filled in: points are copied just once."""
    d, n = x.shape
    phi = namespace(x).empty((n_sums, n), dtype=x.dtype, device=x.device)
    phi[0, :] = 1.0
    subtract_into(x, like(frame, x)[:, None], phi[1 : d + 1, :])
    return phi


def covariance_of(kind: str, values: Floats, n_features: int) -> Covariance:
    """Covariances of a kind from their values, in scikit-learn's shapes.

    values (k, d, d).
    """
    values = np.asarray(values, dtype=np.float64)
    if kind == "spherical":
        return Spherical(values, n_features)
    if kind == "full":
        return Full(values)
    return Tied(values) if kind == "tied" else Diagonal(values)
