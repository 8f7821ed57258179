"""What happens where the rows are not quite those of a mixture of Gaussians with columns alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from benchmarks.global_start.comparison import mean_log_density, timed
from benchmarks.global_start.designed import cigars, columns_scaled, scattered
from benchmarks.global_start.laws import Law
from benchmarks.global_start.methods import GLOBAL, ONE, TEN_SCALED, Method
from benchmarks.run import Row
from benchmarks.tables import Size
from scoremix.arrays import Floats

METHODS: tuple[Method, ...] = (GLOBAL, ONE, TEN_SCALED)
K, D = 10, 4

BACKGROUND = -1
"""Label of rows that belong to no component."""

Spoil = Callable[[Floats, NDArray[np.intp], int], tuple[Floats, NDArray[np.intp]]]


@dataclass(frozen=True)
class Case:
    """A law, and what is done to its rows."""

    name: str
    law: Callable[[Law], Law]
    spoil: Spoil


def kept(x: Floats, labels: NDArray[np.intp], seed: int) -> tuple[Floats, NDArray[np.intp]]:
    """The rows as they are."""
    return x, labels


def doubled(x: Floats, labels: NDArray[np.intp], seed: int) -> tuple[Floats, NDArray[np.intp]]:
    """Every row twice."""
    return np.concatenate([x, x]), np.concatenate([labels, labels])


def with_background(share: float) -> Spoil:
    """Replace a share of the rows by uniform ones, in a box half again as wide as that of the rows."""

    def spoil(x: Floats, labels: NDArray[np.intp], seed: int) -> tuple[Floats, NDArray[np.intp]]:
        rng = np.random.default_rng([15, seed])
        low, high = x.min(axis=0), x.max(axis=0)
        replaced = rng.choice(len(x), round(share * len(x)), replace=False)
        box = rng.uniform(-0.75, 0.75, (len(replaced), x.shape[1]))
        x, labels = x.copy(), labels.copy()
        x[replaced], labels[replaced] = (low + high) / 2 + box * (high - low), BACKGROUND
        return x, labels

    return spoil


def same(law: Law) -> Law:
    """The law as it is."""
    return law


def heavy_tailed(law: Law) -> Law:
    """Components are t distributions with four degrees of freedom."""
    return replace(law, degrees=4.0)


CASES = (
    Case("clean", same, kept),
    Case("1 % background", same, with_background(0.01)),
    Case("5 % background", same, with_background(0.05)),
    Case("t tails", heavy_tailed, kept),
    Case("rows doubled", same, doubled),
    Case("columns 1:1000", columns_scaled, kept),
)


def law_of(case: Case, seed: int) -> Law:
    """The clusters that all cases share."""
    return case.law(scattered(np.random.default_rng([16, seed]), K, D, condition=3.0))


def parallel(seed: int) -> Law:
    """Clusters of their own for the last case."""
    return cigars(np.random.default_rng([16, seed]), K, D, turned=False)


def case_rows(name: str, law: Law, spoil: Spoil, n: int, seed: int) -> Iterator[Row]:
    """A row for every method; the held-out rows are clean."""
    x, labels = spoil(*law.draw(n, 2 * seed), seed)
    held_out, member = law.sample(4 * n, 2 * seed + 1), labels != BACKGROUND
    for method in METHODS:
        result, seconds, error = timed(method, x, law.k, "full", seed)
        yield {
            "problem": name,
            "covariance": "full",
            "k": law.k,
            "d": law.d,
            "n": len(x),
            "seed": seed,
            "method": method.name,
            "seconds": seconds,
            "held_out": None if result is None else mean_log_density(result, held_out),
            "rand_index": None
            if result is None
            else float(adjusted_rand_score(labels[member], result.predict(x[member]))),
            "error": error,
        }


def robust(size: Size, offset: int = 0) -> Iterator[Row]:
    """All cases with the same clusters, and parallel cigars."""
    n, seeds, cases = (5_000, 5, CASES) if size == "full" else (300, 1, CASES[1:3])
    for seed in range(offset, offset + seeds):
        for case in cases:
            yield from case_rows(case.name, law_of(case, seed), case.spoil, n, seed)
        yield from case_rows("parallel cigars", parallel(seed), kept, n, seed)
