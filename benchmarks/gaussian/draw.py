"""Draw the figures and fill the page from the stored results: python -m benchmarks.gaussian.draw."""

from benchmarks.gaussian.run import SUITE

if __name__ == "__main__":
    SUITE.draw()
