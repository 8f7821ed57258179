"""How long the command line takes to answer, as multiples of `python -c "import typer"`: wall time of whole processes.

    python -m benchmarks.startup --rounds 20

Every round starts each program once, so that what else the machine does falls on all of them alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.provenance import provenance

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "scoremix")
REFERENCE = "python -c 'import typer'"
COMMANDS = {
    REFERENCE: [sys.executable, "-c", "import typer"],
    "scoremix --help": [PROGRAM, "--help"],
    "scoremix --version": [PROGRAM, "--version"],
    "scoremix fit --help": [PROGRAM, "fit", "--help"],
    "scoremix fit --wrong": [PROGRAM, "fit", "--wrong"],
    "python -c 'import scoremix'": [sys.executable, "-c", "import scoremix"],
    "python -c 'import sklearn.mixture'": [sys.executable, "-c", "import sklearn.mixture"],
    "python -c 'from scoremix import GaussianMixture'": [sys.executable, "-c", "from scoremix import GaussianMixture"],
}


def seconds(command: Sequence[str]) -> float:
    """Wall time of a process from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - start


def measure(rounds: int) -> list[dict[str, str | float]]:
    """Median seconds of every program, and how often they hold those of the reference; a first round is not counted."""
    taken = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(rounds + 1)][1:]
    medians = {name: statistics.median(once[name] for once in taken) for name in COMMANDS}
    return [{"command": name, "seconds": value, "ratio": value / medians[REFERENCE]} for name, value in medians.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description="Measure and store.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    command = f"python -m benchmarks.startup --rounds {options.rounds}"
    rows = measure(options.rounds)
    for row in rows:
        print(f"{row['ratio']:6.2f} {row['seconds']:8.3f} s  {row['command']}")
    content = {
        "table": "startup",
        "provenance": provenance("full", {"rounds": options.rounds}) | {"command": command},
        "rows": rows,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "startup.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
