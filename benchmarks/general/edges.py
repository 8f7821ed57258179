"""Where mixtures are hardest to learn: components that overlap, and components or data without full rank."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from benchmarks.clock import cpu_seconds
from benchmarks.frame import Benchmark, Size, grid
from benchmarks.general.known import BASE, CORRECTED, LIMIT, Case, drawn, errors, from_truth
from benchmarks.methods import closed_form
from benchmarks.tables import Row, Rows, Table, extended, of, table
from scoremix import DiffusionMixture
from scoremix.arrays import Floats
from scoremix.evaluation import make_gaussian_mixture, total_variation
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth


@dataclass(frozen=True)
class Learnt:
    """A density with its sampler, as the distance asks for them."""

    model: DiffusionMixture

    @property
    def log_density(self) -> Callable[[Floats], Floats]:
        return self.model.score_samples

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        return self.model.sample(n, random_state=int(rng.integers(2**31)))


def overlap(d: int, separation: float, n: int, seed: int, points: int) -> Iterator[Row]:
    """Two components half a standard deviation or one apart, of different covariances."""
    truth = Case(d, 2, separation, 10, n).truth(seed)
    x = drawn(truth, n, seed)
    model, seconds = cpu_seconds(lambda: DiffusionMixture("general", random_state=seed).fit(x))
    crude, exact = model.to_mixture(), from_truth(truth, x)
    laws = {BASE: closed_form(crude), CORRECTED: Learnt(model), LIMIT: closed_form(exact)}
    for method, law in laws.items():
        found = total_variation(truth, law, points, np.random.default_rng([seed, 3]))
        row: Row = {"method": method, "k_found": crude.n_components_ if method != LIMIT else 2}
        yield row | {"tv": found.value, "tv_error": found.standard_error, "seconds": seconds}


def overlap_table(rows: Rows) -> Table:
    """Two components that overlap, total variation from the truth, 100,000 rows."""
    least = extended(rows, ("d", "separation"), least=lambda here: fmean(r["tv"] for r in of(here, method=LIMIT)))
    shown = [row | {"ratio": row["tv"] / row["least"]} for row in least]
    head = "d | separation |  | k | TV of the seeds | mean over the limit | standard error"
    line = "{d} | {separation:g} | {method} | {k_found.each} | {tv.each:.4f} | {ratio.mean:.2f} | {tv_error.max:.4f}"
    return table(shown, ("d", "separation", "method"), head, line)


GONE = 1e-200
"""A variance in place of 0: the truth is asked for its score at noisy points only."""


def in_planes(problem: str, d: int, k: int, seed: int) -> GaussianMixtureTruth:
    """A law of which one component, all, or all in the same plane have no width beyond two directions."""
    law = make_gaussian_mixture(k, d, 4.0, "full", condition=10, random_state=seed)
    variances, axes, means = np.array(law.variances), law.axes, law.means
    variances[: 1 if problem.startswith("one") else k, 2:] = GONE
    if problem.startswith("data"):
        axes = np.broadcast_to(axes[0], (k, d, d))
        means = means @ axes[0][:, :2] @ axes[0][:, :2].T
    return GaussianMixtureTruth(law.weights, means, variances, axes, None)


def flat(problem: str, d: int, n: int, seed: int, k: int, points: int) -> Iterator[Row]:
    """Components in planes, and data in a plane: where learning stops, and the error of the scores down to there."""
    truth = in_planes(problem, d, k, seed)
    x = drawn(truth, n, seed)
    row: Row = {"narrowest": float(np.sqrt(truth.variances[truth.variances > GONE].min()))}
    try:
        model = DiffusionMixture("general", random_state=seed).fit(x)
    except ValueError as error:
        yield row | {"k_found": None, "floor": None, "kl": None, "finite": False, "error": str(error)}
        return
    # Below the lowest level nothing is learnt: the last step is left out.
    (values,) = errors([model.ladder_.score], truth, model.noise_levels_, points, seed, last=None)
    row |= {"k_found": model.n_cells_, "floor": model.noise_floor_, "kl": float(values.mean()), "error": None}
    yield row | {"finite": bool(np.isfinite(model.sample(1000, random_state=0)).all())}


def flat_table(rows: Rows) -> Table:
    """Covariances without full rank, 20,000 rows in five dimensions."""
    shown = []
    for row in rows:
        cost = (row["k"] * (row["d"] + 1) * (row["d"] + 2) / 2 - 1) / (2 * row["n"])
        ratio = None if row["kl"] is None else row["kl"] / cost
        shown.append(row | {"fitted": row["error"] is None, "ratio": ratio})
    head = (
        " | fitted | k | found | learning stops at | least width | KL down to there, 10⁻⁴ | over parameters / 2n | "
        "finite samples"
    )
    line = "{problem} | {fitted.count} | {k} | {k_found.each} | {floor.each:.2g} | {narrowest.each:.2f}"
    return table(shown, "problem", head, f"{line} | {{kl.e4.each:.1f}} | {{ratio.each:.2f}} | {{finite.count}}")


PLANES = ("one component in a plane", "all components in planes", "data in a plane")

OVERLAP = Benchmark(
    overlap,
    Size(grid(d=(2, 5), separation=(0.5, 1.0), n=[100_000], seed=range(3)), points=40_000),
    Size(grid(d=[2], separation=[0.5], n=[600], seed=[0]), points=500),
    [overlap_table],
)
FLAT = Benchmark(
    flat,
    Size(grid(problem=PLANES, d=[5], n=[20_000], seed=range(3), k=[3]), points=10_000),
    Size(grid(problem=PLANES, d=[3], n=[600], seed=[0], k=[2]), points=500),
    [flat_table],
)
