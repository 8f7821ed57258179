"""How time is measured: CPU seconds per iteration, and those of the arithmetic that cannot be avoided."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np


def seconds_per_iteration(shorts: Sequence[float], longs: Sequence[float], n_iter: int) -> float:
    """Difference of the medians of two fits, of 1 and of ``1 + n_iter`` iterations: what is done once is not counted.

    scikit-learn does one E-step more than iterations, and checks its input; the difference leaves both out.
    """
    return (median(longs) - median(shorts)) / n_iter


def floor_of(n: int, k: int, p: int, dtype: type) -> Callable[[], None]:
    """The two products of a pass, on random numbers: (k, p) (p, rows) and (k, rows) (rows, p), chunk by chunk."""
    rng = np.random.default_rng(0)
    rows = min(n, int(np.clip(2**19 // (k + p), 1024, 16384)))
    theta, phi = (rng.standard_normal(shape).astype(dtype) for shape in ((k, p), (p, rows)))
    logits, sums = np.empty((k, rows), dtype), np.empty((k, p), dtype)

    def products() -> None:
        for start in range(0, n, rows):
            here = slice(0, min(rows, n - start))
            np.matmul(theta, phi[:, here], out=logits[:, here])
            np.matmul(logits[:, here], phi[:, here].T, out=sums)

    return products


def wall_seconds(work: Callable[[], object]) -> float:
    """Time on the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
