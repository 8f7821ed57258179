"""The experiments: which problems, which ways to learn them, what is measured."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ddpm.rivals import em, gradient_em, largest_error, mean_error, symmetric_em
from benchmarks.run import cpu_seconds
from benchmarks.tables import Size
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

Row = dict[str, Any]

LARGE, SMALL = 1.5, 0.1
"""Noise times of the two stages."""

DESCENT, EM, GRADIENT_EM = "DDPM", "EM", "gradient EM"


def pair(d: int, length: float, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows of two components at +-mu, and both means."""
    mu = rng.standard_normal(d)
    mu *= length / np.linalg.norm(mu)
    return rng.choice([-1.0, 1.0], n)[:, None] * mu + rng.standard_normal((n, d)), np.stack([mu, -mu])


def clusters(k: int, d: int, separation: float, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows of k components whose means are about a separation apart, and the means."""
    means = separation * rng.standard_normal((k, d)) / np.sqrt(2 * d)
    return means[rng.integers(k, size=n)] + rng.standard_normal((n, d)), means


def poster(size: Size) -> Iterator[Row]:
    """The published experiment: two means from a standard normal start, with and without large noise first."""
    d, n, seeds, tied_seeds = (100, 2000, 64, 16) if size == "full" else (5, 200, 1, 1)
    steps = (7000, 1500) if size == "full" else (20, 10)
    schedules: dict[str, dict[str, Any]] = {
        "large, then small noise": {"noise_times": (LARGE, SMALL), "n_steps": steps},
        "small noise only": {"noise_times": (SMALL,), "n_steps": (sum(steps),)},
    }
    for seed in range(seeds):
        x, truth = pair(d, 6.0, n, np.random.default_rng(seed))
        for student in ("untied", "tied") if seed < tied_seeds else ("untied",):
            for schedule, params in schedules.items():
                model = DDPMMixture(symmetric=student == "tied", random_state=seed, **params)
                _, seconds = cpu_seconds(lambda model=model, x=x: model.fit(x))
                before = [0, *(r.step for r, s in zip(model.history_, model.history_[1:], strict=False) if s.step == 0)]
                trace = [(before[r.stage] + r.step, largest_error(r.means, truth)) for r in model.history_]
                yield {
                    "student": student,
                    "schedule": schedule,
                    "d": d,
                    "n": n,
                    "seed": seed,
                    "start": trace[0][1],
                    "error": trace[-1][1],
                    "seconds": seconds,
                    "steps": [step for step, _ in trace],
                    "errors": [round(error, 4) for _, error in trace],
                }


def separation(size: Size) -> Iterator[Row]:
    """The symmetric student from random starts: dimension, separation down to d^(-1/4), rows."""
    tiny = size == "tiny"
    for d in (5,) if tiny else (10, 100, 1000):
        for name, length in {"1": 1.0, "d^(-1/8)": d ** (-1 / 8), "d^(-1/4)": d ** (-1 / 4)}.items():
            for n in (200,) if tiny else (1_000, 10_000, 50_000):
                for seed in range(1 if tiny else 5):
                    if n * d > 10**7:
                        continue
                    rng = np.random.default_rng(seed)
                    x, truth = pair(d, length, n, rng)
                    model = DDPMMixture(
                        symmetric=True, n_steps=(400, 200), step_rule="scaled", learning_rate=0.5, random_state=seed
                    )
                    start = rng.standard_normal(d)
                    methods: dict[str, Callable[[], FloatArray]] = {
                        DESCENT: lambda x=x, model=model: model.fit(x).means_[0],
                        EM: lambda x=x, start=start: symmetric_em(x, start),
                    }
                    fields = {"d": d, "length": name, "|mu|": length, "n": n, "seed": seed}
                    yield from _compared(fields, methods, truth)


def symmetric(size: Size) -> Iterator[Row]:
    """The symmetric student, |mu| = 1 in 100 dimensions; with all defaults, which take minutes, in two seeds."""
    d, n, seeds = (100, 50_000, 8) if size == "full" else (5, 200, 1)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x, truth = pair(d, 1.0, n, rng)
        start = rng.standard_normal(d)
        model = DDPMMixture(symmetric=True, random_state=seed)
        quick = DDPMMixture(
            symmetric=True, n_steps=(400, 200), step_rule="scaled", learning_rate=0.5, random_state=seed
        )
        if size == "tiny":
            model.set_params(n_steps=(20, 10))
        methods: dict[str, Callable[[], FloatArray]] = {
            "DDPM, scaled steps": lambda x=x, quick=quick: quick.fit(x).means_[0],
            EM: lambda x=x, start=start: symmetric_em(x, start),
        }
        if seed < 2:
            methods["DDPM, defaults"] = lambda x=x, model=model: model.fit(x).means_[0]
        yield from _compared({"d": d, "|mu|": 1.0, "n": n, "seed": seed}, methods, truth)


def _compared(fields: Row, methods: dict[str, Callable[[], FloatArray]], truth: FloatArray) -> Iterator[Row]:
    """Angle and error of mu, by each method."""
    for name, learn in methods.items():
        mu, seconds = cpu_seconds(learn)
        cosine = abs(mu @ truth[0]) / np.linalg.norm(mu) / np.linalg.norm(truth[0])
        error = min(np.linalg.norm(mu - mean) for mean in truth)
        yield fields | {"method": name, "cosine": float(cosine), "error": float(error), "seconds": seconds}


def basin(size: Size) -> Iterator[Row]:
    """Eight components from starts at growing distance: which methods still find every mean."""
    tiny = size == "tiny"
    k, d, n = (3, 4, 300) if tiny else (8, 16, 10_000)
    for apart in (5.0,) if tiny else (4.0, 6.0):
        for distance in (1.0,) if tiny else (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0):
            for seed in range(1 if tiny else 10):
                rng = np.random.default_rng(seed)
                x, means = clusters(k, d, apart, n, rng)
                shift = rng.standard_normal((k, d))
                start = means + distance * shift / np.linalg.norm(shift, axis=1, keepdims=True)
                known = {"means_init": start, "step_rule": "scaled", "random_state": seed}
                small = DDPMMixture(k, noise_times=SMALL, n_steps=300, learning_rate=0.5, **known)
                every = DDPMMixture(k, noise_times="all", n_steps=100, learning_rate=1.0, **known)
                methods: dict[str, Callable[[], Any]] = {
                    "DDPM, small noise": lambda model=small, x=x: model.fit(x).means_,
                    "DDPM, all levels": lambda model=every, x=x: model.fit(x).means_,
                    EM: lambda x=x, start=start: em(x, start),
                    GRADIENT_EM: lambda x=x, start=start: gradient_em(x, start),
                }
                best = mean_error(em(x, means), means)
                for name, learn in methods.items():
                    found, seconds = cpu_seconds(learn)
                    yield {
                        "k": k,
                        "d": d,
                        "n": n,
                        "separation": apart,
                        "distance": distance,
                        "seed": seed,
                        "method": name,
                        "found": bool(largest_error(found, means) < 0.5),
                        "error": mean_error(found, means),
                        "mle": best,
                        "seconds": seconds,
                    }


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


def efficiency(size: Size) -> Iterator[Row]:
    """Squared error of every objective's minimum, beside that of maximum likelihood on the same rows."""
    tiny = size == "tiny"
    shapes = ((3, 2, 3.0, 300),) if tiny else ((3, 2, 3.0, 5_000), (3, 2, 5.0, 5_000), (8, 16, 5.0, 5_000))
    for k, d, apart, n in shapes:
        for seed in range(1 if tiny else 12):
            rng = np.random.default_rng(seed)
            means = apart * rng.standard_normal((k, d)) / np.sqrt(2 * d)
            if k == 3:  # a triangle
                means = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
            x = means[rng.integers(k, size=n)] + rng.standard_normal((n, d))
            best = em(x, means)
            square = mean_error(best, means) ** 2
            for name, (stage, objective, rate) in EFFICIENT.items():
                found = minimised(ArraySource(x), best, stage, objective, rate)
                yield {
                    "k": k,
                    "d": d,
                    "separation": apart,
                    "n": n,
                    "seed": seed,
                    "method": name,
                    "square": mean_error(found, means) ** 2,
                    "mle": square,
                }


def warm(size: Size) -> Iterator[Row]:
    """Eight components in sixteen dimensions from warm starts, as the estimator fits them."""
    tiny = size == "tiny"
    k, d, n = (3, 4, 300) if tiny else (8, 16, 20_000)
    for apart in (5.0,) if tiny else (3.0, 5.0):
        for seed in range(1 if tiny else 8):
            rng = np.random.default_rng(seed)
            x, means = clusters(k, d, apart, n, rng)
            start = means + 0.25 * rng.standard_normal((k, d))
            best = mean_error(em(x, means), means)
            methods = {
                "gradient .05": DDPMMixture(
                    k, noise_times="all", n_steps=3 if tiny else 1500, step_rule="gradient", means_init=start
                ),
                "default: scaled .05": DDPMMixture(k, noise_times="all", means_init=start),
                "scaled 1": DDPMMixture(
                    k, noise_times="all", n_steps=100, step_rule="scaled", learning_rate=1.0, means_init=start
                ),
                "scaled .1, fresh noise": DDPMMixture(
                    k,
                    noise_times="all",
                    n_steps=3 if tiny else 100,
                    step_rule="scaled",
                    learning_rate=0.1,
                    exact_gradient=False,
                    means_init=start,
                ),
                "one level (tau = .1)": DDPMMixture(
                    k, noise_times=SMALL, n_steps=300, step_rule="scaled", learning_rate=0.5, means_init=start
                ),
            }
            for name, model in methods.items():
                if seed >= 3 and name == "gradient .05":
                    continue
                model.set_params(random_state=seed)
                _, seconds = cpu_seconds(lambda model=model, x=x: model.fit(x))
                yield {
                    "k": k,
                    "d": d,
                    "n": n,
                    "separation": apart,
                    "seed": seed,
                    "method": name,
                    "ratio": mean_error(model.means_, means) / best,
                    "steps": model.n_iter_,
                    "seconds": seconds,
                }


COST = ((2, 4), (2, 16), (2, 100), (4, 4), (8, 16), (16, 16), (32, 8), (64, 64))


def cost(size: Size) -> Iterator[Row]:
    """CPU time of one gradient, against one EM pass of spherical and of full covariances."""
    n, repeats = (100_000, 9) if size == "full" else (500, 1)
    for k, d in COST if size == "full" else COST[:1]:
        rng = np.random.default_rng(0)
        x, means = clusters(k, d, 5.0, n, rng)
        source, student = ArraySource(x), Student(means, np.full(k, 1 / k))
        here = student.mixture()
        full = Mixture(student.weights, means, Full(np.repeat(np.eye(d)[None], k, axis=0)))
        passes: dict[str, Callable[[], Any]] = {
            "EM, spherical": lambda s=source, m=here: e_step(s, m, 1),
            "EM, full": lambda s=source, m=full: e_step(s, m, 1),
            "denoising": lambda s=source, m=student: objective_sums(s, m, 0.5, Objective(), n_threads=1),
            "denoising, +-z": lambda s=source, m=student: objective_sums(
                s, m, 0.5, Objective(antithetic=True), n_threads=1
            ),
            "implicit": lambda s=source, m=student: objective_sums(s, m, 0.5, Objective("implicit"), n_threads=1),
            "sliced": lambda s=source, m=student: objective_sums(s, m, 0.5, Objective("sliced"), n_threads=1),
        }
        if k == 2:
            passes["exact"] = lambda s=source, m=student: exact_sums(s, m, 0.5, n_threads=1)
        times: dict[str, list[float]] = {name: [] for name in passes}
        for _ in range(repeats + 1):  # in turns; the first warms up
            for name, run in passes.items():
                times[name].append(cpu_seconds(run)[1])
        for name, values in times.items():
            yield {"k": k, "d": d, "n": n, "method": name, "seconds": median(values[1:] or values), "seed": 0}


EXPERIMENTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "poster": poster,
    "symmetric": symmetric,
    "separation": separation,
    "basin": basin,
    "efficiency": efficiency,
    "warm": warm,
    "cost": cost,
}
