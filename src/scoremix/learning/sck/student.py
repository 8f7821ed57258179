"""What gradient descent learns: a mixture of spherical Gaussians of one known variance, at levels of noise.

A student moves points only within the span of its centered means, of q <= k - 1 dimensions: all that is not linear
happens in these coordinates. A `NoisyStudent` is a student there, at one noise level; `NoisySamples` are rows with
noise, seen by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from scoremix.arrays import Array, Floats, at_least_in_place, exp_in_place, like, namespace, product
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture

# Where a component is far, its responsibility is exp(-600): not 0, yet no denormal numbers, which are slow.
LOGIT_FLOOR = -600.0


@dataclass(frozen=True)
class Student:
    """``sum_i w_i N(m_i, variance I)``, whose means (and weights) are learnt.

    means (k, d); weights (k,); variance: known variance s0 > 0 of every component, in squared units of the data.
    """

    means: Floats
    weights: Floats
    variance: float = 1.0

    @classmethod
    def symmetric(cls, mu: Floats, variance: float = 1.0) -> Self:
        """The student of two components at ``+mu`` and ``-mu``, shape (d,), of equal weight."""
        return cls(np.stack([mu, -mu]), np.full(2, 0.5), variance)

    def mixture(self, sigma: float = 0.0) -> Mixture:
        """The mixture at noise level sigma."""
        k, d = self.means.shape
        return Mixture(self.weights, self.means, Spherical(np.full(k, self.variance + sigma**2), d))

    @cached_property
    def center(self) -> Floats:
        """Middle of the means, shape (d,): the origin of all computations."""
        return np.asarray(self.means.mean(axis=0))

    @cached_property
    def axes(self) -> Floats:
        """Orthonormal basis (d, q) of the span of the centered means: the one they are in where k > d."""
        k, d = self.means.shape
        return np.eye(d) if k > d else np.linalg.qr((self.means[1:] - self.means[0]).T)[0]


@dataclass(frozen=True)
class NoisyStudent:
    """A student at one noise level, in coordinates of its span, and how much the level counts."""

    means: Floats
    log_weights: Floats
    clean_variance: float
    sigma: float
    factor: float

    @property
    def variance(self) -> float:
        """``v = s0 + sigma^2``."""
        return self.clean_variance + self.sigma**2

    def shares(self, y: Array) -> Array:
        """Responsibilities (k, n) at points y (q, n)."""
        xp = namespace(y)
        offset = self.log_weights - np.sum(self.means**2, axis=1) / (2 * self.variance)
        shares = product(like(self.means / self.variance, y), y)
        shares += like(offset, y)[:, None]
        shares -= xp.max(shares, axis=0)[None, :]
        if float(xp.min(shares)) < LOGIT_FLOOR:  # rarely, and to look costs less than to clip
            shares = at_least_in_place(shares, LOGIT_FLOOR)
        shares = exp_in_place(shares)
        shares /= xp.sum(shares, axis=0)[None, :]
        return shares

    def noisy(self, x: Array, z: Array, signs: Array | None = None) -> NoisySamples:
        """Rows x (q, n) with noise z."""
        y = x + self.sigma * z
        shares, means = self.shares(y), like(self.means, x)
        return NoisySamples(x, z, y, product(means.T, shares), shares, means, signs)


@dataclass(frozen=True)
class NoisySamples:
    """Rows at a level, in coordinates of the span.

    x, z, y, middle (q, n); shares (k, n); means (k, q); signs (j, q, n).
    """

    x: Array
    z: Array
    y: Array
    middle: Array
    shares: Array
    means: Array
    signs: Array | None


def at_noise_levels(
    student: Student, sigmas: Floats | float, factors: Floats | None, *, may_be_zero: bool
) -> tuple[NoisyStudent, ...]:
    """Prepare a student for noise levels, with a factor each (1 by default).

    ValueError: If there is no level, or one is too small.
    """
    values = np.atleast_1d(np.asarray(sigmas, dtype=np.float64))
    if not len(values) or np.any(values < 0) or (not may_be_zero and np.any(values == 0)):
        raise ValueError(f"sigmas = {values}: noise levels must be >= 0, and > 0 for the denoising objective.")
    factors = np.ones(len(values)) if factors is None else np.asarray(factors, dtype=np.float64)
    means, log_weights = (student.means - student.center) @ student.axes, np.log(np.maximum(student.weights, 1e-300))
    return tuple(
        NoisyStudent(means, log_weights, student.variance, float(sigma), float(factor))
        for sigma, factor in zip(values, factors, strict=True)
    )
