"""Two components: the score objectives with the noise integrated out, and their exact gradients.

Means ``c +- h`` and log odds 2 b of their weights make a student whose posterior mean is ``c + T h``, with
``T = tanh(a / v + b)`` and ``a = h . (y - c)``: all that is not linear happens along one line. The implicit loss is::

    v^2 L = |h|^2 (2 - T^2) - 2 T a + |y - c|^2 - 2 d v

(arXiv 2307.01178 has its gradient for c = b = 0), the denoising one has d / sigma^2 more in expectation. Only the part
of the noise along h enters T, so its expectation is an integral over one number, which a few nodes take exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scoremix.arrays import Array, Floats, like, namespace, product, squared_lengths, to_numpy
from scoremix.learning.em.em import SMALL_WORK
from scoremix.learning.sck.objective import CHUNK_ROWS, ObjectiveSums
from scoremix.learning.sck.student import NoisyStudent, Student, at_noise_levels
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

# Quadrature over the noise: how many standard deviations, and minus the logarithm of the error that is aimed at.
NODE_REACH, NODE_DIGITS = 7.0, 23.0

# Enough for means a hundred standard deviations apart; beyond, only rows halfway between them want more.
MAX_NODES = 4096

SATURATED = 18.0  # Beyond this argument tanh is 1 up to exp(-36), times what it is multiplied with.
TILE_NUMBERS = 2**15  # Nodes of rows that are worked on at a time: 256 kB, whatever the number of nodes.


@dataclass(frozen=True)
class LineSums:
    """What the rows of a chunk add up to at one level, along the line through the means.

    factor (n,); turned: sum of ``f - 2 T``: derivative in the log odds, but for a factor of -v.
    """

    loss: float
    factor: Array
    along: float
    turned: float


@dataclass(frozen=True)
class ExactStatistic:
    """The statistic of an exact gradient at some levels: one product of the rows with a line each way."""

    student: Student
    levels: tuple[NoisyStudent, ...]
    is_denoising: bool

    def __call__(self, chunk: Chunk) -> ObjectiveSums:
        """Sums over the rows of `chunk`."""
        xp, d = namespace(chunk.x), len(self.student.center)
        x = xp.astype(chunk.x, xp.float64, copy=False)
        if self.student.center.any():  # the symmetric student has none, and needs no copy
            x = x - like(self.student.center, x)
        weight = xp.ones_like(x[:, 0]) if chunk.weight is None else xp.astype(chunk.weight, xp.float64, copy=False)
        half = (self.student.means[0] - self.student.means[1]) / 2
        inside, mass = product(x, like(half, x)), float(xp.sum(weight))
        square = float(xp.sum(squared_lengths(x.T) * weight))
        loss, along, turned, shift = 0.0, 0.0, 0.0, 0.0
        factor = xp.zeros_like(inside)
        for level in self.levels:
            v, scale = level.variance, level.factor / level.variance**2
            line = integrate_noise(level, half, inside, weight)
            extra = d * level.sigma**2 - 2 * d * v + (d * v**2 / level.sigma**2 if self.is_denoising else 0.0)
            loss += scale * (line.loss + square + mass * extra)
            along, turned, shift = along + scale * line.along, turned - scale * v * line.turned / 2, shift + scale
            factor += scale * line.factor
        middle = xp.stack([factor, xp.full_like(factor, 2 * shift)]) * weight[None, :]
        by_half, by_centre = to_numpy(product(middle, x))
        by_half = along * half - by_half
        by_centre = float(xp.sum(middle[0, :])) * half - by_centre
        means = np.stack([by_centre + by_half, by_centre - by_half]) / 2
        return ObjectiveSums(loss, means, np.array([turned, -turned]), mass)


def integrate_noise(level: NoisyStudent, half: Floats, inside: Array, weight: Array) -> LineSums:
    """Integrate the noise out of the objective at rows, given by ``h . (x - c)``, shape (n,), and weights (n,).

    Far from halfway between the means T is 1 or -1 whatever the noise: only rows near it are given nodes.
    """
    xp, v, square = namespace(inside), level.variance, float(half @ half)
    odds = float(level.log_weights[0] - level.log_weights[1]) / 2
    slope = level.sigma * float(np.sqrt(square)) / v
    # With noise 1 - T is about 2 exp(2 slope^2 - 2 u), or as much as noise of the last node makes it.
    edge = v * (SATURATED + min(slope**2, NODE_REACH * slope))
    mass, sign = float(xp.sum(weight)), xp.sign(inside + v * odds)
    is_near = xp.abs(inside + v * odds) <= edge
    far = xp.where(is_near, 0.0, weight)
    squares, products = float(xp.sum(far)), float(xp.sum(far * sign * inside))
    signs, noise, factor = float(xp.sum(far * sign)), 0.0, 2 * sign
    near = xp.nonzero(is_near)[0]
    if near.shape[0]:
        some, sums = _near_halfway(level, half, xp.take(inside, near), xp.take(weight, near))
        place = xp.clip(xp.cumulative_sum(xp.astype(is_near, xp.int64)) - 1, min=0)
        factor = xp.where(is_near, xp.take(some, place), factor)
        squares, products, signs, noise = np.array([squares, products, signs, noise]) + sums
    loss = square * (2 * mass - squares) - 2 * products
    turned = float(xp.sum(factor * weight)) - 2 * signs
    return LineSums(float(loss), factor, 4 * mass - 2 * squares - noise, turned)


def _near_halfway(level: NoisyStudent, half: Floats, inside: Array, weight: Array) -> tuple[Array, Floats]:
    """Factors f at rows, and weighted sums of ``T^2``, ``T a``, T and f times the noise, by quadrature."""
    xp, v, square = namespace(inside), level.variance, float(half @ half)
    length, odds = float(np.sqrt(square)), float(level.log_weights[0] - level.log_weights[1]) / 2
    nodes, shares = noise_nodes(level.sigma * length / v)
    step = like(level.sigma * length * nodes[:, None], inside)
    moments = like(np.stack([shares, shares * nodes * level.sigma / max(length, 1e-300)]), inside)
    factor, sums = xp.zeros_like(inside), np.zeros(4)
    rows = max(TILE_NUMBERS // len(nodes), 1)
    for start in range(0, inside.shape[0], rows):
        here = slice(start, min(start + rows, inside.shape[0]))
        a = inside[None, here] + step  # (nodes, n)
        tanh = xp.tanh(a / v + odds)
        squares = tanh**2
        f = (1 - squares) * (square * tanh + a)
        f *= 2 / v
        f += 2 * tanh
        means, w = product(moments, f), weight[here]
        factor[here] = means[0, :]
        a *= tanh
        per_row = [product(moments[:1, :], each)[0, :] for each in (squares, a, tanh)]
        sums += np.array([float(xp.sum(each * w)) for each in (*per_row, means[1, :])])
    return factor, sums


def noise_nodes(slope: float) -> tuple[Floats, Floats]:
    """Trapezoidal rule for ``E f(tanh(u + slope z))``: nodes of z and their shares.

    The rule converges geometrically: moving the path of integration by i y into the plane leaves ``exp(y^2 / 2 - 2 pi y
    / step)``, for any y below the distance of the poles of tanh, pi / (2 slope); the best is 2 pi / step.
    """
    if slope == 0:
        return np.zeros(1), np.ones(1)
    shift = min(np.pi / (2 * slope), np.sqrt(2 * NODE_DIGITS))
    step = 2 * np.pi * shift / (NODE_DIGITS + shift**2 / 2)
    step = max(step, 2 * NODE_REACH / MAX_NODES)  # a descent that diverges asks for any number
    nodes = step * np.arange(-np.ceil(NODE_REACH / step), np.ceil(NODE_REACH / step) + 1)
    shares = np.exp(-(nodes**2) / 2)
    return nodes, shares / shares.sum()


def exact_sums(
    source: Source,
    student: Student,
    sigmas: Floats | float,
    *,
    kind: Literal["denoising", "implicit"] = "denoising",
    factors: Floats | None = None,
    n_threads: int | None = None,
) -> ObjectiveSums:
    """Expectation over the noise of an objective of two components, and its exact gradient: one pass over a source.

    sigmas (l,), noise levels >= 0 in units of the data; the denoising objective asks for > 0; factors (l,).

    ValueError: If the student has not two components, there is no level, or one is too small.
    """
    if len(student.means) != 2:
        raise ValueError(f"Noise is integrated out for two components, not for {len(student.means)}.")
    levels = at_noise_levels(student, sigmas, factors, may_be_zero=kind == "implicit")
    if source.n_rows * source.n_features * len(levels) <= SMALL_WORK // 8:
        n_threads = 1
    return accumulate(
        ExactStatistic(student, levels, kind == "denoising"), source, chunk_rows=CHUNK_ROWS, n_threads=n_threads
    )
