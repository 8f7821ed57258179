"""Read and write tables of numbers, in the format that the file's ending names.

A table is a list of column names and one float64 array of shape (n, d). Text, missing and infinite entries
are refused here, where the file and the column can still be named. `Columns` remembers what was done to the
columns before a fit, so that everything a model gives can be turned back into the data's own units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from scoremix.arrays import Floats
from scoremix.paths import FilePath, atomic_write, existing_file
from scoremix.samples.formats import CHOOSE_COLUMNS, FORMATS, default_names


def read_table(
    path: FilePath, columns: Sequence[str] | None = None, *, allow_missing: bool = False
) -> tuple[list[str], Floats]:
    """Read columns of numbers from a file.

    Parameters
    ----------
    path : str or path-like
        A file ending in .csv, .parquet, .arrow (file or stream format), .feather or .npy.
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
        A file ending in .csv, .parquet, .arrow, .feather or .npy. NPY files do not keep the names.
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
        .csv, .parquet, .arrow, .feather or .npy.

    Raises
    ------
    ValueError
        If the ending is another one.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path}: unknown ending {ending!r}: use one of {', '.join(FORMATS)}")
    return ending


@dataclass(frozen=True)
class Columns:
    """Names and units of a model's columns: what was subtracted and divided before the fit, undone after it.

    Parameters
    ----------
    names : sequence of str
        Column names, d of them, in the model's order.
    location : sequence of float
        What was subtracted from each column, in the column's unit.
    scale : sequence of float
        What each column was then divided by, in the column's unit; positive.

    Raises
    ------
    ValueError
        If the three lengths differ, or a scale is not a positive number.
    """

    names: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        # Tuples, whatever was given: so two of these compare with ==, and JSON keeps them.
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "location", tuple(float(value) for value in self.location))
        object.__setattr__(self, "scale", tuple(float(value) for value in self.scale))
        if not len(self.names) == len(self.location) == len(self.scale):
            raise ValueError(
                f"{len(self.names)} names, {len(self.location)} locations and {len(self.scale)} scales: "
                "give one of each per column"
            )
        for name, location, scale in zip(self.names, self.location, self.scale, strict=True):
            if not (np.isfinite(location) and np.isfinite(scale) and scale > 0):
                raise ValueError(
                    f"column {name!r} has location {location} and scale {scale}: "
                    "the location must be finite and the scale positive"
                )

    @classmethod
    def plain(cls, names: Sequence[str]) -> Self:
        """Return columns used in their own units.

        Parameters
        ----------
        names : sequence of str
            Column names.

        Returns
        -------
        Columns
            With location 0 and scale 1.
        """
        return cls(tuple(names), (0.0,) * len(names), (1.0,) * len(names))

    @classmethod
    def standardizing(cls, names: Sequence[str], array: Floats) -> Self:
        """Return columns that `encode` turns into mean 0 and standard deviation 1.

        Parameters
        ----------
        names : sequence of str
            Column names.
        array : ndarray of shape (n, d)
            The data that give the means and the standard deviations.

        Returns
        -------
        Columns
            Means as location, standard deviations as scale.

        Raises
        ------
        ValueError
            If a column is constant; the message names it.
        """
        location, scale = array.mean(axis=0), array.std(axis=0)
        for name, column in zip(names, array.T, strict=True):
            if np.all(column == column[0]):
                raise ValueError(f"column {name!r} is constant ({column[0]:g}): leave it out to standardise")
        return cls(tuple(names), tuple(location), tuple(scale))

    @property
    def is_standardized(self) -> bool:
        """True if the model's units differ from the columns' own."""
        return any(value != 0 for value in self.location) or any(value != 1 for value in self.scale)

    def encode(self, array: ArrayLike) -> Floats:
        """Turn rows in the columns' units into rows in the model's units.

        Parameters
        ----------
        array : array-like of shape (n, d)
            Rows in the columns' own units.

        Returns
        -------
        ndarray of shape (n, d)
            ``(array - location) / scale``, a new array.

        Raises
        ------
        ValueError
            If the number of columns is not d.
        """
        return np.asarray((self._checked(array) - self.location) / self.scale)

    def decode(self, array: ArrayLike) -> Floats:
        """Turn rows in the model's units into rows in the columns' units: the inverse of `encode`.

        Parameters
        ----------
        array : array-like of shape (n, d)
            Rows in the model's units.

        Returns
        -------
        ndarray of shape (n, d)
            ``array * scale + location``, a new array.

        Raises
        ------
        ValueError
            If the number of columns is not d.
        """
        return np.asarray(self._checked(array) * self.scale + self.location)

    def read(self, path: FilePath) -> Floats:
        """Read these columns from a file, by name, or by position if the file or the model has no names.

        Parameters
        ----------
        path : str or path-like
            A file that `read_table` reads; it may have further columns.

        Returns
        -------
        ndarray of shape (n, d)
            Rows in the columns' own units.

        Raises
        ------
        FileNotFoundError, ValueError
            As `read_table`; without names, the file must have exactly d columns.
        """
        source = existing_file(path)
        found = FORMATS[table_ending(source)].names(source)
        # The default names carry no information, so they need not agree.
        is_nameless = default_names(len(self.names)) in (found, list(self.names))
        by_position = is_nameless and len(found) == len(self.names) and not set(self.names) <= set(found)
        return read_table(source, None if by_position else self.names)[1]

    def _checked(self, array: ArrayLike) -> Floats:
        values = np.asarray(array, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ValueError(
                f"an array of shape {values.shape} does not fit the {len(self.names)} columns "
                f"{', '.join(self.names)}: give one column for each"
            )
        return values
