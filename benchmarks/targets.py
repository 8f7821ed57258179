"""What was aimed at: a sentence, what stored results say, and whether it holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """Numbers that are not there do not hold."""

    sentence: str
    found: str
    holds: bool

    def __str__(self) -> str:
        return f"{'holds ' if self.holds else 'MISSED'}  {self.sentence}: {self.found}"


def at_most(sentence: str, value: float, most: float, spec: str = ".2f") -> Aim:
    """An aim that holds up to a largest value."""
    return Aim(sentence, format(value, spec), value <= most)


def at_least(sentence: str, value: float, least: float, spec: str = ".2f") -> Aim:
    """An aim that holds from a least value on."""
    return Aim(sentence, format(value, spec), value >= least)
