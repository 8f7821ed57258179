"""Draw the figures of the benchmark and fill the tables of its pages from the stored JSON.

Nothing is computed but medians, over the seeds that all methods of a table took part in: placements differ from
seed to seed, and so do the numbers.

python -m benchmarks.draw
python -m benchmarks.draw --results benchmarks/results --output docs/figures --page README.md
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.gaussian.draw import Table, markdown
from benchmarks.page import replaced

PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")

LABELS = {
    "kl": "KL bound (nats)",
    "tv_excess": "TV above the two-sample floor",
    "fit_cpu": "fit, CPU seconds",
    "sample_cpu": "sampling, CPU seconds",
    "regret": "excess risk over the oracle",
    "exact": "share of seeds with exactly k cells",
    "fit_wall": "fit, wall seconds",
    "memory_beyond_x": "peak beyond the rows, MiB",
}
DEFAULT, SOFT, HARD, BIC, KDE = "scoremix", "soft cells", "hard cells", "GaussianMixture, BIC", "KDE, cross-validated"
COLOURS = {DEFAULT: "#0b6e99", SOFT: "#6a4c93", HARD: "#b79fd1", BIC: "#c8553d", KDE: "#8a8a8a"}

Row = dict[str, Any]


def shared(rows: Sequence[Row]) -> list[Row]:
    """The rows of those seeds that all methods took part in."""
    methods = dict.fromkeys(row["method"] for row in rows)
    seeds = set.intersection(*({row["seed"] for row in rows if row["method"] == method} for method in methods))
    return [row for row in rows if row["seed"] in seeds]


def medians(rows: Sequence[Row], metric: str) -> dict[str, dict[Any, float]]:
    """Median over the seeds that all share: method -> place on the axis -> value."""
    values: dict[str, dict[Any, list[float]]] = {}
    for row in shared(rows):
        values.setdefault(row["method"], {}).setdefault(row["axis"], []).append(row[metric])
    return {method: {place: median(some) for place, some in places.items()} for method, places in values.items()}


def exactness(rows: Sequence[Row], metric: str) -> dict[str, dict[Any, float]]:
    """Share of seeds with the right number of cells: method -> place on the axis -> value."""
    shares: dict[str, dict[Any, float]] = {}
    for row in rows:
        hits = [r["n_cells"] == r["n_cells_true"] for r in rows if _same(r, row)]
        shares.setdefault(row["method"], {})[row["axis"]] = sum(hits) / len(hits)
    return shares


def _same(one: Row, other: Row) -> bool:
    return bool(one["method"] == other["method"] and one["axis"] == other["axis"])


def lines(axes: Axes, table: dict[str, dict[Any, float]], metric: str, axis_name: str) -> None:
    """One line per method, logarithmic axes but for differences, which may be negative."""
    for method, values in table.items():
        style = {"lw": 4.0, "ms": 8} if method == DEFAULT else {"lw": 1.4, "ms": 4}
        axes.plot(list(values), list(values.values()), "o-", color=COLOURS[method], label=method, **style)
    places = sorted({place for values in table.values() for place in values})
    axes.set(xscale="log", xlabel=axis_name, title=LABELS[metric])
    axes.set_xticks(places, [_short(place) for place in places])
    axes.minorticks_off()
    if metric != "tv_excess":
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _short(number: float) -> str:
    """1,000 as 1k, 1,000,000 as 1M."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"


def dots(axes: Axes, table: dict[str, dict[Any, float]], metric: str, axis_name: str) -> None:
    """One line of dots per problem, a dot per method; a length would mean nothing on a logarithmic axis."""
    places = list(dict.fromkeys(place for values in table.values() for place in values))
    for number, (method, values) in enumerate(table.items()):
        at = [places.index(place) + 0.12 * (number - (len(table) - 1) / 2) for place in values]
        size = 10 if method == DEFAULT else 6
        axes.plot(list(values.values()), at, "o", ms=size, mew=0, color=COLOURS[method], label=method, clip_on=False)
    axes.set_yticks(range(len(places)), [str(place) for place in places])
    axes.set(title=LABELS[metric], ylim=(len(places) - 0.5, -0.5))
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
    axes.grid(alpha=0.3)


Panel = Callable[[Axes, dict[str, dict[Any, float]], str, str], None]
COSTS_AND_ERRORS = ("kl", "tv_excess", "fit_cpu", "sample_cpu")
PLANS: dict[str, tuple[Panel, tuple[str, ...]]] = {
    "rows": (lines, COSTS_AND_ERRORS),
    "components": (lines, COSTS_AND_ERRORS),
    "dimension": (lines, COSTS_AND_ERRORS),
    "accuracy": (dots, ("kl", "tv_excess", "fit_cpu")),
    "cells": (dots, ("exact", "fit_cpu")),
    "regret": (dots, ("regret", "fit_cpu")),
    "threads": (dots, ("fit_wall", "memory_beyond_x")),
}


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw one stored table; where several problems share an axis, the first."""
    panel, metrics = PLANS[content["table"]]
    rows = content["rows"]
    if content["table"] == "rows":
        rows = _of(rows, problem=rows[0]["problem"])
    height = 3.6 if panel is lines else 1.3 + 0.42 * len({row["axis"] for row in rows})
    figure, panels = plt.subplots(
        1, len(metrics), figsize=(4 * len(metrics), height), layout="constrained", sharey=panel is dots
    )
    for place, metric in zip(panels, metrics, strict=True):
        panel(place, (exactness if metric == "exact" else medians)(rows, metric), metric, content["axis"])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    source = content["provenance"]
    figure.supxlabel(f"{source['date'][:10]}, {source['cpu']}, medians over seeds", fontsize=7, color="0.4")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _of(rows: Sequence[Row], **fields: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def _nats(value: float) -> str:
    """In units of 1e-4, two significant digits at least."""
    return f"{1e4 * value:,.{max(-3 - floor(log10(value)), 0)}f}"


def _distance(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1)


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value <= 10 else "> 1000 %"


FORMATS: dict[str, Callable[[float], str]] = {
    "kl": _nats,
    "tv_excess": _distance,
    "regret": _percent,
    "fit_cpu": lambda value: f"{value:.1f}",
    "fit_wall": lambda value: f"{value:.1f}",
    "memory_beyond_x": lambda value: f"{value:.0f}",
}
HEADS = {
    "kl": "KL bound, 10⁻⁴ nats",
    "tv_excess": "TV above floor",
    "fit_cpu": "fit, CPU s",
    "fit_wall": "fit, wall s",
    "memory_beyond_x": "MiB beyond the rows",
    "regret": "excess risk",
}
Plan = tuple[tuple[str, tuple[str, ...]], ...]


def compare(rows: Sequence[Row], title: str, plan: Plan) -> Table:
    """A line per place on the axis; of a metric the methods asked for, all that are best as shown in bold."""
    columns = [(metric, medians(rows, metric), methods) for metric, methods in plan]
    head = [title]
    for metric, _, methods in columns:
        head += [
            f"{HEADS[metric]}: {methods[0]}",
            *(method.removesuffix(", cross-validated") for method in methods[1:]),
        ]
    lines = []
    for place in dict.fromkeys(row["axis"] for row in rows):
        line = [f"{place:,}" if isinstance(place, int) else str(place)]
        for metric, table, methods in columns:
            values = [table.get(method, {}).get(place) for method in methods]
            shown = ["" if value is None else FORMATS[metric](value) for value in values]
            best = FORMATS[metric](min(value for value in values if value is not None))
            line += [f"**{text}**" if metric in ("kl", "regret") and text == best else text for text in shown]
        lines.append(tuple(line))
    return tuple(head), lines


def count(rows: Sequence[Row]) -> Table:
    """How often the right number of cells was found."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for place in dict.fromkeys(row["axis"] for row in rows):
        found = [[r["n_cells"] == r["n_cells_true"] for r in _of(rows, axis=place, method=m)] for m in methods]
        lines.append((place, *(f"{sum(hits)} of {len(hits)}" for hits in found)))
    return ("clusters", f"right number found: {methods[0]}", *methods[1:]), lines


def tables_of(name: str, rows: Sequence[Row]) -> Iterator[Table]:
    """The tables that the pages show of one that is stored."""
    kl, fit = ("kl", (DEFAULT, SOFT, BIC, KDE)), ("fit_cpu", (DEFAULT, SOFT, BIC))
    if name == "accuracy":
        size = f"{rows[0]['n_rows']:,} rows"
        yield compare(rows, size, (("kl", (DEFAULT, SOFT, HARD, BIC, KDE)),))
        yield compare(rows, size, (("tv_excess", (DEFAULT, SOFT, BIC)), fit))
    elif name == "rows":
        for problem in dict.fromkeys(row["problem"] for row in rows):
            yield compare(_of(rows, problem=problem), f"rows, {problem}", (kl, fit))
    elif name == "components":
        yield compare(rows, "clusters in 2-D", (kl, fit))
    elif name == "dimension":
        yield compare(rows, "dimension, 5 clusters", (kl, fit))
    elif name == "cells":
        yield count(rows)
    elif name == "regret":
        yield compare(rows, "denoising", (("regret", (DEFAULT, SOFT, BIC, KDE)), fit))
    else:
        measures = ("fit_wall", "fit_cpu", "memory_beyond_x")
        yield compare(rows, f"threads, {rows[0]['n_rows']:,} rows", tuple((m, (rows[0]["method"],)) for m in measures))


def sections(contents: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What stands between the markers of every stored table, by name."""
    for name, content in contents.items():
        yield name, "\n\n".join(markdown(table) for table in tables_of(name, content["rows"]))


def fill(page: Path, contents: dict[str, dict[str, Any]]) -> None:
    """Replace what stands between the markers that the page has."""
    text = page.read_text(encoding="utf-8")
    for name, section in sections(contents):
        if f"<!-- benchmark {name} -->" in text:
            text = replaced(text, name, section)
    page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every stored table and fill the pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description="Draw the stored benchmark.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder of the figures")
    parser.add_argument("--page", type=Path, action="append", help="a page whose tables are filled; may be repeated")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    paths = {name: options.results / f"{name}.json" for name in PLANS}
    contents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    for name, content in contents.items():
        draw(content, options.output / f"benchmark_{name}.png")
    for page in options.page or PAGES:
        fill(page, contents)


if __name__ == "__main__":
    main()
