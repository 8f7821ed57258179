"""Draw the figures and fill the page from the stored results: python -m benchmarks.global_start.draw."""

from benchmarks.global_start.run import SUITE

if __name__ == "__main__":
    SUITE.draw()
