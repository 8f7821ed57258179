"""The problems: laws to draw rows from, each with the start that all methods are given.

Rows are numbers of single precision, whatever type they are stored in, so that methods of both precisions see exactly
the same data.
"""

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture


@dataclass(frozen=True)
class Law:
    """A mixture of k Gaussians with equal weights: rows are ``mean + root z``, means (k, d), roots (k, d, d).

    The means of the start are off by `blur`, in units of the roots.
    """

    means: Floats
    roots: Floats
    blur: float
    seed: int

    def sample(self, n: int) -> Floats:
        """Draw rows (n, d)."""
        rng = np.random.default_rng([self.seed, 1])
        labels, x = rng.integers(len(self.means), size=n), rng.standard_normal((n, self.means.shape[1]))
        for k, (mean, root) in enumerate(zip(self.means, self.roots, strict=True)):
            mine = labels == k
            x[mine] = x[mine] @ root.T + mean
        return x.astype(np.float32).astype(np.float64)

    def start(self, kind: str) -> Mixture:
        """Blurred means with the average covariance: it does not depend on the rows."""
        k, d = self.means.shape
        z = np.random.default_rng([self.seed, 2]).standard_normal((k, d))
        means = self.means + self.blur * np.einsum("kij,kj->ki", self.roots, z)
        common = np.einsum("kij,klj->il", self.roots, self.roots) / k
        values = {
            "full": np.repeat(common[None], k, axis=0),
            "tied": common,
            "diag": np.repeat(np.diag(common)[None], k, axis=0),
            "spherical": np.full(k, np.trace(common) / d),
        }[kind]
        return Mixture(np.full(k, 1 / k), means, covariance_of(kind, values, d))


def clusters(k: int, d: int, seed: int = 0, distance: float = 4.0, blur: float = 0.3) -> Law:
    """Clusters whose neighbours are about `distance` standard deviations apart, in any dimension."""
    rng = np.random.default_rng([seed, 0])
    means = rng.standard_normal((k, d)) * distance * k ** (1 / d) / np.sqrt(2 * d)
    return Law(means, np.eye(d) + 0.3 * rng.standard_normal((k, d, d)) / np.sqrt(d), blur, seed)


def far_apart(k: int, d: int, seed: int = 0, distance: float = 1e4) -> Law:
    """Pairs of overlapping clusters, pairs `distance` apart: digits are lost where moments are about one origin."""
    near, rng = clusters(k, d, seed, 3.0), np.random.default_rng([seed, 3])
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    pair = np.arange(k) // 2
    place = distance * (1 + pair[:, None] // d) * axes[pair % d]
    return Law(place + 2 * near.means / np.linalg.norm(near.means, axis=1)[:, None], near.roots, 0.3, seed)


def conditioned(k: int, d: int, seed: int = 0, condition: float = 1e6, shared: bool = False) -> Law:
    """Clusters whose covariances have a large condition number, in directions of their own or in the same ones."""
    rng = np.random.default_rng([seed, 4])
    axes = np.linalg.qr(rng.standard_normal((1 if shared else k, d, d)))[0]
    roots = np.broadcast_to(axes * np.geomspace(1, condition**-0.5, d), (k, d, d))
    return Law(rng.standard_normal((k, d)), roots, 0.1, seed)
