"""Peers that need PyTorch or JAX: pomegranate and gmmx, in single precision, as they come.

Both are optional (``pip install pomegranate``, ``pip install gmmx``); where one is missing, the benchmark leaves it out
and says so.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.gaussian.methods import REG, Solution, Work
from benchmarks.methods import Method
from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture


def absence(name: str, packages: tuple[str, ...]) -> str | None:
    """Say what is not installed, if anything."""
    absent = [package for package in packages if find_spec(package) is None]
    return f"{name} is left out: {' and '.join(absent)} not installed." if absent else None


def single(values: Floats) -> np.ndarray:
    """In single precision."""
    return np.asarray(values, dtype=np.float32)


def mixture_of(weights: Any, means: Any, values: Any, kind: str) -> Mixture:
    """Parameters of single precision, in double."""
    weights, means, values = (np.asarray(v, dtype=np.float64) for v in (weights, means, values))
    weights, d = weights.ravel(), means.shape[-1]
    return Mixture(weights / weights.sum(), means.reshape(-1, d), covariance_of(kind, values, d))


def pomegranate_mixture(parts: list[Any], rows: Any, kind: str, **settings: Any) -> Mixture:
    """What pomegranate learns from these distributions."""
    from pomegranate.gmm import GeneralMixtureModel

    model = GeneralMixtureModel(parts, **settings).fit(rows)
    means = [part.means.detach().numpy() for part in model.distributions]
    values = [part.covs.detach().numpy() for part in model.distributions]
    return mixture_of(model.priors.detach().numpy(), means, values, kind)


def pomegranate(x: Floats, start: Mixture) -> Work:
    """`GeneralMixtureModel` of `Normal` distributions on PyTorch."""
    import torch
    from pomegranate.distributions import Normal

    torch.set_num_threads(1)
    rows = torch.tensor(x, dtype=torch.float32)
    kind, places = start.covariance.kind, (single(start.means), single(start.covariance.values))

    def work(max_iter: int, tol: float) -> Solution:
        parts = [Normal(mean, values, covariance_type=kind) for mean, values in zip(*places, strict=True)]
        # The tolerance is on the sum over the rows; its sign is not looked at, so 0 could stop it by rounding.
        limits = {"max_iter": max_iter, "tol": tol * len(x) if tol else -np.inf}
        mixture = pomegranate_mixture(parts, rows, kind, priors=single(start.weights), **limits)
        return Solution(mixture, -1)  # it does not tell how many iterations it took

    return work


def gmmx(x: Floats, start: Mixture) -> Work:
    """`EMFitter` on JAX; it is compiled once before the clock runs."""
    import jax.numpy as jnp
    from gmmx import EMFitter, GaussianMixtureModelJax

    kind, rows = start.covariance.kind, jnp.asarray(single(x))
    parameters = {"means": start.means, "covariances": start.covariance.values, "weights": start.weights}
    given = {name: jnp.asarray(single(values)) for name, values in parameters.items()}
    model = GaussianMixtureModelJax.from_squeezed(**given, covariance_type=kind)

    def work(max_iter: int, tol: float) -> Solution:
        result = EMFitter(max_iter=max_iter, tol=tol, reg_covar=REG).fit(rows, model)
        found = result.gmm
        means = np.asarray(found.means).reshape(start.means.shape)
        return Solution(mixture_of(found.weights, means, found.covariances.values_numpy, kind), int(result.n_iter))

    compiled: set[tuple[int, float]] = set()

    def compiled_work(max_iter: int, tol: float) -> Solution:
        if (max_iter, tol) not in compiled:
            compiled.add((max_iter, tol))
            work(max_iter, tol)
        return work(max_iter, tol)

    return compiled_work


def peers(pomegranate: Callable[..., Any], gmmx: Callable[..., Any]) -> tuple[Method, Method]:
    """Both, by how they are prepared."""
    kinds = ("full", "diag")
    return (
        Method("pomegranate, float32", pomegranate, kinds, absence("pomegranate", ("torch", "pomegranate"))),
        Method("gmmx, float32", gmmx, kinds, absence("gmmx", ("jax", "gmmx"))),
    )


PEERS = peers(pomegranate, gmmx)
