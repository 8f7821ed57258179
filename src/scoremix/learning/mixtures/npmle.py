"""Atoms: the nonparametric maximum-likelihood estimate of a mixing measure, the base where the noise is isotropic.

Data ``x = mu + noise_scale z`` with any distribution of mu are a mixture of Gaussians of one variance, known or learnt
with the atoms, and the best mixing measure is discrete. Enough atoms, free in place and weight, serve clusters and
continuous measures alike: on a curve they settle about a noise scale apart. Too few cannot be repaired by polynomials,
too many cost what their parameters cost. So how many is left to rows that EM has not seen:

1. Double the atoms, from one, while the held-out log likelihood gains by more than its error; while they are few, a
   step without gain is no reason to end (two atoms are no better than one for a ring). Seeds are spread by D^2
   sampling and moved by EM, the variance kept where it is known. EM is stopped early on purpose: run to the end, atoms
   gather in heaps that follow the sample.
2. Halve the interval between too few and enough, merging the cheapest pairs, while held-out rows do not lose. Seeds
   find all of many clusters only where they are too many; merging then leaves one atom in each.
3. Join all atoms that lie too near each other to be told from one cluster, if held-out rows hardly lose.
4. Where most atoms still have such neighbours, and there are more than a few, the distribution of mu is spread out.
   Then their number is no property of the data, rows that were held out say little of it, and a posterior mean wants
   more: many atoms, which a few EM steps leave spread, smooth best (on curves and balls, where they are taken).
5. A few EM steps on all rows.

References
----------
Kiefer and Wolfowitz, Ann. Math. Statist. 1956; Lindsay, Ann. Statist. 1983 (the estimate is discrete); Soloff,
Guntuboyina and Sen, JRSS B 2025 (its denoiser in several dimensions).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from scoremix.arrays import Floats
from scoremix.learning.em.em import run_em
from scoremix.learning.em.posterior import InMemorySamples, load_samples
from scoremix.learning.em.seeding import d2_seeds
from scoremix.learning.search.merges import cheapest_disjoint, merge_costs, merge_pairs, near_pairs
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import Source

# Most rows that atoms are moved by, and judged by, while their number is open; least share of them that judge. Judges
# are cheap: one evaluation each, and twice as many tell differences apart that are 0.7 times as large.
TRAINING, JUDGING, HELD_OUT = 20_000, 40_000, 0.2

HELD_OUT_OF_SCALE = 0.5  # The same where the variance is free: more atoms of less width always look well by chance.

# Standard errors that twice the atoms must gain on held-out rows: not many, for what is too many is merged after. Where
# the variance is free, less: too few atoms take a spread distribution for noise, and a scale too large is wrong.
SURE, SURE_OF_SCALE = 1.0, 0.5

PATIENT = 8  # Up to so many atoms two steps without gain must follow each other.

START_ROWS = 1000  # Rows whose distances to seeds tell a first variance.

MOST_ATOMS, ROWS_PER_ATOM = 2000, 4  # Atoms are at most so many, for time grows with them, and no more than rows allow.
TOO_MANY = 256  # So many atoms tell of a variance that is not that of the data, where more would be better still.

AFTER_SEEDS, AFTER_MERGE, AFTER_MERGES, POLISH = 50, 2, 20, 20  # EM passes, the last of them on all rows.

# Distance, in noise scales, below which two atoms may belong to one cluster, or to a distribution without clusters.
NEAR = 3.0

SAME_VARIANCE = 1.1  # A free variance is the same after joining up to this factor.

# Fewer atoms than this are always clusters; so many are spread over a distribution that is none of clusters, where
# there are rows enough.
FEW, MANY, ROWS_PER_SPREAD_ATOM = 8, 64, 8

# EM passes of spread atoms, those on all rows where these are hardly more than the ones that trained (else `POLISH`),
# and standard errors by which they must not be worse on held-out rows.
SPREADING, SPREAD_POLISH, WORSE = 20, 5, 1.0


@dataclass(frozen=True)
class CommonVariance:
    """The one variance that all atoms have: known, or learnt with them where it is None, then at least `least`."""

    variance: float | None
    n_features: int
    least: float = 0.0

    def add(self, mass: Floats, second: Floats) -> tuple[Floats, Floats]:
        """The masses, and the second moments that belong to them, whatever single components have seen."""
        variance = self.variance
        if variance is None:
            variance = max(float(second.sum() / mass.sum()) / self.n_features, self.least)
        return mass, variance * self.n_features * mass

    @property
    def sure(self) -> float:
        """Standard errors that more atoms must gain on held-out rows."""
        return SURE if self.variance is not None else SURE_OF_SCALE

    def at_first(self, x: Floats, seeds: Floats) -> float:
        """The variance that EM starts from: where it is not known, that of rows about their nearest seeds."""
        if self.variance is not None:
            return self.variance
        nearest = cdist(x[:START_ROWS], seeds, "sqeuclidean").min(axis=1)
        return max(float(nearest.mean()) / self.n_features, self.least)

    def em(self, source: Source, mixture: Mixture, passes: int, n_threads: int | None = 1) -> Mixture:
        """So many EM passes on places and weights, and the variance where it is not known."""
        return run_em(source, mixture, tol=0.0, max_iter=passes, reg=0.0, prior=self, n_threads=n_threads).mixture


@dataclass(frozen=True)
class ScoredMixture:
    """A mixture, and its log density at the rows that judge."""

    mixture: Mixture
    log_density: Floats

    @property
    def variance(self) -> float:
        """The variance of all atoms."""
        return float(self.mixture.covariance.values[0])


@dataclass(frozen=True)
class HeldOutTrials:
    """The rows on which numbers of atoms are tried, those that judge them, and what is known of the variance."""

    training: InMemorySamples
    judging: InMemorySamples
    known: CommonVariance

    @classmethod
    def of(cls, source: Source, known: CommonVariance, rng: np.random.Generator) -> HeldOutTrials:
        """Deal out rows at random, in whatever order they came."""
        rows = load_samples(source, TRAINING + JUDGING, rng).ordered()
        n, order = len(rows.x), rng.permutation(len(rows.x))
        share = HELD_OUT if known.variance is not None else HELD_OUT_OF_SCALE
        judges = max(1, int(share * n), n - TRAINING)
        training, judging = (
            InMemorySamples(rows.x[some], rows.weight[some]) for some in (order[judges:], order[:judges])
        )
        return cls(training, judging, known)

    @property
    def most_atoms(self) -> int:
        """How many atoms there may be."""
        return min(MOST_ATOMS, max(1, len(self.training.x) // ROWS_PER_ATOM))

    def seeded(self, n_atoms: int, rng: np.random.Generator, passes: int = AFTER_SEEDS) -> ScoredMixture:
        """So many atoms, dealt out over the rows and moved."""
        seeds = d2_seeds(self.training.x, n_atoms, rng, self.training.unequal)
        variances = np.full(n_atoms, self.known.at_first(self.training.x, seeds))
        start = Mixture(np.full(n_atoms, 1 / n_atoms), seeds, Spherical(variances, self.known.n_features))
        return self.moved(start, passes)

    def reduced(self, mixture: Mixture, n_atoms: int) -> ScoredMixture:
        """Merge the cheapest pairs, half of what is over at a time, until so many atoms are left."""
        while mixture.n_components > n_atoms:
            posterior = self.training.posterior(mixture)
            i, j = near_pairs(posterior)
            over = mixture.n_components - n_atoms
            pairs = cheapest_disjoint(merge_costs(posterior, i, j), i, j, (over + 1) // 2)
            mixture = self.known.em(self.training.source, merge_pairs(mixture, i[pairs], j[pairs]), AFTER_MERGE)
        return self.moved(mixture, AFTER_MERGES)

    def joined(self, atoms: ScoredMixture) -> ScoredMixture:
        """One atom in place of all that are near each other, or near to ones that are."""
        mixture, variance = atoms.mixture, atoms.variance
        k, group = connected_components(_are_near(mixture, variance), directed=False)
        member = (group == np.arange(k)[:, None]) * mixture.weights
        weights = member.sum(axis=1)
        covariance = Spherical(np.full(k, variance), self.known.n_features)
        return self.moved(Mixture(weights, member @ mixture.means / weights[:, None], covariance), AFTER_MERGES)

    def spread(self, rng: np.random.Generator) -> ScoredMixture:
        """Many atoms, hardly moved from where the rows are."""
        n_atoms = min(MANY, max(1, len(self.training.x) // ROWS_PER_SPREAD_ATOM))
        return self.seeded(n_atoms, rng, SPREADING)

    def gain(self, new: ScoredMixture, old: ScoredMixture) -> tuple[float, float]:
        """Held-out gain of one mixture over another in nats per row, and its standard error."""
        weight, gains = self.judging.weight, new.log_density - old.log_density
        mean = float(np.average(gains, weights=weight))
        return mean, float(np.linalg.norm(weight * (gains - mean)) / weight.sum())

    def moved(self, mixture: Mixture, passes: int) -> ScoredMixture:
        """Atoms after EM on the rows that train."""
        mixture = self.known.em(self.training.source, mixture, passes)
        return ScoredMixture(mixture, mixture.log_density(self.judging.x))


def learn_atoms(source: Source, noise_scale: float, rng: np.random.Generator, n_threads: int | None = None) -> Mixture:
    """Learn the distribution of the data as a mixture of Gaussians of known variance.

    noise_scale: standard deviation of every component, in every direction, > 0.

    About 150 EM passes with the final k, and up to log2 k times 30 more, over at most 20,000 rows, 20 with 64 atoms
    where the distribution is spread out, then 20 over all rows: O(n k d) each.
    """
    trials = HeldOutTrials.of(source, CommonVariance(noise_scale**2, source.n_features), rng)
    return finish_atoms(source, trials, find_atoms(trials, rng), rng, n_threads)


def find_atoms(trials: HeldOutTrials, rng: np.random.Generator) -> ScoredMixture:
    """As many atoms as rows that were held out want; where they want more than there may be, and many, these."""
    atoms = double_atoms(trials, rng)
    if 2 * atoms.mixture.n_components > trials.most_atoms and atoms.mixture.n_components >= TOO_MANY:
        return atoms
    return join_near_atoms(trials, bisect_atoms(trials, atoms))


def finish_atoms(
    source: Source, trials: HeldOutTrials, best: ScoredMixture, rng: np.random.Generator, n_threads: int | None = None
) -> Mixture:
    """Spread atoms that tell of no clusters, and move them by all rows; their variance stays."""
    trials, passes = replace(trials, known=replace(trials.known, variance=best.variance)), POLISH
    if is_spread_out(best.mixture, best.variance):
        many = trials.spread(rng)
        gain, error = trials.gain(many, best)
        if gain > -WORSE * error:
            best, passes = many, POLISH if source.n_rows > 2 * len(trials.training.x) else SPREAD_POLISH
    return trials.known.em(source, best.mixture, passes, n_threads)


def double_atoms(
    trials: HeldOutTrials, rng: np.random.Generator, most: int = MOST_ATOMS, best: ScoredMixture | None = None
) -> ScoredMixture:
    """Double the atoms, from one or from what is the best so far, until held-out rows do not surely gain."""
    best, failed = best or trials.seeded(1, rng), False
    number = 2 * best.mixture.n_components
    while number <= min(most, trials.most_atoms):
        more = trials.seeded(number, rng)
        gain, error = trials.gain(more, best)
        if gain > trials.known.sure * error:
            best, failed = more, False
        elif failed or number > PATIENT:
            break
        else:
            failed = True
        number *= 2
    return best


def bisect_atoms(trials: HeldOutTrials, best: ScoredMixture) -> ScoredMixture:
    """Halve the interval between half as many atoms, which were too few, and these, while held-out rows do not lose."""
    few = best.mixture.n_components // 2
    if few:  # the same number merged from more may do where seeds did not
        few -= 1
    while best.mixture.n_components - few > 1:
        middle = (best.mixture.n_components + few) // 2
        fewer = trials.reduced(best.mixture, middle)
        if trials.gain(fewer, best)[0] < 0:
            few = middle
        else:
            best = fewer
    return best


def join_near_atoms(trials: HeldOutTrials, best: ScoredMixture) -> ScoredMixture:
    """Join what is near, if held-out rows do not surely lose more than Akaike's price of the atoms that go.

    One error alone is lost by chance at one data set of six, and atoms of few clusters pass for a spread distribution.
    Where a free variance grows, atoms may be spread over more than noise: then held-out rows must not lose at all.
    """
    joined = trials.joined(best)
    gain, error = trials.gain(joined, best)
    saved = (best.mixture.n_components - joined.mixture.n_components) * (trials.known.n_features + 1)
    allowed = SURE * error + saved / len(trials.training.x) if joined.variance < SAME_VARIANCE * best.variance else 0.0
    return joined if gain > -allowed else best


def is_spread_out(mixture: Mixture, variance: float) -> bool:
    """Whether atoms tell of no clusters: more than a few, and near each other by most of their weight."""
    has_neighbour = _are_near(mixture, variance).any(axis=1)
    return mixture.n_components >= FEW and bool(mixture.weights[has_neighbour].sum() > 0.5)


def _are_near(mixture: Mixture, variance: float) -> NDArray[np.bool_]:
    """Which pairs of atoms are near each other."""
    apart = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=2)
    return np.asarray((apart < NEAR * np.sqrt(variance)) & ~np.eye(len(apart), dtype=bool))
