"""Draw the figures of the benchmark from the stored JSON; nothing is computed but medians over seeds.

python -m benchmarks.draw
python -m benchmarks.draw --results benchmarks/results --output docs/figures
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks import FIGURES, RESULTS

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
COLOURS = {
    "scoremix": "#0b6e99",
    "scoremix, hard gates": "#7fb8d0",
    "GaussianMixture, BIC": "#c8553d",
    "KDE, cross-validated": "#8a8a8a",
}

Row = dict[str, Any]


def medians(rows: Sequence[Row], metric: str) -> dict[str, dict[Any, float]]:
    """Median over seeds: method -> place on the axis -> value."""
    methods = list(dict.fromkeys(row.get("method", "scoremix") for row in rows))
    places = list(dict.fromkeys(row["axis"] for row in rows))
    table: dict[str, dict[Any, float]] = {method: {} for method in methods}
    for method in methods:
        for place in places:
            chosen = [r for r in rows if r.get("method", "scoremix") == method and r["axis"] == place]
            if chosen:
                table[method][place] = median(r[metric] for r in chosen)
    return table


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
        axes.plot(list(values), list(values.values()), "o-", ms=4, color=COLOURS[method], label=method)
    places = sorted({place for values in table.values() for place in values})
    axes.set(xscale="log", xlabel=axis_name, title=LABELS[metric])
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.minorticks_off()
    if metric != "tv_excess":
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


def dots(axes: Axes, table: dict[str, dict[Any, float]], metric: str, axis_name: str) -> None:
    """One line of dots per problem, a dot per method; a length would mean nothing on a logarithmic axis."""
    places = list(dict.fromkeys(place for values in table.values() for place in values))
    for method, values in table.items():
        at = [places.index(place) for place in values]
        axes.plot(list(values.values()), at, "o", ms=7, alpha=0.85, color=COLOURS[method], label=method)
    axes.set_yticks(range(len(places)), [str(place) for place in places])
    axes.set(title=LABELS[metric], ylim=(len(places) - 0.5, -0.5))
    if metric in ("kl", "regret"):
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=5)
    if metric in ("exact", "fit_cpu", "fit_wall", "memory_beyond_x"):
        axes.set_xlim(left=0)
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
        rows = [row for row in rows if row["problem"] == rows[0]["problem"]]
    height = 3.6 if panel is lines else 1.3 + 0.35 * len({row["axis"] for row in rows})
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every stored table that has a figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description="Draw the stored benchmark.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder of the figures")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in PLANS:
        stored = options.results / f"{name}.json"
        if stored.exists():
            draw(json.loads(stored.read_text(encoding="utf-8")), options.output / f"benchmark_{name}.png")


if __name__ == "__main__":
    main()
