"""One large fit in a process of its own: wall time, CPU time, and the memory it needs beyond its rows.

The process loads the rows without any other copy of them, and watches by how much the peak of its resident size during
the one fit exceeds what was resident before: everything that the fit needs, its buffers and the libraries' included.

    OMP_NUM_THREADS=2 python -m benchmarks.large rows.npy benchmarks.score_methods fit_default     # a line of JSON
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import ROOT
from scoremix.arrays import Floats

CLEAR = Path("/proc/self/clear_refs")
"""Writing 5 here makes Linux forget the peak so far."""


def alone(x: Floats, n_threads: int, fit: Callable[..., object], *arguments: object) -> dict[str, float]:
    """Measure ``fit(x, *arguments)`` in a fresh process, which gets the arguments as text."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "rows.npy", x)
        words = (str(path), fit.__module__, fit.__name__, *map(str, arguments))
        command = [sys.executable, "-m", "benchmarks.large", *words]
        variables = environment | {"OMP_NUM_THREADS": str(n_threads)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(path: str, module: str, name: str, *arguments: str) -> dict[str, float]:
    """Fit the rows stored at `path`: seconds, and the MiB that the fit needs beyond them."""
    fit, x = getattr(import_module(module), name), np.load(path)
    before, wall, cpu = _resident(), time.perf_counter(), time.process_time()
    fit(x, *arguments)
    seconds = {"fit_wall": time.perf_counter() - wall, "fit_cpu": time.process_time() - cpu}
    return seconds | {"memory_beyond_x": _peak() - before}


def _resident() -> float:
    """Resident size in MiB; the peak is counted from here on where the system can forget it."""
    if CLEAR.exists():
        CLEAR.write_text("5")
        return _status("VmRSS")
    return _peak()


def _peak() -> float:
    """Peak of the resident size in MiB."""
    if CLEAR.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
