"""Benchmarks of gradient descent on the DDPM objective: the published experiment, and its claims as numbers.

python -m benchmarks.ddpm.run --size full     every table into benchmarks/results/ddpm_*.json
python -m benchmarks.ddpm.draw                figures, and the tables of docs/sck.md
"""

PREFIX = "ddpm_"
"""Of the names of stored tables and figures."""
