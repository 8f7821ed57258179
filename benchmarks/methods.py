"""What a method is, and mixtures of Gaussians in closed form: what the methods of several suites become.

A method has a name and `prepare`, whose arguments are those of its suite: it brings rows into the form that a library
wants, and what it returns is timed. A method whose library is not installed says so in `missing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.mixture import GaussianMixture

from scoremix.arrays import Floats
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth

KINDS = ("full", "tied", "diag", "spherical")

Score = Callable[[Floats, float], Floats]


@dataclass(frozen=True)
class Method:
    """A learner with its settings, the kinds of covariances it knows, and the rows beyond which it takes hours."""

    name: str
    prepare: Callable[..., Callable[..., Any]]
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None
    max_rows: int = 10**9


@dataclass(frozen=True)
class Fitted:
    """What the metrics of the score ask of a fitted method.

    `sigmas` are its own noise levels, or None where its score is closed form at every level; `n_cells` the number of
    clusters it found, or None; `row_cost` the number of kernels in the score of one row.
    """

    sample: Callable[[int, np.random.Generator], Floats]
    score: Score
    posterior_mean: Callable[[Floats], Floats]
    sigmas: Floats | None = None
    n_cells: int | None = None
    row_cost: int = 1


def tweedie(score: Score, noise_scale: float) -> Callable[[Floats], Floats]:
    """Posterior means under noise that the score knows of: ``E[mu | x] = x + noise_scale^2 score``."""
    return lambda x: x + noise_scale**2 * score(x, 0.0)


def closed_form(model: GaussianMixture, noise_scale: float | None = None) -> GaussianMixtureTruth:
    """A fitted mixture of any shape, of scikit-learn or of this library."""
    k, d = np.shape(model.means_)
    values, axes = np.asarray(model.covariances_), None
    if model.covariance_type in ("full", "tied"):
        values, axes = np.linalg.eigh(np.broadcast_to(values, (k, d, d)))
    elif model.covariance_type == "spherical":
        values = np.broadcast_to(values[:, None], (k, d))
    return GaussianMixtureTruth(np.asarray(model.weights_), np.asarray(model.means_), values, axes, noise_scale)


def kernel_score(x: Floats, bandwidth: float) -> Score:
    """Of a kernel density estimate: equal weights, one bandwidth, an atom at every row."""
    atoms = x - (origin := x.mean(axis=0))
    half_squares, rows = 0.5 * np.sum(atoms**2, axis=1), max(1, 2**22 // len(atoms))

    def score(y: Floats, sigma: float) -> Floats:
        variance = bandwidth**2 + sigma**2
        blocks = [y[i : i + rows] - origin for i in range(0, len(y), rows)]
        means = [softmax((b @ atoms.T - half_squares) / variance, axis=1) @ atoms for b in blocks]
        return np.asarray((np.concatenate(means) + origin - y) / variance)

    return score
