"""Draw the figures and fill the page from the stored results: python -m benchmarks.general.draw."""

from benchmarks.general.run import SUITE

if __name__ == "__main__":
    SUITE.draw()
