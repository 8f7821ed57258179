"""Run the tables and store them as JSON with their provenance.

    python -m benchmarks.global_start.run --size full
    python -m benchmarks.global_start.run --size full --only random --only designed

CPU time on one thread, one fit after the other. `tiny` runs the same code in seconds; its numbers mean nothing. With
`--seed-offset N` all seeds are larger by N: rows that nobody has looked at, stored under names of their own.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.global_start import PREFIX
from benchmarks.global_start.comparison import Problem, compare, n_held_out
from benchmarks.global_start.components import components
from benchmarks.global_start.designed import DESIGNS
from benchmarks.global_start.methods import DIFFUSION, GLOBAL, ONE, PLUS_PLUS, SCALED, TEN, Method
from benchmarks.global_start.noise import noise
from benchmarks.global_start.peers import PEERS
from benchmarks.global_start.random_suite import FIRST, SECOND, Configuration, configuration, law_of
from benchmarks.global_start.robust import robust
from benchmarks.provenance import provenance
from benchmarks.run import Row
from benchmarks.tables import Size

PEER_SEEDS = 100
"""Of the first suite, those that the slow peers take part in."""

SEPARATIONS = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)

LARGE = (("spherical", 8, 100, 100_000), ("full", 8, 50, 100_000), ("diag", 16, 64, 50_000), ("full", 16, 50, 50_000))


def configured(chosen: Configuration, tiny: bool, **fields: str) -> Problem:
    """The problem of a configuration, with small numbers where they mean nothing."""
    if tiny:
        chosen = replace(chosen, k=min(chosen.k, 3), d=min(chosen.d, 2), n=300)
    row: Row = {**fields, "seed": chosen.seed, **asdict(chosen)}  # the seed stands in front
    law = law_of(chosen)
    return Problem(row, law, chosen.covariance, chosen.n, n_held_out(chosen.d, tiny), chosen.seed)


def random(size: Size, offset: int = 0) -> Iterator[Row]:
    """The two suites of random configurations."""
    tiny = size == "tiny"
    methods: tuple[Method, ...] = (GLOBAL, ONE, TEN, PLUS_PLUS, SCALED)
    present = tuple(peer for peer in PEERS if peer.missing is None)
    for suite, seeds in (("first", FIRST), ("second", SECOND)):
        for at, seed in enumerate(seeds[: 2 if tiny else None]):
            taking_part = methods + (present if suite == "first" and at < PEER_SEEDS else ())
            yield from compare(configured(configuration(offset + seed), tiny, suite=suite), taking_part)


def designed(size: Size, offset: int = 0) -> Iterator[Row]:
    """The designed problems, five draws of each."""
    tiny = size == "tiny"
    for design in DESIGNS[-5:-3] if tiny else DESIGNS:
        for seed in range(offset, offset + (1 if tiny else 5)):
            law, n = design.law(seed), 300 if tiny else design.n
            shape: Row = {"covariance": design.kind, "k": law.k, "d": law.d, "n": n}
            fields: Row = {"problem": design.name, "seed": seed, **shape}
            problem = Problem(fields, law, design.kind, n, n_held_out(law.d, tiny), seed)
            yield from compare(problem, (GLOBAL, DIFFUSION, ONE, TEN))


def separation(size: Size, offset: int = 0) -> Iterator[Row]:
    """Twenty components at falling distances."""
    tiny = size == "tiny"
    for d in (2,) if tiny else (2, 8):
        for kind, condition in (("spherical", 1.0), ("full", 3.0)):
            for distance in SEPARATIONS[-2:] if tiny else SEPARATIONS:
                for seed in range(offset, offset + (1 if tiny else 10)):
                    chosen = Configuration("random", kind, 20, d, distance, False, condition, 8_000, seed)
                    yield from compare(configured(chosen, tiny), (GLOBAL, ONE, TEN))


def large(size: Size, offset: int = 0) -> Iterator[Row]:
    """Many rows and many components."""
    tiny = size == "tiny"
    for kind, d, k, n in LARGE[:1] if tiny else LARGE:
        for seed in range(offset, offset + (1 if tiny else 2)):
            chosen = Configuration("random", kind, k, d, 5.0, False, 3.0, n, seed)
            yield from compare(configured(chosen, tiny), (GLOBAL, ONE))


def overfit(size: Size, offset: int = 0) -> Iterator[Row]:
    """Too few rows for the parameters: every component has 500 rows and 2,144 numbers to be learnt."""
    tiny = size == "tiny"
    for seed in range(offset, offset + (1 if tiny else 3)):
        chosen = Configuration("random", "full", 10, 64, 5.0, False, 3.0, 5_000, seed)
        yield from compare(configured(chosen, tiny), (GLOBAL, ONE, TEN))


TABLES: dict[str, Callable[[Size, int], Iterator[Row]]] = {
    "random": random,
    "designed": designed,
    "separation": separation,
    "noise": noise,
    "large": large,
    "overfit": overfit,
    "components": components,
    "robust": robust,
}


def store(folder: Path, name: str, size: Size, offset: int, rows: Iterator[Row]) -> Path:
    """Write one table, reporting every row on the way."""
    done: list[Row] = []
    for row in rows:
        done.append(row)
        print(name, *(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
    methods = dict.fromkeys(str(row["method"]) for row in done)
    seeds = {method: len({row["seed"] for row in done if row["method"] == method}) for method in methods}
    command = " ".join(["python -m benchmarks.global_start.run", *sys.argv[1:]])
    source = provenance(size, seeds) | {"command": command, "seed_offset": offset}
    left_out = [peer.missing for peer in PEERS if peer.missing] if name == "random" else []
    for sentence in left_out:
        print(sentence)
    content = {"table": name, "provenance": source, "left_out": left_out, "rows": done}
    path = folder / f"{PREFIX}{name}{f'_{offset}' if offset else ''}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.global_start.run", description="Run and store.")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--only", choices=tuple(TABLES), action="append", help="a table to run; may be repeated")
    parser.add_argument("--seed-offset", type=int, default=0, help="added to all seeds")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only or TABLES:
        rows = TABLES[name](options.size, options.seed_offset)
        store(options.output, name, options.size, options.seed_offset, rows)


def _short(value: float | str | bool | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
