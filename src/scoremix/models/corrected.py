"""A mixture and what it misses: the model of one noise level in the default mode.

The score of a Gaussian mixture is known in closed form at every noise level, and a mixture that is nearly right needs
only a small correction. Per component j, with its responsibility r_j and its *local coordinate*, both at level sigma,

    u_j = A_j (y - m_j),   A_j = (S_j + sigma^2 I)^(-1/2)            (the symmetric root: no axes to choose)
    score(y) = score of the base + sum_j r_j(y) A_j P_j(clip(u_j))

with a polynomial P_j per component, or none. In local coordinates the component is N(0, I), Hermite polynomials are
orthonormal, and coefficients are pure numbers that carry over to neighbouring levels: asked at another sigma, the base
answers exactly and only the correction is continued. Polynomials extrapolate wildly, so u is clipped to a trust radius;
beyond it the base speaks, and what is added stays constant. Where no component has a polynomial this *is* the base, at
the cost of the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, to_numpy
from scoremix.features import Hermite
from scoremix.models.joint import itemsize_of, normalise
from scoremix.models.mixture import Mixture
from scoremix.models.piecewise import clip_to_ball

# Responsibilities below this add nothing: far below the accuracy of any fit, and most pairs of point and component.
SILENT = 1e-6

TRUST = 3.0  # Standard deviations beyond ``sqrt(d)``, the typical length of u, that polynomials are trusted.


def trust_radius(n_features: int) -> float:
    """Length that local coordinates are clipped to: a component has a share of about 1e-3 or less beyond it."""
    return sqrt(n_features) + TRUST


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
            score = score + _spread(self._correction(int(j), y, sigma, shares, index), index, int(y.shape[1]))
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
        relative, total, _ = normalise(part.log_joint)
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
    shares, total, _ = normalise(xp.stack(logs))
    shares /= total[None, :]
    score = xp.zeros_like(y)
    for j, u in enumerate(coordinates):
        score = score - shares[j, :] * local.apply(j, u, noise)
    return shares, score


def _spread(values: Array, index: Array, n: int) -> Array:
    """Columns `index` (increasing) of n columns, zero elsewhere, by a gather: the array API knows no scatter."""
    xp = namespace(values)
    place = np.full(n, values.shape[1])
    place[to_numpy(index)] = np.arange(values.shape[1])
    zero = xp.zeros((values.shape[0], 1), dtype=values.dtype, device=values.device)
    return xp.take(xp.concat([values, zero], axis=1), indices_like(place, values), axis=1)
