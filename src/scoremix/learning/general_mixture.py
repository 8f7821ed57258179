"""A Gaussian mixture with full covariances and an unknown number of components, from many rows or from few.

The number is searched for with full covariances, and EM ends the fit. With few rows that search stops early: in many
dimensions a component's matrix costs more than a small cluster can pay. Two searches are therefore run where rows are
few, and what they find is fitted alike, by EM with full covariances whose shapes shrink towards their common shape
(`scoremix.learning.shrinkage`): only where they look for clusters differs.

Wide
    The search with full covariances: few components, each with a matrix of its own.
Fine
    The search with diagonal covariances, in the columns as they are: many components that share most of their shape.
    It may look in more directions than the other; the densities that are compared are those of all columns.

**The rule.** Rows are few where there are less than `ENOUGH_ROWS` per parameter of the components that the wide search
finds. There both searches are cross-validated on `FOLDS` folds, every one from scratch, and the fine one is taken where
its held-out log likelihood is higher by more than one standard error of the mean difference per row; a first fold that
speaks clearly (`CLEAR`) is enough. With more rows the common shape changes nothing that matters and the wide search is
alone, as it is above `MOST_ROWS`, where repeating it costs too much, and below `LEAST_ROWS` per dimension in a training
set, where no matrix can be judged.

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

from scoremix.arrays import Floats, like, product
from scoremix.learning.acceleration import Anderson
from scoremix.learning.component_number import component_number
from scoremix.learning.em import fit
from scoremix.learning.global_start import shared_prior
from scoremix.learning.posterior import Rows, rows_of, weight_of
from scoremix.learning.shrinkage import ENOUGH_ROWS
from scoremix.models.covariance import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import Mapped, Source

WIDE, FINE = "full", "diag"  # Kinds of covariances that the two searches are made with.

# EM ends when the log likelihood of all rows, or the mean one, rises by less in a pass, or after so many passes. Where
# components lie on top of each other it creeps: with 1e-5 per row it stopped at twice the distance from the truth.
TOLERANCE, LEAST_TOLERANCE, PASSES = 0.1, 1e-7, 300

# Folds, rows up to which searches are repeated on them, and EM passes there.
FOLDS, MOST_ROWS, FOLD_PASSES = 3, 10_000, 50

LEAST_ROWS = 2  # Rows per dimension that a training set must have.
CLEAR = 4.0  # Standard errors with which one fold decides alone.


@dataclass(frozen=True)
class Directions:
    """Directions in which components differ; in the others they share a Gaussian.

    lead (r, m); common (r, r).
    """

    lead: Floats
    common: Floats

    @classmethod
    def leading(cls, correlation: Floats, most: int) -> Directions:
        """The principal axes of a correlation matrix (r, r), at most so many; the columns where these are no more."""
        if len(correlation) <= most:
            return cls(np.eye(len(correlation)), np.zeros_like(correlation))
        values, axes = np.linalg.eigh(correlation)
        values, axes = values[::-1], axes[:, ::-1]
        rest = axes[:, most:]
        return cls(axes[:, :most], (rest * values[most:]) @ rest.T)

    def along(self, rows: Source) -> Source:
        """The coordinates of rows of r columns."""
        return Mapped(rows, self.lead.shape[1], lambda x: product(x, like(self.lead, x)))

    def embedded(self, mixture: Mixture) -> Mixture:
        """A mixture of coordinates as one of the columns."""
        covariances = self.lead @ mixture.covariances @ self.lead.T + self.common
        return Mixture(mixture.weights, mixture.means @ self.lead.T, Full(covariances))


@dataclass(frozen=True)
class Found:
    """A mixture, in which coordinates it is, and how its components were searched for."""

    mixture: Mixture
    directions: Directions
    search: str


def general_mixture(
    rows: Source, wide: Directions, fine: Directions, most: int, reg: float, rng: np.random.Generator
) -> Found:
    """Learn a mixture with full covariances, its number of components found.

    The cost of ``GaussianMixture("auto")``, O(n k m^2) per pass in m directions; where rows are few, one to three times
    that of both searches.
    """

    def learn(source: Source, kind: str, passes: int = PASSES) -> Found:
        directions = wide if kind == WIDE else fine
        return Found(_learn(directions.along(source), kind, most, reg, passes, rng), directions, kind)

    found = learn(rows, WIDE)
    if _is_few(rows, found.mixture, fine):
        gain, error = held_out_gain(rows_of(rows, MOST_ROWS, rng), partial(learn, passes=FOLD_PASSES), rng)
        if gain > error:
            return learn(rows, FINE)
    return found


def _learn(rows: Source, kind: str, most: int, reg: float, passes: int, rng: np.random.Generator) -> Mixture:
    """Search with covariances of a kind, then EM with full ones."""
    start, _ = component_number(rows, kind, most, rng)
    start = Mixture(start.weights, start.means, Full(np.array(start.covariances)))
    prior, tol = shared_prior(rows, WIDE, counting=True), max(TOLERANCE / weight_of(rows), LEAST_TOLERANCE)
    found = fit(rows, start, tol=tol, max_iter=passes, reg=reg, prior=prior, acceleration=Anderson()).mixture
    return found.take(np.argsort(-found.weights, kind="stable"))


def _is_few(rows: Source, mixture: Mixture, fine: Directions) -> bool:
    """Whether rows are too few for the parameters, and neither too few nor too many for folds."""
    n, d = rows.n_rows, mixture.n_features
    parameters = mixture.n_components * ((d + 1) * (d + 2) // 2)
    can_be_judged = LEAST_ROWS * fine.lead.shape[1] < n * (FOLDS - 1) / FOLDS and n <= MOST_ROWS
    return d > 1 and can_be_judged and weight_of(rows) < ENOUGH_ROWS * parameters


def held_out_gain(rows: Rows, learn: Callable[[Source, str], Found], rng: np.random.Generator) -> tuple[float, float]:
    """Cross-validated log likelihood of the fine search beyond that of the wide one.

    Both searches on every training set, from scratch: a start that has seen the held-out rows would favour many
    components.
    """
    fold = rng.permutation(len(rows.x)) % FOLDS
    gains, gain, error = np.zeros(len(rows.x)), 0.0, 0.0
    for number in range(FOLDS):
        out = fold == number
        learnt = Rows(rows.x[~out], rows.weight[~out]).source
        for kind, sign in ((WIDE, -1.0), (FINE, 1.0)):
            found = learn(learnt, kind)
            gains[out] += sign * np.asarray(found.directions.embedded(found.mixture).log_density(rows.x[out]))
        judged = fold <= number
        share = rows.weight[judged] / rows.weight[judged].sum()
        gain = float(share @ gains[judged])
        error = float(np.linalg.norm(share * (gains[judged] - gain)))
        if abs(gain) > CLEAR * error:
            break
    return gain, error
