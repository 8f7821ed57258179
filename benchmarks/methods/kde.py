"""Kernel density estimate with a Gaussian kernel, its bandwidth chosen on held-out rows.

Bandwidths between 0.1 and 2 times Scott's rule compete by the log likelihood of a fifth of at most 5,000
rows; the winner is rescaled to all rows by `n^(-1/(d+4))`, the rate at which the best bandwidth falls.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import KernelDensity

from benchmarks.methods.kernels import FittedKernels
from scoremix.evaluation.truth import FloatArray

SEARCH_ROWS = 5000


@dataclass(frozen=True)
class CrossValidatedKDE:
    """scikit-learn's KernelDensity."""

    name: str = "KDE, cross-validated"
    max_rows: int = 100_000

    def fit(self, x: FloatArray, noise_scale: float, seed: int) -> FittedKernels:
        n, d = x.shape
        some = x[np.random.default_rng(seed).permutation(n)[:SEARCH_ROWS]]
        held_out, rest = np.split(some, [len(some) // 5])
        scott = float(np.sqrt(x.var(axis=0).mean())) * len(rest) ** (-1 / (d + 4))
        bandwidths = scott * np.geomspace(0.1, 2, 12)
        gains = [KernelDensity(bandwidth=h, rtol=1e-4).fit(rest).score(held_out) for h in bandwidths]
        bandwidth = float(bandwidths[np.argmax(gains)]) * (n / len(rest)) ** (-1 / (d + 4))
        kde = KernelDensity(bandwidth=bandwidth).fit(x)
        return FittedKernels(x, bandwidth, noise_scale, lambda m, rng: kde.sample(m, int(rng.integers(2**31))))
