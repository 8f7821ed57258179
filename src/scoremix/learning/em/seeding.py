"""Where EM starts: seeds by D^2 sampling, Lloyd steps, and the first M-step from labels.

Seeds and Lloyd steps work on a sample of the rows (all of them where they are few), which is held in memory; the first
M-step is a pass over all rows, with labels for responsibilities, on the same kernel as EM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from scoremix.arrays import Array, Floats, namespace, product, to_numpy
from scoremix.learning.em.em import (
    CHUNK_NUMBERS,
    MAX_CHUNK,
    MIN_CHUNK,
    FrameSums,
    Prior,
    m_step,
    second_moment,
    sums_by_component,
)
from scoremix.learning.em.expected import ComponentSums
from scoremix.models.by_component import ALL, pays_by_component, take_rows
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.covariance.tied import Tied
from scoremix.models.covariance.types import isotropic
from scoremix.models.log_joint import Evaluation, LogJoint, are_few_and_large
from scoremix.models.mixture import Mixture
from scoremix.noise import BLOCK, normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

# Rows that seeds are chosen from and Lloyd steps are made on, at most.
SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT = 20_000, 200

TELLING = 3  # So many columns are asked first whether rows are distinct.

MAX_LLOYD = 300  # Most Lloyd steps.

# They end when all centers together move by less than this, squared, relative to the mean variance of a column.
LLOYD_TOLERANCE = 1e-4


def initial_mixture(
    source: Source,
    n_components: int,
    kind: str,
    method: str,
    reg: float,
    rng: np.random.Generator,
    n_threads: int | None = None,
) -> Mixture:
    """Choose a start for EM.

    One pass over the rows, and O(m k d) per seed and Lloyd step on the m rows of the sample.
    """
    size = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COMPONENT * n_components)
    sample = to_numpy(source.draw(size, rng)).astype(np.float64)
    if method == "random":
        seed = int(rng.integers(2**63))
        centers = np.repeat(sample.mean(axis=0)[None, :], n_components, axis=0)

        def shares(chunk: Chunk, part: Evaluation) -> Array:
            random = normal_rows((seed,), chunk.start, chunk.stop, n_components, part.phi) ** 2
            return random / namespace(part.phi).sum(random, axis=0)[None, :]

    else:
        centers = _centers(sample, n_components, method, rng)

        def shares(chunk: Chunk, part: Evaluation) -> Array:
            return _nearest(part.log_joint)

    return _first_step(source, centers, _scale(sample, centers), kind, reg, shares, n_threads)


def mixture_of_cells(source: Source, sample: Floats, centers: Floats, kind: str, reg: float, prior: Prior) -> Mixture:
    """The mixture in which every row belongs to the nearest center; `sample` tells how large the cells are."""

    def shares(_: Chunk, part: Evaluation) -> Array:
        return _nearest(part.log_joint)

    return _first_step(source, centers, _scale(sample, centers), kind, reg, shares, None, prior)


def mixture_of_shares(source: Source, shares: Floats, centers: Floats, kind: str, reg: float, prior: Prior) -> Mixture:
    """The mixture of components that have shares (n, k) in the rows, whose means are centers (k, d)."""

    def given(chunk: Chunk, part: Evaluation) -> Array:
        some = shares[chunk.start : chunk.stop].T
        return some if part.order is None else some[:, part.order]

    return _first_step(source, centers, 1.0, kind, reg, given, None, prior)


def _scale(sample: Floats, centers: Floats) -> float:
    """Mean variance within the cells, or a little where every row is a center: labels need a scale all the same."""
    return max(_within(sample, centers), 1e-9 * float(sample.var(axis=0).mean()) + 1e-300)


def _centers(sample: Floats, k: int, method: str, rng: np.random.Generator) -> Floats:
    """Seeds, numbered by their first coordinate: the same clusters get the same labels from run to run."""
    if method == "random_from_data":
        distinct = np.unique(sample, axis=0) if len(sample) < 4 * k else sample
        centers = distinct[rng.choice(len(distinct), min(k, len(distinct)), replace=False)]
        if len(np.unique(centers, axis=0)) < k:
            centers = d2_seeds(sample, k, rng)
    else:
        centers = d2_seeds(sample, k, rng)
        if method == "kmeans":
            centers = lloyd(sample, centers, rng)
    return centers[np.lexsort(centers.T[::-1])]


def d2_seeds(x: Floats, k: int, rng: np.random.Generator, weight: Floats | None = None) -> Floats:
    """Choose k rows, each with probability proportional to its squared distance from those chosen before.

    Greedy: of ``2 + log k`` candidates the one is taken that lowers the sum of distances most (Arthur and
    Vassilvitskii, SODA 2007).

    x (m, d); weight (m,), by which distances count -> (k, d).
    """
    local = x - np.median(x, axis=0)  # beside a mean that one far row moves the digits of all others would be lost
    norms = np.sum(local**2, axis=1)
    count, share = (1.0, None) if weight is None else (weight, weight / weight.sum())
    trials = 2 + int(np.log(k))
    chosen = [int(rng.choice(len(x), p=share))]
    closest = count * _squared(local, norms, chosen[0:1])[0]
    for _ in range(1, k):
        total = closest.sum()
        if total > 0:
            candidates = np.searchsorted(np.cumsum(closest), rng.random(trials) * total).clip(max=len(x) - 1)
        else:
            candidates = rng.choice(len(x), size=trials, p=share)
        distances = np.minimum(closest, count * _squared(local, norms, candidates))
        best = int(np.argmin(distances.sum(axis=1)))
        chosen.append(int(candidates[best]))
        closest = distances[best]
    return x[chosen]


def _squared(local: Floats, norms: Floats, rows: Floats | list[int]) -> Floats:
    """Squared distances of all rows from some of them, shape (len(rows), m)."""
    scale = norms[rows][:, None] + norms
    distances = np.asarray(scale - 2 * product(local[rows], local.T))
    # What may be rounding alone is computed exactly: copies of a seed must not look like other rows.
    i, j = np.nonzero(distances <= 1e-12 * scale)
    distances[i, j] = np.sum((local[np.asarray(rows)[i]] - local[j]) ** 2, axis=1)
    return distances


def lloyd(x: Floats, centers: Floats, rng: np.random.Generator, max_steps: int = MAX_LLOYD) -> Floats:
    """Move centers to the means of their cells until they stay; a center without points is seeded anew.

    x (m, d); centers (k, d) -> (k, d).
    """
    origin = np.median(x, axis=0)
    local, centers = x - origin, centers - origin
    tolerance = LLOYD_TOLERANCE * float(local.var(axis=0).mean())
    columns = np.ascontiguousarray(local.T)
    for _ in range(max_steps):
        labels = np.argmax(product(local, centers.T) - 0.5 * np.sum(centers**2, axis=1), axis=1)
        counts = np.bincount(labels, minlength=len(centers))
        sums = np.stack([np.bincount(labels, weights=column, minlength=len(centers)) for column in columns], axis=1)
        moved = sums / np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            moved[empty] = local[rng.choice(len(local), len(empty), replace=False)]
        shift = float(np.sum((moved - centers) ** 2))
        centers = moved
        if shift <= tolerance:
            break
    return np.asarray(centers + origin)


def _within(sample: Floats, centers: Floats) -> float:
    """Mean variance of a column within the cells of the centers."""
    total = 0.0
    for start in range(0, len(sample), 4096):
        some = sample[start : start + 4096]
        nearest = np.argmax(product(some, centers.T) - 0.5 * np.sum(centers**2, axis=1), axis=1)
        total += float(np.sum((some - centers[nearest]) ** 2))
    return total / sample.size


def _nearest(log_joint: Array) -> Array:
    """One-hot responsibilities of the largest entry of every column; ties go to the first."""
    xp = namespace(log_joint)
    top = xp.argmax(log_joint, axis=0)
    return xp.astype(xp.arange(log_joint.shape[0], device=log_joint.device)[:, None] == top[None, :], log_joint.dtype)


def _first_step(
    source: Source,
    centers: Floats,
    scale: float,
    kind: str,
    reg: float,
    shares: Callable[[Chunk, Evaluation], Array],
    n_threads: int | None,
    prior: Prior | None = None,
) -> Mixture:
    """M-step from given responsibilities: one pass."""
    k, d = centers.shape
    covariance = isotropic(kind, k, d, scale)
    # One frame for "random", whose shares are drawn row by row; frames keep distant centers accurate otherwise.
    joint = LogJoint(np.full(k, 1 / k), centers, Spherical(np.full(k, scale), d))
    begun = Mixture(np.full(k, 1 / k), centers, covariance)
    is_by_component = isinstance(covariance, Full) and pays_by_component(k, d)

    def by_component(chunk: Chunk) -> ComponentSums:
        total = ComponentSums(np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)))
        for part, given, _, weight_here in _given(joint, shares, chunk):
            x = take_rows(chunk.x, ALL if part.order is None else to_numpy(part.order))
            total += ComponentSums.of(centers, x, [(j, ALL, given[j, :]) for j in range(k)])
            total.weight += weight_here
        return total

    def together(chunk: Chunk) -> FrameSums:
        total = FrameSums({}, {}, 0.0, 0.0)
        for part, given, weight, weight_here in _given(joint, shares, chunk):
            x = part.phi[1 : d + 1, :]
            if isinstance(covariance, Full) and are_few_and_large(k, d):
                sums = sums_by_component(given, part.phi[: d + 1, :])
            else:
                sums = to_numpy(product(given, covariance.features(x, np.zeros(d)).T)).astype(np.float64)
            common = {part.frame: second_moment(x, weight)} if isinstance(covariance, Tied) else {}
            total += FrameSums({part.frame: sums}, common, 0.0, weight_here)
        return total

    numbers = k + d if is_by_component else k + covariance.n_sums(d)
    rows = BLOCK * int(np.clip(CHUNK_NUMBERS // numbers, MIN_CHUNK, MAX_CHUNK) // BLOCK or 1)
    if is_by_component:
        expected = accumulate(by_component, source, chunk_rows=rows, n_threads=n_threads).expected()
    else:
        expected = accumulate(together, source, chunk_rows=rows, n_threads=n_threads).expected(joint, covariance)
    return m_step(expected, begun, reg, prior)


def _given(
    joint: LogJoint, shares: Callable[[Chunk, Evaluation], Array], chunk: Chunk
) -> Iterator[tuple[Evaluation, Array, Array | None, float]]:
    """The parts of a chunk: responsibilities times weights, (k, n), the weights, if there are any, and their sum."""
    xp, weight = namespace(chunk.x), chunk.weight
    for part in joint.parts(chunk.x.T):
        given, n = shares(chunk, part), float(part.phi.shape[1])
        if weight is None:
            yield part, given, None, n
        else:
            here = weight if part.order is None else xp.take(weight, part.order)
            yield part, given * here[None, :], here, float(xp.sum(here))


def n_distinct_rows(source: Source, at_most: int) -> int:
    """Number of distinct rows that weigh anything, or `at_most` where there are more; reads no further than it must."""
    found = np.empty((0, source.n_features))
    for chunk in source.chunks(max(1024, 2 * at_most)):
        x = to_numpy(chunk.x)
        if chunk.weight is not None:
            x = x[to_numpy(chunk.weight) > 0]
        if any(len(np.unique(column)) >= at_most for column in x[:, :TELLING].T):
            return at_most  # rows that differ in one column need no look at the others
        found = np.unique(np.concatenate([found, x]), axis=0)
        if len(found) >= at_most:
            return at_most
    return len(found)
