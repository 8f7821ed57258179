"""The noise scale of data that do not tell it: the smallest one consistent with their local spectrum.

Data ``mu + sigma0 z`` look, near any point, at least as wide as sigma0 in every direction. So a crude mixture with full
covariances (scikit-learn's, its number of components by BIC, on a few thousand rows in the leading directions) is asked
for its narrowest direction; where there are more directions than that, the bulk of the remaining spectrum is pure noise
and is asked as well.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from scoremix.arrays import Floats

ROWS = 4000  # Rows the crude mixture is fitted to, at most.
DIRECTIONS = 6  # Leading directions the crude mixture lives in, at most.


def local_noise_scale(points: Floats, rng: np.random.Generator) -> float:
    """Estimate the standard deviation of isotropic noise in the data.

    points (n, d), a sample of the rows, n >= 2; `ROWS` of them are enough.

    A covariance estimated from few rows has a smallest eigenvalue that is too small; so has the estimate here (by about
    ``sqrt(d / rows of the component)``). Too small a noise scale costs samples, too large a one is wrong: the error
    is on the safe side.
    """
    n, d = points.shape
    centered = points - points.mean(axis=0)
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)
    widths = singular / np.sqrt(n)
    largest = float(widths[0])
    kept = min(DIRECTIONS, len(widths))
    coordinates = centered @ axes[:kept].T / largest
    crude = _crude_mixture(coordinates, rng)
    heavy = crude.weights_ >= min(0.05, crude.weights_.max())
    scales = [largest * float(np.sqrt(np.linalg.eigvalsh(crude.covariances_[heavy]).min()))]
    if d > kept and n > d:
        scales.append(float(np.median(widths[kept:])))
    return max(min(scales), 1e-3 * largest)


def _crude_mixture(coordinates: Floats, rng: np.random.Generator) -> GaussianMixture:
    """Fit mixtures of more and more components until BIC has not improved twice."""
    n, d = coordinates.shape
    best, worse, seed = None, 0, int(rng.integers(2**31))
    for k in (1, 2, 3, 4, 6, 8, 12, 16, 24):
        if k > 1 and n < 5 * k * (d + 1):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is only a crude estimate
            mixture = GaussianMixture(k, reg_covar=1e-6, random_state=seed).fit(coordinates)
        score = mixture.bic(coordinates)
        if best is None or score < best[0]:
            best, worse = (score, mixture), 0
        else:
            worse += 1
            if worse == 2:
                break
    if best is None:
        raise ValueError("There are no points.")
    return best[1]
