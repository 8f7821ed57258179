"""A fitted DiffusionMixture as arrays and a JSON header, and back.

The header holds parameters and names, the arrays everything learnt. `unpack` checks shapes, so a file that was tampered
with is refused instead of failing later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats
from scoremix.estimators.diffusion_density import base_of
from scoremix.features import Hermite
from scoremix.learning.clusters import Clusters
from scoremix.models.cells import Cells, SoftCells, Voronoi
from scoremix.models.corrected import CorrectedMixture
from scoremix.models.covariance import Full, Spherical
from scoremix.models.ladder import Ladder, Level
from scoremix.models.likelihood_ratio import LikelihoodRatio, PiecewiseScore
from scoremix.models.mixture import Mixture
from scoremix.models.piecewise import PiecewisePolynomial
from scoremix.models.subspace import Subspace
from scoremix.samples.columns import Columns

CELLS: dict[str, type[SoftCells] | type[Voronoi]] = {"soft": SoftCells, "hard": Voronoi}

RATIO = ("means", "groups", "covariances", "kinds", "basis", "weights")
"""Arrays of likelihood-ratio cells."""

Arrays = dict[str, NDArray[Any]]


class Fitted(Protocol):
    """What is stored of a fitted estimator."""

    ladder_: Ladder
    denoising_loss_: Floats
    noise_floor_: float
    n_features_in_: int
    _clusters: Clusters | None
    _components: Mixture | None
    _reach: float

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters."""


def pack(model: Fitted, columns: Columns | None) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of a fitted model.

    A `random_state` that is not an integer is stored as None: generators cannot be written down, and the fit is done.
    """
    params = model.get_params()
    seed = params["random_state"]
    params["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    frame, clusters = model.ladder_.frame, model._clusters
    names = getattr(model, "feature_names_in_", None)
    header = {
        "params": params,
        "noise_scale": frame.noise_scale,
        "noise_floor": model.noise_floor_,
        "reach": model._reach,
        "feature_names": None if names is None else [str(name) for name in names],
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
    if clusters is not None:
        arrays |= {
            "clusters.cell_centers": clusters.cells.centers,
            "clusters.cell_weights": clusters.cells.weights,
            "clusters.cluster": clusters.cluster,
            "clusters.centers": clusters.centers,
            "clusters.weights": clusters.weights,
        }
    base = base_of(model.ladder_)
    if base is not None:
        header["base"] = base.covariance.kind
        arrays |= _mixture_arrays("base", base)
    elif model._components is not None:
        header["cells"] = model.get_params()["gates"]
        arrays |= _mixture_arrays("components", model._components)
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
    return arrays if base is not None else arrays | _mixture_arrays(name, level.base)


def _mixture_arrays(name: str, mixture: Mixture) -> Arrays:
    values = mixture.covariance.values
    return {f"{name}.weights": mixture.weights, f"{name}.means": mixture.means, f"{name}.covariances": values}


def unpack(header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return constructor parameters and fitted attributes.

    Raises
    ------
    ValueError
        If something is missing, or shapes do not fit together.
    """
    try:
        params, columns, names = header["params"], header["columns"], header["feature_names"]
        frame = Subspace(
            arrays["frame.mean"],
            arrays["frame.basis"],
            arrays["frame.variances"],
            float(header["noise_scale"]),
        )
        base = _mixture("base", arrays, header["base"], frame) if "base" in header else None
        components = base
        if "cells" in header:
            components = _mixture("components", arrays, "full", frame)
        elif frame.noise_scale:
            components = None  # atoms are no components
        params.setdefault("correction_of", "nothing")  # what files from before this parameter hold
        numbers = range(len(arrays["sigmas"]))
        levels: tuple[Level, ...]
        if "cells" in header:
            levels = tuple(GENERAL_CELLS[header["cells"]](arrays, i, frame) for i in numbers)
        elif base is None:
            levels = tuple(_piecewise(arrays, i, CELLS[params["gates"]], frame) for i in numbers)
        else:
            levels = tuple(_corrected(arrays, i, base, frame) for i in numbers)
        _check(frame.basis.shape == (len(frame.mean), len(frame.variances)))
        clusters = _clusters(arrays, frame) if "clusters.cluster" in arrays else None
        _check(clusters is not None or components is not None)
        _check(len(arrays["denoising_loss"]) == len(levels) > 0)
        fitted = {
            "ladder_": Ladder(arrays["sigmas"], levels, frame),
            "noise_levels_": arrays["sigmas"],
            "denoising_loss_": arrays["denoising_loss"],
            "noise_scale_": frame.noise_scale,
            "noise_floor_": float(header.get("noise_floor", 0.0)),
            "n_features_in_": frame.n_features,
            "columns_": None if columns is None else Columns(columns["names"], columns["location"], columns["scale"]),
            "_clusters": clusters,
            "_components": None if clusters is not None else components,
            "_reach": float(header["reach"]),
        }
        if names is not None:
            fitted["feature_names_in_"] = np.array(names, dtype=object)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the model file lacks or garbles {error}: save the model again") from error
    return params, fitted


def _clusters(arrays: Arrays, frame: Subspace) -> Clusters:
    clusters = Clusters(
        Voronoi(arrays["clusters.cell_centers"], arrays["clusters.cell_weights"]),
        arrays["clusters.cluster"],
        arrays["clusters.centers"],
        arrays["clusters.weights"],
    )
    _check(clusters.cells.centers.shape == (len(clusters.cluster), frame.rank))
    _check(clusters.centers.shape == (len(clusters.weights), frame.n_features))
    _check(clusters.cluster.min() >= 0 and clusters.cluster.max() < len(clusters.weights))
    return clusters


def _mixture(name: str, arrays: Arrays, kind: str, frame: Subspace) -> Mixture:
    weights, means, values = (arrays[f"{name}.{part}"] for part in ("weights", "means", "covariances"))
    _check(means.shape == (len(weights), frame.rank) and bool(np.all(weights > 0)))
    if kind == "spherical":
        _check(values.shape == weights.shape and bool(np.all(values > 0)))
        return Mixture(weights, means, Spherical(values, frame.rank))
    _check(kind == "full" and values.shape == (*means.shape, frame.rank))
    _check(bool(np.all(np.isfinite(values)) and np.all(np.linalg.eigvalsh(values) > 0)))
    return Mixture(weights, means, Full(values))


def _corrected(arrays: Arrays, i: int, base: Mixture, frame: Subspace) -> CorrectedMixture:
    degrees, coef = arrays[f"level{i}.degrees"], arrays[f"level{i}.coef"]
    _check(degrees.shape == base.weights.shape and degrees.min() >= -1)
    features = Hermite(frame.rank, max(0, int(degrees.max())))
    _check(coef.shape == (len(degrees), features.sizes[-1], frame.rank))
    return CorrectedMixture(base, features, coef, degrees, frame.noise_scale)


def _gated(arrays: Arrays, i: int, frame: Subspace) -> CorrectedMixture:
    return _corrected(arrays, i, _mixture(f"level{i}", arrays, "full", frame), frame)


def _ratio(arrays: Arrays, i: int, frame: Subspace) -> PiecewiseScore:
    means, groups, covariances, kinds, basis, weights = (arrays[f"level{i}.{part}"] for part in RATIO)
    degrees, coef = arrays[f"level{i}.degrees"], arrays[f"level{i}.coef"]
    d = frame.rank
    _check(means.shape == (len(groups), d) and covariances.shape == (len(kinds), d, d))
    _check(basis.shape[:1] == (d,) and basis.ndim == 2)
    for numbers in (groups, kinds):  # all of 0 .. largest
        _check(numbers.dtype.kind == "i" and np.array_equal(np.unique(numbers), np.arange(int(numbers.max()) + 1)))
    n_cells = (int(groups.max()) + 1) * (int(kinds.max()) + 1)
    _check(weights.shape == degrees.shape == (n_cells,) and int(degrees.min()) >= 0)
    _check(bool(np.all(np.isfinite(covariances)) and np.all(np.linalg.eigvalsh(covariances) > 0)))
    features = Hermite(d, int(degrees.max()))
    _check(coef.shape == (n_cells, features.sizes[-1], d))
    cells = LikelihoodRatio(means, groups, covariances, kinds, basis, weights)
    return PiecewiseScore(cells, features, coef, degrees, frame.noise_scale)


GENERAL_CELLS: dict[str, Callable[[Arrays, int, Subspace], Level]] = {"soft": _gated, "hard": _ratio}


def _piecewise(arrays: Arrays, i: int, cells: type[SoftCells] | type[Voronoi], frame: Subspace) -> PiecewisePolynomial:
    centers, weights = arrays[f"level{i}.centers"], arrays[f"level{i}.weights"]
    degrees, coef = arrays[f"level{i}.degrees"], arrays[f"level{i}.coef"]
    features = Hermite(frame.rank, int(degrees.max()))
    _check(centers.shape == (len(weights), frame.rank) and degrees.shape == weights.shape)
    _check(coef.shape == (len(weights), features.sizes[-1], frame.rank))
    kind: Cells = cells(centers, weights)
    return PiecewisePolynomial(kind, features, coef, degrees, frame.noise_scale)


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError("the arrays of the model file do not fit together: save the model again")
