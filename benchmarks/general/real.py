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
from statistics import fmean
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from benchmarks.clock import cpu_seconds
from benchmarks.drawing import GREY, MUSTARD, RED, legend, names_down, panels
from benchmarks.frame import Benchmark, Size
from benchmarks.general import neural
from benchmarks.general.known import DARK, LIGHT, corrected_levels, standard_error
from benchmarks.general.rivals import best_of_grid, kernels
from benchmarks.global_start.components import bundled
from benchmarks.tables import Row, Rows, Table, across, extended, of, table, values_of
from scoremix import DiffusionMixture, GaussianMixture
from scoremix.arrays import Floats
from scoremix.evaluation.certificate import integrated_losses
from scoremix.learning.coordinates import BaseMixture
from scoremix.learning.mixtures.levels import find_base_mixture
from scoremix.learning.moments import chunk_moments
from scoremix.samples.source import ArraySource

BASE, CORRECTED, SHAPES = "scoremix, mixture", "scoremix, corrected", "scoremix, shape by BIC"
GRID, KDE, NEURAL = "scikit-learn, BIC", "KDE, cross-validated", "neural score"
HELD_OUT, LOSS_ROWS, NEURAL_SPLITS = 0.2, 2000, 2
REPEATS = 4
"""Draws of noise per row of a loss, where there are fewer rows than `LOSS_ROWS`."""

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """A table: its rows, how it is brought to scale, and the largest k of the grid."""

    x: Floats
    scale: str = "columns"
    most: int = 10


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


def digits(**settings: float | str) -> Data:
    """Images of digits as numbers."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1797, 64))
    return Data(load_digits().data + noise, **settings)


DATA: dict[str, Callable[[], Data]] = {
    "iris": lambda: Data(load_iris().data),
    "wine": lambda: Data(load_wine().data),
    "breast cancer": lambda: Data(load_breast_cancer().data),
    "digits, 64-D": lambda: digits(scale="one", most=30),
    "digits, 20 axes": lambda: digits(scale="axes", most=20),
    "Old Faithful": lambda: Data(bundled("old_faithful")),
    "galaxies": lambda: Data(bundled("galaxies")),
    "flow-like": lambda: Data(flow_like(), most=30),
}
SPLITS = {"digits, 64-D": 3, "digits, 20 axes": 5, "flow-like": 2}
"""Where there are not ten."""


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


def learn_mixture(x: Floats, seed: int) -> BaseMixture:
    """The mixture alone, without the levels that correct it."""
    source = ArraySource(x)
    moments = chunk_moments(next(iter(source.chunks(len(x)))), x[0])
    return find_base_mixture(source, moments, None, np.random.default_rng(seed))


def real(data: str, seed: int, tiny: bool) -> Iterator[Row]:
    """All methods on one split; the neural score on two of them."""
    chosen = DATA[data]()
    x, held_out = split(chosen, seed)
    times: dict[str, float] = {}

    def learn(name: str, fit: Callable[[], T]) -> T:
        found, seconds = cpu_seconds(fit)
        times[name] = times.get(name, 0.0) + seconds
        return found

    learn(BASE, partial(learn_mixture, x, seed))
    model = learn(CORRECTED, lambda: DiffusionMixture("general", random_state=seed).fit(x))
    crude = model.to_mixture()
    shapes = [
        learn(SHAPES, lambda kind=kind: GaussianMixture("auto", covariance_type=kind, random_state=seed).fit(x))
        for kind in ("full", "diag")
    ]
    shaped = min(shapes, key=lambda mixture: mixture.bic(x))
    grid, closed = learn(GRID, partial(best_of_grid, x, 3 if tiny else chosen.most, seed))
    kde, kde_score = learn(KDE, partial(kernels, x, seed))
    likelihood = {BASE: crude, SHAPES: shaped, CORRECTED: model, GRID: grid}
    likelihood = {name: float(fitted.score(held_out)) for name, fitted in likelihood.items()}
    likelihood[KDE] = float(kde.score_samples(held_out).mean())
    numbers = {BASE: crude.n_components_, SHAPES: shaped.n_components_, CORRECTED: model.n_cells_}
    numbers[GRID] = grid.n_components
    kinds = {SHAPES: shaped.covariance_type, GRID: grid.covariance_type}
    denoisers: dict[str, Callable[[Floats, float], Floats]] = {
        BASE: crude.denoise,
        SHAPES: shaped.denoise,
        CORRECTED: model.ladder_.denoise,
        GRID: lambda y, sigma: y + sigma**2 * closed.score(y, sigma),
        KDE: lambda y, sigma: y + sigma**2 * kde_score(y, sigma),
    }
    if neural.PRESENT and seed < NEURAL_SPLITS:
        denoisers[NEURAL] = learn(NEURAL, partial(neural.fit_denoiser, x, seed, 20 if tiny else neural.STEPS))
    losses = denoising_losses(denoisers, held_out[:LOSS_ROWS], model.noise_levels_, seed, tiny)
    for method, loss in losses.items():
        gain = losses[BASE] - loss  # per row, so that both see the same noise
        row: Row = {"n": len(x), "d": x.shape[1], "method": method, "k": numbers.get(method)}
        row |= {"shape": kinds.get(method), "log_likelihood": likelihood.get(method), "loss": float(loss.mean())}
        row |= {"gain": float(gain.mean()), "gain_error": standard_error(gain), "seconds": times[method]}
        row["corrected_levels"] = corrected_levels(model) if method == CORRECTED else None
        yield row | {"floor": model.noise_floor_ if method == CORRECTED else None}


def denoising_losses(
    denoisers: dict[str, Callable[[Floats, float], Floats]], rows: Floats, sigmas: Floats, seed: int, tiny: bool
) -> dict[str, Floats]:
    """Integrated losses of every row, more draws of noise where there are few rows."""
    repeats = 1 if tiny or len(rows) == LOSS_ROWS else REPEATS
    rngs = (np.random.default_rng([seed, 3, i]) for i in range(repeats))
    drawn = [integrated_losses(list(denoisers.values()), rows, sigmas, rng) for rng in rngs]
    return dict(zip(denoisers, np.mean(drawn, axis=0), strict=True))


def real_figure(rows: Rows) -> Figure:
    """held-out likelihood beyond scikit-learn's best, and denoising loss above the mixture's, a dot per split"""
    names = values_of(rows, "data")
    colours = {BASE: DARK, SHAPES: "#7b5aa6", CORRECTED: LIGHT, GRID: RED, KDE: GREY, NEURAL: MUSTARD}
    rival = {(row["data"], row["seed"]): row["log_likelihood"] for row in of(rows, method=GRID)}
    figure, axes = panels(2, 10.5, 4.8, sharey=True)

    def dots(panel: Axes, method: str, shift: float, value: Callable[[Row], float]) -> None:
        for at, name in enumerate(names):
            values = [value(row) for row in of(rows, data=name, method=method)]
            panel.plot(values, [at + shift] * len(values), "o", ms=5, alpha=0.6, color=colours[method])

    for method, shift in ((BASE, -0.2), (SHAPES, 0.0), (KDE, 0.2)):
        dots(axes[0], method, shift, lambda row: row["log_likelihood"] - rival[row["data"], row["seed"]])
    for method, shift in ((CORRECTED, -0.24), (GRID, -0.08), (KDE, 0.08), (NEURAL, 0.24)):
        dots(axes[1], method, shift, lambda row: -row["gain"])
    axes[0].set_xscale("symlog", linthresh=0.1)
    axes[1].set_xscale("symlog", linthresh=0.01)
    axes[0].set_title("held-out log likelihood beyond scikit-learn's, nats per row", fontsize=10)
    axes[1].set_title("denoising loss above the mixture's, nats per dimension", fontsize=10)
    names_down(axes[0], names)
    for panel in axes:
        panel.axvline(0, color="0.5", lw=0.8)
    handles = [Line2D([], [], marker="o", ls="", color=colour, label=method) for method, colour in colours.items()]
    legend(figure, handles=handles, ncols=3)
    return figure


def likelihood_table(rows: Rows) -> Table:
    """Held-out log likelihood, nats per row, mean over random splits of 80 : 20."""

    def beyond(here: Rows) -> str:
        mine, rival = (of(here, method=method) for method in (BASE, GRID))
        gains = [a["log_likelihood"] - b["log_likelihood"] for a, b in zip(mine, rival, strict=True)]
        error = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0  # as if splits were independent
        return f"{fmean(gains):+.3f} ± {error:.3f}"

    def usual(here: Rows) -> str:
        kinds = [row["shape"] for row in here]
        return max(set(kinds), key=kinds.count)

    rows = extended(extended(rows, ("data", "method"), usual=usual), "data", beyond=beyond)
    cell = "{{method[{}].log_likelihood.mean:.3f}}".format
    shape = "({{method[{0}].usual}}, k = {{method[{0}].k.median:g}})".format
    head = f"data (rows x columns, splits) | mixture | corrected | shape by BIC | {GRID} | {KDE}"
    line = f"{{data}} ({{n:,}} x {{d}}, {{method[{BASE}].seed.len}}) | {cell(BASE)} (k = {{method[{BASE}].k.median:g}})"
    line += (
        f" | {cell(CORRECTED)} | {cell(SHAPES)} {shape(SHAPES)} | {cell(GRID)} {shape(GRID)} | {cell(KDE)} | {{beyond}}"
    )
    return table(rows, "data", f"{head} | mixture beyond scikit-learn", line)


def loss_table(rows: Rows) -> Table:
    """Held-out denoising loss below the mixture's, integrated over noise levels, nats per dimension (± one split's
    standard error).
    """

    def gain(here: Rows) -> str:
        gain, error = (fmean(row[name] for row in here) for name in ("gain", "gain_error"))
        return "0" if abs(gain) < 1e-12 else f"{gain:+.4f} ± {error:.4f}"

    def acts(here: Rows) -> float:
        return fmean(row["corrected_levels"] > 0 for row in of(here, method=CORRECTED))

    def worst(here: Rows) -> float:
        lost = [row for row in of(here, method=CORRECTED) if row["gain"] < -1e-12]
        return max((-row["gain"] / max(row["gain_error"], 1e-12) for row in lost), default=0.0)

    rows = extended(extended(rows, ("data", "method"), mean=gain), "data", acts=acts, worst=worst)
    _, cells = across("method", (CORRECTED, SHAPES, GRID, KDE, NEURAL), "{mean}")
    head = f"data | corrected | shape by BIC | {GRID} | {KDE} | {NEURAL}"
    head += " | splits that are corrected | worst split, standard errors above"
    return table(rows, "data", head, f"{{data}} | {cells} | {{acts.percent:.0f}} % | {{worst:.1f}}")


def time_table(rows: Rows) -> Table:
    """CPU seconds of a fit, the search for settings included."""
    heads, cells = across("method", (BASE, SHAPES, CORRECTED, GRID, KDE, NEURAL), "{seconds.median:.2f}")
    return table(rows, "data", f"data | {heads}", f"{{data}} | {cells}")


REAL = Benchmark(
    real,
    Size([{"data": name, "seed": seed} for name in DATA for seed in range(SPLITS.get(name, 10))], tiny=False),
    Size([{"data": name, "seed": 0} for name in ("iris", "galaxies")], tiny=True),
    [likelihood_table, loss_table, time_table],
    {"real": real_figure},
)
