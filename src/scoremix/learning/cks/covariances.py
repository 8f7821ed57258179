"""Candidate covariances of a mixture of general Gaussians (CKS Algorithm 3).

Let U hold the axes of the candidate means, W those of the complement, and z = x - m(x) with m(x) the candidate mean
nearest to x in U. The matrix ``z z^T`` has three blocks,

    00: U^T z z^T U,    01: U^T z z^T W,    11: W^T z z^T W,

and of each, as a vector q, the top k directions of its second moment ``T = E[q q^T]`` are kept. They hold what the
blocks of the covariances have in common: a component of weight w with mean block q_i has, for every unit v outside,
``w (v . q_i)^2 <= v^T T v <= lambda_(k+1)(T)``, so at most ``sqrt(lambda_(k+1) / w)`` of q_i is lost in the Frobenius
norm. That is the certificate behind the paper's Lemma 9, and it holds of the sample itself, without any constant.

The block 11 has d^2 entries, its T d^4: nothing of that size is ever made. T is only applied to a few matrices V,
``T V = E[(a^T V b) a b^T]``, s at a time, by randomised subspace iteration: O(n d^2 s) per pass, s = k + 8. Where a
block has no more directions than that, one pass is exact.

Candidates are sums ``Q00 + Q01 + Q01^T + Q11`` from these subspaces: of the local second moments of cells (default), or
of nets, whose size is exponential in k.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithm 3 and Lemma 9; Halko, Martinsson and Tropp, SIAM Review
2011 (subspace iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as every_pair

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats, like, namespace, product, to_numpy
from scoremix.learning.em.seeding import d2_seeds, lloyd
from scoremix.models.likelihood_ratio import THINNEST, LikelihoodRatio
from scoremix.samples.reduce import accumulate, add_fields
from scoremix.samples.source import Chunk, Source

CHUNK_ROWS = 8192  # Rows of a chunk of second moments.

# Sketches beyond the directions that are asked for, and passes before the last, where a block is not done exactly.
OVERSAMPLE, ITERATIONS = 8, 2

MAX_NET = 20_000  # Most points of a net.
ROUNDS = 10  # Rounds of tests and local moments.


@dataclass(frozen=True)
class MomentBlock:
    """The leading subspace of a block of second moments.

    left, right (d, a); basis (q, a, b).
    """

    left: Floats
    right: Floats
    basis: Floats
    rest: float

    def coefficients(self, matrices: Floats) -> Floats:
        """Coordinates of symmetric matrices (c, d, d) in the subspace, shape (c, q)."""
        inner = self.left.T @ matrices @ self.right
        return np.asarray(inner.reshape(len(matrices), -1) @ self.basis.reshape(len(self.basis), -1).T)

    def matrices(self, coefficients: Floats) -> Floats:
        """Symmetric matrices (c, d, d) of these coordinates; the block 01 stands on both sides of the diagonal."""
        inner = np.tensordot(coefficients, self.basis, axes=1)
        whole = self.left @ inner @ self.right.T
        return np.asarray(whole if self.left is self.right else whole + np.swapaxes(whole, 1, 2))


def project(blocks: tuple[MomentBlock, ...], matrices: Floats) -> Floats:
    """Nearest matrices with all blocks in their subspaces: ``Q00 + Q01 + Q01^T + Q11``, (c, d, d) -> (c, d, d)."""
    return np.asarray(sum(block.matrices(block.coefficients(matrices)) for block in blocks))


@dataclass(frozen=True)
class SketchSums:
    """T applied to s matrices, shape (s, a, b), times the weight behind it."""

    sums: Floats
    weight: float

    __add__ = add_fields


def covariance_blocks(
    source: Source, cells: LikelihoodRatio, n_directions: int, rng: np.random.Generator, n_threads: int | None = None
) -> tuple[MomentBlock, ...]:
    """Find the leading subspaces of the recentered blocks (Algorithm 3, its three eigendecompositions).

    Per block one pass where it has at most k + 8 directions, else 3; each O(n a b (k + 8)) for blocks of a x b entries.
    """
    u = cells.basis
    w = np.linalg.svd(u, full_matrices=True)[0][:, u.shape[1] :] if u.shape[1] else np.eye(len(u))
    sides = [(a, b) for a, b in ((u, u), (u, w), (w, w)) if a.shape[1] and b.shape[1]]
    return tuple(_leading(source, cells, a, b, n_directions, rng, n_threads) for a, b in sides)


def _leading(
    source: Source,
    cells: LikelihoodRatio,
    left: Floats,
    right: Floats,
    n_directions: int,
    rng: np.random.Generator,
    n_threads: int | None,
) -> MomentBlock:
    """Subspace iteration for one block, ended by the eigenvectors within the last subspace."""
    (a, b), symmetric = (left.shape[1], right.shape[1]), left is right
    dimension = a * (a + 1) // 2 if symmetric else a * b
    sketches = rng.standard_normal((min(dimension, n_directions + OVERSAMPLE), a, b))
    if symmetric:
        sketches = sketches + np.swapaxes(sketches, 1, 2)
    for _ in range(1 if len(sketches) == dimension else 1 + ITERATIONS):
        flat = np.linalg.qr(sketches.reshape(len(sketches), -1).T)[0].T  # (s, a b)
        tried = flat.reshape(-1, a, b)

        def statistic(chunk: Chunk, tried: Floats = tried) -> SketchSums:
            return apply_second_moment(chunk, cells, left, right, tried)

        applied = accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)
        sketches = applied.sums / applied.weight
    within = flat @ sketches.reshape(len(sketches), -1).T
    values, vectors = np.linalg.eigh((within + within.T) / 2)
    order = np.argsort(values)[::-1]
    basis = np.tensordot(vectors[:, order[:n_directions]].T, tried, axes=1)
    return MomentBlock(
        left, right, basis, float(max(0.0, values[order[n_directions]])) if n_directions < len(order) else 0.0
    )


def apply_second_moment(chunk: Chunk, cells: LikelihoodRatio, left: Floats, right: Floats, tried: Floats) -> SketchSums:
    """``sum w (a^T V b) a b^T`` of every V in `tried`, with a and b the two sides of z; cost O(n a b s)."""
    xp, y = namespace(chunk.x), chunk.x.T
    z = y - xp.take(like(cells.means.T, y), cells.nearest(y), axis=1)
    a, b = product(like(left.T, y), z), product(like(right.T, y), z)
    sums = np.empty(tried.shape)
    for i, matrix in enumerate(tried):
        form = xp.sum(a * (product(like(matrix, y), b)), axis=0)
        if chunk.weight is not None:
            form = form * chunk.weight
        sums[i] = to_numpy(product(a * form[None, :], b.T))
    return SketchSums(sums, float(y.shape[1] if chunk.weight is None else xp.sum(chunk.weight)))


def local_covariances(
    rows: Floats, cells: LikelihoodRatio, blocks: tuple[MomentBlock, ...], n_candidates: int, rng: np.random.Generator
) -> Floats:
    """Candidates from the data: local second moments, projected on the subspaces.

    Rows are first parted by the shape of ``z z^T / |z|^2`` within the subspaces (this alone tells crossed components of
    one mean apart), then a few rounds of likelihood-ratio tests and second moments of what they part.

    rows (m, d) -> (c, d, d).

    O(m d^2 c) per round, 10 rounds.
    """
    z = rows - cells.means[cells.nearest(rows.T)]
    labels = np.zeros(len(rows), dtype=np.intp)
    if n_candidates > 1:
        shapes = np.concatenate([_row_coefficients(block, z) for block in blocks], axis=1)
        shapes /= np.maximum(np.sum(z**2, axis=1), np.finfo(float).tiny)[:, None]
        centers = lloyd(shapes, d2_seeds(shapes, n_candidates, rng), rng, ROUNDS)
        labels = np.argmin(((shapes[:, None, :] - centers) ** 2).sum(axis=2), axis=1)
    covariances = _moments(z, labels, blocks)
    for _ in range(ROUNDS if n_candidates > 1 else 0):
        one_each = np.arange(len(covariances))
        tested = LikelihoodRatio(cells.means, cells.groups, covariances, one_each, cells.basis, np.ones(1))
        covariances = _moments(z, np.asarray(tested.likeliest(z.T, 0.0)), blocks)
    return covariances


def _row_coefficients(block: MomentBlock, z: Floats) -> Floats:
    """Coordinates of the block of ``z z^T`` of every row, shape (m, q); no d x d matrix per row."""
    a, b = z @ block.left, z @ block.right
    return np.stack([np.einsum("na,na->n", a @ matrix, b) for matrix in block.basis], axis=1)


def _moments(z: Floats, labels: NDArray[np.intp], blocks: tuple[MomentBlock, ...]) -> Floats:
    """Projected second moments of the parts that have rows enough, shape (c, d, d)."""
    counts = np.bincount(labels)
    kept = np.flatnonzero(counts > z.shape[1])
    if not len(kept):  # fewer rows than dimensions
        kept, labels, counts = np.array([0]), np.zeros_like(labels), np.array([len(labels)])
    raw = np.array([z[labels == j].T @ z[labels == j] / counts[j] for j in kept])
    variances = np.linalg.eigvalsh(raw)
    return clip_eigenvalues(project(blocks, raw), float(variances.min()), float(variances.max()))


def clip_eigenvalues(matrices: Floats, lowest: float, highest: float) -> Floats:
    """Symmetric matrices with their eigenvalues kept in a range, and positive in any case."""
    values, axes = np.linalg.eigh(matrices)
    values = np.clip(values, max(lowest, THINNEST * highest), highest)
    return np.asarray((axes * values[:, None, :]) @ np.swapaxes(axes, 1, 2))


def ball_net(radius: float, spacing: float, rank: int) -> Floats:
    """Points so that every point of a ball has one within `spacing`.

    radius, spacing: of the ball about 0, and largest distance to the nearest point of the net, > 0 -> (m, r).

    ValueError: If the grid has more than `MAX_NET` points.
    """
    step = 2 * spacing / np.sqrt(max(rank, 1))
    along = step * np.arange(-np.ceil(radius / step), np.ceil(radius / step) + 1)
    if rank * np.log(len(along)) > np.log(MAX_NET):
        raise ValueError(
            f"A net of spacing {spacing:g} of a ball of radius {radius:g} in {rank} dimensions has {len(along)}^{rank} "
            f"points, more than {MAX_NET}: use candidates from the data, or a wider spacing."
        )
    grid = np.array(list(every_pair(along, repeat=rank)), dtype=np.float64).reshape(len(along) ** rank, rank)
    return np.asarray(grid[np.linalg.norm(grid, axis=1) <= radius + spacing])


def net_covariances(blocks: tuple[MomentBlock, ...], radius: float, spacing: float, lowest: float) -> Floats:
    """Candidates from nets of all subspaces.

    spacing (blocks 00 and 11 count once, 01 twice) -> (c, d, d).

    ValueError: If that has more than `MAX_NET` members.
    """
    nets = [ball_net(radius, spacing, len(block.basis)) for block in blocks]
    size = int(np.prod([len(net) for net in nets]))
    if size > MAX_NET:
        raise ValueError(
            f"Nets of spacing {spacing:g} of all blocks have {size} members, more than {MAX_NET}: use candidates from "
            "the data, or a wider spacing."
        )
    total = np.zeros((1, *[len(blocks[0].left)] * 2))
    for block, net in zip(blocks, nets, strict=True):
        total = (total[:, None] + block.matrices(net)[None, :]).reshape(-1, *total.shape[1:])
    return clip_eigenvalues(total, lowest, 2 * radius)  # |S|^2 = |00|^2 + 2 |01|^2 + |11|^2


def most_used(rows: Floats, cells: LikelihoodRatio, n_most: int) -> NDArray[np.intp]:
    """Candidate covariances that win the tests of most rows, at most `n_most`, most used first: their indices."""
    z = rows - cells.means[cells.nearest(rows.T)]
    values, axes = np.linalg.eigh(cells.covariances)
    precisions = (axes / values[:, None, :]) @ np.swapaxes(axes, 1, 2)
    logs = -np.log(values).sum(axis=1)
    wins = np.zeros(len(logs), dtype=np.intp)
    for some in np.array_split(z, max(1, len(z) * len(logs) // 2**22)):
        outer = (some[:, :, None] * some[:, None, :]).reshape(len(some), -1)
        forms = outer @ precisions.reshape(len(logs), -1).T
        wins += np.bincount(np.argmax(logs - forms, axis=1), minlength=len(logs))
    return np.asarray(np.argsort(-wins, kind="stable")[: min(n_most, int(np.count_nonzero(wins)))])
