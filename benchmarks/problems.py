"""The problems of the benchmark, by name; a seed chooses the placement of their centres."""

from collections.abc import Callable
from dataclasses import dataclass

from scoremix.evaluation import (
    make_balls,
    make_gaussian_mixture,
    make_manifold,
    make_pairs,
    make_ring,
    make_spiral,
)
from scoremix.evaluation.truth import Truth


@dataclass(frozen=True)
class Problem:
    """A named family of truths.

    `n_cells` is the number of cells to be found, None where the law is not made of clusters.
    """

    name: str
    make: Callable[[int], Truth]
    n_cells: int | None = None


def clusters(k: int, d: int, separation: float) -> Problem:
    name = f"{k} clusters in {d}-D, separation {separation:g}"
    return Problem(name, lambda seed: make_gaussian_mixture(k, d, separation, random_state=seed), k)


def pairs(k: int, d: int) -> Problem:
    return Problem(f"{k // 2} pairs in {d}-D", lambda seed: make_pairs(k, d, random_state=seed), k)


RING = Problem("ring", lambda seed: make_ring())
SPIRAL = Problem("spiral", lambda seed: make_spiral())
BALLS = Problem("three balls", lambda seed: make_balls(random_state=seed))


def rotated(problem: Problem, d: int) -> Problem:
    return Problem(f"{problem.name} in {d}-D", lambda seed: make_manifold(problem.make(seed), d, seed))
