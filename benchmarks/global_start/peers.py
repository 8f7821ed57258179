"""Peers that need PyTorch or JAX, with the starts that they choose themselves, in single precision.

Both are optional; where one is missing, the benchmark leaves it out and says so.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.gaussian.methods import REG
from benchmarks.gaussian.peers import absence
from benchmarks.global_start.methods import Fitted, Work
from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture


@dataclass(frozen=True)
class Pomegranate:
    """`GeneralMixtureModel` from its few iterations of k-means; the tolerance of the others."""

    name: str = "pomegranate, float32"
    kinds: tuple[str, ...] = ("full", "diag")

    @property
    def missing(self) -> str | None:
        return absence("pomegranate", ("torch", "pomegranate"))

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel

        torch.set_num_threads(1)
        rows = torch.tensor(x, dtype=torch.float32)

        def work() -> Fitted:
            parts = [Normal(covariance_type=kind) for _ in range(k)]
            # Its tolerance is on the sum over the rows.
            model = GeneralMixtureModel(parts, max_iter=100, tol=1e-3 * len(x), random_state=seed).fit(rows)
            means = np.array([part.means.detach().numpy() for part in model.distributions])
            values = np.array([part.covs.detach().numpy() for part in model.distributions])
            return Fitted(_mixture(model.priors.detach().numpy(), means, values, kind))

        return work


@dataclass(frozen=True)
class Gmmx:
    """Its estimator from k-means; it is compiled once before the clock runs."""

    name: str = "gmmx, float32"
    kinds: tuple[str, ...] = ("full", "diag")

    @property
    def missing(self) -> str | None:
        return absence("gmmx", ("jax", "gmmx"))

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        import jax.numpy as jnp
        from gmmx.gmm import GaussianMixtureSKLearn

        rows = jnp.asarray(np.asarray(x, dtype=np.float32))

        def work() -> Fitted:
            model = GaussianMixtureSKLearn(k, covariance_type=kind, reg_covar=REG, random_state=seed).fit(rows)
            means, values = np.asarray(model.means_), np.asarray(model.covariances_)
            return Fitted(_mixture(np.asarray(model.weights_), means, values, kind))

        work()
        return work


def _mixture(weights: Floats, means: Floats, values: Floats, kind: str) -> Mixture:
    """Parameters of single precision, in double."""
    weights, d = np.asarray(weights, dtype=np.float64).ravel(), means.shape[-1]
    means = np.asarray(means, dtype=np.float64).reshape(len(weights), d)
    return Mixture(weights / weights.sum(), means, covariance_of(kind, values, d))


PEERS = (Pomegranate(), Gmmx())
