"""General mixtures whose truth is known: how far the learnt score is from the true one, and from what can be reached.

Errors are Girsanov's bound on the Kullback-Leibler divergence, ``1/2 sum_l |s - s_hat|^2 (t_l - t_{l+1})``, at fresh
points of the truth, the same for all methods, so that differences have standard errors of their own. The limit is
maximum likelihood: EM that starts at the truth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from matplotlib.figure import Figure

from benchmarks.clock import cpu_seconds
from benchmarks.drawing import GREY, MUSTARD, RED, SAND, legend, names_down, panels
from benchmarks.frame import Benchmark, Size
from benchmarks.methods import Score
from benchmarks.metrics import widest_axes
from benchmarks.tables import Row, Rows, Table, across, extended, groups, of, table, values_of
from scoremix import DiffusionMixture, GaussianMixture
from scoremix.arrays import Floats
from scoremix.evaluation import histogram_total_variation, make_gaussian_mixture
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.truth import Truth
from scoremix.learning.regression.corrections import FOLDS, fit_residual
from scoremix.learning.regression.scores import RegressionSettings
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

BASE, CORRECTED, LIMIT = "mixture", "corrected", "maximum likelihood from the truth"
HALF, DOUBLE = "half of k", "twice k"
PAPER, SOFT = "cells alone, as published", "cells alone, soft"
HALF_CORRECTED, DOUBLE_CORRECTED = "half of k, corrected", "twice k, corrected"

LEAST = 5e-5
"""Nats that a correction may lose at any time."""

DARK, LIGHT = "#0b3c5d", "#4fa3c7"


@dataclass(frozen=True)
class Case:
    """k components in d dimensions: their separation, condition number, and rows."""

    d: int
    k: int
    separation: float
    condition: float
    n: int = 50_000

    @property
    def name(self) -> str:
        return f"{self.d}-D, k = {self.k}, separation {self.separation:g}, condition {self.condition:.3g}"

    @property
    def parameters(self) -> int:
        """Free parameters of the mixture."""
        return self.k * (self.d + 1) * (self.d + 2) // 2 - 1

    def fields(self) -> Row:
        """What rows tell of it, and what its parameters cost."""
        cost = self.parameters / (2 * self.n)
        return {"problem": self.name, "d": self.d, "k": self.k, "n": self.n, "parameters_over_2n": cost}

    def truth(self, seed: int) -> GaussianMixtureTruth:
        """At separation 0 all means are the same."""
        chosen = {"condition": self.condition, "random_state": seed}
        law = make_gaussian_mixture(self.k, self.d, self.separation or 1.0, "full", **chosen)
        means = law.means if self.separation else np.zeros_like(law.means)
        return GaussianMixtureTruth(law.weights, means, law.variances, law.axes, None)


LIST = (
    Case(2, 4, 3, 10),
    Case(5, 5, 3, 10),
    Case(8, 8, 3, 10),
    Case(2, 2, 0, 100),
    Case(2, 16, 4, 100),
    Case(3, 6, 2, 100),
    Case(5, 16, 6, 1e4),
    Case(10, 4, 1, 100),
    Case(20, 8, 4, 1e4),
    Case(50, 2, 0, 10, 20_000),
    Case(50, 4, 6, 100, 20_000),
)
TINY = Case(2, 2, 3, 10, 600)
CASES = {case.name: case for case in (*LIST, TINY)}


def drawn(truth: Truth, n: int, seed: int) -> Floats:
    """The rows that are learnt from."""
    return truth.sample(n, np.random.default_rng([seed, 0]))


def errors(
    scores: Sequence[Score], truth: Truth, sigmas: Floats, n: int, seed: int, last: float | None = 0.0
) -> Floats:
    """Girsanov's bound at every one of n points, shape (scores, n), from level to level down to the `last`."""
    rng, levels = np.random.default_rng([seed, 1]), sigmas if last is None else np.append(sigmas, last)
    total = np.zeros((len(scores), n))
    for sigma, step in zip(levels[:-1].tolist(), (-np.diff(levels**2) / 2).tolist(), strict=True):
        y = truth.sample(n, rng)
        y = y + sigma * rng.standard_normal(y.shape)
        exact = truth.score(y, sigma)
        total += step * np.stack([np.sum((score(y, sigma) - exact) ** 2, axis=1) for score in scores])
    return total


def cells_alone(x: Floats, sigmas: Floats, gates: str, seed: int) -> DiffusionMixture:
    """The published algorithm, k not told, at the levels of the others."""
    levels = {"n_levels": len(sigmas), "sigma_min": float(sigmas[-1]), "sigma_max": float(sigmas[0])}
    model = DiffusionMixture("general", correction_of="nothing", gates=gates, random_state=seed, **levels)
    return model.fit(x)


def corrected(x: Floats, model: GaussianMixture, sigmas: Floats, seed: int) -> Score:
    """A mixture of any number of components, corrected."""
    covariance = Full(np.asarray(model.covariances_))
    base = Mixture(np.asarray(model.weights_), np.asarray(model.means_), covariance)
    source, how = ArraySource(x), RegressionSettings(folds=FOLDS, seed=seed)
    levels = {sigma: fit_residual(source, base, sigma, level, how).model for level, sigma in enumerate(sigmas.tolist())}
    return lambda y, sigma: np.asarray(levels[sigma].score(y.T, sigma).T)


def mixture_score(model: GaussianMixture) -> Score:
    return lambda y, sigma: np.asarray(model.score_function(y, sigma))


def from_truth(truth: GaussianMixtureTruth, x: Floats) -> GaussianMixture:
    """Maximum likelihood: EM from the truth until it stands."""
    start = {"weights_init": truth.weights, "means_init": truth.means}
    start["precisions_init"] = np.linalg.inv(truth.covariances)
    return GaussianMixture(len(truth.weights), **start, reg_covar=0.0, tol=1e-7, max_iter=300).fit(x)


def distance(truth: Truth, found: Floats, seed: int) -> dict[str, float]:
    """Excess of the two-sample histogram TV, above three dimensions in the plane of the widest axes; its error."""
    axes, rng = widest_axes(truth), np.random.default_rng([seed, 2])
    excess = histogram_total_variation(truth.sample(len(found), rng) @ axes, found @ axes)
    return {"tv_excess": excess.excess, "tv_error": excess.standard_error}


def standard_error(values: Floats) -> float:
    """Of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def corrected_levels(model: DiffusionMixture) -> int:
    """Levels on which polynomials correct the mixture."""
    return sum(int(degrees.max() >= 0) for degrees in model.degrees_)


def known(problem: str, seed: int, points: int) -> Iterator[Row]:
    """One draw of a law: the default mode, wrong numbers of components, the published algorithm, and the limit."""
    case = CASES[problem]
    truth = case.truth(seed)
    x = drawn(truth, case.n, seed)
    model, seconds = cpu_seconds(lambda: DiffusionMixture("general", random_state=seed).fit(x))
    sigmas, crude = model.noise_levels_, model.to_mixture().set_params(random_state=seed)
    scores: dict[str, Score] = {BASE: mixture_score(crude), CORRECTED: model.ladder_.score}
    samples = {BASE: np.asarray(crude.sample(case.n)[0]), CORRECTED: model.sample(case.n, random_state=seed)}
    times, numbers = {CORRECTED: seconds}, {BASE: crude.n_components_, CORRECTED: crude.n_components_}
    exact, times[LIMIT] = cpu_seconds(lambda: from_truth(truth, x))
    scores[LIMIT], numbers[LIMIT] = mixture_score(exact), case.k
    for plain, better, k in ((HALF, HALF_CORRECTED, case.k // 2), (DOUBLE, DOUBLE_CORRECTED, 2 * case.k)):
        wrong, times[plain] = cpu_seconds(lambda k=k: GaussianMixture(k, random_state=seed).fit(x))
        fitted, more = cpu_seconds(lambda wrong=wrong: corrected(x, wrong, sigmas, seed))
        scores |= {plain: mixture_score(wrong), better: fitted}
        times[better] = times[plain] + more
        numbers |= {plain: k, better: k}
    for gates, name in (("hard", PAPER), ("soft", SOFT)) if case.d <= 3 else ():
        cells, times[name] = cpu_seconds(lambda gates=gates: cells_alone(x, sigmas, gates, seed))
        scores[name], numbers[name] = cells.ladder_.score, cells.n_cells_
        samples[name] = cells.sample(case.n, random_state=seed)
    points = min(points, 5_000) if case.d > 10 else points
    found = dict(zip(scores, errors(list(scores.values()), truth, sigmas, points, seed), strict=True))
    for method, values in found.items():
        gain, row = found[BASE] - values, {"method": method, "k_found": numbers.get(method), **case.fields()}
        row |= {"kl": float(values.mean()), "kl_error": standard_error(values)}
        row |= {"gain": float(gain.mean()), "gain_error": standard_error(gain), "tv_excess": None, "tv_error": None}
        row |= distance(truth, samples[method], seed) if method in samples else {}
        row["corrected_levels"] = corrected_levels(model) if method == CORRECTED else None
        yield row | {"seconds": times.get(method)}


def random(seed: int, n: int | None, points: int) -> Iterator[Row]:
    """A random problem: is the correction ever worse than the mixture?"""
    rng = np.random.default_rng([seed, 5])
    d, k = int(np.round(np.exp(rng.uniform(np.log(2), np.log(12))))), int(rng.integers(2, 13))
    separation, condition = float(np.round(rng.uniform(0, 6), 1)), float(10.0 ** np.round(rng.uniform(0, 4), 1))
    case = Case(d, k, separation, condition, n or int(rng.choice([5_000, 20_000, 50_000])))
    truth = case.truth(seed)
    x = drawn(truth, case.n, seed)
    model, seconds = cpu_seconds(lambda: DiffusionMixture("general", random_state=seed).fit(x))
    crude = model.to_mixture()
    plain, better = errors((mixture_score(crude), model.ladder_.score), truth, model.noise_levels_, points, seed)
    row = {"k_found": crude.n_components_, "kl": float(better.mean()), "kl_mixture": float(plain.mean())}
    row |= {"gain": float((plain - better).mean()), "gain_error": standard_error(plain - better)}
    yield case.fields() | row | {"corrected_levels": corrected_levels(model), "seconds": seconds}


def known_figure(rows: Rows) -> Figure:
    """KL bound over that of maximum likelihood, for eleven general mixtures"""
    names = values_of(rows, "problem")
    colours = {PAPER: GREY, SOFT: MUSTARD, HALF_CORRECTED: RED, DOUBLE_CORRECTED: SAND, BASE: DARK, CORRECTED: LIGHT}
    figure, (panel,) = panels(1, 9, 4.8)
    limits = {group[0]["problem"]: fmean(r["kl"] for r in group) for group in groups(of(rows, method=LIMIT), "problem")}
    for method, colour in colours.items():
        here = groups(of(rows, method=method), "problem")
        ratios = [fmean(row["kl"] for row in group) / limits[group[0]["problem"]] for group in here]
        at = [names.index(group[0]["problem"]) for group in here]
        if at:
            size = 10 if method == BASE else 6
            panel.plot(ratios, at, "o", ms=size, alpha=0.85, color=colour, label=method)
    panel.axvline(1, color="0.5", lw=0.8)
    panel.set(xscale="log", xlabel="KL bound over that of maximum likelihood from the truth")
    names_down(panel, names)
    legend(figure, panel, ncols=3)
    return figure


def random_figure(rows: Rows) -> Figure:
    """KL bound on forty random problems, and what corrections add to it; dashed: what they may add"""
    figure, axes = panels(2, 9.5, 3.9)
    cost = [row["parameters_over_2n"] for row in rows]
    ends = [min(cost) / 1.5, 1.5 * max(cost)]
    axes[0].plot(ends, ends, color="0.5", lw=0.8)
    axes[0].plot(cost, [row["kl"] for row in rows], "o", ms=5, alpha=0.7, color=LIGHT)
    axes[0].set(xscale="log", yscale="log", xlabel="parameters / 2n", ylabel="KL bound")
    added = sorted((-1e4 * row["gain"], 2e4 * row["gain_error"]) for row in rows)
    axes[1].axhline(1e4 * LEAST, color="0.5", lw=0.8, ls="--")
    values, twice = zip(*added, strict=True)
    axes[1].errorbar(range(1, len(added) + 1), values, yerr=twice, fmt="o", ms=4, color=LIGHT)
    axes[1].set(xlabel="problems, sorted", ylabel="KL bound added by corrections, 10⁻⁴ nats")
    return figure


METHODS = (BASE, CORRECTED, HALF, HALF_CORRECTED, DOUBLE, DOUBLE_CORRECTED, PAPER, SOFT)
ALONE = {PAPER: "cells alone", SOFT: "soft cells alone"}


def known_table(rows: Rows) -> Table:
    """KL bound in units of 10⁻⁴ nats, mean over seeds."""

    def ratio(here: Rows) -> float:
        mine, limit = (fmean(row["kl"] for row in of(here, method=m)) for m in (CORRECTED, LIMIT))
        return mine / limit

    heads, cells = across("method", [m for m in METHODS if of(rows, method=m)], "{kl.e4.mean:.1f}")
    line = f"{{method[{LIMIT}].kl.e4.mean:.1f}} | {{parameters_over_2n.e4:.1f}} | {{ratio:.2f}}"
    head = f"problem | {heads} | limit | parameters / 2n | corrected over limit"
    return table(extended(rows, "problem", ratio=ratio), "problem", head, f"{{problem}} | {cells} | {line}")


def distance_table(rows: Rows) -> Table:
    """Samples, numbers of components and CPU seconds."""

    def levels(here: Rows) -> str:
        return "/".join(str(row["corrected_levels"]) for row in of(here, method=CORRECTED))

    alone = {method: name for method, name in ALONE.items() if of(rows, method=method)}
    _, samples = across("method", (BASE, CORRECTED, *alone), "{tv_excess.mean:+.4f} ± {tv_error.mean:.4f}")
    _, times = across("method", (CORRECTED, *alone), "{seconds.median:.1f}")
    head = " | ".join(["problem | k found | TV excess, mixture | model", *alone.values(), "levels corrected"])
    head = " | ".join([head, "seconds, model", *(f"seconds, {name}" for name in alone.values())])
    line = f"{{problem}} | {{method[{CORRECTED}].k_found.each}} | {samples} | {{levels}} | {times}"
    return table(extended(rows, "problem", levels=levels), "problem", head, line)


def random_table(rows: Rows) -> Table:
    """Forty random problems."""
    acted = [row for row in rows if row["corrected_levels"] > 0]
    lost = [row["gain"] for row in acted if row["gain"] < 0]
    beyond = [row for row in rows if -row["gain"] > max(2 * row["gain_error"], LEAST)]
    head = (
        "problems | corrected | largest gain, 10⁻⁴ nats | some loss | largest loss, 10⁻⁴ nats | "
        "beyond max(2 standard errors, 5·10⁻⁵) | median KL over parameters / 2n"
    )
    ratio = median(row["kl"] / row["parameters_over_2n"] for row in rows)
    gains = (1e4 * max(row["gain"] for row in rows), len(lost), 1e4 * max((-gain for gain in lost), default=0))
    line = "{} | {} | {:.1f} | {} | {:.2f} | {} | {:.2f}".format(len(rows), len(acted), *gains, len(beyond), ratio)
    return tuple(head.split(" | ")), [tuple(line.split(" | "))]


def worst_table(rows: Rows) -> Table:
    """The six farthest from the limit, KL bound in units of 10⁻⁴ nats."""
    rows = [row | {"ratio": row["kl"] / row["parameters_over_2n"]} for row in rows]
    head = (
        "seed | problem | rows | k found | mixture | corrected | parameters / 2n | corrected over it | levels corrected"
    )
    line = "{seed} | {problem} | {n:,} | {k_found} | {kl_mixture.e4:.1f} | {kl.e4:.1f} | {parameters_over_2n.e4:.1f}"
    worst = sorted(rows, key=lambda row: -row["ratio"])[:6]
    return table(worst, None, head, f"{line} | {{ratio:.2f}} | {{corrected_levels}}")


KNOWN = Benchmark(
    known,
    Size([{"problem": c.name, "seed": seed} for c in LIST for seed in range(1 if c.d > 4 else 2)], points=20_000),
    Size([{"problem": TINY.name, "seed": 0}], points=500),
    [known_table, distance_table],
    {"known": known_figure},
)
RANDOM = Benchmark(
    random,
    Size([{"seed": seed} for seed in range(40)], n=None, points=10_000),
    Size([{"seed": seed} for seed in range(2)], n=500, points=500),
    [random_table, worst_table],
    {"random": random_figure},
)
