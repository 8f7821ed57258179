"""Run the experiments and store them as JSON with their provenance.

    python -m benchmarks.general.run --size full
    python -m benchmarks.general.run --size full --only real

CPU time on one thread. `tiny` runs the same code in seconds; its numbers mean nothing.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.general import PREFIX
from benchmarks.general.identity import equidistant, identity, regret
from benchmarks.general.known import flat, known, overlap, random
from benchmarks.general.real import real
from benchmarks.provenance import provenance
from benchmarks.run import Row
from benchmarks.tables import Size

EXPERIMENTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "real": real,
    "known": known,
    "random": random,
    "overlap": overlap,
    "flat": flat,
    "identity": identity,
    "regret": regret,
    "equidistant": equidistant,
}


def store(folder: Path, name: str, size: Size) -> Path:
    """Write one table, reporting every row on the way."""
    rows: list[Row] = []
    for row in EXPERIMENTS[name](size):
        rows.append(row)
        print(name, *(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
    seeds = {name: len({row["seed"] for row in rows})}
    source = provenance(size, seeds) | {"command": f"python -m benchmarks.general.run --size {size} --only {name}"}
    source["rivals"] = {rival: _installed(rival) for rival in ("torch", "npeb", "cvxpy")}
    path = folder / f"{PREFIX}{name}.json"
    content = {"table": name, "provenance": source, "rows": rows}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.general.run", description="Run and store.")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--only", choices=tuple(EXPERIMENTS), action="append", help="a table to run; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of EM that ends at max_iter, of data without width: both stored
        for name in options.only or EXPERIMENTS:
            store(options.output, name, options.size)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
