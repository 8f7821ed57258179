"""Fitted estimators as arrays and a JSON header, and back: a pair of functions for every kind.

The header holds parameters and names, the arrays everything learnt, in double precision. The tables of `schema` say
what there may be, so a file that was tampered with is refused instead of failing later: with a ValueError, if something
is missing, out of its range, or does not fit together. A `random_state` that is not an integer is stored as None:
generators cannot be written down, and the fit is done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, as_floating, as_numpy
from scoremix.estimators.mixture_inputs import floating_type
from scoremix.estimators.schema import (
    CLUSTERS,
    COLUMNS,
    CORRECTIONS,
    DESCENT,
    FIT,
    FRAME,
    KIND,
    LARGEST,
    LARGEST_OF,
    MAYBE_ARRAYS,
    PIECEWISE,
    POLYNOMIALS,
    PRECISION,
    RATIO,
    STARTS,
    Schema,
    Sizes,
    checked,
    everything,
    mixture,
)
from scoremix.features import Hermite
from scoremix.learning.gkl.clusters import Clusters
from scoremix.learning.sck.descent import Record
from scoremix.models.covariance.types import covariance_of
from scoremix.models.gates import Cells, SoftCells, Voronoi
from scoremix.models.ladder import Ladder, Level
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, PiecewisePolynomial, PiecewiseScore
from scoremix.models.subspace import Subspace
from scoremix.samples.columns import Columns
from scoremix.sampling.ladder_density import base_of

Arrays = dict[str, NDArray[Any]]

Packed = tuple[dict[str, Any], Arrays]  # Header and arrays.

Unpacked = tuple[dict[str, Any], dict[str, Any]]  # Constructor parameters, and what was fitted.

Read = Callable[[Schema], dict[str, Any]]  # Reads a part of the file, such as one level.


class Fitted(Protocol):
    """What every fitted estimator has."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters."""


class FittedMixture(Fitted, Protocol):
    """What is stored of a GaussianMixture."""

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


class FittedDescent(Fitted, Protocol):
    """What is stored of a DDPMMixture."""

    history_: list[Record]
    _mixture: Mixture


class FittedLadder(Fitted, Protocol):
    """What is stored of a DiffusionMixture."""

    ladder_: Ladder
    denoising_loss_: Floats
    noise_floor_: float
    n_features_in_: int
    _clusters: Clusters | None
    _components: Mixture | None
    _reach: float


def _params(model: Fitted) -> dict[str, Any]:
    """Parameters as they can be stored, but for arrays."""
    params = model.get_params()
    seed = params["random_state"]
    return params | {"random_state": int(seed) if isinstance(seed, int | np.integer) else None}


def _names(model: Fitted) -> list[str] | None:
    """Names of the columns, where X had them."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _named(held: dict[str, Any]) -> NDArray[Any] | None:
    names = held["feature_names"]
    return None if names is None else np.array(names, dtype=object)


def _mixture_arrays(mixture: Mixture, prefix: str = "") -> Arrays:
    values = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.covariance.values}
    return {prefix + name: array for name, array in values.items()}


def _mixture(read: Read, kind: str, d: str = "d", largest: float = LARGEST) -> Mixture:
    held = read(mixture(kind, d, largest))
    return Mixture(held["weights"], held["means"], covariance_of(kind, held["covariances"], held["means"].shape[1]))


def _reader(values: dict[str, Any], sizes: Sizes, prefix: str = "") -> Read:
    return lambda schema: checked(schema, values, sizes, prefix)


def pack_mixture(model: FittedMixture) -> Packed:
    """Return header and arrays of a fitted GaussianMixture."""
    params, fitted = _params(model), model._mixture
    params["missing_values"] = None if params["missing_values"] is None else "nan"
    starts = {name: params.pop(name) for name in STARTS}
    header = {
        "params": params,
        "covariance_type": fitted.covariance.kind,
        "dtype": floating_type(as_floating(model.weights_)).name,
        "converged": bool(model.converged_),
        "n_iter": int(model.n_iter_),
        "n_batches": model._n_batches,
        "selection_path": [list(step) for step in model.selection_path_],
        "feature_names": _names(model),
    }
    arrays = _mixture_arrays(fitted) | {
        "lower_bound": np.array(model.lower_bound_, dtype=np.float64),  # may be infinite, which JSON has no word for
        "lower_bounds": np.array(model.lower_bounds_, dtype=np.float64),
        "optimality": np.array([model.split_gain_, model.merge_cost_], dtype=np.float64),
    }
    arrays |= {f"params.{name}": as_numpy(value) for name, value in starts.items() if value is not None}
    return header, arrays


def unpack_mixture(header: dict[str, Any], arrays: Arrays) -> Unpacked:
    """Return parameters and fitted attributes of a GaussianMixture, by name."""
    read = _reader(everything(header, arrays), Sizes())
    kind = read(KIND | PRECISION)
    fitted = _mixture(read, kind["covariance_type"], largest=LARGEST_OF[kind["dtype"]])
    held = read(FIT)
    params = held["params"] | {name: arrays.get(f"params.{name}") for name in STARTS}
    params["missing_values"] = None if held["params.missing_values"] is None else np.nan
    return params, {
        "mixture": fitted,
        "dtype": np.dtype(kind["dtype"]),
        "converged": bool(held["converged"]),
        "n_iter": int(held["n_iter"]),
        "n_batches": int(held["n_batches"]),
        "lower_bound": float(held["lower_bound"]),
        "lower_bounds": held["lower_bounds"].tolist(),
        "optimality": tuple(held["optimality"].tolist()),
        "selection_path": [(step, int(k), float(value)) for step, k, value in held["selection_path"]],
        "names": _named(held),
    }


def pack_descent(model: FittedDescent) -> Packed:
    """Return header and arrays of a fitted DDPMMixture."""
    params, fitted, history = _params(model), model._mixture, model.history_
    given = {name: params.pop(name) for name in MAYBE_ARRAYS}
    params |= {name: value for name, value in given.items() if value is None or isinstance(value, str)}
    params |= {name: _plain(params[name]) for name in ("noise_times", "n_steps")}
    firsts = [record for i, record in enumerate(history) if i == 0 or history[i - 1].stage != record.stage]
    header = {
        "params": params,
        "covariance_type": fitted.covariance.kind,
        "noise_times": [_plain(record.noise_time) for record in firsts],
        "feature_names": _names(model),
    }
    arrays = _mixture_arrays(fitted) | {
        "history.stage": np.array([record.stage for record in history]),
        "history.step": np.array([record.step for record in history]),
        "history.loss": np.array([record.loss for record in history], dtype=np.float64),
        "history.gradient_norm": np.array([record.gradient_norm for record in history], dtype=np.float64),
        "history.means": np.array([record.means for record in history], dtype=np.float64),
    }
    arrays |= {f"params.{name}": np.asarray(given[name]) for name in MAYBE_ARRAYS if name not in params}
    return header, arrays


def _plain(value: Any) -> Any:
    """Sequences and arrays as lists, which JSON has."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0):
        return [_plain(each) for each in value]
    return value


def _tupled(value: Any) -> Any:
    """Lists as tuples, as they were given."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _number_or_array(array: NDArray[Any]) -> NDArray[Any] | float:
    return float(array) if array.ndim == 0 else array


def unpack_descent(header: dict[str, Any], arrays: Arrays) -> Unpacked:
    """Return parameters of a DDPMMixture and what was fitted."""
    read = _reader(everything(header, arrays), Sizes())
    fitted, held = _mixture(read, read(KIND)["covariance_type"]), read(DESCENT)
    given = {name: arrays[f"params.{name}"] for name in MAYBE_ARRAYS if f"params.{name}" in arrays}
    params = held["params"] | {name: _number_or_array(array) for name, array in given.items()}
    params |= {name: _tupled(params[name]) for name in ("noise_times", "n_steps")}
    columns = [held[f"history.{name}"] for name in ("stage", "step", "loss", "gradient_norm", "means")]
    times = [_number_or_array(time) for time in held["noise_times"]]
    history = [
        Record(int(stage), int(step), times[int(stage)], float(loss), float(norm), means)
        for stage, step, loss, norm, means in zip(*columns, strict=True)
    ]
    return params, {"mixture": fitted, "history": history, "names": _named(held)}


def pack_ladder(model: FittedLadder, columns: Columns | None) -> Packed:
    """Return header and arrays of a fitted DiffusionMixture."""
    params, frame, base = _params(model), model.ladder_.frame, base_of(model.ladder_)
    header = {
        "params": params,
        "noise_scale": frame.noise_scale,
        "noise_floor": model.noise_floor_,
        "reach": model._reach,
        "feature_names": _names(model),
        "columns": None
        if columns is None
        else {"names": columns.names, "location": columns.location, "scale": columns.scale},
    }
    arrays: Arrays = {
        "sigmas": model.ladder_.sigmas,
        "denoising_loss": model.denoising_loss_,
        "frame.mean": frame.mean,
        "frame.basis": frame.basis,
        "frame.variances": frame.variances,
    }
    if (clusters := model._clusters) is not None:
        arrays |= {
            "clusters.cell_centers": clusters.cells.centers,
            "clusters.cell_weights": clusters.cells.weights,
            "clusters.cluster": clusters.cluster,
            "clusters.centers": clusters.centers,
            "clusters.weights": clusters.weights,
        }
    if base is not None:
        header["base"] = base.covariance.kind
        arrays |= _mixture_arrays(base, "base.")
    elif model._components is not None:
        header["cells"] = params["gates"]
        arrays |= _mixture_arrays(model._components, "components.")
    for i, level in enumerate(model.ladder_.levels):
        arrays |= _level_arrays(f"level{i}", level, base)
    return header, arrays


def _level_arrays(name: str, level: Level, base: Mixture | None) -> Arrays:
    """What a level has of its own."""
    assert isinstance(level, PiecewisePolynomial | CorrectedMixture | PiecewiseScore)
    arrays: Arrays = {f"{name}.degrees": level.degrees, f"{name}.coef": level.coef}
    if isinstance(level, PiecewisePolynomial):
        return arrays | {f"{name}.centers": level.centers, f"{name}.weights": level.weights}
    if isinstance(level, PiecewiseScore):
        return arrays | {f"{name}.{part}": getattr(level.cells, part) for part in RATIO}
    return arrays if base is not None else arrays | _mixture_arrays(level.base, f"{name}.")


def unpack_ladder(header: dict[str, Any], arrays: Arrays) -> Unpacked:
    """Return parameters and fitted attributes of a DiffusionMixture."""
    values, sizes = everything(header, arrays), Sizes()
    held = checked(FRAME, values, sizes)
    frame = Subspace(held["frame.mean"], held["frame.basis"], held["frame.variances"], float(held["noise_scale"]))
    floor = float(held["noise_floor"] or 0.0)
    if not (frame.is_whole or frame.noise_scale or floor):
        raise ValueError("noise_scale or noise_floor must be positive where frame.basis leaves directions out")
    level, components = LEVELS[held["cells"], held["params.gates"]], None
    if held["cells"]:
        components = _mixture(_reader(values, dict(sizes), "components."), "full", "r")
    elif held["base"]:
        base = _mixture(_reader(values, sizes, "base."), held["base"], "r")
        level = partial(_corrected, base=base)
        components = None if frame.noise_scale else base  # atoms are no components
    has_clusters = components is None or "clusters.cluster" in values
    clusters = _clusters(_reader(values, sizes, "clusters.")) if has_clusters else None
    levels = tuple(level(_reader(values, dict(sizes), f"level{i}."), frame) for i in range(sizes["L"]))
    columns = _reader(values, sizes, "columns.")(COLUMNS) if values.get("columns") is not None else None
    fitted = {
        "ladder_": Ladder(held["sigmas"], levels, frame),
        "noise_levels_": held["sigmas"],
        "denoising_loss_": held["denoising_loss"],
        "covariance_": "identity" if frame.noise_scale else "general",
        "noise_scale_": frame.noise_scale,
        "noise_floor_": floor,
        "n_features_in_": frame.n_features,
        "columns_": None if columns is None else Columns(**columns),
        "_clusters": clusters,
        "_components": None if clusters is not None else components,
        "_reach": float(held["reach"]),
    }
    if (names := _named(held)) is not None:
        fitted["feature_names_in_"] = names
    params = {"correction_of": "nothing"} | held["params"]  # what files from before this parameter hold
    if params.get("covariance") == "general":
        params["noise_scale"] = "auto"  # a number, in files from before it could be left out
    return params, fitted


def _clusters(read: Read) -> Clusters:
    held = read(CLUSTERS)
    cells = Voronoi(held["cell_centers"], held["cell_weights"])
    return Clusters(cells, held["cluster"], held["centers"], held["weights"])


def _features(held: dict[str, Any], frame: Subspace) -> Hermite:
    """The polynomials of the largest degree, for which there must be coefficients."""
    features, n = Hermite(frame.rank, max(0, int(held["degrees"].max()))), held["coef"].shape[1]
    if features.sizes[-1] != n:
        raise ValueError(f"{n} coefficients are not those of {features.sizes[-1]} features")
    return features


def _corrected(read: Read, frame: Subspace, base: Mixture) -> CorrectedMixture:
    held = read(CORRECTIONS)
    return CorrectedMixture(base, _features(held, frame), held["coef"], held["degrees"], frame.noise_scale)


def _gated(read: Read, frame: Subspace) -> CorrectedMixture:
    return _corrected(read, frame, _mixture(read, "full", "r"))


def _ratio(read: Read, frame: Subspace) -> PiecewiseScore:
    cells = LikelihoodRatio(**read(RATIO))
    if len(cells.weights) != (int(cells.groups.max()) + 1) * (int(cells.kinds.max()) + 1):
        raise ValueError(f"{len(cells.weights)} weights are not one for every group and kind")
    held = read(POLYNOMIALS)
    return PiecewiseScore(cells, _features(held, frame), held["coef"], held["degrees"], frame.noise_scale)


def _piecewise(read: Read, frame: Subspace, cells: type[SoftCells] | type[Voronoi]) -> PiecewisePolynomial:
    held = read(PIECEWISE)
    kind: Cells = cells(held["centers"], held["weights"])
    return PiecewisePolynomial(kind, _features(held, frame), held["coef"], held["degrees"], frame.noise_scale)


LEVELS: dict[tuple[str | None, str], Callable[[Read, Subspace], Level]] = {
    (None, "soft"): partial(_piecewise, cells=SoftCells),
    (None, "hard"): partial(_piecewise, cells=Voronoi),
    **{("soft", gates): _gated for gates in ("soft", "hard")},
    **{("hard", gates): _ratio for gates in ("soft", "hard")},
}
