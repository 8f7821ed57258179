"""Benchmarks: what is measured is declared, results are stored as JSON, pages and figures are made from them alone.

python -m benchmarks.run --size full     every table of the score into benchmarks/results/
python -m benchmarks.draw                figures into docs/figures/ and tables into pages, from the stored results

`gaussian`, `global_start`, `general` and `ddpm` have the same programs (``python -m benchmarks.gaussian.run``), and the
first two ``targets``. A `benchmarks.frame.Benchmark` declares a table; all that a suite of them does is in `frame`.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
