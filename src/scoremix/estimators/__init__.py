"""Estimators in scikit-learn's manner, and the way back from a model file."""

from __future__ import annotations

import warnings

from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.estimators.model_file import unpack
from scoremix.paths import FilePath
from scoremix.storage import read_model

__all__ = ["DiffusionMixture", "load"]


def load(path: FilePath) -> DiffusionMixture:
    """Load a fitted model; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        A file that ``save`` or the command line wrote.

    Returns
    -------
    DiffusionMixture
        As it was when it was saved, with `columns_` the names and units of its columns where they were stored.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, is damaged, or was written by a newer version.

    Warns
    -----
    UserWarning
        If the model was fitted to standardised columns: its units are then not those of the data, and
        ``model.columns_.encode`` and ``.decode`` convert.
    """
    kind, header, arrays = read_model(path)
    if kind != DiffusionMixture.__name__:
        raise ValueError(f"{path} holds a {kind!r}, which this version of scoremix does not know: update scoremix.")
    try:
        params, fitted = unpack(header, arrays)
        model = DiffusionMixture(**params)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    model._restore(fitted)
    if model.columns_ is not None and model.columns_.is_standardized:
        warnings.warn(
            f"{path} was fitted to standardised columns: convert with model.columns_.encode and .decode.",
            UserWarning,
            stacklevel=2,
        )
    return model
