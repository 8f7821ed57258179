"""Threads, memory, BLAS and missing values: what a fit needs of the machine."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks.clock import in_turns, wall_seconds
from benchmarks.drawing import BLUE, RED, bar_grid, bars, panels
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.gaussian.methods import DOUBLE, RIVAL, fit_briefly
from benchmarks.gaussian.problems import clusters
from benchmarks.large import alone
from benchmarks.methods import KINDS
from benchmarks.tables import Row, Rows, Table, across, of, table, values_of
from benchmarks.targets import Aim, at_least, at_most
from scoremix import GaussianMixture
from scoremix.arrays import Floats
from scoremix.learning.em.em import e_step
from scoremix.learning.em.missing import expectation_with_missing
from scoremix.samples.source import ArraySource

COLOURS = {DOUBLE.name: BLUE, RIVAL.name: RED}


def cell_name(row: Row) -> str:
    """Covariance, dimension and number of components."""
    return "{covariance}, d = {d}, k = {k}".format(**row)


def named(rows: Rows) -> list[Row]:
    """Rows with the name of their cell."""
    return [row | {"cell": cell_name(row)} for row in rows]


def threads(covariance: str, d: int, k: int, n: int, repeats: int) -> Iterator[Row]:
    """Seconds on the clock of one pass, by one and by two threads in turns."""
    law = clusters(k, d)
    source, start = ArraySource(law.sample(n)), law.start(covariance)
    works = {count: partial(e_step, source, start, count) for count in (1, 2)}
    _, times = in_turns(works, repeats, wall_seconds, warm=True)
    for count, seconds in times.items():
        row: Row = {"threads": count, "seconds": median(seconds), "quickest": min(seconds)}
        yield row | {"speed_up": median(times[1]) / median(seconds), "repeats": repeats}


def threads_figure(rows: Rows) -> Figure:
    """speed-up of two threads"""
    rows = of(rows, threads=2)
    figure, (axes,) = panels(1, 6, 2.8, lines=False)
    bars(axes, [cell_name(row) for row in rows], {DOUBLE.name: [row["speed_up"] for row in rows]}, COLOURS)
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set_xlabel("one pass: times faster on two threads than on one")
    return figure


def threads_table(rows: Rows) -> Table:
    """Two threads."""
    head = "one pass | rows | one thread, ms | two threads, ms | times faster"
    _, times = across("threads", (1, 2), "{seconds.e3:.1f}")
    return table(named(rows), "cell", head, f"{{cell}} | {{n:,}} | {times} | {{threads[2].speed_up:.2f}}")


def threads_aims(rows: Rows) -> Iterator[Aim]:
    """Two threads speed passes up."""
    for row in of(rows, threads=2):
        full = row["covariance"] == "full"
        target = 1.0 if row["k"] < 16 else 1.7 if full and row["d"] >= 8 else 1.3
        yield at_least(f"{cell_name(row)}: {target:g}x", row["speed_up"], target)


def memory(covariance: str, d: int, k: int, n: int, method: str, threads: int) -> Iterator[Row]:
    """MiB beyond the rows, each fit in a fresh process."""
    found = alone(clusters(k, d).sample(n), threads, fit_briefly, method, threads, covariance, k)
    yield found | {"rows_mib": n * d * 8 / 2**20}


def fit_name(row: Row) -> str:
    """Method, and threads where there are several."""
    return row["method"] + (f", {row['threads']} threads" if row["threads"] > 1 else "")


def memory_figure(rows: Rows) -> Figure:
    """memory beyond the rows"""
    figure, (axes,) = panels(1, 6, 2.2, lines=False)
    colours = [COLOURS[row["method"]] for row in rows]
    axes.barh([fit_name(row) for row in rows], [row["memory_beyond_x"] for row in rows], 0.6, color=colours)
    axes.bar_label(axes.containers[0], fmt=lambda v: f" {v:,.0f}")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    bar_grid(axes)
    axes.set_xlabel(f"peak beyond the rows, MiB ({cell_name(rows[0])}, n = {rows[0]['n']:,})")
    return figure


def memory_table(rows: Rows) -> Table:
    """Memory."""
    head = f"{rows[0]['n']:,} rows, {cell_name(rows[0])} | peak beyond the rows, MiB | bytes per row"
    rows = [row | {"fit": fit_name(row), "bytes": row["memory_beyond_x"] * 2**20 / row["n"]} for row in rows]
    return table(rows, "fit", head, "{fit} | {memory_beyond_x:,.0f} | {bytes:,.0f}")


def memory_aims(rows: Rows) -> Iterator[Aim]:
    """Fits of this library need up to 16 bytes a row and 32 MiB."""
    for row in of(rows, method=DOUBLE.name):
        target = 16 * row["n"] / 2**20 + 32
        yield at_most(f"{row['threads']} threads: {target:.0f} MiB", row["memory_beyond_x"], target, ".0f")


def blas(n: int, d: int, k: int, busy: bool, repeats: int) -> Iterator[Row]:
    """Seconds on the clock of whole fits: BLAS as the process has it, with and without the limit, and on one thread."""
    x, bare = cloud(n, d, k), GaussianMixture.fit.__wrapped__

    def fitted(limit: Callable[[], Any], learn: Callable[..., Any]) -> None:
        with limit():
            learn(GaussianMixture(k, random_state=0), x)

    one = "one BLAS thread in the process"
    ways = {
        DOUBLE.name: partial(fitted, nullcontext, GaussianMixture.fit),
        one: partial(fitted, partial(threadpool_limits, 1, "blas"), GaussianMixture.fit),
        "without the limit": partial(fitted, nullcontext, bare),
    }
    with busy_core() if busy else nullcontext():
        _, times = in_turns(ways, 1, wall_seconds)
        del ways["without the limit"]  # it takes too long
        _, more = in_turns(ways, repeats - 1, wall_seconds)
    for name, seconds in more.items():
        times[name] += seconds
    for name, seconds in times.items():
        ratio = median(seconds) / median(times[one])
        yield {"method": name, "seconds": median(seconds), "ratio": ratio, "repeats": len(seconds)}


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


def blas_table(rows: Rows) -> Table:
    """BLAS threads: whole fits, time on the clock."""
    heads, times = across("method", values_of(rows, "method"), "{seconds:.2f} ({ratio:.1f})")
    name = "n = {n:,}, d = {d}, k = {k}{tail}".format
    rows = [row | {"fit": name(**row, tail=", one core busy" * row["busy"])} for row in rows]
    return table(rows, "fit", f"whole fit, s (ratio to one thread) | {heads}", f"{{fit}} | {times}")


def missing(covariance: str, n: int, d: int, k: int, share: float, repeats: int) -> Iterator[Row]:
    """CPU seconds of a pass over rows with values missing at random, and over the same rows without."""
    law = clusters(k, d)
    start, x = law.start(covariance), law.sample(n)
    holes = np.random.default_rng(1).random(x.shape) < share
    works = {
        "seconds": partial(expectation_with_missing, ArraySource(np.where(holes, np.nan, x)), start, 1),
        "seconds_whole": partial(e_step, ArraySource(x), start, 1),
    }
    _, times = in_turns(works, repeats)
    found = {name: median(seconds) for name, seconds in times.items()}
    patterns, ratio = len(np.unique(holes, axis=0)), found["seconds"] / found["seconds_whole"]
    yield {"patterns": patterns, **found, "ratio": ratio, "repeats": repeats}


def missing_table(rows: Rows) -> Table:
    """Values missing at random, one thread."""
    head = "one pass | rows | missing | patterns | complete rows, ms | with missing values, ms | times longer"
    line = "{cell} | {n:,} | {share:.0%} | {patterns:,} | {seconds_whole.e3:.1f} | {seconds.e3:.1f}"
    return table(named(rows), None, head, f"{line} | {{ratio:.1f}}")


SHAPES = (("full", 8, 16), ("full", 16, 64), ("spherical", 8, 16), ("diag", 8, 16), ("full", 4, 4))
PASSES = cells("covariance d k", *SHAPES)
FITS = cells("method threads", (DOUBLE.name, 1), (DOUBLE.name, 2), (RIVAL.name, 1))
LARGE = {"covariance": ["full"], "d": [8], "k": [16]}
HOLES = [(kind, 2_000, 20, 5, 0.2) for kind in KINDS]
HOLES += [("full", 20_000, 20, 5, 0.2), ("full", 20_000, 20, 20, 0.2), ("full", 2_000, 50, 5, 0.2)]
HOLES += [("full", 2_000, 20, 5, 0.5)]

THREADS = Benchmark(
    threads,
    Size(grid(PASSES, n=[1_000_000]), repeats=7),
    Size(grid(PASSES, n=[3_000]), repeats=2),
    [threads_table],
    {"threads": threads_figure},
    threads_aims,
)
MEMORY = Benchmark(
    memory,
    Size(grid(FITS, **LARGE, n=[1_000_000])),
    Size(grid(**LARGE, n=[3_000], method=[DOUBLE.name], threads=[2])),
    [memory_table],
    {"memory": memory_figure},
    memory_aims,
)
BLAS = Benchmark(
    blas,
    Size(grid(cells("n d k", (500, 200, 3), (20_000, 2, 200)), busy=(False, True)), repeats=3),
    Size(grid(n=[100], d=[10], k=[2], busy=(False, True)), repeats=1),
    [blas_table],
)
MISSING = Benchmark(
    missing,
    Size(cells("covariance n d k share", *HOLES), repeats=7),
    Size(grid(covariance=KINDS[:1], n=[200], d=[20], k=[5], share=[0.2]), repeats=2),
    [missing_table],
)
