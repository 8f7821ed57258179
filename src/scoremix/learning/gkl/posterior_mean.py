"""The posterior mean of one noise level on piecewise polynomials (GKL Algorithm 1).

With ``t = sigma**2`` and ``s**2 = noise_scale**2 + t``: draw ``y = x +- sigma z``, regress the unbiased target

    ``(1 - s^2/t) y + (s^2/t) x = x -+ (noise_scale^2/sigma) z``

of ``E[mu | y]`` on polynomials per cell: one pass that only adds up normal equations, then a small ridge solve. The
score is ``(g(y) - y) / s^2``. Soft cells share one joint regression, hard cells have one each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, like, namespace, product, to_numpy
from scoremix.features import Hermite, hermite_size
from scoremix.learning.regression.degrees import LinearSystem, select_degrees
from scoremix.learning.regression.normal_equations import NormalEquations
from scoremix.learning.regression.scores import MIN_NOISY_ROWS, FittedLevel, Part, RegressionSettings, ScoreRegression
from scoremix.models.gates import Cells, SoftCells
from scoremix.models.score_model import PiecewisePolynomial, design
from scoremix.models.subspace import Subspace
from scoremix.noise import BLOCK
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Source

CHUNK_ROWS = 16384  # Rows per chunk where no design matrix is made.

# Entries of a design matrix, at most about: 10 MB. Threads stand in each other's way when calls are short.
CHUNK_ENTRIES = 5 * 2**18

MAX_CHUNK_ROWS = 2**16  # Most rows of a chunk: enough chunks must remain for the threads.
MAX_DEGREE = 5  # Highest degree tried by degree='auto'.
AUTO_COLUMNS = 96  # Degrees >= 2 are tried only while cells x features stay within this.
JOINT_COLUMNS = 900  # Degree 1 is tried only while cells x features stay within this.


@dataclass(frozen=True)
class PosteriorMean:
    """E[mu | y] on polynomials about the centers of cells.

    Targets are residuals about the centers, in units of s, so that the ridge shrinks towards the Gaussian about each
    cell and nothing depends on where the data lie. O((cells x features)^2) multiplications per sample in the products.
    """

    cells: Cells
    features: Hermite
    sigma: float
    frame: Subspace

    @property
    def shape(self) -> tuple[int, int, int]:
        """Systems, columns of each, outputs."""
        systems, cells = self.cells.systems()
        return systems, cells * self.features.sizes[-1], self.frame.rank

    def points(self, x: Array) -> Array:
        """Coordinates in the frame."""
        return self.frame.encode(x)

    def parts(self, x: Array, z: Array, y: Array, weight: Array | None) -> Iterator[Part]:
        """The sums of blocks of points that meet the same cells: products of features and targets, all with all."""
        variance = self.frame.noise_scale**2 + self.sigma**2
        scale, p, rank = float(variance**0.5), self.features.sizes[-1], self.frame.rank
        partition, is_joint = self.cells.partition(y, variance), self.cells.systems()[1] > 1
        target = partition.arrange(x - (self.frame.noise_scale**2 / self.sigma) * z)
        root = None if weight is None else partition.arrange(namespace(x).sqrt(weight))
        for block, matrix in design(self.cells, partition, self.features, partition.arrange(y), scale, room=rank):
            here = slice(block.start, block.stop)
            residual = target[:, here] - product(like(self.cells.centers[block.cells].T, y), matrix[:-rank:p, :])
            matrix[-rank:, :] = residual / scale
            mass = float(block.stop - block.start)
            if root is not None:
                matrix *= root[here]
                mass = float(namespace(x).sum(root[here] ** 2))
            both, q = to_numpy(product(matrix, matrix.T)), matrix.shape[0] - rank
            is_part = is_joint and q < self.shape[1]
            columns = (block.cells[:, None] * p + np.arange(p)).ravel() if is_part else None
            system = 0 if is_joint else int(block.cells[0])
            yield Part(system, both[:q, :q], both[:q, q:], both[q:, q:].trace(), mass, columns)


def fit_level(
    source: Source,
    cells: Cells,
    candidates: tuple[int, ...],
    sigma: float,
    level: int,
    frame: Subspace,
    how: RegressionSettings,
) -> FittedLevel[PiecewisePolynomial]:
    """Regress the posterior mean at one noise level: one pass over the source, then the solve."""
    features = Hermite(frame.rank, candidates[-1])
    draws = max(how.n_draws, -(-MIN_NOISY_ROWS // source.n_rows))
    statistic = ScoreRegression(PosteriorMean(cells, features, sigma, frame), draws, how.folds, (how.seed, level))
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
