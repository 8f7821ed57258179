"""Words on the command line: what they mean, and what is none."""

import pytest
import typer

from scoremix.words import auto_or, choice_or_number, listed, noise_time, split


def test_meanings():
    assert (auto_or(int, "auto", "-k"), auto_or(int, "3", "-k"), auto_or(float, "0.5", "-s")) == ("auto", 3, 0.5)
    assert choice_or_number("full", ("full", "diag"), is_number=False, option="-c") == "full"
    assert choice_or_number("2.5", ("full", "diag"), is_number=True, option="-c") == 2.5
    assert listed(noise_time, "1.5, all", "-t") == (1.5, "all")
    assert split(None) is None
    assert split(["a, b", '"c, d"']) == ["a", "b", "c, d"]


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: auto_or(int, "2.5", "-k"), "nor a whole number"),
        (lambda: auto_or(float, "x", "-s"), "nor a number"),
        (
            lambda: choice_or_number("2.5", ("full", "diag"), is_number=False, option="-c"),
            "'2.5' is none of full, diag",
        ),
        (lambda: choice_or_number("x", ("full",), is_number=True, option="-c"), "'x' is none of full and no number"),
        (lambda: listed(int, "1.5,2", "-n"), "not a list"),
        (lambda: listed(noise_time, "", "-t"), "not a list"),
    ],
)
def test_refusals(read, message):
    with pytest.raises(typer.BadParameter, match=message):
        read()
