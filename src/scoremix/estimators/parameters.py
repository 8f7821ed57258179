"""Checks of constructor parameters: every refusal names the parameter, its value and what to do."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse a value that is none of `choices`.

    Raises
    ------
    ValueError
        Naming the parameter, the value and the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is not known: choose {' or '.join(map(repr, choices))}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -np.inf,
    at_least: float = -np.inf,
    below: float = np.inf,
    at_most: float = np.inf,
    integer: bool = False,
) -> None:
    """Refuse a value that is not a finite number (or integer) in the range.

    Raises
    ------
    ValueError
        Naming the parameter, the value and the range.
    """
    kind = Integral if integer else Real
    is_number = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    if is_number and np.isfinite(value) and above < value < below and at_least <= value <= at_most:
        return
    bounds = [
        text
        for text, bound in (
            (f"> {above:g}", above),
            (f">= {at_least:g}", at_least),
            (f"< {below:g}", below),
            (f"<= {at_most:g}", at_most),
        )
        if np.isfinite(bound)
    ]
    what = "an integer" if integer else "a number"
    raise ValueError(f"{name}={value!r} is out of range: give {what} {' and '.join(bounds)}.")
