"""How many components: over-cover and prune, then split what a charge and held-out rows allow.

Every component is charged for what it may learn by chance, in nats per sample, and moves are accepted by the mean log
likelihood minus the charges. Two charges are used. The Bayesian information criterion, ``q log n / 2n`` for ``q``
parameters, stops a mixture from growing, and lets it shrink. It charges a small component as if all rows spoke of it.
The minimum message length ``((q - 1) log(n w) + log n) / 2n`` (Figueiredo and Jain, 2002) charges by the component's
own rows, so it finds small components; but it is too lenient to be used alone: a split must gain on held-out rows too.
Parameters of a shape that all components share (`scoremix.learning.em.shrinkage`) are charged only as far as a
component's own rows decide them; else small components in many dimensions could never pay for their matrices.

1. Over-cover: three times as many seeds, until merging what is not worth its charge leaves few of them.
2. Prune: merges and deletions in batches, each kept if the charged likelihood rises.
3. Splits worth their charge, and moves as with a fixed number.
4. The same upwards with the lenient charge, where the held-out gain is positive.
5. One component less, one more, one alone, each fitted until it converges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from scoremix.arrays import Floats, product
from scoremix.learning.coordinates import IndependentColumns
from scoremix.learning.em.incomplete import load_rows
from scoremix.learning.em.posterior import InMemorySamples, Ints, Posterior, total_weight
from scoremix.learning.em.seeding import d2_seeds, lloyd, mixture_of_cells
from scoremix.learning.em.shrinkage import MOST
from scoremix.learning.search.global_start import ALL_ROWS, ALL_ROWS_PER_COMPONENT, make_search
from scoremix.learning.search.merges import LEAST, cheapest_disjoint, merge_costs, merge_pairs, near_pairs
from scoremix.learning.search.moves import (
    AFTER_MERGE,
    AFTER_SPLIT,
    LEAST_GAIN,
    PROMISING,
    SHARE_MOVED,
    SMALL_GAIN,
    SplitMergeSearch,
    split_components,
)
from scoremix.learning.search.splits import Splits
from scoremix.models.covariance.types import TYPES, n_free
from scoremix.models.mixture import Mixture, joined
from scoremix.samples.source import Source

# Seeds at first, by how much they grow, and how many per component that is left are enough.
FIRST_SEEDS, MORE_SEEDS, ENOUGH = 12, 3, 1.8

BAND = 3.0  # What costs more than so many charges is not tried to be pruned.
ROUNDS, FAILURES, RECHECKS = 30, 3, 6  # Rounds of a stage, failures that end it, and rounds of the last one.
AFTER_ADDING, AFTER_PRUNING, POLISH = 8, 12, 100  # EM passes after the steps of the stages, and of the last one.

# In the end even a split that gains less than its charge is tried, for EM may double the gain: this share of it.
WORTH_TRYING = 0.3

# Searches, of which the best counts, and up to how many rows: on few rows chance decides where a search ends.
SEARCHES, FEW_ROWS = 4, 300

HELPED = 2.0  # Rows per parameter of a shape for which a common shape may count, at most, where components are charged.

# What components of some weights are charged, in nats per sample, where a common shape counts for so many rows.
Charge = Callable[[Floats, float], Floats]


@dataclass(frozen=True)
class AcceptedStep:
    """An accepted step: its name, the number of components, and the mean log likelihood minus the charges."""

    step: str
    n_components: int
    objective: float


@dataclass
class ComponentSearch:
    """A search for the number of components.

    fold (n,), 0 or 1 at random for every row.
    """

    search: SplitMergeSearch
    n_total: float
    n_free: int
    most: int
    fold: Floats
    path: list[AcceptedStep] = field(default_factory=list)

    def shared(self, state: Posterior) -> float:
        """Rows that the common shape of the covariances counts for."""
        if state.mixture.covariance.is_shared:
            return 0.0
        alive = state.expected.mass > 1
        return self.search.prior.rows(state.expected.mass[alive], state.expected.second[alive]) if alive.any() else 0.0

    def bic(self, weights: Floats, shared: float) -> Floats:
        """Charge of the Bayesian information criterion."""
        return np.asarray(self._free(weights, shared) * (np.log(self.n_total) / (2 * self.n_total) + self._chance))

    def mml(self, weights: Floats, shared: float) -> Floats:
        """Charge of the minimum message length."""
        free, own = self._free(weights, shared), np.log(np.maximum(self.n_total * np.asarray(weights), 2.0))
        return np.asarray(((free - 1) * own + np.log(self.n_total)) / (2 * self.n_total) + self._chance * free)

    def _free(self, weights: Floats, shared: float) -> Floats:
        """Parameters of components of some weights: of a shape that is shared only what the own rows decide."""
        alone = self.search.rows.x.shape[1] + 2  # weight, mean, volume
        own, shape = self.search.rows.total * np.asarray(weights), max(self.n_free - alone, 0)
        shared = min(shared, HELPED * shape)  # with enough rows of its own a component pays for its shape in full
        return np.asarray(self.n_free - shape * shared / np.maximum(own + shared, LEAST))

    @property
    def _chance(self) -> float:
        """What a parameter gains by chance on a sample, more than on all rows."""
        return max(0.0, 1 / self.search.rows.total - 1 / self.n_total) / 2

    def em(self, mixture: Mixture, passes: int, tol: float = 0.0) -> Posterior:
        """The posterior after EM."""
        return self.search.rows.posterior(self.search.em(mixture, passes, tol))

    def objective(self, state: Posterior, charge: Charge) -> float:
        """Mean log likelihood minus charges, by what its own components share."""
        return state.log_likelihood - float(np.sum(charge(state.mixture.weights, self.shared(state))))

    def rises(self, step: str, trial: Posterior, state: Posterior, charge: Charge, least: float) -> bool:
        """Whether a trial is better, which is then noted."""
        value = self.objective(trial, charge)
        better = value > self.objective(state, charge) + least and trial.mixture.n_components <= self.most
        if better:
            self.path.append(AcceptedStep(step, trial.mixture.n_components, value))
        return better


def pair_charge(charge: Charge, weights: Floats, i: Ints, j: Ints, shared: float) -> Floats:
    """What is saved when pairs are merged."""
    saved = charge(weights[i], shared) + charge(weights[j], shared) - charge(weights[i] + weights[j], shared)
    return np.asarray(saved)


def search_component_number(
    source: Source, kind: str, most: int, rng: np.random.Generator, *, clusters: bool = False
) -> tuple[Mixture, list[AcceptedStep]]:
    """Find the number of components, and the mixture to start EM from.

    About three times the cost of a global start at the number that is found, on few rows six to twelve. Charges are
    those of all rows, also where the search sees a sample of 100,000 of them.
    """
    rows = load_rows(source, max(ALL_ROWS, ALL_ROWS_PER_COMPONENT * most), rng)
    coordinates = IndependentColumns.of(rows.whole, kind, counting=True)
    rows = coordinates.rows(rows).ordered()
    number, state = _best_searched(rows, kind, total_weight(source), most, rng)
    state = merge_overlapping(number, state, number.mml) if clusters else state
    return coordinates.outside(state.mixture).sorted(), number.path


def _best_searched(
    rows: InMemorySamples, kind: str, n_total: float, most: int, rng: np.random.Generator
) -> tuple[ComponentSearch, Posterior]:
    """The best of a few searches where rows are few: until two agree that nothing better is to be found."""
    best = _searched(rows, kind, n_total, most, rng)
    for _ in range(SEARCHES - 1 if len(rows.x) <= FEW_ROWS else 0):
        highest = best[0].objective(best[1], best[0].mml)
        other = _searched(rows, kind, n_total, most, rng)
        value = other[0].objective(other[1], other[0].mml)
        best = other if value > highest else best
        if abs(value - highest) < LEAST_GAIN:
            break
    return best


def _searched(
    rows: InMemorySamples, kind: str, n_total: float, most: int, rng: np.random.Generator
) -> tuple[ComponentSearch, Posterior]:
    """All steps once."""
    number, mixture = over_cover(rows, kind, n_total, most, rng)
    state = number.em(number.search.reduced(mixture, most), 20, LEAST_GAIN)
    number.path.append(AcceptedStep("over-cover", state.mixture.n_components, number.objective(state, number.bic)))
    state = prune(number, state, number.bic, AFTER_PRUNING)
    state = grow(number, state, number.bic, held_out=False)
    state = grow(number, state, number.mml, held_out=True)
    return number, recheck(number, number.em(state.mixture, POLISH, 1e-5), number.mml)


def over_cover(
    rows: InMemorySamples, kind: str, n_total: float, most: int, rng: np.random.Generator
) -> tuple[ComponentSearch, Mixture]:
    """More and more seeds, until merging leaves few of them."""
    whole = rows.whole
    n, d = whole.x.shape
    has_matrices = TYPES[kind].has_shapes and not TYPES[kind].is_diagonal
    limit = min(n // max(5, d + 1 if has_matrices else 0), len(np.unique(whole.x, axis=0)), 10 * most)
    limit, seeds = max(1, limit), FIRST_SEEDS
    fold = np.asarray(rng.integers(0, 2, n), dtype=np.float64)
    while True:
        seeds = min(seeds, limit)
        centers = lloyd(whole.x, d2_seeds(whole.x, seeds, rng, whole.unequal), rng, 3)
        search = make_search(rows, centers, kind, counting=True)
        start = mixture_of_cells(search.rows.whole.source, whole.x, centers, kind, search.reg, search.prior)
        number = ComponentSearch(search, n_total, n_free(kind, d), most, fold)
        mixture = merge_unworthy(number, search.em(start, 5, 1e-3), number.bic)
        if mixture.n_components <= seeds / ENOUGH or seeds == limit:
            return number, mixture
        seeds *= MORE_SEEDS


def merge_unworthy(number: ComponentSearch, mixture: Mixture, charge: Charge, forced: int = 0) -> Mixture:
    """Merge pairs whose cost is below their charge, and more until `forced` have been merged."""
    target = mixture.n_components - forced
    while mixture.n_components > 1:
        state = number.search.rows.posterior(mixture)
        i, j = near_pairs(state)
        left = merge_costs(state, i, j) - pair_charge(charge, mixture.weights, i, j, number.shared(state))
        pairs = cheapest_disjoint(left, i, j, max(1, mixture.n_components // 3))
        pairs = pairs[: max(int(np.sum(left[pairs] < 0)), int(mixture.n_components > target))]
        if not len(pairs):
            break
        mixture = number.search.em(merge_pairs(mixture, i[pairs], j[pairs]), AFTER_MERGE)
    return mixture


def try_halves(number: ComponentSearch, state: Posterior, charge: Charge) -> Posterior:
    """Half as many components, a quarter, down to one, where that is better.

    A few less may all be worse than what was found, and many less better: components that overlap closely take EM
    hundreds of passes to share the rows anew.
    """
    mixture = state.mixture
    while mixture.n_components > 1:
        half = max(1, (mixture.n_components + (mixture.n_components > 2)) // 2)  # three, two, one
        trial = number.em(number.search.reduced(mixture, half), POLISH, 1e-5)
        if number.rises("fewer", trial, state, charge, 0.0):
            state = trial
        mixture = trial.mixture
    return state


def merge_overlapping(number: ComponentSearch, state: Posterior, charge: Charge) -> Posterior:
    """Merge components that overlap, as long as the integrated classification likelihood rises.

    That is the objective minus the mean entropy of the responsibilities (Biernacki, Celeux and Govaert, 2000): two
    components that describe the middle and the tails of one cluster are worth less than one for the cluster.
    """
    while state.mixture.n_components > 1:
        i, j = near_pairs(state)
        charged = pair_charge(charge, state.mixture.weights, i, j, number.shared(state))
        costs = merge_costs(state, i, j) - charged - _entropy_drop(state, i, j)
        best = np.array([int(np.argmin(costs))])
        trial = number.em(merge_pairs(state.mixture, i[best], j[best]), POLISH, 1e-5)
        value = number.objective(trial, charge) - _entropy(trial, trial.shares)
        if value <= number.objective(state, charge) - _entropy(state, state.shares):
            break
        state = trial
        number.path.append(AcceptedStep("merge clusters", state.mixture.n_components, value))
    return state


def _entropy(state: Posterior, shares: Floats) -> float:
    """Mean of ``-sum r log r``."""
    each = -np.sum(shares * np.log(np.maximum(shares, LEAST)), axis=1)
    return float(product(state.rows.weight, each)) / state.rows.total


def _entropy_drop(state: Posterior, i: Ints, j: Ints) -> Floats:
    """By how much the mean entropy falls when pairs are merged, shape (p,)."""
    pairs = (state.shares[:, [a, b]] for a, b in zip(i, j, strict=True))
    return np.array([_entropy(state, pair) - _entropy(state, pair.sum(axis=1, keepdims=True)) for pair in pairs])


def deletion_costs(posterior: Posterior) -> Floats:
    """Fall of the mean log likelihood when a component is left out: shape (k,)."""
    rows, weights = posterior.rows, posterior.mixture.weights
    kept = product(rows.weight, np.log(np.maximum(1 - posterior.shares, 1e-12))) / rows.total
    return np.asarray(np.log(np.maximum(1 - weights, 1e-12)) - kept, dtype=np.float64)


def prune(number: ComponentSearch, state: Posterior, charge: Charge, passes: int) -> Posterior:
    """Try merges and deletions, several at a time, and keep them where the charged likelihood rises."""
    most, failures = state.mixture.n_components, 0
    while failures < FAILURES and most > 0:
        smaller = _merge_or_delete(number, state, charge, min(most, max(1, state.mixture.n_components // 3)))
        if smaller is None:
            break
        trial = number.em(smaller, passes, 1e-5)
        if number.rises("prune", trial, state, charge, 1e-6):
            state = trial
        else:
            failures += 1
            most = (state.mixture.n_components - smaller.n_components) // 2
    return state


def _merge_or_delete(number: ComponentSearch, state: Posterior, charge: Charge, most: int) -> Mixture | None:
    """The mixture after the cheapest merges and deletions; None where there is nothing left, or nothing cheap."""
    mixture, everyone = state.mixture, np.arange(state.mixture.n_components)
    if len(everyone) == 1:
        return None
    i, j = near_pairs(state)
    shared = number.shared(state)
    merging = merge_costs(state, i, j) / pair_charge(charge, mixture.weights, i, j, shared)
    deleting = deletion_costs(state) / charge(mixture.weights, shared)
    # A component paired with itself stands for its deletion.
    costs, i, j = np.concatenate([merging, deleting]), np.append(i, everyone), np.append(j, everyone)
    chosen = cheapest_disjoint(costs, i, j, most)
    chosen = chosen[costs[chosen] < BAND]
    if not len(chosen):
        return None
    i, j = i[chosen], j[chosen]
    kept = np.setdiff1d(everyone, i[i == j])
    pairs = i != j
    left = joined([mixture.take(kept)])
    return merge_pairs(left, np.searchsorted(kept, i[pairs]), np.searchsorted(kept, j[pairs])) if pairs.any() else left


@dataclass(frozen=True)
class SplitOffers:
    """What could be split: to have more components, and to merge others instead; best first."""

    splits: Splits
    more: Ints
    swaps: Ints

    @classmethod
    def of(cls, number: ComponentSearch, state: Posterior, charge: Charge, held_out: bool) -> SplitOffers:
        """Try all splits and all merges of neighbours."""
        weights, splits = state.mixture.weights, number.search.splits(state, number.fold)
        share = splits.first.weights / (splits.first.weights + splits.second.weights)
        gain, checked = splits.gain, splits.held_out
        assert checked is not None
        # Two that come of one alone may well be alike; whether they are, the objective tells afterwards.
        shared = number.shared(state) if len(weights) > 1 else MOST
        both = charge(weights * share, shared) + charge(weights * (1 - share), shared)
        more = gain > both - charge(weights, shared)
        if held_out:
            more &= checked > 0
        careful = np.minimum(gain, checked)
        rest = np.flatnonzero(~more)
        rest = rest[np.argsort(-careful[rest], kind="stable")]
        i, j = near_pairs(state)
        costs = np.sort(merge_costs(state, i, j))
        some = min(len(rest), len(costs), max(1, int(SHARE_MOVED * len(weights))))
        stop = np.append(careful[rest[:some]] <= np.maximum(PROMISING * costs[:some], LEAST_GAIN), True)
        best = np.flatnonzero(more)
        return cls(splits, best[np.argsort(-gain[best], kind="stable")], rest[: int(np.argmax(stop))])

    def without(self, which: Ints) -> SplitOffers:
        """The same, but for some that have failed."""
        more, swaps = (some[~np.isin(some, which)] for some in (self.more, self.swaps))
        return SplitOffers(self.splits, more, swaps)


def grow(number: ComponentSearch, state: Posterior, charge: Charge, held_out: bool) -> Posterior:
    """Split what gains more than its charge (and on held-out rows), move, and keep what raises the objective."""
    most, failures, offers = number.most, 0, None
    for _ in range(ROUNDS):
        if offers is None:
            offers = SplitOffers.of(number, state, charge, held_out)
        more = offers.more[: number.most - state.mixture.n_components]
        which = np.append(more, offers.swaps)[:most]
        if not len(which) or failures >= FAILURES:
            break
        larger = number.search.em(split_components(state.mixture, offers.splits, which), AFTER_SPLIT)
        trial = number.em(
            merge_unworthy(number, larger, charge, max(0, len(which) - len(more))), AFTER_ADDING, LEAST_GAIN
        )
        if number.rises("split", trial, state, charge, LEAST_GAIN):
            failures += number.objective(trial, charge) < number.objective(state, charge) + SMALL_GAIN and not len(more)
            state, offers, most = trial, None, number.most
        else:
            failures, most = failures + 1, max(1, len(which) // 2)
            offers = offers.without(which) if len(which) == 1 else offers
    return state


def recheck(number: ComponentSearch, state: Posterior, charge: Charge) -> Posterior:
    """One less, many less, one more, each fitted until it converges."""
    for _ in range(RECHECKS):
        state = prune(number, state, charge, POLISH)
        state = try_halves(number, state, charge)
        if state.mixture.n_components >= number.most:
            break
        splits = number.search.splits(state, number.fold)
        best = np.array([int(np.argmax(splits.gain))])
        assert splits.held_out is not None
        least = WORTH_TRYING * charge(state.mixture.weights[best], number.shared(state))
        if splits.gain[best] <= least or splits.held_out[best] <= 0:
            break
        trial = number.em(split_components(state.mixture, splits, best), POLISH, 1e-5)
        if not number.rises("one more", trial, state, charge, 1e-6):
            break
        state = trial
    return state
