"""Noise against temperature: the same levels and the same steps, with and without adding the noise to the rows.

Covariances (one known variance) and weights (equal) are given, only means are learnt. Both anneals fit components that
are wider by the variance of the level. In one, noise of that variance is added to the rows, drawn anew for every level,
so that the model remains the law of the rows; the other keeps the rows as they are, which is EM at a temperature.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from sklearn.cluster import kmeans_plusplus

from benchmarks.clock import cpu_seconds
from benchmarks.frame import Benchmark, Size
from benchmarks.global_start.designed import grid, unit
from benchmarks.global_start.laws import all_apart, equal
from benchmarks.tables import Row, Rows, Table, table
from scoremix.arrays import Floats
from scoremix.learning.em.em import e_step
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

LEVELS, STEPS = 16, 20
LOWEST = 0.1
"""Variance of the last level, in units of that of the components."""

JITTER = 0.1
"""How far the means are from each other at the start of an anneal, in standard deviations of the components."""


def moved(source: ArraySource, means: Floats, variance: float, steps: int) -> Floats:
    """EM of the means alone: every mean becomes that of its share of the rows."""
    k, d = means.shape
    for _ in range(steps):
        found = e_step(source, Mixture(equal(k), means, Spherical(np.full(k, variance), d)))
        means = np.asarray(means + found.first / np.maximum(found.mass, 1e-300)[:, None])
    return means


def annealed(x: Floats, k: int, variance: float, seed: int, noisy: bool) -> Floats:
    """Follow the means while the added variance falls."""
    rng = np.random.default_rng([13, seed])
    means: Floats = x.mean(axis=0) + JITTER * np.sqrt(variance) * rng.standard_normal((k, x.shape[1]))
    widest = np.linalg.eigvalsh(np.cov(x.T))[-1]
    for level in np.geomspace(widest, LOWEST * variance, LEVELS):
        rows = x + np.sqrt(level) * rng.standard_normal(x.shape) if noisy else x
        means = moved(ArraySource(rows), means, variance + level, STEPS)
    return means


def seeded(x: Floats, k: int, variance: float, seed: int) -> Floats:
    """As many steps of EM from the seeds of k-means++."""
    means = kmeans_plusplus(x, k, random_state=seed)[0]
    return moved(ArraySource(x), means, variance, LEVELS * STEPS)


METHODS: dict[str, Callable[[Floats, int, float, int], Floats]] = {
    "fresh noise": partial(annealed, noisy=True),
    "temperature": partial(annealed, noisy=False),
    "k-means++": seeded,
}


def found_centres(means: Floats, truth: Floats, radius: float) -> int:
    """True centres that have a learnt mean within `radius`."""
    distances = np.linalg.norm(truth[:, None] - means[None], axis=2)
    return int((distances.min(axis=1) <= radius).sum())


def noise(seed: int, n: int, side: int) -> Iterator[Row]:
    """Centres found by the three ways: random ones, no two nearer than four standard deviations, and a square grid."""
    rng = np.random.default_rng([14, seed])
    laws = {"random, 5-D": unit(all_apart(rng.standard_normal((side**2, 5)), 4.0)), f"{side} x {side} grid": grid(side)}
    for layout, law in laws.items():
        x = law.sample(n, 2 * seed)
        for name, learn in METHODS.items():
            means, seconds = cpu_seconds(partial(learn, x, law.k, 1.0, seed))
            found = found_centres(means, law.means, 1.0)
            row: Row = {"layout": layout, "k": law.k, "d": law.d, "method": name}
            yield row | {"found": found, "success": found == law.k, "seconds": seconds}


def noise_table(rows: Rows) -> Table:
    """Noise against temperature."""
    head = "centres | method | centres found, by seed | all found | CPU s"
    line = "{layout}, k = {k} | {method} | {found.each} | {success.count} | {seconds.sum:.1f}"
    return table(rows, ("layout", "method"), head, line)


NOISE = Benchmark(
    noise,
    Size([{"n": 5_000, "seed": seed} for seed in range(5)], side=5),
    Size([{"n": 300, "seed": 0}], side=2),
    [noise_table],
)
