"""Expectation maximisation: nothing but update until converged.

One pass over the data adds up `ExpectedMoments` (`expected`); the M-step is the small solve.

`run_em` iterates passes, plain or accelerated; an accelerated step is a guess that is taken back where it lowers the
likelihood. Its stopping rule, and what it reports, are those of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, indices_like, namespace, product, to_numpy
from scoremix.learning.em.acceleration import Acceleration
from scoremix.learning.em.by_component import dense_pass, sums_of_all
from scoremix.learning.em.candidates import CandidatePass, Step, may_leave_out
from scoremix.learning.em.expected import NOTHING, ExpectedMoments
from scoremix.models.covariance.interface import CollapsedError, Covariance, representable
from scoremix.models.covariance.tied import Tied
from scoremix.models.log_joint import Evaluation, LogJoint, itemsize_of, normalize_posterior
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate, available_threads
from scoremix.samples.source import Chunk, Source

COLLAPSED = 1e-6  # Smallest variance of a component, relative to that of a typical one in the same direction.
DEAD = 1e-12  # A component with less than this share of the data keeps its mean and covariance.

# Features and responsibilities of a chunk, at most about: 2 MB in double precision, near the processor. Threads want
# longer calls, between which they would wait for the interpreter lock: 8 MB.
CHUNK_NUMBERS, THREADED_CHUNK_NUMBERS = 2**18, 2**20

# Rows of a chunk: calls must not be too short, and enough chunks must remain for the threads.
MIN_CHUNK, MAX_CHUNK = 512, 16384

# Sums are kept for so many frames; with more, every chunk is brought to the means, which takes time but no memory.
FEW_FRAMES = 8

PRODUCTS = 400  # Products of coordinates of a component's points in a chunk that cost less than a call.

# Up to this many responsibilities x features in a pass one thread does it: more would only wait for each other.
SMALL_WORK = 2**24


@dataclass
class FrameSums:
    """Sums of features about the frames of a joint: what is cheap to add; statistics about the means come of it once.

    sums (k, p); common (d, d).
    """

    sums: dict[int, Floats]
    common: dict[int, Floats]
    log_likelihood: float
    weight: float

    def __add__(self, other: FrameSums) -> FrameSums:
        """Merge the sums of two sets of rows; the left operand is overwritten."""
        for mine, theirs in ((self.sums, other.sums), (self.common, other.common)):
            for frame, values in theirs.items():
                if frame in mine:
                    mine[frame] += values
                else:
                    mine[frame] = values
        self.log_likelihood += other.log_likelihood
        self.weight += other.weight
        return self

    def expected(self, joint: LogJoint, covariance: Covariance) -> ExpectedMoments:
        """Statistics about the means."""
        total: ExpectedMoments | None = None
        for frame, sums in self.sums.items():
            mass, d = sums[:, 0], joint.means.shape[1]
            delta = joint.means - joint.frames[frame]
            first = sums[:, 1 : d + 1] - mass[:, None] * delta
            part = ExpectedMoments(mass, first, covariance.second(sums, self.common.get(frame), delta), 0.0, 0.0)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("There are no points.")
        return ExpectedMoments(total.mass, total.first, total.second, self.log_likelihood, self.weight)


def sums_of(joint: LogJoint, x: Array, weight: Array | None) -> FrameSums:
    """E-step of the points x (d, n), weights (n,) or none: softmax between the two products of the kernel."""
    xp, total = namespace(x), FrameSums({}, {}, 0.0, 0.0)
    for part in joint.parts(x):
        w = weight if weight is None or part.order is None else xp.take(weight, part.order)
        shares, norm, log_density = normalize_posterior(part.log_joint)
        if w is not None:
            log_density *= w
        scale = 1 / norm if w is None else w / norm
        weight_here = float(log_density.shape[0]) if w is None else float(xp.sum(w))
        log_likelihood = float(xp.sum(log_density, dtype=xp.float64))
        total += FrameSums(*_second_product(joint, part, shares, scale, w), log_likelihood, weight_here)
    return total


def _second_product(
    joint: LogJoint, part: Evaluation, shares: Array, scale: Array, weight: Array | None
) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Responsibilities times features, and what a tied covariance needs besides."""
    common, phi, d = {}, part.phi, joint.means.shape[1]
    if isinstance(joint.covariance, Tied):
        common[part.frame] = second_moment(phi[1 : d + 1, :], weight)
    if joint.is_stacked:
        shares *= scale[None, :]
        return {part.frame: sums_by_component(shares, phi)}, common
    if phi.shape[0] < shares.shape[0]:
        phi *= scale[None, :]  # whichever is smaller
    else:
        shares *= scale[None, :]
    return {part.frame: _double(product(shares, phi.T))}, common


def second_moment(x: Array, weight: Array | None) -> Floats:
    """Sum of ``w x x^T`` over the points x (d, n)."""
    return _double(product(x if weight is None else x * weight[None, :], x.T))


def _double(x: Array) -> Floats:
    return to_numpy(x).astype(np.float64, copy=False)


def sums_by_component(shares: Array, phi: Array) -> Floats:
    """Sums without the products of coordinates: a symmetric product per component, of the points it has."""
    xp, second, least = namespace(phi), [], NOTHING[itemsize_of(phi)]
    if isinstance(phi, np.ndarray):
        pairs = np.nonzero(shares > least)
        if len(pairs[0]) * phi.shape[0] ** 2 < PRODUCTS * shares.shape[0]:
            return _sums_of_pairs(shares, phi, *pairs)
    for k in range(shares.shape[0]):
        x, share = phi[1:, :], shares[k, :]
        mine = np.flatnonzero(to_numpy(share) > least)
        if 2 * len(mine) < x.shape[1]:
            at = indices_like(mine, phi)
            x, share = xp.take(x, at, axis=1), xp.take(share, at)
        half = x * xp.sqrt(share)[None, :]
        second.append(_double(product(half, half.T)).ravel())
    return np.concatenate([_double(product(shares, phi.T)), np.array(second)], axis=1)


def _sums_of_pairs(shares: Floats, phi: Floats, component: NDArray[np.intp], point: NDArray[np.intp]) -> Floats:
    """The same, of the pairs of a component and a point that it has a share in: no call for every component."""
    k, d = shares.shape[0], phi.shape[0] - 1
    found, first = np.unique(component, return_index=True)
    x = phi[1:, point].astype(np.float64)
    pairs = np.concatenate([np.ones((1, len(point))), x, (x[:, None, :] * x[None]).reshape(d * d, -1)])
    sums = np.zeros((k, 1 + d + d * d))
    if len(found):
        sums[found] = np.add.reduceat(pairs * shares[component, point], first, axis=1).T
    return sums


def e_step(source: Source, mixture: Mixture, n_threads: int | None = None) -> ExpectedMoments:
    """E-step: one pass over a source.

    Cost O(n k p), p features of the covariances.
    """
    support = np.flatnonzero(mixture.weights != 0)  # weights that are no numbers stay, and show
    if len(support) < mixture.n_components:
        return with_others(e_step(source, mixture.take(support), n_threads), support, mixture)
    k, p = mixture.n_components, mixture.covariance.n_sums(mixture.n_features)
    n_threads = 1 if source.n_rows * k * p <= SMALL_WORK else n_threads or available_threads()
    first = next(iter(source.chunks(1))).x
    joint = mixture.joint(itemsize_of(first))
    numbers = CHUNK_NUMBERS if n_threads == 1 else THREADED_CHUNK_NUMBERS
    if joint.by_component is not None:
        return dense_pass(source, joint.by_component, n_threads)
    # Stacked factors are walked component by component: twice the rows make these short calls longer.
    width = k * mixture.n_features // 2 + k if joint.is_stacked else k + p
    rows = int(np.clip(numbers // width, MIN_CHUNK, MAX_CHUNK))
    if len(joint.frames) <= FEW_FRAMES:

        def statistic(chunk: Chunk) -> FrameSums:
            return sums_of(joint, chunk.x.T, chunk.weight)

        sums = accumulate(statistic, source, chunk_rows=rows, n_threads=n_threads)
        return sums.expected(joint, mixture.covariance)

    def about_means(chunk: Chunk) -> ExpectedMoments:
        return expected_of(joint, chunk.x.T, chunk.weight)

    rows = min(rows * len(joint.frames), MAX_CHUNK)  # which every chunk is divided among
    return accumulate(about_means, source, chunk_rows=rows, n_threads=n_threads)


def with_others(expected: ExpectedMoments, support: NDArray[np.intp], mixture: Mixture) -> ExpectedMoments:
    """What is expected of some components, and nothing of the others, whose weight is 0."""

    def spread(values: Floats) -> Floats:
        whole = np.zeros((mixture.n_components, *values.shape[1:]))
        whole[support] = values
        return whole

    second = expected.second if mixture.covariance.is_shared else spread(expected.second)
    return ExpectedMoments(
        spread(expected.mass), spread(expected.first), second, expected.log_likelihood, expected.weight
    )


def expected_of(joint: LogJoint, x: Array, weight: Array | None) -> ExpectedMoments:
    """Statistics of the points x of shape (d, n), with weights of shape (n,) or without."""
    if joint.by_component is not None:
        return sums_of_all(joint.by_component, x.T, weight).expected()
    return sums_of(joint, x, weight).expected(joint, joint.covariance)


class Prior(Protocol):
    """What is known of covariances before data are seen."""

    def add(self, mass: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Masses (k,) and second moments of the components with those of the prior added."""


def m_step(expected: ExpectedMoments, mixture: Mixture, reg: float = 0.0, prior: Prior | None = None) -> Mixture:
    """M-step: the mixture that explains what was expected.

    ValueError: If no covariance is positive definite.
    """
    mass = expected.mass
    alive = mass > DEAD * expected.weight
    safe = np.where(alive, mass, 1.0)
    shift = np.where(alive[:, None], expected.first / safe[:, None], 0.0)
    means = mixture.means + shift
    second = recenter(expected, mixture.covariance, shift).second
    base = mass if mixture.covariance.is_shared else safe
    if prior is not None:
        base, second = prior.add(base, second)
    covariance = mixture.covariance.fitted(base, second, reg)
    if not mixture.covariance.is_shared and not np.all(alive):
        covariance = _keep(covariance, mixture.covariance, ~alive)
    return Mixture(mass / mass.sum(), means, _guarded(covariance, reg))


def _guarded(covariance: Covariance, reg: float) -> Covariance:
    """Covariances without those that collapse.

    Where all do, though they have `reg` in every direction, that is lost in the rounding of what they have in others.
    """
    try:
        return covariance.guarded(COLLAPSED)
    except CollapsedError:
        if not reg or covariance.is_diagonal:
            raise
        d = covariance.values.shape[-1]
        raised = representable(covariance.values.reshape(-1, d, d)).reshape(covariance.values.shape)
        return covariance.with_values(raised).guarded(COLLAPSED)


def recenter(expected: ExpectedMoments, covariance: Covariance, shift: Floats) -> ExpectedMoments:
    """The same statistics about means that have moved by `shift` (k, d)."""
    mass, first = expected.mass, expected.first
    left = first - mass[:, None] * shift
    second = covariance.recentered(expected.second, first, left, shift)
    return ExpectedMoments(mass, left, second, expected.log_likelihood, expected.weight)


def _keep(new: Covariance, old: Covariance, which: NDArray[np.bool_]) -> Covariance:
    values = new.values.copy()
    values[which] = old.values[which]
    return new.with_values(values)


@dataclass(frozen=True)
class EMResult:
    """What a run of EM found.

    lower_bounds: mean log likelihood before each update, of the passes that were kept.
    """

    mixture: Mixture
    lower_bounds: list[float]
    converged: bool
    n_passes: int


def run_em(
    source: Source,
    start: Mixture,
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
    reg: float = 1e-6,
    prior: Prior | None = None,
    acceleration: Acceleration | None = None,
    n_threads: int | None = None,
    step: Step = e_step,
    report: Callable[[int, float], None] | None = None,
    previous: float = -np.inf,
) -> EMResult:
    """Iterate E- and M-steps until the mean log likelihood changes by less than `tol`.

    tol: nats per sample, >= 0; max_iter: most passes, >= 1; report: called with the number of every pass and the change
    of the mean log likelihood; previous: mean log likelihood before the first pass, where the run continues another.

    ValueError: If the likelihood is not finite: numbers too large for their precision.
    """
    if step is e_step and may_leave_out(source, start):
        step = CandidatePass(e_step)
    mixture, fallback = start, start
    bounds: list[float] = []
    guessed, converged, passes = False, False, 0
    while passes < max_iter and not converged:
        passes += 1
        expected = step(source, mixture, n_threads)
        bound = expected.mean_log_likelihood
        if guessed and not bound >= bounds[-1]:
            mixture, guessed = fallback, False
            if acceleration is not None:
                acceleration.reset()
            continue
        if not np.isfinite(bound) and bounds and not np.isfinite(bounds[-1]):  # an update may yet mend the first
            raise ValueError(
                f"the log likelihood is {bound}, not a finite number: values are too large or too small for squares "
                "of this precision; scale the columns"
            )
        change = bound - (bounds[-1] if bounds else previous)
        bounds.append(bound)
        updated = m_step(expected, mixture, reg, prior)
        if report is not None:
            report(passes, change)
        # A guess may happen to change little: only a plain update tells that there is nowhere to go.
        still = abs(change) < tol
        converged = still and not guessed
        guess = None if acceleration is None or still else acceleration.propose(mixture, updated)
        mixture, fallback, guessed = (updated, updated, False) if guess is None else (guess, updated, True)
    if guessed:
        mixture = fallback
    return EMResult(mixture, bounds, converged, passes)
