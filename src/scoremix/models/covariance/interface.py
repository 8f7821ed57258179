"""What mixtures and learners ask of covariances, and what the four types share."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dtrtri

from scoremix.arrays import Array, Floats, like, namespace, subtract_into

LOG_2PI = float(np.log(2 * np.pi))


MANY_COLUMNS = 64  # From so many on a point's features are kept together.
WIDE = 24  # From so many columns on a call per triangular matrix is worth the operations that it saves.


class Covariance(Protocol):
    """What mixtures and learners ask of covariances."""

    kind: ClassVar[str]
    shape: ClassVar[str]  # of the values, in letters
    is_shared: ClassVar[bool]  # one for all components
    is_diagonal: ClassVar[bool]  # no correlations
    has_shapes: ClassVar[bool]  # every component its own shape, beside its volume
    is_round: ClassVar[bool]  # in units that all columns have

    @classmethod
    def of(cls, values: Floats, n_features: int) -> Self:
        """Covariances from their values."""

    @property
    def values(self) -> Floats:
        """Parameters, in the shape of scikit-learn's `covariances_`."""

    @staticmethod
    def n_parameters(n_components: int, n_features: int) -> int:
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

    def recentered(self, second: Floats, first: Floats, left: Floats, shift: Floats) -> Floats:
        """Second moments about means that move by `shift` (k, d): first moments were `first`, and are `left`."""

    def second_of(self, weights: Floats) -> Floats:
        """Second moments that these covariances have where components weigh so much, (k,), 1 in all."""

    def reduced(self, second: Floats) -> Floats:
        """The shape that `fitted` takes, from second moments (k, d, d), or (k, d) where there are no correlations."""

    def extended(self, wide: Floats) -> Self:
        """The same in more columns, whose matrices (k, d, d) are these."""

    @staticmethod
    def spread(moment: Floats, n_features: int) -> Floats:
        """Second moments of samples without correlations, from those of every column, (k, d), or (d,) of all."""

    @staticmethod
    def raised(mass: Floats, second: Floats, floor: Floats) -> Floats:
        """Second moments of these masses, raised where variances are below a floor (d,) in some direction."""


def as_float64(x: NDArray[Any]) -> Floats:
    """The array in double precision, itself where it is so already."""
    return x.astype(np.float64, copy=False)


@lru_cache(maxsize=4)
def upper_index(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the upper triangle of (d, d) matrices."""
    rows, columns = np.triu_indices(d)
    return rows, columns


def inverse_factor(covariance: Floats) -> Floats:
    """Upper factors U of the inverses of covariance matrices (.., d, d): ``U U^T``.

    CollapsedError: If one is not positive definite.
    """
    if covariance.shape[-1] >= WIDE:
        return _inverse_factors(covariance.reshape(-1, *covariance.shape[-2:])).reshape(covariance.shape)
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise CollapsedError from None
    # The inverse of a triangular factor by the general routine costs six times the operations, and no loop in Python.
    return np.ascontiguousarray(np.swapaxes(np.tril(np.linalg.inv(lower)), -1, -2))


def _inverse_factors(matrices: Floats) -> Floats:
    """The same of large matrices (k, d, d), one after the other."""
    factors = np.empty(matrices.shape)
    for factor, matrix in zip(factors, matrices, strict=True):
        lower, is_singular = dpotrf(matrix.T, lower=1, clean=1)
        if is_singular:
            raise CollapsedError
        factor[:] = dtrtri(lower, lower=1, overwrite_c=1)[0].T
    return factors


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
    if covariance.is_diagonal:
        return np.asarray(values / (values + variance))
    eigenvalues, axes = np.linalg.eigh(values)
    return np.asarray(axes * (eigenvalues / (eigenvalues + variance))[..., None, :] @ np.swapaxes(axes, -1, -2))


def least_variance(covariance: Covariance) -> float:
    """The smallest variance of any component, in the direction in which it is."""
    values = covariance.values
    return float(np.min(values if covariance.is_diagonal else np.linalg.eigvalsh(values)))


def is_thin(covariance: Covariance, variance: float) -> bool:
    """Whether a component has a smaller variance than this in some direction."""
    values = covariance.values
    if covariance.is_diagonal or values.shape[-1] < WIDE:
        return least_variance(covariance) < variance
    matrices = values.reshape(-1, *values.shape[-2:])
    return any(np.isnan(pivots_of(one[None] - variance * np.eye(len(one)))).any() for one in matrices)


def are_positive(covariance: Covariance) -> NDArray[np.bool_]:
    """Which covariances are positive definite beyond rounding: shape (k,), or (1,) of tied ones.

    The square of a pivot is a variance given the features before it: below the rounding error of that feature's own
    variance, its sign is chance.
    """
    values = covariance.values
    if covariance.is_diagonal:
        return np.asarray(np.all(values > 0, axis=tuple(range(1, values.ndim))))
    matrices = values.reshape(-1, *values.shape[-2:])
    if values.shape[-1] < WIDE:
        return are_beyond_rounding(matrices, pivots_of(matrices))
    try:  # the factor is needed afterwards, too
        factors = covariance.precisions_cholesky().reshape(matrices.shape)
        return are_beyond_rounding(matrices, 1 / np.diagonal(factors, axis1=1, axis2=2))
    except CollapsedError:
        return are_beyond_rounding(matrices, pivots_of(matrices))


def pivots_of(matrices: Floats) -> Floats:
    """Diagonals of the Cholesky factors of symmetric matrices (k, d, d), shape (k, d); NaN where one has none."""
    if matrices.shape[-1] >= WIDE:
        pivots = np.full(matrices.shape[:2], np.nan)
        for pivot, matrix in zip(pivots, matrices, strict=True):
            lower, is_singular = dpotrf(matrix.T, lower=1, clean=0)
            if not is_singular:
                pivot[:] = np.diagonal(lower)
        return pivots
    try:
        return np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.full(matrices.shape[:2], np.nan)
        return np.concatenate([pivots_of(one[None]) for one in matrices])


def are_beyond_rounding(matrices: Floats, pivots: Floats) -> NDArray[np.bool_]:
    """Which matrices (k, d, d) have pivots (k, d) that are not rounding."""
    least = 10 * matrices.shape[-1] * np.finfo(np.float64).eps * np.diagonal(matrices, axis1=1, axis2=2)
    return np.asarray(np.all(pivots**2 > least, axis=1))


def representable(matrices: Floats) -> Floats:
    """Matrices (k, d, d), raised where not positive beyond rounding: that of a few rows far apart on a line is not.

    CollapsedError: If one has no variance at all.
    """
    thin = np.flatnonzero(~are_beyond_rounding(matrices, pivots_of(matrices)))
    if not len(thin):
        return matrices
    eps, variances = np.finfo(np.float64).eps, np.diagonal(matrices[thin], axis1=1, axis2=2)
    if np.any(variances.max(axis=1) <= 0):
        raise CollapsedError
    unit = np.sqrt(np.maximum(variances, eps * variances.max(axis=1, keepdims=True)))  # a variance may round below 0
    unit = unit[:, :, None] * unit[:, None, :]
    values, vectors = np.linalg.eigh(matrices[thin] / unit)
    least = 100 * matrices.shape[-1] * eps
    raised = matrices.copy()
    raised[thin] = (vectors * np.maximum(values, least)[:, None, :]) @ np.swapaxes(vectors, 1, 2) * unit
    return raised


def raised_matrices(total: Floats, second: Floats, floor: Floats) -> Floats:
    """Second moments (.., d, d) of so much mass, raised along the eigenvectors, in units of the floor (d,)."""
    unit = np.outer(np.sqrt(floor), np.sqrt(floor)) * total
    relative = (second + np.swapaxes(second, -1, -2)) / (2 * unit)
    above = relative - np.eye(relative.shape[-1])  # a factor costs a tenth of the eigenvalues, and mostly tells enough
    if not np.isnan(pivots_of(above.reshape(-1, *above.shape[-2:]))).any():
        return second
    values, axes = np.linalg.eigh(relative)
    raised = axes * np.maximum(values, 1.0)[..., None, :] @ np.swapaxes(axes, -1, -2)
    return np.asarray(np.where((values.min(axis=-1) < 1)[..., None, None], raised * unit, second))


def by_column(covariance: Covariance, values: Floats, n_components: int, n_features: int) -> Floats:
    """Values of covariances without correlations, such as variances, as (k, d)."""
    whole = values if covariance.is_shared else values.reshape(n_components, -1)
    return np.broadcast_to(whole, (n_components, n_features))


def mean_variances(covariance: Covariance, n_components: int, n_features: int) -> Floats:
    """Mean variance of a column of every component, shape (k,)."""
    values = covariance.values
    if not covariance.is_diagonal:
        values = np.diagonal(values, axis1=-2, axis2=-1)
    return np.asarray(by_column(covariance, values, n_components, n_features).sum(axis=1) / n_features)


def typical_component(log_det: Floats) -> int:
    """The component whose volume is the (upper) median of those that are positive."""
    order = np.argsort(log_det)
    order = order[np.isfinite(log_det[order])]
    if not len(order):
        raise CollapsedError
    return int(order[len(order) // 2])


def linear_features(x: Array, frame: Floats, n_sums: int) -> Array:
    """Room for features, the constant and the points about the frame filled in: points are copied just once."""
    d, n = x.shape
    if isinstance(x, np.ndarray) and d >= MANY_COLUMNS:  # as points lie in memory
        phi = np.empty((n, n_sums), dtype=x.dtype).T
    else:
        phi = namespace(x).empty((n_sums, n), dtype=x.dtype, device=x.device)
    phi[0, :] = 1.0
    subtract_into(x, like(frame, x)[:, None], phi[1 : d + 1, :])
    return phi
