"""A fitted GaussianMixture as arrays and a JSON header, and back.

The header holds parameters and names, the arrays everything learnt, in double precision. `KINDS` and `FIT`, with the
parameters of a mixture between, say what there may be, so a file that was tampered with is refused instead of failing
later. Letters: k components, d columns, s steps of EM, t steps of the choice of k.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, as_floating, as_numpy
from scoremix.estimators.mixture_inputs import floating_type
from scoremix.estimators.schema import (
    LARGEST,
    Each,
    Maybe,
    Numbers,
    Row,
    Schema,
    Sizes,
    Table,
    Text,
    checked,
    count,
    everything,
    mixture,
)
from scoremix.models.covariance.types import TYPES, covariance_of
from scoremix.models.mixture import Mixture

Arrays = dict[str, NDArray[Any]]

STARTS = ("weights_init", "means_init", "precisions_init")  # Parameters that are arrays.

KINDS: Schema = {"covariance_type": Text(TYPES), "dtype": Text(("float32", "float64"))}

FIT: Schema = {
    "params": Table(("missing_values",)),
    "params.missing_values": Maybe(Text(("nan",))),
    "params.random_state": Maybe(count()),
    **{f"params.{name}": Maybe(Numbers("***")) for name in STARTS},
    "converged": Numbers(kind=bool),
    "n_iter": count(),
    "n_batches": count(),
    "selection_path": Each("t", Row((Text(), count(), Numbers()))),
    "feature_names": Maybe(Each("d", Text())),
    "lower_bound": Numbers("", -np.inf, np.inf),
    "lower_bounds": Numbers("s", -np.inf, np.inf),
    "optimality": Numbers("2", -np.inf, np.inf, may_be_nan=True),
}

LARGEST_OF = {"float32": 1e18, "float64": LARGEST}  # Attributes have the precision of the data.


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
    params, fitted = model.get_params(), model._mixture
    seed = params["random_state"]
    params["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    params["missing_values"] = None if params["missing_values"] is None else "nan"
    starts = {name: params.pop(name) for name in STARTS}
    names = getattr(model, "feature_names_in_", None)
    header = {
        "params": params,
        "covariance_type": fitted.covariance.kind,
        "dtype": floating_type(as_floating(model.weights_)).name,
        "converged": bool(model.converged_),
        "n_iter": int(model.n_iter_),
        "n_batches": model._n_batches,
        "selection_path": [list(step) for step in model.selection_path_],
        "feature_names": None if names is None else [str(name) for name in names],
    }
    arrays: Arrays = {
        "weights": fitted.weights,
        "means": fitted.means,
        "covariances": fitted.covariance.values,
        "lower_bound": np.array(model.lower_bound_, dtype=np.float64),  # may be infinite, which JSON has no word for
        "lower_bounds": np.array(model.lower_bounds_, dtype=np.float64),
        "optimality": np.array([model.split_gain_, model.merge_cost_], dtype=np.float64),
    }
    arrays |= {f"params.{name}": as_numpy(value) for name, value in starts.items() if value is not None}
    return header, arrays


def unpack_mixture(header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return constructor parameters and what was fitted, by the names of the attributes.

    ValueError: If something is missing, out of its range, or the arrays are not those of a mixture.
    """
    values, sizes = everything(header, arrays), Sizes()
    held = checked(KINDS, values, sizes)
    kind = held["covariance_type"]
    held |= checked({**mixture(kind, largest=LARGEST_OF[held["dtype"]]), **FIT}, values, sizes)
    params = held["params"] | {name: arrays.get(f"params.{name}") for name in STARTS}
    params["missing_values"] = None if held["params.missing_values"] is None else np.nan
    names = held["feature_names"]
    fitted = {
        "mixture": Mixture(held["weights"], held["means"], covariance_of(kind, held["covariances"], sizes["d"])),
        "dtype": np.dtype(held["dtype"]),
        "converged": bool(held["converged"]),
        "n_iter": int(held["n_iter"]),
        "n_batches": int(held["n_batches"]),
        "lower_bound": float(held["lower_bound"]),
        "lower_bounds": held["lower_bounds"].tolist(),
        "optimality": tuple(held["optimality"].tolist()),
        "selection_path": [(step, int(k), float(value)) for step, k, value in held["selection_path"]],
        "names": None if names is None else np.array(names, dtype=object),
    }
    return params, fitted
