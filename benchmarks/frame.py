"""The frame of all benchmarks: a table is declared once, running, storing, drawing and judging are shared.

A `Benchmark` says which cases are measured at two sizes, how one is measured, how stored rows are shown on a page and
what was aimed at. `tiny` runs the same code in seconds and is part of the tests; its numbers mean nothing. A `Suite`
is the benchmarks of a page, and its programs `run`, `draw` and `targets`.
"""

import json
import re
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks import FIGURES, RESULTS
from benchmarks.provenance import provenance
from benchmarks.tables import Row, Rows, Table, markdown
from benchmarks.targets import Aim

Content = dict[str, Any]
MARKED = re.compile(r"(<!-- benchmark((?: \w+)?) -->).*?(<!-- /benchmark\2 -->)", re.DOTALL)
"""Where a page has a table of this name with its figures or, without a name, all of the suite."""


def grid(cases: Iterable[Row] = ({},), **axes: Iterable[Any]) -> list[Row]:
    """Every case with every combination of the values, the last name the fastest."""
    return [case | dict(zip(axes, values, strict=True)) for case in cases for values in product(*axes.values())]


def cells(names: str, *values: Iterable[Any]) -> list[Row]:
    """Cases of these names."""
    return [dict(zip(names.split(), case, strict=True)) for case in values]


class Size:
    """Cases, each the fields of a row that tell it from others, and settings that are not stored with them."""

    def __init__(self, cases: Sequence[Row], **settings: Any) -> None:
        self.cases, self.settings = cases, settings


@dataclass(frozen=True)
class Benchmark:
    """A table of results: ``measure(**case, **settings)`` yields what is found; rows hold the fields of the case too.

    `tables` and, by name, `figures` make of the rows what a page shows, under their docstrings. `peers` that are not
    installed are named where they are missed. `stored` stands beside the rows.
    """

    measure: Callable[..., Iterable[Row]]
    full: Size
    tiny: Size
    tables: Sequence[Callable[[Rows], Table]]
    figures: Mapping[str, Callable[[Rows], Figure]] = field(default_factory=dict)
    aims: Callable[[Rows], Iterator[Aim]] | None = None
    peers: tuple[Any, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    own_name: str = ""

    @property
    def name(self) -> str:
        """That of the measurement, unless it has one of its own."""
        return self.own_name or self.measure.__name__

    def rows(self, size: str, offset: int = 0) -> Iterator[Row]:
        """Measure all cases, their seeds larger by `offset`."""
        chosen: Size = {"full": self.full, "tiny": self.tiny}[size]
        for case in chosen.cases:
            moved = case | ({"seed": case["seed"] + offset} if "seed" in case else {})
            for found in self.measure(**moved, **chosen.settings):
                yield moved | found


@dataclass(frozen=True)
class Suite:
    """Benchmarks that share pages, and the package of their programs, after which what is stored is named."""

    package: str
    benchmarks: tuple[Benchmark, ...]
    pages: tuple[Path, ...]
    rivals: tuple[str, ...] = ()  # optional packages; their versions are stored
    with_version: bool = False  # of scikit-learn, in headings
    note: str = ""  # below figures
    movable: bool = False  # whether all seeds may be larger by a number: rows that nobody has looked at
    indent: int | None = 1

    @property
    def prefix(self) -> str:
        """Of the names of stored tables."""
        return "".join(f"{word}_" for word in self.package.split(".")[1:])

    @property
    def figures(self) -> str:
        """The same of figures."""
        return self.prefix or "benchmark_"

    def store(self, benchmark: Benchmark, size: str, offset: int, folder: Path) -> None:
        """Measure a table and write it, reporting every row on the way."""
        name, rows = benchmark.name, []
        for row in benchmark.rows(size, offset):
            rows.append(row)
            print(name, *(f"{key}={_short(value)}" for key, value in row.items()), flush=True)
        moved = f" --seed-offset {offset}" * bool(offset)
        command = f"python -m {self.package}.run --size {size} --only {name}{moved}"
        source = provenance(command, size, _seeds(name, rows), self.rivals)
        source |= {"seed_offset": offset} if self.movable else {}
        left_out = [peer.missing for peer in benchmark.peers if peer.missing]
        content = {"table": name, **benchmark.stored, "provenance": source, "left_out": left_out, "rows": rows}
        text = json.dumps(content, indent=self.indent, allow_nan=False)
        path = folder / f"{self.prefix}{name}{f'_{offset}' * bool(offset)}.json"
        path.write_text(text + "\n", encoding="utf-8")

    def read(self, folder: Path = RESULTS) -> dict[str, Content]:
        """What is stored, by the name of the table, in the order of the page."""
        paths = {b.name: folder / f"{self.prefix}{b.name}.json" for b in self.benchmarks}
        return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}

    def section(self, benchmark: Benchmark, content: Content) -> str:
        """What a page shows of a table."""
        source, parts = content["provenance"], []
        version = f", scikit-learn {source['versions']['scikit-learn']}" * self.with_version
        for table in benchmark.tables:
            parts += [f"**{title}** {source['date'][:10]}, {source['cpu']}{version}." for title in _title(table)]
            parts.append(markdown(table(content["rows"])))
        parts += content.get("left_out", [])
        for name, figure in benchmark.figures.items():
            parts += [f"![{title}](figures/{self.figures}{name}.png)" for title in _title(figure)]
        return "\n\n".join(parts)

    def filled(self, text: str, contents: dict[str, Content]) -> str:
        """The text of a page with the sections of all stored tables where it has a place for them."""
        sections = {f" {b.name}": self.section(b, contents[b.name]) for b in self.benchmarks if b.name in contents}
        everything = "\n\n".join(sections.values())

        def replaced(found: re.Match[str]) -> str:
            section = sections.get(found[2]) if found[2] else everything
            return found[0] if section is None else "\n\n".join([found[1], section, found[3]])

        return MARKED.sub(replaced, text)

    def run(self, arguments: Sequence[str] | None = None) -> None:
        """Measure from the command line and store."""
        tables = {benchmark.name: benchmark for benchmark in self.benchmarks}
        parser = ArgumentParser(prog=f"python -m {self.package}.run", description="Run the tables and store them.")
        parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
        parser.add_argument("--only", choices=tuple(tables), action="append", help="a table to run; may be repeated")
        parser.set_defaults(seed_offset=0)
        if self.movable:
            parser.add_argument("--seed-offset", type=int, help="added to all seeds, and to names if not 0")
        parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
        options = parser.parse_args(arguments)
        options.output.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of fits that end before they converge: that is measured
            for name in options.only or tables:
                self.store(tables[name], options.size, options.seed_offset, options.output)

    def draw(self, arguments: Sequence[str] | None = None) -> None:
        """Draw all that is stored and fill the pages, from the command line; nothing is computed but summaries."""
        parser = ArgumentParser(prog=f"python -m {self.package}.draw", description="Draw the stored results.")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
        parser.add_argument("--output", type=Path, default=FIGURES, help="folder of the figures")
        parser.add_argument("--page", type=Path, action="append", help="a page to fill; may be repeated")
        options = parser.parse_args(arguments)
        options.output.mkdir(parents=True, exist_ok=True)
        contents = self.read(options.results)
        for benchmark in self.benchmarks:
            if benchmark.name in contents:
                self.draw_figures(benchmark, contents[benchmark.name], options.output)
        for page in options.page or self.pages:
            page.write_text(self.filled(page.read_text(encoding="utf-8"), contents), encoding="utf-8")

    def draw_figures(self, benchmark: Benchmark, content: Content, folder: Path) -> None:
        """Draw the figures of a table; below each stands when and where it was measured."""
        source = content["provenance"]
        for name, make in benchmark.figures.items():
            figure = make(content["rows"])
            figure.supxlabel(f"{source['date'][:10]}, {source['cpu']}{self.note}", fontsize=7, color="0.4")
            figure.savefig(folder / f"{self.figures}{name}.png", dpi=120)
            plt.close(figure)

    def targets(self, arguments: Sequence[str] | None = None) -> None:
        """Print what was aimed at, and whether the stored results hold it."""
        parser = ArgumentParser(prog=f"python -m {self.package}.targets", description="What was aimed at, and misses.")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
        contents = self.read(parser.parse_args(arguments).results)
        for benchmark in self.benchmarks:
            if benchmark.aims is not None and benchmark.name in contents:
                aims = list(benchmark.aims(contents[benchmark.name]["rows"]))
                print(f"{benchmark.name}: {sum(aim.holds for aim in aims)} of {len(aims)} hold", *aims, sep="\n  ")


def _title(shown: Callable[..., Any]) -> list[str]:
    """The docstring on one line, if there is one."""
    return [" ".join(shown.__doc__.split())] if shown.__doc__ else []


def _seeds(name: str, rows: Rows) -> dict[str, int]:
    """How many seeds every method has seen; the whole table where rows tell no method."""
    seeds: dict[str, set[Any]] = {}
    for row in rows:
        seeds.setdefault(str(row.get("method", name)), set()).add(row.get("seed", 0))
    return {method: len(seen) for method, seen in seeds.items()}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
