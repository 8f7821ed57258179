"""Checks of samples that users hand in, and of what goes with them: refusals name what is wrong and what to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from scoremix.arrays import Array, Floats, as_floating, is_foreign, like, namespace, product, to_numpy
from scoremix.estimators.parameters import LARGEST_SIGMA
from scoremix.learning.moments import Moments, chunk_moments
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk, Source

# Points further from the mean than this many times the farthest sample are warned about (noise level allowed for).
FAR = 2.0

NOTHING = float(np.finfo(np.float64).eps)  # A share of weight that no sum sees.
LARGEST_SINGLE_SIGMA = 1e18  # Largest noise level of samples in single precision.
MOMENT_ROWS = 16384  # Rows per chunk when moments are taken.
SCORE_ROWS = 16384  # Rows per chunk when log densities are averaged.

# Sums of squares of so large samples, and of one over these, are numbers in their precision; ratios of two in double.
LARGEST_SINGLE, LARGEST_DOUBLE = 1e16, LARGEST_SIGMA

# What to do about NaN, where an estimator has no parameter `missing_values`, and where it has one.
MISSING = (
    "GaussianMixture(missing_values=numpy.nan) integrates such entries out; else remove or impute these rows",
    "with missing_values=numpy.nan such entries are missing values and integrated out; without it, remove or impute "
    "these rows",
)

FLOATING = (np.float64, np.float32)  # What samples may be; else they become the first.

PACKAGE = str(Path(__file__).parents[1])  # Where the library's own files are.


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside the library that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def validated_samples(
    estimator: Any, X: Any, *, reset: bool, allow_nan: bool = False, min_rows: int = 1, dtype: Any = "numeric"
) -> Array:
    """Check samples by scikit-learn's rules; arrays of other array libraries stay where they are.

    By default integers stay, which a source makes floating chunk by chunk, and text is refused; with `FLOATING` as
    `dtype` samples are floating afterwards, and numbers may be written as text.

    ValueError: If X is no table of numbers, has infinite entries, or NaN where that is not `allow_nan`, has fewer than
    `min_rows` rows, or does not fit the fitted columns.
    """
    X = unmasked(X, allow_nan=allow_nan)
    if is_foreign(X):
        x = as_floating(X) if dtype is FLOATING else X
        _check_foreign(x, allow_nan=allow_nan, min_rows=min_rows)
        check_columns(estimator, x, reset=reset)
    else:
        check_no_times(X)
        x = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=dtype,
            ensure_all_finite="allow-nan",  # infinities are refused there
            ensure_min_samples=min_rows,
        )
        if not allow_nan:
            check_nothing_is_missing(x, MISSING[hasattr(estimator, "missing_values")])
    if reset:
        check_squares(x)
    return x


def check_no_times(X: Any) -> None:
    """Refuse dates and durations, of which NumPy would make numbers in a unit that nobody chose.

    ValueError: Saying what to do.
    """
    try:
        first = np.asarray(X[:1])
    except (TypeError, KeyError, IndexError, ValueError, NotImplementedError):  # no table, as is said later
        return
    are_times = first.dtype.kind == "O" and any(isinstance(value, date | timedelta) for value in first.flat)
    if first.dtype.kind in "mM" or are_times:
        raise ValueError("X has dates or durations: give numbers in a unit of your choice, such as days since a date.")


def _check_foreign(x: Array, *, allow_nan: bool, min_rows: int) -> None:
    """Refuse arrays of other libraries that are no rows of numbers, as scikit-learn's validation does for its own."""
    if x.ndim != 2 or x.shape[0] < min_rows:
        raise ValueError(f"X has shape {tuple(x.shape)}: give rows of samples, (n, d), at least {min_rows}.")
    xp = namespace(x)
    fine = xp.isfinite(x) | xp.isnan(x) if allow_nan else xp.isfinite(x)
    if not bool(xp.all(fine)):
        raise ValueError(f"X contains {'' if allow_nan else 'NaN or '}infinite entries: remove or impute these rows.")


def check_nothing_is_missing(x: NDArray[Any], advice: str) -> None:
    """Refuse NaN.

    ValueError: With the advice.
    """
    if x.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        is_suspect = bool(np.isnan(x.sum()))  # needs no array as large as x
    if is_suspect and np.isnan(x).any():
        raise ValueError(f"Input X contains NaN: {advice}.")


def check_squares(x: Array) -> None:
    """Refuse samples that are too large or too close together for squares in their precision; NaN are none.

    ValueError: Naming a column.
    """
    largest = LARGEST_SINGLE if x.dtype == namespace(x).float32 else LARGEST_DOUBLE
    if is_foreign(x):
        xp, x = namespace(x), as_floating(x)
        held, ends = ~xp.isnan(x), (like(np.array(end), x) for end in (np.inf, -np.inf))
        low, high = (
            to_numpy(reduce(xp.where(held, x, end), axis=0)) for reduce, end in zip((xp.min, xp.max), ends, strict=True)
        )
    else:
        low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    low, high = low.astype(np.float64), high.astype(np.float64)
    size = np.maximum(np.abs(low), np.abs(high))
    small = (high > low) & (size < 1 / largest)
    if np.any(size > largest) or np.any(small):
        column = int(np.argmax(np.where(small, np.inf, size)))
        raise ValueError(
            f"column {column} of X has values up to {size[column]:.3g} in size, whose squares are no numbers of its "
            "precision: scale the columns."
        )


def unmasked(X: Any, *, allow_nan: bool) -> Any:
    """Make what a masked array masks missing values, where these may be.

    ValueError: If something is masked, and may not be.
    """
    if not isinstance(X, np.ma.MaskedArray):
        return X
    if not np.any(np.ma.getmaskarray(X)):
        return X.data
    if not allow_nan:
        raise ValueError(
            "X has masked entries: GaussianMixture(missing_values=numpy.nan) integrates them out; else remove or fill "
            "in these rows."
        )
    return np.where(np.ma.getmaskarray(X), np.float32(np.nan), X.data)


def informative(x: Array, sample_weight: Any, *, has_missing: bool = False, at_least: int = 1) -> ArraySource:
    """The samples that say something, with weights that add up to how much they say.

    Rows of weight 0, or of so little that all of them are rounding beside one of the others, and, where values may be
    missing (`has_missing`), rows without any are left out: nothing then depends on how many there are. Weights are
    relative: they are scaled to add up to the effective sample size ``(sum w)^2 / sum w^2`` (Kish, Survey Sampling,
    1965), so that what depends on how much is known (number of components, priors, noise) does not depend on their
    scale. Equal weights are none.

    ValueError: If weights are none, or fewer than `at_least` rows say something.
    """
    source = ArraySource(x, sample_weight)
    weight = source.weight
    says = np.ones(source.n_rows, dtype=np.bool_) if weight is None else weight > NOTHING * weight.max() / len(weight)
    if has_missing:
        says &= np.concatenate([_has_value(chunk.x) for chunk in source.chunks(MOMENT_ROWS)])
    if (n_rows := np.count_nonzero(says)) < at_least:
        raise ValueError(
            f"X has {n_rows} row(s) that have a value and a weight above 0, which is what says something: at least "
            f"{at_least} are needed."
        )
    return source.taking(says, None if weight is None else relative(weight[says]))


def _has_value(x: Array) -> NDArray[np.bool_]:
    xp = namespace(x)
    return np.asarray(to_numpy(~xp.all(xp.isnan(x), axis=1)))


def relative(weight: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Scale weights > 0 to add up to the effective sample size; None where all are the same."""
    if weight.min() == weight.max():
        return None
    weight = weight / weight.max()  # whose squares neither overflow nor vanish
    return np.asarray(weight * (weight.sum() / np.sum(weight**2)))


def mean_log_density(log_density: Callable[[Array], Array], source: Source) -> float:
    """Mean log density of samples, by weight: in nats per sample."""

    def sums(chunk: Chunk) -> Floats:
        values = to_numpy(log_density(chunk.x)).astype(np.float64)
        if chunk.weight is None:
            return np.array([values.sum(), len(values)])
        weight = to_numpy(chunk.weight).astype(np.float64)
        return np.array([product(weight, values), weight.sum()])

    total, weight = accumulate(sums, source, chunk_rows=SCORE_ROWS)
    return float(total / weight)


def check_columns(estimator: Any, X: Array, *, reset: bool) -> None:
    """Remember the number of columns (`reset`), or check it, as scikit-learn's validation does for its own arrays."""
    if reset:
        estimator.n_features_in_ = int(X.shape[1])
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
            "features as input."
        )


def validated_sigma(sigma: Any, x: Array) -> Floats:
    """Noise levels of the rows x (n, d) as numbers, of shape () or (n,).

    ValueError: If a level is negative, not finite or beyond what has a square in the precision of x, or there is
    neither one nor one per row.
    """
    n_rows, largest = int(x.shape[0]), LARGEST_SINGLE_SIGMA if x.dtype == namespace(x).float32 else LARGEST_SIGMA
    levels = np.asarray(to_numpy(sigma) if is_foreign(sigma) else sigma, dtype=np.float64)
    if levels.ndim > 0 and levels.shape != (n_rows,):
        raise ValueError(f"sigma has shape {levels.shape} for {n_rows} rows: give one number, or one per row.")
    if not np.all((levels >= 0) & (levels <= largest)):
        raise ValueError(f"sigma={sigma!r} is out of range: noise levels are finite numbers >= 0 and <= {largest:g}.")
    return levels


def moments_of(source: Source, names: Sequence[str] | None, needs_width: bool = True) -> Moments:
    """Moments of the samples about the first row.

    ValueError: If a column is constant, by name where there are names; all of them, where some may be (not
    `needs_width`).
    """
    origin = to_numpy(next(iter(source.chunks(1))).x)[0].astype(np.float64)
    moments = accumulate(lambda chunk: chunk_moments(chunk, origin), source, chunk_rows=MOMENT_ROWS)
    # About the first row a constant column has a second moment of exactly 0.
    constant = np.flatnonzero(np.diagonal(moments.second) == 0)
    if not needs_width and len(constant) == source.n_features:
        raise ValueError("X has constant columns only: all rows are the same, so there is no distribution to learn.")
    if needs_width and len(constant):
        shown = ", ".join(str(j if names is None else names[j]) for j in constant[:5])
        raise ValueError(
            f"X has constant columns ({shown}): noise in every column is assumed (noise_scale), so leave them out."
        )
    return moments


def warn_if_far(Y: Array, levels: Floats, mean: Floats, reach: float) -> None:
    """Warn where a model is asked far outside its data: its answer there is the tail of the nearest cell's Gaussian."""
    xp = namespace(Y)
    distance = to_numpy(xp.max(xp.abs(Y - like(mean, Y)[None, :]), axis=1))
    n_far = int(np.count_nonzero(distance > FAR * reach + 6 * levels))
    if n_far:
        warn(
            f"{n_far} of {Y.shape[0]} points lie more than twice as far out as any sample of the fit: there the model "
            "continues as the Gaussian tail of the nearest cell."
        )
