"""The tables of the page, made of stored rows: counts, means and sums, nothing else."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from benchmarks.gaussian.draw import Table, of, values_of
from benchmarks.global_start.methods import AUTO, GLOBAL, ONE, TEN

Row = dict[str, Any]

WORSE = 0.002
"""Nats per held-out row by which a fit is called worse than another."""

KEYS = ("suite", "problem", "covariance", "k", "d", "n", "separation", "layout", "seed")
"""What a problem is told by, as far as a table has them."""


def key(row: Row) -> tuple[Any, ...]:
    """The problem of a row."""
    return tuple(row.get(name) for name in KEYS)


def difference(held_out: float | None, other: float | None) -> float:
    """How much better on held-out rows; a fit that failed is infinitely worse."""
    if other is None:
        return 0.0 if held_out is None else float("inf")
    return float("-inf") if held_out is None else held_out - other


def differences(rows: Sequence[Row], method: str, rival: str) -> dict[tuple[Any, ...], float]:
    """The same for every problem that both were given."""
    theirs = {key(row): row["held_out"] for row in of(rows, method=rival)}
    return {
        key(row): difference(row["held_out"], theirs[key(row)]) for row in of(rows, method=method) if key(row) in theirs
    }


def total_seconds(rows: Sequence[Row]) -> float:
    """Sum over the fits that ended."""
    return float(sum(row["seconds"] or 0.0 for row in rows))


def seconds_ratio(rows: Sequence[Row], method: str, rival: str) -> float:
    """Total CPU time, as a multiple of that of a rival, on the problems in which both ended."""
    ended = [row for row in rows if row["seconds"] is not None]
    mine, theirs = ({key(row) for row in of(ended, method=name)} for name in (method, rival))
    both = [row for row in ended if key(row) in mine & theirs]
    ours, others = (total_seconds(of(both, method=name)) for name in (method, rival))
    return ours / others if others else float("nan")


def share(rows: Sequence[Row], name: str = "success") -> float:
    """Share of the rows in which something holds."""
    return fmean(bool(row[name]) for row in rows) if rows else float("nan")


def mean_held_out(rows: Sequence[Row]) -> str:
    """Mean of a column of likelihoods, of the fits that ended."""
    values = [row["held_out"] for row in rows if row["held_out"] is not None]
    return f"{fmean(values):.4f}" if values else "-"


def of_all(rows: Sequence[Row]) -> str:
    """Successes, of how many."""
    return f"{sum(bool(row['success']) for row in rows)} of {len(rows)}"


def random_table(rows: Sequence[Row]) -> Table:
    """A row per suite and method."""
    lines: list[tuple[str, ...]] = []
    for suite in values_of(rows, "suite"):
        mine = of(rows, suite=suite)
        for method in values_of(mine, "method"):
            fits, gaps = of(mine, method=method), differences(mine, method, TEN.name).values()
            better, worse = sum(gap > WORSE for gap in gaps), sum(gap < -WORSE for gap in gaps)
            ratio = f"{seconds_ratio(mine, method, ONE.name):.2f}"
            percent = f"{100 * share(fits):.1f} %"
            counts = (str(better), str(worse)) if method != TEN.name else ("-", "-")
            lines.append((suite, method, str(len(fits)), percent, *counts, f"{total_seconds(fits):.1f}", ratio))
    head = ("suite", "method", "problems", "success", "better than 10 starts", "worse", "CPU s", "times one start")
    return head, lines


def losses(rows: Sequence[Row]) -> list[Row]:
    """Rows of the global start that fail or are worse than ten starts."""
    gaps = differences(rows, GLOBAL.name, TEN.name)
    return [row for row in of(rows, method=GLOBAL.name) if not row["success"] or gaps.get(key(row), 0.0) < -WORSE]


def losses_table(rows: Sequence[Row]) -> Table:
    """A row per seed that is lost."""
    gaps, ten = differences(rows, GLOBAL.name, TEN.name), {key(row): row for row in of(rows, method=TEN.name)}
    lines: list[tuple[str, ...]] = []
    for row in losses(rows):
        law = f"{row['layout']}, {row['covariance']}, k = {row['k']}, d = {row['d']}, n = {row['n']:,}"
        spread = f"{row['separation']:.1f}{', Zipf' * row['zipf']}"
        below = difference(row["held_out"], row["oracle"])
        outcomes = ("yes" if fit and fit["success"] else "no" for fit in (row, ten.get(key(row))))
        gap = gaps.get(key(row), float("nan"))
        lines.append((row["suite"], str(row["seed"]), law, spread, f"{below:+.4f}", f"{gap:+.4f}", *outcomes))
    head = (
        "suite",
        "seed",
        "problem",
        "separation",
        "against the truth's",
        "against 10 starts",
        "success",
        "of 10 starts",
    )
    return head, lines


def designed_table(rows: Sequence[Row]) -> Table:
    """A row per problem, a column per method, and totals."""
    methods, lines = values_of(rows, "method"), []
    for problem in values_of(rows, "problem"):
        mine = of(rows, problem=problem)
        shape = f"{mine[0]['covariance']}, k = {mine[0]['k']}, d = {mine[0]['d']}"
        lines.append((problem, shape, *(_success_and_time(of(mine, method=method)) for method in methods)))
    totals = (_success_and_time(of(rows, method=method)) for method in methods)
    return ("problem", "", *methods), [*lines, ("all", "", *totals)]


def _success_and_time(rows: Sequence[Row]) -> str:
    return f"{of_all(rows)}, {total_seconds(rows):.1f} s"


def separation_table(rows: Sequence[Row]) -> Table:
    """A row per separation and kind, a column per method."""
    methods, lines = values_of(rows, "method"), []
    for kind in values_of(rows, "covariance"):
        for d in values_of(of(rows, covariance=kind), "d"):
            for distance in values_of(of(rows, covariance=kind, d=d), "separation"):
                mine = of(rows, covariance=kind, d=d, separation=distance)
                lines.append((f"{kind}, d = {d}", f"{distance:g}", *(of_all(of(mine, method=m)) for m in methods)))
    return ("", "separation", *methods), lines


def noise_table(rows: Sequence[Row]) -> Table:
    """A row per layout and method."""
    lines: list[tuple[str, ...]] = []
    for layout in values_of(rows, "layout"):
        for method in values_of(rows, "method"):
            mine = of(rows, layout=layout, method=method)
            found = ", ".join(str(row["found"]) for row in mine)
            lines.append((f"{layout}, k = {mine[0]['k']}", method, found, of_all(mine), f"{total_seconds(mine):.1f}"))
    return ("centres", "method", "centres found, by seed", "all found", "CPU s"), lines


def cells_table(rows: Sequence[Row]) -> Table:
    """A row per cell and method, means over the seeds: likelihoods and seconds."""
    lines: list[tuple[str, ...]] = []
    cells = dict.fromkeys((row["covariance"], row["d"], row["k"], row["n"]) for row in rows)
    for kind, d, k, n in cells:
        cell = of(rows, covariance=kind, d=d, k=k, n=n)
        for method in values_of(cell, "method"):
            mine = of(cell, method=method)
            numbers = (f"{total_seconds(mine) / len(mine):.2f}", f"{seconds_ratio(cell, method, ONE.name):.2f}")
            lines.append((f"{kind}, d = {d}, k = {k}, n = {n:,}", method, *numbers, mean_held_out(mine), of_all(mine)))
    return ("cell", "method", "CPU s", "times one start", "held-out", "success"), lines


def components_table(rows: Sequence[Row]) -> Table:
    """A row per suite and method: how often exact, too few, too many."""
    lines: list[tuple[str, ...]] = []
    for problem in ("separated", "harder"):
        for method in values_of(of(rows, problem=problem), "method"):
            mine = of(rows, problem=problem, method=method)
            ended = [row for row in mine if row["k_found"] is not None]
            few, many = (sum(sign * (row["k_found"] - row["k_true"]) > 0 for row in ended) for sign in (-1, 1))
            exact = f"{sum(bool(row['exact']) for row in mine)} of {len(mine)}"
            lines.append((problem, method, exact, str(few), str(many), mean_held_out(mine), _seconds(mine)))
    return ("problems", "method", "exact", "too few", "too many", "held-out, mean", "CPU s"), lines


def inexact_table(rows: Sequence[Row]) -> Table:
    """The drawn problems in which the number found is wrong, beside what the grid finds."""
    theirs = {key(row): row for row in rows if row["method"] != AUTO.name}
    lines: list[tuple[str, ...]] = []
    for row in of(rows, method=AUTO.name, exact=False):
        grid = theirs[key(row)]
        law = f"{row['covariance']}, d = {row['d']}, n = {row['n']:,}{', Zipf' * row['zipf']}"
        gap = f"{difference(row['held_out'], grid['held_out']):+.4f}"
        counts = (str(row["k_true"]), str(row["k_found"]), str(grid["k_found"]))
        lines.append((row["problem"], str(row["seed"]), law, f"{row['separation']:.1f}", *counts, gap))
    head = ("problems", "seed", "problem", "separation", "components", "found", "by the grid", "held-out against it")
    return head, lines


def real_table(rows: Sequence[Row]) -> Table:
    """A row per data set and method."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row["k_true"] is None:
            name = f"{row['problem']}, {row['n']} x {row['d']}"
            lines.append((name, row["method"], str(row["k_found"]), mean_held_out([row]), _seconds([row], 2)))
    return ("data", "method", "components", "held-out", "CPU s"), lines


def _seconds(rows: Sequence[Row], digits: int = 1) -> str:
    return f"{total_seconds(rows):.{digits}f}"


def robust_table(rows: Sequence[Row]) -> Table:
    """A row per case and method, means over the seeds."""
    lines: list[tuple[str, ...]] = []
    for problem in values_of(rows, "problem"):
        for method in values_of(rows, "method"):
            mine = of(rows, problem=problem, method=method)
            indices = [row["rand_index"] for row in mine if row["rand_index"] is not None]
            index = f"{fmean(indices):.3f}" if indices else "-"
            lines.append((problem, method, mean_held_out(mine), index, f"{total_seconds(mine) / len(mine):.2f}"))
    return ("rows", "method", "held-out", "adjusted Rand index", "CPU s"), lines


PLANS: dict[str, tuple[tuple[str, Callable[[Sequence[Row]], Table]], ...]] = {
    "random": (
        ("Random configurations.", random_table),
        ("Random configurations that the global start loses.", losses_table),
    ),
    "designed": (("Designed problems: successes and total CPU seconds.", designed_table),),
    "separation": (("Successes against separation.", separation_table),),
    "noise": (("Noise against temperature.", noise_table),),
    "large": (("Many rows and many components.", cells_table),),
    "overfit": (("Few rows for the parameters.", cells_table),),
    "components": (
        ("Components found, drawn problems.", components_table),
        ("Drawn problems of which the number is not found.", inexact_table),
        ("Components found, real data.", real_table),
    ),
    "robust": (("Rows that are not quite those of the model.", robust_table),),
}
