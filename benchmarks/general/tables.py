"""The tables of the page."""

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.gaussian.draw import Table, of, values_of
from benchmarks.general.known import (
    BASE,
    CORRECTED,
    DOUBLE,
    DOUBLE_CORRECTED,
    HALF,
    HALF_CORRECTED,
    LIMIT,
    PAPER,
    SOFT,
)
from benchmarks.general.real import BASE as MIXTURE
from benchmarks.general.real import CORRECTED as WITH_POLYNOMIALS
from benchmarks.general.real import GRID, KDE, NEURAL, SHAPES

Row = dict[str, Any]

LEAST = 5e-5
"""Nats that a correction may lose at any time."""


def mean_and_error(values: Sequence[float]) -> str:
    """Mean over splits, and its standard error as if splits were independent."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{fmean(values):+.3f} ± {error:.3f}"


def likelihood_table(rows: Sequence[Row]) -> Table:
    """Mean held-out log likelihood, and the difference to the best of scikit-learn's on the same splits."""
    lines: list[tuple[str, ...]] = []
    for name in values_of(rows, "data"):
        here = {method: of(rows, data=name, method=method) for method in values_of(rows, "method")}
        means = {m: fmean(r["log_likelihood"] for r in here[m]) for m in (MIXTURE, SHAPES, WITH_POLYNOMIALS, GRID, KDE)}
        pairs = zip(here[MIXTURE], here[GRID], strict=True)
        one = here[MIXTURE][0]
        lines.append(
            (
                f"{name} ({one['n']:,} x {one['d']}, {len(here[MIXTURE])})",
                f"{means[MIXTURE]:.3f} (k = {median(r['k'] for r in here[MIXTURE]):g})",
                f"{means[WITH_POLYNOMIALS]:.3f}",
                f"{means[SHAPES]:.3f} ({_shape(here[SHAPES])})",
                f"{means[GRID]:.3f} ({_shape(here[GRID])})",
                f"{means[KDE]:.3f}",
                mean_and_error([a["log_likelihood"] - b["log_likelihood"] for a, b in pairs]),
            )
        )
    head = (
        "data (rows x columns, splits)",
        "mixture",
        "corrected",
        "shape by BIC",
        GRID,
        KDE,
        "mixture beyond scikit-learn",
    )
    return head, lines


def _shape(rows: Sequence[Row]) -> str:
    """The most frequent shape, and the median number of components."""
    shapes = [row["shape"] for row in rows]
    return f"{max(set(shapes), key=shapes.count)}, k = {median(row['k'] for row in rows):g}"


def loss_table(rows: Sequence[Row]) -> Table:
    """Integrated denoising loss below that of the mixture, the mean over splits of gains and of their errors."""
    lines: list[tuple[str, ...]] = []
    for name in values_of(rows, "data"):
        cells = [str(name)]
        for method in (WITH_POLYNOMIALS, SHAPES, GRID, KDE, NEURAL):
            here = of(rows, data=name, method=method)
            if not here:
                cells.append("")
                continue
            gain, error = fmean(row["gain"] for row in here), fmean(row["gain_error"] for row in here)
            cells.append("0" if abs(gain) < 1e-12 else f"{gain:+.4f} ± {error:.4f}")
        mine = of(rows, data=name, method=WITH_POLYNOMIALS)
        worst = max((-row["gain"] / max(row["gain_error"], 1e-12) if row["gain"] < -1e-12 else 0.0) for row in mine)
        corrected = fmean(row["corrected_levels"] > 0 for row in mine)
        lines.append((*cells, f"{100 * corrected:.0f} %", f"{worst:.1f}"))
    head = (
        "data",
        "corrected",
        "shape by BIC",
        GRID,
        KDE,
        NEURAL,
        "splits that are corrected",
        "worst split, standard errors above",
    )
    return head, lines


def time_table(rows: Sequence[Row]) -> Table:
    """Median CPU seconds of a fit."""
    lines: list[tuple[str, ...]] = []
    for name in values_of(rows, "data"):
        times = []
        for method in (MIXTURE, SHAPES, WITH_POLYNOMIALS, GRID, KDE, NEURAL):
            here = of(rows, data=name, method=method)
            times.append(f"{median(row['seconds'] for row in here):.2f}" if here else "")
        lines.append((str(name), *times))
    return ("data", MIXTURE, SHAPES, WITH_POLYNOMIALS, GRID, KDE, NEURAL), lines


METHODS = (BASE, CORRECTED, HALF, HALF_CORRECTED, DOUBLE, DOUBLE_CORRECTED, PAPER, SOFT)


def known_table(rows: Sequence[Row]) -> Table:
    """KL bounds, in units of 10^-4 nats, beside the limit and what parameters cost."""
    lines: list[tuple[str, ...]] = []
    methods = [method for method in METHODS if of(rows, method=method)]
    for name in values_of(rows, "problem"):
        here = of(rows, problem=name)
        limit = fmean(row["kl"] for row in of(here, method=LIMIT))
        cells = []
        for method in methods:
            mine = of(here, method=method)
            cells.append(f"{1e4 * fmean(row['kl'] for row in mine):.1f}" if mine else "")
        ratio = fmean(row["kl"] for row in of(here, method=CORRECTED)) / limit
        lines.append(
            (str(name), *cells, f"{1e4 * limit:.1f}", f"{1e4 * here[0]['parameters_over_2n']:.1f}", f"{ratio:.2f}")
        )
    return ("problem", *methods, "limit", "parameters / 2n", "corrected over limit"), lines


def distance_table(rows: Sequence[Row]) -> Table:
    """Number found, total variation of samples, time."""
    lines: list[tuple[str, ...]] = []
    alone = {name: method for name, method in _ALONE.items() if of(rows, method=method)}
    for name in values_of(rows, "problem"):
        here = of(rows, problem=name)
        cells = []
        for method in (BASE, CORRECTED, *alone.values()):
            mine = of(here, method=method)
            error = fmean(row["tv_error"] for row in mine) if mine else 0.0
            cells.append(f"{fmean(row['tv_excess'] for row in mine):+.4f} ± {error:.4f}" if mine else "")
        mine = of(here, method=CORRECTED)
        levels = "/".join(str(row["corrected_levels"]) for row in mine)
        times = [
            median(row["seconds"] for row in of(here, method=m)) if of(here, method=m) else None
            for m in (CORRECTED, *alone.values())
        ]
        found = ", ".join(str(row["k_found"]) for row in mine)
        lines.append((str(name), found, *cells, levels, *("" if t is None else f"{t:.1f}" for t in times)))
    head = (
        "problem",
        "k found",
        "TV excess, mixture",
        "model",
        *alone,
        "levels corrected",
        "seconds, model",
        *(f"seconds, {name}" for name in alone),
    )
    return head, lines


_ALONE = {"cells alone": PAPER, "soft cells alone": SOFT}


def random_table(rows: Sequence[Row]) -> Table:
    """Where corrections act, and the worst of them."""
    acted = [row for row in rows if row["corrected_levels"] > 0]
    lost = [row for row in rows if row["gain"] < 0 and row["corrected_levels"] > 0]
    beyond = [row for row in rows if -row["gain"] > max(2 * row["gain_error"], LEAST)]
    line = (
        f"{len(rows)}",
        f"{len(acted)}",
        f"{1e4 * max((row['gain'] for row in rows), default=0):.1f}",
        f"{len(lost)}",
        f"{1e4 * max((-row['gain'] for row in lost), default=0):.2f}",
        f"{len(beyond)}",
        f"{median(row['kl'] / row['parameters_over_2n'] for row in rows):.2f}",
    )
    head = (
        "problems",
        "corrected",
        "largest gain, 10⁻⁴ nats",
        "some loss",
        "largest loss, 10⁻⁴ nats",
        "beyond max(2 standard errors, 5·10⁻⁵)",
        "median KL over parameters / 2n",
    )
    return head, [line]


def worst_table(rows: Sequence[Row]) -> Table:
    """Problems that are far from the limit, or where the correction lost the most."""
    ordered = sorted(rows, key=lambda row: -row["kl"] / row["parameters_over_2n"])
    lines = [
        (
            f"{row['seed']}",
            f"{row['problem']}",
            f"{row['n']:,}",
            f"{row['k_found']}",
            f"{1e4 * row['kl_mixture']:.1f}",
            f"{1e4 * row['kl']:.1f}",
            f"{1e4 * row['parameters_over_2n']:.1f}",
            f"{row['kl'] / row['parameters_over_2n']:.2f}",
            f"{row['corrected_levels']}",
        )
        for row in ordered[:6]
    ]
    head = (
        "seed",
        "problem",
        "rows",
        "k found",
        "mixture",
        "corrected",
        "parameters / 2n",
        "corrected over it",
        "levels corrected",
    )
    return head, lines


def overlap_table(rows: Sequence[Row]) -> Table:
    """Total variation between densities."""
    lines: list[tuple[str, ...]] = []
    for d in values_of(rows, "d"):
        for separation in values_of(rows, "separation"):
            for method in values_of(rows, "method"):
                here = of(rows, d=d, separation=separation, method=method)
                least = fmean(row["tv"] for row in of(rows, d=d, separation=separation, method=LIMIT))
                lines.append(
                    (
                        f"{d}",
                        f"{separation:g}",
                        str(method),
                        ", ".join(str(row["k_found"]) for row in here),
                        ", ".join(f"{row['tv']:.4f}" for row in here),
                        f"{fmean(row['tv'] for row in here) / least:.2f}",
                        f"{max(row['tv_error'] for row in here):.4f}",
                    )
                )
    return ("d", "separation", "", "k", "TV of the seeds", "mean over the limit", "standard error"), lines


def flat_table(rows: Sequence[Row]) -> Table:
    """Where learning stopped."""
    lines: list[tuple[str, ...]] = []
    for name in values_of(rows, "problem"):
        here = of(rows, problem=name)
        fitted = [row for row in here if row["error"] is None]
        cost = (here[0]["k"] * (here[0]["d"] + 1) * (here[0]["d"] + 2) / 2 - 1) / (2 * here[0]["n"])
        lines.append(
            (
                str(name),
                f"{len(fitted)} of {len(here)}",
                f"{here[0]['k']}",
                ", ".join(str(row["k_found"]) for row in fitted),
                ", ".join(f"{row['floor']:.2g}" for row in fitted),
                ", ".join(f"{row['narrowest']:.2f}" for row in here),
                ", ".join(f"{1e4 * row['kl']:.1f}" for row in fitted),
                ", ".join(f"{row['kl'] / cost:.2f}" for row in fitted),
                f"{sum(row['finite'] for row in here)} of {len(here)}",
            )
        )
    head = (
        "",
        "fitted",
        "k",
        "found",
        "learning stops at",
        "least width",
        "KL down to there, 10⁻⁴",
        "over parameters / 2n",
        "finite samples",
    )
    return head, lines


def identity_table(rows: Sequence[Row]) -> Table:
    """KL bound and distance under known noise."""
    lines: list[tuple[str, ...]] = []
    for name in values_of(rows, "problem"):
        here = of(rows, problem=name)
        limits = [row["limit"] for row in here if row["limit"] is not None]
        kl = fmean(row["kl"] for row in here)
        lines.append(
            (
                str(name),
                ", ".join(str(row["atoms"]) for row in here),
                ", ".join(str(row["cells"]) for row in here),
                f"{1e4 * kl:.1f}",
                f"{1e4 * max(row['kl'] for row in here):.1f}",
                f"{1e4 * fmean(limits):.1f}" if limits else "none",
                f"{kl / fmean(limits):.2f}" if limits else "none",
                f"{fmean(row['tv_excess'] for row in here):+.4f} ± {fmean(row['tv_error'] for row in here):.4f}",
                f"{median(row['seconds'] for row in here):.1f}",
            )
        )
    head = ("problem", "atoms", "cells", "KL, 10⁻⁴", "worst", "limit", "KL over limit", "TV excess", "seconds")
    return head, lines


def regret_table(rows: Sequence[Row]) -> Table:
    """Excess risk in per cent of the oracle's."""
    methods, lines = values_of(rows, "method"), []
    for name in values_of(rows, "problem"):
        for d in values_of(rows, "d"):
            cells = []
            for method in methods:
                here = of(rows, problem=name, d=d, method=method)
                time = f" ({median(row['seconds'] for row in here):.1f} s)" if here else ""
                cells.append(f"{100 * fmean(row['regret'] for row in here):.2f} %{time}" if here else "")
            if any(cells):
                lines.append((str(name), f"{d}", *cells))
    heads = [f"{m}, {of(rows, method=m)[0]['n']:,} rows" if "rows" not in m else m for m in methods]
    return ("problem", "d", *heads), lines


def equidistant_table(rows: Sequence[Row]) -> Table:
    """How often the number is right, and the KL bound over its limit."""
    lines: list[tuple[str, ...]] = []
    for k in values_of(rows, "k"):
        here = of(rows, k=k)
        right = sum(row["cells"] == k for row in here)
        ratios = [row["kl"] / row["limit"] for row in here]
        wrong = sorted(f"{row['cells']} ({row['atoms']})" for row in here if row["cells"] != k)
        lines.append(
            (
                f"{k} ({here[0]['layout']})",
                f"{right} of {len(here)}",
                ", ".join(wrong),
                f"{1e4 * median(row['kl'] for row in here):.0f}",
                f"{1e4 * median(row['limit'] for row in here):.0f}",
                f"{median(ratios):.2f}",
                f"{max(ratios):.2f}",
                f"{sum(ratio <= 1.3 for ratio in ratios)} of {len(here)}",
                f"{median(row['seconds'] for row in here):.1f}",
            )
        )
    head = (
        "centres",
        "right number of cells",
        "wrong: cells (atoms)",
        "median KL, 10⁻⁴",
        "limit",
        "KL over limit",
        "largest",
        "at most 1.3",
        "seconds",
    )
    return head, lines


PLANS: dict[str, tuple[tuple[str, Callable[[Sequence[Row]], Table]], ...]] = {
    "real": (
        ("Held-out log likelihood, nats per row, mean over random splits of 80 : 20.", likelihood_table),
        (
            "Held-out denoising loss below the mixture's, integrated over noise levels, nats per dimension "
            "(± one split's standard error).",
            loss_table,
        ),
        ("CPU seconds of a fit, the search for settings included.", time_table),
    ),
    "known": (
        ("KL bound in units of 10⁻⁴ nats, mean over seeds.", known_table),
        ("Samples, numbers of components and CPU seconds.", distance_table),
    ),
    "random": (
        ("Forty random problems.", random_table),
        ("The six farthest from the limit, KL bound in units of 10⁻⁴ nats.", worst_table),
    ),
    "overlap": (("Two components that overlap, total variation from the truth, 100,000 rows.", overlap_table),),
    "flat": (("Covariances without full rank, 20,000 rows in five dimensions.", flat_table),),
    "identity": (("Known noise, 50,000 rows, 3 seeds, KL bound in units of 10⁻⁴ nats.", identity_table),),
    "regret": (("Excess risk of posterior means in per cent of the oracle's.", regret_table),),
    "equidistant": (("Many centres, 5 apart, in 20 dimensions, 20,000 rows.", equidistant_table),),
}
"""Titles and tables, in the order of the page."""
