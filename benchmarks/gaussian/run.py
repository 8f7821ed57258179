"""Run the tables and store them as JSON with their provenance.

    python -m benchmarks.gaussian.run --size full
    python -m benchmarks.gaussian.run --size full --only iteration --only threads

CPU time on one thread, but time on the clock for the tables of threads and of BLAS. `tiny` runs the same code in
seconds; its numbers mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import RESULTS, ROOT
from benchmarks.gaussian import PREFIX
from benchmarks.gaussian.hard import blas, missing, one_hot
from benchmarks.gaussian.methods import DOUBLE, REG, RIVAL, SINGLE, Method
from benchmarks.gaussian.metrics import floor_of, seconds_per_iteration, wall_seconds
from benchmarks.gaussian.peers import PEERS
from benchmarks.gaussian.problems import KINDS, Law, clusters, conditioned, far_apart, overlapping
from benchmarks.gaussian.reference import HAS_EXTENDED, extended_em, relative_error
from benchmarks.provenance import provenance
from benchmarks.run import cpu_seconds, one_thread
from benchmarks.tables import Size
from scoremix.arrays import Floats
from scoremix.learning.em.acceleration import Acceleration, Anderson, Squarem
from scoremix.learning.em.em import e_step, run_em
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

Row = dict[str, float | str | bool | None]

ROWS, SECONDS_WITH_ROWS = 200_000, 3.0
"""Rows of a cell of the table of iterations, for scikit-learn slows down with them (see the table of rows); fewer only
where an iteration would take it longer than so many seconds."""

SECONDS = 0.25
"""What an iteration of scikit-learn should take in a whole fit, about."""

LONG, TOO_LONG = 1.5, 12.0
"""Seconds of one iteration of scikit-learn beyond which a cell is repeated less, and left out."""


def rows_of(kind: str, d: int, k: int, limit: float = SECONDS) -> int:
    """Rows of a whole fit: an iteration must not take too long, nor a component have too few of them."""
    # What scikit-learn needs per row and component.
    nanoseconds = {"full": 40 + 0.13 * d * d, "tied": 40 + 0.06 * d * d}.get(kind, 35 + 0.5 * d)
    fewest = max(10_000, k * max(100, 3 * d))
    return int(np.clip(limit * 1e9 / (k * nanoseconds), fewest, ROWS))


def iteration(size: Size) -> Iterator[Row]:
    """Seconds of one iteration over covariances, dimensions and numbers of components."""
    tiny = size == "tiny"
    dimensions, components, repeats = ((2,), (4,), 2) if tiny else ((2, 8, 16, 32, 64), (4, 16, 64, 256), 3)
    for kind in KINDS:
        for d in dimensions:
            for k in components:
                yield from iteration_cell(kind, d, k, 500 if tiny else rows_of(kind, d, k, SECONDS_WITH_ROWS), repeats)


def rows(size: Size) -> Iterator[Row]:
    """Seconds of one iteration over numbers of rows."""
    tiny = size == "tiny"
    for kind, d, k in (("full", 16, 64), ("full", 32, 16), ("diag", 32, 64), ("spherical", 16, 64)):
        for n in (300, 500) if tiny else (10_000, 30_000, 100_000, 300_000):
            yield from iteration_cell(kind, d, k, n, 2 if tiny else 3)


def iteration_cell(kind: str, d: int, k: int, n: int, repeats: int) -> Iterator[Row]:
    """Yield a row for every method; methods and bare products take turns."""
    law = clusters(k, d)
    x, start = law.sample(n), law.start(kind)
    methods = (RIVAL, DOUBLE, SINGLE)
    works = {method.name: method.prepare(x, start) for method in methods}
    p = start.covariance.n_sums(d)
    floors = {m.name: floor_of(n, k, p, t) for m, t in ((DOUBLE, np.float64), (SINGLE, np.float32))}
    for work in [works[m.name] for m in reversed(methods)]:
        _, seconds = cpu_seconds(partial(work, 1, 0.0))  # also warms up
    if seconds > 1.5 * TOO_LONG:
        return
    n_iter, repeats = (4, repeats) if seconds < LONG else (2, 2)
    shorts: dict[str, list[float]] = {method.name: [] for method in methods}
    longs: dict[str, list[float]] = {method.name: [] for method in methods}
    bare: dict[str, list[float]] = {name: [] for name in floors}
    for _ in range(repeats):
        for name, work in works.items():
            shorts[name].append(cpu_seconds(partial(work, 1, 0.0))[1])
            longs[name].append(cpu_seconds(partial(work, 1 + n_iter, 0.0))[1])
        for name, products in floors.items():
            bare[name].append(cpu_seconds(products)[1])
    times = {name: seconds_per_iteration(shorts[name], longs[name], n_iter) for name in works}
    for name, value in times.items():
        floor = median(bare[name]) if name in bare else None
        yield {
            "covariance": kind,
            "d": d,
            "k": k,
            "n": n,
            "method": name,
            "seconds": value,
            "ratio": times[RIVAL.name] / value,
            "floor": floor,
            "share_of_floor": None if floor is None else floor / value,
            "seconds_short": median(shorts[name]),
            "seconds_long": median(longs[name]),
            "slowest_long": max(longs[name]),
            "n_iter": n_iter,
            "repeats": repeats,
        }


def threads(size: Size) -> Iterator[Row]:
    """Seconds on the clock of one pass, by one and by two threads in turns."""
    cells = (("full", 8, 16), ("full", 16, 64), ("spherical", 8, 16), ("diag", 8, 16), ("full", 4, 4))
    n, repeats = (1_000_000, 7) if size == "full" else (3_000, 2)
    for kind, d, k in cells:
        law = clusters(k, d)
        source, start = ArraySource(law.sample(n)), law.start(kind)
        times: dict[int, list[float]] = {1: [], 2: []}
        for repeat in range(repeats + 1):
            for count, seconds in times.items():
                elapsed = wall_seconds(partial(e_step, source, start, count))
                seconds += [elapsed] * (repeat > 0)  # the first warms up
        for count, seconds in times.items():
            yield {
                "covariance": kind,
                "d": d,
                "k": k,
                "n": n,
                "threads": count,
                "seconds": median(seconds),
                "quickest": min(seconds),
                "speed_up": median(times[1]) / median(seconds),
                "repeats": repeats,
            }


def memory(size: Size) -> Iterator[Row]:
    """MiB beyond the rows, each fit in a fresh process."""
    n, kind, d, k = (1_000_000 if size == "full" else 3_000), "full", 8, 16
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    cases = ((DOUBLE.name, 1), (DOUBLE.name, 2), (RIVAL.name, 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, clusters(k, d).sample(n))
        for name, count in cases if size == "full" else cases[1:2]:
            command = [sys.executable, "-m", "benchmarks.gaussian.memory", str(path), name, str(count), kind, str(k)]
            variables = environment | {"OMP_NUM_THREADS": str(count)}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
            yield {
                "covariance": kind,
                "d": d,
                "k": k,
                "n": n,
                "method": name,
                "threads": count,
                **json.loads(done.stdout),
                "rows_mib": n * d * 8 / 2**20,
            }


def accuracy(size: Size) -> Iterator[Row]:
    """Difference from extended precision after ten iterations from the same start."""
    n, n_iter, seeds = (1_000, 10, 5) if size == "full" else (200, 10, 1)
    for kind in KINDS:
        problems = {"benign": clusters, "means 1e4 apart": far_apart}
        if kind in ("full", "tied"):  # the other covariances cannot be thin along a direction of their own
            problems["condition 1e6"] = partial(conditioned, shared=kind == "tied")
        for name, make in problems.items():
            for seed in range(seeds):
                yield from accuracy_case(name, make(4, 4, seed), kind, n, n_iter)


def accuracy_case(name: str, law: Law, kind: str, n: int, n_iter: int) -> Iterator[Row]:
    """Yield a row for every method."""
    x, start = law.sample(n), law.start(kind)
    truth = extended_em(x, start, n_iter)
    for method in (RIVAL, DOUBLE, SINGLE):
        with one_thread():
            mixture = method.prepare(x, start)(n_iter, 0.0).mixture
        yield {
            "problem": name,
            "covariance": kind,
            "seed": law.seed,
            "n": n,
            "d": start.n_features,
            "k": start.n_components,
            "method": method.name,
            "error": relative_error(mixture, truth),
            "extended": HAS_EXTENDED,
        }


def acceleration(size: Size) -> Iterator[Row]:
    """Passes until the mean log likelihood is within 1e-6 nats of where plain EM ends."""
    n, seeds, tol, max_iter = (1_000, 24, 1e-10, 20_000) if size == "full" else (200, 2, 1e-6, 500)
    makes: dict[str, Callable[[], Acceleration | None]] = {
        "EM": lambda: None,
        "SQUAREM": Squarem,
        "Anderson": Anderson,
    }
    for seed in range(seeds):
        law = overlapping(seed)
        source, start = ArraySource(law.sample(n)), law.start("full")
        target = None
        for name, make in makes.items():
            kept: list[int] = []
            with one_thread():
                found = run_em(
                    source,
                    start,
                    tol=tol,
                    max_iter=max_iter,
                    reg=REG,
                    acceleration=make(),
                    report=lambda passes, _, kept=kept: kept.append(passes),
                )
            target = max(found.lower_bounds) - 1e-6 if target is None else target
            passes = passes_to(kept, found.lower_bounds, target)
            own = passes_to(kept, found.lower_bounds, max(found.lower_bounds) - 1e-6)
            yield {
                "seed": seed,
                "n": n,
                "method": name,
                "passes": passes,
                "passes_to_own_end": own,
                "final": found.lower_bounds[-1],
                "converged": found.converged,
                "n_passes": found.n_passes,
            }


def passes_to(passes: Sequence[int], bounds: Sequence[float], target: float) -> int | None:
    """Passes over the data, rejected ones included, until a bound reaches the target; None where none does."""
    return next((count for count, bound in zip(passes, bounds, strict=True) if bound >= target), None)


def fits(size: Size) -> Iterator[Row]:
    """Whole fits from the same start with the same tolerance."""
    cells = (("full", 2, 4), ("full", 8, 16), ("full", 16, 64), ("diag", 8, 16), ("spherical", 8, 16), ("tied", 8, 16))
    repeats = 3 if size == "full" else 1
    for kind, d, k in cells if size == "full" else cells[:1]:
        law = clusters(k, d, blur=1.0)
        n = rows_of(kind, d, k) if size == "full" else 500
        x, start = law.sample(n), law.start(kind)
        present = [m for m in (RIVAL, DOUBLE, SINGLE, *PEERS) if m.missing is None and kind in m.kinds]
        yield from fits_cell(x, start, present, repeats)


def fits_cell(x: Floats, start: Mixture, methods: Sequence[Method], repeats: int) -> Iterator[Row]:
    """Yield a row for every method; the likelihoods of all are evaluated by the same code."""
    works = {method.name: method.prepare(x, start) for method in methods}
    times: dict[str, list[float]] = {name: [] for name in works}
    found = {}
    for _ in range(repeats):
        for name, work in works.items():
            found[name], seconds = cpu_seconds(partial(work, 100, 1e-3))
            times[name].append(seconds)
    for name, seconds_of in times.items():
        yield {
            "covariance": start.covariance.kind,
            "d": start.n_features,
            "k": start.n_components,
            "n": len(x),
            "method": name,
            "seconds": median(seconds_of),
            "ratio": median(times[RIVAL.name]) / median(seconds_of),
            "n_iter": found[name].n_iter,
            "log_likelihood": float(found[name].mixture.log_density(x).mean()),
            "repeats": repeats,
        }


TABLES: dict[str, Callable[[Size], Iterator[Row]]] = {
    "iteration": iteration,
    "rows": rows,
    "threads": threads,
    "memory": memory,
    "accuracy": accuracy,
    "acceleration": acceleration,
    "fits": fits,
    "blas": blas,
    "missing": missing,
    "one_hot": one_hot,
}


def store(folder: Path, name: str, size: Size, cells: Iterator[Row]) -> Path:
    """Write one table, reporting every row on the way."""
    done: list[Row] = []
    for row in cells:
        done.append(row)
        print(name, *(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
    seeds = {str(row.get("method", DOUBLE.name)): 1 + max(int(r.get("seed") or 0) for r in done) for row in done}
    source = provenance(size, seeds) | {"command": " ".join(["python -m benchmarks.gaussian.run", *sys.argv[1:]])}
    left_out = [peer.missing for peer in PEERS if peer.missing] if name == "fits" else []
    for sentence in left_out:
        print(sentence)
    content = {"table": name, "provenance": source, "left_out": left_out, "rows": done}
    path = folder / f"{PREFIX}{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gaussian.run", description="Run and store.")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--only", choices=tuple(TABLES), action="append", help="a table to run; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only or TABLES:
        store(options.output, name, options.size, TABLES[name](options.size))


def _short(value: float | str | bool | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
