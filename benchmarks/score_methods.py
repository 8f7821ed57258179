"""The methods of the score: ``prepare(x, noise_scale, seed)``; all get the same rows and may know their noise.

`DEFAULT` is the default of the library, a mixture of atoms under the known noise; `SOFT` and `HARD` are the piecewise
polynomials of the paper alone, with soft or hard gates.

`BIC` is scikit-learn's mixture, its number of components and shape chosen by the criterion. The grid runs over 1, 2,
..., 10 and then in steps of a fifth, for spherical and for full covariances, each until three candidates in a row do
not improve it; then steps are halved around the best, down to one. All fits count towards the time, as they do for a
user.

`KDE` is scikit-learn's kernel density, its bandwidth chosen on held-out rows. Bandwidths between 0.1 and 2 times
Scott's rule compete by the log likelihood of a fifth of at most 5,000 rows; the winner is rescaled to all rows by
``n^(-1/(d+4))``, the rate at which the best bandwidth falls.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from benchmarks.methods import Fitted, Method, closed_form, kernel_score, tweedie
from scoremix import DiffusionMixture
from scoremix.arrays import Floats

MAX_COMPONENTS, PATIENCE, SEARCH_ROWS = 200, 3, 5000

Work = Callable[[], Fitted]


def diffusion(x: Floats, noise_scale: float, seed: int, **settings: Any) -> Work:
    """This library."""
    model = DiffusionMixture(noise_scale=noise_scale, random_state=seed, **settings)

    def sample(n: int, rng: np.random.Generator) -> Floats:
        return np.asarray(model.sample(n, random_state=int(rng.integers(2**31))))

    def work() -> Fitted:
        model.fit(x)
        return Fitted(sample, model.ladder_.score, model.posterior_mean, model.noise_levels_, model.n_cells_)

    return work


def fit_default(x: Floats) -> None:
    """For `benchmarks.large`."""
    DEFAULT.prepare(x, 1.0, 0)()


def mixture_by_bic(x: Floats, noise_scale: float, seed: int) -> Work:
    """Smallest criterion over both shapes, one start each, scikit-learn's defaults otherwise."""

    def work() -> Fitted:
        _, best = min((searched(x, kind, seed) for kind in ("spherical", "full")), key=lambda pair: pair[0])
        mixture, k = closed_form(best), best.n_components
        return Fitted(mixture.sample, mixture.score, tweedie(mixture.score, noise_scale), n_cells=k, row_cost=k)

    return work


def searched(x: Floats, kind: str, seed: int) -> tuple[float, GaussianMixture]:
    """The least criterion of one shape, and its mixture."""
    tried: dict[int, tuple[float, GaussianMixture]] = {}

    def criterion(k: int) -> float:
        if k not in tried:
            model = GaussianMixture(k, covariance_type=kind, random_state=seed, max_iter=200).fit(x)
            tried[k] = model.bic(x), model
        return tried[k][0]

    largest = min(MAX_COMPONENTS, len(x) // 2)
    best, since_best = 1, 0
    for k in candidates(largest):
        best, since_best = (k, 0) if criterion(k) <= criterion(best) else (best, since_best + 1)
        if since_best == PATIENCE:
            break
    step = best // 10
    while step >= 1:
        best = min((best, max(1, best - step), min(largest, best + step)), key=criterion)
        step //= 2
    return tried[best]


def candidates(largest: int) -> Iterator[int]:
    """Numbers of components, rising."""
    k = 1
    while k <= largest:
        yield k
        k = max(k + 1, round(1.2 * k)) if k >= 10 else k + 1


def kernel_density(x: Floats, noise_scale: float, seed: int) -> Work:
    """Kernels of the bandwidth that held-out rows choose."""

    def work() -> Fitted:
        n, d = x.shape
        some = x[np.random.default_rng(seed).permutation(n)[:SEARCH_ROWS]]
        held_out, rest = np.split(some, [len(some) // 5])
        scott = float(np.sqrt(x.var(axis=0).mean())) * len(rest) ** (-1 / (d + 4))
        bandwidths = scott * np.geomspace(0.1, 2, 12)
        gains = [KernelDensity(bandwidth=h, rtol=1e-4).fit(rest).score(held_out) for h in bandwidths]
        bandwidth = float(bandwidths[np.argmax(gains)]) * (n / len(rest)) ** (-1 / (d + 4))
        kde, score = KernelDensity(bandwidth=bandwidth).fit(x), kernel_score(x, bandwidth)
        return Fitted(partial(drawn, kde), score, tweedie(score, noise_scale), row_cost=n)

    return work


def drawn(kde: KernelDensity, n: int, rng: np.random.Generator) -> Floats:
    """Samples of a kernel density."""
    return np.asarray(kde.sample(n, int(rng.integers(2**31))))


DEFAULT = Method("scoremix", diffusion)
SOFT, HARD = (
    Method(f"{gates} cells", partial(diffusion, correction_of="nothing", gates=gates)) for gates in ("soft", "hard")
)
BIC = Method("GaussianMixture, BIC", mixture_by_bic, max_rows=200_000)
KDE = Method("KDE, cross-validated", kernel_density, max_rows=100_000)
