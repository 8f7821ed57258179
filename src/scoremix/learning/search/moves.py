"""Moves of a mixture with a fixed number of components: split some, merge as many, keep what the rows like better.

EM climbs to the nearest optimum, and which one that is depends on the start. From an optimum that is not the best, one
component usually covers two clusters while two share one elsewhere. Both faults show in exact numbers: what a split
gains (`splits`) and what a merge costs (`merges`). Where gains exceed costs, EM cannot get there but a move can. Where
none does, the fit has passed a test of optimality that a restart never makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.em.acceleration import Squarem
from scoremix.learning.em.em import run_em
from scoremix.learning.em.posterior import InMemorySamples, Ints, Posterior
from scoremix.learning.em.shrinkage import EmpiricalBayesShapePrior
from scoremix.learning.search.merges import cheapest_disjoint, merge_costs, merge_pairs, near_pairs
from scoremix.learning.search.splits import Splits, split_gains
from scoremix.models.covariance.interface import CollapsedError
from scoremix.models.mixture import Mixture, joined

# A move is tried where its split gains more than this times what its merge costs: EM improves on both estimates.
PROMISING = 0.5

LEAST_GAIN = 1e-4  # Nats per sample below which nothing is gained.
SMALL_GAIN = 1e-3  # A round that gains less counts as a failure, though it is kept.
SHARE_MOVED, SHARE_MERGED = 0.25, 0.35  # Components that one round splits, and merges, at most.

# EM passes before the first move, and after the parts of one.
SETTLE, AFTER_SPLIT, AFTER_MERGE, AFTER_MOVE = 10, 4, 2, 6


@dataclass(frozen=True)
class SplitMergeSearch:
    """The rows on which moves are tried, and how EM is run on them.

    rows: scaled to unit variance.
    """

    rows: InMemorySamples
    reg: float
    prior: EmpiricalBayesShapePrior

    def em(self, mixture: Mixture, passes: int, tol: float = 0.0) -> Mixture:
        """At most so many passes; none where they leave no component a width, which a search goes on without."""
        source, prior, step = self.rows.source, self.prior, self.rows.step
        try:
            return run_em(
                source, mixture, tol=tol, max_iter=passes, reg=self.reg, prior=prior, n_threads=1, step=step
            ).mixture
        except CollapsedError:
            return mixture

    def plain(self, mixture: Mixture, passes: int, tol: float) -> Mixture:
        """At most so many passes without the prior, accelerated; none likewise."""
        source, acceleration, step = self.rows.source, Squarem(), self.rows.step
        try:
            return run_em(
                source, mixture, tol=tol, max_iter=passes, reg=self.reg, acceleration=acceleration, step=step
            ).mixture
        except CollapsedError:
            return mixture

    def splits(self, posterior: Posterior, fold: Floats | None = None) -> Splits:
        """Gains of all splits; the two of each get the shape that the components share now."""
        known = self.prior.known(posterior.expected.mass, posterior.expected.second)
        whole = posterior.rows.completed(posterior.mixture)
        seen = posterior if whole is posterior.rows else whole.posterior(posterior.mixture)
        return split_gains(seen, known, self.reg, fold)

    def reduced(self, mixture: Mixture, n_components: int) -> Mixture:
        """Merge the cheapest pairs, some at a time, until so many components are left."""
        while mixture.n_components > n_components:
            k = mixture.n_components
            over = k - n_components
            most = over if over <= 2 else min((over + 1) // 2, int(SHARE_MERGED * k))
            posterior = self.rows.posterior(mixture)
            i, j = near_pairs(posterior)
            pairs = cheapest_disjoint(merge_costs(posterior, i, j), i, j, max(1, most))
            mixture = self.em(merge_pairs(mixture, i[pairs], j[pairs]), AFTER_MERGE)
        return mixture

    def improved(
        self,
        mixture: Mixture,
        max_rounds: int = 20,
        max_failures: int = 3,
        settle: int = SETTLE,
        last: Settled | None = None,
    ) -> Settled:
        """Move until nothing is gained."""
        state = self.rows.posterior(self.em(mixture, settle, LEAST_GAIN))
        k = mixture.n_components
        is_new = last is None or last.rows is not self.rows or state.log_likelihood > last.log_likelihood + LEAST_GAIN
        offers = SplitMergeOffers.of(self, state) if last is None or is_new else last.offers
        most, failures, n_moves = max(1, int(SHARE_MOVED * k)), 0, 0
        for _ in range(max_rounds):
            which = offers.promising(most)
            if not len(which) or failures >= max_failures:
                break
            candidate = self.em(split_components(state.mixture, offers.splits, which), AFTER_SPLIT)
            moved = self.rows.posterior(self.em(self.reduced(candidate, k), AFTER_MOVE, LEAST_GAIN))
            rise = moved.log_likelihood - state.log_likelihood
            failures += rise < SMALL_GAIN
            if rise > LEAST_GAIN:
                state, offers, n_moves = moved, SplitMergeOffers.of(self, moved), n_moves + 1
            else:
                most = max(1, len(which) // 2)
                if len(which) == 1:
                    offers.gains[which] = 0.0  # not again
        return Settled(state.rows, state.mixture, state.log_density, state.shares, offers, n_moves)


@dataclass(frozen=True)
class SplitMergeOffers:
    """What could be done to a mixture.

    gains (k,), of the splits, in nats per sample; costs (p,).
    """

    splits: Splits
    gains: Floats
    costs: Floats

    @classmethod
    def of(cls, search: SplitMergeSearch, posterior: Posterior) -> SplitMergeOffers:
        """All splits, and all merges of neighbours."""
        splits = search.splits(posterior)
        i, j = near_pairs(posterior)
        return cls(splits, splits.gain.copy(), np.sort(merge_costs(posterior, i, j)))

    def promising(self, most: int) -> Ints:
        """Components to split: those whose gains, from the largest down, exceed the costs, from the smallest up."""
        order = np.argsort(-self.gains, kind="stable")[: min(len(self.gains), len(self.costs))]
        gains, costs = self.gains[order], self.costs[: len(order)]
        stop = np.append((gains <= PROMISING * costs) | (gains <= LEAST_GAIN), True)
        return order[: min(most, int(np.argmax(stop)))]


@dataclass(frozen=True)
class Settled(Posterior):
    """Where moves have ended."""

    offers: SplitMergeOffers
    n_moves: int


def split_components(mixture: Mixture, splits: Splits, which: Ints) -> Mixture:
    """The mixture after some components are split."""
    rest = np.setdiff1d(np.arange(mixture.n_components), which)
    return joined([mixture.take(rest), splits.first.take(which), splits.second.take(which)])
