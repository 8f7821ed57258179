"""Run the experiments and store them as JSON with their provenance.

    python -m benchmarks.ddpm.run --size full
    python -m benchmarks.ddpm.run --size full --only poster

CPU time on one thread. `tiny` runs the same code in seconds; its numbers mean nothing.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.ddpm import PREFIX
from benchmarks.ddpm.experiments import EXPERIMENTS, Row
from benchmarks.provenance import provenance
from benchmarks.tables import Size


def store(folder: Path, name: str, size: Size) -> Path:
    """Write one table, reporting every row on the way."""
    rows: list[Row] = []
    for row in EXPERIMENTS[name](size):
        rows.append(row)
        print(name, *(f"{key}={_short(value)}" for key, value in row.items() if key not in ("steps", "errors")))
    seeds = {name: len({row["seed"] for row in rows})}
    source = provenance(size, seeds) | {"command": f"python -m benchmarks.ddpm.run --size {size} --only {name}"}
    path = folder / f"{PREFIX}{name}.json"
    content = {"table": name, "provenance": source, "rows": rows}
    path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ddpm.run", description="Run and store.")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--only", choices=tuple(EXPERIMENTS), action="append", help="a table to run; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only or EXPERIMENTS:
        store(options.output, name, options.size)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
