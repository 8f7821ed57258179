"""The noise scale of data that do not tell it, and whether one scale explains them at all.

Data ``mu + noise_scale z`` are a mixture of Gaussians of one variance, whatever the distribution of mu. Its atoms are
learnt with the variance free (`learning.mixtures.npmle`): as few as held-out rows allow, that is with the largest scale
that the data are consistent with. For clusters this is maximum likelihood. Where mu is spread out (balls, a second
Gaussian) every smaller scale explains the data as well, and the largest one that n rows do not contradict is above the
truth: by a tenth for balls of radius 2 and 20,000 rows. Nothing but more rows can tell.

A *contender*, a mixture with full covariances learnt from the same rows, tells whether one scale is enough. Where it
predicts held-out rows better, by more than `MARGIN` standard errors, components have shapes of their own; the noise is
then at most as wide as the narrowest of them.

Both are learnt in principal axes. Of more than `MOST_DIRECTIONS` the last are compared as Gaussians without components:
with variances of their own, or the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.coordinates import MIN_WIDTH, MOST_DIRECTIONS, in_subspace
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.mixtures.full_covariances import WIDE, learn_full_mixture, typical_gain
from scoremix.learning.mixtures.npmle import (
    AFTER_SEEDS,
    CommonVariance,
    HeldOutTrials,
    ScoredMixture,
    bisect_atoms,
    double_atoms,
    join_near_atoms,
)
from scoremix.learning.moments import Moments
from scoremix.models.covariance.interface import LOG_2PI
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import leading_subspace
from scoremix.samples.source import Source

# Standard errors by which shapes must predict better than one scale, and by which a few rows decide it.
MARGIN, CLEAR = 2.0, 6.0

FLOOR = 1e-3  # The smallest scale, relative to the widest direction.

# Rows that train where one scale is first compared with shapes, and the most atoms and components: in most cases that
# is no fine matter, and time spent on the one that loses is lost. EM passes of the contender.
FIRST_ROWS, FIRST_ATOMS, FIRST_COMPONENTS, PASSES = 2500, 64, 30, 20

HEAVY = 0.05  # Weight of a component that counts among the narrowest.


@dataclass(frozen=True)
class Contender:
    """A mixture of full covariances: its log density at the rows that judge, and its narrowest standard deviation."""

    log_density: Floats
    narrowest: float

    def beats(self, atoms: ScoredMixture, trials: HeldOutTrials, margin: float) -> bool:
        """Whether it predicts better by so many standard errors."""
        gain, error = typical_gain(self.log_density - atoms.log_density, trials.judging.weight)
        return gain > margin * error


@dataclass(frozen=True)
class OneScale:
    """Atoms of one variance in principal axes, the scale of the noise, and whether it explains the data."""

    trials: HeldOutTrials
    atoms: ScoredMixture
    scale: float
    explains: bool

    def leading(self, rank: int) -> OneScale:
        """The same in the leading axes."""
        training, judging = (
            InMemorySamples(rows.x[:, :rank], rows.weight) for rows in (self.trials.training, self.trials.judging)
        )
        found = self.atoms.mixture
        mixture = Mixture(found.weights, found.means[:, :rank], Spherical(found.covariance.values, rank))
        trials = HeldOutTrials(training, judging, replace(self.trials.known, n_features=rank))
        return replace(self, trials=trials, atoms=ScoredMixture(mixture, mixture.log_density(judging.x)))


def find_one_scale(source: Source, moments: Moments, rng: np.random.Generator) -> OneScale:
    """Learn atoms whose variance is free, and compare them with shapes.

    The cost of `learn_atoms` on at most 20,000 rows, and of a mixture of full covariances on 2,500.
    """
    n, d = float(moments.effective_rows), source.n_features
    axes = leading_subspace(moments.mean, moments.covariance, n, 0.0, d, moments.origin)
    least = FLOOR * float(np.sqrt(axes.variances[0]))
    trials = HeldOutTrials.of(in_subspace(source, axes), CommonVariance(None, d, least**2), rng)
    atoms = double_atoms(replace(trials, training=_first(trials.training)), rng, FIRST_ATOMS)
    contender = learn_contender(trials, _first(trials.training), rng)
    explains = not contender.beats(atoms, trials, CLEAR)
    if explains:
        atoms = double_atoms(trials, rng, best=trials.moved(atoms.mixture, AFTER_SEEDS))
        atoms = join_near_atoms(trials, bisect_atoms(trials, atoms))
        if contender.beats(atoms, trials, 0.0):
            contender = learn_contender(trials, trials.training, rng)
        explains = not contender.beats(atoms, trials, MARGIN)
    scale = float(np.sqrt(atoms.variance))
    return OneScale(trials, atoms, scale if explains else max(least, min(scale, contender.narrowest)), explains)


def _first(rows: InMemorySamples) -> InMemorySamples:
    """The first rows, which are as good as any: they were dealt out at random."""
    return InMemorySamples(rows.x[:FIRST_ROWS], rows.weight[:FIRST_ROWS])


def learn_contender(trials: HeldOutTrials, learnt: InMemorySamples, rng: np.random.Generator) -> Contender:
    """Learn a mixture with full covariances from some rows, in columns of unit variance."""
    x, weight, d = learnt.x, learnt.weight, learnt.x.shape[1]
    lead = min(d, MOST_DIRECTIONS)
    center = np.average(x, axis=0, weights=weight)
    width = np.sqrt(np.average((x - center) ** 2, axis=0, weights=weight))
    width = np.maximum(width, np.sqrt(trials.known.least))  # a scale of units only: of few rows none may differ
    unit, judging = (x - center) / width, (trials.judging.x - center) / width
    rows = InMemorySamples(np.ascontiguousarray(unit[:, :lead]), weight)
    mixture = learn_full_mixture(rows.source, WIDE, FIRST_COMPONENTS, MIN_WIDTH**2, PASSES, rng)
    rest = -0.5 * np.sum(judging[:, lead:] ** 2, axis=1) - 0.5 * (d - lead) * LOG_2PI - np.log(width).sum()
    heavy = mixture.weights >= min(HEAVY, mixture.weights.max())
    shapes = mixture.covariances[heavy] * np.outer(width[:lead], width[:lead])
    narrowest = float(np.sqrt(max(np.linalg.eigvalsh(shapes).min(), 0.0)))
    if d > lead:
        narrowest = min(narrowest, float(np.median(width[lead:])))
    return Contender(np.asarray(mixture.log_density(judging[:, :lead])) + rest, narrowest)
