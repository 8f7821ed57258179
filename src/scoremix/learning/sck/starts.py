"""Where gradient descent starts: at random, as the paper does for two components, or warm.

Samples are in the coordinates of the student, where every component has about unit covariance; `within_covariance`
finds such coordinates where the covariances are not known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats, to_numpy
from scoremix.learning.em.seeding import d2_seeds, lloyd
from scoremix.learning.sck.tensor_power import tensor_power
from scoremix.samples.source import Source

SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT = 20_000, 200  # Rows that seeds are chosen from, at most.
FLATTEST = 1e-6  # Smallest variance within components, relative to the largest.


def sample_rows(source: Source, n_components: int, rng: np.random.Generator) -> Floats:
    """Rows that a start is made from, shape (m, d)."""
    size = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT * n_components)
    return to_numpy(source.draw(size, rng)).astype(np.float64)


def initial_means(source: Source, n_components: int, method: str, rng: np.random.Generator) -> Floats:
    """Means to start from, shape (k, d).

    ValueError: If "tensor" is asked for too many components, or of data that vary too little.
    """
    if method in ("tensor", "warm"):
        try:
            return tensor_power(source, n_components, 1.0, rng).means
        except ValueError:
            if method == "tensor":
                raise
    sample = sample_rows(source, n_components, rng)
    if method == "random":
        return np.asarray(sample.mean(axis=0) + rng.standard_normal((n_components, source.n_features)))
    return lloyd(sample, d2_seeds(sample, n_components, rng), rng)


def nearest_means(x: Floats, means: Floats) -> NDArray[np.intp]:
    """Nearest mean of the rows x."""
    return np.asarray(np.argmin(np.sum(means**2, axis=1) - 2 * x @ means.T, axis=1))


def within_covariance(source: Source, means: Floats, rng: np.random.Generator) -> Floats:
    """Covariance (d, d) of the rows about the nearest of some means, kept away from singular."""
    sample = sample_rows(source, len(means), rng)
    residual = sample - means[nearest_means(sample, means)]
    values, axes = np.linalg.eigh(residual.T @ residual / len(sample))
    values = np.maximum(values, max(FLATTEST * float(values[-1]), 1e-300))
    return np.asarray((axes * values) @ axes.T)
