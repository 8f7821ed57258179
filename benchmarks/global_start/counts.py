"""Counts, means and sums of stored rows: what the tables, figures and aims of all benchmarks of one start ask for."""

from statistics import fmean
from typing import Any

from benchmarks.tables import Row, Rows, of

WORSE = 0.002
"""Nats per held-out row by which a fit is called worse than another."""

KEYS = ("suite", "problem", "covariance", "k", "d", "n", "separation", "layout", "seed")
"""What a problem is told by, as far as a table has them."""


def key(row: Row) -> tuple[Any, ...]:
    """The problem of a row."""
    return tuple(row.get(name) for name in KEYS)


def difference(held_out: float | None, other: float | None) -> float:
    """How much better on held-out rows; a fit that failed is infinitely worse."""
    if other is None:
        return 0.0 if held_out is None else float("inf")
    return float("-inf") if held_out is None else held_out - other


def differences(rows: Rows, method: str, rival: str) -> dict[tuple[Any, ...], float]:
    """The same for every problem that both were given."""
    theirs = {key(row): row["held_out"] for row in of(rows, method=rival)}
    mine = ((key(row), row["held_out"]) for row in of(rows, method=method))
    return {problem: difference(held_out, theirs[problem]) for problem, held_out in mine if problem in theirs}


def total_seconds(rows: Rows) -> float:
    """Sum over the fits that ended."""
    return float(sum(row["seconds"] or 0.0 for row in rows))


def seconds_ratio(rows: Rows, method: str, rival: str) -> float:
    """Total CPU time, as a multiple of that of a rival, on the problems in which both ended."""
    ended = [row for row in rows if row["seconds"] is not None]
    mine, theirs = ({key(row) for row in of(ended, method=name)} for name in (method, rival))
    both = [row for row in ended if key(row) in mine & theirs]
    ours, others = (total_seconds(of(both, method=name)) for name in (method, rival))
    return ours / others if others else float("nan")


def share(rows: Rows, name: str = "success") -> float:
    """Share of the rows in which something holds."""
    return fmean(bool(row[name]) for row in rows) if rows else float("nan")
