"""One problem, all methods: the same rows, held-out rows of the same law, and EM that is told the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gaussian.methods import REG
from benchmarks.global_start.laws import Law
from benchmarks.global_start.methods import Fitted, Method
from benchmarks.run import Row, cpu_seconds, one_thread
from scoremix.arrays import Floats
from scoremix.learning.em.em import run_em
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

TOLERANCE = 0.005
"""Nats per row by which a success may be below EM from the truth, on held-out rows."""


@dataclass(frozen=True)
class Problem:
    """Rows to draw and what to fit to them; `fields` go into every stored row."""

    fields: Row
    law: Law
    kind: str
    n: int
    n_held_out: int
    seed: int

    def rows(self) -> Floats:
        return self.law.sample(self.n, 2 * self.seed)

    def held_out(self) -> Floats:
        return self.law.sample(self.n_held_out, 2 * self.seed + 1)


def n_held_out(d: int, tiny: bool = False) -> int:
    """Rows that likelihoods are compared on: fewer where they are long."""
    return 500 if tiny else 20_000 if d <= 16 else 10_000


def oracle(x: Floats, truth: Mixture) -> Mixture:
    """EM started at the truth."""
    with one_thread():
        return run_em(ArraySource(x), truth, tol=1e-6, max_iter=1000, reg=REG).mixture


def mean_log_density(model: Fitted | Mixture, x: Floats) -> float | None:
    """Mean log likelihood; None where it is no number, which JSON does not know."""
    with one_thread():
        value = float(np.mean(model.log_density(x)))
    return value if np.isfinite(value) else None


def succeeds(held_out: float | None, reference: float) -> bool:
    """Whether a fit is as good as EM from the truth; better is as good."""
    return held_out is not None and held_out >= reference - TOLERANCE


def timed(method: Method, x: Floats, k: int, kind: str, seed: int) -> tuple[Fitted | None, float | None, str | None]:
    """A fit, its CPU seconds, and why there is none: an error of one fit must not end a run of hours."""
    try:
        result, seconds = cpu_seconds(method.prepare(x, k, kind, seed))
    except (ValueError, RuntimeError) as error:
        return None, None, f"{type(error).__name__}: {error}".splitlines()[0]
    return result, seconds, None


def compare(problem: Problem, methods: Sequence[Method]) -> Iterator[Row]:
    """Yield a row for every method that knows the kind of covariances."""
    x, held_out = problem.rows(), problem.held_out()
    truth = problem.law.mixture(problem.kind)
    reference, at_truth = mean_log_density(oracle(x, truth), held_out), mean_log_density(truth, held_out)
    if reference is None:
        raise ValueError(f"EM from the truth ends nowhere: {problem.fields}.")
    for method in methods:
        if problem.kind not in method.kinds:
            continue
        result, seconds, error = timed(method, x, problem.law.k, problem.kind, problem.seed)
        likelihood = None if result is None else mean_log_density(result, held_out)
        yield {
            **problem.fields,
            "method": method.name,
            "seconds": seconds,
            "held_out": likelihood,
            "oracle": reference,
            "success": succeeds(likelihood, reference),
            "truth": at_truth,
            "error": error,
        }
