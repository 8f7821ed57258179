"""The benchmarks of the default mode, in the order of their page.

python -m benchmarks.general.run --size full     every table, or those named after --only
"""

from benchmarks import ROOT
from benchmarks.frame import Suite
from benchmarks.general.edges import FLAT, OVERLAP
from benchmarks.general.identity import EQUIDISTANT, IDENTITY, REGRET
from benchmarks.general.known import KNOWN, RANDOM
from benchmarks.general.real import REAL

SUITE = Suite(
    "benchmarks.general",
    (REAL, KNOWN, RANDOM, OVERLAP, FLAT, IDENTITY, REGRET, EQUIDISTANT),
    (ROOT / "docs" / "general_benchmarks.md",),
    rivals=("torch", "npeb", "cvxpy"),
)

if __name__ == "__main__":
    SUITE.run()
