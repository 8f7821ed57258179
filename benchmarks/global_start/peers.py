"""Peers that need PyTorch or JAX, with the starts that they choose themselves, in single precision."""

from benchmarks.gaussian.methods import REG
from benchmarks.gaussian.peers import mixture_of, peers, pomegranate_mixture, single
from benchmarks.global_start.methods import Fitted, Work
from scoremix.arrays import Floats


def pomegranate(x: Floats, k: int, kind: str, seed: int) -> Work:
    """`GeneralMixtureModel` from its few iterations of k-means; the tolerance of the others."""
    import torch
    from pomegranate.distributions import Normal

    torch.set_num_threads(1)
    rows = torch.tensor(x, dtype=torch.float32)
    # Its tolerance is on the sum over the rows.
    settings = {"max_iter": 100, "tol": 1e-3 * len(x), "random_state": seed}

    def work() -> Fitted:
        parts = [Normal(covariance_type=kind) for _ in range(k)]
        return Fitted(pomegranate_mixture(parts, rows, kind, **settings))

    return work


def gmmx(x: Floats, k: int, kind: str, seed: int) -> Work:
    """Its estimator from k-means; it is compiled once before the clock runs."""
    import jax.numpy as jnp
    from gmmx.gmm import GaussianMixtureSKLearn

    rows = jnp.asarray(single(x))

    def work() -> Fitted:
        model = GaussianMixtureSKLearn(k, covariance_type=kind, reg_covar=REG, random_state=seed).fit(rows)
        return Fitted(mixture_of(model.weights_, model.means_, model.covariances_, kind))

    work()
    return work


PEERS = peers(pomegranate, gmmx)
