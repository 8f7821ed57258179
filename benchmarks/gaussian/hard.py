"""Data on which a fit took tens of times longer than it has to: wide or many components, holes, columns of 0 and 1."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.gaussian.metrics import wall_seconds
from benchmarks.gaussian.problems import KINDS, clusters
from benchmarks.run import Row, cpu_seconds
from benchmarks.tables import Size
from scoremix import GaussianMixture
from scoremix.arrays import Floats
from scoremix.learning.em.em import e_step
from scoremix.learning.em.missing import expectation_with_missing
from scoremix.samples.source import ArraySource

LEVELS, NUMBERS = 5, 4
"""Columns of a category, and columns that are numbers."""


def blas(size: Size) -> Iterator[Row]:
    """Seconds on the clock of whole fits: BLAS as the process has it, with and without the limit, and on one thread."""
    cells = ((500, 200, 3), (20_000, 2, 200)) if size == "full" else ((100, 10, 2),)
    for n, d, k in cells:
        x = cloud(n, d, k)
        for is_busy in (False, True):
            with busy_core() if is_busy else nullcontext():
                yield from blas_cell(x, k, is_busy, 3 if size == "full" else 1)


def blas_cell(x: Floats, k: int, is_busy: bool, repeats: int) -> Iterator[Row]:
    """Yield a row for every way of running the same fit; they take turns, the slow one but once."""
    bare: Callable[..., Any] = GaussianMixture.fit.__wrapped__  # type: ignore[attr-defined]

    def fitted(learn: Callable[..., Any]) -> None:
        learn(GaussianMixture(k, random_state=0), x)

    ways = {
        "scoremix": (nullcontext, GaussianMixture.fit, repeats),
        "one BLAS thread in the process": (partial(threadpool_limits, 1, "blas"), GaussianMixture.fit, repeats),
        "without the limit": (nullcontext, bare, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, (limit, learn, most) in ways.items():
            if repeat < most:
                with limit():
                    times[name].append(wall_seconds(partial(fitted, learn)))
    for name, seconds in times.items():
        yield {
            "n": len(x),
            "d": x.shape[1],
            "k": k,
            "busy": is_busy,
            "method": name,
            "seconds": median(seconds),
            "ratio": median(seconds) / median(times["one BLAS thread in the process"]),
            "repeats": len(seconds),
        }


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that computes all the while."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.terminate()
        other.wait()


def cloud(n: int, d: int, k: int) -> Floats:
    """Rows of k clusters of unit variance."""
    rng = np.random.default_rng(0)
    spread = 30.0 if d == 2 else 1.0
    return spread * rng.standard_normal((k, d))[rng.integers(k, size=n)] + rng.standard_normal((n, d))


def missing(size: Size) -> Iterator[Row]:
    """CPU seconds of a pass over rows with values missing at random, and over the same rows without."""
    tiny = size == "tiny"
    kinds = KINDS[:1] if tiny else KINDS
    cells = [(kind, 2_000, 20, 5, 0.2) for kind in kinds]
    cells += [] if tiny else [("full", 20_000, 20, 5, 0.2), ("full", 20_000, 20, 20, 0.2), ("full", 2_000, 50, 5, 0.2)]
    cells += [] if tiny else [("full", 2_000, 20, 5, 0.5)]
    for kind, n, d, k, share in cells:
        law = clusters(k, d)
        start, x = law.start(kind), law.sample(200 if tiny else n)
        holes = np.random.default_rng(1).random(x.shape) < share
        sources = (ArraySource(x), ArraySource(np.where(holes, np.nan, x)))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(2 if tiny else 7):
            for step, source, seconds in zip((e_step, expectation_with_missing), sources, times, strict=True):
                seconds.append(cpu_seconds(partial(step, source, start, 1))[1])
        whole, with_holes = map(median, times)
        yield {
            "covariance": kind,
            "n": len(x),
            "d": d,
            "k": k,
            "share": share,
            "patterns": len(np.unique(holes, axis=0)),
            "seconds": with_holes,
            "seconds_whole": whole,
            "ratio": with_holes / whole,
            "repeats": len(times[0]),
        }


def one_hot(size: Size) -> Iterator[Row]:
    """CPU seconds and mean log likelihoods of fits to categories, whose columns determine each other."""
    k, repeats = 6, 3 if size == "full" else 1
    for n_categories in (20, 56) if size == "full" else (3,):
        x, other = np.split(categories(n_categories, 2 * 1_477), 2)
        models: dict[str, Callable[[], Any]] = {
            "scikit-learn": partial(sklearn.mixture.GaussianMixture, k, random_state=0)
        }
        for prior in ("shared", None):
            for start in ("kmeans", "global"):
                models[f"scoremix, {start}, prior {prior}"] = partial(
                    GaussianMixture, k, random_state=0, init_params=start, covariance_prior=prior
                )
        times: dict[str, list[float]] = {name: [] for name in models}
        found = {}
        for _ in range(repeats):
            for name, model in models.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    found[name], seconds = cpu_seconds(partial(model().fit, x))
                times[name].append(seconds)
        for name, seconds_of in times.items():
            yield {
                "n": len(x),
                "d": x.shape[1],
                "k": k,
                "method": name,
                "seconds": median(seconds_of),
                "ratio": median(seconds_of) / median(times["scikit-learn"]),
                "log_likelihood": float(found[name].score(x)),
                "held_out": float(found[name].score(other)),
                "repeats": repeats,
            }


def categories(n_categories: int, n: int) -> Floats:
    """Categories as columns of 0 and 1, and some numbers, of rows of six profiles."""
    rng = np.random.default_rng(0)
    profile = rng.integers(6, size=n)
    shares = rng.dirichlet(np.full(LEVELS, 0.4), size=(n_categories, 6))
    columns = [np.eye(LEVELS)[(rng.random((n, 1)) > np.cumsum(p, axis=1)[profile, :-1]).sum(axis=1)] for p in shares]
    return np.hstack([*columns, rng.standard_normal((n, NUMBERS)) + profile[:, None]])
