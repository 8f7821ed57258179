"""Parameters of the constructors: a table per estimator says what each may be, a function what does not go together.

Refusals name the parameter, its value and what to give. What can only be checked against the data, such as a start, is
in `mixture_inputs`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.em.acceleration import ACCELERATIONS
from scoremix.learning.sck.descent import Stage, all_levels, single_level
from scoremix.learning.sck.optimizers import OPTIMIZERS
from scoremix.models.covariance.types import TYPES
from scoremix.noise import sigma_from_ou_time

# Largest noise level or scale, and its inverse the smallest: squares, and ratios of two squares, are numbers still.
LARGEST_SIGMA = 1e75

LONGEST_TIME = 15.0  # Largest noise time: exp(15) standard deviations of noise leave nothing of any data.

OWN_STARTS = ("global", "diffusion")  # Values of `init_params` that scikit-learn does not know.

LEARNT = ("diag", "full")  # Covariances that descent learns.


class Rule(Protocol):
    """What a table says of one parameter."""

    def check(self, name: str, value: Any) -> None:
        """Refuse a value with a ValueError that names the parameter, the value and what to give."""


@dataclass(frozen=True)
class Number:
    """A finite number, or an integer, in a range; or one of some `words`, which may be None."""

    above: float = -np.inf
    at_least: float = -np.inf
    below: float = np.inf
    at_most: float = np.inf
    integer: bool = False
    words: tuple[str | bool | None, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Refuse what is out of range; True and False are no numbers."""
        kind = Integral if self.integer else Real
        is_number = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
        is_inside = is_number and self.above < value < self.below and self.at_least <= value <= self.at_most
        if (is_inside and -np.inf < value < np.inf) or _is_among(value, self.words):
            return
        signs = {">": self.above, ">=": self.at_least, "<": self.below, "<=": self.at_most}
        bounds = [f"{sign} {bound:g}" for sign, bound in signs.items() if np.isfinite(bound)]
        what = "an integer" if self.integer else "a number"
        raise ValueError(f"{name}={value!r} is out of range: give {what} {' and '.join(bounds)}.")


@dataclass(frozen=True)
class Choice:
    """One of some words, or of True and False; None where it `may_be_none`.

    With `or_data` whatever is no word is data, which are checked where they are used.
    """

    choices: Collection[str | bool]
    may_be_none: bool = False
    or_data: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse what is no choice."""
        is_data = self.or_data and not isinstance(value, str)
        if not (is_data or (self.may_be_none and value is None) or _is_among(value, self.choices)):
            raise ValueError(f"{name}={value!r} is not known: choose {' or '.join(map(repr, self.choices))}.")


def _is_among(value: Any, words: Collection[str | bool | None]) -> bool:
    """Whether a value is one of words, truth values and None; 1 is not True."""
    value = bool(value) if isinstance(value, np.bool_) else value
    return any(isinstance(value, type(word)) and value == word for word in words)


FLAG = Choice((True, False))
COUNT = Number(at_least=1, integer=True)
SAMPLES = Number(at_least=1, at_most=2**48, integer=True)  # How many to draw.
SIGMA = Number(at_least=1 / LARGEST_SIGMA, at_most=LARGEST_SIGMA, words=(None,))
COVARIANCE_TYPE = Choice(TYPES)

DIFFUSION_MIXTURE: Mapping[str, Rule] = {
    "covariance": Choice(("auto", "identity", "general")),
    "correction_of": Choice(("mixture", "nothing")),
    "gates": Choice(("soft", "hard")),
    "noise_scale": replace(SIGMA, words=("auto",)),
    "degree": replace(COUNT, words=("auto",)),
    "n_levels": Number(at_least=2, integer=True),
    "min_weight": Number(above=0, below=1),
    "n_draws": COUNT,
    "validation_fraction": Number(above=0, at_most=0.5),
    "verbose": Number(at_least=0),
    "sigma_min": SIGMA,
    "sigma_max": SIGMA,
}

GAUSSIAN_MIXTURE: Mapping[str, Rule] = {
    "covariance_type": COVARIANCE_TYPE,
    "init_params": Choice((*OWN_STARTS, "kmeans", "k-means++", "random", "random_from_data")),
    "acceleration": Choice(tuple(ACCELERATIONS), may_be_none=True),
    "covariance_prior": Choice(("auto", "shared"), may_be_none=True),
    "criterion": Choice(("density", "clusters")),
    "n_components": replace(COUNT, words=("auto",)),
    "max_components": COUNT,
    "n_init": COUNT,
    "max_iter": Number(at_least=0, integer=True),
    "verbose_interval": COUNT,
    "tol": Number(at_least=0),
    "reg_covar": Number(at_least=0),
    "warm_start": FLAG,
    "verbose": Number(at_least=0, integer=True, words=(True, False)),
}

DDPM_MIXTURE: Mapping[str, Rule] = {
    "n_components": COUNT,
    "symmetric": FLAG,
    "exact_gradient": FLAG,
    "learning_rate": Number(above=0),
    "tol": Number(at_least=0),
    "verbose": Number(at_least=0),
    "batch_size": replace(COUNT, words=(None,)),
    "projection_radius": Number(above=0, words=(None,)),
    "step_rule": Choice(("auto", *OPTIMIZERS)),
    "means_init": Choice(("random", "tensor", "kmeans"), or_data=True),
    "weights": Choice(("equal", "free"), or_data=True),
    "covariance": Choice(("identity", *LEARNT), or_data=True),
}


def _check_each(table: Mapping[str, Rule], params: Mapping[str, Any]) -> None:
    for name, rule in table.items():
        rule.check(name, params[name])


def check_diffusion_parameters(params: Mapping[str, Any]) -> None:
    """Check the constructor parameters of a DiffusionMixture, except `rank`, which is checked against the data.

    ValueError: Naming the first parameter that is out of range, or would be ignored.
    """
    _check_each(DIFFUSION_MIXTURE, params)
    if params["covariance"] == "general" and params["noise_scale"] != "auto":
        raise ValueError(
            f"noise_scale={params['noise_scale']!r} is for covariance='identity': with covariance='general' "
            "covariances are learnt, so leave it out."
        )
    for name, free in (("gates", "soft"), ("degree", "auto")):
        if params["correction_of"] == "mixture" and params[name] != free:
            raise ValueError(f"{name}={params[name]!r} is for correction_of='nothing': say so, or leave {name} out.")


def check_mixture_parameters(params: Mapping[str, Any]) -> None:
    """Check the constructor parameters of a GaussianMixture, except starts, which are checked against the data.

    ValueError: Naming the first parameter that is out of range.
    """
    k, missing = params["n_components"], params["missing_values"]
    if isinstance(k, str) and k != "auto":
        raise ValueError(f'n_components={k!r} is not known: give a whole number >= 1, or "auto".')
    _check_each(GAUSSIAN_MIXTURE, params)
    if missing is not None and not (isinstance(missing, Real) and np.isnan(float(missing))):
        raise ValueError(f"missing_values={missing!r} is not known: choose None or numpy.nan.")
    given = [name for name in ("weights_init", "means_init", "precisions_init") if params[name] is not None]
    if isinstance(k, str) and given:
        raise ValueError(f'{given[0]} is given with n_components="auto", which finds its own start: give the number.')


def check_ddpm_parameters(params: Mapping[str, Any]) -> None:
    """Check the constructor parameters of a DDPMMixture, except those that are checked against the data.

    ValueError: Naming the first parameter that is out of range.
    """
    _check_each(DDPM_MIXTURE, params)
    stages_of(params["noise_times"], params["n_steps"])
    if params["symmetric"] and params["n_components"] != 2:
        raise ValueError(f"symmetric=True is for n_components=2, not for {params['n_components']}: leave it out.")
    if _is_among(params["covariance"], LEARNT):
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
    elif _is_among(params["weights"], ("free",)) and params["symmetric"]:
        raise ValueError("weights='free' does not go with symmetric=True: two components at +-mu have equal weights.")


def stages_of(noise_times: Any, n_steps: Any, radius: float | None = None, center: Floats | float = 0.0) -> list[Stage]:
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
        stages[first:] = [replace(stage, radius=radius, center=center) for stage in stages[first:]]
    return stages


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _stage(time: Any, n_steps: Any) -> Stage:
    """One noise time, "all", or several times that make one objective."""
    Number(at_least=0, integer=True).check("n_steps", n_steps)
    if isinstance(time, str):
        Choice(("all",)).check("noise_times", time)
        return all_levels(int(n_steps))
    if _is_sequence(time):
        for each in time:
            Number(above=0, at_most=LONGEST_TIME).check("noise_times", each)
        differences = np.diff(np.asarray(time, dtype=np.float64))
        if len(time) < 2 or not (np.all(differences > 0) or np.all(differences < 0)):
            raise ValueError(f"noise_times={time!r} is out of range: give several times in order, to be used together.")
        return all_levels(int(n_steps), np.asarray(sigma_from_ou_time(np.asarray(time, dtype=np.float64))))
    Number(above=0, at_most=LONGEST_TIME).check("noise_times", time)
    return single_level(float(time), int(n_steps))
