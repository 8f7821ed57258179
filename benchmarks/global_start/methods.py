"""The methods of one start: ``prepare(x, k, kind, seed)``.

What `prepare` returns is timed, and finds its own start: one, or as many as the method is named after. Tolerance and
largest number of iterations are those that the libraries have in common by default, 1e-3 and 100.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as RivalMixture
from sklearn.preprocessing import StandardScaler

from benchmarks.methods import Method
from scoremix import GaussianMixture
from scoremix.arrays import Floats
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture


@dataclass(frozen=True)
class Fitted:
    """A fitted mixture of the columns ``(x - origin) / scale``."""

    mixture: Mixture
    origin: float | Floats = 0.0
    scale: Floats = field(default_factory=lambda: np.ones(1))

    def log_density(self, x: Floats) -> Floats:
        """Log density in the units of x."""
        inside = self.mixture.log_density((x - self.origin) / self.scale)
        return np.asarray(inside - np.log(self.scale).sum())

    def predict(self, x: Floats) -> NDArray[np.intp]:
        """Most probable component of every row."""
        return np.asarray(self.mixture.predict((x - self.origin) / self.scale))


Work = Callable[[], Fitted]


def fitted(model: RivalMixture | GaussianMixture, x: Floats, kind: str) -> Mixture:
    """What an estimator learns, so that all densities are evaluated by the same code; convergence is not asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x)
    covariance = covariance_of(kind, model.covariances_, x.shape[1])
    return Mixture(np.asarray(model.weights_), np.asarray(model.means_), covariance)


def scoremix(x: Floats, k: int, kind: str, seed: int, **settings: Any) -> Work:
    """One start of this library."""
    model = GaussianMixture(**{"n_components": k} | settings, covariance_type=kind, random_state=seed)
    return lambda: Fitted(fitted(model, x, kind))


def scikit_learn(x: Floats, k: int, kind: str, seed: int, scaled: bool = False, **settings: Any) -> Work:
    """Starts of scikit-learn; `scaled` behind its `StandardScaler`."""
    model = RivalMixture(k, covariance_type=kind, random_state=seed, **settings)

    def work() -> Fitted:
        if not scaled:
            return Fitted(fitted(model, x, kind))
        scaler = StandardScaler().fit(x)
        return Fitted(fitted(model, scaler.transform(x), kind), scaler.mean_, scaler.scale_)

    return work


def bic_grid(x: Floats, k: int, kind: str, seed: int) -> Work:
    """scikit-learn's BIC over numbers of components, one start each: the `k` it is told is the largest it tries."""

    def work() -> Fitted:
        models = [RivalMixture(m, covariance_type=kind, random_state=seed) for m in range(1, k + 1)]
        mixtures = [fitted(model, x, kind) for model in models]
        return Fitted(mixtures[int(np.argmin([model.bic(x) for model in models]))])

    return work


GLOBAL, DIFFUSION = (Method(f"scoremix, {s}", partial(scoremix, init_params=s)) for s in ("global", "diffusion"))
AUTO = Method("scoremix, auto", partial(scoremix, n_components="auto"))  # the k it is told does not matter
ONE = Method("scikit-learn", scikit_learn)
TEN = Method("scikit-learn, 10 starts", partial(scikit_learn, n_init=10))
PLUS_PLUS = Method("scikit-learn, k-means++", partial(scikit_learn, init_params="k-means++"))
SCALED = Method("scikit-learn, scaled", partial(scikit_learn, scaled=True))
TEN_SCALED = Method("scikit-learn, 10 starts, scaled", partial(scikit_learn, n_init=10, scaled=True))
GRID = Method("scikit-learn, BIC grid", bic_grid)
