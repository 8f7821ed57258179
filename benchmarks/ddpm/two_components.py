"""Two components at +mu and -mu from random starts: the published experiment, and how the error falls with rows."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.clock import cpu_seconds
from benchmarks.ddpm.rivals import largest_error, symmetric_em
from benchmarks.drawing import BLUE, LIGHT_BLUE, RED, legend, panels
from benchmarks.frame import Benchmark, Size, grid
from benchmarks.tables import Row, Rows, Table, groups, of, table, values_of
from scoremix import DDPMMixture
from scoremix.evaluation.truth import FloatArray

SUCCESS = 0.5
"""Largest distance of a mean with which the published experiment counts as solved."""

BOTH, SMALL = "large, then small noise", "small noise only"
STUDENTS, DESCENT, EM = ("untied", "tied"), "DDPM", "EM"


def pair(d: int, length: float, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows of two components at +-mu, and both means."""
    mu = rng.standard_normal(d)
    mu *= length / np.linalg.norm(mu)
    return rng.choice([-1.0, 1.0], n)[:, None] * mu + rng.standard_normal((n, d)), np.stack([mu, -mu])


def poster(d: int, n: int, seed: int, student: str, schedule: str, steps: tuple[int, int]) -> Iterator[Row]:
    """The published experiment: two means from a standard normal start, with and without large noise first."""
    x, truth = pair(d, 6.0, n, np.random.default_rng(seed))
    times, taken = ((1.5, 0.1), steps) if schedule == BOTH else ((0.1,), (sum(steps),))
    model = DDPMMixture(symmetric=student == "tied", random_state=seed, noise_times=times, n_steps=taken)
    _, seconds = cpu_seconds(partial(model.fit, x))
    before = [0, *(r.step for r, s in zip(model.history_, model.history_[1:], strict=False) if s.step == 0)]
    trace = [(before[r.stage] + r.step, largest_error(r.means, truth)) for r in model.history_]
    row: Row = {"start": trace[0][1], "error": trace[-1][1], "seconds": seconds}
    yield row | {"steps": [step for step, _ in trace], "errors": [round(error, 4) for _, error in trace]}


def quick(seed: int) -> DDPMMixture:
    """The symmetric student with few and long steps."""
    return DDPMMixture(symmetric=True, n_steps=(400, 200), step_rule="scaled", learning_rate=0.5, random_state=seed)


def compared(length: float, methods: dict[str, Callable[[], FloatArray]], truth: FloatArray) -> Iterator[Row]:
    """Angle and error of mu, by each method."""
    for name, learn in methods.items():
        mu, seconds = cpu_seconds(learn)
        cosine = abs(mu @ truth[0]) / np.linalg.norm(mu) / np.linalg.norm(truth[0])
        error = min(np.linalg.norm(mu - mean) for mean in truth)
        yield {"|mu|": length, "method": name, "cosine": float(cosine), "error": float(error), "seconds": seconds}


def symmetric(d: int, n: int, seed: int, settings: dict[str, Any]) -> Iterator[Row]:
    """The symmetric student, |mu| = 1; with all defaults, which take minutes, in two seeds."""
    rng = np.random.default_rng(seed)
    x, truth = pair(d, 1.0, n, rng)
    start = rng.standard_normal(d)
    methods: dict[str, Callable[[], FloatArray]] = {
        "DDPM, scaled steps": lambda: quick(seed).fit(x).means_[0],
        EM: lambda: symmetric_em(x, start),
    }
    if seed < 2:
        slow = DDPMMixture(symmetric=True, random_state=seed, **settings)
        methods["DDPM, defaults"] = lambda: slow.fit(x).means_[0]
    yield from compared(1.0, methods, truth)


EXPONENTS = {"1": 0.0, "d^(-1/8)": -1 / 8, "d^(-1/4)": -1 / 4}
"""Lengths of mu as powers of the dimension."""


def separation(d: int, length: str, n: int, seed: int) -> Iterator[Row]:
    """The symmetric student from random starts: dimension, separation down to d^(-1/4), rows."""
    rng = np.random.default_rng(seed)
    x, truth = pair(d, d ** EXPONENTS[length], n, rng)
    start = rng.standard_normal(d)
    methods = {DESCENT: lambda: quick(seed).fit(x).means_[0], EM: lambda: symmetric_em(x, start)}
    yield from compared(d ** EXPONENTS[length], methods, truth)


def poster_figure(rows: Rows) -> Figure:
    """distance of learnt and true means along the descent, 64 starts with and without large noise first"""
    figure, axes = panels(2, 10, 3.8, lines=False, sharey=True)
    longest = max(row["steps"][-1] for row in rows)
    for panel, student in zip(axes, STUDENTS, strict=True):
        for schedule, colour in ((SMALL, RED), (BOTH, BLUE)):
            for i, row in enumerate(of(rows, student=student, schedule=schedule)):
                steps, errors = [*row["steps"], longest], [*row["errors"], row["errors"][-1]]
                panel.plot(steps, errors, color=colour, lw=0.6, alpha=0.6, label=schedule if i == 0 else None)
        panel.set(xlabel="step", xscale="symlog", title=f"{student} means")
        panel.set_xlim(0, longest)
    axes[0].set_ylabel("distance of learnt and true means")
    axes[0].set_ylim(0)
    legend(figure, axes[0])
    return figure


def separation_figure(rows: Rows) -> Figure:
    """error of mu against the number of rows, for three dimensions and three separations, beside EM"""
    lengths = values_of(rows, "length")
    figure, axes = panels(len(lengths), 10, 3.6, lines=False, sharey=True)
    for panel, length in zip(axes, lengths, strict=True):
        for d, colour in zip(values_of(rows, "d"), (BLUE, LIGHT_BLUE, RED), strict=False):
            for method in (DESCENT, EM):
                here = of(rows, length=length, d=d, method=method)
                errors = [median(row["error"] for row in group) for group in groups(here, "n")]
                style = {"ls": "-" if method == DESCENT else ":", "color": colour, "marker": "o", "ms": 3}
                panel.plot(values_of(here, "n"), errors, label=f"{method}, d = {d}", **style)
        panel.set(xscale="log", yscale="log", xlabel="rows", title=f"|mu| = {length}")
    axes[0].set_ylabel("error of mu, median of 5 seeds")
    legend(figure, axes[0], ncols=3)
    return figure


def poster_table(rows: Rows) -> Table:
    """The published experiment: two components in 100 dimensions, means 6 from the origin, 2,000 rows."""
    head = f"means | noise | distance at the start | ends below {SUCCESS} | median | largest | steps | seconds"
    line = "{student} | {schedule} | {start.mean:.1f} | {solved.count} | {error.median:.2f} | {error.max:.2f}"
    rows = [row | {"solved": row["error"] < SUCCESS, "last": row["steps"][-1]} for row in rows]
    return table(rows, ("student", "schedule"), head, f"{line} | {{last.median:,.0f}} | {{seconds.median:.1f}}")


def symmetric_table(rows: Rows) -> Table:
    """The symmetric student from random starts: d = 100, length 1, 50,000 rows."""
    best = {row["seed"]: row["error"] for row in of(rows, method=EM)}
    head = " | seeds | smallest cosine | mean error | largest error, times EM's | seconds"
    line = "{method} | {seed.len} | {cosine.min:.4f} | {error.mean:.4f} | {times.max:.3f} | {seconds.median:.1f}"
    return table([row | {"times": row["error"] / best[row["seed"]]} for row in rows], "method", head, line)


def separation_table(rows: Rows) -> Table:
    """Random starts, scaled steps of rate 0.5, medians of 5 seeds; in every pair of columns EM's is the second."""
    head, line = "d | length of mu | rows", "{d} | {length} = {|mu|:.2f} | {n:,}"
    for name, digits in (("cosine", 3), ("error", 3), ("seconds", 2)):
        head += f" | {name} | EM"
        line += "".join(f" | {{method[{method}].{name}.median:.{digits}f}}" for method in (DESCENT, EM))
    return table(rows, ("d", "length", "n"), head, line)


def published(seeds: int, tied: int, d: int, n: int) -> list[Row]:
    """Cases of the published experiment; fewer seeds with tied means."""
    cases = grid(d=[d], n=[n], seed=range(seeds), student=STUDENTS, schedule=(BOTH, SMALL))
    return [case for case in cases if case["student"] == "untied" or case["seed"] < tied]


SHAPES = grid(d=(10, 100, 1000), length=EXPONENTS, n=(1_000, 10_000, 50_000), seed=range(5))

BENCHMARKS = (
    Benchmark(
        poster,
        Size(published(64, 16, 100, 2000), steps=(7000, 1500)),
        Size(published(1, 1, 5, 200), steps=(20, 10)),
        [poster_table],
        {"poster": poster_figure},
    ),
    Benchmark(
        symmetric,
        Size(grid(d=[100], n=[50_000], seed=range(8)), settings={}),
        Size(grid(d=[5], n=[200], seed=[0]), settings={"n_steps": (20, 10)}),
        [symmetric_table],
    ),
    Benchmark(
        separation,
        Size([case for case in SHAPES if case["n"] * case["d"] <= 10**7]),
        Size(grid(d=[5], length=EXPONENTS, n=[200], seed=[0])),
        [separation_table],
        {"separation": separation_figure},
    ),
)
