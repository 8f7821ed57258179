"""Problems that are chosen, not drawn: designed ones, falling separations, many rows and components, few rows."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from benchmarks.drawing import BLUE, RED, SAND, legend, panels
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.global_start.comparison import FEW, HELD_OUT, Problem, compare
from benchmarks.global_start.counts import seconds_ratio, share, total_seconds
from benchmarks.global_start.designed import DESIGNS
from benchmarks.global_start.methods import DIFFUSION, GLOBAL, ONE, TEN
from benchmarks.global_start.random_suite import Configuration, configured, time_aim
from benchmarks.methods import Method
from benchmarks.tables import Row, Rows, Table, across, extended, groups, of, table, values_of
from benchmarks.targets import Aim, at_least

BY_NAME = {design.name: design for design in DESIGNS}


def designed(problem: str, seed: int, n: int | None, held_out: int) -> Iterator[Row]:
    """A designed problem, with as many rows as it asks for unless told."""
    design = BY_NAME[problem]
    law, n = design.law(seed), n or design.n
    for row in compare(Problem(law, design.kind, n, seed, held_out), (GLOBAL, DIFFUSION, ONE, TEN)):
        yield {"covariance": design.kind, "k": law.k, "d": law.d, "n": n} | row


def designed_table(rows: Rows) -> Table:
    """Designed problems: successes and total CPU seconds."""
    heads, found = across("method", values_of(rows, "method"), "{success.count}, {seconds.sum:.1f} s")
    named = [row | {"shape": "{covariance}, k = {k}, d = {d}".format(**row)} for row in rows]
    named += [row | {"problem": "all", "shape": ""} for row in rows]
    return table(named, "problem", f"problem |  | {heads}", f"{{problem}} | {{shape}} | {found}")


def designed_aims(rows: Rows) -> Iterator[Aim]:
    """The diffusion is as good as the global start, and at most three times as slow."""
    diffusion, start = (share(of(rows, method=method)) for method in (DIFFUSION.name, GLOBAL.name))
    sentence = f"{DIFFUSION.name}: success as often as {GLOBAL.name}, {start:.1%}"
    yield at_least(sentence, diffusion, start, ".1%")
    yield time_aim(DIFFUSION.name, rows, DIFFUSION.name, GLOBAL.name, 3.0)


def regime(methods: tuple[Method, ...], held_out: int = HELD_OUT, **case: int | float | str) -> Iterator[Row]:
    """Random centres of these numbers."""
    yield from configured(Configuration("random", zipf=False, **case), methods, held_out)


def separation_figure(rows: Rows) -> Figure:
    """success against separation"""
    parts = groups(rows, "d", "covariance")
    colours = {GLOBAL.name: BLUE, ONE.name: SAND, TEN.name: RED}
    figure, axes = panels(len(parts), 2.8 * len(parts), 3.0, sharey=True)
    for panel, cell in zip(axes, parts, strict=True):
        for method in values_of(cell, "method"):
            mine = of(cell, method=method)
            successes = [100 * share(group) for group in groups(mine, "separation")]
            panel.plot(values_of(mine, "separation"), successes, "o-", ms=4, color=colours[method], label=method)
        panel.set(title="{covariance}, d = {d}".format(**cell[0]), xlabel="separation", ylim=(-4, 104))
    axes[0].set_ylabel(f"success, % (k = {rows[0]['k']})")
    legend(figure, axes[0])
    return figure


def separation_table(rows: Rows) -> Table:
    """Successes against separation."""
    heads, found = across("method", values_of(rows, "method"), "{success.count}")
    line = f"{{covariance}}, d = {{d}} | {{separation:g}} | {found}"
    return table(rows, ("covariance", "d", "separation"), f" | separation | {heads}", line)


def cells_table(rows: Rows) -> Table:
    rows = [row | {"cell": "{covariance}, d = {d}, k = {k}, n = {n:,}".format(**row)} for row in rows]

    def ratio(mine: Rows) -> float:
        return seconds_ratio(of(rows, cell=mine[0]["cell"]), mine[0]["method"], ONE.name)

    def mean(mine: Rows) -> float:
        return total_seconds(mine) / len(mine)

    shown = extended(rows, ("cell", "method"), mean=mean, ratio=ratio)
    head = "cell | method | CPU s | times one start | held-out | success"
    line = "{cell} | {method} | {mean:.2f} | {ratio:.2f} | {held_out.mean:.4f} | {success.count}"
    return table(shown, ("cell", "method"), head, line, "-")


def large_table(rows: Rows) -> Table:
    """Many rows and many components."""
    return cells_table(rows)


def overfit_table(rows: Rows) -> Table:
    """Few rows for the parameters."""
    return cells_table(rows)


def large_aims(rows: Rows) -> Iterator[Aim]:
    """No slower than one start, cell by cell."""
    for cell in groups(rows, "covariance", "d", "k"):
        yield time_aim("{covariance}, d = {d}, k = {k}".format(**cell[0]), cell, GLOBAL.name, ONE.name, 1.0)


def mean_held_out(rows: Rows) -> float:
    """Mean over seeds; a fit that failed, and a method that was not asked, has an infinitely low one."""
    return fmean([float("-inf") if row["held_out"] is None else row["held_out"] for row in rows] or [float("-inf")])


def overfit_aims(rows: Rows) -> Iterator[Aim]:
    """As good as the best of scikit-learn on held-out rows, at most twice as slow as one start."""
    mine, *others = (mean_held_out(of(rows, method=method.name)) for method in (GLOBAL, ONE, TEN))
    yield at_least("held-out beyond the best of scikit-learn at least 0", mine - max(others), 0.0, "+.4f")
    yield time_aim("few rows", rows, GLOBAL.name, ONE.name, 2.0)


def benchmark(name: str, methods: tuple[Method, ...], full: list[Row], tiny: list[Row], **shown: Any) -> Benchmark:
    """Of random centres."""
    sizes = Size(full, methods=methods), Size(tiny, methods=methods, held_out=FEW)
    return Benchmark(regime, *sizes, **shown, own_name=name)


SMALL = {"k": [3], "d": [2], "n": [300], "seed": [0]}
USUAL: dict[str, list[float]] = {"separation": [5.0], "condition": [3.0]}
KINDS = cells("covariance condition", ("spherical", 1.0), ("full", 3.0))
LARGEST = (("spherical", 8, 100, 100_000), ("full", 8, 50, 100_000), ("diag", 16, 64, 50_000), ("full", 16, 50, 50_000))
FALLING = {"separation": (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0), "k": [20], "n": [8_000], "seed": range(10)}

DESIGNED = Benchmark(
    designed,
    Size(grid(problem=BY_NAME, seed=range(5)), n=None, held_out=HELD_OUT),
    Size(grid(problem=[design.name for design in DESIGNS[-5:-3]], seed=[0]), n=300, held_out=FEW),
    [designed_table],
    aims=designed_aims,
)
SEPARATION = benchmark(
    "separation",
    (GLOBAL, ONE, TEN),
    [{"d": d} | case for d in (2, 8) for case in grid(KINDS, **FALLING)],
    grid(KINDS, separation=(6.0, 8.0), **SMALL),
    tables=[separation_table],
    figures={"separation": separation_figure},
)
LARGE = benchmark(
    "large",
    (GLOBAL, ONE),
    grid(cells("covariance d k n", *LARGEST), **USUAL, seed=range(2)),
    grid(covariance=["spherical"], **USUAL, **SMALL),
    tables=[large_table],
    aims=large_aims,
)
OVERFIT = benchmark(  # every component has 500 rows and 2,144 numbers to be learnt
    "overfit",
    (GLOBAL, ONE, TEN),
    grid(covariance=["full"], k=[10], d=[64], n=[5_000], **USUAL, seed=range(3)),
    grid(covariance=["full"], **USUAL, **SMALL),
    tables=[overfit_table],
    aims=overfit_aims,
)
