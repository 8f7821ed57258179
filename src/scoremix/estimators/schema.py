"""What a model file may hold: a declared entry for every name, checked in one place before anything is made of it.

A schema is a table ``name: entry``. `Numbers` says type, shape, range and, where there is one, the rule of an array or
of a number of the header; `Text`, `Each`, `Row`, `Table`, `Either` and `Maybe` make words, lists, objects and what may
be left out. Shapes are written in letters, such as ``"k d"``: a letter stands for one size throughout a file, that of
whoever shows it first. Arrays are as large as the file is; what is made of them has sizes that were found right here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.features import MAX_FEATURES
from scoremix.models.covariance.types import TYPES

# Largest length, and its inverse the smallest that counts as positive; variances go to the squares. So the distance of
# two points in units of a deviation, squared, is still a number in double precision.
LARGEST = 1e75

MAYBE_NONE = "s"  # The letter of what there may be none of, such as steps; every other size is at least 1.

Sizes = dict[str, int]

_KINDS = {float: "fiu", int: "iu", bool: "b"}
_WORDS = {float: "numbers", int: "whole numbers", bool: "true or false"}


class Entry(Protocol):
    """What a schema says of one name."""

    def read(self, name: str, value: Any, sizes: Sizes) -> Any:
        """Return the value as it is used, note new sizes, or raise a ValueError that names what is wrong."""


@dataclass(frozen=True)
class Rule:
    """What must be true of an array beyond its range."""

    words: str
    holds: Callable[[NDArray[Any]], bool]


@dataclass(frozen=True)
class Numbers:
    """An array of numbers, from a tensor or from the header."""

    shape: str = ""
    low: float = -LARGEST
    high: float | str = LARGEST
    kind: type = float
    rule: Rule | None = None
    may_be_nan: bool = False

    def read(self, name: str, value: Any, sizes: Sizes) -> NDArray[Any]:
        """Check type, shape, range and rule, in this order."""
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in _KINDS[self.kind]:
            raise ValueError(f"{name} must hold {_WORDS[self.kind]}")
        self._measure(name, array.shape, sizes)
        high = sizes[self.high] - 1 if isinstance(self.high, str) else self.high
        double = array.astype(np.float64)  # single precision does not know the largest number
        inside = (double >= self.low) & (double <= high)
        if not np.all(inside | np.isnan(double) if self.may_be_nan else inside):
            raise ValueError(f"{name} must lie between {self.low:g} and {high:g}")
        array = array.astype(self.kind)
        if self.rule is not None and not self.rule.holds(array):
            raise ValueError(f"{name} must be {self.rule.words}")
        return array

    def _measure(self, name: str, shape: tuple[int, ...], sizes: Sizes) -> None:
        """Compare a shape with the sizes known, and note those that are new."""
        if set(self.shape) == {"*"} and len(shape) <= len(self.shape):
            return
        letters = self.shape.split()
        fits = len(shape) == len(letters)
        for letter, n in zip(letters, shape, strict=False):
            fits &= n == (int(letter) if letter.isdecimal() else sizes.setdefault(letter, n))
            fits &= n > 0 or letter == MAYBE_NONE
        if not fits:
            known = ", ".join(f"{letter} = {sizes[letter]}" for letter in dict.fromkeys(letters) if letter in sizes)
            raise ValueError(
                f"{name} has shape {shape} and not ({', '.join(letters)}), where {known or 'sizes are > 0'}"
            )


@dataclass(frozen=True)
class Text:
    """Words."""

    choices: Collection[str] = ()

    def read(self, name: str, value: Any, sizes: Sizes) -> str:
        """Check that the words are known."""
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            raise ValueError(f"{name} must be {' or '.join(map(repr, self.choices)) or 'text'}")
        return value


@dataclass(frozen=True)
class Each:
    """A list of as many entries as a letter says."""

    letter: str
    entry: Entry

    def read(self, name: str, value: Any, sizes: Sizes) -> list[Any]:
        """Check the list's length and every entry."""
        if not isinstance(value, list) or len(value) != sizes.setdefault(self.letter, len(value)):
            wanted = f"of {sizes[self.letter]} entries" if self.letter in sizes else ""
            raise ValueError(f"{name} must be a list {wanted}".rstrip())
        return [self.entry.read(name, each, sizes) for each in value]


@dataclass(frozen=True)
class Row:
    """A list of different entries."""

    entries: tuple[Entry, ...]

    def read(self, name: str, value: Any, sizes: Sizes) -> tuple[Any, ...]:
        """Check every entry."""
        if not isinstance(value, list) or len(value) != len(self.entries):
            raise ValueError(f"{name} must have rows of {len(self.entries)} entries")
        return tuple(entry.read(name, each, sizes) for entry, each in zip(self.entries, value, strict=True))


@dataclass(frozen=True)
class Table:
    """An object, whose entries may have a schema of their own, with some names that are never missing."""

    names: tuple[str, ...]

    def read(self, name: str, value: Any, sizes: Sizes) -> dict[str, Any]:
        """Check that it is one."""
        if not isinstance(value, dict) or not value.keys() >= set(self.names):
            raise ValueError(f"{name} must say {' and '.join(self.names)}")
        return value


@dataclass(frozen=True)
class Maybe:
    """An entry that may be null or left out, which reads as None."""

    entry: Entry

    def read(self, name: str, value: Any, sizes: Sizes) -> Any:
        """Check the entry where there is one."""
        return None if value is None else self.entry.read(name, value, sizes)


@dataclass(frozen=True)
class Either:
    """Words, or else numbers."""

    words: Text
    numbers: Numbers

    def read(self, name: str, value: Any, sizes: Sizes) -> Any:
        """Check what there is."""
        return (self.words if isinstance(value, str) else self.numbers).read(name, value, sizes)


Schema = dict[str, Entry]


def checked(schema: Schema, values: Mapping[str, Any], sizes: Sizes, prefix: str = "") -> dict[str, Any]:
    """Read all entries of a schema, in its order.

    ValueError: Naming the first that is missing or wrong.
    """
    found = {}
    for name, entry in schema.items():
        full = prefix + name
        if full not in values and not isinstance(entry, Maybe):
            raise ValueError(f"{full} is missing")
        found[name] = entry.read(full, values.get(full), sizes)
    return found


def everything(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Header and arrays in one table; what an object of the header holds is named ``object.name``."""
    values = dict(header)
    for group, value in header.items():
        if isinstance(value, dict):
            values |= {f"{group}.{name}": each for name, each in value.items()}
    return values | dict(arrays)


def index(shape: str, below: str) -> Numbers:
    """Indices below a size."""
    return Numbers(shape, 0, below, int)


def scale() -> Numbers:
    """A deviation, or 0 where there is none."""
    return Numbers(
        low=0, rule=Rule(f"0 or at least {1 / LARGEST:g}", lambda found: bool(not found or found >= 1 / LARGEST))
    )


def count(shape: str = "", low: int = 0, high: int = 2**62) -> Numbers:
    """Whole numbers, by default from 0 on."""
    return Numbers(shape, low, high, int)


def positive(shape: str = "", largest: float = LARGEST**2) -> Numbers:
    """Positive numbers, variances by default."""
    return Numbers(shape, 1 / largest, largest)


def shares(shape: str, low: float = 0.0) -> Numbers:
    """Numbers that sum to 1, up to the rounding of single precision."""
    return Numbers(shape, low, 1.0, rule=Rule("shares that sum to 1", lambda w: bool(abs(w.sum() - 1) <= 1e-6)))


def _is_orthonormal(basis: NDArray[Any]) -> bool:
    d, r = basis.shape
    return r <= d and np.allclose(basis.T @ basis, np.eye(r), rtol=0, atol=1e-6)


def matrices(shape: str, largest: float = LARGEST**2) -> Numbers:
    """Covariance matrices, in the last two axes."""

    def are_definite(found: NDArray[Any]) -> bool:
        is_symmetric = np.all(np.abs(found - np.swapaxes(found, -1, -2)) <= 1e-6 * np.abs(found).max())
        return bool(is_symmetric) and bool(np.all(np.linalg.eigvalsh(found) > 1 / largest))

    return Numbers(shape, -largest, largest, rule=Rule("symmetric, positive-definite", are_definite))


def axes(shape: str) -> Numbers:
    """Orthonormal columns."""
    return Numbers(shape, -1.1, 1.1, rule=Rule("orthonormal columns", _is_orthonormal))


def numbering(shape: str) -> Numbers:
    """Whole numbers, all of 0 .. largest."""

    def is_complete(numbers: NDArray[Any]) -> bool:
        return int(numbers.max()) + 1 == len(np.unique(numbers))

    return Numbers(shape, 0, 2**62, int, Rule("all numbers from 0 on, without a gap", is_complete))


def mixture(kind: str, d: str = "d", largest: float = LARGEST) -> Schema:
    """Parameters of a Gaussian mixture of a kind of covariances, in as many columns as the letter `d` says."""
    shape = TYPES[kind].shape.replace("d", d)
    covariances = (positive if TYPES[kind].is_diagonal else matrices)(shape, largest**2)
    return {"weights": shares("k"), "means": Numbers(f"k {d}", -largest, largest), "covariances": covariances}


# The tables of the three kinds of models follow. Letters: d columns, k cells or components, p coefficients of each;
# s steps of EM, or of descent in T stages; t of the choice of k; r axes of a frame, L levels, c clusters of K cells.

SEED, NAMES = Maybe(count()), Maybe(Each("d", Text()))

KIND: Schema = {"covariance_type": Text(TYPES)}

PRECISION: Schema = {"dtype": Text(("float32", "float64"))}

STARTS = ("weights_init", "means_init", "precisions_init")  # Parameters of a GaussianMixture that are arrays.

FIT: Schema = {
    "params": Table(("missing_values",)),
    "params.missing_values": Maybe(Text(("nan",))),
    "params.random_state": SEED,
    **{f"params.{name}": Maybe(Numbers("***")) for name in STARTS},
    "converged": Numbers(kind=bool),
    "n_iter": count(),
    "n_batches": count(),
    "selection_path": Each("t", Row((Text(), count(), Numbers()))),
    "feature_names": NAMES,
    "lower_bound": Numbers("", -np.inf, np.inf),
    "lower_bounds": Numbers("s", -np.inf, np.inf),
    "optimality": Numbers("2", -np.inf, np.inf, may_be_nan=True),
}

LARGEST_OF = {"float32": 1e18, "float64": LARGEST}  # Attributes have the precision of the data.

MAYBE_ARRAYS = ("means_init", "weights", "covariance")  # Parameters that are arrays, or else words.

DESCENT: Schema = {
    "params": Table(("noise_times", "n_steps")),
    "params.random_state": SEED,
    **{f"params.{name}": Maybe(Either(Text(), Numbers("**"))) for name in MAYBE_ARRAYS},
    "noise_times": Each("T", Numbers("*", 0)),
    "feature_names": NAMES,
    "history.stage": index("s", below="T"),
    "history.step": count("s"),
    "history.loss": Numbers("s", -(LARGEST**2), LARGEST**2),
    "history.gradient_norm": Numbers("s", 0, LARGEST**2),
    "history.means": Numbers("s k d"),
}

FRAME: Schema = {
    "params": Table(("gates",)),
    "params.gates": Text(("soft", "hard")),
    "params.random_state": SEED,
    "frame.mean": Numbers("d"),
    "frame.basis": axes("d r"),
    "frame.variances": Numbers("r", 0, LARGEST**2),
    "noise_scale": scale(),
    "noise_floor": Maybe(scale()),
    "reach": Numbers(low=0),
    "feature_names": NAMES,
    "sigmas": Numbers(
        "L", 1 / LARGEST, rule=Rule("decreasing", lambda levels: bool(np.all(np.diff(np.log(levels)) < 0)))
    ),
    "denoising_loss": Numbers("L", -(LARGEST**2), LARGEST**2),
    "base": Maybe(Text(("spherical", "full"))),
    "cells": Maybe(Text(("soft", "hard"))),
}

COLUMNS: Schema = {"names": Each("d", Text()), "location": Numbers("d"), "scale": positive("d", LARGEST)}

CLUSTERS: Schema = {
    "cell_centers": Numbers("K r"),
    "cell_weights": shares("K"),
    "centers": Numbers("c d"),
    "weights": shares("c"),
    "cluster": index("K", below="c"),
}

POLYNOMIALS: Schema = {"degrees": count("k", 0, MAX_FEATURES), "coef": Numbers("k p r")}

CORRECTIONS: Schema = {**POLYNOMIALS, "degrees": count("k", -1, MAX_FEATURES)}

PIECEWISE: Schema = {"weights": shares("k"), "centers": Numbers("k r"), **POLYNOMIALS}

# Likelihood-ratio cells, but for their polynomials.
RATIO: Schema = {
    "means": Numbers("a r"),
    "groups": numbering("a"),
    "covariances": matrices("b r r"),
    "kinds": numbering("b"),
    "basis": Numbers("r m", rule=Rule("at most as many axes as columns", lambda basis: basis.shape[1] <= len(basis))),
    "weights": shares("k"),
}
