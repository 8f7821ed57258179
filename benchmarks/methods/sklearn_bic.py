"""scikit-learn's GaussianMixture, its number of components and shape chosen by the BIC.

The grid runs over 1, 2, ..., 10 and then in steps of a fifth, for spherical and for full covariances, each
until three candidates in a row do not improve the criterion; then steps are halved around the best, down to
one. All fits count towards the time, as they do for a user.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture

from benchmarks.methods.kernels import FittedMixture
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.truth import FloatArray

MAX_COMPONENTS = 200
PATIENCE = 3


@dataclass(frozen=True)
class SklearnBIC:
    """Smallest criterion over a grid of fits, one start each, scikit-learn's defaults otherwise."""

    name: str = "GaussianMixture, BIC"
    max_rows: int = 200_000
    covariance_types: tuple[str, ...] = ("spherical", "full")

    def fit(self, x: FloatArray, noise_scale: float, seed: int) -> FittedMixture:
        best = min((self._search(x, kind, seed) for kind in self.covariance_types), key=lambda pair: pair[0])[1]
        return FittedMixture(_closed_form(best), noise_scale)

    def _search(self, x: FloatArray, kind: str, seed: int) -> tuple[float, GaussianMixture]:
        tried: dict[int, tuple[float, GaussianMixture]] = {}

        def criterion(k: int) -> float:
            if k not in tried:
                model = GaussianMixture(k, covariance_type=kind, random_state=seed, max_iter=200).fit(x)
                tried[k] = model.bic(x), model
            return tried[k][0]

        largest = min(MAX_COMPONENTS, len(x) // 2)
        best, since_best = 1, 0
        for k in _grid(largest):
            best, since_best = (k, 0) if criterion(k) <= criterion(best) else (best, since_best + 1)
            if since_best == PATIENCE:
                break
        step = best // 10
        while step >= 1:
            best = min((best, max(1, best - step), min(largest, best + step)), key=criterion)
            step //= 2
        return tried[best]


def _grid(largest: int) -> Iterator[int]:
    k = 1
    while k <= largest:
        yield k
        k = max(k + 1, round(1.2 * k)) if k >= 10 else k + 1


def _closed_form(model: GaussianMixture) -> GaussianMixtureTruth:
    if model.covariance_type == "spherical":
        variances, axes = np.repeat(model.covariances_[:, None], model.n_features_in_, axis=1), None
    else:
        variances, axes = np.linalg.eigh(model.covariances_)
    return GaussianMixtureTruth(model.weights_, model.means_, variances, axes, None)
