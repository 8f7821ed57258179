"""A fitted DiffusionMixture as arrays and a JSON header, and back.

The header holds parameters and names, the arrays everything learnt. `FRAME`, `CLUSTERS` and the tables of levels say
what there may be, so a file that was tampered with is refused instead of failing later. Letters: d columns, r axes of
the frame, L levels, k cells or components of a level, p coefficients of each, c clusters of K cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats
from scoremix.estimators.schema import (
    LARGEST,
    Each,
    Law,
    Maybe,
    Numbers,
    Schema,
    Sizes,
    Table,
    Text,
    axes,
    checked,
    count,
    everything,
    index,
    matrices,
    mixture,
    numbering,
    positive,
    scale,
    shares,
)
from scoremix.features import MAX_FEATURES, Hermite
from scoremix.learning.gkl.clusters import Clusters
from scoremix.models.covariance.types import covariance_of
from scoremix.models.gates import Cells, SoftCells, Voronoi
from scoremix.models.ladder import Ladder, Level
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, PiecewisePolynomial, PiecewiseScore
from scoremix.models.subspace import Subspace
from scoremix.samples.columns import Columns
from scoremix.sampling.ladder_density import base_of

FRAME: Schema = {
    "params": Table(("gates",)),
    "params.gates": Text(("soft", "hard")),
    "params.random_state": Maybe(count()),
    "frame.mean": Numbers("d"),
    "frame.basis": axes("d r"),
    "frame.variances": Numbers("r", 0, LARGEST**2),
    "noise_scale": scale(),
    "noise_floor": Maybe(scale()),
    "reach": Numbers(low=0),
    "feature_names": Maybe(Each("d", Text())),
    "sigmas": Numbers(
        "L", 1 / LARGEST, law=Law("decreasing", lambda levels: bool(np.all(np.diff(np.log(levels)) < 0)))
    ),
    "denoising_loss": Numbers("L", -(LARGEST**2), LARGEST**2),
    "base": Maybe(Text(("spherical", "full"))),
    "cells": Maybe(Text(("soft", "hard"))),
}

COLUMNS: Schema = {"names": Each("d", Text()), "location": Numbers("d"), "scale": positive("d", LARGEST)}

CLUSTERS: Schema = {
    "cell_centers": Numbers("K r"),
    "cell_weights": shares("K"),
    "centers": Numbers("c d"),
    "weights": shares("c"),
    "cluster": index("K", below="c"),
}

POLYNOMIALS: Schema = {"degrees": count("k", 0, MAX_FEATURES), "coef": Numbers("k p r")}

CORRECTIONS: Schema = {**POLYNOMIALS, "degrees": count("k", -1, MAX_FEATURES)}

PIECEWISE: Schema = {"weights": shares("k"), "centers": Numbers("k r"), **POLYNOMIALS}

# Likelihood-ratio cells, but for their polynomials.
RATIO: Schema = {
    "means": Numbers("a r"),
    "groups": numbering("a"),
    "covariances": matrices("b r r"),
    "kinds": numbering("b"),
    "basis": Numbers("r m", law=Law("at most as many axes as columns", lambda basis: basis.shape[1] <= len(basis))),
    "weights": shares("k"),
}

Arrays = dict[str, NDArray[Any]]

Read = Callable[[Schema], dict[str, Any]]  # Reads a part of the file, such as one level.


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

    ValueError: If something is missing, out of its range, or does not fit together.
    """
    values, sizes = everything(header, arrays), Sizes()
    held = checked(FRAME, values, sizes)
    frame = Subspace(held["frame.mean"], held["frame.basis"], held["frame.variances"], float(held["noise_scale"]))
    floor = float(held["noise_floor"] or 0.0)
    if not (frame.is_whole or frame.noise_scale or floor):
        raise ValueError("noise_scale or noise_floor must be positive where frame.basis leaves directions out")

    def part(name: str, sizes: Sizes) -> Read:
        return lambda schema: checked(schema, values, sizes, f"{name}.")

    level, components = LEVELS[held["cells"], held["params.gates"]], None
    if held["cells"]:
        components = _mixture(part("components", dict(sizes)), "full")
    elif held["base"]:
        base = _mixture(part("base", sizes), held["base"])
        level = partial(_corrected, base=base)
        components = None if frame.noise_scale else base  # atoms are no components
    clusters = _clusters(part("clusters", sizes)) if components is None or "clusters.cluster" in values else None
    levels = tuple(level(part(f"level{i}", dict(sizes)), frame) for i in range(sizes["L"]))
    columns = part("columns", sizes)(COLUMNS) if values.get("columns") is not None else None
    fitted = {
        "ladder_": Ladder(held["sigmas"], levels, frame),
        "noise_levels_": held["sigmas"],
        "denoising_loss_": held["denoising_loss"],
        "noise_scale_": frame.noise_scale,
        "noise_floor_": floor,
        "n_features_in_": frame.n_features,
        "columns_": None if columns is None else Columns(**columns),
        "_clusters": clusters,
        "_components": None if clusters is not None else components,
        "_reach": float(held["reach"]),
    }
    if held["feature_names"] is not None:
        fitted["feature_names_in_"] = np.array(held["feature_names"], dtype=object)
    return {"correction_of": "nothing"} | held["params"], fitted  # what files from before this parameter hold


def _clusters(read: Read) -> Clusters:
    held = read(CLUSTERS)
    cells = Voronoi(held["cell_centers"], held["cell_weights"])
    return Clusters(cells, held["cluster"], held["centers"], held["weights"])


def _mixture(read: Read, kind: str) -> Mixture:
    held = read(mixture(kind, "r"))
    return Mixture(held["weights"], held["means"], covariance_of(kind, held["covariances"], held["means"].shape[1]))


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
    return _corrected(read, frame, _mixture(read, "full"))


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
