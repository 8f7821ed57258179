"""Paths of inputs and outputs: checked before work begins, written beside and renamed when it ends.

Every file of the library is written through `atomic_write`, so that a reader never sees half a file, a failure leaves
the old file as it was and names it, and whoever could not read a file that is replaced cannot read the new one.
`existing_file` and `writable_file` say in one sentence what is wrong with a path; long work should ask them first.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FilePath = str | os.PathLike[str]


def existing_file(path: FilePath) -> Path:
    """Return the path of a file that can be read from.

    FileNotFoundError: If there is nothing. ValueError: If it is a folder or has no content.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: check the path")
    if source.is_dir():
        raise ValueError(f"{source} is a folder: give the path of a file")
    if not source.stat().st_size:
        raise ValueError(f"{source} is empty: give a file with data")
    return source


def writable_file(path: FilePath) -> Path:
    """Return the path of a file that can be written, with links followed; nothing is created.

    OSError: If it is a folder or a device, or lies in a folder that does not exist or cannot be written to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a file")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is a device, not a file: give the path of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist: create it first")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"the folder {target.parent} cannot be written to: choose another one")
    return target


def separate_output(output: FilePath, *others: FilePath) -> None:
    """Refuse an output that cannot be written, or that is also another file of the same work.

    OSError: As `writable_file`. ValueError: If one of the others is the same file.
    """
    target = writable_file(output)
    if any(target == Path(path).resolve() for path in others):
        raise ValueError(f"{output} is named twice: give another path for the output")


@contextmanager
def atomic_write(path: FilePath) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` when the block ends, and is removed when the block fails.

    OSError: As `writable_file`, or from writing; it names `path`.
    """
    target = writable_file(path)
    # Not by the target's name, to which nothing may be added where it has 255 bytes.
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if target.exists():  # from the first byte on nobody can read more than before
            partial.touch(mode=0o600)
            shutil.copymode(target, partial)
        yield partial
        os.replace(partial, target)
    except OSError as error:
        if not error.errno:  # from NumPy, which counts bytes
            raise OSError(f"{path}: {error}: check the free space") from error
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
