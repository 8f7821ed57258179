"""The methods: anything with a `name`, the covariances it knows, and `prepare(x, start)`.

`prepare` brings rows and start into the form that a library wants; what it returns is timed. A method whose library is
not installed says so in `missing`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks.gaussian.problems import KINDS
from scoremix.arrays import Floats
from scoremix.learning.em.em import run_em
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

REG = 1e-6
"""Added to variances by all methods: scikit-learn's default."""


@dataclass(frozen=True)
class Solution:
    """A fitted mixture and how many iterations it took."""

    mixture: Mixture
    n_iter: int


Work = Callable[[int, float], Solution]
"""Fit for at most so many iterations, until the mean log likelihood changes by less than so much."""


class Method(Protocol):
    """A library with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def missing(self) -> str | None: ...

    def prepare(self, x: Floats, start: Mixture) -> Work: ...


@dataclass(frozen=True)
class ScikitLearn:
    """scikit-learn's `GaussianMixture`, double precision, all three parameters of the start given."""

    name: str = "scikit-learn"
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    def prepare(self, x: Floats, start: Mixture) -> Work:
        kind = start.covariance.kind
        factor = start.covariance.precisions_cholesky()
        precisions = factor @ np.swapaxes(factor, -1, -2) if kind in ("full", "tied") else factor**2

        def work(max_iter: int, tol: float) -> Solution:
            model = GaussianMixture(
                start.n_components,
                covariance_type=kind,
                weights_init=start.weights,
                means_init=start.means,
                precisions_init=precisions,
                reg_covar=REG,
                max_iter=max_iter,
                tol=tol,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # iterations are counted, not converged
                model.fit(x)
            covariance = covariance_of(kind, model.covariances_, start.n_features)
            return Solution(Mixture(model.weights_, model.means_, covariance), model.n_iter_)

        return work


@dataclass(frozen=True)
class Scoremix:
    """EM of this library; rows of the precision asked for."""

    precision: Literal["float64", "float32"] = "float64"
    n_threads: int = 1
    kinds: tuple[str, ...] = KINDS
    missing: str | None = None

    @property
    def name(self) -> str:
        return "scoremix" if self.precision == "float64" else "scoremix, float32"

    def prepare(self, x: Floats, start: Mixture) -> Work:
        source = ArraySource(x if self.precision == "float64" else x.astype(np.float32))

        def work(max_iter: int, tol: float) -> Solution:
            found = run_em(source, start, tol=tol, max_iter=max_iter, reg=REG, n_threads=self.n_threads)
            return Solution(found.mixture, found.n_passes)

        return work


RIVAL, DOUBLE, SINGLE = ScikitLearn(), Scoremix(), Scoremix("float32")
