"""What was aimed at, and whether the stored results hold it: python -m benchmarks.global_start.targets."""

from benchmarks.global_start.run import SUITE

if __name__ == "__main__":
    SUITE.targets()
