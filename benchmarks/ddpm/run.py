"""The benchmarks of gradient descent on the diffusion objective, and their page.

python -m benchmarks.ddpm.run --size full     every table, or those named after --only
"""

from benchmarks import ROOT
from benchmarks.ddpm import two_components, warm_starts
from benchmarks.frame import Suite

SUITE = Suite(
    "benchmarks.ddpm",
    (*two_components.BENCHMARKS, *warm_starts.BENCHMARKS),
    (ROOT / "docs" / "sck.md",),
    indent=None,
)

if __name__ == "__main__":
    SUITE.run()
