"""The methods: anything with a `name`, the covariances it knows, and `prepare(x, k, kind, seed)`.

What `prepare` returns is timed, and finds its own start: one, or as many as the method is named after. Tolerance and
largest number of iterations are those that the libraries have in common by default, 1e-3 and 100.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as RivalMixture
from sklearn.preprocessing import StandardScaler

from benchmarks.gaussian.problems import KINDS
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


class Method(Protocol):
    """A library with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def missing(self) -> str | None: ...

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work: ...


def mixture_of(model: RivalMixture | GaussianMixture, kind: str) -> Mixture:
    """The parameters of a fitted estimator, so that all densities are evaluated by the same code."""
    covariance = covariance_of(kind, model.covariances_, model.means_.shape[1])
    return Mixture(np.asarray(model.weights_), np.asarray(model.means_), covariance)


def fitted(model: RivalMixture | GaussianMixture, x: Floats, kind: str) -> Mixture:
    """Fit an estimator; whether it converged is not asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture_of(model.fit(x), kind)


@dataclass(frozen=True)
class Scoremix:
    """One start of this library."""

    init: Literal["global", "diffusion", "kmeans"]
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    @property
    def name(self) -> str:
        return f"scoremix, {self.init}"

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        model = GaussianMixture(k, covariance_type=kind, init_params=self.init, random_state=seed)
        return lambda: Fitted(fitted(model, x, kind))


@dataclass(frozen=True)
class ScoremixAuto:
    """This library finds the number of components too; the `k` it is told does not matter."""

    name: str = "scoremix, auto"
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        model = GaussianMixture(n_components="auto", covariance_type=kind, random_state=seed)
        return lambda: Fitted(fitted(model, x, kind))


@dataclass(frozen=True)
class ScikitLearn:
    """Starts of scikit-learn; `scaled` behind its `StandardScaler`."""

    n_init: int = 1
    init: Literal["kmeans", "k-means++"] = "kmeans"
    scaled: bool = False
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    @property
    def name(self) -> str:
        starts = "" if self.n_init == 1 else f", {self.n_init} starts"
        return f"scikit-learn{starts}{'' if self.init == 'kmeans' else ', k-means++'}{', scaled' * self.scaled}"

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        model = RivalMixture(k, covariance_type=kind, n_init=self.n_init, init_params=self.init, random_state=seed)

        def work() -> Fitted:
            if not self.scaled:
                return Fitted(fitted(model, x, kind))
            scaler = StandardScaler().fit(x)
            return Fitted(fitted(model, scaler.transform(x), kind), scaler.mean_, scaler.scale_)

        return work


@dataclass(frozen=True)
class Grid:
    """scikit-learn's BIC over numbers of components, one start each: the `k` it is told is the largest it tries."""

    name: str = "scikit-learn, BIC grid"
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    def prepare(self, x: Floats, k: int, kind: str, seed: int) -> Work:
        def work() -> Fitted:
            models = [RivalMixture(m, covariance_type=kind, random_state=seed) for m in range(1, k + 1)]
            mixtures = [fitted(model, x, kind) for model in models]
            return Fitted(mixtures[int(np.argmin([model.bic(x) for model in models]))])

        return work


GLOBAL, DIFFUSION, AUTO = Scoremix("global"), Scoremix("diffusion"), ScoremixAuto()
ONE, TEN, PLUS_PLUS, GRID = ScikitLearn(), ScikitLearn(10), ScikitLearn(init="k-means++"), Grid()
SCALED, TEN_SCALED = ScikitLearn(scaled=True), ScikitLearn(10, scaled=True)
