"""One problem, all methods: the same rows, held-out rows of the same law, and EM that is told the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.clock import cpu_seconds, one_thread
from benchmarks.gaussian.methods import REG
from benchmarks.global_start.laws import Law
from benchmarks.global_start.methods import Fitted
from benchmarks.methods import Method
from benchmarks.tables import Row
from scoremix.arrays import Floats
from scoremix.learning.em.em import run_em
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

TOLERANCE = 0.005
"""Nats per row by which a success may be below EM from the truth, on held-out rows."""

HELD_OUT, FEW = 20_000, 500
"""Rows that likelihoods are compared on, and at the tiny size."""


@dataclass(frozen=True)
class Problem:
    """Rows to draw and what to fit to them."""

    law: Law
    kind: str
    n: int
    seed: int
    n_held_out: int

    def rows(self) -> Floats:
        return self.law.sample(self.n, 2 * self.seed)

    def held_out(self) -> Floats:
        """Fewer where they are long."""
        n = self.n_held_out if self.law.d <= 16 else min(self.n_held_out, 10_000)
        return self.law.sample(n, 2 * self.seed + 1)


def mean_log_density(model: Fitted | Mixture | None, x: Floats) -> float | None:
    """Mean log likelihood; None where it is no number, which JSON does not know, or there is no fit."""
    if model is None:
        return None
    with one_thread():
        value = float(np.mean(model.log_density(x)))
    return value if np.isfinite(value) else None


def succeeds(held_out: float | None, reference: float) -> bool:
    """Whether a fit is as good as EM from the truth; better is as good."""
    return held_out is not None and held_out >= reference - TOLERANCE


def timed(method: Method, x: Floats, k: int, kind: str, seed: int) -> tuple[Fitted | None, Row]:
    """A fit, its CPU seconds, and why there is none: an error of one fit must not end a run of hours."""
    row: Row = {"method": method.name, "seconds": None, "error": None}
    try:
        result, seconds = cpu_seconds(method.prepare(x, k, kind, seed))
    except (ValueError, RuntimeError) as error:
        return None, row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    return result, row | {"seconds": seconds}


def compare(problem: Problem, methods: Sequence[Method]) -> Iterator[Row]:
    """Yield a row for every method that knows the kind of covariances."""
    law, x, held_out = problem.law, problem.rows(), problem.held_out()
    truth = law.mixture(problem.kind)
    with one_thread():
        told = run_em(ArraySource(x), truth, tol=1e-6, max_iter=1000, reg=REG).mixture
    reference, at_truth = mean_log_density(told, held_out), mean_log_density(truth, held_out)
    if reference is None:
        raise ValueError(f"EM from the truth ends nowhere: {problem}.")
    for method in methods:
        if problem.kind in method.kinds:
            result, row = timed(method, x, law.k, problem.kind, problem.seed)
            likelihood = mean_log_density(result, held_out)
            row |= {"held_out": likelihood, "oracle": reference, "success": succeeds(likelihood, reference)}
            yield row | {"truth": at_truth}
