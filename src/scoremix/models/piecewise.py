"""The piecewise polynomial of one noise level.

Per cell j a polynomial P_j of the local coordinate ``u = (y - c_j) / s`` with ``s**2 = noise_scale**2 + sigma**2``:

    g(y) = sum_j r_j(y) (c_j + s P_j(clip(u)))        posterior mean  E[mu | y]
    score(y) = (g(y) - y) / s**2

with r_j hard or soft (`cells`). This is GKL's parametrisation, g rather than the score being polynomial, and it is what
makes few coefficients enough: degree 0 *is* the exact form of a mixture, and where no coefficient is learnt the cell
falls back to the Gaussian about its own centre. A polynomial extrapolates wildly, so u is clipped to a trust radius;
beyond it g stays constant, which is the tail of a Gaussian.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, at_least_in_place, like, namespace, product, squared_lengths, subtract_into
from scoremix.features import Hermite
from scoremix.models.cells import Block, Cells, Partition

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
        """Centres of the cells, shape (k, d)."""
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
            # Feature 0 is the weight of the cell itself, so every p-th row of the matrix carries a centre.
            polynomial += product(like(centers[:, block.cells], y), matrix[::p, :])
            parts.append(polynomial)
        return partition.restore(parts[0] if len(parts) == 1 else xp.concat(parts, axis=1))
