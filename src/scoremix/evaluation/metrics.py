"""How far a learnt model is from a known truth, each number with its own uncertainty.

* `score_error`, `kl_bound`: squared error of a score at one level, and its integral over a ladder of
  levels, which bounds the Kullback-Leibler divergence of the generated distribution (Girsanov).
* `posterior_regret`: what a denoiser loses against the oracle E[mu | y].
* `parameter_error`: centers against centers, matched by assignment.

Nothing here knows a model or a problem: objects are asked for `sample`, `score`, `posterior_mean`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.truth import FloatArray, Seed, Truth

__all__ = [
    "KLBound",
    "ParameterError",
    "ScoreLadder",
    "kl_bound",
    "parameter_error",
    "posterior_regret",
    "score_error",
]

Score = Callable[[FloatArray, float], npt.ArrayLike]


class ScoreLadder(Protocol):
    """Scores at decreasing noise levels."""

    @property
    def sigmas(self) -> FloatArray:
        """Noise levels, decreasing, shape (L,)."""

    def score(self, y: FloatArray, sigma: float, /) -> npt.ArrayLike:
        """Score at level sigma."""


class KLBound(NamedTuple):
    """Bound on the Kullback-Leibler divergence, in nats.

    Attributes
    ----------
    value : float
        Sum of `per_level`.
    standard_error : float
        Monte Carlo standard error of `value`.
    per_level : ndarray of shape (L,)
        Share of every level, in the order of the ladder.
    """

    value: float
    standard_error: float
    per_level: FloatArray


class ParameterError(NamedTuple):
    """Matched parameters of two mixtures.

    Attributes
    ----------
    value : float
        Root mean square distance of the matched means.
    largest : float
        Largest distance of a matched pair.
    n_missing : int
        True means that found no partner, k_true - k when positive.
    n_extra : int
        Estimated means that found no partner, k - k_true when positive.
    weight_error : float or None
        Half the sum of |w - w_true| over pairs and partnerless components (0 to 1); None without weights.
    pairs : ndarray of shape (min(k, k_true), 2), int
        Row numbers (estimated, true).
    """

    value: float
    largest: float
    n_missing: int
    n_extra: int
    weight_error: float | None
    pairs: npt.NDArray[np.intp]


def score_error(score: Score, truth: Truth, sigma: float, n_samples: int = 20_000, rng: Seed = None) -> Estimate:
    """Mean squared error of a score, E|s_hat(y) - s(y)|^2, under the truth at one noise level.

    Parameters
    ----------
    score : callable
        `score(y, sigma) -> (n, d)`.
    truth : Truth
        The distribution; anything with `sample(n, rng)` and `score(y, sigma)` serves.
    sigma : float
        Noise level, at least 0.
    n_samples : int, default 20000
        Monte Carlo points, at least 2.
    rng : Generator, int or None
        Source or seed of the points.

    Returns
    -------
    Estimate
        Value and standard error, in units of 1 / length^2, summed over coordinates.
    """
    generator = np.random.default_rng(rng)
    y = truth.sample(n_samples, generator)
    y = y + sigma * generator.standard_normal(y.shape)
    return Estimate.of(np.sum((np.asarray(score(y, sigma)) - truth.score(y, sigma)) ** 2, axis=1))


def kl_bound(ladder: ScoreLadder, truth: Truth, n_samples: int = 20_000, rng: Seed = None) -> KLBound:
    """Bound the Kullback-Leibler divergence between the truth and what a ladder of scores generates.

    Girsanov: `KL <= 1/2 sum_l E|s - s_hat|^2 (t_l - t_{l+1})` with t = sigma^2, the last step reaching 0,
    up to the error of the start and of the discretisation, which this leaves out.

    Parameters
    ----------
    ladder : object
        Has decreasing `sigmas` and `score(y, sigma)`, like the `ladder_` of a fitted DiffusionMixture.
    truth : Truth
        The distribution; anything with `sample(n, rng)` and `score(y, sigma)` serves.
    n_samples : int, default 20000
        Fresh Monte Carlo points per level, at least 2.
    rng : Generator, int or None
        Source or seed of the points.

    Returns
    -------
    KLBound
        Value and standard error in nats, and the share of every level.

    Raises
    ------
    ValueError
        If the levels do not decrease.
    """
    generator = np.random.default_rng(rng)
    sigmas = np.asarray(ladder.sigmas, dtype=np.float64)
    steps = -np.diff(np.append(sigmas, 0.0) ** 2)
    if not np.all(steps > 0):
        raise ValueError(f"ladder.sigmas must be positive and decreasing, got {sigmas}")
    errors = np.array([score_error(ladder.score, truth, s, n_samples, generator) for s in sigmas.tolist()])
    terms, spreads = 0.5 * steps[:, None].T * errors.T
    return KLBound(float(terms.sum()), float(np.linalg.norm(spreads)), terms)


def posterior_regret(
    posterior_mean: Callable[[FloatArray], npt.ArrayLike],
    truth: Truth,
    n_samples: int = 20_000,
    rng: Seed = None,
) -> Estimate:
    """Relative excess risk of a denoiser of the data, E|f_hat - f|^2 / E|mu - f|^2, f = E[mu | x].

    The risk of any estimate of mu is the oracle's plus E|f_hat - f|^2, so 0.03 means a risk 3 % above the
    best.

    Parameters
    ----------
    posterior_mean : callable
        `posterior_mean(x) -> (n, d)`.
    truth : Truth
        The distribution; anything with `sample_latent(n, rng)` and `posterior_mean(x)` serves.
    n_samples : int, default 20000
        Monte Carlo points, at least 2.
    rng : Generator, int or None
        Source or seed of the points.

    Returns
    -------
    Estimate
        Value and standard error (delta method for a ratio).
    """
    x, mu = truth.sample_latent(n_samples, np.random.default_rng(rng))
    oracle = truth.posterior_mean(x)
    excess = np.sum((np.asarray(posterior_mean(x)) - oracle) ** 2, axis=1)
    risk = np.sum((mu - oracle) ** 2, axis=1)
    ratio = float(excess.mean() / risk.mean())
    return Estimate(ratio, Estimate.of(excess - ratio * risk).standard_error / float(risk.mean()))


def parameter_error(
    means: npt.ArrayLike,
    true_means: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    true_weights: npt.ArrayLike | None = None,
) -> ParameterError:
    """Distance between estimated and true means under the best matching.

    The matching minimises the sum of squared distances (linear assignment). With unequal numbers the
    surplus of the larger side stays without partner and is counted, not charged: read `n_missing` and
    `n_extra` before `value`.

    Parameters
    ----------
    means : array_like of shape (k, d)
        Estimated means.
    true_means : array_like of shape (k_true, d)
        True means.
    weights, true_weights : array_like of shape (k,) and (k_true,), optional
        Probabilities; both or neither.

    Returns
    -------
    ParameterError
        Named tuple; `value` is the root mean square distance of the matched pairs.

    Raises
    ------
    ValueError
        If the shapes do not agree, or only one side has weights.
    """
    found, true = np.asarray(means, dtype=np.float64), np.asarray(true_means, dtype=np.float64)
    shapes = found.shape, true.shape
    if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1] or not found.size * true.size:
        raise ValueError(f"means and true_means must have shapes (k, d) and (k_true, d), got {shapes}")
    squared = cdist(found, true, "sqeuclidean")
    rows, columns = linear_sum_assignment(squared)
    matched = squared[rows, columns]
    return ParameterError(
        value=float(np.sqrt(matched.mean())),
        largest=float(np.sqrt(matched.max())),
        n_missing=max(0, len(true) - len(found)),
        n_extra=max(0, len(found) - len(true)),
        weight_error=_weight_error(weights, true_weights, squared.shape, rows, columns),
        pairs=np.stack([rows, columns], axis=1),
    )


def _weight_error(
    weights: npt.ArrayLike | None,
    true_weights: npt.ArrayLike | None,
    shape: tuple[int, ...],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> float | None:
    if weights is None and true_weights is None:
        return None
    found, true = np.asarray(weights, dtype=np.float64), np.asarray(true_weights, dtype=np.float64)
    if (found.shape, true.shape) != ((shape[0],), (shape[1],)):
        raise ValueError(f"weights and true_weights must have {shape} entries, or be absent both")
    pairs = np.abs(found[rows] - true[columns]).sum()
    alone = found.sum() - found[rows].sum() + true.sum() - true[columns].sum()
    return float(pairs + alone) / 2
