"""Report the cells of the lowest noise level: how many clusters there are, and where.

Algorithm 2 with radius 1 on the denoised points finds the centers of separated components exactly. A long cluster is
covered by several balls, though, and a single Gaussian should be one cell: so neighbours are merged while one Gaussian
explains their points better than two, by the classification likelihood with a BIC charge, which needs only the additive
moments of the cells. (Two equal round clusters merge below a distance of 3.5 of their standard deviations.) In many
dimensions a cell may also be a ball of the known noise, which is charged for fewer parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, namespace, product, to_numpy
from scoremix.features import packed, packed_size
from scoremix.learning.coordinates import encoded_rows
from scoremix.learning.gkl.ladder import cover_size, noisy_rows
from scoremix.learning.gkl.posterior_mean import CHUNK_ROWS
from scoremix.learning.gkl.warm_starts import greedy_cover
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.gates import Voronoi
from scoremix.models.ladder import Ladder
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import SMALL_DIMENSION
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

NEIGHBOURS = 6  # A cell may merge with this many nearest cells.


@dataclass(frozen=True)
class Clusters:
    """Clusters made of cells.

    cluster (k,); centers (c, d); weights (c,).
    """

    cells: Voronoi
    cluster: NDArray[np.intp]
    centers: Floats
    weights: Floats

    def labels(self, posterior_mean: Array) -> NDArray[np.intp]:
        """Cluster of denoised points, given in the coordinates of the frame, shape (r, n)."""
        return np.asarray(self.cluster[to_numpy(self.cells.labels(posterior_mean))])

    def shares(self, points: Array, atoms: Mixture | None, noise_scale: float) -> Array:
        """Posterior probabilities of the clusters, (n, c), at points (n, r) of the frame.

        Those of the atoms under the noise that each is made of, added up; of the cells, where there are no atoms.
        """
        parts = self.cells if atoms is None else atoms
        centers = self.cells.centers if atoms is None else atoms.means
        variances = np.full(len(centers), noise_scale**2)
        _, shares = Mixture(parts.weights, centers, Spherical(variances, centers.shape[1])).evaluate(points)
        member = np.eye(len(self.weights))[self.labels(centers.T)]
        return product(shares, like(member, shares))


def find_clusters(
    source: Source, ladder: Ladder, min_weight: float, rng: np.random.Generator, n_threads: int | None = None
) -> Clusters:
    """Find the clusters of the lowest level; one pass over the source."""
    frame, inside, sigma = ladder.frame, ladder.inside(), float(ladder.sigmas[-1])
    size = cover_size(min_weight)
    y = noisy_rows(encoded_rows(source, frame, size, rng), sigma, size, rng)
    points = inside.posterior_mean(y.T, sigma)
    radius = float(np.hypot(ladder.noise_scale, sigma))
    centers, _ = greedy_cover(points, radius, min_count=max(2, int(min_weight * len(points))))
    cells = Voronoi(centers, np.full(len(centers), 1 / len(centers)))

    def statistic(chunk: Chunk) -> Floats:
        x = frame.encode(chunk.x)
        labels = cells.labels(inside.posterior_mean(x.T, 0.0).T)
        return _cell_sums(x, labels, chunk.weight, len(centers))

    sums = accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)
    groups = merge_cells(sums, frame.rank, ladder.noise_scale**2)
    total = np.array([sums[g].sum(axis=0) for g in groups])
    by_weight = np.argsort(-total[:, 0], kind="stable")
    cluster = np.empty(len(centers), dtype=np.intp)
    for number, g in enumerate(by_weight):
        cluster[groups[g]] = number
    total = total[by_weight]
    means = total[:, 1 : 1 + frame.rank] / total[:, :1]
    return Clusters(
        Voronoi(centers, sums[:, 0] / sums[:, 0].sum()),
        cluster,
        np.asarray(frame.embed(means.T)),
        total[:, 0] / total[:, 0].sum(),
    )


def _cell_sums(x: Array, labels: Array, weight: Array | None, n_cells: int) -> Floats:
    """Packed moments of every cell, shape (k, P): one product of labels and features."""
    xp = namespace(x)
    member = like(np.arange(n_cells), x)[:, None] == xp.astype(labels, x.dtype)[None, :]
    member = xp.astype(member, x.dtype)
    if weight is not None:
        member = member * weight[None, :]
    return to_numpy(product(member, packed(x).T)).astype(np.float64)


def merge_cells(sums: Floats, rank: int, floor: float) -> list[list[int]]:
    """Merge cells, best pair first, while one Gaussian is the better description of a pair."""
    filled = np.flatnonzero(sums[:, 0] > 0)
    groups = [[int(j)] for j in filled]
    values = [sums[j] for j in filled]
    n = float(sums[:, 0].sum())
    while len(groups) > 1:
        pairs = _neighbours(np.array([v[1 : 1 + rank] / v[0] for v in values]))
        alone = _penalized_likelihood(np.array(values), rank, floor, n)
        joined = _penalized_likelihood(np.array([values[i] + values[j] for i, j in pairs]), rank, floor, n)
        gains = joined - alone[pairs].sum(axis=1)
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        i, j = pairs[best]
        groups[i], values[i] = groups[i] + groups[j], values[i] + values[j]
        del groups[j], values[j]
    groups[0] += [int(j) for j in np.flatnonzero(sums[:, 0] <= 0)]
    return groups


def _neighbours(means: Floats) -> NDArray[np.intp]:
    """Pairs i < j of which one is among the nearest of the other."""
    squared = np.sum((means[:, None] - means[None]) ** 2, axis=2)
    np.fill_diagonal(squared, np.inf)
    near = np.argsort(squared, axis=1)[:, : min(NEIGHBOURS, len(means) - 1)]
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(len(means)) for j in near[i]}
    return np.array(sorted(pairs), dtype=np.intp)


def _penalized_likelihood(sums: Floats, rank: int, floor: float, n: float) -> Floats:
    """Classification log-likelihood of groups, less what their parameters are charged by BIC.

    A group is a Gaussian of its own, ``N (log N/n - log det S / 2)``, or, in many dimensions, a ball of the variance
    `floor`, whichever describes it better: a matrix is charged for more there than two clusters gain by being apart.
    """
    weight = sums[:, 0]
    mean = sums[:, 1 : 1 + rank] / weight[:, None]
    second = np.empty((len(sums), rank, rank))
    upper = np.triu_indices(rank)
    second[:, upper[0], upper[1]] = second[:, upper[1], upper[0]] = sums[:, 1 + rank :]
    scatter = second - weight[:, None, None] * mean[:, :, None] * mean[:, None, :]
    prior = rank + 1
    cov = (scatter + prior * floor * np.eye(rank)) / (weight + prior)[:, None, None]
    _, log_det = np.linalg.slogdet(cov)
    own = -0.5 * weight * log_det - packed_size(rank) / 2 * np.log(max(n, 2.0))
    if floor > 0 and rank > SMALL_DIMENSION:
        spread = np.trace(scatter, axis1=1, axis2=2) / floor - weight * rank
        ball = -0.5 * (spread + weight * rank * np.log(floor)) - (rank + 1) / 2 * np.log(max(n, 2.0))
        own = np.maximum(own, ball)
    return np.asarray(weight * np.log(weight / n) + own)
