"""Tables of a page, made of stored rows: rows that belong together become a line by a pattern of Markdown.

In a pattern, ``{seconds.median:.1f}`` is the median of a field over the rows of the line, ``{n:,}`` the value of its
first row, ``{method[EM].error.mean:.3f}`` a mean over those rows only that have this value of another field.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, median
from typing import Any

Row = dict[str, Any]
Rows = Sequence[Row]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def of(rows: Rows, **fields: Any) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def values_of(rows: Rows, name: str) -> list[Any]:
    """Values that occur, in order."""
    return list(dict.fromkeys(row[name] for row in rows))


def groups(rows: Rows, *names: str) -> list[list[Row]]:
    """Rows that agree in all of the fields; the values of the last change the fastest."""
    chosen = product(*(values_of(rows, name) for name in names))
    parts = (of(rows, **dict(zip(names, values, strict=True))) for values in chosen)
    return [part for part in parts if part]


def extended(rows: Rows, by: str | Sequence[str], **fields: Callable[[Rows], Any]) -> list[Row]:
    """Rows with more fields, each computed from all rows that agree in `by`."""
    parts = groups(rows, *([by] if isinstance(by, str) else by))
    return [row | more for part in parts for more in [{n: f(part) for n, f in fields.items()}] for row in part]


class Missing(LookupError):
    """There are no values to summarise."""


class Each(list[Any]):
    """Values that are written one after the other."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)


SUMMARIES: dict[str, Callable[[list[Any]], Any]] = {
    "first": lambda values: values[0],
    "mean": fmean,
    "median": median,
    "max": max,
    "min": min,
    "sum": sum,
    "len": len,
    "count": lambda values: f"{sum(map(bool, values))} of {len(values)}",
}
SCALES = {"percent": 100, "e3": 1e3, "e4": 1e4}


@dataclass(frozen=True)
class Values:
    """A field of the rows of a line, as patterns see it; what is None is left out."""

    rows: Rows
    name: str
    scale: float = 1

    def __getattr__(self, summary: str) -> Any:
        if summary in SCALES:
            return Values(self.rows, self.name, SCALES[summary])
        values = [row[self.name] for row in self.rows if row[self.name] is not None]
        if summary == "each":
            return Each(value if self.scale == 1 else self.scale * value for value in values)
        if not values:
            raise Missing(self.name)
        found = SUMMARIES[summary](values)
        return found if self.scale == 1 else self.scale * found

    def __getitem__(self, value: object) -> "Line":
        return Line([row for row in self.rows if str(row[self.name]) == str(value)])

    def __format__(self, spec: str) -> str:
        return format(self.first, spec)


@dataclass(frozen=True)
class Line:
    """The rows of a line, as patterns see them."""

    rows: Rows

    def __getitem__(self, name: str) -> Values:
        return Values(self.rows, name)

    __getattr__ = __getitem__


def written(pattern: str, rows: Rows, none: str) -> str:
    """A cell, or `none` where something of it is missing."""
    try:
        return pattern.format_map(Line(rows))
    except Missing:
        return none


def table(rows: Rows, by: str | Sequence[str] | None, head: str, line: str, none: str = "") -> Table:
    """A line for all rows that agree in `by`, or for every row; head and line are Markdown, cells parted by `` | ``."""
    parts = [[row] for row in rows] if by is None else groups(rows, *([by] if isinstance(by, str) else by))
    lines = [tuple(written(cell, part, none) for cell in line.split(" | ")) for part in parts]
    return tuple(head.split(" | ")), lines


def across(name: str, values: Iterable[Any], pattern: str, head: str = "{}") -> tuple[str, str]:
    """Heads and cells of a column for every value of a field; in `pattern` fields are those of its rows."""
    values = list(values)
    cells = (pattern.replace("{", f"{{{name}[{value}].") for value in values)
    return " | ".join(head.format(value) for value in values), " | ".join(cells)


def markdown(table: Table) -> str:
    """A table of the page."""
    head, lines = table
    if not lines:
        return "None."
    rule = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])
