"""One score regression: noise the samples of a chunk, add up the normal equations of a problem in folds of the samples.

Every score regression of this library is ``features x gates x target``: at one noise level ``y = x + sigma z`` is drawn
in antithetic pairs, a target that is unbiased given y is regressed on polynomials of local coordinates, and the points
are dealt out to systems of equations by gates. A `Problem` declares these three; what they have in common stands here:

=======================  ====================================  =====================  ==============================
problem                  features                              gates                  target
=======================  ====================================  =====================  ==============================
`gkl.PosteriorMean`      of ``(y - c) / s``, all cells         Voronoi or soft cells  ``x - (noise_scale^2/sigma) z``
`cks.CellScore`          of ``A (y - c)``, cell by cell        likelihood ratios      ``-z / sigma`` - linear score
`MixtureResidual`        of ``A (y - m)``, by component        responsibilities       ``-z / sigma`` - mixture's score
=======================  ====================================  =====================  ==============================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, namespace, product, squared_lengths, to_numpy
from scoremix.learning.regression.normal_equations import NormalEquations
from scoremix.models.ladder import Level
from scoremix.noise import antithetic, normal_rows
from scoremix.samples.source import Chunk

M = TypeVar("M", bound=Level)

MIN_NOISY_ROWS = 4096  # Small data sets are given more draws per level, until they have this many noisy pairs.


@dataclass(frozen=True)
class RegressionSettings:
    """How scores are learnt; the degree is chosen by held-out loss where it is None."""

    gates: str = "soft"
    degree: int | None = None
    min_weight: float = 0.003
    n_draws: int = 2
    folds: int = 2
    seed: int = 0
    n_threads: int | None = None


@dataclass(frozen=True)
class FittedLevel(Generic[M]):
    """One learnt level: its model, and held-out losses ``E|D(y) - x|^2 / d``, also of the mixture that it corrects."""

    model: M
    denoising_loss: float
    base_loss: float | None = None


@dataclass(frozen=True)
class Part:
    """The sums of some points: to which system of equations they belong, and to which of its columns (None: all)."""

    system: int
    gram: Floats
    cross: Floats
    target: float
    mass: float
    columns: NDArray[np.intp] | None = None


class Problem(Protocol):
    """What is regressed on what, at one noise level."""

    @property
    def sigma(self) -> float:
        """Noise level, > 0."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of systems, columns of each, outputs."""

    def points(self, x: Array) -> Array:
        """The samples of a chunk (n, d) as the points of the problem, feature major (r, n)."""

    def parts(self, x: Array, z: Array, y: Array, weight: Array | None) -> Iterator[Part]:
        """The sums of antithetic pairs, ``y = x + sigma z`` (r, 2 n), with weights (2 n,)."""


@dataclass(frozen=True)
class ScoreRegression:
    """The statistic of one level; 2 draws x n points per chunk of n samples."""

    problem: Problem
    n_draws: int
    folds: int
    key: tuple[int, int]

    def __call__(self, chunk: Chunk) -> NormalEquations:
        """Normal equations of the samples of `chunk`."""
        x = self.problem.points(chunk.x)
        rank, total = x.shape[0], self._zeros()
        noise = normal_rows(self.key, chunk.start, chunk.stop, self.n_draws * rank, x)
        for draw in range(self.n_draws):
            z = noise[draw * rank : (draw + 1) * rank, :]
            for fold in range(self.folds):
                some = slice((fold - chunk.start) % self.folds, None, self.folds)  # number of the sample modulo folds
                if some.start < x.shape[1]:
                    pairs = antithetic(x[:, some], z[:, some], self.problem.sigma)
                    weight = None if chunk.weight is None else namespace(x).concat([chunk.weight[some]] * 2)
                    for part in self.problem.parts(*pairs, weight):
                        _add(total, fold, part)
        return total

    def _zeros(self) -> NormalEquations:
        systems, columns, outputs = self.problem.shape
        shape = (self.folds, systems)
        gram, cross = np.zeros((*shape, columns, columns)), np.zeros((*shape, columns, outputs))
        return NormalEquations(gram, cross, np.zeros(shape), np.zeros(shape))


def _add(total: NormalEquations, fold: int, part: Part) -> None:
    """Add sums where they belong."""
    gram, cross = total.gram[fold, part.system], total.cross[fold, part.system]
    if part.columns is None:
        gram += part.gram
        cross += part.cross
    else:
        gram[np.ix_(part.columns, part.columns)] += part.gram
        cross[part.columns] += part.cross
    total.target[fold, part.system] += part.target
    total.weight[fold, part.system] += part.mass


def weighted_part(system: int, matrix: Array, target: Array, weight: Array | None) -> Part:
    """The sums of features (p, n) and targets (d, n), with weights (n,) where there are any."""
    xp, weighted, squares, mass = namespace(matrix), matrix, squared_lengths(target), float(matrix.shape[1])
    if weight is not None:
        weighted, squares, mass = matrix * weight[None, :], squares * weight, float(xp.sum(weight))
    gram, cross = to_numpy(product(weighted, matrix.T)), to_numpy(product(weighted, target.T))
    return Part(system, gram, cross, float(xp.sum(squares)), mass)
