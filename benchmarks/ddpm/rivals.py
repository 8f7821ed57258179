"""What gradient descent is compared with: EM and gradient EM for means of a known, unit covariance, from one start."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from scoremix.evaluation.truth import FloatArray

STEPS, STILL = 3000, 1e-7
"""Most steps, and the longest move of a mean with which they end."""


def responsibilities(x: FloatArray, means: FloatArray) -> FloatArray:
    """Of components of equal weight, shape (n, k)."""
    logits = x @ means.T - np.sum(means**2, axis=1) / 2
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _iterated(means: FloatArray, step: Callable[[FloatArray], FloatArray]) -> FloatArray:
    for _ in range(STEPS):
        moved = step(means)
        still = np.abs(moved - means).max() < STILL
        means = moved
        if still:
            break
    return means


def em(x: FloatArray, means: FloatArray) -> FloatArray:
    """Expectation maximisation."""

    def step(here: FloatArray) -> FloatArray:
        shares = responsibilities(x, here)
        return np.asarray(shares.T @ x / np.maximum(shares.sum(axis=0), 1e-300)[:, None])

    return _iterated(means, step)


def gradient_em(x: FloatArray, means: FloatArray, rate: float = 1.0) -> FloatArray:
    """Steps along the gradient of the likelihood; rate 1 is a k-th of EM's step for components of equal weight."""

    def step(here: FloatArray) -> FloatArray:
        shares = responsibilities(x, here)
        return np.asarray(here + rate * (shares.T @ x - shares.sum(axis=0)[:, None] * here) / len(x))

    return _iterated(means, step)


def symmetric_em(x: FloatArray, mu: FloatArray) -> FloatArray:
    """EM for two components at +mu and -mu."""
    return _iterated(mu, lambda here: np.asarray(np.tanh(x @ here) @ x / len(x)))


def mean_error(means: Any, truth: FloatArray) -> float:
    """Root of the summed squares of the distances, components matched."""
    squares = np.sum((np.asarray(means)[:, None] - truth[None]) ** 2, axis=2)
    return float(np.sqrt(squares[linear_sum_assignment(squares)].sum()))


def largest_error(means: Any, truth: FloatArray) -> float:
    """Largest distance of a mean, components matched."""
    squares = np.sum((np.asarray(means)[:, None] - truth[None]) ** 2, axis=2)
    return float(np.sqrt(squares[linear_sum_assignment(squares)].max()))
