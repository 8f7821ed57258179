"""Cells cut by likelihood ratios: where components differ in covariance, nearest centers cannot tell them apart.

Two crude lists are all that is known: candidate means and candidate covariances (CKS Algorithms 2 and 3). A point y of
noise variance v is asked twice (Algorithm 5):

* *Mean part.* Its nearest candidate mean m in the subspace of the means, and the group that this one belongs to.
* *Covariance part.* With ``z = y - m`` and ``K_i = (S_i + v I)^-1``, candidate i beats j where ``z^T (K_i - K_j) z <
  t_ij``, ``t_ij = log det K_i - log det K_j``. Ratios are transitive, so one candidate beats all others: the arg max of
  ``log det K_i - z^T K_i z``; its kind is the answer. (Which of the *others* would come second is what the full list of
  pairwise tests knows beyond this; it multiplies cells and no score depends on it.)

A cell is a pair of group and kind: the common refinement. Candidates that are close share a group or a kind; whoever
makes the cells decides how close, and does so per level, because noise swallows differences. Every cell has a Gaussian
of its own, N(c, C + v I), whose linear score ``-K (y - c)`` is the fallback; polynomials are about that,

    u = A (y - c),   A = (C + sigma^2 I)^(-1/2),   score(y) = A (P(clip(u)) - u),

so that beyond the trust radius the score is linear again, with no jump between.

Points are feature major, (d, n).

References
----------
Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithm 5 and Proposition 49.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, to_numpy
from scoremix.models.gates import Block, Partition
from scoremix.models.whitening import Whitening

# Variances are at least so much times the largest: a direction without any is still a direction of a Gaussian.
THINNEST = 1e-9


@dataclass(frozen=True)
class LikelihoodRatio:
    """Hard cells: the common refinement of a partition by means and one by covariances.

    means (a, d); groups (a,), group of each, 0; covariances (b, d, d); kinds (b,), kind of each, 0; basis (d, r);
    weights (g h,).
    """

    means: Floats
    groups: NDArray[np.intp]
    covariances: Floats
    kinds: NDArray[np.intp]
    basis: Floats
    weights: Floats

    @cached_property
    def centers(self) -> Floats:
        """Center of every cell, the average of the means of its group, shape (g h, d)."""
        groups = np.array([self.means[self.groups == i].mean(axis=0) for i in range(self.groups.max() + 1)])
        return np.repeat(groups, self.kinds.max() + 1, axis=0)

    @cached_property
    def spreads(self) -> Floats:
        """Covariance C of every cell: the average of its kind plus the spread of its means, shape (g h, d, d)."""
        apart = self.means - self.centers[self.groups * (self.kinds.max() + 1)]
        outer = apart[:, :, None] * apart[:, None, :]
        between = np.array([outer[self.groups == i].mean(axis=0) for i in range(self.groups.max() + 1)])
        within = np.array([self.covariances[self.kinds == j].mean(axis=0) for j in range(self.kinds.max() + 1)])
        return np.concatenate([one + within for one in between])

    @cached_property
    def whitening(self) -> Whitening:
        """Local coordinates of all cells."""
        return _whitening(self.spreads)

    def systems(self) -> tuple[int, int]:
        """Every cell is a regression of its own."""
        return len(self.weights), 1

    def nearest(self, y: Array) -> Array:
        """Candidate mean nearest to every point in the subspace, shape (n,); cost O(n r (d + a))."""
        projected = self.means @ self.basis
        half_norm = like(0.5 * np.sum(projected**2, axis=1), y)[:, None]
        return namespace(y).argmax(product(like(projected, y), product(like(self.basis.T, y), y)) - half_norm, axis=0)

    def likeliest(self, z: Array, variance: Array | float) -> Array:
        """Candidate covariance that wins every ratio at the offsets z from a mean, shape (n,); cost O(n b d^2)."""
        xp, local, logs = namespace(z), self._tests, []
        floor = THINNEST * float(local.variances.max())
        for axes, variances in zip(local.axes, local.variances, strict=True):
            noisy = like(variances, z)[:, None] + (variance + floor)
            turned = product(like(axes.T, z), z)
            logs.append(-xp.sum(turned * turned / noisy + xp.log(noisy), axis=0))
        return xp.argmax(xp.stack(logs), axis=0)

    @cached_property
    def _tests(self) -> Whitening:
        return _whitening(self.covariances)

    def labels(self, y: Array, variance: Array | float) -> Array:
        """Cell of every point of noise variance `variance` (a number or one per point), shape (n,)."""
        xp, n_kinds = namespace(y), int(self.kinds.max()) + 1
        mean = self.nearest(y)
        group = xp.take(indices_like(self.groups, y), mean)
        if n_kinds == 1:
            return group
        winner = self.likeliest(y - xp.take(like(self.means.T, y), mean, axis=1), variance)
        return group * n_kinds + xp.take(indices_like(self.kinds, y), winner)

    def partition(self, y: Array, variance: Array | float) -> Partition:
        """One block per cell that has points."""
        xp = namespace(y)
        labels = self.labels(y, variance)
        order = xp.argsort(xp.astype(labels, xp.int16), stable=True)  # few labels: many times faster than long integers
        ends = np.cumsum(np.bincount(to_numpy(labels), minlength=len(self.weights))).tolist()
        spans = enumerate(zip([0, *ends[:-1]], ends, strict=True))
        return Partition(order, tuple(Block(a, b, np.array([j]), None) for j, (a, b) in spans if b > a))


def _whitening(covariances: Floats) -> Whitening:
    """Axes and variances, no variance negative."""
    variances, axes = np.linalg.eigh(covariances)
    return Whitening(np.maximum(variances, 0.0), axes)
