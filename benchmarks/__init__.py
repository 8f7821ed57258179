"""Benchmarks: problems, methods and metrics are separate, results are stored as JSON, figures drawn from it.

python -m benchmarks.run --size full     every table into benchmarks/results/
python -m benchmarks.draw                figures into docs/figures/ and tables into pages, from the stored results
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
