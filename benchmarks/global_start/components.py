"""How many components are found, on drawn problems and on real data, against a grid of BIC."""

from collections.abc import Iterator
from functools import partial
from importlib.resources import files

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from benchmarks.frame import Benchmark, Size
from benchmarks.global_start.comparison import FEW, HELD_OUT, mean_log_density, timed
from benchmarks.global_start.counts import difference, differences, key, share, total_seconds
from benchmarks.global_start.laws import Law, all_apart, equal, zipf
from benchmarks.global_start.methods import AUTO, GRID
from benchmarks.global_start.random_suite import KINDS, time_aim
from benchmarks.methods import Method
from benchmarks.tables import Row, Rows, Table, extended, of, table
from benchmarks.targets import Aim, at_least
from scoremix.arrays import Floats

SEPARATIONS = {"separated": (5.0, 7.0), "harder": (3.0, 5.0)}
SEEDS = {"separated": range(40), "harder": range(100, 124)}
LARGEST_GRID, LARGEST_REAL_GRID = 40, 10

ROWS_PER_PARAMETER = 8
"""Of the smallest component, where covariances are full: with fewer rows BIC itself prefers fewer components."""

MOST_ROWS = 40_000

NEVER_WORSE = 0.01
"""Nats per held-out row by which the number of components found may cost likelihood against the grid."""


def enough_rows(kind: str, d: int, weights: Floats) -> int:
    """200 rows a component, and as many as the smallest one needs."""
    needed = max(60, ROWS_PER_PARAMETER * (1 + d + d * (d + 1) // 2)) if kind == "full" else 60
    return int(max(200 * len(weights), np.ceil(needed / weights.min())))


def drawn(seed: int, low: float, high: float) -> tuple[Law, str, int, float]:
    """A law in which every two components are at least so far apart, its covariances, rows and separation."""
    rng = np.random.default_rng([10, seed])
    kind = KINDS[seed % 3]
    k, d = int(rng.integers(1, 31)), int(np.round(np.exp(rng.uniform(np.log(2), np.log(16)))))
    weights = zipf(k) if rng.random() < 0.5 else equal(k)
    separation = float(rng.uniform(low, high))
    while enough_rows(kind, d, weights) > MOST_ROWS:
        d //= 2
    # Standard deviations are between 0.8 and 1, so that the separation is in units of the widest direction.
    values = rng.uniform(0.64, 1.0, (k, 1 if kind == "spherical" else d)) * np.ones(d)
    axes = np.linalg.qr(rng.standard_normal((k, d, d)))[0] if kind == "full" else np.eye(d)[None]
    covariances = (axes * values[:, None, :]) @ np.swapaxes(axes, 1, 2)
    law = Law(weights, all_apart(rng.standard_normal((k, d)), separation), covariances)
    return law, kind, enough_rows(kind, d, weights), separation


def components(problem: str, seed: int, tiny: bool) -> Iterator[Row]:
    """A row for each method on a drawn problem or on real data."""
    yield from (drawn_rows if problem in SEPARATIONS else real_rows)(problem, seed, tiny)


def drawn_rows(problem: str, seed: int, tiny: bool) -> Iterator[Row]:
    """Up to twice as many components are looked for as there are."""
    law, kind, n, separation = drawn(seed, *SEPARATIONS[problem])
    if tiny:
        k = min(law.k, 3)
        law, n = Law(equal(k), law.means[:k], law.covariances[:k]), 100 * k
    n_held_out = FEW if tiny else HELD_OUT
    x, held_out = law.sample(n, 2 * seed), law.sample(n_held_out, 2 * seed + 1)
    is_zipf = bool(law.weights[0] > law.weights[-1])
    row = {"covariance": kind, "d": law.d, "n": n, "separation": separation, "zipf": is_zipf, "k_true": law.k}
    for method in (AUTO, GRID):
        result, ended = timed(method, x, min(2 * law.k, LARGEST_GRID), kind, seed)
        k = None if result is None else result.mixture.n_components
        yield row | ended | {"k_found": k, "exact": k == law.k, "held_out": mean_log_density(result, held_out)}


def bundled(name: str) -> Floats:
    """A table that comes with the library."""
    text = (files("scoremix") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return np.loadtxt(text.splitlines(), delimiter=",", skiprows=1, ndmin=2)


REAL = {
    "Old Faithful": lambda: bundled("old_faithful"),
    "galaxies": lambda: bundled("galaxies"),
    "iris": lambda: load_iris().data,
    "wine": lambda: load_wine().data,
    "breast cancer, 10 columns": lambda: load_breast_cancer().data[:, :10],
}


def cross_validated(method: Method, x: Floats, largest: int, kind: str, seed: int) -> float | None:
    """Mean log likelihood of rows that were left out, in five parts; None where a fit has none."""
    values = []
    for learnt, left in KFold(5, shuffle=True, random_state=seed).split(x):
        likelihood = mean_log_density(timed(method, x[learnt], largest, kind, seed)[0], x[left])
        if likelihood is None:
            return None
        values.append(likelihood * len(left) / len(x))
    return sum(values)


def real_rows(problem: str, seed: int, tiny: bool) -> Iterator[Row]:
    """Full covariances, every column of variance one, which scikit-learn's start needs; likelihood by parts."""
    x, largest = StandardScaler().fit_transform(REAL[problem]()), 3 if tiny else LARGEST_REAL_GRID
    row: Row = {"covariance": "full", "d": x.shape[1], "n": len(x)}
    row |= dict.fromkeys(("separation", "zipf", "k_true", "exact"))
    for method in (AUTO, GRID):
        result, ended = timed(method, x, largest, "full", seed)
        k = None if result is None else result.mixture.n_components
        yield row | ended | {"k_found": k, "held_out": cross_validated(method, x, largest, "full", seed)}


def components_table(rows: Rows) -> Table:
    """Components found, drawn problems."""
    rows = [row for row in rows if row["problem"] in SEPARATIONS]

    def wrong(sign: int, mine: Rows) -> int:
        return sum(sign * (row["k_found"] - row["k_true"]) > 0 for row in mine if row["k_found"] is not None)

    fields = {"few": partial(wrong, -1), "many": partial(wrong, 1), "total": total_seconds}
    shown = extended(rows, ("problem", "method"), **fields)
    head = "problems | method | exact | too few | too many | held-out, mean | CPU s"
    line = "{problem} | {method} | {exact.count} | {few} | {many} | {held_out.mean:.4f} | {total:.1f}"
    return table(shown, ("problem", "method"), head, line, "-")


def inexact_table(rows: Rows) -> Table:
    """Drawn problems of which the number is not found."""
    theirs, shown = {key(row): row for row in of(rows, method=GRID.name)}, []
    for row in of(rows, method=AUTO.name, exact=False):
        grid = theirs[key(row)]
        gap, tail = difference(row["held_out"], grid["held_out"]), ", Zipf" * row["zipf"]
        shown.append(row | {"tail": tail, "by_grid": grid["k_found"], "gap": gap})
    head = "problems | seed | problem | separation | components | found | by the grid | held-out against it"
    line = "{problem} | {seed} | {covariance}, d = {d}, n = {n:,}{tail} | {separation:.1f}"
    return table(shown, None, head, f"{line} | {{k_true}} | {{k_found}} | {{by_grid}} | {{gap:+.4f}}")


def real_table(rows: Rows) -> Table:
    """Components found, real data."""
    head = "data | method | components | held-out | CPU s"
    line = "{problem}, {n} x {d} | {method} | {k_found} | {held_out:.4f} | {seconds:.2f}"
    return table(of(rows, k_true=None), None, head, line, "-")


def components_aims(rows: Rows) -> Iterator[Aim]:
    """Exact where components are apart, two for Old Faithful, no worse than a grid and faster."""
    separated = of(rows, problem="separated", method=AUTO.name)
    yield at_least(
        f"exact on at least 90 % of {len(separated)} separated problems", share(separated, "exact"), 0.9, ".1%"
    )
    found = [row["k_found"] for row in of(rows, problem="Old Faithful", method=AUTO.name)]
    yield Aim("two components for Old Faithful", ", ".join(map(str, found)), bool(found) and set(found) == {2})
    gaps = differences(rows, AUTO.name, GRID.name).values()
    worse, worst = sum(gap < -NEVER_WORSE for gap in gaps), min(gaps, default=float("nan"))
    sentence = f"never worse than the grid on held-out rows by more than {NEVER_WORSE:g} nats"
    yield Aim(sentence, f"{worse} of {len(gaps)}, the worst {worst:+.4f}", bool(gaps) and worse == 0)
    yield time_aim("all problems", rows, AUTO.name, GRID.name, 1.0)


DRAWN = [{"problem": problem, "seed": seed} for problem, seeds in SEEDS.items() for seed in seeds]

COMPONENTS = Benchmark(
    components,
    Size([*DRAWN, *({"problem": name, "seed": 0} for name in REAL)], tiny=False),
    Size(
        [
            *({"problem": problem, "seed": seeds[0]} for problem, seeds in SEEDS.items()),
            {"problem": "Old Faithful", "seed": 0},
        ],
        tiny=True,
    ),
    [components_table, inexact_table, real_table],
    aims=components_aims,
)
