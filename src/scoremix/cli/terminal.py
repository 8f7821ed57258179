"""How commands speak to a person: lines on stdout, complaints on stderr.

Wrong input is one line, ``scoremix: ...``, and exit status 2; warnings are one line each. Tables and progress, which
need Rich, are the business of `screen`: what answers at once is here.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status."""
    try:
        with _one_line_warnings():
            status = command()
            sys.stdout.flush()  # a full disk or a closed pipe is met here
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        message = _fault_of_the_user(error)
        if message is None:
            raise
        _complain(message)
        return 2
    return status if isinstance(status, int) else 0


def say(text: str) -> None:
    """Print a line on stdout as it is."""
    print(text)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 cell" or "1,000 cells"."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def _fault_of_the_user(error: Exception) -> str | None:
    """Say what was wrong with the input, or return None if the error is not about input."""
    if hasattr(error, "format_message"):  # typer's usage errors, whose class has no public name
        return f"{error.format_message().rstrip('.')}: see scoremix --help"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}: check the path and the free space"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'no more is left'}: ask for less at a time"
    return str(error) if isinstance(error, OSError | ValueError) else None


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings once each, and only if the command succeeds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught if _is_for_users(warning)):
        _complain(f"warning: {message}")


def _is_for_users(warning: warnings.WarningMessage) -> bool:
    """Tell a warning about the input from one for programmers; packages that a command loads set their own filters."""
    about_names = str(warning.message).startswith("X does not have valid feature names")  # files are read as arrays
    is_deprecation = issubclass(warning.category, DeprecationWarning)  # which pyparsing's are, and UserWarnings too
    return issubclass(warning.category, UserWarning | RuntimeWarning) and not about_names and not is_deprecation


def _complain(message: str) -> None:
    print(f"scoremix: {' '.join(message.split())}", file=sys.stderr)
