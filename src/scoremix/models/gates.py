"""Cells: how space is cut up at one noise level, hard or soft.

A polynomial is fitted per cell, so all a learner or a model asks of cells is a *partition* of noisy points: blocks of
rows, with the cells that are active in each block and their weights. `Voronoi` cells (GKL, as published) make one block
per cell. `SoftCells` weigh the cells by the responsibilities of Gaussians of one known variance; few cells make one
dense block, many are walked in blocks of neighbouring cells, so that only pairs of cells that meet are ever multiplied
(the block-sparse Gram matrix of the joint regression).

Points are feature major, ``y`` of shape (d, n). The variance of a cell is that of the noise, ``noise_scale**2 +
sigma**2``: a number, or one per point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import (
    Array,
    Floats,
    at_least_in_place,
    exp_in_place,
    indices_like,
    like,
    namespace,
    product,
    to_numpy,
)

DENSE_CELLS = 24  # Up to this many soft cells every row meets every cell in one block.
BLOCK_ROWS = 384  # Neighbouring cells are joined until a block has this many rows: fewer would be all overhead.

# Cells that weigh less than exp(-7), a thousandth, of the heaviest at a point weigh nothing there. That much is
# subtracted from all, so that the weights stay continuous.
LOGIT_CUT = -7.0

# Where nothing is cut, far cells weigh exp(-600): not 0, yet no denormal numbers (these take twenty times as long).
LOGIT_FLOOR = -600.0


@dataclass(frozen=True)
class Block:
    """Rows ``start..stop`` of the ordered points, and the cells that are active there.

    cells (a,); weight (a, stop - start), weights of these cells, summing to 1 over the cells; None for one cell of
    weight 1.
    """

    start: int
    stop: int
    cells: NDArray[np.intp]
    weight: Array | None


@dataclass(frozen=True)
class Partition:
    """Blocks that cover all points once, in the order `order` (None: as they came)."""

    order: Array | None
    blocks: tuple[Block, ...]

    def arrange(self, columns: Array) -> Array:
        """Bring the columns of an array (.., n) into the order of the blocks."""
        return columns if self.order is None else namespace(columns).take(columns, self.order, axis=-1)

    def restore(self, columns: Array) -> Array:
        """Undo `arrange`."""
        if self.order is None:
            return columns
        xp = namespace(columns)
        return xp.take(columns, xp.argsort(self.order), axis=-1)


class Cells(Protocol):
    """What the regression and the models ask of cells."""

    @property
    def centers(self) -> Floats:
        """Centers, shape (k, d)."""

    @property
    def weights(self) -> Floats:
        """Shares of the cells, shape (k,)."""

    def partition(self, y: Array, variance: Array | float) -> Partition:
        """Cut up the points y of shape (d, n)."""

    def systems(self) -> tuple[int, int]:
        """Number of independent regressions, and of cells in each."""


@dataclass(frozen=True)
class Voronoi:
    """Hard cells: every point belongs to the nearest center (GKL Algorithm 1).

    centers (k, d); weights (k,).
    """

    centers: Floats
    weights: Floats

    def systems(self) -> tuple[int, int]:
        """Every cell is a regression of its own."""
        return len(self.centers), 1

    def labels(self, y: Array) -> Array:
        """Index of the nearest center of every point, shape (n,)."""
        half_norm = like(0.5 * np.sum(self.centers**2, axis=1), y)
        return _largest(product(like(self.centers, y), y) - half_norm[:, None])

    def partition(self, y: Array, variance: Array | float = 1.0) -> Partition:
        """One block per cell that has points; the variance does not matter."""
        labels = self.labels(y)
        order = _sorting(labels)
        ends = np.cumsum(np.bincount(to_numpy(labels), minlength=len(self.centers)))
        starts = np.concatenate([[0], ends[:-1]])
        return Partition(
            order,
            tuple(
                Block(int(a), int(b), np.array([j]), None)
                for j, (a, b) in enumerate(zip(starts, ends, strict=True))
                if b > a
            ),
        )


@dataclass(frozen=True)
class SoftCells:
    """Soft cells: responsibilities of Gaussians of equal, known variance about the centers.

    centers (k, d); weights (k,).
    """

    centers: Floats
    weights: Floats

    def systems(self) -> tuple[int, int]:
        """All cells are solved for together: their weights overlap."""
        return 1, len(self.centers)

    def responsibilities(self, y: Array, variance: Array | float) -> Array:
        """Weights of the cells at every point, shape (k, n); cost O(n k d)."""
        weight = self._relative_logits(y, variance)
        weight = exp_in_place(at_least_in_place(weight, LOGIT_FLOOR))
        weight /= namespace(y).sum(weight, axis=0)[None, :]
        return weight

    def partition(self, y: Array, variance: Array | float) -> Partition:
        """One dense block, or blocks of neighbouring cells where there are many."""
        xp, k = namespace(y), len(self.centers)
        logits = self._relative_logits(y, variance)
        if k <= DENSE_CELLS:
            return Partition(None, (Block(0, int(y.shape[1]), np.arange(k), _cut(logits)),))
        top = _largest(logits)
        block_of_cell, ends = _join(np.bincount(to_numpy(top), minlength=k))
        # Stable: columns keep their order within a block, which callers may rely on.
        order = _sorting(xp.take(indices_like(block_of_cell, y), top))
        # To compute the logits again costs less than to gather their columns.
        if not isinstance(variance, float):
            variance = xp.take(variance, order)
        logits = self._relative_logits(xp.take(y, order, axis=1), variance)
        return Partition(order, tuple(_sparse_blocks(logits, ends)))

    def _relative_logits(self, y: Array, variance: Array | float) -> Array:
        """Logarithms of the responsibilities relative to the largest of every point, shape (k, n)."""
        half_norm = like(0.5 * np.sum(self.centers**2, axis=1), y)[:, None]
        if isinstance(variance, float):
            logits = product(like(self.centers / variance, y), y)
        else:
            logits = product(like(self.centers, y), y / variance)
        logits += like(np.log(self.weights), y)[:, None] - half_norm / variance
        logits -= namespace(y).max(logits, axis=0)[None, :]
        return logits


def _cut(logits: Array) -> Array:
    """Weights that sum to 1 from relative logits (overwritten), 0 below `LOGIT_CUT`."""
    xp = namespace(logits)
    weight = exp_in_place(at_least_in_place(logits, LOGIT_CUT))
    weight -= float(np.exp(LOGIT_CUT))
    weight = at_least_in_place(weight, 0.0)
    weight /= xp.sum(weight, axis=0)[None, :]
    return weight


def _largest(values: Array) -> Array:
    """Index of the largest value of every column, as the library's argmax would give it but in a third of the time."""
    xp = namespace(values)
    is_largest = xp.astype(values == xp.max(values, axis=0)[None, :], values.dtype)
    k = values.shape[0]
    count = np.stack([np.ones(k), np.arange(k)])
    sums = product(like(count, values), is_largest)
    if bool(xp.max(sums[0, :]) > 1):  # ties: the sum of their indices says nothing
        return xp.argmax(values, axis=0)
    return xp.astype(sums[1, :], xp.int64)


def _sorting(labels: Array) -> Array:
    """Order that sorts labels, stable; they are few, and short integers are sorted many times faster."""
    xp = namespace(labels)
    return xp.argsort(xp.astype(labels, xp.int16), stable=True)


def _join(rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Join neighbouring cells until their rows are worth a block: block of every cell, end of every block."""
    block_of_cell, sizes = np.empty(len(rows), dtype=np.intp), [0]
    for cell, count in enumerate(rows):
        if sizes[-1] >= BLOCK_ROWS:
            sizes.append(0)
        block_of_cell[cell] = len(sizes) - 1
        sizes[-1] += int(count)
    return block_of_cell, np.cumsum(sizes)


def _sparse_blocks(logits: Array, ends: NDArray[np.intp]) -> Iterator[Block]:
    """Keep, per block, the cells that reach it."""
    xp = namespace(logits)
    for start, stop in pairwise([0, *ends.tolist()]):
        if stop > start:
            part = logits[:, start:stop]
            cells = np.flatnonzero(to_numpy(xp.max(part, axis=1)) > LOGIT_CUT)
            yield Block(start, stop, cells, _cut(xp.take(part, indices_like(cells, part), axis=0)))


def neighbour_order(centers: Floats) -> NDArray[np.intp]:
    """Order points so that neighbours in the order are near in space: halve along the widest axis, recursively."""
    if len(centers) <= 2:
        return np.arange(len(centers))
    axis = int(np.argmax(np.ptp(centers, axis=0)))
    by_axis = np.argsort(centers[:, axis], kind="stable")
    low, high = by_axis[: len(by_axis) // 2], by_axis[len(by_axis) // 2 :]
    return np.concatenate([low[neighbour_order(centers[low])], high[neighbour_order(centers[high])]])
