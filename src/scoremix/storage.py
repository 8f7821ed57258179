"""Model files: arrays in safetensors, everything else as JSON in its metadata.

A model file is a safetensors file, so that other programs can read its arrays, and so that loading one never
executes code: there is nothing in it but numbers and text. Its metadata say

    format           "scoremix"
    format_version   "1"; raised when older versions of the library could not understand the file
    library_version  the version of the library that wrote it
    kind             what the file holds, such as "DiffusionMixture"
    header           a JSON object: parameters and whatever else is not an array

A file that is not ours, that was cut short, or that a newer version wrote gives one clear `ValueError`. Any ending will
do but those that promise another format.
"""

import json
import math
import re
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

# Endings that promise another format.
OTHERS = (
    *(".pkl", ".pickle", ".joblib", ".dill", ".skops", ".pt", ".pth", ".onnx", ".h5", ".hdf5", ".mat", ".rds", ".zip"),
    *(".npy", ".npz", ".json", ".yaml", ".txt", ".xml", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow", ".feather"),
)


def model_path(path: FilePath) -> Path:
    """Return the path of a model to write, whose ending does not promise another format.

    ValueError: If the ending is that of pickles, tables or the like.
    """
    target = Path(path)
    if target.suffix.lower() in OTHERS:
        raise ValueError(f"{path}: models are no {target.suffix} files: give a name that ends in .safetensors")
    return target


def write_model(path: FilePath, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model file, beside its final place and then renamed.

    ValueError, TypeError: If the header is not JSON, or the ending is that of another format. OSError: If the file
    cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "library_version": _library_version(),
        "kind": kind,
        "header": json.dumps(dict(header), allow_nan=False, default=_plain_number),
    }
    content = save({name: _native(array) for name, array in arrays.items()}, metadata)
    with atomic_write(model_path(path)) as partial:
        partial.write_bytes(content)  # safetensors' own writer makes files that only their owner may read


def read_model(path: FilePath) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model file; nothing in it is executed.

    FileNotFoundError: If there is no such file. ValueError: If the file is not a model file, was cut short, or was
    written by a newer version of the library.
    """
    source = existing_file(path)
    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            kind, header = _understood(source, metadata)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(_damage(source)) from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{source} holds numbers of a type that NumPy does not have: save the model again") from error
    return kind, header, arrays


def _understood(source: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return kind and header if the metadata are ours and of a version that this library knows."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{source} is a safetensors file of another program: give a file that scoremix saved")
    damaged = ValueError(f"{source} is a damaged scoremix model: save or copy it again")
    format_version = metadata.get("format_version", "")
    if not re.fullmatch("[0-9]{1,9}", format_version):
        raise damaged
    if int(format_version) > FORMAT_VERSION:
        writer = " ".join(metadata.get("library_version", "of unknown version").split())
        raise ValueError(
            f"{source} was written by a newer scoremix ({writer}, format {format_version}; "
            f"this one knows {FORMAT_VERSION}): update scoremix"
        )
    try:
        kind, header = metadata["kind"], json.loads(metadata["header"], **_NUMBERS)
    except (KeyError, ValueError, RecursionError):
        raise damaged from None
    if not isinstance(header, dict):
        raise damaged
    return kind, header


def _number(text: str) -> int | float:
    """Read a number of JSON, such as one that was written: finite, and of 64 bits where it is whole."""
    number = float(text)
    if not math.isfinite(number) or (text.lstrip("-").isdecimal() and abs(number) > 2**63):
        raise ValueError(text)
    return int(text) if text.lstrip("-").isdecimal() else number


_NUMBERS: dict[str, Any] = {"parse_int": _number, "parse_float": _number, "parse_constant": _number}


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
