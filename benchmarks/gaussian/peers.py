"""Peers that need PyTorch or JAX: pomegranate and gmmx, in single precision, as they come.

Both are optional (``pip install pomegranate``, ``pip install gmmx``); where one is missing, the benchmark leaves it out
and says so.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from benchmarks.gaussian.methods import REG, Solution, Work
from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture


def absence(name: str, packages: tuple[str, ...]) -> str | None:
    """Say what is not installed, if anything."""
    absent = [package for package in packages if find_spec(package) is None]
    return f"{name} is left out: {' and '.join(absent)} not installed." if absent else None


@dataclass(frozen=True)
class Pomegranate:
    """`GeneralMixtureModel` of `Normal` distributions on PyTorch."""

    name: str = "pomegranate, float32"
    kinds: tuple[str, ...] = ("full", "diag")

    @property
    def missing(self) -> str | None:
        return absence("pomegranate", ("torch", "pomegranate"))

    def prepare(self, x: Floats, start: Mixture) -> Work:
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel

        torch.set_num_threads(1)
        kind, rows = start.covariance.kind, torch.tensor(x, dtype=torch.float32)

        def work(max_iter: int, tol: float) -> Solution:
            parts = [
                Normal(mean, values, covariance_type=kind)
                for mean, values in zip(_single(start.means), _single(start.covariance.values), strict=True)
            ]
            # The tolerance is on the sum over the rows; its sign is not looked at, so 0 could stop it by rounding.
            model = GeneralMixtureModel(
                parts, priors=_single(start.weights), max_iter=max_iter, tol=tol * len(x) if tol else -np.inf
            )
            model.fit(rows)
            means = np.array([part.means.detach().numpy() for part in model.distributions], dtype=np.float64)
            values = np.array([part.covs.detach().numpy() for part in model.distributions], dtype=np.float64)
            weights = model.priors.detach().numpy().astype(np.float64)
            mixture = Mixture(weights / weights.sum(), means, covariance_of(kind, values, start.n_features))
            return Solution(mixture, -1)  # it does not tell how many iterations it took

        return work


@dataclass(frozen=True)
class Gmmx:
    """`EMFitter` on JAX; it is compiled once before the clock runs."""

    name: str = "gmmx, float32"
    kinds: tuple[str, ...] = ("full", "diag")

    @property
    def missing(self) -> str | None:
        return absence("gmmx", ("jax", "gmmx"))

    def prepare(self, x: Floats, start: Mixture) -> Work:
        import jax.numpy as jnp
        from gmmx import EMFitter, GaussianMixtureModelJax

        kind, rows = start.covariance.kind, jnp.asarray(_single(x))
        model = GaussianMixtureModelJax.from_squeezed(
            means=jnp.asarray(_single(start.means)),
            covariances=jnp.asarray(_single(start.covariance.values)),
            weights=jnp.asarray(_single(start.weights)),
            covariance_type=kind,
        )
        compiled: set[tuple[int, float]] = set()

        def work(max_iter: int, tol: float) -> Solution:
            result = EMFitter(max_iter=max_iter, tol=tol, reg_covar=REG).fit(rows, model)
            weights = np.asarray(result.gmm.weights, dtype=np.float64).ravel()
            means = np.asarray(result.gmm.means, dtype=np.float64).reshape(start.means.shape)
            values = np.asarray(result.gmm.covariances.values_numpy, dtype=np.float64)
            mixture = Mixture(weights / weights.sum(), means, covariance_of(kind, values, start.n_features))
            return Solution(mixture, int(result.n_iter))

        def compiled_work(max_iter: int, tol: float) -> Solution:
            if (max_iter, tol) not in compiled:
                compiled.add((max_iter, tol))
                work(max_iter, tol)
            return work(max_iter, tol)

        return compiled_work


def _single(values: Floats) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


PEERS = (Pomegranate(), Gmmx())
