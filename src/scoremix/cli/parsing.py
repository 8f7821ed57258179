"""What words on the command line mean: numbers, lists, names; each refusal names the option."""

import csv
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import typer

N = TypeVar("N", int, float)
V = TypeVar("V")


def parse_number_or_auto(number: Callable[[str], N], text: str, option: str) -> N | Literal["auto"]:
    """Read "auto" or a number."""
    if text == "auto":
        return "auto"
    try:
        return number(text)
    except ValueError:
        kind = "a whole number" if number is int else "a number"
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor {kind}", param_hint=option) from None


def choice_or_number(text: str, choices: Sequence[str], *, is_number: bool, option: str) -> str | float:
    """Read one of some names, or a number where one may be given instead."""
    if text in choices:
        return text
    try:
        if is_number:
            return float(text)
    except ValueError:
        pass
    message = f"{text!r} is none of {', '.join(choices)}" + " and no number" * is_number
    raise typer.BadParameter(message, param_hint=option)


def noise_time(text: str) -> float | str:
    """Read a noise time, or the word all."""
    return "all" if text == "all" else float(text)


def parse_list(value: Callable[[str], V], text: str, option: str) -> tuple[V, ...]:
    """Read values with commas between."""
    try:
        return tuple(value(part.strip()) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list such as 1.5,0.1 or 100,50", param_hint=option) from None


def split_names(columns: list[str] | None) -> list[str] | None:
    """Split names at commas; quotes protect a comma, as in CSV files."""
    if not columns:
        return None
    return [name.strip() for row in csv.reader(columns, skipinitialspace=True) for name in row]
