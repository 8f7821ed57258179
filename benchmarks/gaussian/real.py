"""Real and realistic data: whole fits at the defaults, where dimensions, components or rows are many or few.

Patches of a photograph as in image restoration, rows like embeddings (more columns than rows of a component),
categories, a thousand components in the plane, components of unequal sizes. All come from what scikit-learn ships, or
are drawn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Any

import numpy as np
import sklearn.mixture
from matplotlib.figure import Figure
from scipy.fft import dctn
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from benchmarks.clock import in_turns
from benchmarks.drawing import BLUE, GREY, bars, legend, panels
from benchmarks.frame import Benchmark, Size, cells
from benchmarks.gaussian.fits import categories
from benchmarks.gaussian.methods import DOUBLE, RIVAL
from benchmarks.tables import Row, Rows, Table, of, table, values_of
from benchmarks.targets import Aim, at_least, at_most
from scoremix import GaussianMixture
from scoremix.arrays import Floats

SIDE, NOISE = 8, 25.0
"""Pixels along a patch, and the deviation of the noise that is taken from held-out ones, of 255 grey levels."""

MOST_BELOW = 0.01
"""Nats per row by which held-out likelihood may be lower than that of scikit-learn's single start."""


@dataclass(frozen=True)
class Data:
    """Rows to learn and rows to judge by, their number, that of components, and the ratio of times aimed at."""

    make: Callable[[int], tuple[Floats, Floats]]
    n: int
    k: int
    most: float
    kind: str = "full"


@cache
def patches(n: int) -> tuple[Floats, Floats]:
    """Cosine transforms of grey patches without their mean."""
    grey = load_sample_image("china.jpg").mean(axis=2)
    blocks = extract_patches_2d(grey, (SIDE, SIDE), max_patches=n + n // 4, random_state=0)
    x = dctn(blocks, axes=(1, 2), norm="ortho").reshape(len(blocks), -1)[:, 1:]
    return x[:n], x[n:]


def embeddings(n: int, d: int) -> tuple[Floats, Floats]:
    """Ten classes whose spectrum falls from 1 to .05."""
    rng = np.random.default_rng(0)
    scale = np.geomspace(1, 0.05, d)
    centers = rng.normal(size=(10, d)) * scale * 1.2
    x = centers[rng.integers(10, size=2 * n)] + rng.normal(size=(2 * n, d)) * scale
    return x[:n], x[n:]


def one_hot(n: int) -> tuple[Floats, Floats]:
    """Twenty questions of five answers, and four numbers."""
    x = categories(20, 2 * n)
    return x[:n], x[n:]


def plane(n: int) -> tuple[Floats, Floats]:
    """A thousand round clusters."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 100, (1000, 2))
    x = centers[rng.integers(1000, size=2 * n)] + 0.3 * rng.normal(size=(2 * n, 2))
    return x[:n], x[n:]


def unequal(n: int) -> tuple[Floats, Floats]:
    """Twelve components, the heaviest twelve times the lightest."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, 13)
    centers, roots = 3 * rng.normal(size=(12, 8)), rng.normal(size=(12, 8, 8)) / np.sqrt(8)
    label = rng.choice(12, size=2 * n, p=weights / weights.sum())
    x = centers[label] + np.einsum("nij,nj->ni", roots[label], rng.normal(size=(2 * n, 8)))
    return x[:n], x[n:]


DATA = {
    "patches, 20 components": Data(patches, 40_000, 20, 0.5),
    "patches, 100 components": Data(patches, 40_000, 100, 0.25),
    **{
        f"embeddings, d = {d}, {kind}": Data(partial(embeddings, d=d), 2_000, 10, most, kind)
        for d in (256, 768)
        for kind, most in (("full", 1.2), ("tied", 1.2), ("diag", 2.5), ("spherical", 2.5))
    },
    "categories": Data(one_hot, 1_477, 6, 3.0),
    "1,000 components in the plane": Data(plane, 5_000, 1_000, 1.0),
    "12 unequal components": Data(unequal, 100_000, 12, 0.6),
}


def real(data: str, n: int, k: int, repeats: int) -> Iterator[Row]:
    """One start of scikit-learn and this library's default, in turns."""
    chosen = DATA[data]
    x, held_out = chosen.make(n)
    made: dict[str, Callable[..., Any]] = {RIVAL.name: sklearn.mixture.GaussianMixture, DOUBLE.name: GaussianMixture}
    models = {name: of_kind(k, covariance_type=chosen.kind, random_state=0) for name, of_kind in made.items()}
    found, times = in_turns({name: partial(model.fit, x) for name, model in models.items()}, repeats)
    for name, seconds in times.items():
        row: Row = {"method": name, "seconds": median(seconds), "ratio": median(seconds) / median(times[RIVAL.name])}
        row |= {"held_out": float(found[name].score(held_out)), "most": chosen.most, "repeats": repeats}
        yield row | {"psnr": denoised(found[name], held_out) if data.startswith("patches") else None}


def denoised(model: Any, x: Floats) -> float:
    """Peak signal-to-noise ratio of denoised patches, in decibel, by the mixture's posterior mean."""
    mixture = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_)
    noisy = x + NOISE * np.random.default_rng(1).standard_normal(x.shape)
    error = np.sum((mixture.denoise(noisy, NOISE) - x) ** 2) / (len(x) * SIDE**2)
    return float(10 * np.log10(255**2 / error))


def real_table(rows: Rows) -> Table:
    """Whole fits at the defaults, one thread, the least favourable first."""
    shown, rivals = [], {row["data"]: row for row in of(rows, method=RIVAL.name)}
    for row in sorted(of(rows, method=DOUBLE.name), key=lambda row: -row["ratio"] / row["most"]):
        other = rivals[row["data"]]
        shown.append(row | {"other": other["seconds"], "gain": row["held_out"] - other["held_out"]})
        shown[-1] |= {"other_psnr": other["psnr"]}
    head = "data | rows | scikit-learn, CPU s | scoremix, CPU s | times one start | goal | held out, nats more | PSNR"
    line = "{data} | {n:,} | {other:.2f} | {seconds:.2f} | {ratio:.2f} | {most:g} | {gain:+.3f}"
    return table(shown, None, head, f"{line} | {{other_psnr:.2f}}, {{psnr:.2f}}", "-")


def real_figure(rows: Rows) -> Figure:
    """times one start of scikit-learn"""
    names = values_of(rows, "data")
    mine = {row["data"]: row for row in of(rows, method=DOUBLE.name)}
    groups = {"scoremix": [mine[name]["ratio"] for name in names], "goal": [mine[name]["most"] for name in names]}
    figure, (axes,) = panels(1, 7, 1.2 + 0.36 * len(names), lines=False)
    bars(axes, names, groups, {"scoremix": BLUE, "goal": GREY})
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set(xscale="log", xlabel="whole fit: times one start of scikit-learn")
    axes.set_xticks(ticks := [0.25, 0.5, 1, 2, 4, 8], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    legend(figure, axes)
    return figure


def real_aims(rows: Rows) -> Iterator[Aim]:
    """Time and likelihood against one start."""
    rivals = {row["data"]: row for row in of(rows, method=RIVAL.name)}
    for row in of(rows, method=DOUBLE.name):
        yield at_most(f"{row['data']}: {row['most']:g} times one start", row["ratio"], row["most"])
        gain = row["held_out"] - rivals[row["data"]]["held_out"]
        yield at_least(f"{row['data']}: held out at least that of one start", gain, -MOST_BELOW)


REAL = Benchmark(
    real,
    Size(cells("data n k", *((name, data.n, data.k) for name, data in DATA.items())), repeats=1),
    Size(cells("data n k", ("patches, 20 components", 600, 3), ("embeddings, d = 256, diag", 200, 3)), repeats=1),
    [real_table],
    {"real": real_figure},
    real_aims,
)
