"""Noise of known scale: clusters, curves and balls, posterior means in up to 50 dimensions, and many centres in 20."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from benchmarks.clock import cpu_seconds
from benchmarks.drawing import BLUE, GREY, LIGHT_BLUE, MUSTARD, legend, names_down, panels
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.general.known import distance, drawn, errors, standard_error
from benchmarks.general.rivals import NPEB_ATOMS, NPEB_PRESENT, NPEB_ROWS, npeb
from benchmarks.methods import Score
from benchmarks.problems import BALLS, RING, SPIRAL, clusters, rotated
from benchmarks.score_methods import KDE
from benchmarks.tables import Row, Rows, Table, across, extended, of, table, values_of
from scoremix import DiffusionMixture
from scoremix.arrays import Floats
from scoremix.evaluation import make_gaussian_mixture, posterior_regret
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.learning.mixtures.npmle import CommonVariance
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

CLUSTERS = (clusters(3, 2, 4), clusters(6, 2, 4), clusters(4, 5, 4), clusters(5, 10, 4))
PROBLEMS = {problem.name: problem for problem in (*CLUSTERS, RING, SPIRAL, BALLS)}
NPEB = "npeb"


def limit(truth: GaussianMixtureTruth, x: Floats) -> Mixture:
    """Maximum likelihood for centres and weights, the variance known: EM from the truth."""
    k, d = truth.means.shape
    start = Mixture(truth.weights, truth.means, Spherical(np.ones(k), d))
    return CommonVariance(1.0, d).em(ArraySource(x), start, 200)


def learnt(x: Floats, seed: int) -> tuple[DiffusionMixture, float]:
    """The default mode, and its CPU seconds."""
    return cpu_seconds(lambda: DiffusionMixture(random_state=seed).fit(x))


def scored(truth: GaussianMixtureTruth, x: Floats, seed: int, points: int) -> tuple[DiffusionMixture, Row]:
    """The score, against the limit where the centres are finitely many."""
    model, seconds = learnt(x, seed)
    scores: list[Score] = [model.ladder_.score]
    row: Row = {"atoms": int(model.n_cells_per_level_[-1]), "cells": model.n_cells_, "seconds": seconds}
    row |= {"limit": None, "parameters_over_2n": None}
    if isinstance(truth, GaussianMixtureTruth):
        best, (k, d) = limit(truth, x), truth.means.shape
        scores.append(lambda y, sigma: np.asarray(best.score(y, sigma)))
        row["parameters_over_2n"] = (k * (d + 1) - 1) / (2 * len(x))
    found = errors(scores, truth, model.noise_levels_, points, seed)
    if len(found) > 1:
        row["limit"] = float(found[1].mean())
    return model, row | {"kl": float(found[0].mean()), "kl_error": standard_error(found[0])}


def identity(problem: str, n: int, seed: int, points: int) -> Iterator[Row]:
    """Clusters, curves and balls."""
    truth = PROBLEMS[problem].make(seed)
    model, row = scored(truth, drawn(truth, n, seed), seed, points)
    yield row | distance(truth, model.sample(n, random_state=seed), seed)


def identity_table(rows: Rows) -> Table:
    """Known noise, 50,000 rows, 3 seeds, KL bound in units of 10⁻⁴ nats."""

    def ratio(here: Rows) -> float | None:
        limits = [row["limit"] for row in here if row["limit"] is not None]
        return fmean(row["kl"] for row in here) / fmean(limits) if limits else None

    head = "problem | atoms | cells | KL, 10⁻⁴ | worst | limit | KL over limit | TV excess | seconds"
    line = "{problem} | {atoms.each} | {cells.each} | {kl.e4.mean:.1f} | {kl.e4.max:.1f} | {limit.e4.mean:.1f}"
    line += " | {ratio:.2f} | {tv_excess.mean:+.4f} ± {tv_error.mean:.4f} | {seconds.median:.1f}"
    return table(extended(rows, "problem", ratio=ratio), "problem", head, line, "none")


def regret(problem: str, d: int, seed: int, n: int, points: int, some: int, most: tuple[int, int]) -> Iterator[Row]:
    """Excess risk of posterior means over the oracle, relative to its risk; rivals in one seed."""
    law = {p.name: p for p in (RING, SPIRAL, BALLS)}[problem]
    truth = (rotated(law, d) if d > 2 else law).make(seed)
    x = drawn(truth, n, seed)
    model, seconds = learnt(x, seed)
    answers: dict[str, tuple[Callable[[Floats], Floats], float, int]] = {"scoremix": (model.posterior_mean, seconds, n)}
    if seed == 0:
        kernels, seconds = cpu_seconds(KDE.prepare(x, 1.0, seed))
        answers[KDE.name] = kernels.posterior_mean, seconds, n
    if NPEB_PRESENT and seed == 0:
        rows, atoms = most
        mean, seconds = cpu_seconds(partial(npeb, x, seed, rows, atoms))
        answers[NPEB] = mean, seconds, rows
        few, seconds = learnt(x[:rows], seed)
        answers[f"scoremix, {rows:,} rows"] = few.posterior_mean, seconds, rows
    for method, (mean, seconds, learnt_from) in answers.items():
        asked = some if method == KDE.name else points
        found = posterior_regret(mean, truth, asked, np.random.default_rng([seed, 1]))
        row: Row = {"n": learnt_from, "method": method, "regret": found.value, "regret_error": found.standard_error}
        yield row | {"seconds": seconds}


def regret_figure(rows: Rows) -> Figure:
    """excess risk of posterior means on three problems in 2, 10 and 50 dimensions; dashed: one per cent"""
    places = list(dict.fromkeys((row["problem"], row["d"]) for row in rows))
    colours = {"scoremix": BLUE, NPEB: MUSTARD, KDE.name: GREY}
    figure, (panel,) = panels(1, 8, 4)
    for method in reversed(values_of(rows, "method")):
        here = of(rows, method=method)
        at = [places.index((row["problem"], row["d"])) for row in here]
        colour = colours.get(method, LIGHT_BLUE)
        panel.plot([100 * row["regret"] for row in here], at, "o", ms=6, alpha=0.8, color=colour, label=method)
    panel.axvline(1, color="0.5", lw=0.8, ls="--")
    panel.set(xscale="log", xlabel="excess risk, % of the oracle's")
    names_down(panel, [f"{name}, {d}-D" for name, d in places])
    legend(figure, panel, ncols=4)
    return figure


def regret_table(rows: Rows) -> Table:
    """Excess risk of posterior means in per cent of the oracle's."""
    rows = [row | {"who": row["method"] + f", {row['n']:,} rows" * ("rows" not in row["method"])} for row in rows]
    heads, found = across("who", values_of(rows, "who"), "{regret.percent.mean:.2f} % ({seconds.median:.1f} s)")
    return table(rows, ("problem", "d"), f"problem | d | {heads}", f"{{problem}} | {{d}} | {found}")


def equidistant(k: int, layout: str, d: int, n: int, seed: int, points: int) -> Iterator[Row]:
    """Many centres in 20 dimensions, 5 apart: 16 on a simplex, 32 packed, for no 32 points are all equally far."""
    truth = make_gaussian_mixture(k, d, 5.0, layout=layout, random_state=seed)
    yield scored(truth, drawn(truth, n, seed), seed, points)[1]


def equidistant_table(rows: Rows) -> Table:
    """Many centres, 5 apart, in 20 dimensions, 20,000 rows."""

    def wrong(here: Rows) -> str:
        return ", ".join(sorted("{cells} ({atoms})".format(**row) for row in here if row["cells"] != row["k"]))

    rows = [row | {"right": row["cells"] == row["k"], "ratio": row["kl"] / row["limit"]} for row in rows]
    rows = [row | {"near": row["ratio"] <= 1.3} for row in extended(rows, "k", wrong=wrong)]
    head = "centres | right number of cells | wrong: cells (atoms) | median KL, 10⁻⁴ | limit | KL over limit"
    line = "{k} ({layout}) | {right.count} | {wrong} | {kl.e4.median:.0f} | {limit.e4.median:.0f} | {ratio.median:.2f}"
    line += " | {ratio.max:.2f} | {near.count} | {seconds.median:.1f}"
    return table(rows, "k", f"{head} | largest | at most 1.3 | seconds", line)


WIDE = grid(cells("k layout", (16, "simplex"), (32, "random")), d=[20], n=[20_000], seed=range(20))
CURVED = grid(problem=[problem.name for problem in (RING, SPIRAL, BALLS)], d=(2, 10, 50), seed=range(2))

IDENTITY = Benchmark(
    identity,
    Size(grid(problem=PROBLEMS, n=[50_000], seed=range(3)), points=20_000),
    Size(grid(problem=[CLUSTERS[0].name], n=[600], seed=[0]), points=500),
    [identity_table],
)
REGRET = Benchmark(
    regret,
    Size(grid(CURVED, n=[50_000]), points=40_000, some=2_000, most=(NPEB_ROWS, NPEB_ATOMS)),
    Size(grid(problem=["ring"], d=(2, 10), seed=[0], n=[600]), points=300, some=200, most=(100, 20)),
    [regret_table],
    {"regret": regret_figure},
)
EQUIDISTANT = Benchmark(
    equidistant,
    Size(WIDE, points=5_000),
    Size(grid(k=[3], layout=["simplex"], d=[4], n=[600], seed=[0]), points=500),
    [equidistant_table],
)
