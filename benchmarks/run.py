"""Run the tables of the score: python -m benchmarks.run --size full --only cells --only regret."""

from benchmarks.score import SUITE

if __name__ == "__main__":
    SUITE.run()
