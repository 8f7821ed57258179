"""Many components from starts near the truth: what is reached from where, how well, and at which cost."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.clock import cpu_seconds, in_turns
from benchmarks.ddpm.rivals import em, gradient_em, largest_error, mean_error
from benchmarks.drawing import BLUE, LIGHT_BLUE, RED, SAND, legend, panels
from benchmarks.frame import Benchmark, Size, cells, grid
from benchmarks.tables import Row, Rows, Table, across, extended, groups, of, table, values_of
from scoremix import DDPMMixture
from scoremix.evaluation.truth import FloatArray
from scoremix.learning.em.em import e_step
from scoremix.learning.sck.descent import Stage, all_levels
from scoremix.learning.sck.objective import Objective, objective_sums
from scoremix.learning.sck.optimizers import PreconditionedDescent
from scoremix.learning.sck.student import Student
from scoremix.learning.sck.two_components import exact_sums
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource


def clusters(k: int, d: int, separation: float, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows of k components whose means are about a separation apart, and the means."""
    means = separation * rng.standard_normal((k, d)) / np.sqrt(2 * d)
    return means[rng.integers(k, size=n)] + rng.standard_normal((n, d)), means


def basin(k: int, d: int, n: int, separation: float, distance: float, seed: int) -> Iterator[Row]:
    """Components from starts at growing distance: which methods still find every mean."""
    rng = np.random.default_rng(seed)
    x, means = clusters(k, d, separation, n, rng)
    shift = rng.standard_normal((k, d))
    start = means + distance * shift / np.linalg.norm(shift, axis=1, keepdims=True)
    known = {"means_init": start, "step_rule": "scaled", "random_state": seed}
    small = DDPMMixture(k, noise_times=0.1, n_steps=300, learning_rate=0.5, **known)
    every = DDPMMixture(k, noise_times="all", n_steps=100, learning_rate=1.0, **known)
    methods: dict[str, Callable[[], Any]] = {
        "DDPM, small noise": lambda: small.fit(x).means_,
        "DDPM, all levels": lambda: every.fit(x).means_,
        "EM": lambda: em(x, start),
        "gradient EM": lambda: gradient_em(x, start),
    }
    best = mean_error(em(x, means), means)
    for name, learn in methods.items():
        found, seconds = cpu_seconds(learn)
        row: Row = {"method": name, "found": bool(largest_error(found, means) < 0.5)}
        yield row | {"error": mean_error(found, means), "mle": best, "seconds": seconds}


EFFICIENT: dict[str, tuple[Stage, Objective, float]] = {
    "sigma^2 = .01, 1 draw": (Stage(np.array([0.1]), np.ones(1), 600), Objective(), 0.1),
    "sigma^2 = .01, 1 pair": (Stage(np.array([0.1]), np.ones(1), 600), Objective(antithetic=True), 0.3),
    "sigma^2 = .1, 8 draws": (Stage(np.array([0.1**0.5]), np.ones(1), 600), Objective(n_draws=8), 0.3),
    "no noise, implicit": (Stage(np.array([0.0]), np.ones(1), 600), Objective("implicit"), 0.3),
    "14 levels, 1 draw": (all_levels(300), Objective(), 0.5),
    "14 levels, 1 pair": (all_levels(300), Objective(antithetic=True), 0.5),
    "14 levels, 8 draws": (all_levels(300), Objective(n_draws=8), 0.5),
    "14 levels, sliced, 1 pair": (all_levels(300), Objective("sliced", antithetic=True), 0.5),
    "14 levels, implicit, 1 pair": (all_levels(300), Objective("implicit", antithetic=True), 0.5),
}
"""Levels, objective and rate of scaled steps."""


def minimised(source: ArraySource, start: FloatArray, stage: Stage, objective: Objective, rate: float) -> FloatArray:
    """The minimum of one objective with its noise drawn once."""
    k, rule, means = len(start), PreconditionedDescent(rate), start
    curvature = np.asarray(2 * np.sum(stage.factors / (1 + stage.sigmas**2) ** 2) / k)
    for _ in range(stage.n_steps):
        student = Student(means, np.full(k, 1 / k))
        sums = objective_sums(source, student, stage.sigmas, objective, factors=stage.factors, n_threads=1)
        step = rule.step(sums.gradient, curvature)
        means = means + step
        if np.abs(step).max() < 1e-5:
            break
    return means


def efficiency(k: int, d: int, separation: float, n: int, seed: int) -> Iterator[Row]:
    """Squared error of every objective's minimum, beside that of maximum likelihood on the same rows."""
    rng = np.random.default_rng(seed)
    means = separation * rng.standard_normal((k, d)) / np.sqrt(2 * d)
    if k == 3:  # a triangle
        means = separation * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    x = means[rng.integers(k, size=n)] + rng.standard_normal((n, d))
    best = em(x, means)
    for name, plan in EFFICIENT.items():
        found = minimised(ArraySource(x), best, *plan)
        yield {"method": name, "square": mean_error(found, means) ** 2, "mle": mean_error(best, means) ** 2}


def warm(k: int, d: int, n: int, separation: float, seed: int, gradient: int, fresh: int) -> Iterator[Row]:
    """Components from warm starts, as the estimator fits them; the slowest method in three seeds."""
    rng = np.random.default_rng(seed)
    x, means = clusters(k, d, separation, n, rng)
    known: dict[str, Any] = {"means_init": means + 0.25 * rng.standard_normal((k, d)), "random_state": seed}
    every = {"noise_times": "all", "step_rule": "scaled"}
    best = mean_error(em(x, means), means)
    methods: dict[str, dict[str, Any]] = {
        "gradient .05": every | {"step_rule": "gradient", "n_steps": gradient},
        "default: scaled .05": {"noise_times": "all"},
        "scaled 1": every | {"n_steps": 100, "learning_rate": 1.0},
        "scaled .1, fresh noise": every | {"n_steps": fresh, "learning_rate": 0.1, "exact_gradient": False},
        "one level (tau = .1)": every | {"noise_times": 0.1, "n_steps": 300, "learning_rate": 0.5},
    }
    for name, settings in methods.items():
        if seed < 3 or name != "gradient .05":
            model, seconds = cpu_seconds(partial(DDPMMixture(k, **known, **settings).fit, x))
            ratio = mean_error(model.means_, means) / best
            yield {"method": name, "ratio": ratio, "steps": model.n_iter_, "seconds": seconds}


OBJECTIVES = {
    "denoising": Objective(),
    "denoising, +-z": Objective(antithetic=True),
    "implicit": Objective("implicit"),
    "sliced": Objective("sliced"),
}


def cost(k: int, d: int, n: int, seed: int, repeats: int) -> Iterator[Row]:
    """CPU time of one gradient, against one EM pass of spherical and of full covariances."""
    x, means = clusters(k, d, 5.0, n, np.random.default_rng(seed))
    source, student = ArraySource(x), Student(means, np.full(k, 1 / k))
    full = Mixture(student.weights, means, Full(np.repeat(np.eye(d)[None], k, axis=0)))
    passes: dict[str, Callable[[], Any]] = {
        "EM, spherical": partial(e_step, source, student.mixture(), 1),
        "EM, full": partial(e_step, source, full, 1),
    }
    for name, objective in OBJECTIVES.items():
        passes[name] = partial(objective_sums, source, student, 0.5, objective, n_threads=1)
    if k == 2:
        passes["exact"] = partial(exact_sums, source, student, 0.5, n_threads=1)
    _, times = in_turns(passes, repeats, warm=True)
    for name, values in times.items():
        yield {"method": name, "seconds": median(values)}


def basin_figure(rows: Rows) -> Figure:
    """share of starts from which all eight means are found, against their distance from the truth"""
    apart = values_of(rows, "separation")
    figure, axes = panels(len(apart), 9, 3.4, lines=False, sharey=True)
    for panel, separation in zip(axes, apart, strict=True):
        for method, colour in zip(values_of(rows, "method"), (BLUE, LIGHT_BLUE, RED, SAND), strict=False):
            here = of(rows, separation=separation, method=method)
            shares = [100 * fmean(row["found"] for row in group) for group in groups(here, "distance")]
            panel.plot(values_of(here, "distance"), shares, color=colour, marker="o", ms=3, label=method)
        panel.set(xlabel="distance of every mean from the truth at the start", title=f"means {separation:g} apart")
    axes[0].set_ylabel("all means found, %")
    axes[0].set_ylim(-3, 103)
    legend(figure, axes[0])
    return figure


def basin_table(rows: Rows) -> Table:
    """Warm starts at growing distance: k = 8, d = 16, 10,000 rows, 10 seeds."""
    rows = [row | {"from": f"{row['distance']:g}"} for row in rows]
    heads, found = across("from", values_of(rows, "from"), "{found.percent.mean:.0f} %", "from {}")
    return table(
        rows, ("separation", "method"), f"separation | method | {heads}", f"{{separation:g}} | {{method}} | {found}"
    )


def efficiency_table(rows: Rows) -> Table:
    """Squared error over that of maximum likelihood, 5,000 rows, 12 seeds; every objective's noise is drawn once."""
    ratios = []
    for here in groups(rows, "method", "k", "d", "separation"):
        ratio = sum(row["square"] for row in here) / sum(row["mle"] for row in here)
        shape = "k = {k}, d = {d}, {separation:g} apart".format(**here[0])
        shown = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
        ratios.append({"method": here[0]["method"], "shape": shape, "ratio": shown})
    heads, found = across("shape", sorted(values_of(ratios, "shape")), "{ratio}")
    return table(ratios, "method", f"objective | {heads}", f"{{method}} | {found}")


def warm_table(rows: Rows) -> Table:
    """Warm starts, all levels: k = 8, d = 16, 20,000 rows, 8 seeds (3 with the smallest steps)."""
    head = "steps | separation | mean error, times the MLE's | largest | number of steps | seconds"
    line = "{method} | {separation:g} | {ratio.mean:.3f} | {ratio.max:.3f} | {steps.median:.0f} | {seconds.median:.1f}"
    return table(rows, ("method", "separation"), head, line)


def cost_table(rows: Rows) -> Table:
    """CPU time of one gradient, times an EM pass of spherical (in brackets: full) covariances; 100,000 rows."""

    def base(here: Rows) -> dict[str, float]:
        return {row["method"]: row["seconds"] for row in here}

    shown = [
        row | {f"of_{kind}": row["seconds"] / row["base"][f"EM, {kind}"] for kind in ("spherical", "full")}
        for row in extended(rows, ("k", "d"), base=base)
    ]
    methods = [method for method in values_of(rows, "method") if not method.startswith("EM")]
    heads, found = across("method", methods, "{of_spherical:.1f} ({of_full:.1f})")
    spherical, full = (f"{{method[EM, {kind}].seconds.e3:.1f}}" for kind in ("spherical", "full"))
    return table(shown, ("k", "d"), f"k | d | EM pass, ms | {heads}", f"{{k}} | {{d}} | {spherical} ({full}) | {found}")


MANY = {"k": [8], "d": [16]}
FEW = {"k": [3], "d": [4], "n": [300], "separation": [5.0], "seed": [0]}
DISTANCES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
TRIANGLES = grid(k=[3], d=[2], separation=(3.0, 5.0), n=[5_000], seed=range(12))
SHAPES = cells("k d", (2, 4), (2, 16), (2, 100), (4, 4), (8, 16), (16, 16), (32, 8), (64, 64))

BENCHMARKS = (
    Benchmark(
        basin,
        Size(grid(**MANY, n=[10_000], separation=(4.0, 6.0), distance=DISTANCES, seed=range(10))),
        Size(grid(**FEW, distance=[1.0])),
        [basin_table],
        {"basin": basin_figure},
    ),
    Benchmark(
        efficiency,
        Size([*TRIANGLES, *grid(**MANY, separation=[5.0], n=[5_000], seed=range(12))]),
        Size(grid(k=[3], d=[2], separation=[3.0], n=[300], seed=[0])),
        [efficiency_table],
    ),
    Benchmark(
        warm,
        Size(grid(**MANY, n=[20_000], separation=(3.0, 5.0), seed=range(8)), gradient=1500, fresh=100),
        Size(grid(**FEW), gradient=3, fresh=3),
        [warm_table],
    ),
    Benchmark(
        cost,
        Size(grid(SHAPES, n=[100_000], seed=[0]), repeats=9),
        Size(grid(k=[2], d=[4], n=[500], seed=[0]), repeats=1),
        [cost_table],
    ),
)
