"""What a pass of EM adds up: for every component the mass, the first and the second moment about its present mean.

About the mean, not about the origin: then the new parameters are small corrections, and no digits are lost where means
are far apart. `ComponentSums` are the same for components with matrices of their own, made component by component: a
symmetric product of the rows that count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, to_numpy
from scoremix.models.by_component import Rows, take_rows
from scoremix.models.log_joint import itemsize_of
from scoremix.samples.reduce import add_fields

# Shares of points, by bytes of a number, that change no sum of those of a component beyond rounding.
NOTHING = {8: 1e-18, 4: 1e-9}

MOST_ROWS = 0.7  # Where more rows than this share count, all are taken: that needs no copy.


@dataclass(frozen=True)
class ExpectedMoments:
    """What a pass adds up.

    mass (k,); first (k, d); log_likelihood: sum of the log densities, times the weights of the rows.
    """

    mass: Floats
    first: Floats
    second: Floats
    log_likelihood: float
    weight: float

    __add__ = add_fields

    @property
    def mean_log_likelihood(self) -> float:
        """Log likelihood per unit of weight."""
        return self.log_likelihood / self.weight


@dataclass
class ComponentSums:
    """The moments of components with covariances of their own, while they are added up.

    mass (k,); first (k, d); second (k, d, d).
    """

    mass: Floats
    first: Floats
    second: Floats
    log_likelihood: float = 0.0
    weight: float = 0.0

    @classmethod
    def of(
        cls, means: Floats, x: Array, members: Iterable[tuple[int, Rows, Array]], least: float = 0.0
    ) -> ComponentSums:
        """Moments about means (k, d) of the rows x (n, d): components, some rows, and their shares.

        Shares of `least` and less are left out.
        """
        xp, (k, d) = namespace(x), means.shape
        least = max(least, NOTHING[itemsize_of(x)])
        sums = cls(np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)))
        for j, rows, share in members:
            mine = np.flatnonzero(to_numpy(share) > least)
            if len(mine) < MOST_ROWS * share.shape[0]:
                share = xp.take(share, indices_like(mine, x))
                rows = mine if isinstance(rows, slice) else rows[mine]
            root = xp.sqrt(share)
            half = take_rows(x, rows) - like(means[j], x)[None, :]
            half *= root[:, None]
            sums.mass[j] += float(xp.sum(share, dtype=xp.float64))
            sums.first[j] += to_numpy(product(root, half))
            sums.second[j] += to_numpy(product(half.T, half))
        return sums

    def __add__(self, other: ComponentSums) -> ComponentSums:
        """Merge the sums of two sets of rows; the left operand is overwritten, for matrices may be large."""
        self.mass += other.mass
        self.first += other.first
        self.second += other.second
        self.log_likelihood += other.log_likelihood
        self.weight += other.weight
        return self

    def expected(self) -> ExpectedMoments:
        """The same, final."""
        return ExpectedMoments(**vars(self))
