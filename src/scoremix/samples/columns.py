"""Names and units of a model's columns: what was done to them before a fit, and how to undo it.

So everything that a model gives can be turned back into the data's own units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from scoremix.arrays import Floats
from scoremix.paths import FilePath, existing_file


@dataclass(frozen=True)
class Columns:
    """Names and units of a model's columns: what was subtracted and divided before the fit, undone after it.

    location: what was subtracted from each column, in the column's unit; scale: what each column was then divided by,
    in the column's unit; positive.

    ValueError: If the three lengths differ, or a scale is not a positive number.
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

        Returns with location 0 and scale 1.
        """
        return cls(tuple(names), (0.0,) * len(names), (1.0,) * len(names))

    @classmethod
    def standardizing(cls, names: Sequence[str], array: Floats) -> Self:
        """Return columns that `encode` turns into mean 0 and standard deviation 1.

        array (n, d).

        ValueError: If a column is constant; the message names it.
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

        array (n, d), rows in the columns' own units -> (n, d).

        ValueError: If the number of columns is not d.
        """
        return np.asarray((self._checked(array) - self.location) / self.scale)

    def decode(self, array: ArrayLike) -> Floats:
        """Turn rows in the model's units into rows in the columns' units: the inverse of `encode`.

        array (n, d), rows in the model's units -> (n, d).

        ValueError: If the number of columns is not d.
        """
        return np.asarray(self._checked(array) * self.scale + self.location)

    def read(self, path: FilePath) -> Floats:
        """Read these columns from a file, by name, or by position if the file or the model has no names.

        Returns (n, d), rows in the columns' own units.

        FileNotFoundError, ValueError: As ``read_table``; without names, the file must have exactly d columns.
        """
        # Here and not above: these need PyArrow, and a fit to arrays does not.
        from scoremix.samples.formats import FORMATS, default_names
        from scoremix.samples.tables import read_table, table_ending

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
