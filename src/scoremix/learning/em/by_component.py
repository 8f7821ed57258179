"""The E-step of components with matrices of their own, one component after the other.

Pairs of rows and components are looked at: all of them (`dense_pass`), or those that matter (`candidates`). From the
logarithms there follow the densities of the rows, the shares, and the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, Floats, namespace
from scoremix.learning.em.expected import ComponentSums, ExpectedMoments
from scoremix.models.by_component import CUT, ComponentJoint, Pairs
from scoremix.models.log_joint import itemsize_of
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

CHUNK_NUMBERS, MIN_CHUNK, MAX_CHUNK = 2**21, 1024, 16384  # Numbers and rows of a chunk.


@dataclass(frozen=True)
class Posterior:
    """What pairs that were looked at say about rows x (n, d).

    relative: shares, not yet divided by their total (n,); log_density (n,).
    """

    x: Array
    relative: Pairs
    total: Array
    log_density: Array

    @classmethod
    def of(cls, x: Array, pairs: Pairs) -> Posterior:
        """From the logarithms of the joint densities."""
        xp = namespace(x)
        top = xp.full((x.shape[0],), -xp.inf, dtype=x.dtype, device=x.device)
        for _, rows, logs in pairs:
            top[rows] = xp.maximum(top[rows], logs)
        base, total, relative = xp.where(xp.isfinite(top), top, xp.zeros_like(top)), xp.zeros_like(top), []
        for k, rows, logs in pairs:
            relative.append((k, rows, xp.exp(logs - base[rows])))
            total[rows] += relative[-1][2]
        with np.errstate(divide="ignore"):  # no component anywhere near
            return cls(x, relative, total, base + xp.log(total))

    def shares(self, by: Array) -> Pairs:
        """The shares of the pairs times numbers (n,)."""
        scale = by / self.total
        return [(k, rows, relative * scale[rows]) for k, rows, relative in self.relative]

    def sums(self, means: Floats, weight: Array | None) -> ComponentSums:
        """The statistic of the rows, weights (n,) or none, about means (k, d)."""
        xp, log_density = namespace(self.x), self.log_density
        w = xp.ones_like(self.total) if weight is None else weight
        sums = ComponentSums.of(
            means, self.x, self.shares(w), float(np.exp(-CUT[itemsize_of(self.x)])) * float(xp.max(w))
        )
        sums.weight = float(xp.sum(w, dtype=xp.float64)) if weight is None else float(xp.sum(w))
        sums.log_likelihood = float(xp.sum(log_density if weight is None else log_density * w, dtype=xp.float64))
        return sums


def sums_of_all(joint: ComponentJoint, x: Array, weight: Array | None) -> ComponentSums:
    """E-step of the rows x (n, d), weights (n,) or none: all pairs, but for those that surely do not matter."""
    return Posterior.of(x, joint.near(x)[0]).sums(joint.means, weight)


def dense_pass(source: Source, joint: ComponentJoint, n_threads: int | None = None) -> ExpectedMoments:
    """E-step that looks at all pairs: O(n k d^2)."""

    def statistic(chunk: Chunk) -> ComponentSums:
        return sums_of_all(joint, chunk.x, chunk.weight)

    return accumulate(statistic, source, chunk_rows=chunk_rows(joint), n_threads=n_threads).expected()


def chunk_rows(joint: ComponentJoint) -> int:
    """Rows of a chunk."""
    return int(np.clip(CHUNK_NUMBERS // sum(joint.means.shape), MIN_CHUNK, MAX_CHUNK))
