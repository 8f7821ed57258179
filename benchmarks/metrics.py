"""The metrics of the benchmark: what is asked of a fitted method, given the truth.

Every metric maps `(fitted, truth, sigmas, n_samples, rng)` to named numbers. `sigmas` are the noise levels
of the score error, the same for all methods of a comparison.
"""

from types import SimpleNamespace

import numpy as np

from benchmarks.methods import Fitted
from scoremix.evaluation import histogram_total_variation, kl_bound, posterior_regret
from scoremix.evaluation.truth import FloatArray, Truth

KERNELS = 10**9  # evaluations one score error may cost; methods with an atom per row get fewer points


def geometric_levels(truth: Truth, n_levels: int = 16) -> FloatArray:
    """Levels from 2.5 standard deviations along the widest axis down to a fifth of the data's noise."""
    widest = float(np.sqrt(np.linalg.eigvalsh(truth.cov)[-1]))
    return np.geomspace(2.5 * widest, 0.2 * (truth.noise_scale or 1.0), n_levels)


def kl(fitted: Fitted, truth: Truth, sigmas: FloatArray, n: int, rng: np.random.Generator) -> dict[str, float]:
    points = int(np.clip(KERNELS // (len(sigmas) * fitted.row_cost), 100, n))
    bound = kl_bound(SimpleNamespace(sigmas=sigmas, score=fitted.score), truth, points, rng)
    return {"kl": bound.value, "kl_standard_error": bound.standard_error}


def widest_axes(truth: Truth) -> FloatArray:
    """Of the plane that histograms are made in above three dimensions; all axes up to three."""
    return np.linalg.eigh(truth.cov).eigenvectors[:, -2:] if truth.n_features > 3 else np.eye(truth.n_features)


def tv(fitted: Fitted, truth: Truth, sigmas: FloatArray, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Two-sample histogram distance, above three dimensions of the projection on the two widest axes."""
    axes = widest_axes(truth)
    result = histogram_total_variation(truth.sample(n, rng) @ axes, fitted.sample(n, rng) @ axes)
    return {"tv_excess": result.excess, "tv_floor": result.floor, "tv_standard_error": result.standard_error}


def regret(fitted: Fitted, truth: Truth, sigmas: FloatArray, n: int, rng: np.random.Generator) -> dict[str, float]:
    value, error = posterior_regret(fitted.posterior_mean, truth, min(n, KERNELS // fitted.row_cost), rng)
    return {"regret": value, "regret_standard_error": error}


METRICS = {"kl": kl, "tv": tv, "regret": regret}
