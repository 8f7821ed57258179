"""One fit of a few iterations in a process of its own: what it needs beyond its rows.

python -m benchmarks.gaussian.memory rows.npy scoremix 2 full 16     # prints one line of JSON
"""

import json
import os
import sys
from dataclasses import dataclass

from benchmarks.gaussian.methods import Method, ScikitLearn, Scoremix, Solution
from benchmarks.gaussian.problems import clusters
from benchmarks.large import measure
from scoremix.arrays import Floats

ITERATIONS = 2


@dataclass(frozen=True)
class ShortFit:
    """A method behind the question of `benchmarks.large`: fit the rows."""

    method: Method
    kind: str
    n_components: int
    max_rows: int = 10**9

    @property
    def name(self) -> str:
        return self.method.name

    def fit(self, x: Floats, noise_scale: float, seed: int) -> Solution:
        start = clusters(self.n_components, x.shape[1], seed).start(self.kind)
        return self.method.prepare(x, start)(ITERATIONS, 0.0)


def main(path: str, name: str, n_threads: int, kind: str, n_components: int) -> None:
    """Print seconds and MiB."""
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    method = ScikitLearn() if name == ScikitLearn().name else Scoremix(n_threads=n_threads)
    print(json.dumps(measure(path, ShortFit(method, kind, n_components))))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
