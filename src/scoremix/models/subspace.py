"""The frame of a model: its leading subspace, and the exact Gaussian around it.

Data ``mu + noise_scale z`` whose centers span few dimensions are interesting only there: in every other direction
they are exactly ``N(mean, noise_scale**2)``. The frame is the mean, the leading eigenvectors of the covariance and the
eigenvalues; models live in its coordinates (rank r instead of d), the complement is handled in closed form.

GKL, Theorem 1.2 (projection on the top singular subspace). The rank is where the spectrum leaves the edge of the
Marchenko-Pastur distribution of pure noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, Floats, like, product
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture

# Up to this dimension every direction is kept: a weak one left out costs more than an idle one kept.
SMALL_DIMENSION = 5


@dataclass(frozen=True)
class Subspace:
    """An affine subspace with orthonormal axes, and the noise around it.

    mean (d,); basis (d, r); variances (r,).
    """

    mean: Floats
    basis: Floats
    variances: Floats
    noise_scale: float

    @property
    def n_features(self) -> int:
        """Dimension d of the space."""
        return int(self.basis.shape[0])

    @property
    def rank(self) -> int:
        """Dimension r of the subspace."""
        return int(self.basis.shape[1])

    @property
    def is_whole(self) -> bool:
        """True where there is no complement."""
        return self.rank == self.n_features

    def encode(self, x: Array) -> Array:
        """Coordinates in the subspace, feature major: (n, d) -> (r, n)."""
        return product(like(self.basis.T, x), (x - like(self.mean, x)[None, :]).T)

    def embed(self, coordinates: Array) -> Array:
        """Points of the subspace from their coordinates: (r, n) -> (n, d)."""
        return like(self.mean, coordinates)[None, :] + product(coordinates.T, like(self.basis.T, coordinates))

    def lift(self, direction: Array) -> Array:
        """Vectors of the subspace from their coordinates: (r, n) -> (n, d)."""
        return product(direction.T, like(self.basis.T, direction))

    def embedded(self, mixture: Mixture, noise: float) -> Mixture:
        """A mixture of coordinates as one of points, with isotropic noise of a standard deviation added."""
        covariances = self.basis @ mixture.covariances @ self.basis.T + noise**2 * np.eye(self.n_features)
        covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
        return Mixture(mixture.weights, np.asarray(self.embed(mixture.means.T)), Full(covariances))

    def residual(self, x: Array, coordinates: Array) -> Array:
        """Part of ``x - mean`` outside the subspace, shape (n, d)."""
        return x - self.embed(coordinates)


def noise_edge(n_features: int, effective_rows: float) -> float:
    """Largest eigenvalue that the covariance of pure unit noise may show.

    The Marchenko-Pastur edge plus two scales of its Tracy-Widom fluctuations (exceeded with a probability
    below 0.1 %); it tends to 1 as the rows outnumber the features.
    """
    n, d = np.sqrt(effective_rows), np.sqrt(n_features)
    return float(((n + d) ** 2 + 2 * (n + d) * (1 / n + 1 / d) ** (1 / 3)) / n**2)


def _beyond_noise(values: Floats, effective_rows: float, noise_scale: float) -> int:
    """Number of leading eigenvalues that noise in the remaining directions does not explain."""
    left = range(len(values), 0, -1)
    edges = noise_scale**2 * np.array([noise_edge(m, effective_rows) for m in left])
    return int(np.append(values <= edges, True).argmax())


def orient(basis: Floats, offset: Floats) -> Floats:
    """Axes, defined up to sign, turned so that no coordinate of an offset is negative: they turn with the data."""
    return np.asarray(basis * np.where(offset @ basis < 0, -1.0, 1.0))


def leading_subspace(
    mean: Floats,
    covariance: Floats,
    effective_rows: float,
    noise_scale: float,
    rank: int | None = None,
    anchor: Floats | None = None,
) -> Subspace:
    """Choose the subspace that noise alone does not explain.

    mean, covariance (d,); anchor (d,).
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    if rank is None:
        rank = len(mean) if len(mean) <= SMALL_DIMENSION else max(1, _beyond_noise(values, effective_rows, noise_scale))
    basis = vectors[:, :rank] if anchor is None else orient(vectors[:, :rank], anchor - mean)
    return Subspace(mean, np.ascontiguousarray(basis), np.maximum(values[:rank], 0.0), float(noise_scale))
