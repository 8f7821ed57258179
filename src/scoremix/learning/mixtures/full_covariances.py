"""A Gaussian mixture with full covariances and an unknown number of components, from many rows or from few.

The number is searched for with full covariances, and EM ends the fit. With few rows that search stops early: in many
dimensions a component's matrix costs more than a small cluster can pay. Two searches are therefore run where rows are
few, and what they find is fitted alike, by EM with full covariances whose shapes shrink towards their common shape
(`scoremix.learning.em.shrinkage`): only where they look for clusters differs.

Wide
    The search with full covariances: few components, each with a matrix of its own.
Fine
    The search with diagonal covariances, in the columns as they are: many components that share most of their shape.
    It may look in more directions than the other; the densities that are compared are those of all columns.

**The rule.** Rows are few where there are less than `FEW_ROWS` per parameter of the components that the wide search
finds. There both searches are cross-validated on `FOLDS` folds, every one from scratch, and the fine one is taken where
its held-out log likelihood is higher by more than one standard error of the mean difference per row; a first fold that
speaks clearly (`CLEAR`) is enough. The mean is winsorised (`TAIL`): a far row loses a thousand nats under either
density, by chance more under one of them, and would decide alone. With more rows the common shape changes nothing that
matters and the wide search is alone, as it is above `MOST_ROWS`, where repeating it costs too much, and below
`LEAST_ROWS` per dimension in a training set, where no matrix can be judged.

Units of columns do not matter, rotations do: what is diagonal in one basis is not in another. That concerns the search
only; covariances are full.

The charges of the search cannot tell the two apart. They count the parameters of a shape that is shared again for every
component, and would let 64 dimensions and 1,400 rows have three components, where 45 predict eight nats better.

References
----------
Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, section 7.10 (the rule of one standard
error); Friedman, Regularized Discriminant Analysis, JASA 84, 1989 (matrices that small classes share).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.coordinates import LeadingDirections
from scoremix.learning.em.acceleration import Anderson
from scoremix.learning.em.em import run_em
from scoremix.learning.em.posterior import InMemorySamples, load_samples, total_weight
from scoremix.learning.search.component_number import search_component_number
from scoremix.learning.search.global_start import shared_prior
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import Source

WIDE, FINE = "full", "diag"  # Kinds of covariances that the two searches are made with.

# EM ends when the log likelihood of all rows, or the mean one, rises by less in a pass, or after so many passes. Where
# components lie on top of each other it creeps: with 1e-5 per row it stopped at twice the distance from the truth.
TOLERANCE, LEAST_TOLERANCE, PASSES = 0.1, 1e-7, 300

# Folds, rows up to which searches are repeated on them, and EM passes there.
FOLDS, MOST_ROWS, FOLD_PASSES = 3, 10_000, 50

FEW_ROWS = 8  # With more rows per parameter of a component the wide search is not in doubt.
LEAST_ROWS = 2  # Rows per dimension that a training set must have.
CLEAR = 4.0  # Standard errors with which one fold decides alone.
TAIL = 0.02  # Share of the rows on either side whose gain counts as that of the last one before.


@dataclass(frozen=True)
class FoundMixture:
    """A mixture, in which coordinates it is, and how its components were searched for."""

    mixture: Mixture
    directions: LeadingDirections
    search: str


def find_full_mixture(
    rows: Source, wide: LeadingDirections, fine: LeadingDirections, most: int, reg: float, rng: np.random.Generator
) -> FoundMixture:
    """Learn a mixture with full covariances, its number of components found.

    The cost of ``GaussianMixture("auto")``, O(n k m^2) per pass in m directions; where rows are few, one to three times
    that of both searches.
    """

    def learn(source: Source, kind: str, passes: int = PASSES) -> FoundMixture:
        directions = wide if kind == WIDE else fine
        return FoundMixture(
            learn_full_mixture(directions.along(source), kind, most, reg, passes, rng), directions, kind
        )

    found = learn(rows, WIDE)
    if _is_few(rows, found.mixture, fine):
        gain, error = held_out_gain(load_samples(rows, MOST_ROWS, rng), partial(learn, passes=FOLD_PASSES), rng)
        if gain > error:
            return learn(rows, FINE)
    return found


def learn_full_mixture(
    rows: Source, kind: str, most: int, reg: float, passes: int, rng: np.random.Generator
) -> Mixture:
    """Search with covariances of a kind, then EM with full ones."""
    start, _ = search_component_number(rows, kind, most, rng)
    start = Mixture(start.weights, start.means, Full(np.array(start.covariances)))
    prior, tol = shared_prior(rows, WIDE, counting=True), max(TOLERANCE / total_weight(rows), LEAST_TOLERANCE)
    found = run_em(rows, start, tol=tol, max_iter=passes, reg=reg, prior=prior, acceleration=Anderson()).mixture
    return found.take(np.argsort(-found.weights, kind="stable"))


def _is_few(rows: Source, mixture: Mixture, fine: LeadingDirections) -> bool:
    """Whether rows are too few for the parameters, and neither too few nor too many for folds."""
    n, d = rows.n_rows, mixture.n_features
    parameters = mixture.n_components * ((d + 1) * (d + 2) // 2)
    can_be_judged = LEAST_ROWS * fine.lead.shape[1] < n * (FOLDS - 1) / FOLDS and n <= MOST_ROWS
    return d > 1 and can_be_judged and total_weight(rows) < FEW_ROWS * parameters


def held_out_gain(
    rows: InMemorySamples, learn: Callable[[Source, str], FoundMixture], rng: np.random.Generator
) -> tuple[float, float]:
    """Cross-validated log likelihood of the fine search beyond that of the wide one.

    Both searches on every training set, from scratch: a start that has seen the held-out rows would favour many
    components.
    """
    fold = rng.permutation(len(rows.x)) % FOLDS
    gains, gain, error = np.zeros(len(rows.x)), 0.0, 0.0
    for number in range(FOLDS):
        out = fold == number
        learnt = InMemorySamples(rows.x[~out], rows.weight[~out]).source
        for kind, sign in ((WIDE, -1.0), (FINE, 1.0)):
            found = learn(learnt, kind)
            gains[out] += sign * np.asarray(found.directions.embedded(found.mixture).log_density(rows.x[out]))
        judged = fold <= number
        gain, error = typical_gain(gains[judged], rows.weight[judged])
        if abs(gain) > CLEAR * error:
            break
    return gain, error


def typical_gain(gains: Floats, weight: Floats) -> tuple[float, float]:
    """Winsorised mean of the gains of rows, by weight, and its standard error."""
    gains, weight = gains[weight > 0], weight[weight > 0]
    gains, share = np.clip(gains, *np.quantile(gains, (TAIL, 1 - TAIL))), weight / weight.sum()
    gain = float(share @ gains)
    return gain, float(np.linalg.norm(share * (gains - gain)))
