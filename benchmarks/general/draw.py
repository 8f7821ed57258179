"""Draw the figures and fill the tables of the page from the stored JSON.

python -m benchmarks.general.draw
python -m benchmarks.general.draw --results DIR --output docs/figures --page docs/general_benchmarks.md
"""

from collections.abc import Callable, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks import ROOT
from benchmarks.gaussian.draw import of, values_of
from benchmarks.general import PREFIX
from benchmarks.general.known import BASE, CORRECTED, DOUBLE_CORRECTED, HALF_CORRECTED, LIMIT, PAPER, SOFT
from benchmarks.general.real import BASE as MIXTURE
from benchmarks.general.real import CORRECTED as WITH_POLYNOMIALS
from benchmarks.general.real import GRID, KDE, NEURAL, SHAPES
from benchmarks.general.tables import LEAST, PLANS, Row
from benchmarks.page import Page

COLOURS = {
    MIXTURE: "#0b3c5d",
    WITH_POLYNOMIALS: "#4fa3c7",
    SHAPES: "#7b5aa6",
    GRID: "#c8553d",
    KDE: "#8a8a8a",
    NEURAL: "#b8a13a",
    BASE: "#0b3c5d",
    CORRECTED: "#4fa3c7",
    HALF_CORRECTED: "#c8553d",
    DOUBLE_CORRECTED: "#e8a87c",
    PAPER: "#8a8a8a",
    SOFT: "#b8a13a",
    "scoremix": "#0b6e99",
    "scoremix, 2,000 rows": "#7fb8d0",
    "npeb": "#b8a13a",
}


def real_figure(rows: Sequence[Row]) -> Figure:
    """Differences of likelihoods and losses on the same splits, a dot per split."""
    names = values_of(rows, "data")
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.8), sharey=True, layout="constrained")
    for method, shift in ((MIXTURE, -0.2), (SHAPES, 0.0), (KDE, 0.2)):
        for at, name in enumerate(names):
            pairs = zip(of(rows, data=name, method=method), of(rows, data=name, method=GRID), strict=True)
            gains = [a["log_likelihood"] - b["log_likelihood"] for a, b in pairs]
            panels[0].plot(gains, [at + shift] * len(gains), "o", ms=5, alpha=0.6, color=COLOURS[method])
    for method, shift in ((WITH_POLYNOMIALS, -0.24), (GRID, -0.08), (KDE, 0.08), (NEURAL, 0.24)):
        for at, name in enumerate(names):
            here = of(rows, data=name, method=method)
            above = [-row["gain"] for row in here]
            panels[1].plot(above, [at + shift] * len(here), "o", ms=5, alpha=0.6, color=COLOURS[method])
    panels[0].set_xscale("symlog", linthresh=0.1)
    panels[1].set_xscale("symlog", linthresh=0.01)
    panels[0].set_title("held-out log likelihood beyond scikit-learn's, nats per row", fontsize=10)
    panels[1].set_title("denoising loss above the mixture's, nats per dimension", fontsize=10)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for panel in panels:
        panel.axvline(0, color="0.5", lw=0.8)
        panel.grid(alpha=0.3)
    shown = (MIXTURE, SHAPES, WITH_POLYNOMIALS, GRID, KDE, NEURAL)
    handles = [Line2D([], [], marker="o", ls="", color=COLOURS[method], label=method) for method in shown]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def known_figure(rows: Sequence[Row]) -> Figure:
    """KL bound over that of maximum likelihood."""
    names = values_of(rows, "problem")
    figure, panel = plt.subplots(figsize=(9, 4.8), layout="constrained")
    for method in (PAPER, SOFT, HALF_CORRECTED, DOUBLE_CORRECTED, BASE, CORRECTED):
        at, ratios = [], []
        for place, name in enumerate(names):
            mine, limit = of(rows, problem=name, method=method), of(rows, problem=name, method=LIMIT)
            if mine:
                at.append(place)
                ratios.append(fmean(row["kl"] for row in mine) / fmean(row["kl"] for row in limit))
        if not at:
            continue
        size = 10 if method == BASE else 6
        panel.plot(ratios, at, "o", ms=size, alpha=0.85, color=COLOURS[method], label=method)
    panel.axvline(1, color="0.5", lw=0.8)
    panel.set(xscale="log", xlabel="KL bound over that of maximum likelihood from the truth")
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def random_figure(rows: Sequence[Row]) -> Figure:
    """KL bound of every problem against what its parameters cost, and what corrections add to that of the mixture."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.9), layout="constrained")
    cost = [row["parameters_over_2n"] for row in rows]
    ends = [min(cost) / 1.5, 1.5 * max(cost)]
    panels[0].plot(ends, ends, color="0.5", lw=0.8)
    panels[0].plot(cost, [row["kl"] for row in rows], "o", ms=5, alpha=0.7, color=COLOURS[CORRECTED])
    panels[0].set(xscale="log", yscale="log", xlabel="parameters / 2n", ylabel="KL bound")
    added = sorted((-1e4 * row["gain"], 2e4 * row["gain_error"]) for row in rows)
    panels[1].axhline(1e4 * LEAST, color="0.5", lw=0.8, ls="--")
    values, twice = zip(*added, strict=True)
    panels[1].errorbar(range(1, len(added) + 1), values, yerr=twice, fmt="o", ms=4, color=COLOURS[CORRECTED])
    panels[1].set(xlabel="problems, sorted", ylabel="KL bound added by corrections, 10⁻⁴ nats")
    for panel in panels:
        panel.grid(alpha=0.3)
    return figure


def regret_figure(rows: Sequence[Row]) -> Figure:
    """Regret by problem and dimension."""
    places = list(dict.fromkeys((row["problem"], row["d"]) for row in rows))
    figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
    for method in reversed(values_of(rows, "method")):
        here = of(rows, method=method)
        at = [places.index((row["problem"], row["d"])) for row in here]
        colour = COLOURS.get(str(method), COLOURS["scoremix, 2,000 rows"])
        panel.plot([100 * row["regret"] for row in here], at, "o", ms=6, alpha=0.8, color=colour, label=str(method))
    panel.axvline(1, color="0.5", lw=0.8, ls="--")
    panel.set(xscale="log", xlabel="excess risk, % of the oracle's")
    panel.set_yticks(range(len(places)), [f"{name}, {d}-D" for name, d in places])
    panel.set_ylim(len(places) - 0.5, -0.5)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


FIGURES: dict[str, Callable[[Sequence[Row]], Figure]] = {
    "real": real_figure,
    "known": known_figure,
    "random": random_figure,
    "regret": regret_figure,
}
CAPTIONS = {
    "real": "held-out likelihood beyond scikit-learn's best, and denoising loss above the mixture's, a dot per split",
    "known": "KL bound over that of maximum likelihood, for eleven general mixtures",
    "random": "KL bound on forty random problems, and what corrections add to it; dashed: what they may add",
    "regret": "excess risk of posterior means on three problems in 2, 10 and 50 dimensions; dashed: one per cent",
}


PAGE = Page(
    "python -m benchmarks.general.draw", PREFIX, ROOT / "docs" / "general_benchmarks.md", PLANS, FIGURES, CAPTIONS
)
sections = PAGE.sections
main = PAGE.main

if __name__ == "__main__":
    main()
