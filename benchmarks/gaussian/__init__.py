"""Benchmarks of EM for Gaussian mixtures: one iteration, whole fits, threads, memory, digits.

python -m benchmarks.gaussian.run --size full     every table into benchmarks/results/gaussian_*.json
python -m benchmarks.gaussian.draw                figures and the tables of docs/gaussian_benchmarks.md, from them only
python -m benchmarks.gaussian.targets             the cells that miss what was aimed at

Problems, methods and metrics are separate; all methods of a comparison get the same rows and the same start, and take
turns in one process.
"""

PREFIX = "gaussian_"
"""Of the names of stored tables and figures."""
