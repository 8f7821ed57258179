"""Gradient descent on the DDPM objective: stages of noise, each with steps of its own (arXiv 2307.01178).

A *stage* is a set of noise levels and a number of steps; the paper's algorithm for two components has two. At large
noise the steps are those of a power method and find the directions of the means from any start; at small noise they are
those of gradient EM and find the lengths. From a warm start one stage at small noise does. One level is not efficient:
the sum of many levels with likelihood weights is, as maximum likelihood is (`all_levels`).

What is descended is a *method*, which knows how to evaluate a student and where a step leads. `KnownCovariance` moves
means (and weights) by the gradient, as published: in the means themselves, not in their shrunk copies at
Ornstein-Uhlenbeck time, so that a rate means the same at every level. `LearntCovariance` moves covariances too, by
steps that know their curvature. Where noise is integrated out, or drawn once in pairs +-z, the objective is one
function, and a stage ends once steps are tiny; with fresh noise a small rate averages over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.sck.covariances import covariance_sums, descent_step
from scoremix.learning.sck.objective import Objective, ObjectiveSums, likelihood_weights, objective_sums
from scoremix.learning.sck.optimizers import Optimizer
from scoremix.learning.sck.student import Student
from scoremix.learning.sck.two_components import exact_sums
from scoremix.models.mixture import Mixture
from scoremix.noise import ou_time_from_sigma, sigma_from_ou_time
from scoremix.samples.source import ArraySource, Source

# Squared noise levels, in units of the components' variance, that together are as good as maximum likelihood.
ALL_LEVELS = np.geomspace(50.0, 0.02, 14)

RECORDS = 500  # Records that are kept of a stage, at most about.
SMALLEST_WEIGHT = 1e-12  # Weights are kept above this: a logit must stay a number.
DIVERGED = 1e50  # Means that are larger are refused: their powers would soon be no numbers.


@dataclass(frozen=True)
class Stage:
    """Noise levels of one stage, and its steps.

    sigmas (l,), noise levels > 0 in standard deviations of a component; factors (l,); center (d,).
    """

    sigmas: Floats
    factors: Floats
    n_steps: int
    radius: float | None = None
    center: Floats | float = 0.0

    @property
    def noise_time(self) -> float | Floats:
        """Ornstein-Uhlenbeck time of the level, or of each."""
        times = ou_time_from_sigma(self.sigmas)
        return float(times[0]) if isinstance(times, np.ndarray) and len(times) == 1 else times


def single_level(noise_time: float, n_steps: int) -> Stage:
    """A stage at one Ornstein-Uhlenbeck time > 0, with the loss of the DDPM paper there: ``1 + sigma^2`` times L."""
    sigma = float(sigma_from_ou_time(noise_time))
    return Stage(np.array([sigma]), np.array([1 + sigma**2]), n_steps)


def all_levels(n_steps: int, sigmas: Floats | None = None) -> Stage:
    """A stage at many levels (l >= 2, monotone) with likelihood weights; by default 14, from large to small."""
    sigmas = np.sqrt(ALL_LEVELS) if sigmas is None else sigmas
    return Stage(sigmas, likelihood_weights(sigmas), n_steps)


@dataclass(frozen=True)
class Record:
    """One step of a descent, before it was taken; also readable as a mapping, which makes a table of a list of them.

    step: from 0 within the stage; noise_time (l,); means (k, d).
    """

    stage: int
    step: int
    noise_time: float | Floats
    loss: float
    gradient_norm: float
    means: Floats

    def keys(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(each.name for each in fields(self))

    def __getitem__(self, name: str) -> Any:
        """Value of a field."""
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)


S = TypeVar("S", Student, Mixture)  # what is learnt


@dataclass(frozen=True)
class Evaluated(Generic[S]):
    """A student evaluated: its loss, the length of its gradient in the means, and where the step leads."""

    loss: float
    gradient_norm: float
    moved: S


class Learner(Protocol[S]):
    """What a descent asks of a method."""

    @property
    def is_one_function(self) -> bool:
        """Whether every step sees the same objective, without random noise."""

    def step(self, source: Source, student: S, stage: Stage, key: tuple[int, ...]) -> Evaluated[S]:
        """Evaluate a student on all rows of a source, noise keyed by `key`: the seed, the stage, the step."""

    def fresh(self) -> Learner[S]:
        """The same method without memory of past steps, for a new stage."""


@dataclass(frozen=True)
class KnownCovariance:
    """Means, and weights where they are free, of a `Student`."""

    rule: Optimizer
    is_exact: bool = True
    is_symmetric: bool = False
    free_weights: bool = False
    n_threads: int | None = None

    @property
    def is_one_function(self) -> bool:
        """Exact objectives are."""
        return self.is_exact

    def fresh(self) -> KnownCovariance:
        """The same without memory."""
        return replace(self, rule=self.rule.fresh())

    def sums(self, source: Source, student: Student, stage: Stage, key: tuple[int, ...]) -> ObjectiveSums:
        """Loss and gradient of the DDPM objective of a stage."""
        sigmas = stage.sigmas * np.sqrt(student.variance)
        if self.is_exact and len(student.means) == 2:
            return exact_sums(source, student, sigmas, factors=stage.factors, n_threads=self.n_threads)
        key = key[:-1] if self.is_exact else key
        how = Objective(antithetic=self.is_exact)
        return objective_sums(source, student, sigmas, how, factors=stage.factors, key=key, n_threads=self.n_threads)

    def step(self, source: Source, student: Student, stage: Stage, key: tuple[int, ...]) -> Evaluated[Student]:
        """Evaluate a student, and move it by the rule."""
        sums = self.sums(source, student, stage, key)
        alone = 2 * float(np.sum(stage.factors / (1 + stage.sigmas**2) ** 2)) / student.variance**2
        if self.is_symmetric:
            moved, gradient = self._tied(student, sums, alone), sums.tied_gradient
        else:
            moved, gradient = self._free(student, sums, alone), sums.gradient
        if stage.radius is not None:
            offset = moved.means - stage.center
            length = np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-300)
            moved = replace(moved, means=stage.center + offset * np.minimum(1, stage.radius / length))
        return Evaluated(sums.mean_loss, float(np.linalg.norm(gradient)), moved)

    def _tied(self, student: Student, sums: ObjectiveSums, alone: float) -> Student:
        """Move mu; `alone` is the curvature for a component that is alone."""
        mu = student.means[0] + self.rule.step(sums.tied_gradient, np.array(alone))
        return replace(student, means=np.stack([mu, -mu]))

    def _free(self, student: Student, sums: ObjectiveSums, alone: float) -> Student:
        """Move every mean, and the logit of every weight as one more coordinate, in standard deviations."""
        gradient, shares = sums.gradient, np.maximum(student.weights, SMALLEST_WEIGHT)
        curvature = alone * shares[:, None]
        if not self.free_weights:
            return replace(student, means=student.means + self.rule.step(gradient, curvature))
        both = np.column_stack([gradient, sums.logits / sums.weight])
        units = np.append(np.ones(gradient.shape[1]), student.variance)
        moves = self.rule.step(both, curvature * units)
        logits = np.log(shares) + moves[:, -1]
        weights = np.exp(logits - logits.max())
        return replace(student, means=student.means + moves[:, :-1], weights=weights / weights.sum())


@dataclass(frozen=True)
class LearntCovariance:
    """Weights, means and covariances of a `Mixture` with diagonal or full covariances.

    rate: in units of the curvature: 1 is Newton's step for components that are far apart.
    """

    rate: float
    is_exact: bool = True
    scale: float = 1.0
    free_weights: bool = False
    n_threads: int | None = None

    @property
    def is_one_function(self) -> bool:
        """Unless noise is drawn afresh in every step."""
        return self.is_exact

    def fresh(self) -> LearntCovariance:
        """Itself: it has no memory."""
        return self

    def step(self, source: Source, student: Mixture, stage: Stage, key: tuple[int, ...]) -> Evaluated[Mixture]:
        """Evaluate a student, and move it."""
        sigmas, key = stage.sigmas * self.scale, key[:-1] if self.is_exact else key
        sums = covariance_sums(
            source, student, sigmas, antithetic=self.is_exact, factors=stage.factors, key=key, n_threads=self.n_threads
        )
        moved = descent_step(student, sums, sigmas, factors=stage.factors, rate=self.rate)
        if not self.free_weights:
            moved = replace(moved, weights=student.weights)
        return Evaluated(sums.loss / sums.weight, float(np.linalg.norm(sums.means)) / sums.weight, moved)


def descend(
    source: Source,
    student: S,
    stages: list[Stage],
    method: Learner[S],
    *,
    batch_size: int | None = None,
    tol: float = 0.0,
    seed: int = 0,
    report: Callable[[Record], None] | None = None,
) -> tuple[S, list[Record]]:
    """Gradient descent through all stages.

    seed: of noise and batches, >= 0.

    ValueError: If steps become so long that means run away.

    A step costs one pass, see `objective_sums`, `exact_sums` and `covariance_sums`.
    """
    records: list[Record] = []
    for number, stage in enumerate(stages):
        for record, here in _steps(source, student, number, stage, method.fresh(), batch_size, tol, seed):
            student = here
            records.append(record)
            if report is not None:
                report(record)
    return student, records


def _steps(
    source: Source,
    student: S,
    number: int,
    stage: Stage,
    method: Learner[S],
    batch_size: int | None,
    tol: float,
    seed: int,
) -> Iterator[tuple[Record, S]]:
    """Steps of one stage: records, and the student at each; the last is its end."""
    rng, every = np.random.default_rng((seed, number)), max(1, -(-stage.n_steps // RECORDS))
    may_end = method.is_one_function and batch_size is None
    for step in range(stage.n_steps + 1):
        batch = source if batch_size is None else ArraySource(source.draw(batch_size, rng))
        taken = method.step(batch, student, stage, (seed, number, step))
        if not float(np.abs(taken.moved.means).max()) < DIVERGED:
            raise ValueError(f"The descent diverged at step {step} of stage {number}: lower the learning rate.")
        is_last = step == stage.n_steps or (
            may_end and float(np.abs(taken.moved.means - student.means).max(initial=0.0)) <= tol
        )
        if is_last or step % every == 0:
            yield Record(number, step, stage.noise_time, taken.loss, taken.gradient_norm, student.means), student
        if is_last:
            return
        student = taken.moved
