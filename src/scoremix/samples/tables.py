"""Read and write tables of numbers, in the format that the file's ending names.

A table is a list of column names and one float64 array of shape (n, d). Text, missing and infinite entries
are refused here, where the file and the column can still be named.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from scoremix.arrays import Floats
from scoremix.paths import FilePath, atomic_write, existing_file
from scoremix.samples.formats import CHOOSE_COLUMNS, FORMATS


def read_table(
    path: FilePath, columns: Sequence[str] | None = None, *, allow_missing: bool = False
) -> tuple[list[str], Floats]:
    """Read columns of numbers from a file.

    Parameters
    ----------
    path : str or path-like
        A file ending in .csv, .csv.gz (or .bz2, .zst, .lz4), .parquet, .arrow (file or stream format), .feather or
        .npy.
    columns : sequence of str, optional
        Names of the columns to read, in this order. All columns by default.
    allow_missing : bool, default=False
        Give missing entries as NaN, in columns that have others too.

    Returns
    -------
    names : list of str
        Names of the d columns read; x0, x1, ... for files without names.
    array : ndarray of shape (n, d)
        The numbers, float64, n >= 1 and d >= 1, all finite, or NaN where that is allowed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the ending is unknown, the file is empty or malformed, a column is unknown or named twice, or an
        entry is text, missing or infinite. The message names the file, the column and what to do.
    """
    source = existing_file(path)
    form = FORMATS[table_ending(source)]
    found = form.names(source)
    positions = _positions(source, found, columns)
    names = [found[position] for position in positions]
    array = form.load(source, positions)
    if not array.shape[0]:
        raise ValueError(f"{source} has no rows: give a file with data")
    finite = np.isfinite(array)
    if allow_missing:
        finite |= np.isnan(array) & ~np.isnan(array).all(axis=0)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        count = np.count_nonzero(~finite[:, column])
        raise ValueError(
            f"{source}: column {names[column]!r} has {count} missing or infinite entries, "
            f"the first in data row {row + 1}: remove or fill these rows"
        )
    return names, array


def write_table(path: FilePath, names: Sequence[str], array: ArrayLike) -> None:
    """Write a table in the format of the file's ending; replace an existing file only when all is written.

    Parameters
    ----------
    path : str or path-like
        A file ending in .csv, .csv.gz (or .bz2, .zst, .lz4), .parquet, .arrow, .feather or .npy. NPY files do not keep
        the names.
    names : sequence of str
        The d different column names.
    array : array-like of shape (n, d)
        The numbers, written as float64; CSV keeps every digit.

    Raises
    ------
    ValueError
        If the ending is unknown, or the names do not fit the array.
    OSError
        If the file cannot be written.
    """
    values = np.asarray(array, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names) or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} column names {list(names)} for an array of shape {values.shape}")
    form = FORMATS[table_ending(path)]
    with atomic_write(path) as partial:
        form.save(partial, list(names), values)


def _positions(source: Path, found: list[str], columns: Sequence[str] | None) -> list[int]:
    """Return where the chosen columns stand among those found in a file."""
    chosen = list(found if columns is None else columns)
    if not found:
        raise ValueError(f"{source} has no columns: give a file with data")
    if not chosen:
        raise ValueError(f"{source}: no columns chosen: its columns are {', '.join(found)}")
    for name in chosen:
        if not name and name in found:
            raise ValueError(f"{source}: column {found.index('') + 1} has no name (row numbers?): {CHOOSE_COLUMNS}")
        if name not in found:
            raise ValueError(f"{source} has no column {name!r}: its columns are {', '.join(found)}")
        if found.count(name) > 1:
            raise ValueError(f"{source} has several columns named {name!r}: rename them")
        if chosen.count(name) > 1:
            raise ValueError(f"{source}: column {name!r} is chosen twice: choose each column once")
    return [found.index(name) for name in chosen]


def table_ending(path: FilePath) -> str:
    """Return the ending of a table's path in lower case.

    Parameters
    ----------
    path : str or path-like
        Path of a table; the file need not exist.

    Returns
    -------
    str
        .csv, .csv.gz (or .bz2, .zst, .lz4), .parquet, .arrow, .feather or .npy.

    Raises
    ------
    ValueError
        If the ending is another one.
    """
    target = Path(path)
    for ending in FORMATS:
        if target.name.lower().endswith(ending):
            return ending
    raise ValueError(f"{path}: unknown ending {target.suffix.lower()!r}: use one of {', '.join(FORMATS)}")
