"""Soft gates of a noise level: the Gaussians of likelihood-ratio cells, moved until their responsibilities fit.

Every candidate cell has a Gaussian (its center, its spread, its share of the noisy points). Together they are a mixture
whose responsibilities are gates and whose score is the gated sum of the linear scores of the cells. EM on noisy rows of
the level moves it; candidates are compared by their denoising loss on other rows (Proposition 49 of CKS, asked of the
gated linear scores), many on few rows first. The gates of the level above are a candidate too, so that steps add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scoremix.arrays import Floats, to_numpy
from scoremix.learning.em.em import run_em
from scoremix.learning.regression.scores import MIN_NOISY_ROWS, RegressionSettings
from scoremix.learning.search.global_start import shared_prior
from scoremix.models.covariance.full import Full
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

# Rows that EM sees, its steps, and how many candidates go on; as many rows more compare them.
ROUNDS = ((2500, 10, 3), (10_000, 30, 1))

LAST_STEPS = 10  # Steps of the chosen gates, on all rows that are given.
TOLERANCE = 1e-5  # Steps end when the mean log likelihood changes by less.
MOST_DRAWS = 16  # Draws that rows are given because they are few, at most.

# Least standard deviation of a gate, in units of the noise of its level: less makes no difference there.
NO_WIDTH = 0.05


def at_noise_level(crude: LikelihoodRatio, sigma: float) -> LikelihoodRatio:
    """The candidates with the axes that means are compared along at a noise level.

    Without noise these are axes A of standardised columns. With it means are compared in units of the noisy columns,
    along ``A (I + sigma^2 A^T A)^(-1/2)``: a column that noise has swallowed says nothing about cells.
    """
    values, turn = np.linalg.eigh(crude.basis.T @ crude.basis)
    noisy = turn / np.sqrt(1 + sigma**2 * np.maximum(values, 0.0)) @ turn.T
    return replace(crude, basis=crude.basis @ noisy)


def with_enough_draws(how: RegressionSettings, n_rows: int) -> RegressionSettings:
    """Small data sets are given more draws."""
    return replace(how, n_draws=max(how.n_draws, min(MOST_DRAWS, -(-MIN_NOISY_ROWS // n_rows))))


def cell_gaussians(cells: LikelihoodRatio, rows: Floats, sigma: float, min_weight: float) -> Mixture:
    """The Gaussians of cells that hold some share of noisy rows (n, d), without the noise, by decreasing weight."""
    labels = to_numpy(cells.labels(rows.T, sigma**2))
    weights = np.bincount(labels, minlength=len(cells.weights)) / len(rows)
    return drop_light_components(Mixture(weights, cells.centers, Full(cells.spreads)), min_weight)


def drop_light_components(mixture: Mixture, min_weight: float) -> Mixture:
    """The components of some weight, and the heaviest in any case, by decreasing weight; weights sum to 1 again."""
    order = np.argsort(-mixture.weights, kind="stable")
    kept = mixture.take(order[: max(1, int(np.count_nonzero(mixture.weights >= min_weight)))])
    return Mixture(kept.weights / kept.weights.sum(), kept.means, kept.covariance)


def refine_gates(gates: Mixture, rows: Floats, sigma: float, steps: int, min_weight: float) -> Mixture:
    """Gates after some EM steps on noisy rows (n, d)."""
    noisy = ArraySource(rows)
    prior = shared_prior(noisy, "full")
    found = run_em(noisy, gates.smooth(sigma), tol=TOLERANCE, max_iter=steps, reg=0.0, prior=prior, n_threads=1).mixture
    values, axes = np.linalg.eigh(found.covariances)
    values = np.maximum(values - sigma**2, (NO_WIDTH * sigma) ** 2)
    clean = (axes * values[:, None, :]) @ np.swapaxes(axes, 1, 2)
    return drop_light_components(
        Mixture(found.weights, found.means, Full((clean + np.swapaxes(clean, 1, 2)) / 2)), min_weight
    )


def balanced_noise(rows: Floats, rng: np.random.Generator) -> Floats:
    """Standard normal noise, shape (n, d), with exactly the identity for covariance, and none with the rows.

    At large noise the covariance of noisy rows less that of the noise is what chance leaves: where a column is
    swallowed, its width would come out as some percent of the noise, at every level, and samples would gather that.
    """
    z = rng.standard_normal(rows.shape)
    known = np.column_stack([np.ones(len(rows)), rows])
    z -= known @ np.linalg.lstsq(known, z, rcond=None)[0]
    return np.asarray(np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T)


def choose_gates(
    rows: Floats,
    candidates: Sequence[LikelihoodRatio],
    above: Mixture | None,
    sigma: float,
    min_weight: float,
    rng: np.random.Generator,
) -> Mixture:
    """Choose and move the gates of a noise level.

    rows (n, d); sigma: noise level, > 0.

    O(m c k d^2) for the c candidates of k cells on m = 5000 rows, then 20,000 rows for three, all for one.
    """
    rows = np.concatenate([rows] * max(1, -(-MIN_NOISY_ROWS // len(rows))))
    noise = sigma * balanced_noise(rows, rng)
    few = rows[: ROUNDS[0][0]] + noise[: ROUNDS[0][0]]
    gates = [cell_gaussians(cells, few, sigma, min_weight) for cells in candidates]
    if above is not None:
        gates.append(above)
    for size, steps, kept in ROUNDS:
        if len(gates) > 1:
            size = min(size, len(rows) // 2)
            fitted, tried = slice(size), slice(size, 2 * size)
            gates = [refine_gates(one, rows[fitted] + noise[fitted], sigma, steps, min_weight) for one in gates]
            losses = [_loss(one, rows[tried], noise[tried], sigma) for one in gates]
            gates = [gates[i] for i in np.argsort(losses, kind="stable")[:kept]]
    return refine_gates(gates[0], rows + noise, sigma, LAST_STEPS, min_weight)


def _loss(gates: Mixture, x: Floats, noise: Floats, sigma: float) -> float:
    """Denoising loss on antithetic pairs."""
    errors = [to_numpy(gates.denoise(x + signed, sigma)) - x for signed in (noise, -noise)]
    return float(np.mean(np.square(errors)))
