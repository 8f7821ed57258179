"""Rows with missing values in memory, for a search that asks what rows say of components.

All that is decided is decided by the likelihood of what the rows show: by it EM climbs, by it merges cost, and numbers
of components are compared. Rows are completed only to look where there may be more: whether a component is two is seen
in whole rows. What is missing there is drawn from the present mixture, given the rest of the row, so that it tells
nothing that the mixture does not say; means in its place would lie on lines, and these be found to be components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.em.candidates import Step
from scoremix.learning.em.em import run_em
from scoremix.learning.em.missing import Filled, completed_parts, evaluate_with_missing, expectation_with_missing
from scoremix.learning.em.posterior import InMemorySamples, Ints, Posterior, load_samples
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import Source

ENOUGH_ROWS, DEARER = 4000, 20  # A pass costs so many times one over complete rows: fewer will do, but for so many.
PASSES, TOLERANCE = 50, 1e-4  # EM passes of one Gaussian.
REG = 1e-12  # What is added to its variances, in units of those of the columns.


@dataclass(frozen=True)
class IncompleteSamples(InMemorySamples):
    """Rows of which NaN entries are missing.

    seed: of what is drawn in their place.
    """

    seed: int = 0

    @property
    def step(self) -> Step:
        """The E-step that the rows need."""
        return expectation_with_missing

    def single(self) -> IncompleteSamples:
        """The same rows: passes over them are made in double precision."""
        return self

    def order(self) -> Ints:
        """Positions of the rows, the shortest first."""
        return InMemorySamples(np.nan_to_num(self.x - np.nanmedian(self.x, axis=0)), self.weight).order()

    def posterior(self, mixture: Mixture) -> Posterior:
        """Evaluate a mixture at what the rows show."""
        log_density, shares = evaluate_with_missing(mixture, self.x)
        return Posterior(self, mixture, np.asarray(log_density, np.float64), np.asarray(shares, np.float64))

    def completed(self, mixture: Mixture) -> InMemorySamples:
        """The rows with draws from the mixture for what is missing, between the smallest and the largest of a column.

        The same random numbers serve all mixtures.
        """
        drawn = draw_missing(mixture, self.x, np.random.default_rng(self.seed))
        return InMemorySamples(drawn.clip(np.nanmin(self.x, axis=0), np.nanmax(self.x, axis=0)), self.weight)

    @cached_property
    def whole(self) -> InMemorySamples:
        """The rows completed by one Gaussian."""
        middle = np.nanmedian(self.x, axis=0)
        scale = np.nanstd(self.x, axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        rows = replace(self, x=(self.x - middle) / scale)
        d = len(scale)
        start = Mixture(np.ones(1), np.zeros((1, d)), Full(np.eye(d)[None]))
        found = run_em(rows.source, start, tol=TOLERANCE, max_iter=PASSES, reg=REG, step=self.step)
        return InMemorySamples(rows.completed(found.mixture).x * scale + middle, self.weight)


def load_rows(source: Source, most: int, rng: np.random.Generator) -> InMemorySamples:
    """All rows of a source, or as many as are wanted; of those with missing values fewer, and these marked."""
    if not isinstance(source, Filled):
        return load_samples(source, most, rng)
    rows = load_samples(source.source, max(ENOUGH_ROWS, most // DEARER), rng)
    return IncompleteSamples(rows.x, rows.weight, int(rng.integers(2**63))).ordered()


def draw_missing(mixture: Mixture, x: Floats, rng: np.random.Generator) -> Floats:
    """The rows with a draw for what is missing, given the rest of the row; of a row that shows nothing, the mean."""
    out = np.where(np.isnan(x), mixture.mean(), x)
    chance, noise = rng.random(len(x)), rng.standard_normal(x.shape)
    for rows, part in completed_parts(mixture, x):
        _, shares = part.posterior()
        drawn = np.argmax(np.cumsum(shares, axis=0) >= chance[rows] * shares.sum(axis=0), axis=0)
        for holes, left in part.left:
            own, at = drawn[holes.rows], rows[holes.rows]
            columns = holes.columns.T[holes.pattern]
            spread = np.moveaxis(left[..., holes.pattern, own if left.shape[-1] > 1 else 0], -1, 0)  # one, where tied
            some = noise[at[:, None], np.arange(columns.shape[1])]
            if spread.ndim == 2:
                some = np.sqrt(spread) * some
            else:
                values, axes = np.linalg.eigh(spread)  # what rounds to a negative variance has none
                some = np.einsum("nij,nj->ni", axes, np.sqrt(np.maximum(values, 0.0)) * some)
            expected = mixture.means[own[:, None], columns] + part.offsets[own[:, None], holes.rows[:, None], columns]
            out[at[:, None], columns] = expected + some
    return out
