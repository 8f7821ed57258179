"""Words on the command line: what they mean, and what is none."""

import pytest
import typer

from scoremix.cli.parsing import choice_or_number, noise_time, parse_list, parse_number_or_auto, split_names


def test_meanings():
    assert (
        parse_number_or_auto(int, "auto", "-k"),
        parse_number_or_auto(int, "3", "-k"),
        parse_number_or_auto(float, "0.5", "-s"),
    ) == ("auto", 3, 0.5)
    assert choice_or_number("full", ("full", "diag"), is_number=False, option="-c") == "full"
    assert choice_or_number("2.5", ("full", "diag"), is_number=True, option="-c") == 2.5
    assert parse_list(noise_time, "1.5, all", "-t") == (1.5, "all")
    assert split_names(None) is None
    assert split_names(["a, b", '"c, d"']) == ["a", "b", "c, d"]


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: parse_number_or_auto(int, "2.5", "-k"), "nor a whole number"),
        (lambda: parse_number_or_auto(float, "x", "-s"), "nor a number"),
        (
            lambda: choice_or_number("2.5", ("full", "diag"), is_number=False, option="-c"),
            "'2.5' is none of full, diag",
        ),
        (lambda: choice_or_number("x", ("full",), is_number=True, option="-c"), "'x' is none of full and no number"),
        (lambda: parse_list(int, "1.5,2", "-n"), "not a list"),
        (lambda: parse_list(noise_time, "", "-t"), "not a list"),
    ],
)
def test_refusals(read, message):
    with pytest.raises(typer.BadParameter, match=message):
        read()
