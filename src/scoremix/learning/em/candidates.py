"""Passes of EM that look only at the pairs of a row and a component that matter.

In many dimensions a row has a share worth mentioning in a few components only, and these hardly change from pass to
pass. So `CandidatePass` remembers for every pair how far the row is from the component at least, in standard
deviations, and moves this bound along as the parameters change. With ``z = U^T (x - m)`` before and
``z' = U'^T (x - m')`` after,

    |z'| >= |z| / s - |U'^T (m' - m)|,    s^2 the largest eigenvalue of U^T S' U,

for U the old factor of the precision and S' the new covariance. A pair whose bound says that its share is below e^-28
(e^-20 of rows of single precision) is left out; all others are looked at, and their bounds are exact again. Nothing
is ever lost: the densities of the rows, by which shares are judged, come of the pairs that were looked at, so they
are lower bounds themselves; a pair which they do not rule out is looked at after all. Elkan's and Hamerly's bounds do
this for k-means.

The bounds of a chunk of rows belong to the chunk, so that chunks can be anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like
from scoremix.learning.em.by_component import MIN_CHUNK, Posterior, chunk_rows
from scoremix.learning.em.expected import ComponentSums, ExpectedMoments
from scoremix.models.by_component import (
    ALL,
    CUT,
    ROUNDING,
    ComponentJoint,
    Pairs,
    cost_by_component,
    cost_together,
    pays_by_component,
    rows_of,
)
from scoremix.models.covariance.full import Full
from scoremix.models.log_joint import LogJoint, itemsize_of
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate, even_chunks
from scoremix.samples.source import Chunk, Source

Step: TypeAlias = Callable[[Source, Mixture, int | None], ExpectedMoments]  # An E-step.
LookAt: TypeAlias = Callable[[Chunk], Posterior]  # What the rows of a chunk are.

Ints: TypeAlias = NDArray[np.intp]

FARTHEST = 1e18  # Standard deviations that are remembered, at most: their squares are numbers of single precision.

# Components and dimensions for which pairs may be left out. Bounds take so much memory, or no more than the samples.
FEWEST_COMPONENTS, FEWEST_FEATURES, MOST_PAIRS = 4, 16, 2**26

# Nanoseconds that bounds cost per pair, and per d^3 of a component; how many times as many pairs as matter are looked
# at; and how much better this must be.
BOUND, CHANGE, SLACK, BETTER = 10.0, 0.4, 1.6, 0.9

# Rows on which shares are counted, at least and at most, and of how many there are one.
LEAST_PROBES, PROBES, PROBED = 16, 512, 128
RARER = 3  # By this the passes between two counts grow.


def joint_of(mixture: Mixture) -> ComponentJoint:
    """What is asked of a mixture component by component."""
    assert isinstance(mixture.covariance, Full)
    return ComponentJoint(mixture.weights, mixture.means, mixture.covariance)


@dataclass(frozen=True)
class Change:
    """By how much distances may have fallen: ``|z'| >= |z| kept - shift``, with z of the component that was before.

    before (k,); kept (k,), 0 where nothing is known; shift (k,).
    """

    before: Ints
    kept: Floats
    shift: Floats

    @classmethod
    def between(cls, old: ComponentJoint, new: ComponentJoint) -> Change:
        """The bound of all components; O(d^3) for each that has changed.

        Between components of one number that stand in their places EM has moved; else some have been split, merged or
        left out, and those that are the same are found again.
        """
        before = _places(old, new)
        known = before >= 0
        same = known & np.all(old.means[before] == new.means, axis=1)
        same[same] = [
            np.array_equal(old.covariance.values[before[j]], new.covariance.values[j]) for j in np.flatnonzero(same)
        ]
        if len(old.means) == len(new.means) and np.all(before[same] == np.flatnonzero(same)):
            before, known = np.arange(len(before)), np.ones(len(before), dtype=bool)
        else:
            known = same
        kept, shift = np.where(known, 1.0, 0.0), np.zeros(len(before))
        moved = known & ~same
        if np.any(moved):
            kept[moved], shift[moved] = _fall(old, before[moved], new, np.flatnonzero(moved))
        return cls(np.where(known, before, 0), kept, shift)


def _places(old: ComponentJoint, new: ComponentJoint) -> Ints:
    """Where the means of components were; -1 where they are new."""
    places = {mean.tobytes(): place for place, mean in enumerate(old.means)}
    return np.array([places.get(mean.tobytes(), -1) for mean in new.means], dtype=np.intp)


def _fall(old: ComponentJoint, before: Ints, new: ComponentJoint, now: Ints) -> tuple[Floats, Floats]:
    factor, values, d = old.factor[before], new.covariance.values[now], old.means.shape[1]
    relative = np.swapaxes(factor, 1, 2) @ values @ factor - np.eye(d)
    # The norm of E^4 bounds the fourth power of every eigenvalue of E.
    squared = relative @ relative
    spread = np.sqrt(np.sqrt(_norms(squared @ squared)))
    rounding = np.finfo(np.float64).eps * d * _norms(factor) ** 2 * _norms(values)
    shift = np.linalg.norm((new.means[now] - old.means[before])[:, None, :] @ new.factor[now], axis=2)[:, 0]
    return 1 / np.sqrt(1 + spread + rounding), shift


def _norms(matrices: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("kij,kij->k", matrices, matrices)))


@dataclass
class Bounds:
    """What is remembered of the rows of a chunk.

    radius (k, n): standard deviations from the means, at least; log_density (n,) in the last pass; looked: pairs that
    it looked at.
    """

    radius: NDArray[np.float32]
    log_density: Floats
    looked: int

    def move(self, change: Change, rounding: float) -> None:
        """To the next parameters."""
        if not np.array_equal(change.before, np.arange(len(self.radius))):
            self.radius = self.radius[change.before]
        self.radius *= like(change.kept * (1 - rounding), self.radius)[:, None]
        self.radius -= like(change.shift * (1 + rounding), self.radius)[:, None]
        np.maximum(self.radius, 0.0, out=self.radius)

    def note(self, joint: ComponentJoint, pairs: Pairs, rounding: float) -> None:
        """Distances as they are."""
        for k, rows, logs in pairs:
            if np.isfinite(constant := joint.constant[k]):
                distance = np.sqrt(2 * np.maximum(constant - logs, 0.0)) * (1 - rounding)
                self.radius[k, rows] = np.minimum(distance, FARTHEST)
            else:  # without a weight it matters nowhere, but where it is has to be seen once it has one
                self.radius[k, rows] = 0.0


class CandidatePass:
    """E-steps over the same rows in the same order, which remember what they saw.

    Where few pairs matter, and as long as that is so; else passes are those of `dense`, and now and then some rows are
    asked how many do.
    """

    def __init__(self, dense: Step) -> None:
        self._dense, self._wait, self._pause, self._rows = dense, 0, 1, MIN_CHUNK
        self._bounds: dict[int, Bounds] = {}
        self._joint: ComponentJoint | None = None

    def __call__(self, source: Source, mixture: Mixture, n_threads: int | None = None) -> ExpectedMoments:
        """One pass: the sums are those of a dense one."""
        if not self._bounds and not self._begins(source, mixture):
            return self._dense(source, mixture, n_threads)
        with self._moving(source, mixture) as (joint, look_at):

            def statistic(chunk: Chunk) -> ComponentSums:
                return look_at(chunk).sums(joint.means, chunk.weight)

            return accumulate(statistic, source, chunk_rows=self._rows, n_threads=n_threads).expected()

    def evaluate(self, source: Source, mixture: Mixture) -> tuple[Floats, Floats] | None:
        """Log densities (n,) and shares (n, k) of all rows; None where all pairs would have to be looked at."""
        if not self._bounds and not self._begins(source, mixture):
            return None
        answers = []
        with self._moving(source, mixture) as (joint, look_at):
            for chunk in source.chunks(self._rows):
                found = look_at(chunk)
                shares = np.zeros((len(joint.means), len(chunk.x)), dtype=chunk.x.dtype)
                for k, rows, share in found.shares(np.ones_like(found.total)):
                    shares[k, rows] = share
                answers.append((found.log_density, shares.T))
        density, all_shares = zip(*answers, strict=True)
        return np.concatenate(density), np.concatenate(all_shares)

    @contextmanager
    def _moving(self, source: Source, mixture: Mixture) -> Iterator[tuple[ComponentJoint, LookAt]]:
        """The way to look at the chunks of a source under the next mixture."""
        joint = joint_of(mixture)
        if self._joint is None:
            self._rows = even_chunks(source.n_rows, chunk_rows(joint))[1]
            together, change = mixture.joint(itemsize_of(next(iter(source.chunks(1))).x)), None
        else:
            together, change = None, Change.between(self._joint, joint)

        def look_at(chunk: Chunk) -> Posterior:
            return self._first(joint, together, chunk) if change is None else self._next(joint, change, chunk)

        try:
            yield joint, look_at
        except BaseException:  # some bounds have moved, and some have not
            self._bounds, self._joint = {}, None
            raise
        self._joint = joint
        if change is not None and np.all(change.kept > 0) and not _pays(joint, source.n_rows, self.looked):
            self._bounds, self._joint = {}, None

    @property
    def looked(self) -> float:
        """Share of the pairs that the last pass looked at."""
        return sum(b.looked for b in self._bounds.values()) / sum(b.radius.size for b in self._bounds.values())

    def _begins(self, source: Source, mixture: Mixture) -> bool:
        """Whether it is time to leave pairs out; asked less and less often."""
        self._wait -= 1
        if self._wait >= 0 or not may_leave_out(source, mixture):
            return False
        self._wait, self._pause = self._pause, RARER * self._pause
        rows = source.draw(int(np.clip(source.n_rows // PROBED, LEAST_PROBES, PROBES)), np.random.default_rng(0))
        joint = joint_of(mixture)
        pairs = joint.at_all(rows)
        least = Posterior.of(rows, pairs).log_density - CUT[itemsize_of(rows)]
        matter = sum(int(np.count_nonzero(logs > least)) for _, _, logs in pairs)
        return _pays(joint, source.n_rows, min(1.0, SLACK * matter / (len(rows) * len(joint.means))))

    def _first(self, joint: ComponentJoint, together: LogJoint | None, chunk: Chunk) -> Posterior:
        """Look at all pairs, in the faster way."""
        x, k, rounding = chunk.x, len(joint.means), ROUNDING[itemsize_of(chunk.x)]
        radius = np.empty((k, len(x)), dtype=np.float32)
        if together is not None and together.by_component is None and len(together.frames) == 1:
            parts = [x[start : start + MIN_CHUNK].T for start in range(0, len(x), MIN_CHUNK)]
            logs = np.concatenate([part.log_joint for some in parts for part in together.parts(some)], axis=1)
            pairs: Pairs = [(j, ALL, logs[j]) for j in range(k)]
        else:
            pairs, half = joint.near(x)
            if half is not None:
                radius[:] = np.sqrt(2 * half) * (1 - rounding)
        found = Posterior.of(x, pairs)
        self._bounds[chunk.start] = bounds = Bounds(radius, found.log_density, k * len(x))
        bounds.note(joint, pairs, rounding)
        return found

    def _next(self, joint: ComponentJoint, change: Change, chunk: Chunk) -> Posterior:
        """Look at what may matter by the last densities, then at what does not follow from the new ones."""
        x, bounds, rounding = chunk.x, self._bounds[chunk.start], ROUNDING[itemsize_of(chunk.x)]
        bounds.move(change, rounding)
        # Half a squared distance below this, and the share may exceed e^-28.
        least = np.square(bounds.radius)
        least *= 0.5
        least -= like(joint.constant, least)[:, None]
        asked = ~(least > _reach(bounds.log_density, x))
        pairs = joint.at(x, rows_of(asked))
        found = Posterior.of(x, pairs)
        missed = ~(least > _reach(found.log_density, x)) & ~asked
        if np.any(missed):
            pairs += joint.at(x, rows_of(missed))
            found = Posterior.of(x, pairs)
        bounds.note(joint, pairs, rounding)
        bounds.log_density, bounds.looked = found.log_density, int(np.count_nonzero(asked) + np.count_nonzero(missed))
        return found


def _reach(log_density: Array, x: Array) -> NDArray[np.float32]:
    """Half the squared distance, less the constant, beyond which a component says nothing about the rows."""
    reach = CUT[itemsize_of(x)] - log_density
    return np.asarray(reach + ROUNDING[itemsize_of(x)] * np.abs(reach), dtype=np.float32)


def may_leave_out(source: Source, mixture: Mixture) -> bool:
    """Whether passes of a run may look at fewer pairs than there are, and remember which."""
    k, d = mixture.means.shape
    is_large = k >= FEWEST_COMPONENTS and d >= FEWEST_FEATURES and source.n_rows >= PROBED
    return (
        is_large
        and isinstance(mixture.covariance, Full)
        and (source.n_rows * k <= MOST_PAIRS or k <= d)
        and isinstance(next(iter(source.chunks(1))).x, np.ndarray)
    )


def _pays(joint: ComponentJoint, n_rows: int, looked: float) -> bool:
    """Whether a pass that looks at such a share of the pairs costs less than one that looks at all."""
    k, d = joint.means.shape
    some = looked * cost_by_component(d) + BOUND + CHANGE * d**3 / n_rows
    return bool(some < BETTER * (cost_by_component(d) if pays_by_component(k, d) else cost_together(k, d)))
