"""Run the tables and store them as JSON with their provenance.

    python -m benchmarks.run --size full
    python -m benchmarks.run --size full --only cells --only regret

All methods of a comparison see the same rows and run one after the other in one process, so that a busy
machine disturbs them alike. Fit and sampling times are CPU time on one thread. A
stored table is a flat list of rows, one per case, seed and method.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import RESULTS, ROOT
from benchmarks.methods import Method
from benchmarks.metrics import METRICS, geometric_levels
from benchmarks.problems import clusters
from benchmarks.provenance import provenance
from benchmarks.tables import Case, Size, Table, tables
from scoremix.evaluation.truth import FloatArray

T = TypeVar("T")
Row = dict[str, float | str | bool | None]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra and this library's own pool on one thread."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ.update({"OMP_NUM_THREADS": before} if before is not None else {})


def cpu_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result and the CPU time of the process on one thread."""
    with one_thread():
        start = time.process_time()
        result = work()
        return result, time.process_time() - start


def run_table(table: Table) -> Iterator[Row]:
    """Yield a row for every case, seed and method."""
    for case in table.cases:
        for seed in range(table.n_seeds):
            methods = table.methods if seed < table.rival_seeds else table.methods[:1]
            yield from run_case(table, case, methods, seed)


def run_case(table: Table, case: Case, methods: Sequence[Method], seed: int) -> Iterator[Row]:
    """Fit all methods that can take so many rows on the same data and ask them the table's metrics."""
    truth = case.problem.make(seed)
    noise_scale = truth.noise_scale or 1.0
    x = truth.sample(case.n_rows, np.random.default_rng([seed, 0]))
    sigmas: FloatArray | None = None
    for method in methods:
        if case.n_rows > method.max_rows:
            continue
        fitted, fit_cpu = cpu_seconds(partial(method.fit, x, noise_scale, seed))
        sigmas = fitted.sigmas if fitted.sigmas is not None else sigmas
        levels = geometric_levels(truth) if sigmas is None else sigmas
        rng = np.random.default_rng([seed, 1])
        _, sample_cpu = cpu_seconds(partial(fitted.sample, table.n_samples, rng))
        row: Row = {
            "problem": case.problem.name,
            "axis": case.axis,
            "n_rows": case.n_rows,
            "n_features": truth.n_features,
            "method": method.name,
            "seed": seed,
            "fit_cpu": fit_cpu,
            "sample_cpu": sample_cpu,
            "n_samples": table.n_samples,
            "n_cells": fitted.n_cells,
            "n_cells_true": case.problem.n_cells,
        }
        for name in table.metrics:
            row |= METRICS[name](fitted, truth, levels, table.n_samples, rng)
        yield row


def run_threads(size: Size) -> Iterator[Row]:
    """Yield wall time and memory of one large fit on one and on two threads, each in a fresh process."""
    n_rows, repeats, counts = (1_000_000, 3, (1, 2)) if size == "full" else (2_000, 1, (2,))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, clusters(6, 2, 4).make(0).sample(n_rows, np.random.default_rng([0, 0])))
        for repeat in range(repeats):
            for n_threads in counts:
                command = [sys.executable, "-m", "benchmarks.large", str(path)]
                variables = environment | {"OMP_NUM_THREADS": str(n_threads)}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
                yield {
                    "axis": n_threads,
                    "n_rows": n_rows,
                    "method": "scoremix",
                    "seed": repeat,
                    **json.loads(done.stdout),
                }


def store(folder: Path, name: str, axis_name: str, size: Size, rows: Iterator[Row]) -> Path:
    """Write one table, reporting every row on the way."""
    done: list[Row] = []
    for row in rows:
        done.append(row)
        print(name, *(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
    seeds = {str(row["method"]): 0 for row in done}
    for row in done:
        key = str(row["method"])
        seeds[key] = max(seeds[key], int(row["seed"] or 0) + 1)
    content = {"table": name, "axis": axis_name, "provenance": provenance(size, seeds), "rows": done}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    plans = {"tiny": tables("tiny"), "full": tables("full")}
    names = [*(table.name for table in plans["full"]), "threads"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Run and store the benchmark.")
    parser.add_argument("--size", choices=tuple(plans), default="tiny")
    parser.add_argument("--only", choices=names, action="append", help="a table to run; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    wanted = options.only or names
    for table in plans[options.size]:
        if table.name in wanted:
            store(options.output, table.name, table.axis_name, options.size, run_table(table))
    if "threads" in wanted:
        store(options.output, "threads", "threads", options.size, run_threads(options.size))


def _short(value: float | str | bool | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
