"""What happens where the rows are not quite those of a mixture of Gaussians with columns alike."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from benchmarks.frame import Benchmark, Size, grid
from benchmarks.global_start.comparison import mean_log_density, timed
from benchmarks.global_start.designed import cigars, columns_scaled, scattered
from benchmarks.global_start.laws import Law
from benchmarks.global_start.methods import GLOBAL, ONE, TEN_SCALED
from benchmarks.tables import Row, Rows, Table, table
from scoremix.arrays import Floats

K, D = 10, 4

BACKGROUND = -1
"""Label of rows that belong to no component."""

Labelled = tuple[Floats, NDArray[np.intp]]
Spoil = Callable[[Floats, NDArray[np.intp], int], Labelled]


def kept(x: Floats, labels: NDArray[np.intp], seed: int) -> Labelled:
    """The rows as they are."""
    return x, labels


def doubled(x: Floats, labels: NDArray[np.intp], seed: int) -> Labelled:
    """Every row twice."""
    return np.concatenate([x, x]), np.concatenate([labels, labels])


def with_background(share: float) -> Spoil:
    """Replace a share of the rows by uniform ones, in a box half again as wide as that of the rows."""

    def spoil(x: Floats, labels: NDArray[np.intp], seed: int) -> Labelled:
        rng = np.random.default_rng([15, seed])
        low, high = x.min(axis=0), x.max(axis=0)
        replaced = rng.choice(len(x), round(share * len(x)), replace=False)
        box = rng.uniform(-0.75, 0.75, (len(replaced), x.shape[1]))
        x, labels = x.copy(), labels.copy()
        x[replaced], labels[replaced] = (low + high) / 2 + box * (high - low), BACKGROUND
        return x, labels

    return spoil


def clusters(rng: np.random.Generator) -> Law:
    """What all cases but the last share."""
    return scattered(rng, K, D, condition=3.0)


CASES: dict[str, tuple[Callable[[np.random.Generator], Law], Spoil]] = {
    "clean": (clusters, kept),
    "1 % background": (clusters, with_background(0.01)),
    "5 % background": (clusters, with_background(0.05)),
    "t tails": (lambda rng: replace(clusters(rng), degrees=4.0), kept),
    "rows doubled": (clusters, doubled),
    "columns 1:1000": (lambda rng: columns_scaled(clusters(rng)), kept),
    "parallel cigars": (lambda rng: cigars(rng, K, D, turned=False), kept),
}
"""A law, and what is done to its rows."""


def robust(problem: str, seed: int, n_rows: int) -> Iterator[Row]:
    """A row for every method; the held-out rows are clean."""
    make, spoil = CASES[problem]
    law = make(np.random.default_rng([16, seed]))
    x, labels = spoil(*law.draw(n_rows, 2 * seed), seed)
    held_out, member = law.sample(4 * n_rows, 2 * seed + 1), labels != BACKGROUND
    for method in (GLOBAL, ONE, TEN_SCALED):
        result, row = timed(method, x, law.k, "full", seed)
        index = None if result is None else float(adjusted_rand_score(labels[member], result.predict(x[member])))
        row |= {"covariance": "full", "k": law.k, "d": law.d, "n": len(x)}
        yield row | {"held_out": mean_log_density(result, held_out), "rand_index": index}


def robust_table(rows: Rows) -> Table:
    """Rows that are not quite those of the model."""
    rows = [row | {"seconds": row["seconds"] or 0.0} for row in rows]
    head = "rows | method | held-out | adjusted Rand index | CPU s"
    line = "{problem} | {method} | {held_out.mean:.4f} | {rand_index.mean:.3f} | {seconds.mean:.2f}"
    return table(rows, ("problem", "method"), head, line, "-")


TINY = ("1 % background", "5 % background", "parallel cigars")

ROBUST = Benchmark(
    robust,
    Size(grid(seed=range(5), problem=CASES), n_rows=5_000),
    Size(grid(seed=[0], problem=TINY), n_rows=300),
    [robust_table],
)
