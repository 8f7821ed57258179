"""Whole fits: from the same start with the same tolerance, accelerated, and to columns of 0 and 1."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import sklearn.mixture
from matplotlib.figure import Figure

from benchmarks.clock import in_turns, one_thread
from benchmarks.drawing import BLUE, GREY, LIGHT_BLUE, MUSTARD, RED, bars, legend, panels
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.gaussian.machine import named
from benchmarks.gaussian.methods import DOUBLE, REG, RIVAL, SINGLE
from benchmarks.gaussian.peers import PEERS
from benchmarks.gaussian.problems import clusters
from benchmarks.gaussian.speed import rows_of
from benchmarks.methods import Method
from benchmarks.tables import Row, Rows, Table, of, table, values_of
from scoremix import GaussianMixture
from scoremix.arrays import Floats
from scoremix.learning.em.acceleration import Acceleration, Anderson, Squarem
from scoremix.learning.em.em import run_em
from scoremix.samples.source import ArraySource


def fits(covariance: str, d: int, k: int, n: int, repeats: int) -> Iterator[Row]:
    """CPU seconds of every method; the likelihoods of all are evaluated by the same code."""
    law = clusters(k, d, blur=1.0)
    x, start = law.sample(n), law.start(covariance)
    methods: tuple[Method, ...] = (RIVAL, DOUBLE, SINGLE, *(peer for peer in PEERS if peer.missing is None))
    works = {m.name: partial(m.prepare(x, start), 100, 1e-3) for m in methods if covariance in m.kinds}
    found, times = in_turns(works, repeats)
    for name, seconds in times.items():
        row: Row = {"method": name, "seconds": median(seconds), "ratio": median(times[RIVAL.name]) / median(seconds)}
        likelihood = float(found[name].mixture.log_density(x).mean())
        yield row | {"n_iter": found[name].n_iter, "log_likelihood": likelihood, "repeats": repeats}


def fits_figure(rows: Rows) -> Figure:
    """times faster than scikit-learn, whole fits"""
    rows = named(rows)
    names, methods = values_of(rows, "cell"), [m for m in values_of(rows, "method") if m != RIVAL.name]
    groups = {m: [next((r["ratio"] for r in of(rows, method=m, cell=c)), None) for c in names] for m in methods}
    colours = {DOUBLE.name: BLUE, SINGLE.name: LIGHT_BLUE, PEERS[0].name: GREY, PEERS[1].name: MUSTARD}
    figure, (axes,) = panels(1, 6.5, 1.2 + 0.5 * len(names), lines=False)
    bars(axes, names, groups, colours)
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set_xlabel("whole fit: times faster than scikit-learn")
    legend(figure, axes, ncols=2)
    return figure


def fits_table(rows: Rows) -> Table:
    """Whole fits from the same start, tolerance 1e-3, one thread."""
    head = "whole fit | method | CPU s | times faster | iterations | mean log likelihood"
    line = "{cell}, n = {n:,} | {method} | {seconds:.2f} | {ratio:.1f} | {passes} | {log_likelihood:.6f}"
    rows = [row | {"passes": row["n_iter"] if row["n_iter"] >= 0 else None} for row in named(rows)]
    return table(rows, None, head, line, "-")


ACCELERATIONS: dict[str, Callable[[], Acceleration | None]] = {
    "EM": lambda: None,
    "SQUAREM": Squarem,
    "Anderson": Anderson,
}


def acceleration(seed: int, n: int, tol: float, max_iter: int) -> Iterator[Row]:
    """Passes until the mean log likelihood is within 1e-6 nats of where plain EM ends, on clusters that overlap."""
    law, target = clusters(4, 2, seed, distance=1.5, blur=1.0), None
    source, start = ArraySource(law.sample(n)), law.start("full")
    for name, make in ACCELERATIONS.items():
        kept: list[int] = []
        settings = {"tol": tol, "max_iter": max_iter, "reg": REG, "acceleration": make()}
        with one_thread():
            found = run_em(source, start, **settings, report=lambda passes, _, kept=kept: kept.append(passes))
        end = max(found.lower_bounds) - 1e-6
        target = end if target is None else target
        row: Row = {"method": name, "passes": passes_to(kept, found.lower_bounds, target)}
        row |= {"passes_to_own_end": passes_to(kept, found.lower_bounds, end), "final": found.lower_bounds[-1]}
        yield row | {"converged": found.converged, "n_passes": found.n_passes}


def passes_to(passes: list[int], bounds: list[float], target: float) -> int | None:
    """Passes over the data, rejected ones included, until a bound reaches the target; None where none does."""
    return next((count for count, bound in zip(passes, bounds, strict=True) if bound >= target), None)


def acceleration_figure(rows: Rows) -> Figure:
    """passes of accelerated runs against those of plain EM"""
    plain = {row["seed"]: row["passes"] for row in of(rows, method="EM")}
    figure, (axes,) = panels(1, 5, 4.2)
    for method, colour in (("SQUAREM", BLUE), ("Anderson", RED)):
        reached = [row for row in of(rows, method=method) if row["passes"] is not None]
        places = ([plain[row["seed"]] for row in reached], [row["passes"] for row in reached])
        axes.plot(*places, "o", ms=6, alpha=0.75, mew=0, color=colour, label=method)
    ends = [min(plain.values()), max(plain.values())]
    for factor, style in ((1, "-"), (2, "--"), (4, ":")):
        label = f"{factor}x fewer" if factor > 1 else "as many"
        axes.plot(ends, [end / factor for end in ends], style, color="0.5", lw=0.9, label=label)
    axes.set(xscale="log", yscale="log", xlabel="passes of plain EM", ylabel="passes of the accelerated run")
    axes.legend(frameon=False)
    return figure


def acceleration_table(rows: Rows) -> Table:
    """Passes over the data until the mean log likelihood is within 1e-6 nats of where plain EM ends."""
    plain, shown = {row["seed"]: row for row in of(rows, method="EM")}, []
    for row in rows:
        other = plain[row["seed"]]
        gain, reached = row["final"] - other["final"], row["passes"] is not None
        times = other["passes"] / row["passes"] if reached else None
        shown.append(row | {"times": times, "lower": gain < -1e-6, "higher": gain > 1e-6})
    head = " | passes, median | times fewer, median | ends lower than EM | ends higher"
    line = "{method} | {passes.median:,.0f} | {times.median:.1f} | {lower.count} | {higher.count}"
    return table(shown, "method", head, line, "-")


LEVELS, NUMBERS = 5, 4
"""Columns of a category, and columns that are numbers."""


def categories(n_categories: int, n: int) -> Floats:
    """Categories as columns of 0 and 1, and some numbers, of rows of six profiles."""
    rng = np.random.default_rng(0)
    profile = rng.integers(6, size=n)
    shares = rng.dirichlet(np.full(LEVELS, 0.4), size=(n_categories, 6))
    columns = [np.eye(LEVELS)[(rng.random((n, 1)) > np.cumsum(p, axis=1)[profile, :-1]).sum(axis=1)] for p in shares]
    return np.hstack([*columns, rng.standard_normal((n, NUMBERS)) + profile[:, None]])


def one_hot(k: int, d: int, n: int, repeats: int) -> Iterator[Row]:
    """CPU seconds and mean log likelihoods of fits to categories, whose columns determine each other."""
    x, other = np.split(categories((d - NUMBERS) // LEVELS, 2 * n), 2)
    models: dict[str, Any] = {RIVAL.name: sklearn.mixture.GaussianMixture(k, random_state=0)}
    for prior in ("shared", None):
        for start in ("kmeans", "global"):
            model = GaussianMixture(k, random_state=0, init_params=start, covariance_prior=prior)
            models[f"scoremix, {start}, prior {prior}"] = model
    found, times = in_turns({name: partial(model.fit, x) for name, model in models.items()}, repeats)
    for name, seconds in times.items():
        row: Row = {"method": name, "seconds": median(seconds), "ratio": median(seconds) / median(times[RIVAL.name])}
        scores = {"log_likelihood": float(found[name].score(x)), "held_out": float(found[name].score(other))}
        yield row | scores | {"repeats": repeats}


def one_hot_table(rows: Rows) -> Table:
    """Categories as columns of 0 and 1: whole fits of 6 components, one thread."""
    head = "columns | method | CPU s | times scikit-learn's | mean log likelihood | held out"
    line = "{d} | {method} | {seconds:.2f} | {ratio:.1f} | {log_likelihood:.2f} | {held_out:.1f}"
    return table(rows, None, head, line)


SHAPES = (("full", 2, 4), ("full", 8, 16), ("full", 16, 64), ("diag", 8, 16), ("spherical", 8, 16), ("tied", 8, 16))
CELLS = cells("covariance d k", *SHAPES)

FITS = Benchmark(
    fits,
    Size([cell | {"n": rows_of(*cell.values())} for cell in CELLS], repeats=3),
    Size(grid(covariance=["full"], d=[2], k=[4], n=[500]), repeats=1),
    [fits_table],
    {"fits": fits_figure},
    peers=PEERS,
)
ACCELERATION = Benchmark(
    acceleration,
    Size(grid(seed=range(24), n=[1_000]), tol=1e-10, max_iter=20_000),
    Size(grid(seed=range(2), n=[200]), tol=1e-6, max_iter=500),
    [acceleration_table],
    {"acceleration": acceleration_figure},
)
ONE_HOT = Benchmark(
    one_hot,
    Size(grid(k=[6], d=[20 * LEVELS + NUMBERS, 56 * LEVELS + NUMBERS], n=[1_477]), repeats=3),
    Size(grid(k=[6], d=[3 * LEVELS + NUMBERS], n=[1_477]), repeats=1),
    [one_hot_table],
)
