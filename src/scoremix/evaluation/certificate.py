"""How good a score is, from data alone: integrated held-out denoising losses.

The denoising loss of a score differs from its squared error by a number that no score changes. So where the truth is
not known, differences of the losses of two models on rows that neither has seen are differences of their errors; over
all noise levels they add up to a difference of bounds on the Kullback-Leibler divergence (Girsanov).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.truth import FloatArray

__all__ = ["Certificate", "integrated_losses"]

ROWS = 8192  # Rows that share one random stream, and are evaluated together.


class Certificate(NamedTuple):
    """What a model is worth on rows that it has not seen, in nats per dimension.

    Attributes
    ----------
    loss : Estimate
        Integrated denoising loss; only differences mean something.
    over_gaussian : Estimate
        By how much it is below that of the best single Gaussian, and the standard error.
    over_mixture : Estimate
        By how much it is below that of the crude mixture, and the standard error; 0 where the model is this mixture.
    """

    loss: Estimate
    over_gaussian: Estimate
    over_mixture: Estimate


def integrated_losses(
    denoisers: Sequence[Callable[[FloatArray, float], FloatArray]],
    x: FloatArray,
    sigmas: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Integrated denoising losses of several models, on the same noise.

    Parameters
    ----------
    denoisers : sequence of callable
        ``denoiser(y, sigma) -> E[x | y]``.
    x : ndarray of shape (n, d)
        Rows.
    sigmas : ndarray of shape (L,)
        Decreasing noise levels.
    rng : Generator
        One antithetic pair of noise is drawn per row and level.

    Returns
    -------
    ndarray of shape (models, n)
        ``sum_l |D(y) - x|^2 (t_l - t_{l+1}) / (2 d t_l^2)``, the last step reaching 0: nats per dimension.
    """
    t = np.append(sigmas, 0.0) ** 2
    steps = -np.diff(t) / (2 * x.shape[1] * t[:-1] ** 2)
    total = np.zeros((len(denoisers), len(x)))
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        for sigma, step in zip(sigmas.tolist(), steps.tolist(), strict=True):
            noise = sigma * rng.standard_normal(rows.shape)
            for i, denoiser in enumerate(denoisers):
                errors = [denoiser(rows + shift, sigma) - rows for shift in (noise, -noise)]
                total[i, start : start + ROWS] += step / 2 * sum(np.sum(e**2, axis=1) for e in errors)
    return total
