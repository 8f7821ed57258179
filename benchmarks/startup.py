"""How long the command line takes to answer, as multiples of `python -c "import typer"`: wall time of whole processes.

    python -m benchmarks.startup --rounds 20

Every round starts each program once, so that what else the machine does falls on all of them alike.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import RESULTS
from benchmarks.clock import in_turns, wall_seconds
from benchmarks.provenance import provenance
from benchmarks.tables import Row

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "scoremix")
IMPORTS = ("import typer", "import scoremix", "import sklearn.mixture", "from scoremix import GaussianMixture")
CALLS = ("--help", "--version", "fit --help", "fit --wrong")
COMMANDS = {f"python -c '{statement}'": [sys.executable, "-c", statement] for statement in IMPORTS}
COMMANDS |= {f"scoremix {words}": [PROGRAM, *words.split()] for words in CALLS}


def measure(rounds: int) -> list[Row]:
    """Median seconds of every program, and how often they hold those of the first; a first round is not counted."""
    works = {name: partial(subprocess.run, words, capture_output=True) for name, words in COMMANDS.items()}
    _, times = in_turns(works, rounds, wall_seconds, warm=True)
    reference = median(times[next(iter(times))])
    return [{"command": name, "seconds": median(t), "ratio": median(t) / reference} for name, t in times.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description="Measure and store.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    rows = measure(options.rounds)
    print(*(f"{row['ratio']:6.2f} {row['seconds']:8.3f} s  {row['command']}" for row in rows), sep="\n")
    source = provenance(f"python -m benchmarks.startup --rounds {options.rounds}", "full", {"rounds": options.rounds})
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"table": "startup", "provenance": source, "rows": rows}, indent=1)
    (options.output / "startup.json").write_text(text + "\n", encoding="utf-8")
