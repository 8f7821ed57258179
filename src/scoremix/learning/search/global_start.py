"""One start, no restarts: over-cover, merge, move, all on a sample; then check and move on all rows.

1. Too many seeds, so that every cluster gets one: ``OVER`` times as many as components, by D^2 sampling.
2. Merge the cheapest pairs until the number is right. Costs are exact, so clusters stay apart, and doubles go.
3. Moves (`scoremix.learning.search.moves`) until none is promising.
4. The same moves on all rows (a larger sample where these are many). What follows is plain EM.

Or start from noise (`anneal_centers`): all centers at the mean, and data that are first drowned in noise, then less
and less: what a diffusion model does when it samples. Fresh noise at every level matters, not only the temperature.

In many columns steps 1 to 3 are those of a search in few directions (`scoremix.learning.search.projection`).

The search is made in single precision where that resolves the smallest cell: twice as fast, for decisions that do not
depend on the seventh digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scoremix.arrays import Floats, product
from scoremix.learning.coordinates import IndependentColumns
from scoremix.learning.em.em import e_step
from scoremix.learning.em.incomplete import load_rows
from scoremix.learning.em.missing import Filled
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.seeding import d2_seeds, lloyd, mixture_of_cells
from scoremix.learning.em.shrinkage import (
    EmpiricalBayesShapePrior,
    PseudoObservations,
    floor_and_width,
    rounding_floor,
)
from scoremix.learning.search.moves import Settled, SplitMergeOffers, SplitMergeSearch
from scoremix.learning.search.projection import lifted, means_of_shares, n_directions, projected
from scoremix.models.covariance.interface import is_thin, mean_variances, pivots_of
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.covariance.types import TYPES, n_free
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource, Source

OVER = 1.3  # Seeds per component.
UNLIKE = 2.0  # Ratio of the standard deviations of two columns from which on the units of the columns matter.

# Rows of the sample at least, and per component; for `full` and `diag` more, by the number of their parameters.
ROWS, ROWS_PER_COMPONENT = 2000, 100

ALL_ROWS, ALL_ROWS_PER_COMPONENT = 100_000, 200  # Beyond so many rows the last moves are made on a sample as well.
CHECK_ROWS, CHECK_ROWS_PER_COMPONENT = 10_000, 200  # Rows on which optimality is checked, at most.
LAST_ROUNDS, LAST_FAILURES = 6, 1  # Rounds of the last moves.

# EM passes in the end, at most, and the rise of the log likelihood that ends them.
POLISH, POLISH_TOLERANCE = 100, 1e-4

PLAIN_PASSES, PLAIN_TOLERANCE = 100, 1e-5  # The same for the passes without a prior, which are accelerated.

# Variance of the ghosts, and what is added to variances, in units of a typical variance within a cell.
GHOST_VARIANCE, REG = 0.1, 1e-6

RESOLUTION = 1e-6  # Smallest variance within a cell, of data of unit variance, that single precision is used for.

# Smallest variance of a component for which moments of single precision are accurate: those of a tied covariance are a
# difference.
RESOLVED = 10 * RESOLUTION

LEVELS, STEPS = 16, 20  # Noise levels, and steps at each.


@dataclass(frozen=True)
class SeenRows:
    """Rows as a search sees them, and how."""

    coordinates: IndependentColumns
    rows: InMemorySamples

    @classmethod
    def of(cls, given: InMemorySamples, kind: str) -> SeenRows:
        """Find the coordinates for components of a kind."""
        coordinates = IndependentColumns.of(given.whole, kind)
        return cls(coordinates, coordinates.rows(given))

    def ordered(self) -> SeenRows:
        """For a search, whose draws do not depend on the user's order."""
        return SeenRows(self.coordinates, self.rows.ordered())

    @classmethod
    def of_all(cls, source: Source, kind: str) -> SeenRows | None:
        """For the start and the check of a fit, where these see the same: all rows, of which no value is missing."""
        if isinstance(source, Filled) or source.n_rows > CHECK_ROWS:
            return None
        return cls.of(load_rows(source, CHECK_ROWS, np.random.default_rng(0)), kind).ordered()


def find_global_start(
    source: Source,
    n_components: int,
    kind: str,
    rng: np.random.Generator,
    *,
    noise: bool = False,
    plain: bool = False,
    seen: SeenRows | None = None,
) -> Mixture:
    """Find the start from which EM reaches the best optimum; `seen`, if they are known already.

    About 50 to 150 EM passes over ``max(2000, 100 k .. 400 k)`` rows, 15 to 100 over all rows, at most 100,000.
    """
    if seen is None:
        given = load_rows(source, max(ALL_ROWS, ALL_ROWS_PER_COMPONENT * n_components), rng)
        seen = SeenRows.of(given, kind).ordered()
    coordinates, everything = seen.coordinates, seen.rows
    rows = subsample(everything, sample_size(kind, n_components, everything.x.shape[1]), rng)
    few = None if noise or everything.whole is not everything else n_directions(n_components, everything.x.shape[1])
    if few is not None:
        return coordinates.outside(_found_in_few(everything, few, n_components, kind, rng, plain)).sorted()
    if noise:
        whole = rows.whole
        centers = lloyd(whole.x, d2_seeds(whole.x, n_components, rng, whole.unequal), rng, 5)
        search = make_search(rows, centers, kind)
        centers = anneal_centers(search.rows.whole, n_components, typical_variance(whole.x, centers)[0], rng)
        mixture = mixture_of_cells(search.rows.whole.source, whole.x, centers, kind, search.reg, search.prior)
    else:
        search, mixture = covering(rows, max(n_components, int(OVER * n_components)), kind, coordinates.seen_scale, rng)
    mixture = search.em(mixture, 5, 1e-3)
    state = search.improved(search.reduced(mixture, n_components))
    if rows is not everything:
        search = replace(search, rows=everything.like(search.rows))
    state = search.improved(state.mixture, LAST_ROUNDS, LAST_FAILURES, POLISH, state)
    return coordinates.outside(_settled(search, state, everything, plain)).sorted()


def _found_in_few(
    everything: InMemorySamples, few: int, n_components: int, kind: str, rng: np.random.Generator, plain: bool
) -> Mixture:
    """Search in a few directions, then settle and move in all columns."""
    low = projected(everything, few, rng)
    found = find_global_start(low.source, n_components, kind, rng)
    shares = np.asarray(found.evaluate(low.x)[1])
    means = means_of_shares(everything, shares)
    search = make_search(everything, means, kind)
    state = search.improved(lifted(search, shares, means, kind), LAST_ROUNDS, LAST_FAILURES, POLISH)
    return state.mixture if state.n_moves == 0 and not plain else _settled(search, state, everything, plain)


def _settled(search: SplitMergeSearch, state: Settled, everything: InMemorySamples, plain: bool) -> Mixture:
    """EM on all rows in the end."""
    if plain:
        # Without a prior all that a component has in a direction of no width is the rounding of its moments.
        search = replace(search, rows=everything) if is_thin(state.unshrunk, RESOLVED) else search
        return search.plain(state.mixture, PLAIN_PASSES, PLAIN_TOLERANCE)
    return search.em(state.mixture, POLISH, POLISH_TOLERANCE)


def covering(
    rows: InMemorySamples, n_cells: int, kind: str, scale: Floats, rng: np.random.Generator
) -> tuple[SplitMergeSearch, Mixture]:
    """Cover standardised rows by cells: a search, and the mixture of the cells to begin it with.

    Distances need units. Columns of unit variance suit most data, but hide clusters along a column that holds several
    groups of them, beside one that is all noise; and components that were all cut alike agree on a wrong shape, which
    no move of one of them mends. So where the user's own units, `scale`, differ, cells in these are tried as well; the
    likelihood of the mixtures decides, before any EM.
    """
    search, mixture = _cells(rows, n_cells, kind, rng)
    if TYPES[kind].is_round or scale.max() <= UNLIKE * scale.min():
        return search, mixture
    unit = scale / scale.max()
    other = _cells(replace(rows, x=rows.x * unit), n_cells, kind, rng)[1].scaled(1 / unit, np.zeros_like(unit))
    if search.rows.posterior(other).log_likelihood <= search.rows.posterior(mixture).log_likelihood:
        return search, mixture
    return make_search(rows, other.means, kind), other


def _cells(
    rows: InMemorySamples, n_cells: int, kind: str, rng: np.random.Generator
) -> tuple[SplitMergeSearch, Mixture]:
    """A search with priors in the units of cells, and their mixture."""
    whole = rows.whole
    centers = lloyd(whole.x, d2_seeds(whole.x, n_cells, rng, whole.unequal), rng, 3)
    search = make_search(rows, centers, kind)
    return search, mixture_of_cells(search.rows.whole.source, whole.x, centers, kind, search.reg, search.prior)


def shared_prior(source: Source, kind: str, *, counting: bool = False) -> EmpiricalBayesShapePrior:
    """The prior of the fit to all rows: no ghosts, but the rounding of the data."""
    rows = load_rows(source, CHECK_ROWS, np.random.default_rng(0))
    floor = rounding_floor(rows.x, counting=counting)
    return EmpiricalBayesShapePrior(kind, source.n_features, PseudoObservations(kind, source.n_features, floor=floor))


def check_optimality(source: Source, mixture: Mixture, seen: SeenRows | None = None) -> tuple[float, float]:
    """What the best split of a component would gain, and the cheapest merge of two would cost, in nats per sample.

    A fit whose split gain exceeds its merge cost can probably be improved by a move. Both are measured on all rows, or
    on a sample of 10,000, or 200 per component, where these are more.
    """
    k, kind = mixture.n_components, mixture.covariance.kind
    if seen is None:
        rows = load_rows(source, max(CHECK_ROWS, CHECK_ROWS_PER_COMPONENT * k), np.random.default_rng(0))
        seen = SeenRows.of(rows, kind)
    rows, local = seen.rows, seen.coordinates.inside(mixture)
    d = local.n_features
    variances = mean_variances(local.covariance, local.n_components, d)
    is_resolved = not is_thin(local.covariance, RESOLUTION) and np.max(variances) < 1 / RESOLUTION
    rows = rows.single() if is_resolved else rows
    (floor, blur), typical = floor_and_width(rows.x), float(np.median(variances))
    ghosts = PseudoObservations(kind, d, GHOST_VARIANCE * typical, 1.0, floor, blur)
    search = SplitMergeSearch(rows, REG * typical, EmpiricalBayesShapePrior(kind, d, ghosts))
    local = local if blur is None else search.em(local, 1)  # as wide as the two of a split
    offers = SplitMergeOffers.of(search, rows.posterior(local))
    return float(offers.gains.max()), float(offers.costs[0]) if len(offers.costs) else np.inf


def sample_size(kind: str, n_components: int, n_features: int) -> int:
    """Rows to search on."""
    parameters = n_free(kind, n_features) if TYPES[kind].has_shapes else 0
    return max(ROWS, n_components * max(ROWS_PER_COMPONENT, min(10 * parameters, 4 * ROWS_PER_COMPONENT)))


def subsample(rows: InMemorySamples, size: int, rng: np.random.Generator) -> InMemorySamples:
    """Some of the rows, with their weights; all where a sample would be nearly as large."""
    if len(rows.x) <= 1.5 * size:
        return rows
    chosen = np.sort(rng.choice(len(rows.x), size, replace=False))
    return replace(rows, x=rows.x[chosen], weight=rows.weight[chosen])


def typical_variance(x: Floats, centers: Floats) -> tuple[float, float]:
    """Median and minimum over the cells of the mean variance of a column; 1 where no cell has two rows."""
    labels = np.argmax(product(x, centers.T) - 0.5 * np.sum(centers**2, axis=1), axis=1)
    counts = np.bincount(labels, minlength=len(centers))
    local = centers[labels]
    local -= x
    sums = np.bincount(labels, np.einsum("ij,ij->i", local, local) / x.shape[1], len(centers))
    within = sums[counts > 1] / counts[counts > 1]
    return (float(np.median(within)), float(within.min())) if len(within) else (1.0, 0.0)


def make_search(rows: InMemorySamples, centers: Floats, kind: str, *, counting: bool = False) -> SplitMergeSearch:
    """A search on standardised rows, with priors in units of the variance within the cells of centers."""
    x, d = rows.whole.x, rows.x.shape[1]
    typical, smallest = typical_variance(x, centers)
    typical = max(typical, 1e-12)
    ghosts = PseudoObservations(kind, d, GHOST_VARIANCE * typical, 1.0, *floor_and_width(rows.x, counting=counting))
    is_resolved = smallest > RESOLUTION
    if not TYPES[kind].is_diagonal:  # what all rows have in their thinnest direction is what one component has there
        thinner = product(x.T, x) / len(x) - RESOLUTION * np.eye(d)
        is_resolved = is_resolved and not np.isnan(pivots_of(thinner[None])).any()
    rows = rows.single() if is_resolved else rows
    return SplitMergeSearch(rows, REG * typical, EmpiricalBayesShapePrior(kind, d, ghosts))


def anneal_centers(rows: InMemorySamples, n_components: int, variance: float, rng: np.random.Generator) -> Floats:
    """Centers that follow the data out of the noise.

    The stationary equations of the denoising objective for equal weights and the covariance ``variance * I``, at noise
    levels from the largest variance of the data down to a tenth of that of a component, each with fresh noise.

    Returns (k, d).

    320 passes over the rows with spherical covariances.
    """
    x, d = rows.x, rows.x.shape[1]
    largest = float(np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T, aweights=rows.weight)))[-1])
    centers = 0.1 * np.sqrt(variance) * rng.standard_normal((n_components, d))
    equal = np.full(n_components, 1 / n_components)
    for level in np.geomspace(max(largest, variance), 0.1 * variance, LEVELS):
        noise = np.sqrt(level) * rng.standard_normal(x.shape, dtype=np.float32).astype(x.dtype)
        noisy = ArraySource(x + noise, rows.unequal)
        centers = centers + 0.01 * np.sqrt(level) * rng.standard_normal(centers.shape)
        covariance = Spherical(np.full(n_components, variance + level), d)
        for _ in range(STEPS):
            expected = e_step(noisy, Mixture(equal, centers, covariance), 1)
            centers = centers + expected.first / (expected.mass + 1e-9)[:, None]
    return np.asarray(centers)
