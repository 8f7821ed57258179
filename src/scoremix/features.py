"""Polynomial features: the two families that serve every learner.

* `packed`: degree <= 2 without repetition, ``[1, x, upper(x x^T)]``: the sufficient statistics of a Gaussian mixture.
* `Hermite`: products of normalised Hermite polynomials of any total degree: the regressors of the piecewise polynomial
  score. In coordinates local to a cell (centered and scaled by the noisy standard deviation) they are close to
  orthonormal, so their Gram matrix is well conditioned (about 10 at degree 5; raw monomials: 10**12).

Features are ordered by total degree, so that every lower degree is a leading block of the same Gram matrix. Arrays are
feature major, ``(..., d, n) -> (..., p, n)``: each feature is one contiguous row.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, multiply_into, namespace

MAX_FEATURES = 2000  # Largest number of polynomial features of one cell (their Gram matrix then takes 32 MB).


def packed_size(n_features: int) -> int:
    """Number of packed features of degree <= 2 in `n_features` dimensions: (d + 1)(d + 2)/2."""
    return (n_features + 1) * (n_features + 2) // 2


def packed(x: Array) -> Array:
    """Return ``[1, x, upper(x x^T)]``.

    x (d, n).
    """
    xp = namespace(x)
    d, n = x.shape
    phi = xp.empty((packed_size(d), n), dtype=x.dtype, device=x.device)
    phi[0, :] = 1.0
    phi[1 : d + 1, :] = x
    complete_packed(phi, d)
    return phi


def complete_packed(phi: Array, n_features: int) -> None:
    """Write the products of degree 2 where the coordinates stand already, in rows ``1 .. d`` of packed features."""
    d, offset = n_features, n_features + 1
    for i in range(d):
        multiply_into(phi[i + 1 : d + 1, :], phi[i + 1 : i + 2, :], phi[offset : offset + d - i, :])
        offset += d - i


def hermite_size(n_features: int, degree: int) -> int:
    """Number of polynomials of total degree <= `degree` in `n_features` variables."""
    return comb(n_features + degree, degree)


class _Step(NamedTuple):
    """Feature `row` from the features of one and two orders less in `variable`, by the three-term recurrence."""

    row: int
    variable: int
    order: int
    below: int
    two_below: int


class Hermite:
    """All products of normalised Hermite polynomials up to a total degree.

    With ``u ~ N(0, I)`` they are orthonormal: ``E[h_a(u) h_b(u)] = 1{a = b}``.

    exponents (p, d); sizes: ``sizes[m]`` features have total degree <= m.

    ValueError: If the number of features exceeds `MAX_FEATURES`.
    """

    def __init__(self, n_features: int, degree: int) -> None:
        size = hermite_size(n_features, degree)
        if size > MAX_FEATURES:
            raise ValueError(
                f"degree={degree} in {n_features} dimensions means {size} polynomial features per cell, more than "
                f"{MAX_FEATURES}: choose a lower degree, or degree='auto'."
            )
        self.n_features = n_features
        self.degree = degree
        self.exponents, self._steps = _table(n_features, degree)
        self.sizes = tuple(hermite_size(n_features, m) for m in range(degree + 1))

    def __call__(self, u: Array) -> Array:
        """Evaluate every feature."""
        d, n = u.shape[-2:]
        out = namespace(u).empty((*u.shape[:-2], self.sizes[-1], n), dtype=u.dtype, device=u.device)
        if self.degree:
            out[..., 1 : d + 1, :] = u
        self.complete(out)
        return out

    def complete(self, out: Array, weight: Array | None = None) -> None:
        """Evaluate every feature in place, where the coordinates stand already: no temporary as large as the result."""
        out[..., 0, :] = 1.0
        for row, variable, order, below, two_below in self._steps:
            # sqrt(m) h_m = u h_{m-1} - sqrt(m-1) h_{m-2}
            feature = out[..., row, :]
            multiply_into(out[..., below, :], out[..., 1 + variable, :], feature)
            if order == 2:
                feature -= out[..., two_below, :]
            elif order > 2:
                feature -= sqrt(order - 1) * out[..., two_below, :]
            if order > 1:
                feature *= 1 / sqrt(order)
        if weight is not None:
            out[..., 0, :] = weight
            out[..., 1:, :] *= weight[..., None, :]


@lru_cache(maxsize=64)
def _table(n_features: int, degree: int) -> tuple[NDArray[np.intp], tuple[_Step, ...]]:
    """Exponents ordered by total degree, and how each feature is made from an earlier one."""
    chosen = [c for m in range(degree + 1) for c in combinations_with_replacement(range(n_features), m)]
    exponents = np.array([[c.count(v) for v in range(n_features)] for c in chosen], dtype=np.intp)
    exponents = exponents.reshape(len(chosen), n_features)
    row_of = {tuple(row): i for i, row in enumerate(exponents.tolist())}
    steps = []
    for i, row in enumerate(exponents.tolist()):
        if sum(row) > 1:
            variable = max(v for v in range(n_features) if row[v])
            order, less = row[variable], np.eye(n_features, dtype=np.intp)[variable]
            below, two_below = (row_of.get(tuple((row - m * less).tolist()), 0) for m in (1, 2))
            steps.append(_Step(i, variable, order, below, two_below))
    exponents.setflags(write=False)
    return exponents, tuple(steps)
