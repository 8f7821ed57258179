"""Mixtures that rows are drawn from, and what they are made of: places of means, covariances, weights."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.gaussian.methods import REG
from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

ROWS_AT_ONCE = 1_000
"""Rows of which a draw holds the factors of their covariances."""


@dataclass(frozen=True)
class Law:
    """A Gaussian mixture of k components in d dimensions.

    Attributes
    ----------
    weights : ndarray of shape (k,)
    means : ndarray of shape (k, d)
    covariances : ndarray of shape (k, d, d)
    degrees : float, optional
        Of freedom of the tails: a component is then a t distribution of that scale matrix.
    factors : ndarray of shape (k, d, m), optional
        Of covariances that may be singular: rows are ``mean + factor z``.
    lone : int
        So many of the last components are one row each, whatever their weights.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    degrees: float | None = None
    factors: Floats | None = None
    lone: int = 0

    @property
    def k(self) -> int:
        return len(self.means)

    @property
    def d(self) -> int:
        return int(self.means.shape[1])

    def draw(self, n: int, seed: int) -> tuple[Floats, NDArray[np.intp]]:
        """Rows and the components that they come from."""
        rng = np.random.default_rng([9, seed])
        labels = rng.choice(self.k, n, p=self.weights)
        if self.lone:
            labels[rng.choice(n, self.lone, replace=False)] = np.arange(self.k - self.lone, self.k)
        roots = np.linalg.cholesky(self.covariances) if self.factors is None else self.factors
        z = rng.standard_normal((n, roots.shape[2]))
        if self.degrees is not None:
            z /= np.sqrt(rng.chisquare(self.degrees, n) / self.degrees)[:, None]
        parts = (slice(start, start + ROWS_AT_ONCE) for start in range(0, n, ROWS_AT_ONCE))
        moved = [np.einsum("nij,nj->ni", roots[labels[here]], z[here]) for here in parts]
        return self.means[labels] + np.concatenate(moved), labels

    def sample(self, n: int, seed: int) -> Floats:
        """Rows."""
        return self.draw(n, seed)[0]

    def mixture(self, kind: str) -> Mixture:
        """The nearest mixture with covariances of a kind: EM starts there when it is told the truth.

        Variances are larger by what every method adds to its own. So a direction of no width, in which a density has
        no bound, has the same one in all of them, and a difference of likelihoods is one of the fits.
        """
        values = {
            "full": self.covariances,
            "tied": np.einsum("k,kij->ij", self.weights, self.covariances),
            "diag": np.einsum("kii->ki", self.covariances),
            "spherical": np.einsum("kii->k", self.covariances) / self.d,
        }[kind]
        return Mixture(self.weights, self.means, covariance_of(kind, values, self.d).plus(REG))

    def scaled(self, scale: Floats) -> "Law":
        """The law of ``x * scale``, column by column."""
        factors = None if self.factors is None else self.factors * scale[:, None]
        covariances = self.covariances * scale[:, None] * scale
        return replace(self, means=self.means * scale, covariances=covariances, factors=factors)


def of_factors(weights: Floats, means: Floats, factors: Floats, lone: int = 0) -> Law:
    """The law whose covariances have these factors (k, d, m)."""
    return Law(weights, means, factors @ np.swapaxes(factors, 1, 2), factors=factors, lone=lone)


def equal(k: int) -> Floats:
    """Equal weights."""
    return np.full(k, 1 / k)


def zipf(k: int) -> Floats:
    """Weights proportional to 1, 1/2, 1/3, ..."""
    weights = 1 / np.arange(1, k + 1)
    return np.asarray(weights / weights.sum())


def nearest(means: Floats) -> Floats:
    """Distance of every mean from its nearest neighbour; infinite for a single mean."""
    squares = ((means[:, None] - means[None]) ** 2).sum(-1)
    np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sqrt(squares.min(axis=1)))


def typically_apart(means: Floats, separation: float) -> Floats:
    """Means scaled so that the median distance to the nearest neighbour is `separation`."""
    return means * separation / np.median(nearest(means)) if len(means) > 1 else means


def all_apart(means: Floats, separation: float) -> Floats:
    """Means scaled so that no two are nearer to each other than `separation`."""
    return means * separation / nearest(means).min() if len(means) > 1 else means


def round_ones(scales: Floats, d: int) -> Floats:
    """Covariances that are multiples of the identity, of these standard deviations."""
    return scales[:, None, None] ** 2 * np.eye(d)


def elongated(rng: np.random.Generator, k: int, d: int, condition: float, shared: bool = False) -> Floats:
    """Covariances of this condition number and determinant 1, in directions of their own or in the same ones."""
    values = np.geomspace(condition**-0.5, condition**0.5, d)
    axes = np.linalg.qr(rng.standard_normal((1 if shared else k, d, d)))[0]
    return np.broadcast_to((axes * values) @ np.swapaxes(axes, 1, 2), (k, d, d))
