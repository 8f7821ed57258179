"""Reduction: the sum depends on nothing but the rows and the chunk size, and memory not on the rows."""

import os
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture
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


def test_blas_has_its_threads_again_in_whatever_order_limits_end():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = single_blas_thread(), single_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_blas_has_its_threads_again_after_fits_in_threads():
    """Also where some of them fail, one before the others."""
    together = threading.Barrier(4)

    def learn(seed):
        together.wait(timeout=30)
        x = rows_of(200, seed) if seed else np.full((3, 2), np.nan)
        with pytest.raises(ValueError, match="NaN") if not seed else nullcontext():
            GaussianMixture(2, random_state=seed).fit(x)

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        for _ in range(3):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(learn, range(4)))
            assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_begins_without_the_limits_of_other_threads():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        reading, writing = os.pipe()
        with single_blas_thread():
            child = os.fork()
            if not child:
                answer = b"no"
                with suppress(BaseException):
                    first = blas_threads()
                    with single_blas_thread():
                        inside = blas_threads()
                    if (first, set(inside), blas_threads()) == (before, {1}, before):
                        answer = b"as before"
                os.write(writing, answer)
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 20) == b"as before"
        assert blas_threads() == before
        os.close(reading)
        os.close(writing)


PLACES = {
    "M-step": "scoremix.learning.em.em.m_step",
    "splits": "scoremix.learning.search.moves.split_gains",
    "merges": "scoremix.learning.search.moves.merge_costs",
    "prior": "scoremix.learning.search.global_start.rounding_floor",
    "factors": "scoremix.models.covariance.full.inverse_factor",
}


@pytest.mark.parametrize("number", [3, pytest.param("auto", marks=pytest.mark.slow)])
def test_blas_has_one_thread_in_a_fit_and_in_its_questions(monkeypatch, number):
    """From the prior, before the first pass, to the check of optimality, after the last."""
    seen = {name: [] for name in PLACES}

    def watched(name, work):
        def watching(*args, **named):
            seen[name].extend(blas_threads())
            return work(*args, **named)

        return watching

    for name, path in PLACES.items():
        monkeypatch.setattr(path, watched(name, pkgutil.resolve_name(path)))
    x = np.concatenate([rows_of(100, seed) / 1e3 + 9 * seed for seed in range(3)])
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        model = GaussianMixture(number, covariance_prior="shared", random_state=0).fit(x)
        assert {name: set(threads) for name, threads in seen.items()} == {name: {1} for name in PLACES}
        del seen["factors"][:]
        model.conditional({0: 0.0}).score_samples(x[:, 1:])
        assert set(seen["factors"]) == {1}
        assert blas_threads() == before


@pytest.mark.parametrize("estimator", [DDPMMixture, DiffusionMixture])
def test_blas_has_one_thread_in_every_estimator(monkeypatch, estimator):
    seen = []

    def looking(self, *args, **named):
        seen.extend(blas_threads())
        return checked(self, *args, **named)

    module = f"scoremix.estimators.{'ddpm' if estimator is DDPMMixture else 'diffusion'}_mixture"
    checked = pkgutil.resolve_name(f"{module}.validated_samples")
    monkeypatch.setattr(f"{module}.validated_samples", looking)  # the first line of fits and of questions
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="NaN"):
            estimator().fit([[np.nan, 1.0]] * 9)
        assert set(seen) == {1}
        assert set(blas_threads()) != {1}


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
    monkeypatch.setattr(reduce, "cpu_count", lambda: 8)
    assert available_threads() == expected


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "150000 100000"},
        {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"},
    ],
    ids=["v2", "v1"],
)
def test_available_threads_follow_the_quota_of_a_container(monkeypatch, tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    at, exists, opened = "/sys/fs/cgroup/", os.path.exists, open

    def moved(path):
        return str(path).replace(at, f"{tmp_path}/")

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: exists(moved(path)))
    monkeypatch.setattr("builtins.open", lambda path, *rest, **named: opened(moved(path), *rest, **named))
    assert available_threads() == 2


def test_available_threads_of_an_unknown_system(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_threads() == 1
