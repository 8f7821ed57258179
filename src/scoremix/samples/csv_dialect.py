"""How a CSV file is written, from its beginning: encoding, a line such as ``sep=;``, delimiter, names of the columns.

The encoding is told by its mark, or by the zeros of UTF-16. The delimiter is the one that makes most numbers of the
first rows. The first row holds names if an entry is not a number, or if it alone has quotes, such as years do.
Whether the decimal mark is a point or a comma only a whole file can tell, which is left to the reader.
"""

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice

SAMPLE = 2**22  # Bytes that are enough for the names and the first rows.
ROWS = 100  # Rows that are looked at, below the first.

DELIMITERS = ",;\t|"

# Encodings by the marks that files begin with.
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

# What files are that begin otherwise than text.
OTHERS = {
    b"\x1f\x8b": "compressed: let its name end in .csv.gz",
    b"BZh": "compressed: let its name end in .csv.bz2",
    b"(\xb5/\xfd": "compressed: let its name end in .csv.zst",
    b"PK\x03\x04": "a spreadsheet or a ZIP archive: export it as CSV",
    b"PAR1": "a Parquet file: let its name end in .parquet",
}

# The line by which spreadsheets say the delimiter.
SEPARATOR = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?[ \t]*(\r\n|\r|\n|$)', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is to be read."""

    encoding: str
    delimiter: str
    first: list[str]
    has_names: bool
    skip: int


def dialect_of(sample: bytes) -> Dialect:
    """Find out how a file is written.

    ValueError: If it is no text, or nothing but blanks parts its columns; the message says so.
    """
    encoding, text = _decoded(sample)
    above, given = 0, SEPARATOR.match(text)
    if given:
        above, text = len(given[0].splitlines()), text[given.end() :]
    delimiter = given[1] if given else _best(text)
    rows, skip = _rows(text, delimiter)
    first = rows[0] if rows else []
    if any("\ufffd" in entry for entry in first):
        raise ValueError(f"its first line is no {encoding} text: save it as UTF-8")
    if delimiter == " " and "" in first:
        raise ValueError("several blanks part its columns: write one comma between them")
    lines = list(islice(io.StringIO(text, newline=""), skip + ROWS))
    has_quotes = ['"' in line for line in lines]
    # Where all is quoted, quotes say nothing.
    alone = any(has_quotes[:skip]) and len(lines) > skip and not any(has_quotes[skip:])
    has_names = alone or not all(map(_is_number, first))
    return Dialect(encoding, delimiter, first, has_names, above + skip * has_names)


def _decoded(sample: bytes) -> tuple[str, str]:
    """Encoding and text, without what was cut off at the end."""
    for start, what in OTHERS.items():
        if sample.startswith(start):
            raise ValueError(f"it is {what}")
    marked = [encoding for mark, encoding in ENCODINGS.items() if sample.startswith(mark)]
    zeros = [encoding for at, encoding in ((0, "utf-16-be"), (1, "utf-16-le")) if sample[at : at + 1] == b"\0"]
    encoding = [*marked, *zeros, "utf-8"][0]
    text = sample.decode(encoding, errors="replace")
    if len(sample) == SAMPLE:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    return encoding, text


def _best(text: str) -> str:
    """Blanks stand within names and beside numbers too: they part columns only where nothing else makes numbers."""
    best = max(DELIMITERS, key=lambda delimiter: _fit(text, delimiter))
    return best if _fit(text, best)[0] or not _fit(text, " ")[0] else " "


def _fit(text: str, delimiter: str) -> tuple[float, int]:
    """Say how well a delimiter fits: mean share of numbers in rows as wide as the first, and its width."""
    rows, _ = _rows(text, delimiter)
    if not rows:
        return 0.0, 0
    width, below = len(rows[0]), rows[1:] or rows
    found = [sum(map(_is_number, row)) / width for row in below if len(row) == width]
    return sum(found) / len(below), width


def _rows(text: str, delimiter: str) -> tuple[list[list[str]], int]:
    """First rows that are not blank, and the number of lines down to the end of the first one."""
    reader, rows, first = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [], 0
    for row in reader:
        if row:
            first = first or reader.line_num
            rows.append(row)
        if len(rows) > ROWS:
            break
    return rows, first


def _is_number(text: str) -> bool:
    """Tell a number, with a decimal point or a comma between digits: "1," is a number and a missing entry."""
    try:
        float(re.sub(r"(?<=\d),(?=\d)", ".", text, count=1))
    except ValueError:
        return False
    return True
