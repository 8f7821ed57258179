import warnings

import pytest
import typer

from scoremix.cli.terminal import exit_status, plural, say


def raises(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (130, 130), ("words", 0)])
def test_status_of_a_command_that_ends_well(capsys, returned, status):
    assert exit_status(lambda: returned) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad.csv: wrong\n   number"), "scoremix: bad.csv: wrong number\n"),
        (FileNotFoundError("a does not exist"), "scoremix: a does not exist\n"),
        (
            OSError(28, "No space left on device", "out"),
            "scoremix: out: No space left on device: check the path and the free space\n",
        ),
        (
            BrokenPipeError(32, "Broken pipe"),
            "scoremix: standard output: Broken pipe: check the path and the free space\n",
        ),
        (
            MemoryError("Unable to allocate 9 TiB"),
            "scoremix: not enough memory: Unable to allocate 9 TiB: ask for less at a time\n",
        ),
        (
            typer.BadParameter("'x' is no number.", param_hint="--degree"),
            "scoremix: Invalid value for --degree: 'x' is no number: see scoremix --help\n",
        ),
    ],
)
def test_wrong_input_is_one_line_and_status_2(capsys, error, line):
    assert exit_status(raises(error)) == 2
    assert capsys.readouterr() == ("", line)


def test_an_interrupt_is_silent(capsys):
    assert exit_status(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def test_our_own_mistakes_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_status(raises(ZeroDivisionError()))


def test_warnings_are_one_line_each_and_not_repeated(capsys):
    def command():
        for _ in range(2):
            warnings.warn("far outside\nthe data", UserWarning, stacklevel=1)
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
        warnings.warn("X does not have valid feature names, but", UserWarning, stacklevel=1)

    assert exit_status(command) == 0
    assert capsys.readouterr().err == ("scoremix: warning: far outside the data\nscoremix: warning: overflow\n")


class ForBoth(UserWarning, DeprecationWarning):
    pass


def test_filters_of_packages_that_a_command_loads_change_nothing(capsys):
    def command():
        warnings.simplefilter("always")
        warnings.warn("for programmers", ForBoth, stacklevel=1)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
        warnings.warn("X does not have valid feature names, but", UserWarning, stacklevel=1)

    assert exit_status(command) == 0
    assert capsys.readouterr() == ("", "")


def test_a_failed_command_says_only_what_failed(capsys):
    def command():
        warnings.warn("far outside", UserWarning, stacklevel=1)
        raise ValueError("wrong")

    assert exit_status(command) == 2
    assert capsys.readouterr().err == "scoremix: wrong\n"


def test_lines_are_printed_as_they_are(capsys):
    text = "waiting [min]: " + "long " * 40
    say(text)
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize(("count", "words"), [(0, "0 cells"), (1, "1 cell"), (2000, "2,000 cells")])
def test_plural(count, words):
    assert plural(count, "cell") == words
