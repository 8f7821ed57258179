"""Estimators in scikit-learn's manner, and the way back from a model file.

An estimator validates, asks the learning below, and sets attributes; nothing is learnt here. Read in this order:

1. `schema`: what a model file must hold, entry by entry.
2. `checks`, `mixture_inputs`: the one way in for samples; parameters of mixtures that a user gives.
3. `parameters`: a table of constructor parameters for every estimator, and one loop that checks them.
4. `attributes`: a fit is taken over whole or not at all; attributes that may be set by hand, and those that may not.
5. `model_files`: a pair of functions for every kind of model.
6. `fitted_mixture`, `known_mixture`: what a fitted mixture answers, and what can be made of it.
7. `gaussian_mixture`, `ddpm_mixture`, `diffusion_mixture`: the three estimators; `progress`: what they print.

In: arrays, tables or data frames. Out: a fitted estimator, whose model is a `Mixture` or a `Ladder`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from scoremix.estimators.ddpm_mixture import DDPMMixture
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.estimators.gaussian_mixture import GaussianMixture
from scoremix.estimators.model_files import unpack_descent, unpack_ladder, unpack_mixture
from scoremix.estimators.parameters import (
    check_ddpm_parameters,
    check_diffusion_parameters,
    check_mixture_parameters,
)
from scoremix.paths import FilePath
from scoremix.storage import read_model

__all__ = ["DDPMMixture", "DiffusionMixture", "GaussianMixture", "load"]

_KINDS: dict[
    str, tuple[type[DiffusionMixture | GaussianMixture | DDPMMixture], Callable[..., Any], Callable[..., None]]
]
_KINDS = {
    "DDPMMixture": (DDPMMixture, unpack_descent, check_ddpm_parameters),
    "DiffusionMixture": (DiffusionMixture, unpack_ladder, check_diffusion_parameters),
    "GaussianMixture": (GaussianMixture, unpack_mixture, check_mixture_parameters),
}


def load(path: FilePath) -> DiffusionMixture | GaussianMixture | DDPMMixture:
    """Load a fitted model; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        A file that ``save`` or the command line wrote.

    Returns
    -------
    DiffusionMixture, GaussianMixture or DDPMMixture
        As it was when it was saved; a `DiffusionMixture` with `columns_` the names and units of its columns where they
        were stored.

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
    if kind not in _KINDS:
        raise ValueError(f"{path} holds a {kind!r}, which this version of scoremix does not know: update scoremix.")
    estimator, unpacked, check = _KINDS[kind]
    try:
        params, fitted = unpacked(header, arrays)
        if unknown := sorted(params.keys() - estimator().get_params()):
            raise ValueError(f"{kind} has no parameter {unknown[0]!r}")
        model = estimator(**params)
        check(model.get_params())
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {str(error).rstrip('.')}: save the model again.") from error
    model._restore(fitted)
    if isinstance(model, DiffusionMixture) and model.columns_ is not None and model.columns_.is_standardized:
        warnings.warn(
            f"{path} was fitted to standardised columns: convert with model.columns_.encode and .decode.",
            UserWarning,
            stacklevel=2,
        )
    return model
