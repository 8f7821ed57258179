"""A fitted GaussianMixture as arrays and a JSON header, and back.

The header holds parameters and names, the arrays everything learnt, in double precision. `unpack_mixture` checks that
they are a mixture, so a file that was tampered with is refused instead of failing later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, as_floating, as_numpy
from scoremix.estimators.mixture_inputs import floating_type, known_mixture
from scoremix.models.mixture import Mixture

Arrays = dict[str, NDArray[Any]]

STARTS = ("weights_init", "means_init", "precisions_init")
"""Parameters that are arrays."""


class FittedMixture(Protocol):
    """What is stored of a fitted estimator."""

    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    split_gain_: float
    merge_cost_: float
    selection_path_: list[tuple[str, int, float]]
    weights_: Array
    _n_batches: int

    @property
    def _mixture(self) -> Mixture:
        """The mixture of the attributes."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters."""


def pack_mixture(model: FittedMixture) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of a fitted model.

    A `random_state` that is not an integer is stored as None: generators cannot be written down, and the fit is done.
    """
    params, mixture = model.get_params(), model._mixture
    seed = params["random_state"]
    params["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    params["missing_values"] = None if params["missing_values"] is None else "nan"
    starts = {name: params.pop(name) for name in STARTS}
    names = getattr(model, "feature_names_in_", None)
    header = {
        "params": params,
        "covariance_type": mixture.covariance.kind,
        "dtype": floating_type(as_floating(model.weights_)).name,
        "converged": bool(model.converged_),
        "n_iter": int(model.n_iter_),
        "n_batches": model._n_batches,
        "selection_path": [list(step) for step in model.selection_path_],
        "feature_names": None if names is None else [str(name) for name in names],
    }
    arrays: Arrays = {
        "weights": mixture.weights,
        "means": mixture.means,
        "covariances": mixture.covariance.values,
        "lower_bound": np.array(model.lower_bound_, dtype=np.float64),  # may be infinite, which JSON has no word for
        "lower_bounds": np.array(model.lower_bounds_, dtype=np.float64),
        "optimality": np.array([model.split_gain_, model.merge_cost_], dtype=np.float64),
    }
    arrays |= {f"params.{name}": as_numpy(value) for name, value in starts.items() if value is not None}
    return header, arrays


def unpack_mixture(header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return constructor parameters and what was fitted, by the names of the attributes.

    Raises
    ------
    ValueError
        If something is missing, or the arrays are not those of a mixture.
    """
    try:
        params, names = dict(header["params"]), header["feature_names"]
        params["missing_values"] = None if params["missing_values"] is None else np.nan
        params |= {name: arrays.get(f"params.{name}") for name in STARTS}
        mixture = known_mixture(arrays["weights"], arrays["means"], arrays["covariances"], header["covariance_type"])
        mixture = replace(mixture, weights=arrays["weights"])  # to the last bit
        if header["dtype"] not in ("float32", "float64"):
            raise ValueError(f"the model file has numbers of an unknown type {header['dtype']!r}: save the model again")
        if names is not None and len(names) != mixture.n_features:
            raise ValueError("the names and the means of the model file do not fit together: save the model again")
        fitted = {
            "mixture": mixture,
            "dtype": np.dtype(header["dtype"]),
            "converged": bool(header["converged"]),
            "n_iter": int(header["n_iter"]),
            "n_batches": int(header["n_batches"]),
            "lower_bound": float(arrays["lower_bound"]),
            "lower_bounds": [float(bound) for bound in arrays["lower_bounds"]],
            "optimality": tuple(float(value) for value in arrays["optimality"]),
            "selection_path": [(str(step), int(k), float(value)) for step, k, value in header["selection_path"]],
            "names": None if names is None else np.array(names, dtype=object),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the model file lacks or garbles {error}: save the model again") from error
    return params, fitted
