"""The score of the default `DiffusionMixture` against the paper's cells and what people use, where the noise is known.

Fit and sampling times are CPU time on one thread; of `threads`, time on the clock. Placements differ from seed to seed,
and so do the numbers: pages and figures show medians over the seeds that all methods of a table took part in.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import floor, log10
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import ROOT
from benchmarks.clock import cpu_seconds
from benchmarks.drawing import BLUE, GREY, RED, legend, names_down, panels, ticks
from benchmarks.frame import Benchmark, Size, Suite, grid
from benchmarks.large import alone
from benchmarks.methods import Method
from benchmarks.metrics import METRICS, geometric_levels
from benchmarks.problems import BALLS, RING, SPIRAL, Problem, clusters, pairs, rotated
from benchmarks.score_methods import BIC, DEFAULT, HARD, KDE, SOFT, fit_default
from benchmarks.tables import Row, Rows, Table, across, groups, of, table, values_of
from scoremix.evaluation.truth import FloatArray

COLOURS = {DEFAULT.name: BLUE, SOFT.name: "#6a4c93", HARD.name: "#b79fd1", BIC.name: RED, KDE.name: GREY}


def scored(
    problem: Problem,
    axis: float | str,
    n_rows: int,
    seed: int,
    methods: Sequence[Method],
    metrics: Sequence[str],
    rival_seeds: int,
    n_samples: int,
) -> Iterator[Row]:
    """Fit all methods that can take so many rows on the same data and ask them the metrics.

    Methods after the first take part in the first `rival_seeds` seeds only.
    """
    truth = problem.make(seed)
    noise_scale = truth.noise_scale or 1.0
    x = truth.sample(n_rows, np.random.default_rng([seed, 0]))
    sigmas: FloatArray | None = None
    for method in methods if seed < rival_seeds else methods[:1]:
        if n_rows > method.max_rows:
            continue
        fitted, fit_cpu = cpu_seconds(method.prepare(x, noise_scale, seed))
        sigmas = fitted.sigmas if fitted.sigmas is not None else sigmas
        levels = geometric_levels(truth) if sigmas is None else sigmas
        rng = np.random.default_rng([seed, 1])
        _, sample_cpu = cpu_seconds(partial(fitted.sample, n_samples, rng))
        row: Row = {"problem": problem.name, "n_features": truth.n_features, "method": method.name}
        row |= {"fit_cpu": fit_cpu, "sample_cpu": sample_cpu, "n_samples": n_samples}
        row |= {"n_cells": fitted.n_cells, "n_cells_true": problem.n_cells}
        for name in metrics:
            row |= METRICS[name](fitted, truth, levels, n_samples, rng)
        yield row


def threads(axis: int, n_rows: int, seed: int) -> Iterator[Row]:
    """Wall time and memory of one large fit on as many threads, in a fresh process."""
    x = clusters(6, 2, 4).make(0).sample(n_rows, np.random.default_rng([0, 0]))
    yield {"method": DEFAULT.name, **alone(x, axis, fit_default)}


def right(row: Row) -> bool:
    """Whether the right number of cells was found."""
    return bool(row["n_cells"] == row["n_cells_true"])


Summaries = dict[str, dict[Any, float]]


def summaries(rows: Rows, metric: str) -> Summaries:
    """Method -> place on the axis -> median over the seeds that all share; for "exact", share of the seeds."""
    methods = {method: of(rows, method=method) for method in values_of(rows, "method")}
    seeds = set.intersection(*({row["seed"] for row in mine} for mine in methods.values())) if methods else set()

    def value(group: Rows) -> float:
        return fmean(map(right, group)) if metric == "exact" else median(row[metric] for row in group)

    kept = {name: [r for r in mine if metric == "exact" or r["seed"] in seeds] for name, mine in methods.items()}
    return {name: {group[0]["axis"]: value(group) for group in groups(mine, "axis")} for name, mine in kept.items()}


def _nats(value: float) -> str:
    """In units of 1e-4, two significant digits at least."""
    return f"{1e4 * value:,.{max(-3 - floor(log10(value)), 0)}f}"


SHOWN: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "kl": ("KL bound (nats)", "KL bound, 10⁻⁴ nats", _nats),
    "tv_excess": (
        "TV above the two-sample floor",
        "TV above floor",
        lambda value: f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1),
    ),
    "fit_cpu": ("fit, CPU seconds", "fit, CPU s", "{:.1f}".format),
    "sample_cpu": ("sampling, CPU seconds", "sampling, CPU s", "{:.1f}".format),
    "fit_wall": ("fit, wall seconds", "fit, wall s", "{:.1f}".format),
    "memory_beyond_x": ("peak beyond the rows, MiB", "MiB beyond the rows", "{:.0f}".format),
    "regret": ("excess risk over the oracle", "excess risk", lambda v: f"{100 * v:.2g} %" if v <= 10 else "> 1000 %"),
    "exact": ("share of seeds with exactly k cells", "", str),
}
"""Title of a metric in a figure, its head in a table, and how its values are written there."""


def lines(axes: Axes, table: Summaries, metric: str, axis_name: str) -> None:
    """One line per method, logarithmic axes but for differences, which may be negative."""
    for method, values in table.items():
        style = {"lw": 4.0, "ms": 8} if method == DEFAULT.name else {"lw": 1.4, "ms": 4}
        axes.plot(list(values), list(values.values()), "o-", color=COLOURS[method], label=method, **style)
    places = sorted({place for values in table.values() for place in values})
    axes.set(xlabel=axis_name, title=SHOWN[metric][0])
    ticks(axes, places, map(_short, places))
    if metric != "tv_excess":
        axes.set_yscale("log")


def _short(number: float) -> str:
    """1,000 as 1k, 1,000,000 as 1M."""
    unit, name = next((pair for pair in ((10**6, "M"), (1000, "k")) if number >= pair[0]), (1, ""))
    return f"{number / unit:g}{name}"


def dots(axes: Axes, table: Summaries, metric: str, axis_name: str) -> None:
    """One line of dots per problem, a dot per method; a length would mean nothing on a logarithmic axis."""
    places = list(dict.fromkeys(place for values in table.values() for place in values))
    for number, (method, values) in enumerate(table.items()):
        at = [places.index(place) + 0.12 * (number - (len(table) - 1) / 2) for place in values]
        size = 10 if method == DEFAULT.name else 6
        axes.plot(list(values.values()), at, "o", ms=size, mew=0, color=COLOURS[method], label=method, clip_on=False)
    names_down(axes, places)
    axes.set_title(SHOWN[metric][0])
    axes.margins(x=0.08)
    if metric in ("kl", "regret"):
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=5)
    if metric in ("exact", "fit_cpu", "fit_wall", "memory_beyond_x"):
        axes.set_xlim(left=0)
    if metric == "exact":
        axes.set_xlim(right=1.05)
    if axis_name != "problem":
        axes.set_ylabel(axis_name)


def figure_of(rows: Rows, panel: Callable[..., None], metrics: Sequence[str], axis_name: str) -> Figure:
    """A panel per metric; where several problems share an axis, the first."""
    if panel is lines:
        rows = of(rows, problem=rows[0]["problem"]) if axis_name.startswith("rows") else rows
    height = 3.6 if panel is lines else 1.3 + 0.42 * len(values_of(rows, "axis"))
    figure, axes = panels(len(metrics), 4 * len(metrics), height, sharey=panel is dots)
    for place, metric in zip(axes, metrics, strict=True):
        panel(place, summaries(rows, metric), metric, axis_name)
    legend(figure, axes[0])
    return figure


def compare(rows: Rows, title: str, **plan: Sequence[Method]) -> Table:
    """A line per place on the axis; of a metric the methods asked for, all that are best as shown in bold."""
    if not rows:
        return (), []
    head, tables = [title.format(**rows[0])], {metric: summaries(rows, metric) for metric in plan}
    for metric, (one, *others) in plan.items():
        head += [f"{SHOWN[metric][1]}: {one.name}", *(o.name.removesuffix(", cross-validated") for o in others)]
    lines = []
    for place in values_of(rows, "axis"):
        line = [f"{place:,}" if isinstance(place, int) else str(place)]
        for metric, methods in plan.items():
            values = [tables[metric].get(method.name, {}).get(place) for method in methods]
            shown = ["" if value is None else SHOWN[metric][2](value) for value in values]
            best = SHOWN[metric][2](min(value for value in values if value is not None))
            line += [f"**{t}**" if metric in ("kl", "regret") and t == best else t for t in shown]
        lines.append(tuple(line))
    return tuple(head), lines


def compared(title: str, problem: str | None = None, **plan: Sequence[Method]) -> Callable[[Rows], Table]:
    """The same for a benchmark, of one problem or of all."""
    return lambda rows: compare(rows if problem is None else of(rows, problem=problem), title, **plan)


def found(rows: Rows) -> Table:  # how often the right number of cells was found
    heads, cells = across("method", values_of(rows, "method"), "{right.count}")
    rows = [row | {"right": right(row)} for row in rows]
    return table(rows, "axis", f"clusters | right number found: {heads}", f"{{axis}} | {cells}")


def benchmark(
    name: str,
    axis: str,
    cases: Sequence[Row],
    tables: Sequence[Callable[[Rows], Table]],
    drawn: tuple[Callable[..., None], Sequence[str]],
    seeds: int,
    rival_seeds: int = 1,
    methods: Sequence[Method] = (DEFAULT, SOFT, BIC, KDE),
    metrics: Sequence[str] = ("kl", "tv"),
) -> Benchmark:
    """A table of scores; the tiny one has its first case."""
    settings = {"methods": methods, "metrics": metrics}
    full = [case | {"seed": seed} for case in cases for seed in range(seeds)]
    return Benchmark(
        scored,
        Size(full, **settings, rival_seeds=rival_seeds, n_samples=50_000),
        Size([full[0] | {"n_rows": 600}], **settings, rival_seeds=1, n_samples=400),
        tables,
        {name: lambda rows: figure_of(rows, *drawn, axis)},
        stored={"axis": axis},
        own_name=name,
    )


def case(problem: Problem, axis: float | str, n_rows: int = 50_000) -> Row:
    """A problem at a number of rows; `axis` is where it stands in the figure."""
    return {"problem": problem, "axis": axis, "n_rows": n_rows}


ALL, SEARCHED = (DEFAULT, SOFT, BIC, KDE), (DEFAULT, SOFT, BIC)
COSTS_AND_ERRORS = ("kl", "tv_excess", "fit_cpu", "sample_cpu")
BY_ROWS = (clusters(6, 2, 4), RING)

SUITE = Suite(
    "benchmarks",
    (
        benchmark(
            "rows",
            "rows n",
            [case(p, n, n) for p in BY_ROWS for n in (1_000, 10_000, 50_000, 200_000, 1_000_000)],
            [compared("rows, {problem}", problem.name, kl=ALL, fit_cpu=SEARCHED) for problem in BY_ROWS],
            (lines, COSTS_AND_ERRORS),
            seeds=1,
            methods=(DEFAULT, SOFT, HARD, BIC, KDE),
        ),
        benchmark(
            "components",
            "clusters k",
            [case(clusters(k, 2, 5), k) for k in (3, 6, 12, 25, 50)],
            [compared("clusters in 2-D", kl=ALL, fit_cpu=SEARCHED)],
            (lines, COSTS_AND_ERRORS),
            seeds=3,
        ),
        benchmark(
            "dimension",
            "features d",
            [case(clusters(5, d, 4), d) for d in (2, 5, 10, 20, 50, 100)],
            [compared("dimension, 5 clusters", kl=ALL, fit_cpu=SEARCHED)],
            (lines, COSTS_AND_ERRORS),
            seeds=3,
        ),
        benchmark(
            "accuracy",
            "problem",
            [
                *(case(clusters(k, d, 4), f"{k} clusters, {d}-D") for k, d in ((3, 2), (6, 2), (4, 5), (5, 10))),
                *(case(problem, problem.name) for problem in (RING, SPIRAL, BALLS)),
            ],
            [
                compared("{n_rows:,} rows", kl=(DEFAULT, SOFT, HARD, BIC, KDE)),
                compared("{n_rows:,} rows", tv_excess=SEARCHED, fit_cpu=SEARCHED),
            ],
            (dots, ("kl", "tv_excess", "fit_cpu")),
            seeds=5,
            rival_seeds=2,
            methods=(DEFAULT, SOFT, HARD, BIC, KDE),
        ),
        benchmark(
            "cells",
            "problem",
            [
                *(case(clusters(k, 2, 5 if k > 50 else 4), f"{k} clusters") for k in (3, 6, 100)),
                *(case(pairs(k, 5), f"{k // 2} pairs, 5-D", 20_000) for k in (8, 16, 32)),
            ],
            [found],
            (dots, ("exact", "fit_cpu")),
            seeds=20,
            rival_seeds=5,
            methods=(DEFAULT, SOFT),
            metrics=(),
        ),
        benchmark(
            "regret",
            "problem",
            [case(rotated(problem, 50), f"{problem.name} in 50-D") for problem in (RING, BALLS)],
            [compared("denoising", regret=ALL, fit_cpu=SEARCHED)],
            (dots, ("regret", "fit_cpu")),
            seeds=3,
            metrics=("regret",),
        ),
        Benchmark(
            threads,
            Size(grid(n_rows=[1_000_000], seed=range(3), axis=[1, 2])),
            Size([{"n_rows": 2_000, "seed": 0, "axis": 2}]),
            [compared("threads, {n_rows:,} rows", fit_wall=[DEFAULT], fit_cpu=[DEFAULT], memory_beyond_x=[DEFAULT])],
            {"threads": lambda rows: figure_of(rows, dots, ("fit_wall", "memory_beyond_x"), "threads")},
            stored={"axis": "threads"},
        ),
    ),
    (ROOT / "README.md", ROOT / "docs" / "benchmarks.md"),
    note=", medians over seeds",
)
