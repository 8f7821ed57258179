"""What commands show while and after they work: progress on stderr, tables on stdout.

Progress is shown only if stderr is a terminal, so that logs and pipes stay clean.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


def console() -> Console:
    """Return the console of stdout, wide if no terminal says how wide."""
    return Console(width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show that work goes on, if stderr is a terminal."""
    errors = Console(stderr=True)
    if errors.is_terminal:
        with errors.status(text):
            yield
    else:
        yield
