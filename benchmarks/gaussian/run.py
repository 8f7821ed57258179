"""The benchmarks of EM for Gaussian mixtures, in the order of their page.

python -m benchmarks.gaussian.run --size full     every table, or those named after --only
"""

from benchmarks import ROOT
from benchmarks.frame import Suite
from benchmarks.gaussian.digits import ACCURACY
from benchmarks.gaussian.fits import ACCELERATION, FITS, ONE_HOT
from benchmarks.gaussian.machine import BLAS, MEMORY, MISSING, THREADS
from benchmarks.gaussian.real import REAL
from benchmarks.gaussian.speed import ITERATION, ROWS

SUITE = Suite(
    "benchmarks.gaussian",
    (ITERATION, ROWS, FITS, THREADS, MEMORY, ACCURACY, ACCELERATION, BLAS, MISSING, ONE_HOT, REAL),
    (ROOT / "docs" / "gaussian_benchmarks.md",),
    with_version=True,
)

if __name__ == "__main__":
    SUITE.run()
