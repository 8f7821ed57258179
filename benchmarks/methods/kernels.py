"""A mixture of Gaussians as a fitted method: score and posterior mean in closed form at every noise level."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.truth import FloatArray


@dataclass(frozen=True)
class FittedMixture:
    """A fitted Gaussian mixture; E[mu | x] = x + noise_scale^2 score by Tweedie's formula."""

    mixture: GaussianMixtureTruth
    noise_scale: float
    sigmas: None = None

    @property
    def n_cells(self) -> int:
        return len(self.mixture.weights)

    @property
    def row_cost(self) -> int:
        return len(self.mixture.weights)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return self.mixture.sample(n, rng)

    def score(self, y: FloatArray, sigma: float) -> FloatArray:
        return self.mixture.score(y, sigma)

    def posterior_mean(self, x: FloatArray) -> FloatArray:
        return x + self.noise_scale**2 * self.mixture.score(x)


@dataclass(frozen=True)
class FittedKernels:
    """A kernel density estimate: equal weights, one bandwidth, an atom at every row."""

    atoms: FloatArray
    bandwidth: float
    noise_scale: float
    draw: Callable[[int, np.random.Generator], FloatArray]
    sigmas: None = None
    n_cells: None = None

    @property
    def row_cost(self) -> int:
        return len(self.atoms)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return self.draw(n, rng)

    def score(self, y: FloatArray, sigma: float) -> FloatArray:
        variance = self.bandwidth**2 + sigma**2
        atoms = self.atoms - (origin := self.atoms.mean(axis=0))
        half_squares = 0.5 * np.sum(atoms**2, axis=1)
        rows = max(1, 2**22 // len(atoms))
        blocks = [y[i : i + rows] - origin for i in range(0, len(y), rows)]
        means = [softmax((b @ atoms.T - half_squares) / variance, axis=1) @ atoms for b in blocks]
        return np.asarray((np.concatenate(means) + origin - y) / variance)

    def posterior_mean(self, x: FloatArray) -> FloatArray:
        return x + self.noise_scale**2 * self.score(x, 0.0)
