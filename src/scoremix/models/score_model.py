"""Scores of one noise level: one formula for cells of identity covariance, general cells and corrected mixtures.

    score(y) = sum_j r_j(y) A_j (P_j(clip(u_j)) - u_j),    u_j = A_j (y - c_j)

with gates r_j(y) that sum to one, a metric A_j, and a polynomial P_j (or none) of the local coordinate u_j. Three
choices of gates and metric make three models:

=====================  ==================================  ==================================================
class                  gates r                             metric A
=====================  ==================================  ==================================================
`PiecewisePolynomial`  Voronoi or soft cells               1 / s, s^2 = noise_scale^2 + sigma^2 (GKL)
`PiecewiseScore`       likelihood-ratio or soft cells      (C_j + sigma^2 I)^(-1/2) (CKS, Proposition 49)
`CorrectedMixture`     responsibilities of the mixture     (S_j + sigma^2 I)^(-1/2), the symmetric root
=====================  ==================================  ==================================================

In GKL's terms the posterior mean ``g(y) = sum_j r_j(y) (c_j + s P_j(clip(u_j)))`` is the polynomial, and the score is
``(g(y) - y) / s^2``: the same formula. Degree 0 *is* the exact form of a mixture, and where no coefficient is learnt a
cell falls back to the Gaussian about its own center. In local coordinates a component is N(0, I), Hermite polynomials
are orthonormal, and coefficients are pure numbers that carry over to neighbouring levels: asked at another sigma, the
mixture answers exactly and only the correction is continued. Polynomials extrapolate wildly, so u is clipped to a trust
radius; beyond it the score is that of a Gaussian again, with no jump between. A mixture without polynomials costs what
a mixture costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import (
    Array,
    Floats,
    at_least_in_place,
    indices_like,
    like,
    namespace,
    product,
    squared_lengths,
    subtract_into,
    to_numpy,
)
from scoremix.features import Hermite
from scoremix.models.gates import Block, Cells, Partition
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.log_joint import itemsize_of, normalize_posterior
from scoremix.models.mixture import Mixture
from scoremix.models.whitening import Whitening

TRUST_RADIUS = 4.5  # Local coordinates are clipped to this many standard deviations of the noise.


def design(
    cells: Cells, partition: Partition, features: Hermite, y: Array, scale: Array | float, room: int = 0
) -> Iterator[tuple[Block, Array]]:
    """Walk the blocks of the design matrix: points sorted by cell, one row per active cell and feature.

    y (d, n); scale (n,) -> matrix (a p + room, points).
    """
    xp, scaled, p = namespace(y), y / scale, features.sizes[-1]
    for block in partition.blocks:
        here, active = slice(block.start, block.stop), len(block.cells)
        matrix = xp.empty((active * p + room, block.stop - block.start), dtype=y.dtype, device=y.device)
        out = xp.reshape(matrix[: active * p, :], (active, p, -1))  # a view
        if features.degree:
            at = like(cells.centers[block.cells], y)[:, :, None] / (scale if isinstance(scale, float) else scale[here])
            u = out[:, 1 : y.shape[0] + 1, :]
            subtract_into(scaled[None, :, here], at, u)
            clip_to_ball(u, TRUST_RADIUS)
        features.complete(out, block.weight)
        yield block, matrix


def clip_to_ball(u: Array, radius: float) -> None:
    """Shrink the vectors along axis -2 to length <= `radius`, in place."""
    shrink = squared_lengths(u)
    if bool(namespace(u).any(shrink > radius**2)):
        shrink = at_least_in_place(shrink, radius**2)
        shrink **= 0.5  # in place: these are as many numbers as there are weights
        shrink **= -1
        shrink *= radius
        u *= shrink[..., None, :]


@dataclass(frozen=True)
class PiecewisePolynomial:
    """Posterior mean at one noise level, in the coordinates of the frame.

    coef (k, p, d), coefficients, 0 above the degree of a cell; degrees (k,).
    """

    cells: Cells
    features: Hermite
    coef: Floats
    degrees: NDArray[np.intp]
    noise_scale: float

    @property
    def centers(self) -> Floats:
        """Centers of the cells, shape (k, d)."""
        return self.cells.centers

    @property
    def weights(self) -> Floats:
        """Shares of the cells, shape (k,)."""
        return self.cells.weights

    def score(self, y: Array, sigma: Array | float) -> Array:
        """``(E[mu | y] - y) / s^2`` for y of shape (d, n)."""
        return (self.posterior_mean(y, sigma) - y) / (self.noise_scale**2 + sigma**2)

    def posterior_mean(self, y: Array, sigma: Array | float) -> Array:
        """Evaluate ``E[mu | y]`` for y of shape (d, n) at noise level sigma (a number, or shape (n,)).

        The level the coefficients were learnt at need not be `sigma`: cells and local coordinates scale with it, which
        is exact for a Gaussian and continues the level to neighbouring ones. Cost O(n (k d + a p d)), a the number of
        cells active in a block.
        """
        xp = namespace(y)
        variance: Array | float = self.noise_scale**2 + sigma**2
        partition = self.cells.partition(y, variance)
        if not isinstance(variance, float):
            variance = partition.arrange(variance)
        scale = variance**0.5
        centers, coef = self.cells.centers.T, self.coef.reshape(-1, self.coef.shape[2]).T
        p, parts = self.coef.shape[1], []
        for block, matrix in design(self.cells, partition, self.features, partition.arrange(y), scale):
            columns = (block.cells[:, None] * p + np.arange(p)).ravel()
            polynomial = product(like(coef[:, columns], y), matrix)
            polynomial *= scale if isinstance(scale, float) else scale[block.start : block.stop]
            # Feature 0 is the weight of the cell itself, so every p-th row of the matrix carries a center.
            polynomial += product(like(centers[:, block.cells], y), matrix[::p, :])
            parts.append(polynomial)
        return partition.restore(parts[0] if len(parts) == 1 else xp.concat(parts, axis=1))


# Responsibilities below this add nothing: far below the accuracy of any fit, and most pairs of point and component.
SILENT = 1e-6

TRUST = 3.0  # Standard deviations beyond ``sqrt(d)``, the typical length of u, that polynomials are trusted.


def trust_radius(n_features: int) -> float:
    """Length that local coordinates are clipped to: a component has a share of about 1e-3 or less beyond it."""
    return sqrt(n_features) + TRUST


@dataclass(frozen=True)
class CorrectedMixture:
    """Score at one noise level: a mixture in closed form plus a gated polynomial residual.

    coef (k, p, d), coefficients in local coordinates, 0 above the degree of a component; degrees (k,); noise_scale:
    standard deviation sigma0 of the noise that the data carry; 0 where that is not known.
    """

    base: Mixture
    features: Hermite
    coef: Floats
    degrees: NDArray[np.intp]
    noise_scale: float

    @property
    def centers(self) -> Floats:
        """Means of the components, shape (k, d)."""
        return self.base.means

    @property
    def weights(self) -> Floats:
        """Weights of the components, shape (k,)."""
        return self.base.weights

    @cached_property
    def _whitening(self) -> Whitening:
        return Whitening.of(self.base)

    def score(self, y: Array, sigma: Array | float) -> Array:
        """Gradient of the log density of the noisy data.

        y (d, n); sigma (n,), noise level, >= 0; the one that the coefficients were learnt at, or near it -> (d, n).

        Cost of the base, O(n k d^2) at most, and O(m d (d + p)) for the m pairs of a point and a corrected component
        whose responsibility is not silent.
        """
        shares, score = shares_and_score(self.base, y, sigma)
        for j in np.flatnonzero(self.degrees >= 0):
            index = indices_like(np.flatnonzero(to_numpy(shares[j, :]) > SILENT), y)
            score = score + _scatter_columns(self._correction(int(j), y, sigma, shares, index), index, int(y.shape[1]))
        return score

    def posterior_mean(self, y: Array, sigma: Array | float) -> Array:
        """``E[mu | y] = y + (noise_scale^2 + sigma^2) score``, shape (d, n); ``E[x | y]`` where noise_scale is 0."""
        return y + (self.noise_scale**2 + sigma**2) * self.score(y, sigma)

    def _correction(self, j: int, y: Array, sigma: Array | float, shares: Array, index: Array) -> Array:
        """What component j adds at the points `index`: (d, m)."""
        xp, noise = namespace(y), sigma**2
        if not isinstance(noise, float | int):
            noise = xp.take(noise, index)
        offsets = xp.take(y, index, axis=1) - like(self.base.means[j], y)[:, None]
        u = self._whitening.apply(j, offsets, noise)
        clip_to_ball(u, trust_radius(offsets.shape[0]))
        added = self._whitening.apply(j, product(like(self.coef[j].T, y), self.features(u)), noise)
        added *= xp.take(shares[j, :], index)
        return added


def shares_and_score(base: Mixture, y: Array, sigma: Array | float) -> tuple[Array, Array]:
    """Responsibilities (k, n) and score (d, n) of a mixture at the points y (d, n) and the level or levels sigma."""
    if not isinstance(sigma, float | int):
        return _by_point(base, y, sigma)
    joint = base.smooth(float(sigma)).joint(itemsize_of(y))
    xp, shares, scores, orders = namespace(y), [], [], []
    for part in joint.parts(y):
        relative, total, _ = normalize_posterior(part.log_joint)
        relative /= total[None, :]
        shares.append(relative)
        scores.append(joint.gradient(part, relative))
        orders.append(part.order)
    if orders[0] is None:
        return shares[0], scores[0]
    back = xp.argsort(xp.concat(orders, axis=0))
    return xp.take(xp.concat(shares, axis=1), back, axis=1), xp.take(xp.concat(scores, axis=1), back, axis=1)


def _by_point(base: Mixture, y: Array, sigma: Array) -> tuple[Array, Array]:
    """The same with a level per point: O(n k d^2), and as many numbers in memory as there are local coordinates."""
    xp, local = namespace(y), Whitening.of(base)
    noise, coordinates, logs = sigma**2, [], []
    for j, mean in enumerate(base.means):
        u = local.apply(j, y - like(mean, y)[:, None], noise)
        log_det = xp.sum(xp.log(like(local.variances[j], y)[:, None] + noise), axis=0)
        logs.append(float(np.log(base.weights[j])) - 0.5 * (xp.sum(u * u, axis=0) + log_det))
        coordinates.append(u)
    shares, total, _ = normalize_posterior(xp.stack(logs))
    shares /= total[None, :]
    score = xp.zeros_like(y)
    for j, u in enumerate(coordinates):
        score = score - shares[j, :] * local.apply(j, u, noise)
    return shares, score


def _scatter_columns(values: Array, index: Array, n: int) -> Array:
    """Columns `index` (increasing) of n columns, zero elsewhere, by a gather: the array API knows no scatter."""
    xp = namespace(values)
    place = np.full(n, values.shape[1])
    place[to_numpy(index)] = np.arange(values.shape[1])
    zero = xp.zeros((values.shape[0], 1), dtype=values.dtype, device=values.device)
    return xp.take(xp.concat([values, zero], axis=1), indices_like(place, values), axis=1)


@dataclass(frozen=True)
class PiecewiseScore:
    """Score at one noise level: a polynomial per cell about the linear score of the cell.

    coef (k, p, d), coefficients in the local coordinates of the cells, 0 above the degree of a cell; degrees (k,);
    noise_scale: standard deviation of isotropic noise that the data are known to carry; 0 where none is.
    """

    cells: LikelihoodRatio
    features: Hermite
    coef: Floats
    degrees: NDArray[np.intp]
    noise_scale: float = 0.0

    @property
    def centers(self) -> Floats:
        """Centers of the cells, shape (k, d)."""
        return self.cells.centers

    @property
    def weights(self) -> Floats:
        """Shares of the cells, shape (k,)."""
        return self.cells.weights

    def score(self, y: Array, sigma: Array | float) -> Array:
        """Gradient of the log density of the noisy data.

        y (d, n); sigma (n,), noise level, > 0; the one that the coefficients were learnt at, or near it -> (d, n).

        O(n (b d^2 + d p)), b the number of candidate covariances.
        """
        xp, noise = namespace(y), sigma**2
        partition = self.cells.partition(y, noise)
        y = partition.arrange(y)
        if not isinstance(noise, float | int):
            noise = partition.arrange(noise)
        parts = []
        for block in partition.blocks:
            here, j = slice(block.start, block.stop), int(block.cells[0])
            level = noise if isinstance(noise, float | int) else noise[here]
            u, matrix = local_design(self.cells, self.features, j, y[:, here], level)
            parts.append(self.cells.whitening.apply(j, product(like(self.coef[j].T, y), matrix) - u, level))
        return partition.restore(xp.concat(parts, axis=1))

    def posterior_mean(self, y: Array, sigma: Array | float) -> Array:
        """``E[mu | y] = y + (noise_scale^2 + sigma^2) score``, shape (d, n); ``E[x | y]`` where noise_scale is 0."""
        return y + (self.noise_scale**2 + sigma**2) * self.score(y, sigma)


def local_design(
    cells: LikelihoodRatio, features: Hermite, cell: int, y: Array, noise: Array | float
) -> tuple[Array, Array]:
    """Local coordinates of points of one cell, and its polynomial features where these are trusted.

    y (d, n); noise (n,) -> u (d, n), matrix (p, n).
    """
    u = cells.whitening.apply(cell, y - like(cells.centers[cell], y)[:, None], noise)
    inside = u * 1.0
    if bool(namespace(y).max(squared_lengths(u)) > trust_radius(y.shape[0]) ** 2):
        clip_to_ball(inside, trust_radius(y.shape[0]))
    return u, features(inside)
