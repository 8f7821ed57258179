"""A page of results: its tables and figures come from stored JSON, between markers named after the tables."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks import FIGURES as FOLDER
from benchmarks import RESULTS
from benchmarks.gaussian.draw import BEGIN, END, Table, markdown

Rows = Sequence[dict[str, Any]]


def replaced(text: str, name: str, section: str) -> str:
    """The text of a page with another section between the markers of this name."""
    begin, end = (marker.replace("-->", f"{name} -->") for marker in (BEGIN, END))
    before, rest = text.split(begin, 1)
    return before + "\n\n".join([begin, section, end]) + rest.split(end, 1)[1]


@dataclass(frozen=True)
class Page:
    """What is made of the stored tables of a benchmark.

    Attributes
    ----------
    program : str
        How it is called, ``python -m ...``.
    prefix : str
        Of the names of stored tables and figures.
    path : Path
        The page.
    tables : mapping
        Per stored table the tables of the page: a title, and how rows become lines.
    figures, captions : mapping
        Per stored table a figure, where there is one, and what it shows.
    """

    program: str
    prefix: str
    path: Path
    tables: Mapping[str, Sequence[tuple[str, Callable[[Rows], Table]]]]
    figures: Mapping[str, Callable[[Rows], Figure]]
    captions: Mapping[str, str]

    def sections(self, contents: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
        """The tables of every stored table with its figure, by name."""
        for name, content in contents.items():
            source = content["provenance"]
            parts = []
            for title, table in self.tables[name]:
                parts += [f"**{title}** {source['date'][:10]}, {source['cpu']}.", markdown(table(content["rows"]))]
            if name in self.figures:
                parts.append(f"![{self.captions[name]}](figures/{self.prefix}{name}.png)")
            yield name, "\n\n".join(parts)

    def fill(self, path: Path, contents: dict[str, dict[str, Any]]) -> None:
        """Replace what stands between the markers of every table."""
        text = path.read_text(encoding="utf-8")
        for name, section in self.sections(contents):
            text = replaced(text, name, section)
        path.write_text(text, encoding="utf-8")

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Draw every stored table and fill the page, from the command line."""
        parser = argparse.ArgumentParser(prog=self.program, description="Draw what is stored.")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
        parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
        parser.add_argument("--page", type=Path, default=self.path, help="page whose tables are filled")
        options = parser.parse_args(arguments)
        options.output.mkdir(parents=True, exist_ok=True)
        paths = {name: options.results / f"{self.prefix}{name}.json" for name in self.tables}
        contents = {n: json.loads(p.read_text(encoding="utf-8")) for n, p in paths.items() if p.exists()}
        for name, make in self.figures.items():
            if name in contents:
                figure, source = make(contents[name]["rows"]), contents[name]["provenance"]
                figure.supxlabel(f"{source['date'][:10]}, {source['cpu']}", fontsize=7, color="0.4")
                figure.savefig(options.output / f"{self.prefix}{name}.png", dpi=120)
                plt.close(figure)
        self.fill(options.page, contents)
