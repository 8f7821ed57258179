"""One iteration, whatever the covariances, dimensions, components and rows; and the arithmetic that it cannot avoid."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.clock import cpu_seconds, in_turns
from benchmarks.drawing import BLUE, RED, SAND, legend, panels, ticks
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.gaussian.methods import DOUBLE, RIVAL, SINGLE
from benchmarks.gaussian.problems import clusters
from benchmarks.methods import KINDS
from benchmarks.tables import Row, Rows, Table, across, of, table, values_of
from benchmarks.targets import Aim

MOST_ROWS, SECONDS_WITH_ROWS = 200_000, 3.0
"""Rows of a cell of the table of iterations, for scikit-learn slows down with them (see the table of rows); fewer only
where an iteration would take it longer than so many seconds."""

SECONDS = 0.25
"""What an iteration of scikit-learn should take in a whole fit, about."""

LONG, TOO_LONG = 1.5, 12.0
"""Seconds of one iteration of scikit-learn beyond which a cell is repeated less, and left out."""

SHADES = ("#0b3c5d", BLUE, "#4fa3c7", RED, SAND)


def rows_of(kind: str, d: int, k: int, limit: float = SECONDS) -> int:
    """Rows of a whole fit: an iteration must not take too long, nor a component have too few of them."""
    # What scikit-learn needs per row and component.
    nanoseconds = {"full": 40 + 0.13 * d * d, "tied": 40 + 0.06 * d * d}.get(kind, 35 + 0.5 * d)
    fewest = max(10_000, k * max(100, 3 * d))
    return int(np.clip(limit * 1e9 / (k * nanoseconds), fewest, MOST_ROWS))


def bare_products(n: int, k: int, p: int, dtype: type) -> Callable[[], None]:
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


def iteration(covariance: str, d: int, k: int, n: int, repeats: int) -> Iterator[Row]:
    """CPU seconds of one iteration; methods and bare products take turns.

    They are the difference of two fits, of 1 and of ``1 + n_iter`` iterations: scikit-learn does one E-step more than
    iterations, and checks its input; what is done once is not counted.
    """
    law = clusters(k, d)
    x, start = law.sample(n), law.start(covariance)
    works = {method.name: method.prepare(x, start) for method in (RIVAL, DOUBLE, SINGLE)}
    for work in reversed(works.values()):
        _, seconds = cpu_seconds(partial(work, 1, 0.0))  # also warms up
    if seconds > 1.5 * TOO_LONG:
        return
    n_iter, repeats = (4, repeats) if seconds < LONG else (2, 2)
    fits = {(name, long): partial(work, 1 + long * n_iter, 0.0) for name, work in works.items() for long in (0, 1)}
    p = start.covariance.n_sums(d)
    floors = {(m.name, -1): bare_products(n, k, p, t) for m, t in ((DOUBLE, np.float64), (SINGLE, np.float32))}
    _, times = in_turns(fits | floors, repeats)
    middle = {key: median(values) for key, values in times.items()}
    seconds_of = {name: (middle[name, 1] - middle[name, 0]) / n_iter for name in works}
    for name, seconds in seconds_of.items():
        floor = middle.get((name, -1))
        row: Row = {"method": name, "seconds": seconds, "ratio": seconds_of[RIVAL.name] / seconds, "floor": floor}
        row |= {"share_of_floor": None if floor is None else floor / seconds, "n_iter": n_iter, "repeats": repeats}
        row |= {"seconds_short": middle[name, 0], "seconds_long": middle[name, 1]}
        yield row | {"slowest_long": max(times[name, 1])}


def lines(axes: Axes, rows: Rows, field: str, scale: float = 1) -> None:
    """A line per dimension over the number of components."""
    for d, colour in zip(values_of(rows, "d"), SHADES, strict=False):
        here = of(rows, d=d)
        values = [scale * row[field] for row in here]
        axes.plot([row["k"] for row in here], values, "o-", ms=4, color=colour, label=f"d = {d}")


def iteration_figure(rows: Rows) -> Figure:
    """times faster than scikit-learn, one iteration"""
    kinds = values_of(rows, "covariance")
    options = {"layout": "constrained", "sharex": True, "sharey": True, "squeeze": False}
    figure, panels = plt.subplots(2, len(kinds), figsize=(3.1 * len(kinds), 5.6), **options)
    for line, method, precision in zip(panels, (DOUBLE, SINGLE), ("float64", "float32"), strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            lines(axes, of(rows, covariance=kind, method=method.name), "ratio")
            axes.axhline(1, color="0.5", lw=0.8)
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            ticks(axes, values_of(rows, "k"))
            low, high = axes.get_ylim()
            seen = [tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
            if seen:
                axes.set_yticks(seen, [f"{tick:g}" for tick in seen])
            axes.minorticks_off()
        line[0].set_ylabel(f"{precision}: times faster")
    for top, bottom, kind in zip(*panels, kinds, strict=True):
        top.set_title(kind)
        bottom.set_xlabel("components k")
    legend(figure, panels[0, 0])
    return figure


def floor_figure(rows: Rows) -> Figure:
    """share of the time that the bare matrix products take"""
    kinds = values_of(rows, "covariance")
    figure, axes = panels(len(kinds), 3.1 * len(kinds), 3.2, sharey=True)
    for panel, kind in zip(axes, kinds, strict=True):
        lines(panel, of(rows, covariance=kind, method=DOUBLE.name), "share_of_floor", 100)
        panel.axhline(100, color="0.5", lw=0.8)
        panel.set(title=kind, xlabel="components k", ylim=(0, None))
        ticks(panel, values_of(rows, "k"))
    axes[0].set_ylabel("bare products, % of the time")
    legend(figure, axes[0])
    return figure


PAIR = f"{{method[{DOUBLE.name}].ratio:.1f}} / {{method[{SINGLE.name}].ratio:.1f}}"


def iteration_table(rows: Rows) -> Table:
    """One iteration: how many times faster than scikit-learn, in double / single precision, on one thread."""
    heads, ratios = across("k", values_of(rows, "k"), PAIR, "k = {}")
    return table(rows, ("covariance", "d"), f"covariance, d | {heads}", f"{{covariance}}, {{d}} | {ratios}", "-")


def rows_table(rows: Rows) -> Table:
    """The same ratios for fewer and more rows."""
    heads, ratios = across("n", values_of(rows, "n"), PAIR, "{:,} rows")
    return table(rows, ("covariance", "d", "k"), f" | {heads}", f"{{covariance}}, d = {{d}}, k = {{k}} | {ratios}", "-")


def ratio_target(kind: str, d: int, k: int, method: str) -> float | None:
    """How many times faster than scikit-learn an iteration should be; None where nothing was aimed at."""
    single = method == SINGLE.name
    if kind in ("diag", "spherical"):
        return (10.0 if single else 6.0) if k >= 64 else (4.0 if single else 2.0)
    by_components = {64: ((12.0, 22.0), (8.0, 15.0)), 16: ((6.0, 10.0), (3.0, 5.0)), 0: ((4.0, 6.0), (2.0, 3.0))}
    return (
        next(pair for least, pair in by_components.items() if k >= least)[d >= 32][single] if kind == "full" else None
    )


def iteration_aims(rows: Rows) -> Iterator[Aim]:
    """Cells are so many times faster."""
    for row in rows:
        target = ratio_target(row["covariance"], row["d"], row["k"], row["method"])
        if row["method"] != RIVAL.name and target is not None:
            found = f"{row['ratio']:.1f}x (bare products {row['share_of_floor']:.0%} of the time)"
            sentence = f"{target:g}x for {{covariance}} d={{d}} k={{k}} {{method}}".format(**row)
            yield Aim(sentence, found, row["ratio"] >= target)


CELLS = grid(covariance=KINDS, d=(2, 8, 16, 32, 64), k=(4, 16, 64, 256))
SOME_CELLS = cells("covariance d k", ("full", 16, 64), ("full", 32, 16), ("diag", 32, 64), ("spherical", 16, 64))

ITERATION = Benchmark(
    iteration,
    Size([cell | {"n": rows_of(*cell.values(), SECONDS_WITH_ROWS)} for cell in CELLS], repeats=3),
    Size(grid(covariance=KINDS, d=[2], k=[4], n=[500]), repeats=2),
    [iteration_table],
    {"iteration": iteration_figure, "floor": floor_figure},
    iteration_aims,
)
ROWS = Benchmark(
    iteration,
    Size(grid(SOME_CELLS, n=(10_000, 30_000, 100_000, 300_000)), repeats=3),
    Size(grid(SOME_CELLS, n=(300, 500)), repeats=2),
    [rows_table],
    own_name="rows",
)
