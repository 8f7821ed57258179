"""How many components are found, on drawn problems and on real data, against a grid of BIC."""

from collections.abc import Iterator, Sequence
from importlib.resources import files

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from benchmarks.global_start.comparison import mean_log_density, n_held_out, timed
from benchmarks.global_start.laws import Law, all_apart, equal, zipf
from benchmarks.global_start.methods import AUTO, GRID, Method
from benchmarks.global_start.random_suite import KINDS
from benchmarks.run import Row
from benchmarks.tables import Size
from scoremix.arrays import Floats

METHODS: tuple[Method, ...] = (AUTO, GRID)

SEPARATED, HARDER = range(40), range(100, 124)
LARGEST_GRID, LARGEST_REAL_GRID = 40, 10

ROWS_PER_PARAMETER = 8
"""Of the smallest component, where covariances are full: with fewer rows BIC itself prefers fewer components."""

MOST_ROWS = 40_000


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


def drawn_rows(problem: str, seed: int, low: float, high: float, tiny: bool) -> Iterator[Row]:
    """A row for each method on a drawn problem."""
    law, kind, n, separation = drawn(seed, low, high)
    if tiny:
        k = min(law.k, 3)
        law, n = Law(equal(k), law.means[:k], law.covariances[:k]), 100 * k
    x, held_out = law.sample(n, 2 * seed), law.sample(n_held_out(law.d, tiny), 2 * seed + 1)
    for method in METHODS:
        result, seconds, error = timed(method, x, min(2 * law.k, LARGEST_GRID), kind, seed)
        found = None if result is None else result.mixture.n_components
        yield {
            "problem": problem,
            "seed": seed,
            "covariance": kind,
            "d": law.d,
            "n": n,
            "separation": separation,
            "zipf": bool(law.weights[0] > law.weights[-1]),
            "k_true": law.k,
            "method": method.name,
            "k_found": found,
            "exact": found == law.k,
            "held_out": None if result is None else mean_log_density(result, held_out),
            "seconds": seconds,
            "error": error,
        }


def bundled(name: str) -> Floats:
    """A table that comes with the library."""
    text = (files("scoremix") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return np.loadtxt(text.splitlines(), delimiter=",", skiprows=1, ndmin=2)


def real_data() -> Iterator[tuple[str, Floats]]:
    """Tables with every column brought to variance one, which scikit-learn's start needs."""
    tables = {
        "Old Faithful": bundled("old_faithful"),
        "galaxies": bundled("galaxies"),
        "iris": load_iris().data,
        "wine": load_wine().data,
        "breast cancer, 10 columns": load_breast_cancer().data[:, :10],
    }
    for name, x in tables.items():
        yield name, StandardScaler().fit_transform(x)


def cross_validated(method: Method, x: Floats, largest: int, kind: str, seed: int) -> float | None:
    """Mean log likelihood of rows that were left out, in five parts; None where a fit has none."""
    values = []
    for learnt, left in KFold(5, shuffle=True, random_state=seed).split(x):
        result, _, _ = timed(method, x[learnt], largest, kind, seed)
        likelihood = None if result is None else mean_log_density(result, x[left])
        if likelihood is None:
            return None
        values.append(likelihood * len(left) / len(x))
    return sum(values)


def real_rows(name: str, x: Floats, largest: int, seed: int) -> Iterator[Row]:
    """A row for each method on real data, full covariances: found on all rows, likelihood by parts."""
    for method in METHODS:
        result, seconds, error = timed(method, x, largest, "full", seed)
        yield {
            "problem": name,
            "seed": seed,
            "covariance": "full",
            "d": x.shape[1],
            "n": len(x),
            "separation": None,
            "zipf": None,
            "k_true": None,
            "method": method.name,
            "k_found": None if result is None else result.mixture.n_components,
            "exact": None,
            "held_out": cross_validated(method, x, largest, "full", seed),
            "seconds": seconds,
            "error": error,
        }


def components(size: Size, offset: int = 0) -> Iterator[Row]:
    """Separated problems, harder ones, and real data."""
    tiny = size == "tiny"
    suites: Sequence[tuple[str, range, float, float]] = (
        ("separated", SEPARATED, 5.0, 7.0),
        ("harder", HARDER, 3.0, 5.0),
    )
    for problem, seeds, low, high in suites:
        for seed in seeds[: 1 if tiny else None]:
            yield from drawn_rows(problem, offset + seed, low, high, tiny)
    for name, x in list(real_data())[: 1 if tiny else None]:
        yield from real_rows(name, x, 3 if tiny else LARGEST_REAL_GRID, offset)
