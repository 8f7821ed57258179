"""The ladder: models by decreasing noise level, asked as one denoiser at any ``(y, sigma)``.

Samplers, metrics, plots and estimators know nothing else. At a learnt level its model answers; between two levels both
answer and are blended linearly in log sigma; below the lowest level that one continues down to 0; above the highest the
moment-matched Gaussian takes over. Directions outside the frame's subspace are exactly Gaussian at every level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, indices_like, like, namespace, to_numpy
from scoremix.models.subspace import Subspace

CHUNK_ROWS = 8192  # Rows evaluated at a time: memory stays bounded whatever is asked.


class Level(Protocol):
    """What the ladder asks of the model of one noise level, in the coordinates of its frame."""

    @property
    def centers(self) -> Floats:
        """Centers of the cells or components, shape (k, r)."""

    @property
    def weights(self) -> Floats:
        """Their shares, shape (k,)."""

    @property
    def degrees(self) -> NDArray[np.intp]:
        """Degrees of their polynomials, shape (k,); -1 where there is none."""

    def score(self, y: Array, sigma: Array | float) -> Array:
        """Score at the points y (r, n) and the noise level sigma, a number or shape (n,): this level or one near."""


@dataclass(frozen=True)
class Ladder:
    """A learnt score at every noise level.

    Attributes
    ----------
    sigmas : ndarray of shape (L,)
        Decreasing noise levels, all > 0.
    levels : tuple of Level
        One model per level, in the coordinates of `frame`.
    frame : Subspace
        Mean, leading subspace and noise of the data.
    """

    sigmas: Floats
    levels: tuple[Level, ...]
    frame: Subspace

    @property
    def noise_scale(self) -> float:
        """Standard deviation sigma0 of the noise in the data."""
        return self.frame.noise_scale

    def centers(self, level: int) -> Floats:
        """Centers of the cells of one level, shape (k, d)."""
        return np.asarray(self.frame.embed(self.levels[level].centers.T))

    def weights(self, level: int) -> Floats:
        """Weights of the cells of one level, shape (k,), summing to 1."""
        return self.levels[level].weights

    def inside(self) -> Ladder:
        """The same ladder in the coordinates of its frame: what samplers walk, rank r instead of d."""
        r = self.frame.rank
        frame = Subspace(np.zeros(r), np.eye(r), self.frame.variances, self.noise_scale)
        return Ladder(self.sigmas, self.levels, frame)

    def posterior_mean(self, y: Array, sigma: Array | float) -> Array:
        """``E[mu | y]`` for rows y of shape (n, d) = data + sigma z; sigma a number or shape (n,)."""

        def one(rows: Array, level: Array | float) -> Array:
            coordinates = self.frame.encode(rows)
            shift = self._score(coordinates, level) * (self.noise_scale**2 + level**2)
            return self.frame.embed(coordinates + shift)

        return _by_chunks(one, y, sigma)

    def score(self, y: Array, sigma: Array | float) -> Array:
        """Score ``grad log q_sigma(y)`` of the data's distribution at level sigma, shape (n, d)."""

        def one(rows: Array, level: Array | float) -> Array:
            coordinates = self.frame.encode(rows)
            score = self.frame.lift(self._score(coordinates, level))
            if not self.frame.is_whole:
                variance = self.noise_scale**2 + level**2
                outside = self.frame.residual(rows, coordinates)
                score -= outside / (variance if isinstance(variance, float) else variance[:, None])
            return score

        return _by_chunks(one, y, sigma)

    def denoise(self, y: Array, sigma: Array | float) -> Array:
        """``E[x | y]``, the clean sample: ``y + sigma^2 score(y, sigma)`` (Tweedie), shape (n, d).

        Above the ladder, and outside its frame, in a form whose terms do not cancel where the noise is large.
        """

        def one(rows: Array, level: Array | float) -> Array:
            coordinates = self.frame.encode(rows)
            clean = self.frame.embed(self._denoised(coordinates, level))
            if not self.frame.is_whole and self.noise_scale:
                kept = self.noise_scale**2 / (self.noise_scale**2 + level**2)
                outside = self.frame.residual(rows, coordinates)
                clean += outside * (kept if isinstance(kept, float) else kept[:, None])
            return clean

        return _by_chunks(one, y, sigma)

    def _denoised(self, y: Array, sigma: Array | float) -> Array:
        """Clean coordinates in the frame, (r, n) -> (r, n)."""
        above = sigma > float(np.max(self.sigmas, initial=0.0)) * (1 + 1e-6)
        if isinstance(above, bool) and not above:
            return y + sigma**2 * self._score(y, sigma)
        variances = like(np.maximum(self.frame.variances, self.noise_scale**2), y)[:, None]
        far = y * (variances / (variances + sigma**2))
        return far if isinstance(above, bool) else namespace(y).where(above, far, y + sigma**2 * self._score(y, sigma))

    def _score(self, y: Array, sigma: Array | float) -> Array:
        """Score in the coordinates of the frame, (r, n) -> (r, n)."""
        if isinstance(sigma, float | int):
            return self._at(y, float(sigma))
        xp = namespace(y)
        # Rows are answered bracket by bracket: 0 above the ladder, i between level i - 1 and i, L below it.
        brackets = self._bracket(to_numpy(sigma))
        order = np.argsort(brackets, kind="stable")
        edges = np.flatnonzero(np.diff(brackets[order])) + 1
        parts = []
        for rows in np.split(order, edges):
            index = indices_like(rows, y)
            part = xp.take(y, index, axis=1)
            parts.append(self._in_bracket(part, xp.take(sigma, index), int(brackets[rows[0]])))
        return xp.take(xp.concat(parts, axis=1), indices_like(np.argsort(order), y), axis=1)

    def _at(self, y: Array, sigma: float) -> Array:
        exact = np.flatnonzero(np.isclose(self.sigmas, sigma, rtol=1e-9, atol=0.0))
        if len(exact):
            return self.levels[exact[0]].score(y, sigma)
        return self._in_bracket(y, sigma, int(self._bracket(np.asarray(sigma))))

    def _bracket(self, sigma: Floats) -> NDArray[np.intp]:
        """Number of levels at or above sigma; a level itself counts, in single precision too."""
        return np.searchsorted(-self.sigmas * (1 + 1e-6), -sigma, side="right")

    def _in_bracket(self, y: Array, sigma: Array | float, bracket: int) -> Array:
        """Answer between level ``bracket - 1`` (above) and ``bracket`` (below)."""
        if bracket == 0:
            return self._gaussian(y, sigma)
        above = self.levels[bracket - 1].score(y, sigma)
        if bracket == len(self.sigmas):
            return above
        # Python numbers: a NumPy scalar would turn single precision into double.
        low, high = log(self.sigmas[bracket]), log(self.sigmas[bracket - 1])
        clock = log(sigma) if isinstance(sigma, float) else namespace(y).log(sigma)
        share = (clock - low) / (high - low)
        return share * above + (1 - share) * self.levels[bracket].score(y, sigma)

    def _gaussian(self, y: Array, sigma: Array | float) -> Array:
        """Score of the moment-matched Gaussian: the axes of the frame are its principal axes."""
        variances = np.maximum(self.frame.variances, self.noise_scale**2)
        return -y / (like(variances, y)[:, None] + sigma**2)


def _by_chunks(function: Callable[[Array, Array | float], Array], y: Array, sigma: Array | float) -> Array:
    """Apply a row-wise function to chunks of rows."""
    n = int(y.shape[0])
    if n <= CHUNK_ROWS:
        return function(y, sigma)
    xp = namespace(y)
    # The array API leaves slices beyond the end undefined, so the last one stops there.
    ranges = [(a, min(a + CHUNK_ROWS, n)) for a in range(0, n, CHUNK_ROWS)]
    parts = [function(y[a:b, :], sigma if isinstance(sigma, float | int) else sigma[a:b]) for a, b in ranges]
    return xp.concat(parts, axis=0)
