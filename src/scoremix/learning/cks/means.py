"""Crude estimates: a few means and covariances near every component of a mixture of general Gaussians.

Components may coincide, overlap or cross; all that is asked is that each true mean and covariance has *some* candidate
within a constant times the scale of the components (CKS Lemma 9). That is enough to cut space into cells in which
polynomials of low degree express the score (Algorithm 5, `scoremix.learning.cks.cells`).

* *Means* (Algorithm 2): V = top k directions of the second moment M of the data, here about their mean, which makes the
  result move with the data. What V leaves of a component of weight w is at most ``sqrt(lambda_(k+1)(M) / w)``: for
  every unit v outside, ``w (v . m)^2 <= v^T M v``. As ``lambda_(k+1) <= beta``, the largest variance of a component,
  this is the paper's ``O(sqrt(beta))``.
* *Covariances* (Algorithm 3): `scoremix.learning.cks.covariances`.

Within V the paper takes nets, whose size is exponential in k. The default takes what the data show: centers of
Lloyd's cells of projected rows, and local second moments. How many means and covariances there should be, nobody
knows; so `crude_sets` offers several sets, and the held-out denoising loss chooses.

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithms 2 and 3, Lemma 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scoremix.arrays import Floats, product, to_numpy
from scoremix.learning.cks.covariances import (
    MomentBlock,
    ball_net,
    covariance_blocks,
    local_covariances,
    most_used,
    net_covariances,
)
from scoremix.learning.em.seeding import d2_seeds, lloyd
from scoremix.learning.moments import top_subspace
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.samples.source import Source

ROWS = 8000  # Rows that candidates are made from, at most: the budget of the default.
LLOYD_STEPS = 30  # Most steps that candidate means are moved by.


@dataclass(frozen=True)
class MeanSubspace:
    """Where the means are (Algorithm 2).

    mean (d,); basis (d, r).
    """

    mean: Floats
    basis: Floats
    rest: float

    def embed(self, coordinates: Floats) -> Floats:
        """Points (m, d) from their coordinates (m, r)."""
        return np.asarray(self.mean + coordinates @ self.basis.T)


def mean_subspace(source: Source, n_components: int, *, n_threads: int | None = None) -> MeanSubspace:
    """Find the subspace near which all means are (Algorithm 2, the eigendecomposition).

    Returns (k, d).

    One pass of cost O(n d^2), then O(d^3).
    """
    rank, d = min(n_components, source.n_features), source.n_features
    spectrum = top_subspace(source, min(rank + 1, d), n_threads=n_threads)
    rest = float(max(0.0, spectrum.variances[rank])) if rank < d else 0.0
    return MeanSubspace(spectrum.mean, np.ascontiguousarray(spectrum.axes[:, :rank]), rest)


def clustered_means(rows: Floats, subspace: MeanSubspace, n_candidates: int, rng: np.random.Generator) -> Floats:
    """Candidate means from the data: centers of the cells of projected rows, seeded by D^2 sampling.

    rows (m, d) -> (a, d).
    """
    projected = product(rows - subspace.mean, subspace.basis)
    centers = lloyd(projected, d2_seeds(projected, n_candidates, rng), rng, LLOYD_STEPS)
    return subspace.embed(centers)


def net_means(subspace: MeanSubspace, radius: float, spacing: float) -> Floats:
    """Candidate means from a net (Algorithm 2 as published).

    Returns (a, d).

    ValueError: If the net is too large: it is exponential in k.
    """
    return subspace.embed(ball_net(radius, spacing, subspace.basis.shape[1]))


def cells_of_means(means: Floats, basis: Floats) -> LikelihoodRatio:
    """Cells of the mean part alone, every candidate by itself; the covariance, the identity, is never asked for."""
    a, d = means.shape
    one = np.zeros(1, dtype=np.intp)
    return LikelihoodRatio(means, np.arange(a), np.eye(d)[None], one, basis, np.full(a, 1 / a))


def add_covariances(cells: LikelihoodRatio, covariances: Floats) -> LikelihoodRatio:
    """The same means, every one of these covariances by itself."""
    n_cells = len(cells.means) * len(covariances)
    kinds = np.arange(len(covariances))
    return replace(cells, covariances=covariances, kinds=kinds, weights=np.full(n_cells, 1 / n_cells))


def crude_estimates(
    source: Source,
    n_components: int,
    rng: np.random.Generator,
    *,
    candidates: str = "data",
    n_means: int | None = None,
    n_covariances: int | None = None,
    n_threads: int | None = None,
) -> LikelihoodRatio:
    """Estimate means and covariances crudely (Algorithms 2 and 3).

    ValueError: If `candidates` is not known, or a net is too large.

    At most ten passes of O(n d^2 k), and O(m d^2 k) per round on m <= 8000 rows. Nets are about the candidates from the
    data, spaced by the widest standard deviation (means) and variance (covariances) that these leave.
    """
    if candidates not in ("data", "net"):
        raise ValueError(f"candidates={candidates!r} is not known: choose 'data' or 'net'.")
    a, b = n_means or n_components, n_covariances or n_components
    rows = to_numpy(source.draw(ROWS, rng)).astype(np.float64)
    subspace = mean_subspace(source, n_components, n_threads=n_threads)
    means, is_net = clustered_means(rows, subspace, a, rng), candidates == "net"
    cells = cells_of_means(_used_net_means(rows, subspace, means, a) if is_net else means, subspace.basis)
    blocks = covariance_blocks(source, cells, n_components, rng, n_threads)
    covariances = local_covariances(rows, cells, blocks, b, rng)
    return add_covariances(cells, _used_net_covariances(rows, cells, blocks, covariances, b) if is_net else covariances)


def _used_net_means(rows: Floats, subspace: MeanSubspace, guess: Floats, n_most: int) -> Floats:
    """The net about the data, reduced to the points that most rows are nearest to."""
    z = rows - guess[cells_of_means(guess, subspace.basis).nearest(rows.T)]
    spacing = float(np.sqrt(np.linalg.eigvalsh(z.T @ z / len(z))[-1]))
    radius = float(np.linalg.norm(guess - subspace.mean, axis=1).max()) + spacing
    net = net_means(subspace, radius, spacing)
    counts = np.bincount(cells_of_means(net, subspace.basis).nearest(rows.T), minlength=len(net))
    return net[np.argsort(-counts, kind="stable")[: min(n_most, int(np.count_nonzero(counts)))]]


def _used_net_covariances(
    rows: Floats, cells: LikelihoodRatio, blocks: tuple[MomentBlock, ...], guess: Floats, n_most: int
) -> Floats:
    """The nets about the local second moments, reduced to the members that win the tests of most rows."""
    variances = np.linalg.eigvalsh(guess)
    radius = float(np.linalg.norm(guess, axis=(1, 2)).max())
    net = net_covariances(blocks, radius, float(variances.max()), float(variances.min()))
    return net[most_used(rows, add_covariances(cells, net), n_most)]


def crude_sets(
    source: Source, n_components: int, rng: np.random.Generator, n_threads: int | None = None
) -> tuple[LikelihoodRatio, ...]:
    """Candidate sets to choose from: one mean, k means or 2 k, with one covariance, k or 2 k.

    One mean and several covariances are what crossed components need; several means and one covariance are Voronoi
    cells; more candidates than components over-cover, which long thin components need.
    """
    k = n_components
    sizes = [(1, 1)] if k == 1 else [(1, k), (1, 2 * k), (k, 1), (k, k), (2 * k, 1), (2 * k, 2 * k)]
    return tuple(crude_estimates(source, k, rng, n_means=a, n_covariances=b, n_threads=n_threads) for a, b in sizes)
