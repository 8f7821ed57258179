"""How time is measured: of the process or on the clock, on one thread, methods in turns, large fits on their own.

All methods of a comparison see the same rows and take turns in one process, so that a busy machine disturbs them alike.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra and this library's own pool on one thread."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ.update({"OMP_NUM_THREADS": before} if before is not None else {})


def cpu_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """The result and the CPU time of the process on one thread."""
    with one_thread():
        start = time.process_time()
        result = work()
        return result, time.process_time() - start


def wall_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """The result and the time on the clock, on as many threads as there are."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def in_turns(
    works: Mapping[Any, Callable[[], T]],
    repeats: int,
    clock: Callable[[Callable[[], T]], tuple[T, float]] = cpu_seconds,
    warm: bool = False,
) -> tuple[dict[Any, T], dict[Any, list[float]]]:
    """The last results and the seconds of every round, by name; with `warm` after a round that is not counted."""
    found: dict[Any, T] = {}
    times: dict[Any, list[float]] = {name: [] for name in works}
    for count in range(-int(warm), repeats):
        for name, work in works.items():
            found[name], seconds = clock(work)
            times[name] += [seconds] * (count >= 0)
    return found, times
