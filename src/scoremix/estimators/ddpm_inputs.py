"""Checks of what users hand to a DDPMMixture, and what it means to the learner: stages, starts, units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scoremix.arrays import Array, Floats, is_foreign, like, namespace, product, to_numpy
from scoremix.estimators.checks import check_choice, check_number
from scoremix.estimators.mixture_inputs import check_means, check_weights
from scoremix.learning.sck.descent import Stage, all_levels, single_level
from scoremix.learning.sck.optimizers import OPTIMIZERS
from scoremix.models.covariance.interface import Covariance
from scoremix.models.covariance.types import covariance_of
from scoremix.noise import sigma_from_ou_time

STARTS = ("random", "tensor", "kmeans")
LEARNT = ("diag", "full")
LONGEST_TIME = 15.0  # Largest noise time: exp(15) standard deviations of noise leave nothing of any data.


@dataclass(frozen=True)
class Units:
    """Coordinates in which components have unit covariance: ``x = root u``.

    root (d, d), none where x and u are the same.
    """

    kind: str
    root: Floats | None

    def encode(self, x: Array) -> Array:
        """Rows x (n, d) in these coordinates; the same array where they are the same."""
        if self.root is None:
            return x
        xp = namespace(x)
        x = xp.astype(x, xp.float64, copy=False)
        return product(x, like(np.linalg.inv(self.root).T, x))

    def decode(self, means: Floats) -> Floats:
        """Points u (k, d) in the units of the data."""
        return means if self.root is None else means @ self.root.T

    def covariance(self, covariance: Covariance | None, n_components: int, n_features: int) -> Covariance:
        """Covariances in the units of the data: known ones, or learnt in these coordinates."""
        root = np.eye(n_features) if self.root is None else self.root
        shared = root @ root.T
        if covariance is not None:
            values = root @ covariance.dense(n_components, n_features) @ root.T
            values = (values + np.swapaxes(values, 1, 2)) / 2
            values = np.diagonal(values, axis1=1, axis2=2) if self.kind == "diag" else values
        elif self.kind == "tied":
            values = shared
        else:
            values = np.repeat(np.diagonal(shared)[None, :], n_components, axis=0)
            values = values[:, 0] if self.kind == "spherical" else values
        return covariance_of(self.kind, np.ascontiguousarray(values), n_features)


def check_ddpm_parameters(params: Mapping[str, Any]) -> None:
    """Check the constructor parameters of a DDPMMixture, except those that are checked against the data.

    ValueError: Naming the first parameter that is out of range.
    """
    check_number("n_components", params["n_components"], at_least=1, integer=True)
    for name in ("symmetric", "exact_gradient"):
        if not isinstance(params[name], bool | np.bool_):
            raise ValueError(f"{name}={params[name]!r} is not known: choose True or False.")
    if params["symmetric"] and params["n_components"] != 2:
        raise ValueError(f"symmetric=True is for n_components=2, not for {params['n_components']}: leave it out.")
    stages_of(params["noise_times"], params["n_steps"])
    check_number("learning_rate", params["learning_rate"], above=0)
    check_number("tol", params["tol"], at_least=0)
    check_number("verbose", params["verbose"], at_least=0)
    if params["batch_size"] is not None:
        check_number("batch_size", params["batch_size"], at_least=1, integer=True)
    if params["projection_radius"] is not None:
        check_number("projection_radius", params["projection_radius"], above=0)
    check_choice("step_rule", params["step_rule"], ("auto", *OPTIMIZERS))
    if isinstance(params["means_init"], str):
        check_choice("means_init", params["means_init"], STARTS)
    if isinstance(params["weights"], str):
        check_choice("weights", params["weights"], ("equal", "free"))
    _check_covariance(params)


def _check_covariance(params: Mapping[str, Any]) -> None:
    """Covariances by name, and what does not go with those that are learnt."""
    if not isinstance(params["covariance"], str):
        return
    check_choice("covariance", params["covariance"], ("identity", *LEARNT))
    if params["covariance"] in LEARNT:
        refused = {
            "symmetric": params["symmetric"],
            "step_rule": params["step_rule"] not in ("auto", "scaled"),
            "projection_radius": params["projection_radius"] is not None,
        }
        for name, is_given in refused.items():
            if is_given:
                raise ValueError(
                    f"{name}={params[name]!r} does not go with covariance={params['covariance']!r}, whose steps are "
                    "scaled by their curvature: leave it out, or give the covariance."
                )
    elif params["weights"] == "free" and params["symmetric"]:
        raise ValueError("weights='free' does not go with symmetric=True: two components at +-mu have equal weights.")


def stages_of(noise_times: Any, n_steps: Any, radius: float | None = None, centre: Floats | float = 0.0) -> list[Stage]:
    """Stages from noise times and numbers of steps, the ball in all but the first (in all, where there is one).

    Of more numbers than times the last are taken, so that one time has the steps of the last stage.

    ValueError: If times are not positive, or there are fewer numbers of steps.
    """
    times = list(noise_times) if _is_sequence(noise_times) else [noise_times]
    steps = list(n_steps) if _is_sequence(n_steps) else [n_steps] * len(times)
    if not times or len(steps) < len(times):
        raise ValueError(
            f"n_steps={n_steps!r} and noise_times={noise_times!r} do not go together: give a number of steps per time."
        )
    stages = [_stage(time, number) for time, number in zip(times, steps[-len(times) :], strict=True)]
    if radius is not None:
        first = min(1, len(stages) - 1)
        stages[first:] = [replace(stage, radius=radius, center=centre) for stage in stages[first:]]
    return stages


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _stage(time: Any, n_steps: Any) -> Stage:
    """One noise time, "all", or several times that make one objective."""
    check_number("n_steps", n_steps, at_least=0, integer=True)
    if isinstance(time, str):
        check_choice("noise_times", time, ("all",))
        return all_levels(int(n_steps))
    if _is_sequence(time):
        for each in time:
            check_number("noise_times", each, above=0, at_most=LONGEST_TIME)
        differences = np.diff(np.asarray(time, dtype=np.float64))
        if len(time) < 2 or not (np.all(differences > 0) or np.all(differences < 0)):
            raise ValueError(f"noise_times={time!r} is out of range: give several times in order, to be used together.")
        return all_levels(int(n_steps), np.asarray(sigma_from_ou_time(np.asarray(time, dtype=np.float64))))
    check_number("noise_times", time, above=0, at_most=LONGEST_TIME)
    return single_level(float(time), int(n_steps))


def known_units(covariance: Any, n_features: int) -> Units:
    """Units from a covariance that is known: "identity", a variance, a variance per column, or a matrix.

    ValueError: If it has another shape, or is not positive definite.
    """
    if isinstance(covariance, str):
        return Units("spherical", None)
    values = np.asarray(to_numpy(covariance) if is_foreign(covariance) else covariance, dtype=np.float64)
    d = n_features
    if values.shape not in ((), (d,), (d, d)):
        raise ValueError(
            f"covariance has shape {values.shape} for {d} columns: give a variance, one per column, or a matrix."
        )
    try:
        if not np.isfinite(values).all() or (values.ndim == 2 and not np.allclose(values, values.T)):
            raise np.linalg.LinAlgError
        if values.ndim < 2 and np.any(values <= 0):
            raise np.linalg.LinAlgError
        if values.ndim == 2:
            return Units("tied", np.asarray(np.linalg.cholesky(values), dtype=np.float64))
    except np.linalg.LinAlgError:
        raise ValueError("covariance is not positive definite: give variances > 0, or such a matrix.") from None
    return Units("diag" if values.ndim else "spherical", np.diag(np.sqrt(np.broadcast_to(values, (d,)))))


def given_means(means: Any, n_components: int, n_features: int, *, symmetric: bool) -> Floats:
    """Means to start from, shape (k, d); of the symmetric student mu (d,) will do.

    ValueError: If they have another shape, or are not finite.
    """
    values = np.asarray(to_numpy(means) if is_foreign(means) else means)
    if symmetric and values.shape == (n_features,):
        values = np.stack([values, -values])
    checked = check_means(values, n_components, n_features)
    if symmetric:
        half = (checked[0] - checked[1]) / 2
        checked = np.stack([half, -half])
    return checked


def start_weights(weights: Any, n_components: int, *, symmetric: bool) -> Floats:
    """Weights to start from, or to keep.

    ValueError: If they have another shape, one is not positive, or they do not sum to 1.
    """
    if isinstance(weights, str):
        return np.full(n_components, 1 / n_components)
    checked = check_weights(weights, n_components)
    if np.any(checked <= 0):
        raise ValueError("weights has zeros: leave such components out.")
    if symmetric and not np.allclose(checked, 0.5):
        raise ValueError("weights must be equal where symmetric=True: leave them out.")
    return checked
