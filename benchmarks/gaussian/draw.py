"""Draw the figures and fill the tables of the page from the stored JSON; nothing is computed but medians.

python -m benchmarks.gaussian.draw
python -m benchmarks.gaussian.draw --results benchmarks/results --output docs/figures --page docs/gaussian_benchmarks.md
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.gaussian import PREFIX

PAGE = ROOT / "docs" / "gaussian_benchmarks.md"
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"

RIVAL, DOUBLE, SINGLE = "scikit-learn", "scoremix", "scoremix, float32"
COLOURS = {
    DOUBLE: "#0b6e99",
    SINGLE: "#7fb8d0",
    RIVAL: "#c8553d",
    "pomegranate, float32": "#8a8a8a",
    "gmmx, float32": "#b8a13a",
}
DIMENSION_COLOURS = ("#0b3c5d", "#0b6e99", "#4fa3c7", "#c8553d", "#e8a87c")

Row = dict[str, Any]
Content = dict[str, Any]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def of(rows: Sequence[Row], **fields: Any) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def values_of(rows: Sequence[Row], name: str) -> list[Any]:
    """Values that occur, in order."""
    return list(dict.fromkeys(row[name] for row in rows))


def cell_name(row: Row) -> str:
    """Covariance, dimension and number of components."""
    return f"{row['covariance']}, d = {row['d']}, k = {row['k']}"


def draw_iteration(content: Content) -> Figure:
    """Ratios over the number of components: a column per covariance, a row per precision, a line per dimension."""
    rows = content["rows"]
    kinds, dimensions = values_of(rows, "covariance"), values_of(rows, "d")
    figure, panels = plt.subplots(
        2, len(kinds), figsize=(3.1 * len(kinds), 5.6), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for line, method in zip(panels, (DOUBLE, SINGLE), strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            for d, colour in zip(dimensions, DIMENSION_COLOURS, strict=False):
                cells = of(rows, covariance=kind, d=d, method=method)
                ratios = [r["ratio"] for r in cells]
                axes.plot([r["k"] for r in cells], ratios, "o-", ms=4, color=colour, label=f"d = {d}")
            axes.axhline(1, color="0.5", lw=0.8)
            axes.set(xscale="log", yscale="log")
            axes.grid(alpha=0.3)
            axes.set_xticks(values_of(rows, "k"), [str(k) for k in values_of(rows, "k")])
            _plain(axes, (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100))
            axes.minorticks_off()
        line[0].set_ylabel(f"{'float64' if method == DOUBLE else 'float32'}: times faster")
    for axes, kind in zip(panels[0], kinds, strict=True):
        axes.set_title(kind)
    for axes in panels[1]:
        axes.set_xlabel("components k")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _plain(axes: Axes, ticks: Sequence[float]) -> None:
    """Label those powers that are in sight."""
    low, high = axes.get_ylim()
    seen = [tick for tick in ticks if low <= tick <= high]
    if seen:
        axes.set_yticks(seen, [f"{tick:g}" for tick in seen])


def draw_floor(content: Content) -> Figure:
    """Share of the time that the bare matrix products take, over the number of components."""
    rows = of(content["rows"], method=DOUBLE)
    kinds = values_of(rows, "covariance")
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(3.1 * len(kinds), 3.2), layout="constrained", sharey=True, squeeze=False
    )
    for axes, kind in zip(panels[0], kinds, strict=True):
        for d, colour in zip(values_of(rows, "d"), DIMENSION_COLOURS, strict=False):
            cells = of(rows, covariance=kind, d=d)
            shares = [100 * r["share_of_floor"] for r in cells]
            axes.plot([r["k"] for r in cells], shares, "o-", ms=4, color=colour, label=f"d = {d}")
        axes.axhline(100, color="0.5", lw=0.8)
        axes.set(xscale="log", title=kind, xlabel="components k", ylim=(0, None))
        axes.set_xticks(values_of(rows, "k"), [str(k) for k in values_of(rows, "k")])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("bare products, % of the time")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def bars(axes: Axes, names: Sequence[str], groups: dict[str, list[float | None]], colours: dict[str, str]) -> None:
    """Horizontal bars from zero, a group of them for every name; None leaves a gap."""
    height = 0.8 / len(groups)
    for at, (label, lengths) in enumerate(groups.items()):
        places = [i + (at - (len(groups) - 1) / 2) * height for i, length in enumerate(lengths) if length is not None]
        axes.barh(places, [v for v in lengths if v is not None], height * 0.92, color=colours[label], label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)


def draw_threads(content: Content) -> Figure:
    """Speed-up of two threads."""
    rows = of(content["rows"], threads=2)
    figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
    bars(axes, [cell_name(r) for r in rows], {DOUBLE: [r["speed_up"] for r in rows]}, COLOURS)
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set_xlabel("one pass: times faster on two threads than on one")
    return figure


def draw_memory(content: Content) -> Figure:
    """Peak beyond the rows."""
    rows = content["rows"]
    figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
    names = [_memory_name(r) for r in rows]
    axes.barh(names, [r["memory_beyond_x"] for r in rows], 0.6, color=[COLOURS[r["method"]] for r in rows])
    axes.bar_label(axes.containers[0], fmt=lambda v: f" {v:,.0f}")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"peak beyond the rows, MiB ({cell_name(rows[0])}, n = {rows[0]['n']:,})")
    return figure


def _memory_name(row: Row) -> str:
    return row["method"] + (f", {row['threads']} threads" if row["threads"] > 1 else "")


def draw_accuracy(content: Content) -> Figure:
    """A dot per seed and method."""
    rows = content["rows"]
    cases = list(dict.fromkeys((r["problem"], r["covariance"]) for r in sorted(rows, key=lambda r: r["problem"])))
    methods = values_of(rows, "method")
    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.36 * len(cases)), layout="constrained")
    for at, method in enumerate(methods):
        mine = of(rows, method=method)
        places = [cases.index((r["problem"], r["covariance"])) + 0.2 * (at - (len(methods) - 1) / 2) for r in mine]
        axes.plot([r["error"] for r in mine], places, "o", ms=5, alpha=0.7, mew=0, color=COLOURS[method], label=method)
    axes.set_yticks(range(len(cases)), [f"{problem}, {kind}" for problem, kind in cases])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="largest relative error of a parameter after 10 iterations")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(methods), frameon=False)
    return figure


def draw_acceleration(content: Content) -> Figure:
    """Passes of the accelerated runs against those of plain EM, a dot per seed."""
    rows = content["rows"]
    plain = {r["seed"]: r["passes"] for r in of(rows, method="EM")}
    figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
    for method, colour in (("SQUAREM", "#0b6e99"), ("Anderson", "#c8553d")):
        reached = [r for r in of(rows, method=method) if r["passes"] is not None]
        at = ([plain[r["seed"]] for r in reached], [r["passes"] for r in reached])
        axes.plot(*at, "o", ms=6, alpha=0.75, mew=0, color=colour, label=method)
    ends = [min(plain.values()), max(plain.values())]
    for factor, style in ((1, "-"), (2, "--"), (4, ":")):
        label = f"{factor}x fewer" if factor > 1 else "as many"
        axes.plot(ends, [end / factor for end in ends], style, color="0.5", lw=0.9, label=label)
    axes.set(xscale="log", yscale="log", xlabel="passes of plain EM", ylabel="passes of the accelerated run")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def draw_fits(content: Content) -> Figure:
    """How many times faster than scikit-learn a whole fit is."""
    rows = content["rows"]
    names = list(dict.fromkeys(cell_name(r) for r in rows))
    groups = {
        method: [next((r["ratio"] for r in of(rows, method=method) if cell_name(r) == name), None) for name in names]
        for method in values_of(rows, "method")
        if method != RIVAL
    }
    figure, axes = plt.subplots(figsize=(6.5, 1.2 + 0.5 * len(names)), layout="constrained")
    bars(axes, names, groups, COLOURS)
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set_xlabel("whole fit: times faster than scikit-learn")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def iteration_table(rows: Sequence[Row]) -> Table:
    """A row per covariance and dimension, a column per number of components."""
    components = values_of(rows, "k")
    lines = []
    for kind in values_of(rows, "covariance"):
        for d in values_of(of(rows, covariance=kind), "d"):
            cells = [of(rows, covariance=kind, d=d, k=k) for k in components]
            lines.append((f"{kind}, {d}", *(_ratio_pair(cell) for cell in cells)))
    return ("covariance, d", *(f"k = {k}" for k in components)), lines


def _ratio_pair(cell: Sequence[Row]) -> str:
    if not cell:
        return "-"
    return " / ".join(f"{of(cell, method=method)[0]['ratio']:.1f}" for method in (DOUBLE, SINGLE))


def rows_table(rows: Sequence[Row]) -> Table:
    """A row per cell, a column per number of rows."""
    numbers = values_of(rows, "n")
    lines = []
    for kind, d, k in dict.fromkeys((r["covariance"], r["d"], r["k"]) for r in rows):
        cells = [of(rows, covariance=kind, d=d, k=k, n=n) for n in numbers]
        lines.append((f"{kind}, d = {d}, k = {k}", *(_ratio_pair(cell) for cell in cells)))
    return ("", *(f"{n:,} rows" for n in numbers)), lines


def threads_table(rows: Sequence[Row]) -> Table:
    """A row per cell."""
    lines = []
    for one, two in zip(of(rows, threads=1), of(rows, threads=2), strict=True):
        times = (f"{1e3 * row['seconds']:.1f}" for row in (one, two))
        lines.append((cell_name(one), f"{one['n']:,}", *times, f"{two['speed_up']:.2f}"))
    return ("one pass", "rows", "one thread, ms", "two threads, ms", "times faster"), lines


def memory_table(rows: Sequence[Row]) -> Table:
    """A row per method."""
    head = (f"{rows[0]['n']:,} rows, {cell_name(rows[0])}", "peak beyond the rows, MiB", "bytes per row")
    return head, [
        (_memory_name(r), f"{r['memory_beyond_x']:,.0f}", f"{r['memory_beyond_x'] * 2**20 / r['n']:,.0f}") for r in rows
    ]


def accuracy_table(rows: Sequence[Row]) -> Table:
    """The worst seed of every case."""
    methods = values_of(rows, "method")
    lines = []
    for problem in values_of(rows, "problem"):
        for kind in values_of(of(rows, problem=problem), "covariance"):
            cells = of(rows, problem=problem, covariance=kind)
            worst = (max(r["error"] for r in of(cells, method=method)) for method in methods)
            lines.append((f"{problem}, {kind}", *(f"{value:.0e}" for value in worst)))
    return ("largest error of a parameter, worst seed", *methods), lines


def acceleration_table(rows: Sequence[Row]) -> Table:
    """Medians over seeds, and where a run ended lower or higher than plain EM."""
    plain = {r["seed"]: r for r in of(rows, method="EM")}
    lines = []
    for method in values_of(rows, "method"):
        mine = of(rows, method=method)
        reached = [r for r in mine if r["passes"] is not None]
        ratio = median(plain[r["seed"]]["passes"] / r["passes"] for r in reached) if reached else float("nan")
        gains = [r["final"] - plain[r["seed"]]["final"] for r in mine]
        passes = f"{median(r['passes'] for r in reached):,.0f}" if reached else "-"
        ends = (sum(g < -1e-6 for g in gains), sum(g > 1e-6 for g in gains))
        lines.append((method, passes, f"{ratio:.1f}", *(f"{count} of {len(gains)}" for count in ends)))
    return ("", "passes, median", "times fewer, median", "ends lower than EM", "ends higher"), lines


def fits_table(rows: Sequence[Row]) -> Table:
    """A row per cell and method."""
    lines = []
    for r in rows:
        numbers = (f"{r['seconds']:.2f}", f"{r['ratio']:.1f}", str(r["n_iter"]) if r["n_iter"] >= 0 else "-")
        lines.append((f"{cell_name(r)}, n = {r['n']:,}", r["method"], *numbers, f"{r['log_likelihood']:.6f}"))
    return ("whole fit", "method", "CPU s", "times faster", "iterations", "mean log likelihood"), lines


def blas_table(rows: Sequence[Row]) -> Table:
    """A row per fit, and state of the machine."""
    methods = values_of(rows, "method")
    lines = []
    for n, d, k, is_busy in dict.fromkeys((r["n"], r["d"], r["k"], r["busy"]) for r in rows):
        cells = [of(rows, n=n, d=d, k=k, busy=is_busy, method=method)[0] for method in methods]
        name = f"n = {n:,}, d = {d}, k = {k}" + (", one core busy" if is_busy else "")
        lines.append((name, *(f"{r['seconds']:.2f} ({r['ratio']:.1f})" for r in cells)))
    return ("whole fit, s (ratio to one thread)", *methods), lines


def missing_table(rows: Sequence[Row]) -> Table:
    """A row per cell."""
    head = ("one pass", "rows", "missing", "patterns", "complete rows, ms", "with missing values, ms", "times longer")
    return head, [
        (
            cell_name(r),
            f"{r['n']:,}",
            f"{r['share']:.0%}",
            f"{r['patterns']:,}",
            f"{1e3 * r['seconds_whole']:.1f}",
            f"{1e3 * r['seconds']:.1f}",
            f"{r['ratio']:.1f}",
        )
        for r in rows
    ]


def one_hot_table(rows: Sequence[Row]) -> Table:
    """A row per number of columns and method."""
    head = ("columns", "method", "CPU s", "times scikit-learn's", "mean log likelihood", "held out")
    return head, [
        (
            str(r["d"]),
            r["method"],
            f"{r['seconds']:.2f}",
            f"{r['ratio']:.1f}",
            f"{r['log_likelihood']:.2f}",
            f"{r['held_out']:.1f}",
        )
        for r in rows
    ]


PLANS: dict[str, tuple[dict[str, Callable[[Content], Figure]], Callable[[Sequence[Row]], Table], str]] = {
    "iteration": (
        {"iteration": draw_iteration, "floor": draw_floor},
        iteration_table,
        "One iteration: how many times faster than scikit-learn, in double / single precision, on one thread.",
    ),
    "rows": ({}, rows_table, "The same ratios for fewer and more rows."),
    "fits": ({"fits": draw_fits}, fits_table, "Whole fits from the same start, tolerance 1e-3, one thread."),
    "threads": ({"threads": draw_threads}, threads_table, "Two threads."),
    "memory": ({"memory": draw_memory}, memory_table, "Memory."),
    "accuracy": ({"accuracy": draw_accuracy}, accuracy_table, "Digits after ten iterations."),
    "acceleration": (
        {"acceleration": draw_acceleration},
        acceleration_table,
        "Passes over the data until the mean log likelihood is within 1e-6 nats of where plain EM ends.",
    ),
    "blas": ({}, blas_table, "BLAS threads: whole fits, time on the clock."),
    "missing": ({}, missing_table, "Values missing at random, one thread."),
    "one_hot": ({}, one_hot_table, "Categories as columns of 0 and 1: whole fits of 6 components, one thread."),
}
CAPTIONS = {
    "iteration": "times faster than scikit-learn, one iteration",
    "floor": "share of the time that the bare matrix products take",
    "fits": "times faster than scikit-learn, whole fits",
    "threads": "speed-up of two threads",
    "memory": "memory beyond the rows",
    "accuracy": "errors after ten iterations",
    "acceleration": "passes of accelerated runs against those of plain EM",
}


def markdown(table: Table) -> str:
    """A table of the page."""
    head, lines = table
    rule = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def sections(contents: dict[str, Content]) -> Iterator[str]:
    """Tables and figures, in the order of the page."""
    for name, content in contents.items():
        figures, table, title = PLANS[name]
        source = content["provenance"]
        yield f"**{title}** {source['date'][:10]}, {source['cpu']}, scikit-learn {source['versions']['scikit-learn']}."
        yield markdown(table(content["rows"]))
        yield from content["left_out"]
        for figure in figures:
            yield f"![{CAPTIONS[figure]}](figures/{PREFIX}{figure}.png)"


def fill(page: Path, contents: dict[str, Content]) -> None:
    """Replace what stands between the markers."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    body = "\n\n".join([BEGIN, *sections(contents), END])
    page.write_text(before + body + after, encoding="utf-8")


def draw(contents: dict[str, Content], folder: Path) -> None:
    """Draw every figure of the stored tables."""
    for name, content in contents.items():
        source = content["provenance"]
        for figure_name, make in PLANS[name][0].items():
            figure = make(content)
            figure.supxlabel(f"{source['date'][:10]}, {source['cpu']}", fontsize=7, color="0.4")
            figure.savefig(folder / f"{PREFIX}{figure_name}.png", dpi=120)
            plt.close(figure)


def stored(folder: Path) -> dict[str, Content]:
    """Tables that have been run."""
    paths = {name: folder / f"{PREFIX}{name}.json" for name in PLANS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every stored table and fill the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gaussian.draw", description="Draw the stored results.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder of the figures")
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose tables are filled")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    contents = stored(options.results)
    draw(contents, options.output)
    fill(options.page, contents)


if __name__ == "__main__":
    main()
