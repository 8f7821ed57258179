"""A ladder of cells alone for general covariances: LearnScore of CKS at every noise level.

Of all candidate sets (`learning.cks.candidates`) and ways to share cells, a level takes those of the lowest held-out
denoising loss (Algorithm 5, Proposition 49; `learning.cks.cells`). Then

* ``gates="hard"``: a polynomial in every cell about its linear score, as published.
* ``gates="soft"``: the Gaussians of the cells are a mixture, moved by a few EM steps on noisy rows of this level
  (`learning.cks.gates`). Its responsibilities are the gates: the linear scores of the cells, gated, are its score. A
  polynomial per Gaussian adds what that misses, where it surely pays on held-out rows
  (`learning.regression.corrections`).

Every level has cells of its own; there is no mixture of the data behind them. What is reported as components are the
cells of the lowest level, those that one Gaussian explains merged.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithm 5, LearnScore, Proposition 49.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from scoremix.arrays import Floats, to_numpy
from scoremix.features import packed_size
from scoremix.learning.cks.cells import TRIALS, choose_cells, enumerate_partitions, fit_cells
from scoremix.learning.cks.gates import NO_WIDTH, at_noise_level, choose_gates, drop_light_components, with_enough_draws
from scoremix.learning.coordinates import as_float64, in_subspace
from scoremix.learning.em.posterior import InMemorySamples, load_samples
from scoremix.learning.regression.corrections import fit_residual
from scoremix.learning.regression.scores import FittedLevel, RegressionSettings
from scoremix.learning.search.merges import merge_costs, merge_pairs, near_pairs
from scoremix.models.covariance.full import Full
from scoremix.models.ladder import Ladder
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, PiecewiseScore
from scoremix.models.subspace import Subspace
from scoremix.samples.source import ArraySource, Source

POOL_ROWS = 50_000  # Rows that soft gates are moved by, at most.

Fitted = FittedLevel[PiecewiseScore] | FittedLevel[CorrectedMixture]


def learn_cell_ladder(
    source: Source,
    frame: Subspace,
    candidates: Sequence[LikelihoodRatio],
    sigmas: Floats,
    how: RegressionSettings,
    rng: np.random.Generator,
    report: Callable[[int, Fitted], None] | None = None,
) -> list[Fitted]:
    """Learn the cells and the score of every noise level.

    Per level the candidates on a few rows, and one pass over the source.
    """
    rows = in_subspace(as_float64(source), frame)
    few = [ArraySource(to_numpy(rows.draw(size, rng))) for size, _ in TRIALS]
    pool = rng.permutation(to_numpy(rows.draw(POOL_ROWS, rng)))
    last, trying = (with_enough_draws(replace(how, folds=folds), rows.n_rows) for folds in (how.folds, 2))
    inside = frame.rank / frame.n_features  # outside there is nothing to denoise
    fits: list[Fitted] = []
    gates: Mixture | None = None
    for level, sigma in enumerate(sigmas.tolist()):
        sets = [at_noise_level(crude, sigma) for crude in candidates]
        if how.gates == "hard":
            cells = choose_cells(few, sets, sigma, level, trying)
            hard = fit_cells(rows, cells, sigma, level, last)
            fits.append(FittedLevel(hard.model, inside * hard.denoising_loss))
        else:
            gates = choose_gates(pool, enumerate_partitions(sets, sigma), gates, sigma, how.min_weight, rng)
            soft = fit_residual(rows, gates, sigma, level, last)
            fits.append(FittedLevel(soft.model, inside * soft.denoising_loss))
        if report is not None:
            report(level, fits[-1])
    return fits


def cell_components(source: Source, fitted: Ladder, min_weight: float, rng: np.random.Generator) -> Mixture:
    """A Gaussian per cell of the lowest level, those that one Gaussian explains merged.

    Cells merge, the cheapest pair first, while the rows lose less by it than BIC charges for a component.
    """
    rows = load_samples(in_subspace(as_float64(source), fitted.frame), POOL_ROWS, rng)
    level, sigma = fitted.levels[-1], float(fitted.sigmas[-1])
    if isinstance(level, CorrectedMixture):
        found = level.base
    else:
        assert isinstance(level, PiecewiseScore)
        found = drop_light_components(_moments_of_cells(rows, level, (NO_WIDTH * sigma) ** 2), min_weight)
    charge = packed_size(fitted.frame.rank) / 2 * np.log(max(rows.total, 2.0)) / rows.total
    while found.n_components > 1:
        posterior = rows.posterior(found)
        i, j = near_pairs(posterior)
        costs = merge_costs(posterior, i, j)
        best = np.argmin(costs)
        if costs[best] >= charge:
            break
        found = merge_pairs(found, i[[best]], j[[best]])
    return drop_light_components(found, min_weight)


def _moments_of_cells(rows: InMemorySamples, level: PiecewiseScore, floor: float) -> Mixture:
    """The moments of the rows in every hard cell, variances at least `floor`."""
    labels, d = to_numpy(level.cells.labels(rows.x.T, 0.0)), rows.x.shape[1]
    weights = np.bincount(labels, rows.weight, minlength=len(level.weights))
    filled = np.flatnonzero(weights)
    means, covariances = np.empty((len(filled), d)), np.empty((len(filled), d, d))
    for number, j in enumerate(filled):
        x, weight = rows.x[labels == j], rows.weight[labels == j]
        means[number] = np.average(x, axis=0, weights=weight)
        values, axes = np.linalg.eigh(np.cov(x.T, aweights=weight, bias=True).reshape(d, d))
        covariances[number] = (axes * np.maximum(values, floor)) @ axes.T
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    return Mixture(weights[filled] / rows.total, means, Full(covariances))
