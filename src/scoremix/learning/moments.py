"""Additive statistics and the small solves that end them.

`Moments` are weighted sums of ``1, x, x x^T`` about a fixed origin (mean, covariance). `NormalEquations` are the Gram
matrix and the cross products of a linear regression, kept apart in *folds* of the rows, so that held-out losses of
every fold come from the same single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from scoremix.arrays import Floats, like, namespace, product, to_numpy
from scoremix.samples.source import Chunk


@dataclass(frozen=True)
class Moments:
    """Weighted moments of rows about an origin; leading axes (cells, say) are allowed.

    origin (d,).
    """

    weight: Floats
    first: Floats
    second: Floats
    squared_weight: Floats
    reach: Floats
    origin: Floats

    def __add__(self, other: Moments) -> Moments:
        """Merge the moments of two sets of rows about the same origin."""
        return Moments(
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            self.squared_weight + other.squared_weight,
            np.maximum(self.reach, other.reach),
            self.origin,
        )

    @property
    def mean(self) -> Floats:
        """Weighted mean, shape (..., d)."""
        return np.asarray(self.origin + self.first / self.weight[..., None])

    @property
    def covariance(self) -> Floats:
        """Weighted covariance (maximum likelihood), shape (..., d, d)."""
        shift = self.first / self.weight[..., None]
        cov = self.second / self.weight[..., None, None] - shift[..., :, None] * shift[..., None, :]
        return np.asarray((cov + np.swapaxes(cov, -1, -2)) / 2)

    @property
    def effective_rows(self) -> Floats:
        """Kish's effective number of rows, (sum w)^2 / sum w^2."""
        return np.asarray(self.weight**2 / self.squared_weight)


def chunk_moments(chunk: Chunk, origin: Floats) -> Moments:
    """Moments of one chunk about `origin`; cost O(n d^2), one symmetric product."""
    xp = namespace(chunk.x)
    centred = chunk.x - like(origin, chunk.x)[None, :]
    if chunk.weight is None:
        n = np.float64(centred.shape[0])
        weight, squared, weighted = n, n, centred
    else:
        weight = np.float64(to_numpy(xp.sum(chunk.weight)))
        squared = np.float64(to_numpy(xp.sum(chunk.weight**2)))
        weighted = centred * chunk.weight[:, None]
    first = to_numpy(xp.sum(weighted, axis=0)).astype(np.float64)
    second = to_numpy(product(weighted.T, centred)).astype(np.float64)
    distance = xp.abs(centred)
    if chunk.weight is not None:
        distance = distance * xp.astype(chunk.weight > 0, distance.dtype)[:, None]  # a row without weight is absent
    reach = to_numpy(xp.max(distance, axis=0)).astype(np.float64)
    return Moments(np.asarray(weight), first, second, np.asarray(squared), reach, origin)


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of several independent least-squares systems, in folds of the rows.

    With features F (q of them) and targets T (d): ``gram = sum w F F^T``, ``cross = sum w F T^T``.

    gram (folds, systems, q, q); cross (folds, systems, q, d); target (folds, systems); weight (folds, systems).
    """

    gram: Floats
    cross: Floats
    target: Floats
    weight: Floats

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Merge the sums of two sets of rows; the left operand is overwritten (Gram matrices are large)."""
        for mine, theirs in zip(self._sums, other._sums, strict=True):
            mine += theirs
        return self

    @property
    def _sums(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.gram, self.cross, self.target, self.weight


def ridge_solve(gram: Floats, cross: Floats, weight: float, ridge: float) -> Floats:
    """Solve the ridge regression of one system, with the Gram matrix scaled to unit diagonal.

    gram (q, q); cross (q, d) -> (q, d).
    """
    if weight <= 0:
        return np.zeros_like(cross)
    diagonal = np.diagonal(gram) / weight
    # A feature that never fires (an empty cell) keeps the coefficient 0 instead of dividing by 0.
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max()), 1e-300)))
    scaled = gram / (weight * np.outer(scale, scale))
    scaled[np.diag_indices_from(scaled)] += ridge
    rhs = cross / (weight * scale[:, None])
    return np.asarray(cho_solve(cho_factor(scaled, lower=True, check_finite=False), rhs) / scale[:, None])


def squared_loss(coef: Floats, gram: Floats, cross: Floats) -> float:
    """Change of ``sum w |T - coef^T F|^2`` against coef = 0: negative where the fit helps."""
    return float(np.sum(coef * (gram @ coef)) - 2 * np.sum(coef * cross))
