"""The E-step of components with matrices of their own, one component after the other.

A `Look` is at pairs of rows and components: all of them (`dense_pass`), or those that matter (`candidates`). From the
logarithms there follow the densities of the rows, the shares, and the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, namespace
from scoremix.learning.em.expected import ComponentSums, ExpectedMoments
from scoremix.models.by_component import CUT, ComponentJoint, Pairs, Rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

CHUNK_NUMBERS, MIN_CHUNK, MAX_CHUNK = 2**21, 1024, 16384  # Numbers and rows of a chunk.


@dataclass
class Look:
    """Pairs of rows x (n, d) and components that were looked at."""

    x: Array
    pairs: Pairs

    def log_density(self) -> Array:
        """Log density of the rows (n,): of what was looked at."""
        xp = namespace(self.x)
        top = xp.full((self.x.shape[0],), -xp.inf, dtype=self.x.dtype, device=self.x.device)
        for _, rows, logs in self.pairs:
            top[rows] = xp.maximum(top[rows], logs)
        base, total = xp.where(xp.isfinite(top), top, xp.zeros_like(top)), xp.zeros_like(top)
        for _, rows, logs in self.pairs:
            total[rows] += xp.exp(logs - base[rows])
        with np.errstate(divide="ignore"):  # no component anywhere near
            return base + xp.log(total)

    def sums(self, joint: ComponentJoint, weight: Array | None, log_density: Array) -> ComponentSums:
        """The statistic of the rows, weights (n,) or none."""
        xp, w = namespace(self.x), weight

        def share(rows: Rows, logs: Array) -> Array:
            alone = xp.exp(logs - log_density[rows])
            return alone if w is None else alone * w[rows]

        least = float(np.exp(-CUT)) * (1.0 if w is None else float(xp.max(w)))
        members = ((k, rows, share(rows, logs)) for k, rows, logs in self.pairs)
        sums = ComponentSums.of(joint.means, self.x, members, least)
        sums.weight = float(self.x.shape[0]) if w is None else float(xp.sum(w))
        sums.log_likelihood = float(xp.sum(log_density if w is None else log_density * w, dtype=xp.float64))
        return sums


def sums_of_all(joint: ComponentJoint, x: Array, weight: Array | None) -> ComponentSums:
    """E-step of the rows x (n, d), weights (n,) or none: all pairs, but for those that surely do not matter."""
    look = Look(x, joint.near(x)[0])
    return look.sums(joint, weight, look.log_density())


def dense_pass(source: Source, joint: ComponentJoint, n_threads: int | None = None) -> ExpectedMoments:
    """E-step that looks at all pairs: O(n k d^2)."""

    def statistic(chunk: Chunk) -> ComponentSums:
        return sums_of_all(joint, chunk.x, chunk.weight)

    return accumulate(statistic, source, chunk_rows=chunk_rows(joint), n_threads=n_threads).expected()


def chunk_rows(joint: ComponentJoint) -> int:
    """Rows of a chunk."""
    return int(np.clip(CHUNK_NUMBERS // sum(joint.means.shape), MIN_CHUNK, MAX_CHUNK))
