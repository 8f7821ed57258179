"""Draw the figures of the score and fill its pages from the stored results: python -m benchmarks.draw."""

from benchmarks.score import SUITE

if __name__ == "__main__":
    SUITE.draw()
