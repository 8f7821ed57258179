"""Sources: samples that can be walked in chunks, as often as a learner needs.

A source knows its shape, yields `Chunk` values in row order and can fetch single rows. That is all a learner asks, so
files and clusters join by implementing the same four members; here are arrays in memory and memory maps, which are
never copied whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, as_floating, indices_like, is_foreign, like, namespace, to_numpy


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a source.

    x (n, d); weight (n,), their weights; None where all are 1.
    """

    start: int
    x: Array
    weight: Array | None

    @property
    def stop(self) -> int:
        """One past the last row number."""
        return self.start + int(self.x.shape[0])


class Source(Protocol):
    """What every learner asks of its samples."""

    @property
    def n_rows(self) -> int:
        """Number of rows n."""

    @property
    def n_features(self) -> int:
        """Number of columns d."""

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Walk all rows in order, `rows` at a time (fewer at the end)."""

    def draw(self, size: int, rng: np.random.Generator) -> Array:
        """Draw `size` rows with probability proportional to weight.

        Without weights, or where all are the same, rows are distinct, and all are given where there are fewer; where
        weights differ, a heavy row may be drawn more than once.
        """


class ArraySource:
    """Samples in memory, in a memory map or on a device.

    x (n, d); weight (n,).

    ValueError: If the shapes do not fit, or a weight is negative, not finite, or all are zero.
    """

    def __init__(self, x: Array, weight: Array | None = None) -> None:
        if x.ndim != 2:
            raise ValueError(f"X has {x.ndim} dimension(s), but samples are rows of a table: reshape it to (n, d).")
        self._x: Array = x
        self._rows: NDArray[np.intp] | None = None
        self._weight = None if weight is None else checked_weight(weight, self.n_rows)

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """Weights of the rows (n,), None where all are 1."""
        return self._weight

    def taking(self, rows: NDArray[np.bool_], weight: NDArray[np.float64] | None) -> ArraySource:
        """Some of the rows, with weights of their own >= 0."""
        taken = copy(self)
        taken._weight = weight
        if not np.all(rows):
            taken._rows = np.flatnonzero(rows) if self._rows is None else self._rows[rows]
        return taken

    def mapped(self, function: Callable[[Array], Array]) -> ArraySource:
        """The rows mapped once and for all, with the same weights."""
        mapped = copy(self)
        mapped._x, mapped._rows = function(next(self.chunks(self.n_rows)).x), None
        return mapped

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return int(self._x.shape[0]) if self._rows is None else len(self._rows)

    @property
    def n_features(self) -> int:
        """Number of columns d."""
        return int(self._x.shape[1])

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Walk all rows in order, `rows` at a time."""
        for start in range(0, self.n_rows, rows):
            stop = min(start + rows, self.n_rows)  # the array API leaves slices beyond the end undefined
            x = self._floating(self._x[start:stop, :] if self._rows is None else self._taken(self._rows[start:stop]))
            weight = None if self._weight is None else like(self._weight[start:stop], x)
            yield Chunk(start, x, weight)

    def draw(self, size: int, rng: np.random.Generator) -> Array:
        """Draw rows in row order: distinct ones, or by weight with repetition where weights differ."""
        if self._weight is None:
            rows = rng.choice(self.n_rows, size=min(size, self.n_rows), replace=False, shuffle=False)
        else:
            eligible = np.flatnonzero(self._weight)
            weight = self._weight[eligible]
            if np.ptp(weight) == 0:
                rows = eligible[rng.choice(len(eligible), size=min(size, len(eligible)), replace=False, shuffle=False)]
            else:
                rows = eligible[rng.choice(len(eligible), size=size, p=weight / weight.sum())]
        rows = np.sort(rows)
        return self._floating(self._taken(rows if self._rows is None else self._rows[rows]))

    def _taken(self, rows: NDArray[np.intp]) -> Array:
        if is_foreign(self._x):
            return namespace(self._x).take(self._x, indices_like(rows, self._x), axis=0)
        return self._x[rows]

    @staticmethod
    def _floating(x: Array) -> Array:
        # A slice of a memory map is still one: np.asarray drops the subclass, reading happens with the first use.
        return as_floating(x if is_foreign(x) else np.asarray(x))


@dataclass(frozen=True)
class Mapped:
    """A source whose rows are mapped as they are read.

    function (n, d).
    """

    source: Source
    n_features: int
    function: Callable[[Array], Array]

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return self.source.n_rows

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Walk all mapped rows in order, `rows` at a time."""
        for chunk in self.source.chunks(rows):
            yield replace(chunk, x=self.function(chunk.x))

    def draw(self, size: int, rng: np.random.Generator) -> Array:
        """Draw mapped rows with probability proportional to weight."""
        return self.function(self.source.draw(size, rng))


def checked_weight(weight: Array, n_rows: int) -> NDArray[np.float64]:
    """Weights as NumPy numbers: they are few beside the samples, and are only read in slices.

    ValueError: If there is not one per row, one is negative or not finite, or all are zero.
    """
    given = np.asarray(to_numpy(weight) if is_foreign(weight) else weight)
    if given.dtype.kind == "c":
        raise ValueError("sample_weight has complex entries: weights must be numbers >= 0.")
    w = given.astype(np.float64)
    if w.shape != (n_rows,):
        raise ValueError(f"sample_weight has shape {w.shape}, but X has {n_rows} rows: give one weight per row.")
    if not np.all(np.isfinite(w)) or np.any(w < 0):
        raise ValueError("sample_weight has negative or non-finite entries: weights must be numbers >= 0.")
    if not np.any(w > 0):
        raise ValueError("sample_weight is zero everywhere: at least one row must count.")
    return w
