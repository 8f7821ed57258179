"""Map a statistic over the chunks of a source and add up.

This is the one idea of every learner here. A *statistic* takes a chunk and returns a value that can be added; the sum
over all chunks is handed to a small solve. Chunks go to a pool of threads, each with BLAS pinned to one thread (array
libraries release the interpreter lock inside their calls; nested BLAS threads would fight). Sums are always added in
the order of the rows, so the number of threads does not change a single bit of the result.

What surrounds the passes has one BLAS thread as well, from the first line of a fit or a question to the last
(`on_one_blas_thread`): factors of small matrices are too short to be shared. Threads that wait for each other there
cost three hundred times the arithmetic where another process keeps one of the cores.
"""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache, wraps
from threading import Lock
from types import FunctionType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from joblib import cpu_count
from threadpoolctl import ThreadpoolController

from scoremix.samples.source import Chunk, Source

FEW_CHUNKS = 64  # With this many chunks a thread that waits for the last one hardly matters.


class Additive(Protocol):
    """A mergeable value: what a statistic returns."""

    def __add__(self, other: Self, /) -> Self:
        """Merge the sums of two sets of rows."""


S = TypeVar("S", bound=Additive)
C = TypeVar("C")
T = TypeVar("T")


def add_fields(one: T, other: T) -> T:
    """Merge the sums of two sets of samples, field by field of a dataclass: to be its ``__add__``."""
    return type(one)(*map(operator.add, vars(one).values(), vars(other).values()))


def available_threads() -> int:
    """Number of processors this process may use, or ``OMP_NUM_THREADS`` where that is set lower.

    The affinity of the process and the quota of its container (cgroup) bound it.
    """
    cpus = int(cpu_count())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cpus, int(asked))) if asked.isdigit() and int(asked) > 0 else cpus


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds: once


class _SharedLimit:
    """BLAS on one thread while anybody asks for it: its number of threads belongs to the process.

    The first who enters saves what is there, the last who leaves restores it, in whatever order they come and go.
    """

    def __init__(self) -> None:
        self._lock, self._holders = Lock(), 0
        self._limiter: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._holders:
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            if self._holders:  # not in a process that was forked meanwhile
                self._holders -= 1
                self._restore()

    def forked(self) -> None:
        """Let the child begin with what the process had: other threads, which would leave, are not in it."""
        self._lock, self._holders = Lock(), 0
        self._restore()

    def _restore(self) -> None:
        if not self._holders and self._limiter is not None:
            limiter, self._limiter = self._limiter, None
            limiter.restore_original_limits()


_LIMIT = _SharedLimit()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Pin BLAS to one thread: the chunks are what runs in parallel."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


def on_one_blas_thread(estimator: type[C]) -> type[C]:
    """Run all public methods of a class with BLAS on one thread; no product outside the passes gains by a second."""
    for name, method in list(vars(estimator).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(estimator, name, _pinned(method))
    return estimator


def _pinned(method: FunctionType) -> Callable[..., Any]:
    @wraps(method)
    def pinned(*args: Any, **kwargs: Any) -> Any:
        with single_blas_thread():
            return method(*args, **kwargs)

    return pinned


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Make the C library keep freed blocks of up to 32 MB for the next chunk instead of returning them each time.

    glibc raises its threshold to the largest block that was freed; without this, page faults take up to a third of the
    time of a pass. The block is never touched, so it costs nothing; elsewhere nothing happens.
    """
    np.empty(2**25 - 2**13, dtype=np.uint8)


def accumulate(statistic: Callable[[Chunk], S], source: Source, *, chunk_rows: int, n_threads: int | None = None) -> S:
    """Add up `statistic` over all chunks of `source`."""
    _keep_freed_memory()
    n_chunks, chunk_rows = even_chunks(source.n_rows, chunk_rows)
    threads = max(1, min(n_threads or available_threads(), n_chunks)) if n_chunks > 1 else 1
    total: S | None = None
    with single_blas_thread():
        for value in _mapped(statistic, source.chunks(chunk_rows), threads):
            total = value if total is None else total + value
    if total is None:
        raise ValueError("The source has no rows.")
    return total


def even_chunks(n_rows: int, most: int) -> tuple[int, int]:
    """Cut rows into equal chunks: how many, and of how many rows, at most `most`.

    Where chunks are few, their number is made a multiple of 4: with 25 chunks one of two threads would wait for the
    last. It depends on the rows alone, never on the threads, so that these do not change the result.
    """
    n_chunks = -(-n_rows // most)
    if 1 < n_chunks < FEW_CHUNKS:
        n_chunks += -n_chunks % (4 if n_chunks > 4 else 2)
        most = -(-n_rows // n_chunks)
    return n_chunks, most


def _mapped(statistic: Callable[[Chunk], S], chunks: Iterator[Chunk], threads: int) -> Iterator[S]:
    """Map in row order, with at most one chunk per thread waiting, so that memory does not grow with the rows."""
    if threads == 1:
        yield from map(statistic, chunks)
        return
    pending: deque[Future[S]] = deque()
    try:
        for chunk in chunks:
            pending.append(_pool(threads).submit(statistic, chunk))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # After an error the rest would be for nothing; what runs already must end before BLAS gets its threads back.
        wait([future for future in pending if not future.cancel()])


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for the next pass: to start them takes as long as a pass over few rows."""
    return ThreadPoolExecutor(threads, thread_name_prefix="scoremix")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
    os.register_at_fork(after_in_child=_LIMIT.forked)
