"""Acceleration of a fixed-point iteration on mixtures: SQUAREM and Anderson.

Both guess, from a few updates ``u_i = M(p_i)``, where the iteration is heading. Parameters are put into coordinates in
which every vector is a mixture (logarithms of weights, factors of covariances with logarithms on the diagonal), means
in units of the data, so that an extrapolation cannot leave the set of mixtures and units do not matter. The guess is
only a proposal: who asks for it evaluates the likelihood there, and takes it back where it is lower.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from scoremix.arrays import Floats
from scoremix.models.covariance.interface import are_positive
from scoremix.models.mixture import Mixture

WARM_UP = 10  # Plain updates before the first guess: early ones are large, and far from linear.


FIRST_BOUND, GROWTH = 4.0, 4.0  # First bound of the step length of SQUAREM, and by how much it grows and shrinks.


class Acceleration(Protocol):
    """Proposes parameters from the updates so far."""

    def propose(self, present: Mixture, updated: Mixture) -> Mixture | None:
        """Guess a better point than `updated`, the update of `present`; None where it is too early."""

    def reset(self) -> None:
        """Forget the past: the last guess was rejected."""


class FreeParameters:
    """Vectors of free parameters of mixtures of one kind, about a mixture that sets the units."""

    def __init__(self, unit: Mixture) -> None:
        self._unit = unit
        self._scale = np.sqrt(np.maximum(np.diag(unit.cov()), 1e-300))

    def vector(self, mixture: Mixture) -> Floats:
        """Parameters as a vector."""
        means = (mixture.means - self._unit.mean()) / self._scale
        weights = np.log(np.maximum(mixture.weights, 1e-300))
        return np.concatenate([weights, means.ravel(), self._factors(mixture)])

    def mixture(self, vector: Floats) -> Mixture | None:
        """The mixture of a vector; None where numbers overflow, or a covariance is numerically singular."""
        k, d = self._unit.means.shape
        with np.errstate(over="ignore", invalid="ignore"):
            weights = np.exp(vector[:k] - vector[:k].max())
            means = self._unit.mean() + vector[k : k + k * d].reshape(k, d) * self._scale
            values = self._values(vector[k + k * d :])
        if not all(np.all(np.isfinite(part)) for part in (weights, means, values)):
            return None
        covariance = self._unit.covariance.with_values(values)
        if not np.all(are_positive(covariance)):
            return None
        return Mixture(weights / weights.sum(), means, covariance)

    def _factors(self, mixture: Mixture) -> Floats:
        values = mixture.covariance.values
        if mixture.covariance.is_diagonal:
            return np.log(values).ravel()
        lower = np.linalg.cholesky(values / np.outer(self._scale, self._scale))
        d = lower.shape[-1]
        diagonal = np.arange(d)
        lower[..., diagonal, diagonal] = np.log(lower[..., diagonal, diagonal])
        return np.asarray(lower[..., *np.tril_indices(d)].ravel())

    def _values(self, vector: Floats) -> Floats:
        shape = self._unit.covariance.values.shape
        if self._unit.covariance.is_diagonal:
            return np.asarray(np.exp(vector).reshape(shape))
        d = shape[-1]
        lower = np.zeros(shape)
        lower[..., *np.tril_indices(d)] = vector.reshape(*shape[:-2], -1)
        diagonal = np.arange(d)
        lower[..., diagonal, diagonal] = np.exp(lower[..., diagonal, diagonal])
        return np.asarray(lower @ np.swapaxes(lower, -1, -2) * np.outer(self._scale, self._scale))


class Squarem:
    """Squared extrapolation (Varadhan and Roland, Scand. J. Statist. 2008), step length S3, bounded.

    Of three points ``p0, p1 = M(p0), p2 = M(p1)``: ``p0 + 2 a r + a^2 v`` with ``r = p1 - p0``, ``v = p2 - 2 p1 + p0``
    and ``a = |r| / |v|``. The bound on a grows fourfold whenever it is reached, and shrinks when a guess is rejected.
    """

    def __init__(self, warm_up: int = WARM_UP) -> None:
        self._wait = warm_up
        self._coordinates: FreeParameters | None = None
        self._points: list[Floats] = []
        self._bound = self._length = FIRST_BOUND

    def propose(self, present: Mixture, updated: Mixture) -> Mixture | None:
        """Every second update."""
        if self._wait > 0:
            self._wait -= 1
            return None
        if self._coordinates is None:
            self._coordinates = FreeParameters(present)
        if not self._points:
            self._points = [self._coordinates.vector(present)]
        self._points.append(self._coordinates.vector(updated))
        if len(self._points) < 3:
            return None
        first, second, third = self._points
        self._points = []
        r, v = second - first, third - 2 * second + first
        self._length = min(float(np.linalg.norm(r) / max(float(np.linalg.norm(v)), 1e-300)), self._bound)
        if self._length <= 1:
            return None
        if self._length == self._bound:
            self._bound *= GROWTH
        return self._coordinates.mixture(first + 2 * self._length * r + self._length**2 * v)

    def reset(self) -> None:
        """Begin a new triple, with shorter steps."""
        self._points = []
        self._bound = max(FIRST_BOUND, min(self._bound, self._length) / GROWTH)


class Anderson:
    """Anderson mixing (Walker and Ni, SIAM J. Numer. Anal. 2011) with a memory of `memory` updates.

    The combination of the last updates whose changes cancel best, in least squares.
    """

    def __init__(self, memory: int = 8, warm_up: int = WARM_UP) -> None:
        self._memory, self._wait = memory, warm_up
        self._coordinates: FreeParameters | None = None
        self._updates: list[Floats] = []
        self._changes: list[Floats] = []

    def propose(self, present: Mixture, updated: Mixture) -> Mixture | None:
        """Every update but the first."""
        if self._wait > 0:
            self._wait -= 1
            return None
        if self._coordinates is None:
            self._coordinates = FreeParameters(present)
        update = self._coordinates.vector(updated)
        self._updates = [*self._updates, update][-self._memory - 1 :]
        self._changes = [*self._changes, update - self._coordinates.vector(present)][-self._memory - 1 :]
        if len(self._updates) < 2:
            return None
        slopes = np.diff(np.array(self._changes), axis=0).T
        gamma = np.linalg.lstsq(slopes, self._changes[-1], rcond=1e-8)[0]
        return self._coordinates.mixture(update - np.diff(np.array(self._updates), axis=0).T @ gamma)

    def reset(self) -> None:
        """Forget all updates."""
        self._updates, self._changes = [], []


ACCELERATIONS: dict[str, type[Squarem] | type[Anderson]] = {"squarem": Squarem, "anderson": Anderson}
