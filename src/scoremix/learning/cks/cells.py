"""LearnScore: one polynomial per cell and noise level, cells by likelihood ratios, candidates by held-out loss.

From crude estimates, per noise level sigma:

1. *Cells* (CKS Algorithm 5). Candidates that noise has made alike share a cell: means within ``Delta_in`` of each other
   in units of ``sqrt(beta + sigma^2)``, covariances whose ratio at that level is within ``Delta_in`` of the identity,
   both by chains (single linkage), so that no gap between near and far is needed. Several ``Delta_in`` are tried.
2. *Regression.* With ``u = (C + sigma^2 I)^(-1/2) (y - c)`` in a cell, the residual ``-z / sigma - (linear score)``
   is regressed on Hermite polynomials of u (clipped as in the model), on antithetic noise; degree by held-out loss.
3. *Selection* (Proposition 49). Of all candidate sets and partitions the one of lowest held-out denoising loss.

This is the paper's algorithm with the score alone: no mixture is assumed at any level, the linear score outside apart.
Candidates are tried on a sample of the rows and the chosen one is fitted to all; its loss is from folds of all.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithm 5, LearnScore, Proposition 49.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from scoremix.arrays import Array, Floats
from scoremix.features import Hermite, hermite_size
from scoremix.learning.cks.means import crude_sets
from scoremix.learning.regression.degrees import LinearSystem, select_degrees
from scoremix.learning.regression.scores import FittedLevel, Part, RegressionSettings, ScoreRegression, weighted_part
from scoremix.models.likelihood_ratio import THINNEST, LikelihoodRatio
from scoremix.models.score_model import PiecewiseScore, local_design
from scoremix.noise import BLOCK
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Source

# Delta_in: distances up to which candidates share a cell, in units of the noisy components. The last is one cell.
DELTAS = (0.0, 0.5, 1.0, 2.0, np.inf)

# Highest degree, and most features of one cell: degree 5 in up to 3 dimensions, 2 in 8, 1 in 20. (Degree 3 in 8 and 2
# in 20 dimensions lower the score error by some, at five to ten times the cost.)
MAX_DEGREE, MAX_FEATURES = 5, 60

CHUNK_NUMBERS = 2**20  # Numbers in the features of a chunk, at most about.

# Rows that candidates are tried on, and how many go on from there: most are far behind on few rows already.
TRIALS = ((2500, 4), (20_000, 1))


@dataclass(frozen=True)
class CellScore:
    """What the linear score of a hard cell misses, on polynomials of its whitened coordinate, in units of the score."""

    cells: LikelihoodRatio
    features: Hermite
    sigma: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Systems, columns of each, outputs."""
        return len(self.cells.weights), self.features.sizes[-1], self.features.n_features

    def points(self, x: Array) -> Array:
        """The samples themselves."""
        return x.T

    def parts(self, x: Array, z: Array, y: Array, weight: Array | None) -> Iterator[Part]:
        """The sums of every cell."""
        noise = self.sigma**2
        partition = self.cells.partition(y, noise)
        y, z = partition.arrange(y), partition.arrange(z)
        heavy = None if weight is None else partition.arrange(weight)
        for block in partition.blocks:
            here, j = slice(block.start, block.stop), int(block.cells[0])
            u, matrix = local_design(self.cells, self.features, j, y[:, here], noise)
            target = self.cells.whitening.apply(j, u, noise) - z[:, here] / self.sigma
            yield weighted_part(j, matrix, target, None if heavy is None else heavy[here])


def highest_degree(n_features: int) -> int:
    """Highest degree that is tried, at least 1."""
    fits = [m for m in range(1, MAX_DEGREE + 1) if hermite_size(n_features, m) <= MAX_FEATURES]
    return max([1, *fits])


def fit_cells(
    source: Source, cells: LikelihoodRatio, sigma: float, level: int, how: RegressionSettings
) -> FittedLevel[PiecewiseScore]:
    """Regress the score of every cell at one noise level.

    sigma: noise level, > 0.

    One pass over the source, then a solve of p equations per cell, degree and fold.
    """
    features = Hermite(source.n_features, how.degree or highest_degree(source.n_features))
    statistic = ScoreRegression(CellScore(cells, features, sigma), how.n_draws, how.folds, (how.seed, level))
    blocks = max(1, CHUNK_NUMBERS // (2 * BLOCK * features.sizes[-1]))
    sums = accumulate(statistic, source, chunk_rows=blocks * BLOCK, n_threads=how.n_threads)
    degrees = (features.degree,) if how.degree else tuple(range(features.degree + 1))
    chosen = [
        select_degrees(LinearSystem(sums.gram[:, j], sums.cross[:, j], sums.weight[:, j], features.sizes), degrees)
        for j in range(len(cells.weights))
    ]
    found = np.concatenate([c.degrees for c in chosen])
    top = Hermite(source.n_features, int(found.max()))
    in_score_units = np.concatenate([c.coef for c in chosen])[:, : top.sizes[-1]]
    roots = cells.whitening.roots(sigma**2)
    coef = np.swapaxes(np.linalg.solve(roots, np.swapaxes(in_score_units, 1, 2)), 1, 2)
    mass = float(sums.weight.sum())
    cells = replace(cells, weights=sums.weight.sum(axis=0) / mass)
    model = PiecewiseScore(cells, top, np.ascontiguousarray(coef), found)
    loss = float(sums.target.sum()) + sum(c.loss for c in chosen)
    return FittedLevel(model, sigma**4 * loss / mass / source.n_features)  # D - x = sigma^2 (score + z / sigma)


@dataclass(frozen=True)
class SelectedCells:
    """Outcome of a selection: number of the chosen candidate, its fit, and the held-out losses of all."""

    index: int
    fit: FittedLevel[PiecewiseScore]
    losses: Floats


def select_candidate(
    source: Source, candidates: Sequence[LikelihoodRatio], sigma: float, level: int, how: RegressionSettings
) -> SelectedCells:
    """Fit every candidate and keep the one of the lowest held-out denoising loss (Proposition 49).

    sigma: noise level, > 0.

    ValueError: If there is no candidate.

    One pass over the source per candidate.
    """
    if not candidates:
        raise ValueError("There is no candidate to choose from.")
    fits = [fit_cells(source, cells, sigma, level, how) for cells in candidates]
    losses = np.array([fit.denoising_loss for fit in fits])
    best = int(np.argmin(losses))
    return SelectedCells(best, fits[best], losses)


def share_cells(crude: LikelihoodRatio, sigma: float, delta_in: float) -> LikelihoodRatio:
    """Join candidates that are close at a noise level (Algorithm 5).

    sigma: noise level, >= 0.
    """
    axes, noise = crude.basis, sigma**2 * np.eye(crude.means.shape[1])
    scale = float(np.sqrt(np.linalg.eigvalsh(axes.T @ (crude.covariances + noise) @ axes).max()))
    gaps = np.linalg.norm((crude.means[:, None] - crude.means) @ axes, axis=2) / scale
    groups, kinds = _single_linkage(gaps <= delta_in), _single_linkage(_ratios(crude.covariances, sigma**2) <= delta_in)
    n_cells = (int(groups.max()) + 1) * (int(kinds.max()) + 1)
    return replace(crude, groups=groups, kinds=kinds, weights=np.full(n_cells, 1 / n_cells))


def _ratios(covariances: Floats, noise: float) -> Floats:
    """Distances ``|A_j (S_i + v I) A_j - I|`` of all pairs, the larger of both orders, shape (b, b)."""
    variances, axes = np.linalg.eigh(covariances)
    variances = np.maximum(variances, 0.0) + noise + THINNEST * variances.max()
    roots = axes / np.sqrt(variances)[:, None, :]  # (b, d, d)
    noisy = (axes * variances[:, None, :]) @ np.swapaxes(axes, 1, 2)
    ratio = np.swapaxes(roots, 1, 2)[None] @ noisy[:, None] @ roots[None]
    apart = np.linalg.norm(ratio - np.eye(ratio.shape[-1]), axis=(2, 3))
    return np.asarray(np.maximum(apart, apart.T) * (1 - np.eye(len(apart))))


def _single_linkage(near: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Connected components, numbered by their first member."""
    return np.asarray(connected_components(near, directed=False)[1], dtype=np.intp)


def enumerate_partitions(
    sets: Iterable[LikelihoodRatio], sigma: float, deltas: Sequence[float] = DELTAS
) -> tuple[LikelihoodRatio, ...]:
    """All different cells that candidate sets and values of Delta_in give at a level; one cell is tried once only."""
    found: dict[tuple[object, ...], LikelihoodRatio] = {}
    for number, crude in enumerate(sets):
        for delta in deltas:
            cells = share_cells(crude, sigma, delta)
            key = (number, *cells.groups, -1, *cells.kinds) if len(cells.weights) > 1 else ()
            found.setdefault(key, cells)
    return tuple(found.values())


def choose_cells(
    trials: Sequence[Source], sets: Iterable[LikelihoodRatio], sigma: float, level: int, how: RegressionSettings
) -> LikelihoodRatio:
    """The cells of a level: those of `enumerate_partitions` that do best on trial rows, on `TRIALS` few first."""
    candidates: Sequence[LikelihoodRatio] = enumerate_partitions(sets, sigma)
    for trial, (_, kept) in zip(trials, TRIALS, strict=True):
        if len(candidates) > 1:
            losses = select_candidate(trial, candidates, sigma, level, how).losses
            candidates = [candidates[i] for i in np.argsort(losses, kind="stable")[:kept]]
    return candidates[0]


def learn_general(
    source: Source,
    n_components: int,
    sigmas: Floats,
    how: RegressionSettings,
    rng: np.random.Generator,
    report: Callable[[int, FittedLevel[PiecewiseScore]], None] | None = None,
) -> tuple[FittedLevel[PiecewiseScore], ...]:
    """Learn the score of a mixture of general Gaussians at every noise level (CKS, LearnScore).

    sigmas: noise levels, > 0.

    Per level one pass over the source, one over at most 2500 rows for each of at most 25 candidates, and one over at
    most 20,000 for the best four of them; each costs the features of one cell, O(p (p + d)), per noisy point.
    """
    sets = crude_sets(source, n_components, rng, how.n_threads)
    trials = [ArraySource(source.draw(rows, rng)) for rows, _ in TRIALS]
    fits = []
    for level, sigma in enumerate(sigmas.tolist()):
        fits.append(fit_cells(source, choose_cells(trials, sets, sigma, level, how), sigma, level, how))
        if report is not None:
            report(level, fits[-1])
    return tuple(fits)
