"""The joint density of a mixture of free covariances, component by component: for many dimensions.

``|U_k^T (x - m_k)|^2`` takes a product of the points with a triangular matrix, d^2 operations per pair of a point and a
component; products of coordinates would take as many, and d^2 / 2 numbers of memory per point. Offsets are taken from
the component's own mean, so that means may be as far apart as they like, and a component may be asked about some of the
points only: those for which it matters.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, squared_lengths
from scoremix.features import packed_size
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import LOG_2PI

# Nanoseconds per pair of a point and a component, on one core: of products of coordinates, per number of features (they
# are computed once for all components), and component by component, per dimension.
PRODUCT, FEATURE, DIMENSION, CALLS = 0.11, 1.3, 5.8, 30.0

# Up to 8 components stacked factors are a third way, without products; from so many dimensions on none is better.
FEW_COMPONENTS, MANY_FEATURES = 8, 96

Rows: TypeAlias = NDArray[np.intp] | slice  # Some rows, or all of them.
Pairs: TypeAlias = list[tuple[int, Rows, Array]]  # A component, rows, and the logarithms of its joint density there.
ALL = slice(None)

# Log ratio to the density of a row below which a component says nothing about it, by bytes of a number of the rows.
CUT = {8: 28.0, 4: 20.0}

# Share by which distances are lowered for rounding where they are bounds, by bytes of a number of the rows.
ROUNDING = {8: 1e-6, 4: 1e-4}

# Marginal distances are asked first from so many dimensions on, in one direction for so many of them; where more than
# this share of the pairs is left, all are looked at without them.
LEAST_SCREENED, FEATURES_PER_DIRECTION, MOST_ASKED = 64, 8, 0.7

STIFF = 1e-6  # Added to correlations: directions need not be those of the thinnest combination of columns.

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
        self.weights, self.means, self.covariance = weights, means, covariance
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

    def at(self, x: Array, rows: Iterable[tuple[int, Rows]]) -> Pairs:
        """Look at some of the rows x (n, d) of some components."""
        return [(k, some, self.log_joint(k, take_rows(x, some))) for k, some in rows]

    def at_all(self, x: Array) -> Pairs:
        """Look at all pairs."""
        return self.at(x, [(k, ALL) for k in range(len(self.means))])

    def near(self, x: Array) -> tuple[Pairs, Array | None]:
        """Look at the pairs that may matter, as far as the directions tell in which the means differ.

        A marginal distance is never larger than the distance. So the logarithms that it gives are upper bounds, and the
        exact one of the component that has the largest is a lower bound of the density.

        Returns the pairs, and half the marginal squared distances (k, n); None where all were looked at.
        """
        if self._marginal is None or not isinstance(x, np.ndarray):
            return self.at_all(x), None
        basis, marginal = self._marginal
        seen = product(x - like(self.means[0], x), like(basis, x))
        half = np.empty((len(self.means), len(x)), dtype=x.dtype)
        for k in range(len(half)):
            half[k] = marginal.squared_distances(k, seen)
        half *= 0.5 * (1 - ROUNDING[x.itemsize])
        bound = like(self.constant, x)[:, None] - half
        guess = np.argmax(bound, axis=0)
        pairs = self.at(x, [(k, np.flatnonzero(guess == k)) for k in range(len(half))])
        least = np.empty(len(x), dtype=x.dtype)
        for _, rows, logs in pairs:
            least[rows] = logs
        asked = ~(bound < least - CUT[x.itemsize])
        asked[guess, np.arange(len(x))] = False
        if np.mean(asked) > MOST_ASKED:
            return self.at_all(x), None
        return pairs + self.at(x, rows_of(asked)), half

    @cached_property
    def _marginal(self) -> tuple[Floats, ComponentJoint] | None:
        """Directions (d, r) in which the means differ most, in units of the mean covariance, and the mixture there."""
        (k, d), values = self.means.shape, self.covariance.values
        r = min(k - 1, d // FEATURES_PER_DIRECTION)
        if r < 1 or d < LEAST_SCREENED:
            return None
        weights = self.weights / self.weights.sum()
        try:
            basis = directions_apart(weights, self.means, np.tensordot(weights, values, axes=1), r)
            there = ComponentJoint(self.weights, (self.means - self.means[0]) @ basis, Full(basis.T @ values @ basis))
        except (np.linalg.LinAlgError, ValueError):  # no covariance there, or no numbers, which are to show elsewhere
            return None
        return basis, there

    def gradient(self, x: Array, responsibilities: Array) -> Array:
        """Score of the mixture at the rows x (n, d), shape (d, n)."""
        total = namespace(x).zeros_like(x)
        for k in range(len(self.means)):
            share, factor = responsibilities[k, :], like(self.factor[k], x)
            rows: Rows = ALL
            if isinstance(x, np.ndarray) and np.mean(share > 0) < MOST_ASKED:
                rows = np.flatnonzero(share > 0)
            local = (like(self.means[k], x)[None, :] - take_rows(x, rows)) * share[rows][:, None]
            total[rows, :] += product(product(local, factor), factor.T)
        return total.T


def directions_apart(weights: Floats, means: Floats, common: Floats, most: int) -> Floats:
    """Directions (d, r) in which means (k, d) of weights (k,) differ most, in units of a common covariance (d, d)."""
    unit = np.sqrt(np.diagonal(common))
    apart = np.linalg.svd(((means - weights @ means) / unit).T, full_matrices=False)[0][:, :most]
    correlation = common / np.outer(unit, unit) + STIFF * np.eye(len(common))
    return np.asarray(np.linalg.qr(cho_solve(cho_factor(correlation, lower=True), apart))[0] / unit[:, None])


def take_rows(x: Array, rows: Rows) -> Array:
    """Some rows of x (n, d), or x itself."""
    return x if isinstance(rows, slice) else namespace(x).take(x, indices_like(rows, x), axis=0)


def rows_of(asked: NDArray[np.bool_]) -> list[tuple[int, Rows]]:
    """Rows of every component (k, n) that is asked about any."""
    return [(int(k), np.flatnonzero(asked[k])) for k in np.flatnonzero(asked.any(axis=1))]
