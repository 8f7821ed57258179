"""One large fit in a process of its own: wall time, CPU time, and the memory it needs beyond its rows.

The number of threads is that of `OMP_NUM_THREADS`. The process loads the rows without any other copy of them, and
watches by how much the peak of its resident size during the one fit exceeds what was resident before: everything that
the fit needs, its buffers and the libraries' included.

    OMP_NUM_THREADS=2 python -m benchmarks.large rows.npy     # prints one line of JSON
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.methods import Method
from benchmarks.methods.scoremix import Scoremix

CLEAR = Path("/proc/self/clear_refs")
"""Writing 5 here makes Linux forget the peak so far."""


def measure(path: str, method: Method, noise_scale: float = 1.0) -> dict[str, float]:
    """Fit the rows stored at `path`: seconds, and the MiB that the fit needs beyond them."""
    x = np.load(path)
    before, wall, cpu = _resident(), time.perf_counter(), time.process_time()
    method.fit(x, noise_scale, 0)
    return {
        "fit_wall": time.perf_counter() - wall,
        "fit_cpu": time.process_time() - cpu,
        "memory_beyond_x": _peak() - before,
    }


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
    print(json.dumps(measure(sys.argv[1], Scoremix())))
