"""Model files: arrays in safetensors, everything else as JSON in its metadata.

A model file is a safetensors file, so that other programs can read its arrays, and so that loading one never
executes code: there is nothing in it but numbers and text. Its metadata say

    format           "scoremix"
    format_version   "1"; raised when older versions of the library could not understand the file
    library_version  the version of the library that wrote it
    kind             what the file holds, such as "DiffusionMixture"
    header           a JSON object: parameters and whatever else is not an array

A file that is not ours, that was cut short, or that a newer version wrote gives one clear `ValueError`.
"""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scoremix.paths import FilePath, atomic_write, existing_file

FORMAT = "scoremix"
FORMAT_VERSION = 1


def write_model(path: FilePath, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model file, beside its final place and then renamed.

    Parameters
    ----------
    path : str or path-like
        Where to write; an existing file is replaced.
    kind : str
        What the file holds.
    header : mapping
        Anything that JSON holds; NumPy numbers are taken as numbers. Not NaN, not infinity: use None.
    arrays : mapping of str to ndarray
        Arrays of numbers or booleans, any shapes.

    Raises
    ------
    ValueError, TypeError
        If the header is not JSON.
    OSError
        If the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "library_version": _library_version(),
        "kind": kind,
        "header": json.dumps(dict(header), allow_nan=False, default=_plain_number),
    }
    content = save({name: _native(array) for name, array in arrays.items()}, metadata)
    with atomic_write(path) as partial:
        partial.write_bytes(content)  # safetensors' own writer makes files that only their owner may read


def read_model(path: FilePath) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model file; nothing in it is executed.

    Parameters
    ----------
    path : str or path-like
        A file that `write_model` wrote.

    Returns
    -------
    kind : str
        What the file holds.
    header : dict
        The header that was given to `write_model`.
    arrays : dict of str to ndarray
        The arrays, with their types and shapes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a model file, was cut short, or was written by a newer version of the library.
    """
    source = existing_file(path)
    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            kind, header = _understood(source, metadata)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(_damage(source)) from error
    return kind, header, arrays


def _understood(source: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return kind and header if the metadata are ours and of a version that this library knows."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{source} is a safetensors file of another program: give a file that scoremix saved")
    damaged = ValueError(f"{source} is a damaged scoremix model: save or copy it again")
    format_version = metadata.get("format_version", "")
    if not format_version.isdecimal():
        raise damaged
    if int(format_version) > FORMAT_VERSION:
        writer = metadata.get("library_version", "of unknown version")
        raise ValueError(
            f"{source} was written by a newer scoremix ({writer}, format {format_version}; "
            f"this one knows {FORMAT_VERSION}): update scoremix"
        )
    try:
        kind, header = metadata["kind"], json.loads(metadata["header"])
    except (KeyError, json.JSONDecodeError):
        raise damaged from None
    if not isinstance(header, dict):
        raise damaged
    return kind, header


def _damage(source: Path) -> str:
    """Say what is wrong with a file that safetensors refuses; its JSON begins after 8 bytes of length."""
    with source.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return f"{source} is damaged or was cut short: save or copy it again"
    return f"{source} is not a scoremix model: give a file that scoremix saved"


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in C order and in this machine's byte order, which safetensors takes for granted."""
    values = np.asarray(array, order="C")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a model's header cannot hold {value!r} of type {type(value).__name__}")


def _library_version() -> str:
    try:
        return version("scoremix")
    except PackageNotFoundError:  # used from a source tree, without installation
        return "unknown"
