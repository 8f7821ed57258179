"""A fitted DDPMMixture as arrays and a JSON header, and back.

The header holds parameters and names, the arrays everything learnt and the history of the descent. `DESCENT`, with the
parameters of a mixture, says what there may be, so a file that was tampered with is refused instead of failing later.
Letters: k components, d columns, s steps of T stages.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.estimators.schema import (
    LARGEST,
    Each,
    Either,
    Maybe,
    Numbers,
    Schema,
    Sizes,
    Table,
    Text,
    checked,
    count,
    everything,
    index,
    mixture,
)
from scoremix.learning.sck.descent import Record
from scoremix.models.covariance.types import TYPES, covariance_of
from scoremix.models.mixture import Mixture

Arrays = dict[str, NDArray[Any]]

MAYBE_ARRAYS = ("means_init", "weights", "covariance")  # Parameters that are arrays, or else words.

KINDS: Schema = {"covariance_type": Text(TYPES)}

DESCENT: Schema = {
    "params": Table(("noise_times", "n_steps")),
    "params.random_state": Maybe(count()),
    **{f"params.{name}": Maybe(Either(Text(), Numbers("**"))) for name in MAYBE_ARRAYS},
    "noise_times": Each("T", Numbers("*", 0)),
    "feature_names": Maybe(Each("d", Text())),
    "history.stage": index("s", below="T"),
    "history.step": count("s"),
    "history.loss": Numbers("s", -(LARGEST**2), LARGEST**2),
    "history.gradient_norm": Numbers("s", 0, LARGEST**2),
    "history.means": Numbers("s k d"),
}


class FittedDescent(Protocol):
    """What is stored of a fitted estimator."""

    history_: list[Record]
    _mixture: Mixture

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters."""


def pack_descent(model: FittedDescent) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of a fitted model.

    A `random_state` that is not an integer is stored as None: generators cannot be written down, and the fit is done.
    """
    params, fitted, history = model.get_params(), model._mixture, model.history_
    seed = params["random_state"]
    params["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    given = {name: params.pop(name) for name in MAYBE_ARRAYS}
    params |= {name: value for name, value in given.items() if value is None or isinstance(value, str)}
    for name in ("noise_times", "n_steps"):
        params[name] = _plain(params[name])
    names = getattr(model, "feature_names_in_", None)
    header = {
        "params": params,
        "covariance_type": fitted.covariance.kind,
        "noise_times": [_plain(record.noise_time) for record in _firsts(history)],
        "feature_names": None if names is None else [str(name) for name in names],
    }
    arrays: Arrays = {
        "weights": fitted.weights,
        "means": fitted.means,
        "covariances": fitted.covariance.values,
        "history.stage": np.array([record.stage for record in history]),
        "history.step": np.array([record.step for record in history]),
        "history.loss": np.array([record.loss for record in history], dtype=np.float64),
        "history.gradient_norm": np.array([record.gradient_norm for record in history], dtype=np.float64),
        "history.means": np.array([record.means for record in history], dtype=np.float64),
    }
    arrays |= {f"params.{name}": np.asarray(given[name]) for name in MAYBE_ARRAYS if name not in params}
    return header, arrays


def _firsts(history: list[Record]) -> list[Record]:
    """First record of every stage."""
    return [record for i, record in enumerate(history) if i == 0 or history[i - 1].stage != record.stage]


def _plain(value: Any) -> Any:
    """Sequences and arrays as lists, which JSON has."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0):
        return [_plain(each) for each in value]
    return value


def _tupled(value: Any) -> Any:
    """Lists as tuples, as they were given."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def unpack_descent(header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return constructor parameters and what was fitted.

    ValueError: If something is missing, out of its range, or the arrays are not those of a mixture.
    """
    values, sizes = everything(header, arrays), Sizes()
    kind = checked(KINDS, values, sizes)["covariance_type"]
    held = checked({**mixture(kind), **DESCENT}, values, sizes)
    params = held["params"] | {
        name: _value(arrays[f"params.{name}"]) for name in MAYBE_ARRAYS if f"params.{name}" in arrays
    }
    params |= {name: _tupled(params[name]) for name in ("noise_times", "n_steps")}
    columns = [held[f"history.{name}"] for name in ("stage", "step", "loss", "gradient_norm", "means")]
    times = [time if time.ndim else float(time) for time in held["noise_times"]]
    names = held["feature_names"]
    fitted = {
        "mixture": Mixture(held["weights"], held["means"], covariance_of(kind, held["covariances"], sizes["d"])),
        "history": [
            Record(int(stage), int(step), times[int(stage)], float(loss), float(norm), means)
            for stage, step, loss, norm, means in zip(*columns, strict=True)
        ],
        "names": None if names is None else np.array(names, dtype=object),
    }
    return params, fitted


def _value(array: NDArray[Any]) -> NDArray[Any] | float:
    return float(array) if array.ndim == 0 else array
