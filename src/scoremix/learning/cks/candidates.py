"""Candidates of cells for general covariances, without being told the number of components.

Crude means and covariances (`learning.cks.means`) are made for 1, 2, 4, .. components, for as long as the
held-out denoising loss of their cells on a few rows gains: the rule of Proposition 49, asked of k. The best few sets go
on; which of them a noise level uses, and which of their members share a cell there, is asked again at every level.

They are made of standardised columns, so that units do not matter, and stand in the frame of the data, where noise is
isotropic.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithms 2 and 3, Proposition 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scoremix.arrays import Floats, like, product, to_numpy
from scoremix.learning.cks.cells import enumerate_partitions, select_candidate
from scoremix.learning.cks.gates import NO_WIDTH, at_noise_level, cell_gaussians, refine_gates, with_enough_draws
from scoremix.learning.cks.means import ROWS, crude_estimates
from scoremix.learning.coordinates import (
    MIN_WIDTH,
    MOST_DIRECTIONS,
    NARROW,
    BaseMixture,
    LeadingDirections,
    StandardizedColumns,
    as_float64,
    in_subspace,
)
from scoremix.learning.regression.scores import MIN_NOISY_ROWS, RegressionSettings
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace
from scoremix.samples.source import ArraySource, Source

# Numbers of components that candidates are made for: in any case, and while that pays.
FIRST, MORE = (1, 2, 4), (8, 16)

ROWS_PER_DIRECTION = 10  # Rows per dimension that a component must have to be looked for.

# Rows that candidates are tried on, and noise levels, in units of the finest scale of the first candidates.
SEARCH_ROWS, PROBES = 5000, (0.5, 1.5, 5.0)

FEW_DRAWS = 4  # Draws of noise where these rows are few; else one is enough.
GAIN = 1e-3  # Of the denoising loss in units of the noise, added over the levels, that more components must gain.
MOST_SETS = 4  # Sets that go on.
SCALE_ROWS, SCALE_STEPS = 20_000, 30  # Rows that the finest scale is found on, and EM steps.


@dataclass(frozen=True)
class Candidates:
    """Crude estimates in the coordinates of a frame.

    sets: their axes have the units of standardised columns.
    """

    frame: Subspace
    sets: tuple[LikelihoodRatio, ...]
    local_scale: float
    is_flat: bool


def _crude_scale(sets: Sequence[LikelihoodRatio]) -> float:
    """Smallest standard deviation of a candidate covariance, but for the narrowest tenth of them."""
    narrowest = np.concatenate([np.linalg.eigvalsh(crude.covariances)[:, 0] for crude in sets])
    return float(np.sqrt(np.quantile(narrowest, NARROW, method="higher")))


@dataclass(frozen=True)
class _CandidateMaker:
    """A sample of standardised rows, in the leading directions, and the way back to the frame."""

    rows: Source
    space: StandardizedColumns
    directions: LeadingDirections

    @classmethod
    def of(
        cls, source: Source, space: StandardizedColumns, rank: int | None, rng: np.random.Generator
    ) -> _CandidateMaker:
        directions = LeadingDirections.leading(space.correlation, MOST_DIRECTIONS if rank is None else rank)
        x = as_float64(source).draw(ROWS, rng)
        return cls(ArraySource(to_numpy(product(space.encode(x), like(directions.lead, x)))), space, directions)

    @property
    def most_components(self) -> int:
        """Components that rows are enough for: several per dimension for each, and different ones."""
        x = to_numpy(next(iter(self.rows.chunks(ROWS))).x)
        return max(
            1, min(int(np.unique(x, axis=0).shape[0]), int(x.shape[0]) // (ROWS_PER_DIRECTION * int(x.shape[1])))
        )

    def sets(self, n_components: int, rng: np.random.Generator) -> tuple[LikelihoodRatio, ...]:
        """One mean and k covariances, k means and one covariance, k of both."""
        k = n_components
        sizes = [(1, 1)] if k == 1 else [(1, k), (k, 1), (k, k)]
        found = [crude_estimates(self.rows, k, rng, n_means=a, n_covariances=b) for a, b in sizes]
        return tuple(self._in_frame(crude) for crude in found)

    def _in_frame(self, crude: LikelihoodRatio) -> LikelihoodRatio:
        """Candidates of standardised columns in the coordinates of the frame, none flatter than `MIN_WIDTH`."""
        turn, lead = self.space.turn, self.directions.lead
        out = turn @ lead
        covariances = crude.covariances + MIN_WIDTH**2 * np.eye(crude.covariances.shape[1])
        covariances = out @ covariances @ out.T + turn @ self.directions.common @ turn.T
        axes = np.asarray(np.linalg.solve(turn.T, lead @ crude.basis), dtype=np.float64)
        covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
        return replace(crude, means=crude.means @ out.T, covariances=covariances, basis=axes)


def find_candidates(
    source: Source, space: StandardizedColumns, rank: int | None, how: RegressionSettings, rng: np.random.Generator
) -> Candidates:
    """Make candidates for as many components as pays on held-out rows.

    Crude estimates are made of at most 8000 rows, numbers of components tried on 5000: independent of n.
    """
    crude = _CandidateMaker.of(source, space, rank, rng)
    x = to_numpy(in_subspace(as_float64(source), space.frame).draw(SCALE_ROWS, rng))
    x = rng.permutation(x)
    rows = ArraySource(x[:SEARCH_ROWS])
    trying = replace(
        with_enough_draws(how, rows.n_rows), n_draws=1 if rows.n_rows >= MIN_NOISY_ROWS else FEW_DRAWS, folds=2
    )
    most = crude.most_components
    sets = [one for k in FIRST if k <= most for one in crude.sets(k, rng)]
    scale = _crude_scale(sets[-3:])
    losses = [_loss(rows, one, scale, trying) for one in sets]
    for k in MORE:
        if k > most:
            break
        more = crude.sets(k, rng)
        found = [_loss(rows, one, scale, trying) for one in more]
        gain = min(losses) - min(found)
        sets, losses = [*sets, *more], [*losses, *found]
        if gain < GAIN:
            break
    best = [sets[i] for i in np.argsort(losses, kind="stable")[:MOST_SETS]]
    flat = MIN_WIDTH * float(np.linalg.svd(space.turn, compute_uv=False)[-1])
    gates = _fine_gates(x, best[0], max(scale, flat), flat, how.min_weight, rng)
    is_flat = space.is_flat or _is_flat(gates, space)
    base = BaseMixture(space.frame, gates, is_flat)
    return Candidates(base.frame, tuple(best), max(base.local_scale, flat), is_flat)


def _loss(rows: Source, crude: LikelihoodRatio, scale: float, how: RegressionSettings) -> float:
    """Held-out denoising loss of cells, in units of the noise, added over a few levels near the finest scale."""
    total = 0.0
    for level, probe in enumerate(PROBES):
        sigma = probe * scale
        cells = enumerate_partitions([at_noise_level(crude, sigma)], sigma, (0.0,))
        total += select_candidate(rows, cells, sigma, level, how).fit.denoising_loss / sigma**2
    return total


def _fine_gates(
    x: Floats, crude: LikelihoodRatio, scale: float, flat: float, min_weight: float, rng: np.random.Generator
) -> Mixture:
    """The Gaussians of cells at a noise level below their own scale, or at one where that counts as flat."""
    sigma = PROBES[0] * scale
    while True:
        rows = x + sigma * rng.standard_normal(x.shape)
        start = cell_gaussians(at_noise_level(crude, sigma), rows, sigma, min_weight)
        gates = refine_gates(start, rows, sigma, SCALE_STEPS, min_weight)
        narrowest = float(np.sqrt(np.linalg.eigvalsh(gates.covariances).min()))
        if narrowest > 2 * NO_WIDTH * sigma or sigma <= flat:
            return gates
        sigma = max(narrowest, flat)


def _is_flat(gates: Mixture, space: StandardizedColumns) -> bool:
    """Whether a Gaussian is hardly wider in some direction than what was added to candidates."""
    back = np.linalg.inv(space.turn)
    return bool(np.linalg.eigvalsh(back @ gates.covariances @ back.T).min() < 4 * MIN_WIDTH**2)
