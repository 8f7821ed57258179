"""Draw the figures and fill the page from the stored results: python -m benchmarks.ddpm.draw."""

from benchmarks.ddpm.run import SUITE

if __name__ == "__main__":
    SUITE.draw()
