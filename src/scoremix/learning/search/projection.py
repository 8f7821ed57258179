"""Many columns seen in few: the directions in which samples vary most.

What tells components apart are their means, which span one direction less than there are components, and, in many
columns, these are among the directions of largest variance. A search among them costs what it costs in few columns, and
its decisions are the same; its components are then carried over to all columns by the shares that they have in the
samples.
"""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Floats, product
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.seeding import mixture_of_shares
from scoremix.learning.search.moves import SplitMergeSearch
from scoremix.models.mixture import Mixture

# Directions: six more than components, in these bounds, and at most half as many as columns, of which there are many.
MORE, FEWEST, MOST, MANY_COLUMNS = 6, 16, 64, 64

EXTRA, TURNS = 8, 3  # Directions more in the power iterations, and how many of these there are.


def n_directions(n_components: int, n_features: int) -> int | None:
    """How many directions to search in; None where all columns are few enough."""
    q = int(np.clip(n_components + MORE, FEWEST, MOST))
    return q if n_features >= max(2 * q, MANY_COLUMNS) else None


def leading_directions(x: Floats, q: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Orthonormal directions (d, q) of largest variance of centered rows x (n, d), nearly (Halko et al. 2011).

    And the rows in them, (n, q).
    """
    x = x.astype(np.float32, copy=False)
    basis = rng.standard_normal((x.shape[1], q + EXTRA)).astype(np.float32)
    for _ in range(TURNS):
        basis = np.linalg.qr(product(x.T, product(x, basis)))[0]
    seen = product(x, basis)
    _, axes = np.linalg.eigh(product(seen.T, seen))
    axes = axes[:, ::-1][:, :q]
    return product(basis, axes), product(seen, axes)


def projected(rows: InMemorySamples, q: int, rng: np.random.Generator) -> InMemorySamples:
    """The rows in so many directions."""
    return InMemorySamples(leading_directions(rows.x, q, rng)[1].astype(np.float64), rows.weight)


def means_of_shares(rows: InMemorySamples, shares: Floats) -> Floats:
    """Means (k, d) of components with shares (n, k) in the rows."""
    weighted = shares * rows.weight[:, None]
    mass = np.maximum(weighted.sum(axis=0), np.finfo(np.float64).tiny)
    return np.asarray(product(weighted.T.astype(rows.x.dtype), rows.x) / mass[:, None], dtype=np.float64)


def lifted(search: SplitMergeSearch, shares: Floats, means: Floats, kind: str) -> Mixture:
    """The mixture in all columns of components with such shares in the rows of a search."""
    rows = search.rows
    return mixture_of_shares(rows.source, shares.astype(rows.x.dtype), means, kind, search.reg, search.prior)
