"""Continuous mixtures as truths: the center runs over curves, circles, spheres and balls.

* `ShellTruth`: the center is uniform in k balls, spherical shells or spheres (a circle is one in two
  dimensions). On a sphere of radius rho the noisy density at distance r is a Gaussian factor times
  `0F1(d/2; a^2/4)`, a = r rho / v, v the noise variance: a Bessel function of order d/2 - 1. A ball is an
  integral of spheres over rho, done by Gauss-Legendre.
* `CurveTruth`: the center is uniform along a smooth curve. Gauss-Legendre along the curve turns it into a
  finite mixture with the same density to rounding, whose closed forms then serve.
* `EmbeddedTruth`: any of them, rotated into more dimensions; what is orthogonal to it is Gaussian noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.truth import Draw, Evaluation, FloatArray, Truth

__all__ = ["CurveTruth", "EmbeddedTruth", "ShellTruth"]

_LARGE = 500.0  # Bessel argument from which the scaled form replaces 0F1, which would overflow at 700


def _bessel(dimension: int, argument: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return log 0F1(d/2; a^2/4) - a and 0F1(d/2 + 1; a^2/4) / 0F1(d/2; a^2/4) for a >= 0."""
    if dimension == 2:  # the two cheap Bessel functions, five times faster
        a = np.maximum(argument, 1e-150)
        scaled = special.i0e(a)
        return np.log(scaled), special.i1e(a) / scaled * 2 / a
    half = dimension / 2
    near = np.minimum(argument, _LARGE) ** 2 / 4
    base = special.hyp0f1(half, near)
    log_base, ratio = np.log(base) - argument, special.hyp0f1(half + 1, near) / base
    far = argument > _LARGE
    if far.any():
        a = argument[far]
        scaled = special.ive(half - 1, a)
        log_base[far] = np.log(scaled) + special.gammaln(half) + (half - 1) * np.log(2 / a)
        ratio[far] = special.ive(half, a) / scaled * dimension / a
    return log_base, ratio


@dataclass(frozen=True, eq=False)
class ShellTruth(Truth):
    """The center is uniform in one of k shells `inner_radius <= |mu - c_j| <= outer_radius`, equally likely.

    Parameters
    ----------
    centers : ndarray of shape (k, d)
        Centers of the shells, d >= 2.
    inner_radius, outer_radius : float
        0 and R make balls; R and R make spheres.
    noise_scale : float
        Standard deviation of the isotropic noise, positive.

    Notes
    -----
    Evaluation costs two Bessel functions for each row, shell and node; a sphere has one node.
    """

    centers: FloatArray
    inner_radius: float
    outer_radius: float
    noise_scale: float

    @property
    def mean(self) -> FloatArray:
        """Expectation of x, shape (d,)."""
        return np.asarray(self.centers.mean(axis=0))

    @property
    def cov(self) -> FloatArray:
        """Covariance of x, shape (d, d)."""
        d = self.centers.shape[1]
        radii, log_weights = self._nodes()
        isotropic = self.noise_scale**2 + float(np.exp(log_weights) @ radii**2) / d
        centered = self.centers - self.mean
        return np.asarray(isotropic * np.eye(d) + centered.T @ centered / len(centered))

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n rows together with their centers and shells."""
        k, d = self.centers.shape
        labels = rng.integers(k, size=n)
        volume = rng.uniform((self.inner_radius / self.outer_radius) ** d, 1.0, size=n)
        direction = rng.standard_normal((n, d))
        length = self.outer_radius * volume ** (1 / d) / np.linalg.norm(direction, axis=1)
        mu = self.centers[labels] + direction * length[:, None]
        return Draw(mu + self.noise_scale * rng.standard_normal((n, d)), mu, labels)

    def _nodes(self) -> tuple[FloatArray, FloatArray]:
        """Radii of the spheres that stand for a shell, and their log weights."""
        width = self.outer_radius - self.inner_radius
        if width == 0:
            return np.array([self.outer_radius]), np.zeros(1)
        d = self.centers.shape[1]
        nodes, weights = special.roots_legendre(20 + int(6 * width / self.noise_scale) + d // 2)
        radii = self.inner_radius + width * (nodes + 1) / 2
        log_weights = np.log(weights) + (d - 1) * np.log(radii)
        return radii, log_weights - special.logsumexp(log_weights)

    @property
    def _row_size(self) -> int:
        return len(self.centers) * len(self._nodes()[0])

    def _evaluate_block(self, y: FloatArray, variance: FloatArray) -> Evaluation:
        d = y.shape[1]
        radii, log_weights = self._nodes()
        v = (self.noise_scale**2 + variance)[:, None]  # (n, 1)
        diff = y[:, None, :] - self.centers  # (n, k, d)
        distance = np.linalg.norm(diff, axis=2)[:, :, None]  # (n, k, 1)
        log_base, ratio = _bessel(d, distance * radii / v[:, None])  # (n, k, m)
        log_sphere = log_weights + log_base - (distance - radii) ** 2 / (2 * v[:, None])
        log_shell = special.logsumexp(log_sphere, axis=2)  # (n, k)
        # Given the sphere, E[mu - c | y] = (rho^2 / (v d)) ratio (y - c); no division by the distance.
        shrink = np.sum(np.exp(log_sphere - log_shell[:, :, None]) * ratio * radii**2, axis=2) / (v * d)
        log_mixture = special.logsumexp(log_shell, axis=1)
        posterior = np.exp(log_shell - log_mixture[:, None])
        center = posterior @ self.centers + np.einsum("nk,nkd->nd", posterior * shrink, diff)
        log_density = log_mixture - np.log(len(self.centers)) - 0.5 * d * np.log(2 * np.pi * v[:, 0])
        return Evaluation(log_density, (center - y) / v, center)


@dataclass(frozen=True, eq=False)
class CurveTruth(Truth):
    """The center is uniform along a curve, by arc length.

    Parameters
    ----------
    curve : callable
        Maps u in [0, 1], shape (n,), to points of shape (n, d); u is the share of the length, so a uniform u
        gives the distribution of the center. It should be smooth: the quadrature converges as fast as it is.
    n_nodes : int
        Nodes of Gauss-Legendre along the curve; two per noise scale of length reach rounding.
    noise_scale : float
        Standard deviation of the isotropic noise, positive.
    """

    curve: Callable[[FloatArray], FloatArray]
    n_nodes: int
    noise_scale: float
    quadrature: GaussianMixtureTruth = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes, weights = special.roots_legendre(self.n_nodes)
        means = self.curve((nodes + 1) / 2)
        variances = np.full(means.shape, self.noise_scale**2)
        mixture = GaussianMixtureTruth(weights / weights.sum(), means, variances, None, self.noise_scale)
        object.__setattr__(self, "quadrature", mixture)

    @property
    def mean(self) -> FloatArray:
        """Expectation of x, shape (d,)."""
        return self.quadrature.mean

    @property
    def cov(self) -> FloatArray:
        """Covariance of x, shape (d, d)."""
        return self.quadrature.cov

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n rows together with their points on the curve; all labels are zero."""
        mu = self.curve(rng.random(n))
        return Draw(mu + self.noise_scale * rng.standard_normal(mu.shape), mu, np.zeros(n, dtype=np.intp))

    @property
    def _row_size(self) -> int:
        return self.quadrature.means.size

    def _evaluate_block(self, y: FloatArray, variance: FloatArray) -> Evaluation:
        return self.quadrature._evaluate_block(y, variance)


@dataclass(frozen=True, eq=False)
class EmbeddedTruth(Truth):
    """A truth in a linear subspace of a larger space, with the same noise in all directions.

    Parameters
    ----------
    inner : Truth
        The distribution inside the subspace; its `noise_scale` must be known.
    basis : ndarray of shape (d, d_inner)
        Orthonormal columns.
    noise_scale : float
        That of `inner`.
    """

    inner: Truth
    basis: FloatArray = field(repr=False)
    noise_scale: float

    @property
    def mean(self) -> FloatArray:
        """Expectation of x, shape (d,)."""
        return self.basis @ self.inner.mean

    @property
    def cov(self) -> FloatArray:
        """Covariance of x, shape (d, d)."""
        d, d_inner = self.basis.shape
        excess = self.inner.cov - self.noise_scale**2 * np.eye(d_inner)
        return self.noise_scale**2 * np.eye(d) + self.basis @ excess @ self.basis.T

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n rows together with their latent centers, which lie in the subspace, and labels."""
        inner = self.inner.draw(n, rng)
        noise = self.noise_scale * rng.standard_normal((n, self.basis.shape[0]))
        noise += (inner.x - inner.mu - noise @ self.basis) @ self.basis.T
        mu = inner.mu @ self.basis.T
        return Draw(mu + noise, mu, inner.labels)

    @property
    def _row_size(self) -> int:
        return max(self.inner._row_size, len(self.basis))

    def _evaluate_block(self, y: FloatArray, variance: FloatArray) -> Evaluation:
        d, d_inner = self.basis.shape
        local = y @ self.basis
        inner = self.inner._evaluate_block(local, variance)
        rest = y - local @ self.basis.T
        v = self.noise_scale**2 + variance
        log_rest = -0.5 * (np.sum(rest**2, axis=1) / v + (d - d_inner) * np.log(2 * np.pi * v))
        score = inner.score @ self.basis.T - rest / v[:, None]
        return Evaluation(inner.log_density + log_rest, score, inner.posterior_mean @ self.basis.T)
