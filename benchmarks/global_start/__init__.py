"""Benchmarks of one start without restarts: how often it finds the components, how long it takes, where it loses.

python -m benchmarks.global_start.run --size full     every table into benchmarks/results/global_start_*.json
python -m benchmarks.global_start.draw                figures and the tables of docs/global_start_benchmarks.md
python -m benchmarks.global_start.targets             what was aimed at, and whether the stored results hold it

Laws, methods and tables are separate; all methods of a problem get the same rows and take turns in one process.
"""

PREFIX = "global_start_"
"""Of the names of stored tables and figures."""
