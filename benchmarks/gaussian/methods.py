"""The methods of EM: ``prepare(x, start)``."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks.gaussian.problems import clusters
from benchmarks.methods import Method
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


def scikit_learn(x: Floats, start: Mixture) -> Work:
    """scikit-learn's `GaussianMixture`, double precision, all three parameters of the start given."""
    kind, factor = start.covariance.kind, start.covariance.precisions_cholesky()
    precisions = factor @ np.swapaxes(factor, -1, -2) if kind in ("full", "tied") else factor**2
    given = {"weights_init": start.weights, "means_init": start.means, "precisions_init": precisions}

    def work(max_iter: int, tol: float) -> Solution:
        settings = {"reg_covar": REG, "max_iter": max_iter, "tol": tol}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # iterations are counted, not converged
            model = GaussianMixture(start.n_components, covariance_type=kind, **given, **settings).fit(x)
        covariance = covariance_of(kind, model.covariances_, start.n_features)
        return Solution(Mixture(model.weights_, model.means_, covariance), model.n_iter_)

    return work


def scoremix(x: Floats, start: Mixture, precision: type = np.float64, n_threads: int = 1) -> Work:
    """EM of this library; rows of the precision asked for."""
    source = ArraySource(x.astype(precision, copy=False))

    def work(max_iter: int, tol: float) -> Solution:
        found = run_em(source, start, tol=tol, max_iter=max_iter, reg=REG, n_threads=n_threads)
        return Solution(found.mixture, found.n_passes)

    return work


RIVAL, DOUBLE = Method("scikit-learn", scikit_learn), Method("scoremix", scoremix)
SINGLE = Method("scoremix, float32", partial(scoremix, precision=np.float32))


def fit_briefly(x: Floats, name: str, n_threads: str, kind: str, n_components: str) -> None:
    """Two iterations, for `benchmarks.large`."""
    start = clusters(int(n_components), x.shape[1]).start(kind)
    work = scikit_learn(x, start) if name == RIVAL.name else scoremix(x, start, n_threads=int(n_threads))
    work(2, 0.0)
