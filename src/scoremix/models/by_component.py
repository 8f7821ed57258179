"""The joint density of a mixture of free covariances, component by component: for many dimensions.

``|U_k^T (x - m_k)|^2`` takes a product of the points with a triangular matrix, d^2 operations per pair of a point and a
component; products of coordinates would take as many, and d^2 / 2 numbers of memory per point. Offsets are taken from
the component's own mean, so that means may be as far apart as they like, and a component may be asked about some of the
points only: those for which it matters.
"""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Array, Floats, like, product, squared_lengths
from scoremix.features import packed_size
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import LOG_2PI

# Nanoseconds per pair of a point and a component, on one core: of products of coordinates, per number of features (they
# are computed once for all components), and component by component, per dimension.
PRODUCT, FEATURE, DIMENSION, CALLS = 0.11, 1.3, 5.8, 30.0

# Up to 8 components stacked factors are a third way, without products; from so many dimensions on none is better.
FEW_COMPONENTS, MANY_FEATURES = 8, 96

# A triangular matrix is taken in so many blocks of columns, of which each needs the rows above only; more blocks save
# operations, and make shorter calls.
BLOCKS, MORE_BLOCKS, BLOCK_FEATURES = 2, 4, 128


def cost_together(n_components: int, n_features: int) -> float:
    """What a pair of a point and a component costs in an EM pass by products of coordinates."""
    return packed_size(n_features) * (PRODUCT + FEATURE / n_components)


def cost_by_component(n_features: int) -> float:
    """What it costs component by component."""
    return DIMENSION * n_features + CALLS


def pays_by_component(n_components: int, n_features: int) -> bool:
    """Whether components are better asked one by one, about all points."""
    if n_features >= MANY_FEATURES or n_components <= FEW_COMPONENTS:
        return n_features >= MANY_FEATURES
    return cost_by_component(n_features) < cost_together(n_components, n_features)


class ComponentJoint:
    """``log w_k N_k(x)`` for one component at a time.

    weights (k,); means (k, d).
    """

    def __init__(self, weights: Floats, means: Floats, covariance: Full) -> None:
        k, d = means.shape
        self.means, self.covariance = means, covariance
        self.factor = covariance.precisions_cholesky()
        with np.errstate(divide="ignore"):  # a weight of 0
            self.constant = np.log(weights) - 0.5 * (d * LOG_2PI + covariance.log_det(k, d))
        n_blocks = MORE_BLOCKS if d >= BLOCK_FEATURES else BLOCKS
        self._edges = [d * b // n_blocks for b in range(n_blocks + 1)]

    def squared_distances(self, component: int, x: Array) -> Array:
        """Squared Mahalanobis distances of the rows x (n, d) from the mean of a component, shape (n,)."""
        local = x - like(self.means[component], x)[None, :]
        factor = like(self.factor[component], x)
        total: Array = 0.0
        for start, stop in zip(self._edges, self._edges[1:], strict=False):
            # Columns of an upper triangular matrix end at the diagonal.
            white = product(local[:, :stop], factor[:stop, start:stop])
            total = total + squared_lengths(white.T)
        return total

    def log_joint(self, component: int, x: Array) -> Array:
        """``log w_k N_k`` at the rows x (n, d), shape (n,)."""
        logs = self.squared_distances(component, x)
        logs *= -0.5
        logs += float(self.constant[component])
        return logs

    def gradient(self, x: Array, responsibilities: Array) -> Array:
        """Score of the mixture at the rows x (n, d), shape (d, n)."""
        total: Array = 0.0
        for k in range(len(self.means)):
            factor = like(self.factor[k], x)
            local = (like(self.means[k], x)[None, :] - x) * responsibilities[k, :][:, None]
            total = total + product(product(local, factor), factor.T)
        return total.T
