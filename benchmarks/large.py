"""One large fit in a process of its own: wall time, CPU time and peak memory above a small fit.

The number of threads is that of `OMP_NUM_THREADS`. The process fits a small sample first (imports,
buffers), loads the rows without any other copy of them, and then watches its peak resident size during the
fit.

    OMP_NUM_THREADS=2 python -m benchmarks.large rows.npy     # prints one line of JSON
"""

import json
import resource
import sys
import time

import numpy as np

from benchmarks.methods import Method
from benchmarks.methods.scoremix import Scoremix


def measure(path: str, method: Method, noise_scale: float = 1.0) -> dict[str, float]:
    """Fit the rows stored at `path`: seconds, and by how many MiB the peak exceeds that of a fit of 2,000 rows."""
    x = np.load(path)
    method.fit(x[:2000], noise_scale, 0)
    before, wall, cpu = _peak_megabytes(), time.perf_counter(), time.process_time()
    method.fit(x, noise_scale, 0)
    return {
        "fit_wall": time.perf_counter() - wall,
        "fit_cpu": time.process_time() - cpu,
        "memory_beyond_x": _peak_megabytes() - before,
    }


def _peak_megabytes() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Scoremix())))
