"""Score regression: learn the posterior mean at every noise level (GKL Algorithm 1).

From the largest noise level down, with ``t = sigma**2`` and ``s**2 = noise_scale**2 + t``:

1. *cells* around the current warm starts; at the top one cell, the mean.
2. Draw ``y = x +- sigma z``, regress the unbiased target ``(1 - s^2/t) y + (s^2/t) x = x -+ (noise_scale^2/sigma) z``
   of ``E[mu | y]`` on polynomials per cell: one pass that only adds up normal equations, then a small ridge solve.
3. ``score = (g(y) - y) / s^2``.
4. *warm starts* for the next level: denoise fresh noisy samples and cover them (Algorithm 2).

``gates="hard"`` is the paper line by line: Voronoi cells, its schedule, new centres whenever t has halved. ``"soft"``
differs where that was measured to be better: responsibilities instead of labels, one joint regression, over-covering,
a few EM steps on the gates, geometric levels, new cells at every level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, namespace, product, to_numpy
from scoremix.features import Hermite, hermite_size
from scoremix.learning.regression.degrees import LinearSystem, select_degrees
from scoremix.learning.regression.normal_equations import NormalEquations
from scoremix.models.gates import Cells, SoftCells
from scoremix.models.score_model import PiecewisePolynomial, design
from scoremix.models.subspace import Subspace
from scoremix.noise import BLOCK, antithetic, normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

CHUNK_ROWS = 16384  # Rows per chunk where no design matrix is made.

# Entries of a design matrix, at most about: 10 MB. Threads stand in each other's way when calls are short.
CHUNK_ENTRIES = 5 * 2**18

MAX_CHUNK_ROWS = 2**16  # Most rows of a chunk: enough chunks must remain for the threads.
MAX_DEGREE = 5  # Highest degree tried by degree='auto'.
AUTO_COLUMNS = 96  # Degrees >= 2 are tried only while cells x features stay within this.
JOINT_COLUMNS = 900  # Degree 1 is tried only while cells x features stay within this.

# Rows that warm starts are made from: many more than a level asks for, few enough to be held in memory.
POOL_ROWS = 50_000

MIN_NOISY_ROWS = 4096  # Small data sets are given more draws per level, until they have this many noisy pairs.


@dataclass(frozen=True)
class RegressionSettings:
    """What a fit may choose.

    degree: fixed degree, or None to choose by held-out loss.
    """

    gates: str
    degree: int | None
    min_weight: float
    n_draws: int
    folds: int
    seed: int
    n_threads: int | None = None


@dataclass(frozen=True)
class FittedLevel:
    """One learnt level: its model, and the held-out denoising loss per coordinate, ``E|D(y) - x|^2 / d``."""

    model: PiecewisePolynomial
    denoising_loss: float


@dataclass(frozen=True)
class LevelStatistic:
    """The statistic of one level: noise the rows of a chunk, add up the normal equations of the regression.

    Targets are residuals about the centres of the cells, in units of s, so that the ridge shrinks towards the Gaussian
    about each cell and nothing depends on where the data lie. Cost per chunk of n rows: 2 draws x n evaluations of the
    cells, and O((cells x features)^2) multiplications per row in the products.
    """

    cells: Cells
    features: Hermite
    sigma: float
    frame: Subspace
    n_draws: int
    folds: int
    key: tuple[int, int]

    def __call__(self, chunk: Chunk) -> NormalEquations:
        """Normal equations of the rows of `chunk`."""
        x = self.frame.encode(chunk.x)  # (r, n)
        root = None if chunk.weight is None else namespace(x).sqrt(chunk.weight)
        rank, total = self.frame.rank, self._zeros(self.frame.rank)
        noise = normal_rows(self.key, chunk.start, chunk.stop, self.n_draws * rank, x)
        for draw in range(self.n_draws):
            z = noise[draw * rank : (draw + 1) * rank, :]
            for fold in range(self.folds):
                rows = slice((fold - chunk.start) % self.folds, None, self.folds)  # row number modulo folds
                if rows.start < x.shape[1]:
                    self._add_pairs(total, fold, x[:, rows], z[:, rows], None if root is None else root[rows])
        return total

    def _zeros(self, rank: int) -> NormalEquations:
        systems, cells = self.cells.systems()
        q = cells * self.features.sizes[-1]
        shape = (self.folds, systems)
        return NormalEquations(np.zeros((*shape, q, q)), np.zeros((*shape, q, rank)), np.zeros(shape), np.zeros(shape))

    def _add_pairs(self, total: NormalEquations, fold: int, x: Array, z: Array, root: Array | None) -> None:
        """Add antithetic pairs to a fold; `root` holds the square roots of the weights."""
        variance = self.frame.noise_scale**2 + self.sigma**2
        scale = float(variance**0.5)
        x, z, y = antithetic(x, z, self.sigma)
        partition = self.cells.partition(y, variance)
        target = partition.arrange(x - (self.frame.noise_scale**2 / self.sigma) * z)
        heavy = None if root is None else partition.arrange(namespace(x).concat([root, root], axis=0))
        p, rank = self.features.sizes[-1], self.frame.rank
        for block, matrix in design(self.cells, partition, self.features, partition.arrange(y), scale, room=rank):
            here = slice(block.start, block.stop)
            residual = target[:, here] - product(like(self.cells.centers[block.cells].T, y), matrix[:-rank:p, :])
            matrix[-rank:, :] = residual / scale
            weight = float(block.stop - block.start)
            if heavy is not None:
                matrix *= heavy[here]
                weight = float(namespace(x).sum(heavy[here] ** 2))
            self._add(total, fold, block.cells, to_numpy(product(matrix, matrix.T)), weight)

    def _add(self, total: NormalEquations, fold: int, cells: NDArray[np.intp], sums: Floats, weight: float) -> None:
        """Add the products of features and targets, all with all, where they belong."""
        p, q = self.features.sizes[-1], len(sums) - self.frame.rank
        gram, cross = sums[:q, :q], sums[:q, q:]
        if self.cells.systems()[1] == 1:
            system, at = int(cells[0]), np.arange(p)
        else:
            system, at = 0, (cells[:, None] * p + np.arange(p)).ravel()
        if q == total.gram.shape[2]:
            total.gram[fold, system] += gram
            total.cross[fold, system] += cross
        else:
            total.gram[fold, system][np.ix_(at, at)] += gram
            total.cross[fold, system][at] += cross
        total.target[fold, system] += sums[q:, q:].trace()
        total.weight[fold, system] += weight


def fit_level(
    source: Source,
    cells: Cells,
    candidates: tuple[int, ...],
    sigma: float,
    level: int,
    frame: Subspace,
    how: RegressionSettings,
) -> FittedLevel:
    """Regress the posterior mean at one noise level: one pass over the source, then the solve."""
    features = Hermite(frame.rank, candidates[-1])
    draws = max(how.n_draws, -(-MIN_NOISY_ROWS // source.n_rows))
    statistic = LevelStatistic(cells, features, sigma, frame, draws, how.folds, (how.seed, level))
    # A hard cell meets only its own points, so its columns cost what one cell costs.
    rows = chunk_rows(cells.systems()[1] * features.sizes[-1], how.folds, source.n_features)
    sums = accumulate(statistic, source, chunk_rows=rows, n_threads=how.n_threads)
    chosen = [
        select_degrees(LinearSystem(sums.gram[:, s], sums.cross[:, s], sums.weight[:, s], features.sizes), candidates)
        for s in range(sums.gram.shape[1])
    ]
    degrees = np.concatenate([c.degrees for c in chosen])
    top = Hermite(frame.rank, int(degrees.max()))
    coef = np.concatenate([c.coef for c in chosen])[:, : top.sizes[-1]]
    model = PiecewisePolynomial(cells, top, np.ascontiguousarray(coef), degrees, frame.noise_scale)
    return FittedLevel(model, _denoising_loss(sums, sum(c.loss for c in chosen), sigma, frame))


def chunk_rows(columns: int, folds: int, n_features: int) -> int:
    """Rows per chunk: whole blocks of noise, each fold's design matrix of bounded size, the rows themselves too."""
    rows = min(folds * CHUNK_ENTRIES // (2 * columns), MAX_CHUNK_ROWS, CHUNK_ENTRIES // n_features)
    return BLOCK * max(1, rows // BLOCK)


def _denoising_loss(sums: NormalEquations, change: float, sigma: float, frame: Subspace) -> float:
    """Turn the held-out loss of the posterior mean into that of the denoiser, per coordinate of the whole space.

    ``D - x = (t / s^2)(g - target)``, and in the exactly Gaussian complement the risk is ``sigma0^2 t / s^2``.
    """
    t, variance = sigma**2, frame.noise_scale**2 + sigma**2
    inside = t**2 / variance * float((sums.target.sum() + change) / sums.weight.sum())
    outside = (frame.n_features - frame.rank) * frame.noise_scale**2 * t / variance
    return (inside + outside) / frame.n_features


def candidate_degrees(cells: Cells, rank: int, above: PiecewisePolynomial | None, fixed: int | None) -> tuple[int, ...]:
    """Degrees worth trying at a level, given the model of the level above.

    Soft cells multiply as the noise falls, and the degree that pays falls with it: above 2, no higher one is tried than
    was chosen above (one more where the cells have not multiplied). The cap on cells x features keeps the pass cheap.
    """
    if fixed is not None:
        return (fixed,)
    together, highest = cells.systems()[1], MAX_DEGREE
    if above is not None and isinstance(cells, SoftCells):
        highest = max(2, int(above.degrees.max()) + (len(cells.centers) <= len(above.degrees)))
    candidates = [0]
    for m in range(1, min(MAX_DEGREE, highest) + 1):
        limit = JOINT_COLUMNS if m == 1 else AUTO_COLUMNS
        if together * hermite_size(rank, m) > limit:
            break
        candidates.append(m)
    return tuple(candidates)


def noisy_rows(pool: Floats, sigma: float, size: int, rng: np.random.Generator) -> Floats:
    """Fresh noisy samples of a level, shape (r, at most size), from encoded rows of shape (r, m) in random order."""
    m = pool.shape[1]
    if m > size:
        pool = np.take(pool, rng.integers(m) + np.arange(size), axis=1, mode="wrap")
    return np.asarray(pool + sigma * rng.standard_normal(pool.shape))
