"""Draw the figures and fill the tables of the page from the stored JSON.

python -m benchmarks.ddpm.draw
python -m benchmarks.ddpm.draw --results DIR --output docs/figures --page docs/sck.md
"""

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks import ROOT
from benchmarks.ddpm import PREFIX
from benchmarks.gaussian.draw import Table, of, values_of
from benchmarks.page import Page

Row = dict[str, Any]

COLOURS = ("#0b6e99", "#7fb8d0", "#c8553d", "#e8a87c")

SUCCESS = 0.5
"""Largest distance of a mean with which the published experiment counts as solved."""


def poster_figure(rows: Sequence[Row]) -> Figure:
    """Distance of learnt and true means along the descent, a line per start."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    longest = max(row["steps"][-1] for row in rows)
    for panel, student in zip(panels, ("untied", "tied"), strict=True):
        for schedule, colour in zip(
            ("small noise only", "large, then small noise"), ("#c8553d", "#0b6e99"), strict=True
        ):
            for i, row in enumerate(of(rows, student=student, schedule=schedule)):
                steps, errors = [*row["steps"], longest], [*row["errors"], row["errors"][-1]]
                panel.plot(steps, errors, color=colour, lw=0.6, alpha=0.6, label=schedule if i == 0 else None)
        panel.set(xlabel="step", xscale="symlog", title=f"{student} means")
        panel.set_xlim(0, longest)
    panels[0].set_ylabel("distance of learnt and true means")
    panels[0].set_ylim(0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def poster_table(rows: Sequence[Row]) -> Table:
    """How many starts end near the truth."""
    lines = []
    for student in values_of(rows, "student"):
        for schedule in values_of(rows, "schedule"):
            here = of(rows, student=student, schedule=schedule)
            errors = [row["error"] for row in here]
            lines.append(
                (
                    str(student),
                    str(schedule),
                    f"{fmean(row['start'] for row in here):.1f}",
                    f"{sum(error < SUCCESS for error in errors)} of {len(errors)}",
                    f"{median(errors):.2f}",
                    f"{max(errors):.2f}",
                    f"{median(row['steps'][-1] for row in here):,.0f}",
                    f"{median(row['seconds'] for row in here):.1f}",
                )
            )
    head = ("means", "noise", "distance at the start", f"ends below {SUCCESS}", "median", "largest", "steps", "seconds")
    return head, lines


def symmetric_table(rows: Sequence[Row]) -> Table:
    """Angle and error, beside EM's on the same rows."""
    lines = []
    best = {row["seed"]: row["error"] for row in of(rows, method="EM")}
    for method in values_of(rows, "method"):
        here = of(rows, method=method)
        ratios = [row["error"] / best[row["seed"]] for row in here]
        lines.append(
            (
                str(method),
                f"{len(here)}",
                f"{min(row['cosine'] for row in here):.4f}",
                f"{fmean(row['error'] for row in here):.4f}",
                f"{max(ratios):.3f}",
                f"{median(row['seconds'] for row in here):.1f}",
            )
        )
    return ("", "seeds", "smallest cosine", "mean error", "largest error, times EM's", "seconds"), lines


def separation_table(rows: Sequence[Row]) -> Table:
    """Angle and error against rows, dimension and separation."""
    lines = []
    for d in values_of(rows, "d"):
        for length in values_of(rows, "length"):
            for n in values_of(rows, "n"):
                here = of(rows, d=d, length=length, n=n)
                if not here:
                    continue
                ours, em = of(here, method="DDPM"), of(here, method="EM")
                lines.append(
                    (
                        f"{d}",
                        f"{length} = {ours[0]['|mu|']:.2f}",
                        f"{n:,}",
                        *(f"{median(row['cosine'] for row in group):.3f}" for group in (ours, em)),
                        *(f"{median(row['error'] for row in group):.3f}" for group in (ours, em)),
                        *(f"{median(row['seconds'] for row in group):.2f}" for group in (ours, em)),
                    )
                )
    head = ("d", "length of mu", "rows", "cosine", "EM", "error", "EM", "seconds", "EM")
    return head, lines


def separation_figure(rows: Sequence[Row]) -> Figure:
    """Error of mu against rows."""
    lengths = values_of(rows, "length")
    figure, panels = plt.subplots(1, len(lengths), figsize=(10, 3.6), sharey=True, layout="constrained", squeeze=False)
    for panel, length in zip(panels[0], lengths, strict=True):
        for d, colour in zip(values_of(rows, "d"), COLOURS, strict=False):
            for method, style in (("DDPM", "-"), ("EM", ":")):
                here = of(rows, length=length, d=d, method=method)
                numbers = values_of(here, "n")
                middle = [median(row["error"] for row in of(here, n=n)) for n in numbers]
                panel.plot(numbers, middle, style, color=colour, marker="o", ms=3, label=f"{method}, d = {d}")
        panel.set(xscale="log", yscale="log", xlabel="rows", title=f"|mu| = {length}")
    panels[0, 0].set_ylabel("error of mu, median of 5 seeds")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def basin_figure(rows: Sequence[Row]) -> Figure:
    """Share of starts from which every mean is found, against their distance from the truth."""
    apart = values_of(rows, "separation")
    figure, panels = plt.subplots(1, len(apart), figsize=(9, 3.4), sharey=True, layout="constrained", squeeze=False)
    for panel, separation in zip(panels[0], apart, strict=True):
        for method, colour in zip(values_of(rows, "method"), COLOURS, strict=False):
            here = of(rows, separation=separation, method=method)
            distances = values_of(here, "distance")
            shares = [100 * fmean(row["found"] for row in of(here, distance=distance)) for distance in distances]
            panel.plot(distances, shares, color=colour, marker="o", ms=3, label=str(method))
        panel.set(xlabel="distance of every mean from the truth at the start", title=f"means {separation:g} apart")
    panels[0, 0].set_ylabel("all means found, %")
    panels[0, 0].set_ylim(-3, 103)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def basin_table(rows: Sequence[Row]) -> Table:
    """Share of starts from which every mean is found."""
    distances = values_of(rows, "distance")
    lines = [
        (
            f"{separation:g}",
            str(method),
            *(
                f"{100 * fmean(row['found'] for row in here):.0f} %"
                if (here := _basin(rows, separation, method, r))
                else ""
                for r in distances
            ),
        )
        for separation in values_of(rows, "separation")
        for method in values_of(rows, "method")
    ]
    return ("separation", "method", *(f"from {distance:g}" for distance in distances)), lines


def _basin(rows: Sequence[Row], separation: Any, method: Any, distance: Any) -> Sequence[Row]:
    return of(rows, separation=separation, method=method, distance=distance)


def efficiency_table(rows: Sequence[Row]) -> Table:
    """Squared error over that of maximum likelihood, summed over the seeds."""
    shapes = sorted({(row["k"], row["d"], row["separation"]) for row in rows})
    lines = []
    for method in values_of(rows, "method"):
        line = [str(method)]
        for k, d, separation in shapes:
            here = of(rows, method=method, k=k, d=d, separation=separation)
            ratio = sum(row["square"] for row in here) / sum(row["mle"] for row in here)
            line.append(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}")
        lines.append(tuple(line))
    return ("objective", *(f"k = {k}, d = {d}, {separation:g} apart" for k, d, separation in shapes)), lines


def warm_table(rows: Sequence[Row]) -> Table:
    """Error over that of maximum likelihood, from warm starts."""
    lines = []
    for method in values_of(rows, "method"):
        for separation in values_of(rows, "separation"):
            here = of(rows, method=method, separation=separation)
            ratios = [row["ratio"] for row in here]
            lines.append(
                (
                    str(method),
                    f"{separation:g}",
                    f"{fmean(ratios):.3f}",
                    f"{max(ratios):.3f}",
                    f"{median(row['steps'] for row in here):.0f}",
                    f"{median(row['seconds'] for row in here):.1f}",
                )
            )
    return ("steps", "separation", "mean error, times the MLE's", "largest", "number of steps", "seconds"), lines


def cost_table(rows: Sequence[Row]) -> Table:
    """Time of a gradient over that of an EM pass."""
    methods = [method for method in values_of(rows, "method") if not str(method).startswith("EM")]
    lines = []
    for k, d in dict.fromkeys((row["k"], row["d"]) for row in rows):
        here = {row["method"]: row["seconds"] for row in of(rows, k=k, d=d)}
        base, full = here["EM, spherical"], here["EM, full"]
        ratios = [f"{here[m] / base:.1f} ({here[m] / full:.1f})" if m in here else "" for m in methods]
        lines.append((f"{k}", f"{d}", f"{1e3 * base:.1f} ({1e3 * full:.1f})", *ratios))
    return ("k", "d", "EM pass, ms", *map(str, methods)), lines


TABLES: dict[str, tuple[str, Callable[[Sequence[Row]], Table]]] = {
    "poster": (
        "The published experiment: two components in 100 dimensions, means 6 from the origin, 2,000 rows.",
        poster_table,
    ),
    "symmetric": ("The symmetric student from random starts: d = 100, length 1, 50,000 rows.", symmetric_table),
    "separation": (
        "Random starts, scaled steps of rate 0.5, medians of 5 seeds; in every pair of columns EM's is the second.",
        separation_table,
    ),
    "basin": ("Warm starts at growing distance: k = 8, d = 16, 10,000 rows, 10 seeds.", basin_table),
    "efficiency": (
        "Squared error over that of maximum likelihood, 5,000 rows, 12 seeds; every objective's noise is drawn once.",
        efficiency_table,
    ),
    "warm": ("Warm starts, all levels: k = 8, d = 16, 20,000 rows, 8 seeds (3 with the smallest steps).", warm_table),
    "cost": (
        "CPU time of one gradient, times an EM pass of spherical (in brackets: full) covariances; 100,000 rows.",
        cost_table,
    ),
}

FIGURES: dict[str, Callable[[Sequence[Row]], Figure]] = {
    "poster": poster_figure,
    "separation": separation_figure,
    "basin": basin_figure,
}
CAPTIONS = {
    "poster": "distance of learnt and true means along the descent, 64 starts with and without large noise first",
    "separation": "error of mu against the number of rows, for three dimensions and three separations, beside EM",
    "basin": "share of starts from which all eight means are found, against their distance from the truth",
}


PAGE = Page(
    "python -m benchmarks.ddpm.draw",
    PREFIX,
    ROOT / "docs" / "sck.md",
    {name: (table,) for name, table in TABLES.items()},
    FIGURES,
    CAPTIONS,
)
sections = PAGE.sections
main = PAGE.main

if __name__ == "__main__":
    main()
