"""What was aimed at, and whether the stored results hold it.

python -m benchmarks.global_start.targets
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks import RESULTS
from benchmarks.gaussian.draw import of, values_of
from benchmarks.global_start import PREFIX
from benchmarks.global_start.methods import AUTO, DIFFUSION, GLOBAL, GRID, ONE, TEN
from benchmarks.global_start.tables import WORSE, Row, differences, seconds_ratio, share

NEVER_WORSE = 0.01
"""Nats per held-out row by which the number of components found may cost likelihood against the grid."""


@dataclass(frozen=True)
class Aim:
    """A sentence, what the results say, and whether it holds; numbers that are not there do not hold."""

    sentence: str
    found: str
    holds: bool

    def __str__(self) -> str:
        return f"{'holds ' if self.holds else 'MISSED'}  {self.sentence}: {self.found}"


def random_aims(rows: Sequence[Row]) -> Iterator[Aim]:
    """Success, likelihood and time, suite by suite."""
    for suite in values_of(rows, "suite"):
        mine = of(rows, suite=suite)
        success = share(of(mine, method=GLOBAL.name))
        yield Aim(f"{suite} suite: success at least 98 %", f"{success:.1%}", success >= 0.98)
        gaps = differences(mine, GLOBAL.name, TEN.name).values()
        worse = fmean(gap < -WORSE for gap in gaps) if gaps else float("nan")
        sentence = f"{suite} suite: worse than {TEN.name} by more than {WORSE:g} nats in at most 5 %"
        yield Aim(sentence, f"{worse:.1%}", worse <= 0.05)
        for rival, most in ((TEN.name, 0.2), (ONE.name, 1.5)):
            yield time_aim(f"{suite} suite", mine, GLOBAL.name, rival, most)


def time_aim(where: str, rows: Sequence[Row], method: str, rival: str, most: float) -> Aim:
    """Total CPU time against a rival's."""
    ratio = seconds_ratio(rows, method, rival)
    return Aim(f"{where}: CPU time at most {most:g} times that of {rival}", f"{ratio:.2f}", ratio <= most)


def large_aims(rows: Sequence[Row]) -> Iterator[Aim]:
    """No slower than one start, cell by cell."""
    for kind, d, k in dict.fromkeys((row["covariance"], row["d"], row["k"]) for row in rows):
        cell = of(rows, covariance=kind, d=d, k=k)
        yield time_aim(f"{kind}, d = {d}, k = {k}", cell, GLOBAL.name, ONE.name, 1.0)


def overfit_aims(rows: Sequence[Row]) -> Iterator[Aim]:
    """As good as the best of scikit-learn on held-out rows, at most twice as slow as one start."""
    means = {method: mean_held_out(of(rows, method=method)) for method in values_of(rows, "method")}
    best = max(means.get(method, float("-inf")) for method in (ONE.name, TEN.name))
    mine = means.get(GLOBAL.name, float("-inf"))
    yield Aim("held-out at least that of the best of scikit-learn", f"{mine - best:+.4f}", mine >= best)
    yield time_aim("few rows", rows, GLOBAL.name, ONE.name, 2.0)


def mean_held_out(rows: Sequence[Row]) -> float:
    """Mean over seeds; a fit that failed makes it infinitely low."""
    return fmean(float("-inf") if row["held_out"] is None else row["held_out"] for row in rows)


def components_aims(rows: Sequence[Row]) -> Iterator[Aim]:
    """Exact where components are apart, two for Old Faithful, no worse than a grid and faster."""
    separated = of(rows, problem="separated", method=AUTO.name)
    exact = share(separated, "exact")
    yield Aim("exact on at least 90 % of the separated problems", f"{exact:.1%} of {len(separated)}", exact >= 0.9)
    found = [row["k_found"] for row in of(rows, problem="Old Faithful", method=AUTO.name)]
    yield Aim("two components for Old Faithful", ", ".join(map(str, found)), bool(found) and set(found) == {2})
    gaps = differences(rows, AUTO.name, GRID.name).values()
    worse, worst = sum(gap < -NEVER_WORSE for gap in gaps), min(gaps, default=float("nan"))
    sentence = f"never worse than the grid on held-out rows by more than {NEVER_WORSE:g} nats"
    yield Aim(sentence, f"{worse} of {len(gaps)}, the worst {worst:+.4f}", bool(gaps) and worse == 0)
    yield time_aim("all problems", rows, AUTO.name, GRID.name, 1.0)


def designed_aims(rows: Sequence[Row]) -> Iterator[Aim]:
    """The diffusion is as good as the global start, and at most three times as slow."""
    diffusion, start = (share(of(rows, method=method)) for method in (DIFFUSION.name, GLOBAL.name))
    sentence = f"{DIFFUSION.name}: success as often as {GLOBAL.name}"
    yield Aim(sentence, f"{diffusion:.1%} against {start:.1%}", diffusion >= start)
    yield time_aim(DIFFUSION.name, rows, DIFFUSION.name, GLOBAL.name, 3.0)


AIMS: dict[str, Callable[[Sequence[Row]], Iterator[Aim]]] = {
    "random": random_aims,
    "designed": designed_aims,
    "large": large_aims,
    "overfit": overfit_aims,
    "components": components_aims,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every aim of the stored tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.global_start.targets", description="Aims, and misses.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    for name, aims in AIMS.items():
        path = options.results / f"{PREFIX}{name}.json"
        if path.exists():
            print(f"{name}:", *aims(json.loads(path.read_text(encoding="utf-8"))["rows"]), sep="\n  ")
        else:
            print(f"{name}: no results")


if __name__ == "__main__":
    main()
