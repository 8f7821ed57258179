"""What was aimed at, and whether the stored results hold it: python -m benchmarks.gaussian.targets."""

from benchmarks.gaussian.run import SUITE

if __name__ == "__main__":
    SUITE.targets()
