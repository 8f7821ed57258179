"""Real data: held-out likelihood of the mixture, held-out denoising loss of the score, against what people use.

The mixture is the one that the model is built on, whose components are searched for in two ways where rows are few.
Beside it stands `GaussianMixture("auto")` with full or diagonal covariances, by the smaller BIC.

Rows are split at random, and brought to columns of variance one by the learning part. Images of digits are counts: half
a step of uniform noise is added to them, once, for else a density of them has no bound; they keep one scale.

Denoising losses are integrated over the noise levels, ``sum_l |D(y) - x|^2 (t_l - t_{l+1}) / (2 d t_l^2)`` in nats per
dimension: their differences are differences of bounds on the Kullback-Leibler divergence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from benchmarks.general import neural
from benchmarks.general.rivals import best_of_grid, kernels
from benchmarks.global_start.components import bundled
from benchmarks.run import Row, cpu_seconds
from benchmarks.tables import Size
from scoremix import DiffusionMixture, GaussianMixture
from scoremix.arrays import Floats
from scoremix.evaluation.certificate import integrated_losses
from scoremix.learning.coordinates import BaseMixture
from scoremix.learning.mixtures.levels import find_base_mixture
from scoremix.learning.moments import chunk_moments
from scoremix.samples.source import ArraySource

BASE, CORRECTED, SHAPES = "scoremix, mixture", "scoremix, corrected", "scoremix, shape by BIC"
GRID, KDE, NEURAL = "scikit-learn, BIC", "KDE, cross-validated", "neural score"
HELD_OUT, LOSS_ROWS = 0.2, 2000
REPEATS = 4
"""Draws of noise per row of a loss, where there are fewer rows than `LOSS_ROWS`."""


@dataclass(frozen=True)
class Data:
    """A table: its rows, how it is brought to scale, largest k of the grid, splits, and splits of the neural score."""

    x: Floats
    scale: str = "columns"
    most: int = 10
    splits: int = 10
    neural_splits: int = 2


def flow_like(n: int = 20_000, d: int = 8, k: int = 16) -> Floats:
    """Rows like those of flow cytometry: clusters of weights from 0.3 % to 30 %, of all shapes, that overlap.

    A third of the clusters is bent, a third has long tails, and columns have seen a logicle-like transformation.
    """
    rng = np.random.default_rng(2026)
    weights = np.geomspace(1, 0.01, k)
    means = 2.2 * rng.standard_normal((k, d))
    labels = rng.choice(k, size=n, p=weights / weights.sum())
    x = np.empty((n, d))
    for j in range(k):
        rows = np.flatnonzero(labels == j)
        axes = np.linalg.qr(rng.standard_normal((d, d))).Q
        z = rng.standard_normal((len(rows), d))
        if j % 3 == 1:  # bent
            z[:, 0] = z[:, 0] + 0.4 * (z[:, 1] ** 2 - 1)
        if j % 3 == 2:  # long tails
            z /= np.sqrt(rng.chisquare(6, (len(rows), 1)) / 6)
        x[rows] = means[j] + (z * np.exp(rng.uniform(-1.6, 0.2, d))) @ axes.T
    return np.asarray(np.arcsinh(x / 2))


def tables() -> dict[str, Data]:
    """All data sets."""
    digits = load_digits().data + np.random.default_rng(0).uniform(-0.5, 0.5, (1797, 64))
    return {
        "iris": Data(load_iris().data),
        "wine": Data(load_wine().data),
        "breast cancer": Data(load_breast_cancer().data),
        "digits, 64-D": Data(digits, "one", most=30, splits=3),
        "digits, 20 axes": Data(digits, "axes", most=20, splits=5),
        "Old Faithful": Data(bundled("old_faithful")),
        "galaxies": Data(bundled("galaxies")),
        "flow-like": Data(flow_like(), most=30, splits=2),
    }


def split(data: Data, seed: int) -> tuple[Floats, Floats]:
    """Rows to learn from and rows held out, on the scale of the former."""
    order = np.random.default_rng([seed, 2]).permutation(len(data.x))
    cut = int(HELD_OUT * len(order))
    learnt, held_out = data.x[order[cut:]], data.x[order[:cut]]
    mean = learnt.mean(axis=0)
    if data.scale == "columns":
        return (learnt - mean) / learnt.std(axis=0), (held_out - mean) / learnt.std(axis=0)
    axes = np.eye(data.x.shape[1])
    if data.scale == "axes":
        axes = np.linalg.svd(learnt - mean, full_matrices=False).Vh[:20].T
    learnt, held_out = (learnt - mean) @ axes, (held_out - mean) @ axes
    scale = np.sqrt(learnt.var(axis=0).mean())
    return learnt / scale, held_out / scale


def real(size: Size) -> Iterator[Row]:
    """Every data set, split and method."""
    tiny = size == "tiny"
    for name, data in tables().items():
        if tiny and name not in ("iris", "galaxies"):
            continue
        for seed in range(1 if tiny else data.splits):
            learnt, held_out = split(data, seed)
            with_network = neural.PRESENT and seed < data.neural_splits
            yield from one_split(name, learnt, held_out, 3 if tiny else data.most, seed, with_network, tiny)


def learn_mixture(x: Floats, seed: int) -> BaseMixture:
    """The mixture alone, without the levels that correct it."""
    source = ArraySource(x)
    moments = chunk_moments(next(iter(source.chunks(len(x)))), x[0])
    return find_base_mixture(source, moments, None, np.random.default_rng(seed))


def one_split(
    name: str, x: Floats, held_out: Floats, most: int, seed: int, with_network: bool, tiny: bool
) -> Iterator[Row]:
    """All methods on one split."""
    base_seconds = cpu_seconds(partial(learn_mixture, x, seed))[1]
    auto, auto_seconds = cpu_seconds(lambda: GaussianMixture("auto", random_state=seed).fit(x))
    model, seconds = cpu_seconds(lambda: DiffusionMixture("general", random_state=seed).fit(x))
    crude = model.to_mixture()
    shaped, more_seconds = cpu_seconds(
        lambda: GaussianMixture("auto", covariance_type="diag", random_state=seed).fit(x)
    )
    shaped = min(auto, shaped, key=lambda mixture: mixture.bic(x))
    (grid, closed), grid_seconds = cpu_seconds(partial(best_of_grid, x, most, seed))
    (kde, atoms), kde_seconds = cpu_seconds(partial(kernels, x, seed))
    likelihood: dict[str, float | None] = {
        BASE: float(crude.score(held_out)),
        SHAPES: float(shaped.score(held_out)),
        CORRECTED: float(model.score(held_out)),
        GRID: float(grid.score(held_out)),
        KDE: float(kde.score_samples(held_out).mean()),
    }
    times = {
        BASE: base_seconds,
        SHAPES: auto_seconds + more_seconds,
        CORRECTED: seconds,
        GRID: grid_seconds,
        KDE: kde_seconds,
    }
    numbers: dict[str, int | None] = {
        BASE: crude.n_components_,
        SHAPES: shaped.n_components_,
        CORRECTED: model.n_cells_,
        GRID: grid.n_components,
    }
    shapes = {SHAPES: shaped.covariance_type, GRID: grid.covariance_type}
    denoisers: dict[str, Callable[[Floats, float], Floats]] = {
        BASE: crude.denoise,
        SHAPES: shaped.denoise,
        CORRECTED: model.ladder_.denoise,
        GRID: lambda y, sigma: y + sigma**2 * closed.score(y, sigma),
        KDE: lambda y, sigma: y + sigma**2 * atoms.score(y, sigma),
    }
    if with_network:
        steps = 20 if tiny else neural.STEPS
        denoisers[NEURAL], times[NEURAL] = cpu_seconds(partial(neural.fit_denoiser, x, seed, steps))
    rows = held_out[:LOSS_ROWS]
    repeats = 1 if tiny or len(rows) == LOSS_ROWS else REPEATS
    drawn = [
        integrated_losses(list(denoisers.values()), rows, model.noise_levels_, np.random.default_rng([seed, 3, i]))
        for i in range(repeats)
    ]
    losses = dict(zip(denoisers, np.mean(drawn, axis=0), strict=True))
    for method in denoisers:
        gain = losses[BASE] - losses[method]  # per row, so that both see the same noise
        yield {
            "data": name,
            "n": len(x),
            "d": x.shape[1],
            "seed": seed,
            "method": method,
            "k": numbers.get(method),
            "shape": shapes.get(method),
            "log_likelihood": likelihood.get(method),
            "loss": float(losses[method].mean()),
            "gain": float(gain.mean()),
            "gain_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            "corrected_levels": sum(int(d.max() >= 0) for d in model.degrees_) if method == CORRECTED else None,
            "floor": model.noise_floor_ if method == CORRECTED else None,
            "seconds": times[method],
        }
