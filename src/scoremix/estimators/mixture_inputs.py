"""Parameters of mixtures that users hand in, checked against the data; where scikit-learn has a message, that one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from scoremix.arrays import Array, Floats, as_numpy, is_foreign, namespace, to_numpy
from scoremix.estimators.parameters import COVARIANCE_TYPE, Number
from scoremix.learning.coordinates import Units
from scoremix.learning.em.seeding import n_distinct_rows
from scoremix.models.covariance.interface import Covariance
from scoremix.models.covariance.types import TYPES, covariance_of, shape_of_values
from scoremix.models.mixture import Mixture
from scoremix.samples.source import Source

AGREEMENT = 1e-4  # Relative difference of two covariances up to which they are the same but for rounding.
SCAN_ROWS = 16384  # Rows looked through at a time for missing values.


def has_missing(source: Source) -> bool:
    """Tell whether a source has NaN; one pass, or less."""
    return any(bool(namespace(chunk.x).any(namespace(chunk.x).isnan(chunk.x))) for chunk in source.chunks(SCAN_ROWS))


def floating_type(X: Array) -> np.dtype[Any]:
    """NumPy's name for the precision of floating samples."""
    return np.dtype(np.float32 if X.dtype == namespace(X).float32 else np.float64)


def _numbers(values: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Numbers of a given shape, in their own precision."""
    checked = check_array(
        np.atleast_1d(to_numpy(values) if is_foreign(values) else values),
        dtype=[np.float64, np.float32],
        ensure_2d=False,
        allow_nd=True,
        input_name=name,
    )
    if checked.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {checked.shape}")
    return np.asarray(checked)


def check_weights(weights: Any, n_components: int) -> Floats:
    """Weights as numbers that sum to 1.

    ValueError: If they have another shape, are not in [0, 1], or do not sum to 1 within the precision they came in.
    """
    checked = _numbers(weights, (n_components,), "weights")
    if np.any(checked < 0) or np.any(checked > 1):
        low, high = f"{checked.min():.5f}", f"{checked.max():.5f}"
        raise ValueError(  # scikit-learn's message, which has the two the other way round, and then which is which
            f"The parameter 'weights' should be in the range [0, 1], but got max value {low}, min value {high}: they "
            f"go from {low} to {high}"
        )
    if abs(1 - float(checked.sum())) > (1e-6 if checked.dtype == np.float32 else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {checked.sum():.5f}")
    exact = checked.astype(np.float64)
    return np.asarray(exact / exact.sum())


def check_means(means: Any, n_components: int, n_features: int) -> Floats:
    """Means as numbers.

    ValueError: If they have another shape, or are not finite.
    """
    return _numbers(means, (n_components, n_features), "means").astype(np.float64)


def check_matrices(name: str, matrices: Any, kind: str, n_components: int, n_features: int) -> Floats:
    """Precisions or covariances of a kind.

    ValueError: If they have another shape, are not symmetric, or are not positive definite.
    """
    shape = shape_of_values(kind, n_components, n_features)
    checked = _numbers(matrices, shape, f"{kind} {name}").astype(np.float64)
    if TYPES[kind].is_diagonal:
        if np.any(checked <= 0):
            raise ValueError(f"'{kind} {name}' should be positive")
        return checked
    mirrored = np.swapaxes(checked, -1, -2)
    if not (np.allclose(checked, mirrored) and np.all(np.linalg.eigvalsh(checked) > 0)):
        raise ValueError(f"'{kind} {name}' should be symmetric, positive-definite")
    return np.asarray((checked + mirrored) / 2)


def inverse_of(kind: str, precisions: Floats, n_features: int) -> Covariance:
    """Covariances from checked precisions: the factor of the inverse of an inverse."""
    if TYPES[kind].is_diagonal:
        return covariance_of(kind, 1 / precisions, n_features)
    factor = covariance_of(kind, precisions, n_features).precisions_cholesky()
    return covariance_of(kind, factor @ np.swapaxes(factor, -1, -2), n_features)


def covariance_from(name: str, values: Any, kind: str, n_components: int, n_features: int) -> Covariance:
    """Covariances from a fitted attribute: `covariances_`, `precisions_` or `precisions_cholesky_`.

    ValueError: If it has another shape, or is not that of positive definite matrices.
    """
    k, d = n_components, n_features
    if name == "covariances_":
        return covariance_of(kind, check_matrices("covariance", values, kind, k, d), d)
    if name == "precisions_":
        return inverse_of(kind, check_matrices("precision", values, kind, k, d), d)
    factor = _numbers(values, shape_of_values(kind, k, d), name).astype(np.float64)
    if TYPES[kind].is_diagonal:
        if np.any(factor <= 0):
            raise ValueError(f"'{kind} {name}' should be positive")
        return covariance_of(kind, 1 / factor**2, d)
    if not np.all(np.isfinite(np.linalg.slogdet(factor)[1])):
        raise ValueError(f"'{kind} {name}' should be invertible")
    root = np.linalg.inv(factor)
    return covariance_of(kind, np.swapaxes(root, -1, -2) @ root, d)


def check_agreement(found: Mapping[str, Covariance], n_features: int, rounding: float) -> None:
    """Refuse covariances that were given in several forms, and differ by more than the `rounding` of their numbers.

    ValueError: Naming the two that differ.
    """
    (first, one), *others = found.items()
    if not others:
        return
    k = len(one.values)  # of a tied covariance too many, all the same
    values = np.linalg.eigvalsh(one.dense(k, n_features))
    tolerance = AGREEMENT + 10 * rounding * n_features * float(np.max(values[:, -1] / values[:, 0]))
    root = np.linalg.cholesky(np.linalg.inv(one.dense(k, n_features)))
    for name, other in others:
        relative = np.swapaxes(root, 1, 2) @ other.dense(k, n_features) @ root
        if not np.allclose(relative, np.eye(n_features), rtol=0, atol=tolerance):
            raise ValueError(f"{first} and {name} contradict each other: set one of them, and the other follows.")


def shape_of(means: Any) -> tuple[int, int]:
    """Number of components and of columns.

    ValueError: If the means are not one row per component.
    """
    shape = as_numpy(means).shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"means has shape {shape}: give one row per component, (k, d).")
    return shape[0], shape[1]


def known_mixture(weights: Any, means: Any, covariances: Any, kind: str) -> Mixture:
    """The mixture of known parameters.

    ValueError: If the kind is not known, or parameters do not fit together, see the checks above.
    """
    COVARIANCE_TYPE.check("covariance_type", kind)
    k, d = shape_of(means)
    values = check_matrices("covariance", covariances, kind, k, d)
    return Mixture(check_weights(weights, k), check_means(means, k, d), covariance_of(kind, values, d))


def check_rows_suffice(source: Source, n_components: int) -> None:
    """Refuse more components than rows.

    ValueError: Naming `n_components`.
    """
    if source.n_rows < n_components:
        raise ValueError(
            f"Expected n_samples >= n_components but got n_components = {n_components}, n_samples = {source.n_rows}"
        )


def check_distinct_rows(source: Source, n_components: int) -> None:
    """Refuse more components than distinct rows; `source` is without missing values.

    ValueError: Naming `n_components`.
    """
    if n_distinct_rows(source, n_components) < n_components:
        raise ValueError(f"n_components={n_components} is more than X has distinct rows: lower it to their number.")


def column_indices(columns: Iterable[Any], n_features: int, names: NDArray[Any] | None) -> NDArray[np.intp]:
    """Numbers of columns that are given by number or by name.

    ValueError: If a column is not known, is given twice, or there is none.
    """
    known = {} if names is None else {str(name): j for j, name in enumerate(names)}
    found: list[int] = []
    for column in columns:
        index: Any = known.get(column) if isinstance(column, str) else column
        is_number = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not is_number or not 0 <= index < n_features:
            some = f" or a name among {', '.join(list(known)[:5])}" if known else ""
            raise ValueError(f"column {column!r} is not known: give a number from 0 to {n_features - 1}{some}.")
        if index in found:
            raise ValueError(f"column {column!r} is given twice.")
        found.append(int(index))
    if not found:
        raise ValueError("no column is given: name at least one.")
    return np.array(found, dtype=np.intp)


def given_values(values: Iterable[Any]) -> Floats:
    """Values of given columns.

    ValueError: If one is not a finite number.
    """
    listed = list(values)
    for value in listed:
        Number().check("the value of a given column", value)
    return np.array(listed, dtype=np.float64)


def known_units(covariance: Any, n_features: int) -> Units:
    """Units from a covariance that is known: "identity", a variance, a variance per column, or a matrix.

    ValueError: If it has another shape, or is not positive definite.
    """
    if isinstance(covariance, str):
        return Units("spherical", None)
    values = np.asarray(to_numpy(covariance) if is_foreign(covariance) else covariance, dtype=np.float64)
    d = n_features
    if values.shape not in ((), (d,), (d, d)):
        raise ValueError(
            f"covariance has shape {values.shape} for {d} columns: give a variance, one per column, or a matrix."
        )
    try:
        if not np.isfinite(values).all() or (values.ndim == 2 and not np.allclose(values, values.T)):
            raise np.linalg.LinAlgError
        if values.ndim < 2 and np.any(values <= 0):
            raise np.linalg.LinAlgError
        if values.ndim == 2:
            return Units("tied", np.asarray(np.linalg.cholesky(values), dtype=np.float64))
    except np.linalg.LinAlgError:
        raise ValueError("covariance is not positive definite: give variances > 0, or such a matrix.") from None
    return Units("diag" if values.ndim else "spherical", np.diag(np.sqrt(np.broadcast_to(values, (d,)))))


def given_means(means: Any, n_components: int, n_features: int, *, symmetric: bool) -> Floats:
    """Means to start from, shape (k, d); of the symmetric student mu (d,) will do.

    ValueError: If they have another shape, or are not finite.
    """
    values = np.asarray(to_numpy(means) if is_foreign(means) else means)
    if symmetric and values.shape == (n_features,):
        values = np.stack([values, -values])
    checked = check_means(values, n_components, n_features)
    if symmetric:
        half = (checked[0] - checked[1]) / 2
        checked = np.stack([half, -half])
    return checked


def start_weights(weights: Any, n_components: int, *, symmetric: bool) -> Floats:
    """Weights to start from, or to keep.

    ValueError: If they have another shape, one is not positive, or they do not sum to 1.
    """
    if isinstance(weights, str):
        return np.full(n_components, 1 / n_components)
    checked = check_weights(weights, n_components)
    if np.any(checked <= 0):
        raise ValueError("weights has zeros: leave such components out.")
    if symmetric and not np.allclose(checked, 0.5):
        raise ValueError("weights must be equal where symmetric=True: leave them out.")
    return checked
