"""The benchmarks of one start, in the order of their page.

python -m benchmarks.global_start.run --size full     every table, or those named after --only
"""

from benchmarks import ROOT
from benchmarks.frame import Suite
from benchmarks.global_start.chosen import DESIGNED, LARGE, OVERFIT, SEPARATION
from benchmarks.global_start.components import COMPONENTS
from benchmarks.global_start.noise import NOISE
from benchmarks.global_start.random_suite import RANDOM
from benchmarks.global_start.robust import ROBUST

SUITE = Suite(
    "benchmarks.global_start",
    (RANDOM, DESIGNED, SEPARATION, NOISE, LARGE, OVERFIT, COMPONENTS, ROBUST),
    (ROOT / "docs" / "global_start_benchmarks.md",),
    with_version=True,
    movable=True,
)

if __name__ == "__main__":
    SUITE.run()
