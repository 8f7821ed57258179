"""Inverse symmetric roots of covariances at any noise level: the metric of general cells and of corrections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, Floats, like, product
from scoremix.models.mixture import Mixture


@dataclass(frozen=True)
class Whitening:
    """Inverse symmetric roots of the covariances of all components, at any noise level.

    variances (k, d); axes (k, d, d).
    """

    variances: Floats
    axes: Floats

    @classmethod
    def of(cls, mixture: Mixture) -> Whitening:
        """Decompose the covariances once: noise only adds to the eigenvalues."""
        return cls(*np.linalg.eigh(mixture.covariances))

    def apply(self, component: int, vectors: Array, noise: Array | float) -> Array:
        """``(S_j + noise I)^(-1/2)`` times vectors (d, n); the variance `noise` is a number or has shape (n,)."""
        axes, variances = self.axes[component], like(self.variances[component], vectors)[:, None]
        return product(like(axes, vectors), product(like(axes.T, vectors), vectors) / (variances + noise) ** 0.5)

    def roots(self, noise: float) -> Floats:
        """The matrices ``(S_j + noise I)^(-1/2)``, shape (k, d, d)."""
        scaled = self.axes / np.sqrt(self.variances + noise)[:, None, :]
        return np.asarray(scaled @ np.swapaxes(self.axes, 1, 2))
