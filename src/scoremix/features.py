"""Polynomial features: the two families that serve every learner.

* `packed`: degree <= 2 without repetition, ``[1, x, upper(x x^T)]``: the sufficient statistics of a Gaussian mixture.
* `Hermite`: products of normalised Hermite polynomials of any total degree: the regressors of the piecewise polynomial
  score. In coordinates local to a cell (centred and scaled by the noisy standard deviation) they are close to
  orthonormal, so their Gram matrix is well conditioned (about 10 at degree 5; raw monomials: 10**12).

Features are ordered by total degree, so that every lower degree is a leading block of the same Gram matrix. Arrays are
feature major, ``(..., d, n) -> (..., p, n)``: each feature is one contiguous row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, multiply_into, namespace

MAX_FEATURES = 2000
"""Largest number of polynomial features of one cell (their Gram matrix then takes 32 MB)."""


def packed_size(n_features: int) -> int:
    """Number of packed features of degree <= 2 in `n_features` dimensions: (d + 1)(d + 2)/2."""
    return (n_features + 1) * (n_features + 2) // 2


def packed(x: Array) -> Array:
    """Return ``[1, x, upper(x x^T)]``.

    Parameters
    ----------
    x : array of shape (d, n)
        Samples, feature major.

    Returns
    -------
    array of shape ((d + 1)(d + 2)/2, n)
        The constant, the d coordinates, then the products ``x_i x_j`` for i <= j, row by row of the upper triangle.
    """
    xp = namespace(x)
    d, n = x.shape
    phi = xp.empty((packed_size(d), n), dtype=x.dtype, device=x.device)
    phi[0, :] = 1.0
    phi[1 : d + 1, :] = x
    offset = d + 1
    for i in range(d):
        multiply_into(x[i:, :], x[i : i + 1, :], phi[offset : offset + d - i, :])
        offset += d - i
    return phi


def hermite_size(n_features: int, degree: int) -> int:
    """Number of polynomials of total degree <= `degree` in `n_features` variables."""
    return comb(n_features + degree, degree)


@dataclass(frozen=True)
class _Step:
    """Feature `row` = feature `parent` times the one-variable polynomial of degree `order` in `variable`."""

    row: int
    parent: int
    variable: int
    order: int


class Hermite:
    """All products of normalised Hermite polynomials up to a total degree.

    With ``u ~ N(0, I)`` they are orthonormal: ``E[h_a(u) h_b(u)] = 1{a = b}``.

    Parameters
    ----------
    n_features : int
        Number of variables d, at least 1.
    degree : int
        Largest total degree m, at least 0.

    Attributes
    ----------
    exponents : ndarray of shape (p, d)
        Degree of every feature in every variable, ordered by total degree.
    sizes : tuple of int
        ``sizes[m]`` features have total degree <= m.

    Raises
    ------
    ValueError
        If the number of features exceeds `MAX_FEATURES`.
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

    def __call__(self, u: Array, weight: Array | None = None) -> Array:
        """Evaluate every feature.

        Parameters
        ----------
        u : array of shape (..., d, n)
            Local coordinates.
        weight : array of shape (..., n), optional
            Multiplies every feature (all are built by multiplication from the constant one, so it costs nothing).

        Returns
        -------
        array of shape (..., p, n)
        """
        xp = namespace(u)
        out = xp.empty((*u.shape[:-2], self.sizes[-1], u.shape[-1]), dtype=u.dtype, device=u.device)
        out[..., 0, :] = 1.0 if weight is None else weight
        powers = one_variable(u, self.degree) if self.degree else []
        for step in self._steps:
            power = powers[step.order - 1][..., step.variable, :]
            multiply_into(out[..., step.parent, :], power, out[..., step.row, :])
        return out


def one_variable(u: Array, degree: int) -> list[Array]:
    """Normalised Hermite polynomials h_1 .. h_degree of every entry (h_0 is 1), by the three-term recurrence.

    ``sqrt(m) h_m = u h_{m-1} - sqrt(m-1) h_{m-2}``.
    """
    powers = [u]
    for m in range(2, degree + 1):
        nxt = u * powers[-1]
        nxt -= sqrt(m - 1) * powers[-2] if m > 2 else 1.0
        nxt *= 1 / sqrt(m)
        powers.append(nxt)
    return powers


@lru_cache(maxsize=64)
def _table(n_features: int, degree: int) -> tuple[NDArray[np.intp], tuple[_Step, ...]]:
    """Exponents ordered by total degree, and how each feature is made from an earlier one."""
    chosen = [c for m in range(degree + 1) for c in combinations_with_replacement(range(n_features), m)]
    exponents = np.array([[c.count(v) for v in range(n_features)] for c in chosen], dtype=np.intp)
    exponents = exponents.reshape(len(chosen), n_features)
    row_of = {tuple(row): i for i, row in enumerate(exponents.tolist())}
    steps = []
    for i, row in enumerate(exponents.tolist()):
        if i:
            variable = max(v for v in range(n_features) if row[v])
            order, row[variable] = row[variable], 0
            steps.append(_Step(i, row_of[tuple(row)], variable, order))
    exponents.setflags(write=False)
    return exponents, tuple(steps)
