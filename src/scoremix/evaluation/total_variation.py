"""Total variation distance: between two distributions with densities, and between two samples.

With densities the estimate is unbiased and has a standard error. Two samples alone never look equal: their
histograms differ by chance, so the distance comes with the floor that two samples of one distribution would show.
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.truth import FloatArray, Seed

__all__ = ["Distribution", "HistogramTotalVariation", "histogram_total_variation", "total_variation"]


class Distribution(Protocol):
    """Something that can be sampled and has a density: a truth, or a fitted model."""

    def sample(self, n: int, rng: np.random.Generator, /) -> FloatArray:
        """Draw n rows."""

    def log_density(self, x: FloatArray, /) -> FloatArray:
        """Return the natural log density of every row."""


class HistogramTotalVariation(NamedTuple):
    """Total variation distance of two histograms.

    Attributes
    ----------
    value : float
        Half the sum of the absolute differences of the shares.
    floor : float
        Mean of the same number when the pooled rows are dealt to the two samples at random.
    standard_error : float
        Standard deviation of that number: differences of `value` and `floor` below two of it are noise.
    """

    value: float
    floor: float
    standard_error: float

    @property
    def excess(self) -> float:
        """How far `value` is above `floor`; slightly negative for equal distributions half of the time."""
        return self.value - self.floor


def total_variation(p: Distribution, q: Distribution, n_samples: int = 50_000, rng: Seed = None) -> Estimate:
    """Total variation distance of two distributions with densities, 0 to 1.

    Half of the points come from p, half from q: `TV = E tanh|log p - log q| / 2` under their even mixture,
    which is bounded, so the estimate is unbiased with a standard error of at most `1 / (2
    sqrt(n_samples))`.

    Parameters
    ----------
    p, q : object
        Have `sample(n, rng)` and `log_density(x)`.
    n_samples : int, default 50000
        Points altogether, at least 4.
    rng : Generator, int or None
        Source or seed of the points.

    Returns
    -------
    Estimate
        Value and standard error.
    """
    generator = np.random.default_rng(rng)
    halves = []
    for distribution in (p, q):
        x = distribution.sample(n_samples // 2, generator)
        halves.append(Estimate.of(np.tanh(np.abs(p.log_density(x) - q.log_density(x)) / 2)))
    value = (halves[0].value + halves[1].value) / 2
    return Estimate(value, float(np.hypot(halves[0].standard_error, halves[1].standard_error)) / 2)


def histogram_total_variation(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    n_bins: int | None = None,
    n_relabellings: int = 50,
    rng: Seed = 0,
) -> HistogramTotalVariation:
    """Total variation distance of two samples' histograms, with the floor that sampling alone would give.

    The grid has equal bins between the 0.1 % and 99.9 % quantiles of the pooled rows, its outer bins are
    open. The floor deals the pooled rows to the two samples at random: the counts are then multivariate
    hypergeometric.

    Parameters
    ----------
    a, b : array_like of shape (n_a, d) and (n_b, d)
        Two samples, d <= 3.
    n_bins : int, optional
        Bins per axis, at least 2. By default so many that a cell holds 50 rows on average, at most 40.
    n_relabellings : int, default 50
        Random deals for the floor, at least 2.
    rng : Generator, int or None, default 0
        Source or seed of the deals.

    Returns
    -------
    HistogramTotalVariation
        `value`, `floor`, `standard_error`, and the property `excess`.

    Raises
    ------
    ValueError
        If the samples are empty or of different width, or have more than three columns: nearly every cell
        of such a grid holds one row at most, and the floor is all one sees. Project on two or three
        directions first.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    shapes = first.shape, second.shape
    if first.ndim != 2 or second.ndim != 2 or shapes[0][1] != shapes[1][1] or not first.size * second.size:
        raise ValueError(f"a and b must have shapes (n_a, d) and (n_b, d), got {shapes}")
    if (d := first.shape[1]) > 3:
        raise ValueError(f"a histogram in {d} dimensions says nothing: project on 1 to 3 directions first")
    pooled = np.concatenate([first, second])
    bins = int(np.clip((len(pooled) / 50) ** (1 / d), 2, 40)) if n_bins is None else n_bins
    if bins < 2:
        raise ValueError(f"n_bins must be at least 2, got {n_bins}")
    cells = _cells(pooled, bins)
    total = np.bincount(cells, minlength=bins**d)
    counts = np.bincount(cells[: len(first)], minlength=bins**d)
    deals = np.random.default_rng(rng).multivariate_hypergeometric(total, len(first), size=n_relabellings)
    values = [_distance(deal, total - deal) for deal in deals]
    return HistogramTotalVariation(
        _distance(counts, total - counts), float(np.mean(values)), float(np.std(values, ddof=1))
    )


def _cells(x: FloatArray, bins: int) -> npt.NDArray[np.intp]:
    """Return the number of the grid cell of every row, 0 to bins^d - 1."""
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    width = np.where(high > low, high - low, 1.0) / bins
    index = np.clip(np.floor((x - low) / width), 0, bins - 1).astype(np.intp)
    return np.asarray(index @ bins ** np.arange(x.shape[1]), dtype=np.intp)


def _distance(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> float:
    return 0.5 * float(np.abs(a / a.sum() - b / b.sum()).sum())
