"""The designed problems: layouts in which starts are known to go wrong, and easy ones, in which they should not.

Outliers are components of their own, of which methods are told the number and EM from the truth the place. A start that
spends more of them on outliers, or fewer, has too few for the clusters, or one that reaches from these to the outliers:
either costs far more likelihood than a success may lack.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.global_start.laws import (
    Law,
    all_apart,
    elongated,
    equal,
    of_factors,
    round_ones,
    typically_apart,
    zipf,
)
from scoremix.arrays import Floats

ONCE = 1e-9
"""Weight of a component that is one row: too small for a second."""


@dataclass(frozen=True)
class Design:
    """A named law with the covariances to fit; `make` is given a generator."""

    name: str
    kind: str
    n: int
    make: Callable[[np.random.Generator], Law]

    def law(self, seed: int) -> Law:
        return self.make(np.random.default_rng([12, seed]))


def unit(means: Floats, weights: Floats | None = None) -> Law:
    """Round components of standard deviation one."""
    k, d = means.shape
    return Law(equal(k) if weights is None else weights, means, round_ones(np.ones(k), d))


def grid(side: int, spacing: float = 5.0) -> Law:
    """A square grid of ``side * side`` components."""
    places = np.arange(side) * spacing
    return unit(np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2).astype(np.float64))


def ring(k: int, spacing: float = 5.0) -> Law:
    """Components on a circle, neighbours `spacing` apart."""
    angles = 2 * np.pi * np.arange(k) / k
    return unit(spacing / (2 * np.sin(np.pi / k)) * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def scattered(
    rng: np.random.Generator, k: int, d: int, separation: float = 5.0, condition: float = 1.0, shared: bool = False
) -> Law:
    """Normal means, typically so far apart."""
    means = typically_apart(rng.standard_normal((k, d)), separation)
    return Law(equal(k), means, elongated(rng, k, d, condition, shared))


def nested(rng: np.random.Generator, sizes: tuple[int, ...], d: int, distances: tuple[float, ...]) -> Law:
    """Clusters of clusters: `sizes` and distances of the neighbours at every level, the widest level first."""
    means = np.zeros((1, d))
    for size, distance in zip(sizes, distances, strict=True):
        groups = [all_apart(rng.standard_normal((size, d)), distance) for _ in means]
        means = np.concatenate([mean + group for mean, group in zip(means, groups, strict=True)])
    return unit(means)


def two_scales(rng: np.random.Generator, k: int, d: int) -> Law:
    """Half of the components ten times as narrow and as near to each other; Zipf weights run across both halves."""
    wide = typically_apart(rng.standard_normal((k // 2, d)), 6.0)
    narrow = typically_apart(rng.standard_normal((k - k // 2, d)), 0.6) + wide.max(axis=0) + 6.0
    scales = np.repeat([1.0, 0.1], [len(wide), len(narrow)])
    order = rng.permutation(k)
    return Law(zipf(k), np.concatenate([wide, narrow])[order], round_ones(scales[order], d))


def cigars(rng: np.random.Generator, k: int, d: int, turned: bool, length: float = 50.0) -> Law:
    """Thin long clusters side by side: six thin standard deviations apart, anywhere along their length."""
    means = np.zeros((k, d))
    means[:, :-1] = all_apart(rng.standard_normal((k, d - 1)), 6.0) if d > 2 else 6.0 * np.arange(k)[:, None]
    means[:, -1] = length * rng.uniform(-0.5, 0.5, k)
    variances = np.append(np.ones(d - 1), length**2)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0] if turned else np.eye(d)
    covariance = (axes * variances) @ axes.T
    return Law(equal(k), means @ axes.T, np.broadcast_to((covariance + covariance.T) / 2, (k, d, d)))


def columns_scaled(law: Law, ratio: float = 1000.0) -> Law:
    """Columns in units up to so different."""
    return law.scaled(np.geomspace(1.0, ratio, law.d))


def big_and_small(rng: np.random.Generator, k: int, d: int) -> Law:
    """One wide component with half of the rows, and many narrow ones around and within it."""
    means = np.concatenate([np.zeros((1, d)), all_apart(rng.uniform(-1, 1, (k - 1, d)), 1.5)])
    weights = np.append(0.5, np.full(k - 1, 0.5 / (k - 1)))
    wide = np.abs(means).max() / 2
    return Law(weights, means, round_ones(np.append(wide, np.full(k - 1, 0.2)), d))


def with_components(law: Law, weights: Floats, means: Floats, factors: Floats, lone: int = 0) -> Law:
    """A law and outliers, components of these weights, means and factors of their covariances."""
    roots = np.concatenate([np.linalg.cholesky(law.covariances), factors])
    both = np.append((1 - weights.sum()) * law.weights, weights)
    return of_factors(both, np.concatenate([law.means, means]), roots, lone)


def far_rows(law: Law, distance: float = 1e6) -> Law:
    """Two single rows, one far off in a column, the other in all of them."""
    places = distance * np.stack([np.eye(law.d)[0], -np.ones(law.d)])
    return with_components(law, np.full(2, ONCE), places, np.zeros((2, law.d, law.d)), lone=2)


def all_rows(law: Law) -> tuple[Floats, Floats]:
    """Mean and root of the covariance of the rows of all components."""
    mean = law.weights @ law.means
    second = law.covariances + (law.means - mean)[:, :, None] * (law.means - mean)[:, None, :]
    return mean, np.linalg.cholesky(np.einsum("k,kij->ij", law.weights, second))


def wide_background(law: Law, share: float = 0.01, times: float = 20.0) -> Law:
    """Some rows of a cloud many times as wide as all clusters."""
    mean, root = all_rows(law)
    return with_components(law, np.array([share]), mean[None], times * root[None])


def sentinel(law: Law, share: float = 0.01, value: float = 99_999.0) -> Law:
    """Some rows with a number in the first column that stands for none."""
    mean, root = all_rows(law)
    mean[0], root[0] = value, 0.0
    return with_components(law, np.array([share]), mean[None], root[None])


def with_columns(law: Law, matrix: Floats, shift: Floats | float = 0.0) -> Law:
    """More columns, ``matrix @ row + shift``; the shift may be that of the row's component."""
    roots, more = np.linalg.cholesky(law.covariances), law.means @ matrix.T + shift
    return of_factors(law.weights, np.hstack([law.means, more]), np.concatenate([roots, matrix @ roots], axis=1))


def twice(law: Law) -> Law:
    """The first column once more."""
    return with_columns(law, np.eye(law.d)[:1])


def summed(law: Law) -> Law:
    """The sum of the columns as one more."""
    return with_columns(law, np.ones((1, law.d)))


def with_constant(law: Law) -> Law:
    """A column that says nothing."""
    return with_columns(law, np.zeros((1, law.d)), 7.0)


def one_hot(law: Law) -> Law:
    """Every component twice, told apart by nothing but a pair of columns of which one is 1, the other 0."""
    twice = Law(np.repeat(law.weights, 2) / 2, np.repeat(law.means, 2, axis=0), np.repeat(law.covariances, 2, axis=0))
    return with_columns(twice, np.zeros((2, law.d)), np.tile(np.eye(2), (law.k, 1)))


DESIGNS = (
    Design("grid of 25", "spherical", 5_000, lambda rng: grid(5)),
    Design("grid of 25, full", "full", 5_000, lambda rng: grid(5)),
    Design("grid of 100", "spherical", 20_000, lambda rng: grid(10)),
    Design("grid of 100, full", "full", 20_000, lambda rng: grid(10)),
    Design("ring of 12", "full", 3_000, lambda rng: ring(12)),
    Design("ring of 40", "spherical", 8_000, lambda rng: ring(40)),
    Design("50 random", "spherical", 10_000, lambda rng: scattered(rng, 50, 5)),
    Design("50 random, full", "full", 20_000, lambda rng: scattered(rng, 50, 5, condition=3.0)),
    Design("16 pairs", "full", 8_000, lambda rng: nested(rng, (16, 2), 2, (30.0, 4.0))),
    Design("16 pairs, 5-D", "diag", 8_000, lambda rng: nested(rng, (16, 2), 5, (30.0, 4.0))),
    Design("clusters in clusters, scales 1:30", "full", 10_000, lambda rng: nested(rng, (5, 5), 2, (150.0, 5.0))),
    Design("clusters in clusters, 5-D", "spherical", 10_000, lambda rng: nested(rng, (6, 6), 5, (150.0, 5.0))),
    Design("three levels", "full", 10_000, lambda rng: nested(rng, (3, 3, 3), 3, (900.0, 60.0, 5.0))),
    Design("two scales, Zipf", "full", 10_000, lambda rng: two_scales(rng, 20, 2)),
    Design("two scales, Zipf, 5-D", "spherical", 10_000, lambda rng: two_scales(rng, 20, 5)),
    Design("6 parallel cigars", "diag", 3_000, lambda rng: cigars(rng, 6, 2, turned=False)),
    Design("10 parallel cigars, turned", "full", 5_000, lambda rng: cigars(rng, 10, 2, turned=True)),
    Design("10 parallel cigars, 4-D", "full", 6_000, lambda rng: cigars(rng, 10, 4, turned=True)),
    Design("columns 1:1000", "full", 5_000, lambda rng: columns_scaled(scattered(rng, 10, 4, condition=3.0))),
    Design("columns 1:1000, diagonal", "diag", 5_000, lambda rng: columns_scaled(scattered(rng, 15, 2))),
    Design("one big, 15 small", "full", 8_000, lambda rng: big_and_small(rng, 16, 2)),
    Design("one big, 30 small, 5-D", "spherical", 12_000, lambda rng: big_and_small(rng, 31, 5)),
    Design("overlapping", "full", 5_000, lambda rng: scattered(rng, 10, 2, 2.5)),
    Design("overlapping, 8-D", "spherical", 10_000, lambda rng: scattered(rng, 20, 8, 2.5)),
    Design("elongated, 8-D", "full", 8_000, lambda rng: scattered(rng, 10, 8, 5.0, condition=100.0)),
    Design("elongated, 16-D", "full", 15_000, lambda rng: scattered(rng, 10, 16, 5.0, condition=100.0)),
    Design("32-D", "full", 15_000, lambda rng: scattered(rng, 10, 32, condition=3.0)),
    Design("64-D, diagonal", "diag", 10_000, lambda rng: scattered(rng, 10, 64)),
    Design("64-D, spherical", "spherical", 5_000, lambda rng: scattered(rng, 10, 64)),
    Design("8 clusters, 2 far rows", "full", 4_000, lambda rng: far_rows(scattered(rng, 8, 2, condition=3.0))),
    Design("8 clusters, 2 far rows, 5-D", "spherical", 4_000, lambda rng: far_rows(scattered(rng, 8, 5))),
    Design("1 % of rows 20 times as wide", "diag", 8_000, lambda rng: wide_background(scattered(rng, 15, 4))),
    Design("1 % of values 99,999", "full", 8_000, lambda rng: sentinel(scattered(rng, 10, 4, condition=3.0))),
    Design("a column twice", "full", 5_000, lambda rng: twice(scattered(rng, 10, 4, condition=3.0))),
    Design("a sum of columns", "tied", 5_000, lambda rng: summed(scattered(rng, 10, 4, condition=3.0, shared=True))),
    Design("a one-hot pair", "full", 5_000, lambda rng: one_hot(scattered(rng, 5, 3, condition=3.0))),
    Design("a constant column", "diag", 5_000, lambda rng: with_constant(scattered(rng, 15, 3))),
    Design("1 component", "full", 1_000, lambda rng: scattered(rng, 1, 3, condition=10.0)),
    Design("2 components", "full", 1_000, lambda rng: scattered(rng, 2, 2, 4.0, condition=3.0)),
    Design("3 components", "diag", 2_000, lambda rng: scattered(rng, 3, 5, 4.0)),
    Design("8 alike, tied", "tied", 4_000, lambda rng: scattered(rng, 8, 4, condition=30.0, shared=True)),
    Design("8 alike, full", "full", 4_000, lambda rng: scattered(rng, 8, 4, condition=30.0, shared=True)),
)
