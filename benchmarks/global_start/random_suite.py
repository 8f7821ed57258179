"""The suite of random configurations: a seed gives the configuration, its law and its rows, the same everywhere.

Seeds 0 to 299 are the first suite, on which the method was developed; 1000 to 1299 the second, drawn afterwards.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.global_start.laws import Law, equal, typically_apart, zipf

FIRST, SECOND = range(300), range(1000, 1300)

LAYOUTS = ("random", "uniform", "hierarchical")
KINDS = ("spherical", "diag", "full")


@dataclass(frozen=True)
class Configuration:
    """What a law and its number of rows are made of.

    Attributes
    ----------
    layout : {"random", "uniform", "hierarchical"}
        Means are normal, uniform in a cube, or normal about far fewer centres, which are normal six times as wide.
    covariance : {"spherical", "diag", "full"}
        Of the law, and of the fits.
    k, d, n : int
        Components, dimensions, rows.
    separation : float
        Median distance of a mean from its nearest neighbour; typical standard deviations are one.
    zipf : bool
        Whether weights are proportional to 1, 1/2, 1/3, ... instead of equal.
    condition : float
        Ratio of the largest to the smallest possible variance.
    seed : int
        Of the law; rows are drawn with ``2 * seed``, the held-out ones with ``2 * seed + 1``.
    """

    layout: str
    covariance: str
    k: int
    d: int
    separation: float
    zipf: bool
    condition: float
    n: int
    seed: int


def configuration(seed: int) -> Configuration:
    """Draw a configuration; the order of the draws is part of the definition."""
    rng = np.random.default_rng([7, seed])
    return Configuration(
        layout=str(rng.choice(LAYOUTS)),
        covariance=str(rng.choice(KINDS)),
        k=_whole(np.exp(rng.uniform(np.log(3), np.log(50)))),
        d=_whole(np.exp(rng.uniform(np.log(2), np.log(32)))),
        separation=float(rng.uniform(2.5, 7)),
        zipf=bool(rng.random() < 0.5),
        condition=float(rng.uniform(1, 4)),
        n=int(np.exp(rng.uniform(np.log(1e3), np.log(4e4)))),
        seed=seed,
    )


def _whole(value: float) -> int:
    return int(np.round(value))


def law_of(chosen: Configuration) -> Law:
    """Draw the law of a configuration."""
    rng = np.random.default_rng([8, chosen.seed])
    k, d = chosen.k, chosen.d
    z = rng.uniform(-1, 1, (k, d)) * 1.7 if chosen.layout == "uniform" else rng.standard_normal((k, d))
    if chosen.layout == "hierarchical":
        groups = max(2, int(np.sqrt(k)))
        z = (rng.standard_normal((groups, d)) * 6)[np.arange(k) % groups] + z
    covariances, spread = np.empty((k, d, d)), np.log(chosen.condition)
    for i in range(k):
        size = None if chosen.covariance == "spherical" else d
        values = np.exp(np.full(d, rng.uniform(-0.5, 0.5, size) * spread))
        axes = np.linalg.qr(rng.standard_normal((d, d)))[0] if chosen.covariance == "full" else np.eye(d)
        covariances[i] = (axes * values) @ axes.T
    return Law(zipf(k) if chosen.zipf else equal(k), typically_apart(z, chosen.separation), covariances)
