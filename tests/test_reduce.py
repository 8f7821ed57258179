"""Reduction: the sum depends on nothing but the rows and the chunk size, and memory not on the rows."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from scoremix.samples import reduce
from scoremix.samples.reduce import FEW_CHUNKS, accumulate, available_threads, even_chunks, single_blas_thread
from scoremix.samples.source import ArraySource


def rows_of(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3)) * 10.0 ** np.arange(-3, 6, 3)


class Recorded(tuple):
    """A value whose sum tells the order in which it was made."""

    def __add__(self, other):
        return Recorded((*self, *other))


@given(st.integers(1, 200), st.integers(1, 50), st.integers(2, 6))
def test_threads_do_not_change_a_bit(n, chunk_rows, threads):
    source = ArraySource(rows_of(n))

    def statistic(chunk):
        return chunk.x.sum(axis=0)

    one = accumulate(statistic, source, chunk_rows=chunk_rows, n_threads=1)
    np.testing.assert_array_equal(accumulate(statistic, source, chunk_rows=chunk_rows, n_threads=threads), one)
    # Order of sums: n terms of size up to 3e3, rounding n 2e-16 of it.
    np.testing.assert_allclose(one, rows_of(n).sum(axis=0), atol=1e-9)


@pytest.mark.parametrize("threads", [1, 4])
def test_sums_are_in_row_order_even_if_later_chunks_finish_first(threads):
    later = threading.Event()

    def statistic(chunk):
        if threads > 1 and chunk.start == 0:
            assert later.wait(timeout=30)  # the first chunk ends after the third
        if chunk.start == 16:
            later.set()
        return Recorded([chunk.start])

    total = accumulate(statistic, ArraySource(rows_of(95)), chunk_rows=10, n_threads=threads)
    assert total == tuple(range(0, 95, 8))  # 12 chunks instead of 10: a multiple of 4


@pytest.mark.parametrize("threads", [1, 3])
def test_exceptions_come_through(threads):
    def statistic(chunk):
        if chunk.start == 45:
            raise RuntimeError("row 40")
        return chunk.x.sum()

    with pytest.raises(RuntimeError, match="row 40"):
        accumulate(statistic, ArraySource(rows_of(100)), chunk_rows=10, n_threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_few_chunks_are_in_flight(threads):
    """Chunks that were handed out but are not yet in the sum."""
    handed, merged, most = 0, 0, 0

    class Counted:
        def __init__(self, chunks):
            self.chunks = chunks

        def __add__(self, other):
            nonlocal merged
            merged = self.chunks + other.chunks
            return Counted(merged)

    class Watched(ArraySource):
        def chunks(self, rows):
            nonlocal handed, most
            for chunk in super().chunks(rows):
                handed += 1
                most = max(most, handed - merged)
                yield chunk

    total = accumulate(lambda _: Counted(1), Watched(rows_of(500)), chunk_rows=5, n_threads=threads)
    assert total.chunks == 100
    # One running and one waiting per thread, one in hand, and the first, which no merge has counted yet.
    assert most <= 2 * threads + 3


def blas_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


@pytest.mark.parametrize("fails", [False, True])
def test_blas_is_pinned_while_chunks_run_and_released_after(fails):
    during = []

    def statistic(chunk):
        during.append(blas_threads())
        if fails:
            raise RuntimeError("no")
        return chunk.x.sum()

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        assert 2 in before  # NumPy brings a BLAS, whatever OMP_NUM_THREADS says
        with pytest.raises(RuntimeError, match="no") if fails else nullcontext():
            accumulate(statistic, ArraySource(rows_of(20)), chunk_rows=10, n_threads=2)
        assert blas_threads() == before
        with single_blas_thread():
            during.append(blas_threads())
    assert len(during) >= 2
    assert all(seen == [1] * len(before) for seen in during)


def test_no_more_threads_than_chunks_and_none_for_one(monkeypatch):
    asked = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, size, **named):
            asked.append(size)
            super().__init__(size, **named)

    monkeypatch.setattr("scoremix.samples.reduce.ThreadPoolExecutor", Pool)
    reduce._pool.cache_clear()  # pools are kept from pass to pass
    for n, threads in ((30, 8), (30, 2), (30, 1), (5, 8), (30, 2)):
        accumulate(lambda chunk: chunk.x.sum(), ArraySource(rows_of(n)), chunk_rows=10, n_threads=threads)
    reduce._pool.cache_clear()
    assert asked == [4, 2]  # 4 chunks: an even number


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_chunks_are_even(n, most):
    n_chunks, rows = even_chunks(n, most)
    assert 1 <= rows <= most
    assert n_chunks * rows >= n
    if 4 < -(-n // most) < FEW_CHUNKS <= n / FEW_CHUNKS:
        assert n_chunks % 4 == 0
        assert -(-n // rows) == n_chunks


def test_a_source_without_rows_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        accumulate(lambda chunk: chunk.x.sum(), ArraySource(np.empty((0, 2))), chunk_rows=10)


@pytest.mark.parametrize(("value", "expected"), [("1", 1), ("2", 2), ("64", 8), ("", 8), ("0", 8), ("4,2", 8)])
def test_available_threads_follow_the_environment(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_threads() == expected


def test_available_threads_without_affinity(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_threads() == 1
