"""File formats of tables: CSV, Parquet, Arrow and NPY.

A format is three small functions: the names of a file's columns, some of its columns as one float64 array,
and the writing of an array. `FORMATS` has one entry per ending, so that a new format is one more entry.

Decisions
    * NPY files, and CSV files whose first row is all numbers, have no column names: they get `default_names`.
    * CSV files are read with every chosen column declared as float64. Guessing types from the first rows
      would fail on files whose later rows look different. `csv_dialect` tells how a file is written but for the
      decimal mark: the point is tried first, then the comma.
    * Missing entries become NaN; text is an error that names the column.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from scoremix.arrays import Floats
from scoremix.samples.csv_dialect import SAMPLE, Dialect, dialect_of

CHOOSE_COLUMNS = "choose columns of numbers (columns=..., on the command line --columns)"


@dataclass(frozen=True)
class Format:
    """How to read and write one kind of file.

    load (path, positions); save (path, names, array).
    """

    names: Callable[[Path], list[str]]
    load: Callable[[Path, list[int]], Floats]
    save: Callable[[Path, list[str], Floats], None]


def default_names(n_columns: int) -> list[str]:
    """Return the names x0, x1, ... of columns that have none."""
    return [f"x{index}" for index in range(n_columns)]


@contextmanager
def _reading(path: Path, label: str) -> Iterator[None]:
    """Turn what a reader raises on a malformed file into one sentence."""
    try:
        yield
    except (pa.ArrowException, csv.Error, ValueError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is not a readable {label} file ({reason}): check or export it again") from error


# CSV --------------------------------------------------------------------------------------------------------

# What follows .csv in a name, and how PyArrow calls it.
COMPRESSIONS = {"": None, ".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}

THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2}(,\d{3})+\s*$"  # What may be either a decimal comma or commas between thousands.


class _NotANumberError(ValueError):
    """An entry is not a number where the decimal mark is the point, or the comma."""

    def __init__(self, message: str, value: str) -> None:
        super().__init__(message)
        self.value = value


def _csv_dialect(path: Path, compression: str | None) -> tuple[Dialect, list[str]]:
    """How a file is written, and the names of its columns."""
    with _reading(path, "CSV"), pa.input_stream(str(path), compression=compression) as file:
        dialect = dialect_of(file.read(SAMPLE))
    names = [name.strip() for name in dialect.first]
    return dialect, names if dialect.has_names else default_names(len(names))


def _csv_names(path: Path, compression: str | None) -> list[str]:
    return _csv_dialect(path, compression)[1]


def _csv_load(path: Path, positions: list[int], compression: str | None) -> Floats:
    dialect, names = _csv_dialect(path, compression)
    read = partial(_csv_table, path, names, positions, compression, dialect)
    try:
        table = read(".")
    except _NotANumberError as error:
        if "," not in error.value or "." in error.value:
            raise
        if dialect.delimiter != ";":  # which stands where the comma is the decimal mark
            _check_decimal_comma(path, read(None), error.value)
        table = read(",")
    return _from_arrow(path, table, [names[index] for index in positions])


def _csv_table(
    path: Path, names: list[str], positions: list[int], compression: str | None, dialect: Dialect, decimal: str | None
) -> pa.Table:
    """Read columns of numbers with a decimal mark, or of text without one."""
    # Positions as names: they are unique whatever the file calls its columns.
    unique = [str(index) for index in range(len(names))]
    chosen = [unique[index] for index in positions]
    kind = pa.string() if decimal is None else pa.float64()
    try:
        with _reading(path, "CSV"), pa.input_stream(str(path), compression=compression) as file:
            return pa.csv.read_csv(
                file,
                pa.csv.ReadOptions(column_names=unique, skip_rows=dialect.skip, encoding=dialect.encoding),
                pa.csv.ParseOptions(delimiter=dialect.delimiter),
                pa.csv.ConvertOptions(
                    include_columns=chosen,
                    column_types=dict.fromkeys(chosen, kind),
                    decimal_point=decimal or ".",
                ),
            )
    except ValueError as error:
        wrong = re.search(r"In CSV column #(\d+): .*invalid value '(.*?)'", str(error), re.DOTALL)
        if wrong is None:
            raise
        name, value = names[int(wrong[1])], wrong[2]
        number = "a number" if decimal == "." else "a number with a decimal comma, as others in the file are"
        message = f"{path}: column {name!r} holds {value!r}, which is not {number}: {CHOOSE_COLUMNS}"
        raise _NotANumberError(message, value) from None


def _check_decimal_comma(path: Path, table: pa.Table, value: str) -> None:
    """Refuse commas that may as well stand between thousands, in all entries."""
    for column in table.columns:
        has_comma = pa.compute.match_substring(column, ",")
        if pa.compute.any(pa.compute.and_not(has_comma, pa.compute.match_substring_regex(column, THOUSANDS))).as_py():
            return
    raise ValueError(f"{path} holds {value!r}, with a decimal comma or one between thousands: write decimal points")


def _csv_save(path: Path, names: list[str], array: Floats, compression: str | None) -> None:
    # pyarrow quotes every name; Python's writer only those that need it.
    header = io.StringIO(newline="")
    csv.writer(header, lineterminator="\n").writerow(names)
    with pa.output_stream(str(path), compression=compression) as file:
        file.write(header.getvalue().encode())
        pa.csv.write_csv(_to_arrow(names, array), file, pa.csv.WriteOptions(include_header=False))


def _csv_format(compression: str | None) -> Format:
    return Format(
        partial(_csv_names, compression=compression),
        partial(_csv_load, compression=compression),
        partial(_csv_save, compression=compression),
    )


# Parquet and Arrow ------------------------------------------------------------------------------------------


def _parquet_names(path: Path) -> list[str]:
    with _reading(path, "Parquet"):
        return list(pa.parquet.read_schema(path).names)


def _parquet_load(path: Path, positions: list[int]) -> Floats:
    names = _parquet_names(path)
    chosen = [names[index] for index in positions]
    with _reading(path, "Parquet"):
        table = pa.parquet.ParquetFile(path).read(columns=chosen)
    return _from_arrow(path, table.select(chosen), chosen)


def _parquet_save(path: Path, names: list[str], array: Floats) -> None:
    pa.parquet.write_table(_to_arrow(names, array), path)


def _arrow_table(path: Path) -> pa.Table:
    """Read the file format, or else the stream format: both are in use under the same ending."""
    with _reading(path, "Arrow"), pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _arrow_names(path: Path) -> list[str]:
    return list(_arrow_table(path).column_names)


def _arrow_load(path: Path, positions: list[int]) -> Floats:
    table = _arrow_table(path)
    return _from_arrow(path, table.select(positions), [table.column_names[index] for index in positions])


def _arrow_save(path: Path, names: list[str], array: Floats) -> None:
    table = _to_arrow(names, array)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def _to_arrow(names: list[str], array: Floats) -> pa.Table:
    return pa.table([pa.array(column) for column in np.ascontiguousarray(array.T)], names=names)


def _from_arrow(path: Path, table: pa.Table, names: Sequence[str]) -> Floats:
    array = np.empty((table.num_rows, len(names)))
    for index, (name, column) in enumerate(zip(names, table.columns, strict=True)):
        kind, is_a = column.type, pa.types
        if not any(
            test(kind) for test in (is_a.is_integer, is_a.is_floating, is_a.is_boolean, is_a.is_decimal, is_a.is_null)
        ):
            raise ValueError(f"{path}: column {name!r} holds {kind} values, not numbers: {CHOOSE_COLUMNS}")
        array[:, index] = column.cast(pa.float64(), safe=False).to_numpy()
    return array


# NPY --------------------------------------------------------------------------------------------------------


def _npy_array(path: Path) -> Floats:
    """Map the file as an (n, d) array; a one-dimensional array is one column."""
    with _reading(path, "NPY"):
        stored = np.lib.format.open_memmap(path, mode="r")
    if stored.dtype.kind not in "biuf" or stored.ndim not in (1, 2):
        raise ValueError(
            f"{path} holds an array of shape {stored.shape} and type {stored.dtype}: "
            "save one of shape (n, d) or (n,) that holds real numbers"
        )
    return stored.reshape(len(stored), -1) if stored.ndim == 1 else stored


def _npy_names(path: Path) -> list[str]:
    return default_names(_npy_array(path).shape[1])


def _npy_load(path: Path, positions: list[int]) -> Floats:
    stored = _npy_array(path)
    everything = positions == list(range(stored.shape[1]))
    return np.array(stored if everything else stored[:, positions], dtype=np.float64, order="C")


def _npy_save(path: Path, names: list[str], array: Floats) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


_ARROW = Format(_arrow_names, _arrow_load, _arrow_save)
FORMATS = {
    **{f".csv{ending}": _csv_format(compression) for ending, compression in COMPRESSIONS.items()},
    ".parquet": Format(_parquet_names, _parquet_load, _parquet_save),
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".npy": Format(_npy_names, _npy_load, _npy_save),
}
