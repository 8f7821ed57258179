"""Benchmarks of the default mode of DiffusionMixture: a mixture of any shape, and what polynomials add to it.

python -m benchmarks.general.run --size full     every table into benchmarks/results/general_*.json
python -m benchmarks.general.draw                figures, and the tables of docs/general_benchmarks.md

Two rivals take part only where they can be imported: a neural score where torch can, and npeb with cvxpy.
"""

PREFIX = "general_"
"""Of the names of stored tables and figures."""
