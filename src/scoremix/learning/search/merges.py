"""What it costs to make one component of two.

The merged component has the moments of the pair. Its cost is exact, the fall of the mean log likelihood at the rows
that belong to either: bounds that look at the two components alone (Runnalls 2007) misjudge pairs whose weights differ
much, and pairs whose rows a third component explains as well.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from scoremix.arrays import Floats, like, product
from scoremix.learning.em.incomplete import IncompleteSamples
from scoremix.learning.em.missing import completed_parts
from scoremix.learning.em.posterior import InMemorySamples, Ints, Posterior, ragged_batches
from scoremix.models.by_component import ComponentJoint, directions_apart
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import LOG_2PI
from scoremix.models.mixture import Mixture, joined

# Pairs are looked for among so many nearest means, and components that share most rows, of every component.
NEAREST, OVERLAPPING = 4, 2

# Responsibilities that overlaps do without, and how many times fewer others there must be for these to be sparse.
LEAST_SHARE, SPARSE = 1e-12, 10
# From so many columns on pairs are looked at so many at a time, the cheapest first.
MANY_COLUMNS, SURELY = 64, 5

# Up to so many components, and of so many rows at a time, pairs without correlations are looked at all at once there.
FEW_COMPONENTS, ROWS_TOGETHER = 100, 4096

LARGE = 32  # Matrices of so many columns are asked one after the other.

# Smallest number that a logarithm is taken of, and largest log ratio of densities; both exist in single precision.
LEAST, LARGEST = 1e-30, 50.0


def near_pairs(posterior: Posterior) -> tuple[Ints, Ints]:
    """Pairs ``i < j`` in which one is among the nearest means of the other, or shares most rows with it: shape (p,).

    A wide component's mean may be far from that of a narrow one, or of a part of itself, which it covers all the same.
    """
    means, k = posterior.mixture.means, posterior.mixture.n_components
    if k < 2:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    local = means - np.median(means, axis=0)
    norms = np.sum(local**2, axis=1)
    distance = norms[:, None] + norms - 2 * product(local, local.T)
    pairs = [_nearest_pairs(distance, NEAREST), _nearest_pairs(-_overlaps(posterior), OVERLAPPING)]
    i, j = np.concatenate(pairs, axis=1)
    codes = np.unique(np.minimum(i, j) * k + np.maximum(i, j))
    return codes // k, codes % k


def _overlaps(posterior: Posterior) -> Floats:
    """Sums of ``w r_i r_j`` over the rows, (k, k); where rows belong to few components each, of those alone."""
    shares, weight = posterior.shares, posterior.rows.weight[:, None]
    there = shares > LEAST_SHARE
    n, k = shares.shape
    if SPARSE * np.count_nonzero(there) < n * k:
        few = csr_array(np.where(there, shares, 0.0))
        return np.asarray((few.multiply(weight).T @ few).toarray(), dtype=np.float64)
    return np.asarray(product((shares * weight).T, shares), dtype=np.float64)


def _nearest_pairs(order: Floats, most: int) -> Ints:
    """For every row the columns of the smallest entries but its own: pairs of shape (2, k most)."""
    k = len(order)
    np.fill_diagonal(order, np.inf)
    most = min(most, k - 1)
    chosen = np.argpartition(order, most - 1, axis=1)[:, :most].ravel()
    return np.stack([np.repeat(np.arange(k), most), chosen])


def merge_moments(mixture: Mixture, i: Ints, j: Ints) -> Mixture:
    """The components that have the moments of the pairs."""
    both = np.array([mixture.weights[i], mixture.weights[j]])
    weights, delta = both.sum(axis=0), mixture.means[j] - mixture.means[i]
    both = np.where(weights > 0, both, 1.0)  # of two that have no weight, the halves
    means = mixture.means[i] + (both[1] / both.sum(axis=0))[:, None] * delta
    return Mixture(weights, means, mixture.covariance.merged(i, j, both, delta))


def merge_pairs(mixture: Mixture, i: Ints, j: Ints) -> Mixture:
    """The mixture after disjoint pairs are merged."""
    rest = np.setdiff1d(np.arange(mixture.n_components), np.concatenate([i, j]))
    return joined([mixture.take(rest), merge_moments(mixture, i, j)])


def merge_costs(posterior: Posterior, i: Ints, j: Ints) -> Floats:
    """Fall of the mean log likelihood when a pair is merged, all else kept.

    i, j (p,) -> (p,).

    ``-sum_n v_n log(1 - r_ni - r_nj + w_m N_m(x_n) / p(x_n))`` with weights v of the rows, over their sum.
    O(q n d^2) with q pairs per component. In many columns the pairs that cost least where the means differ are looked
    at first, and those that cost more there than the cheapest of them in all are not: see `rough_costs`.
    """
    k, d = posterior.mixture.means.shape
    if isinstance(posterior.rows, IncompleteSamples):
        return _costs_in_all_rows(posterior, i, j)
    if d < max(MANY_COLUMNS, 2 * k) or posterior.mixture.covariance.is_diagonal or len(i) <= SURELY:
        return exact_costs(posterior, i, j)
    rough = rough_costs(posterior, i, j)
    costs, is_exact = rough.copy(), np.zeros(len(i), dtype=bool)
    while not is_exact.all():
        rest = np.flatnonzero(~is_exact)
        rest = rest[np.argsort(costs[rest], kind="stable")][:SURELY]
        if is_exact.any():
            rest = rest[costs[rest] < costs[is_exact].min()]
        if not len(rest):
            break
        costs[rest], is_exact[rest] = exact_costs(posterior, i[rest], j[rest]), True
        more = costs[is_exact] / np.maximum(rough[is_exact], LEAST)  # that a pair costs in all columns
        costs[~is_exact] = rough[~is_exact] * max(1.0, float(more.min()))
    return costs


def rough_costs(posterior: Posterior, i: Ints, j: Ints) -> Floats:
    """What pairs cost in the directions in which the means differ, in units of the mean covariance.

    Components lose by a merge what tells them apart, and most of that is seen here; with a tied covariance, all.
    """
    mixture, rows = posterior.mixture, posterior.rows
    weights = mixture.weights / mixture.weights.sum()
    origin = weights @ mixture.means
    covariance, k = mixture.covariance, mixture.n_components
    common = covariance.values if covariance.is_shared else np.tensordot(weights, covariance.values, axes=1)
    basis = directions_apart(weights, mixture.means, common, k - 1)
    seen = covariance.with_values(basis.T @ covariance.values @ basis)
    x = product(rows.x - like(origin, rows.x), like(basis, rows.x))
    few = Mixture(mixture.weights, product(mixture.means - origin, basis), seen)
    return np.maximum(exact_costs(InMemorySamples(x, rows.weight).posterior(few), i, j), 0.0)


def exact_costs(posterior: Posterior, i: Ints, j: Ints) -> Floats:
    """The same for every pair, by a look at its rows in all columns."""
    rows, mixture, shares = posterior.rows, posterior.mixture, posterior.shares
    pairs = merge_moments(mixture, i, j)
    d, k = mixture.n_features, mixture.n_components
    if len(i) and pairs.covariance.is_diagonal and d >= MANY_COLUMNS and k <= FEW_COMPONENTS:
        return _costs_together(posterior, pairs, i, j)
    with np.errstate(divide="ignore"):  # a weight of 0
        log_weights = np.log(pairs.weights)
    log_weight = log_weights - 0.5 * (d * LOG_2PI + pairs.covariance.log_det(len(i), d))
    owner = np.argmax(shares, axis=1)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(k + 1))
    # Sorted once, what belongs to a pair lies together.
    x, shares, weight, log_density = rows.x[order], shares[order], rows.weight[order], posterior.log_density[order]
    if isinstance(pairs.covariance, Full) and d >= LARGE:
        joint, costs = ComponentJoint(pairs.weights, pairs.means, pairs.covariance), np.zeros(len(i))
        for p, both in enumerate(zip(i, j, strict=True)):
            at = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in both])
            ratio = np.exp(np.minimum(joint.log_joint(p, x[at]) - log_density[at], LARGEST))
            kept = 1 - shares[at, both[0]] - shares[at, both[1]]
            costs[p] = -np.sum(np.log(np.maximum(kept + ratio, LEAST)) * weight[at], dtype=np.float64)
        return costs / rows.total
    # Every pair looks at two segments of the sorted rows: those of i, and those of j.
    pair, side = np.tile(np.arange(len(i)), 2), np.concatenate([i, j])
    costs = np.zeros(len(i))
    for batch in ragged_batches(starts[side], starts[side + 1] - starts[side], d):
        mine, at = pair[batch.items], batch.index
        offsets = x[at] - like(pairs.means[mine], x)[:, None, :]
        white = pairs.covariance.take(mine).whiten(offsets)
        log_joint = like(log_weight[mine], x)[:, None] - 0.5 * np.einsum("gmd,gmd->gm", white, white)
        kept = 1 - shares[at, i[mine][:, None]] - shares[at, j[mine][:, None]]
        ratio = np.exp(np.minimum(log_joint - log_density[at], LARGEST))
        loss = np.log(np.maximum(kept + ratio, LEAST)) * (weight[at] * batch.valid)
        np.subtract.at(costs, mine, loss.sum(axis=1, dtype=np.float64))
    return costs / rows.total


def _costs_together(posterior: Posterior, pairs: Mixture, i: Ints, j: Ints) -> Floats:
    """The same by one product of all rows with all pairs, which costs less than to gather what belongs to each."""
    rows, costs = posterior.rows, np.zeros(len(i))
    for start in range(0, len(rows.x), ROWS_TOGETHER):
        here = slice(start, start + ROWS_TOGETHER)
        shares, log_density, weight = posterior.shares[here], posterior.log_density[here], rows.weight[here]
        kept = 1 - shares[:, i] - shares[:, j]
        ratio = np.exp(np.minimum(pairs.log_joint(rows.x[here]) - log_density[:, None], LARGEST))
        costs -= product(weight, np.log(np.maximum(kept + ratio, LEAST)))
    return costs / rows.total


def _costs_in_all_rows(posterior: Posterior, i: Ints, j: Ints) -> Floats:
    """The same where values are missing: a row that shows little may belong to many."""
    rows, shares = posterior.rows, posterior.shares
    costs = np.zeros(len(i))
    if not len(i):
        return costs
    for seen, part in completed_parts(merge_moments(posterior.mixture, i, j), rows.x):
        kept = 1 - shares[seen][:, i] - shares[seen][:, j]
        ratio = np.exp(np.minimum(part.log_joint.T - posterior.log_density[seen][:, None], LARGEST))
        costs -= product(rows.weight[seen], np.log(np.maximum(kept + ratio, LEAST)))
    return costs / rows.total


def cheapest_disjoint(costs: Floats, i: Ints, j: Ints, most: int) -> Ints:
    """Positions of the cheapest pairs of which no two share a component, at most so many."""
    used: set[int] = set()
    chosen: list[int] = []
    for pair in np.argsort(costs, kind="stable"):
        if len(chosen) >= most:
            break
        ends = {int(i[pair]), int(j[pair])}
        if not ends & used:
            used |= ends
            chosen.append(int(pair))
    return np.array(chosen, dtype=np.intp)
