"""Rows in memory with their posterior under a mixture, and a way to look at every component's rows at once.

Questions about single components (would two explain these rows better? is this one needed?) concern the rows that the
component has a share in. Asked component by component they cost more in calls than in arithmetic; so rows are gathered
to *batches*: segments of similar length, padded to the longest, on which one batched product serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats, product, to_numpy
from scoremix.learning.em.candidates import CandidatePass, Step
from scoremix.learning.em.em import FrameSums, e_step
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.models.covariance.interface import Covariance
from scoremix.models.log_joint import LogJoint
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource, Source

Ints = NDArray[np.intp]

BATCH_NUMBERS = 2**21  # Numbers that the rows of a batch hold, at most about: 16 MB.


FAR_OUT = 1e4  # Largest coordinate, of rows of unit width, that single precision holds to a thousandth.
SQUARED = 1e16  # Largest coordinate whose square, too, is taken in single precision.
LEAST_MASS = 1e-30  # Rows that a component without any is taken to have.
MANY_COLUMNS, SUMMED_ROWS = 64, 512  # Features of so many columns are made of so many rows at a time.
SCAN_ROWS = 65536  # Rows whose weights are added up at a time.


@dataclass(frozen=True)
class InMemorySamples:
    """Rows in memory.

    x (n, d); weight (n,).
    """

    x: Floats
    weight: Floats

    @property
    def step(self) -> Step:
        """The E-step that the rows need."""
        return self._candidates

    @cached_property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum(dtype=np.float64))

    @cached_property
    def unequal(self) -> Floats | None:
        """The weights, None where all are the same."""
        return None if np.ptp(self.weight) == 0 else self.weight

    @cached_property
    def source(self) -> Source:
        """The rows for a learner."""
        return ArraySource(self.x, self.unequal)

    @cached_property
    def _candidates(self) -> CandidatePass:
        """E-steps on the rows: what one mixture showed of them helps with the next, which is alike."""
        return CandidatePass(e_step)

    def single(self) -> InMemorySamples:
        """The same rows in single precision, unless one is too far out to be told from its neighbours in it."""
        return self._single

    @cached_property
    def _single(self) -> InMemorySamples:
        if max(self.x.max(initial=0.0), -self.x.min(initial=0.0)) > FAR_OUT:
            return self
        return InMemorySamples(self.x.astype(np.float32), self.weight.astype(np.float32))

    @property
    def whole(self) -> InMemorySamples:
        """The rows without missing values."""
        return self

    def completed(self, mixture: Mixture) -> InMemorySamples:
        """The rows without missing values, by a mixture."""
        return self

    def ordered(self) -> Self:
        """The same rows by their lengths: then draws do not depend on the user's order of rows and columns."""
        order = self.order()
        return replace(self, x=self.x[order], weight=self.weight[order])

    def order(self) -> Ints:
        """Positions of the rows, the shortest first."""
        x = self.x
        lengths = np.einsum("ij,ij->i", x, x)
        if not lengths.max(initial=0.0) <= SQUARED**2:
            x = x.clip(-SQUARED, SQUARED)
            lengths = np.einsum("ij,ij->i", x, x)
        lengths = lengths.astype(np.float32)  # equal ones stay so, however they round
        order = np.argsort(lengths, kind="stable")
        equal = np.diff(lengths[order]) == 0
        tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
        among = order[tied]
        order[tied] = among[np.lexsort((*x[among].T.astype(np.float32), lengths[among]))]
        return order

    def like(self, other: InMemorySamples) -> Self:
        """The same rows in the precision of others."""
        return replace(self, x=self.x.astype(other.x.dtype), weight=self.weight.astype(other.x.dtype))

    def posterior(self, mixture: Mixture) -> Posterior:
        """Evaluate a mixture at all rows."""
        log_density, shares = self._candidates.evaluate(self.source, mixture) or mixture.evaluate(self.x)
        return Posterior(self, mixture, log_density, np.asarray(shares))


@dataclass(frozen=True)
class Posterior:
    """What a mixture says about rows.

    log_density (n,); shares (n, k).
    """

    rows: InMemorySamples
    mixture: Mixture
    log_density: Floats
    shares: Floats

    @cached_property
    def log_likelihood(self) -> float:
        """Mean log density."""
        return float(np.sum(self.rows.weight * self.log_density, dtype=np.float64)) / self.rows.total

    @cached_property
    def expected(self) -> ExpectedMoments:
        """Moments of the components."""
        rows, mixture = self.rows, self.mixture
        if rows.whole is rows and mixture.covariance.is_diagonal and mixture.n_features >= MANY_COLUMNS:
            joint = mixture.joint(rows.x.itemsize)
            if len(joint.frames) == 1:
                return self._sums(joint).expected(joint, mixture.covariance)
        return rows.step(rows.source, mixture, 1)

    def _sums(self, joint: LogJoint) -> FrameSums:
        """The sums of a pass from the shares, which are known: in many columns, half of the pass."""
        x, covariance, total = self.rows.x, self.mixture.covariance, self.rows.total
        sums = FrameSums({}, {}, self.log_likelihood * total, total)
        for start in range(0, len(x), SUMMED_ROWS):
            here = slice(start, start + SUMMED_ROWS)
            given = self.shares[here] * self.rows.weight[here, None]
            phi = covariance.features(x[here].T, joint.frames[0])
            sums += FrameSums({0: product(given.T, phi.T).astype(np.float64)}, {}, 0.0, 0.0)
        return sums

    @property
    def unshrunk(self) -> Covariance:
        """Covariances of the components by their rows alone, about the present means."""
        expected = self.expected
        mass = expected.mass if self.mixture.covariance.is_shared else np.maximum(expected.mass, LEAST_MASS)
        return self.mixture.covariance.fitted(mass, expected.second, 0.0)


def load_samples(source: Source, most: int, rng: np.random.Generator) -> InMemorySamples:
    """All rows of a source with their weights or, where there are more than `most`, as many drawn by weight."""
    if source.n_rows > most:
        x = to_numpy(source.draw(most, rng)).astype(np.float64)
        return InMemorySamples(x, np.ones(len(x)))
    chunk = next(iter(source.chunks(source.n_rows)))
    x = to_numpy(chunk.x).astype(np.float64, copy=False)
    if chunk.weight is None:
        return InMemorySamples(x, np.ones(len(x)))
    weight = to_numpy(chunk.weight).astype(np.float64)
    return InMemorySamples(x[weight > 0], weight[weight > 0])


def total_weight(source: Source) -> float:
    """Sum of the weights of all rows."""
    chunk = next(iter(source.chunks(1)))
    if chunk.weight is None:
        return float(source.n_rows)
    return float(sum(to_numpy(chunk.weight).sum(dtype=np.float64) for chunk in source.chunks(SCAN_ROWS)))


@dataclass(frozen=True)
class Batch:
    """Segments of similar length.

    items (g,); index (g, m); valid (g, m), 1 where an entry is one, 0 where it is padding.
    """

    items: Ints
    index: Ints
    valid: Floats


def ragged_batches(starts: Ints, sizes: Ints, width: int) -> Iterator[Batch]:
    """Group segments of a list by length; entries hold `width` numbers each, empty segments are left out."""
    bucket = np.ceil(np.log2(np.maximum(sizes, 1))).astype(int)
    for level in np.unique(bucket[sizes > 0]):
        members = np.flatnonzero((bucket == level) & (sizes > 0))
        longest = int(sizes[members].max())
        step = max(1, BATCH_NUMBERS // (longest * width))
        for first in range(0, len(members), step):
            items = members[first : first + step]
            place = np.arange(int(sizes[items].max()))
            valid = place < sizes[items][:, None]
            index = starts[items][:, None] + np.where(valid, place, 0)
            yield Batch(items, index, valid.astype(np.float32))
