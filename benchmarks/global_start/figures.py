"""The figures of the page, from stored rows."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gaussian.draw import bars, of, values_of
from benchmarks.global_start.methods import GLOBAL, ONE, PLUS_PLUS, SCALED, TEN
from benchmarks.global_start.tables import WORSE, Row, differences, seconds_ratio, share

Content = dict[str, Any]

COLOURS = {
    GLOBAL.name: "#0b6e99",
    ONE.name: "#e8a87c",
    TEN.name: "#c8553d",
    PLUS_PLUS.name: "#b8a13a",
    SCALED.name: "#8a8a8a",
}
SUITE_COLOURS = ("#0b6e99", "#7fb8d0")

BOUND = 1.0
"""Nats beyond which the figure of differences does not tell how many."""


def draw_random(content: Content) -> Figure:
    """Success and time of every method, a bar for each suite."""
    rows = content["rows"]
    methods, suites = values_of(rows, "method"), values_of(rows, "suite")
    figure, panels = plt.subplots(
        1, 2, figsize=(9, 1.4 + 0.5 * len(methods)), layout="constrained", sharey=True, squeeze=False
    )
    colours = dict(zip(suites, SUITE_COLOURS, strict=False))
    successes = {suite: [_percent(of(rows, suite=suite, method=m)) for m in methods] for suite in suites}
    times = {suite: [_ratio(of(rows, suite=suite), m) for m in methods] for suite in suites}
    for axes, groups, label in zip(
        panels[0], (successes, times), ("success, %", "CPU time, times one start of scikit-learn"), strict=True
    ):
        bars(axes, methods, groups, colours)
        axes.set_xlabel(label)
    panels[0, 0].axvline(100, color="0.3", lw=0.8)
    panels[0, 1].axvline(1, color="0.3", lw=0.8)
    panels[0, 1].invert_yaxis()  # both panels share the axis, which was turned round twice
    handles, labels = panels[0, 0].get_legend_handles_labels()
    names = [f"{label} suite" for label in labels]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _percent(rows: Sequence[Row]) -> float | None:
    return 100 * share(rows) if rows else None


def _ratio(rows: Sequence[Row], method: str) -> float | None:
    return seconds_ratio(rows, method, ONE.name) if of(rows, method=method) else None


def draw_difference(content: Content) -> Figure:
    """Held-out likelihood beyond that of ten starts, sorted: what is won and what is lost."""
    rows = content["rows"]
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for method in (GLOBAL.name, ONE.name):
        gaps = np.clip(sorted(differences(rows, method, TEN.name).values()), -BOUND, BOUND)
        axes.plot(100 * (np.arange(len(gaps)) + 0.5) / max(1, len(gaps)), gaps, color=COLOURS[method], label=method)
    axes.axhline(0, color="0.3", lw=0.8)
    axes.axhspan(-WORSE, WORSE, color="0.9", zorder=0)
    axes.set_yscale("symlog", linthresh=WORSE)
    axes.set(
        xlabel="problems, %", ylabel="held-out nats per row\nbeyond ten starts", xlim=(0, 100), ylim=(-BOUND, BOUND)
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def draw_separation(content: Content) -> Figure:
    """A panel per kind and dimension, a line per method."""
    rows = content["rows"]
    cells = list(dict.fromkeys((row["covariance"], row["d"]) for row in rows))
    figure, panels = plt.subplots(
        1, len(cells), figsize=(2.8 * len(cells), 3.0), layout="constrained", sharey=True, squeeze=False
    )
    for axes, (kind, d) in zip(panels[0], cells, strict=True):
        mine = of(rows, covariance=kind, d=d)
        _lines(axes, mine)
        axes.set(title=f"{kind}, d = {d}", xlabel="separation", ylim=(-4, 104))
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel(f"success, % (k = {rows[0]['k']})")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _lines(axes: Axes, rows: Sequence[Row]) -> None:
    distances = values_of(rows, "separation")
    for method in values_of(rows, "method"):
        successes = [100 * share(of(rows, method=method, separation=distance)) for distance in distances]
        axes.plot(distances, successes, "o-", ms=4, color=COLOURS[method], label=method)


FIGURES: dict[str, dict[str, Callable[[Content], Figure]]] = {
    "random": {"random": draw_random, "difference": draw_difference},
    "separation": {"separation": draw_separation},
}
CAPTIONS = {
    "random": "success and time on the random configurations",
    "difference": "held-out likelihood beyond ten starts of scikit-learn, problems sorted by it",
    "separation": "success against separation",
}
