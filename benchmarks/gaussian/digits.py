"""How many digits are right after ten iterations: EM in extended precision is what all methods are compared with.

`numpy.longdouble` has 64 bits of mantissa on x86, 113 on some others, and is no better than double precision on the
rest; `HAS_EXTENDED` tells. It is the textbook, slow, for a few rows.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.clock import one_thread
from benchmarks.drawing import BLUE, LIGHT_BLUE, RED, legend, panels
from benchmarks.frame import Benchmark, Size, grid
from benchmarks.gaussian.methods import DOUBLE, REG, RIVAL, SINGLE
from benchmarks.gaussian.problems import clusters, conditioned, far_apart
from benchmarks.methods import KINDS
from benchmarks.tables import Row, Rows, Table, across, of, table, values_of
from benchmarks.targets import Aim, at_most
from scoremix.arrays import Floats
from scoremix.models.mixture import Mixture

Extended = NDArray[np.longdouble]

HAS_EXTENDED = bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 100)


def cholesky(a: Extended) -> Extended:
    """Lower factors of symmetric matrices (k, d, d), column by column."""
    lower = np.zeros_like(a)
    for j in range(a.shape[-1]):
        rest = a[:, j:, j] - np.einsum("kil,kl->ki", lower[:, j:, :j], lower[:, j, :j])
        lower[:, j:, j] = rest / np.sqrt(rest[:, :1])
    return lower


def solve_lower(lower: Extended, b: Extended) -> Extended:
    """``lower^-1 b`` for b of shape (k, d, n)."""
    out = np.zeros_like(b)
    for i in range(b.shape[1]):
        known = np.einsum("kl,kln->kn", lower[:, i, :i], out[:, :i])
        out[:, i] = (b[:, i] - known) / lower[:, i, i, None]
    return out


def shaped(kind: str, scatter: Extended, mass: Extended) -> Extended:
    """Covariance matrices (k, d, d) of a kind, from the scatter of every component about its mean."""
    d = scatter.shape[-1]
    covariance = scatter / mass[:, None, None]
    if kind == "tied":
        covariance = np.broadcast_to(scatter.sum(axis=0) / mass.sum(), scatter.shape)
    elif kind == "diag":
        covariance = covariance * np.eye(d)
    elif kind == "spherical":
        covariance = np.einsum("kii->k", covariance)[:, None, None] / d * np.eye(d)
    return covariance + np.longdouble(REG) * np.eye(d)


def extended_em(x: Floats, start: Mixture, n_iter: int) -> tuple[Extended, Extended, Extended]:
    """Weights (k,), means (k, d) and covariance matrices (k, d, d) after so many iterations."""
    rows, kind = x.astype(np.longdouble), start.covariance.kind
    weights, means, covariance = (np.array(v, np.longdouble) for v in (start.weights, start.means, start.covariances))
    for _ in range(n_iter):
        lower = cholesky(covariance)
        white = solve_lower(lower, np.swapaxes(rows[None] - means[:, None], 1, 2))
        half_log_det = np.log(np.einsum("kii->ki", lower)).sum(axis=1)
        log_joint = (np.log(weights) - half_log_det)[:, None] - np.sum(white**2, axis=1) / 2
        shares = np.exp(log_joint - log_joint.max(axis=0))
        shares /= shares.sum(axis=0)
        mass = shares.sum(axis=1)
        means = np.einsum("kn,ni->ki", shares, rows) / mass[:, None]
        offset = rows[None] - means[:, None]
        scatter = np.array([(r[:, None] * o).T @ o for r, o in zip(shares, offset, strict=True)])
        weights, covariance = mass / mass.sum(), shaped(kind, scatter, mass)
    return weights, means, covariance


def relative_error(mixture: Mixture, truth: tuple[Extended, Extended, Extended]) -> float:
    """Largest difference of a parameter, in coordinates in which the true covariance of its component is the identity.

    Weights are compared relative to themselves, means in standard deviations, covariances as relative ones: nothing
    depends on units or on the direction in which a component is thin. What is not finite is the largest number.
    """
    weights, means, covariance = truth
    lower = cholesky(covariance)
    shift = solve_lower(lower, (mixture.means - means)[:, :, None])
    half = solve_lower(lower, mixture.covariances - covariance)
    whole = solve_lower(lower, np.swapaxes(half, 1, 2))
    largest = np.max([np.max(np.abs(error)) for error in (mixture.weights / weights - 1, shift, whole)])
    return float(largest if np.isfinite(largest) else np.finfo(np.float64).max)


PROBLEMS = {"benign": clusters, "means 1e4 apart": far_apart, "condition 1e6": conditioned}


def accuracy(covariance: str, problem: str, seed: int, n: int, d: int, k: int) -> Iterator[Row]:
    """Difference from extended precision after ten iterations from the same start."""
    make = partial(conditioned, shared=covariance == "tied") if problem == "condition 1e6" else PROBLEMS[problem]
    law = make(k, d, seed)
    x, start = law.sample(n), law.start(covariance)
    truth = extended_em(x, start, 10)
    for method in (RIVAL, DOUBLE, SINGLE):
        with one_thread():
            mixture = method.prepare(x, start)(10, 0.0).mixture
        yield {"method": method.name, "error": relative_error(mixture, truth), "extended": HAS_EXTENDED}


def accuracy_figure(rows: Rows) -> Figure:
    """errors after ten iterations"""
    cases = list(dict.fromkeys((r["problem"], r["covariance"]) for r in sorted(rows, key=lambda r: r["problem"])))
    methods, colours = values_of(rows, "method"), {RIVAL.name: RED, DOUBLE.name: BLUE, SINGLE.name: LIGHT_BLUE}
    figure, (axes,) = panels(1, 8, 1.4 + 0.36 * len(cases))
    for at, method in enumerate(methods):
        mine = of(rows, method=method)
        places = [cases.index((r["problem"], r["covariance"])) + 0.2 * (at - (len(methods) - 1) / 2) for r in mine]
        axes.plot([r["error"] for r in mine], places, "o", ms=5, alpha=0.7, mew=0, color=colours[method], label=method)
    axes.set_yticks(range(len(cases)), [f"{problem}, {kind}" for problem, kind in cases])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="largest relative error of a parameter after 10 iterations")
    legend(figure, axes)
    return figure


def accuracy_table(rows: Rows) -> Table:
    """Digits after ten iterations."""
    heads, cells = across("method", values_of(rows, "method"), "{error.max:.0e}")
    head = f"largest error of a parameter, worst seed | {heads}"
    return table(rows, ("problem", "covariance"), head, f"{{problem}}, {{covariance}} | {cells}")


def accuracy_aims(rows: Rows) -> Iterator[Aim]:
    """Errors up to 1e-10 and 1e-5 on benign data; in double precision ten times scikit-learn's on other data."""
    rival = {(r["problem"], r["covariance"], r["seed"]): r["error"] for r in of(rows, method=RIVAL.name)}
    for row in rows:
        case, target = (row["problem"], row["covariance"], row["seed"]), 1e300  # any number, if it is finite
        if row["problem"] == "benign":
            target = 1e-10 if row["method"] == DOUBLE.name else 1e-5
        elif row["method"] == DOUBLE.name:
            target = 10 * rival[case]
        if row["method"] != RIVAL.name:
            yield at_most(f"{' '.join(map(str, case))} {row['method']}: {target:.1e}", row["error"], target, ".1e")


# Covariances of the other kinds cannot be thin along a direction of their own.
CASES = [
    case
    for case in grid(covariance=KINDS, problem=PROBLEMS, seed=range(5), d=[4], k=[4])
    if case["problem"] != "condition 1e6" or case["covariance"] in ("full", "tied")
]

ACCURACY = Benchmark(
    accuracy,
    Size(grid(CASES, n=[1_000])),
    Size(grid([case for case in CASES if case["seed"] == 0], n=[200])),
    [accuracy_table],
    {"accuracy": accuracy_figure},
    accuracy_aims,
)
