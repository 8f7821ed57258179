"""What a fitted mixture answers: labels, posterior probabilities, densities, scores, denoised points.

Two estimators fit a `Mixture`, by EM and by gradient descent, and answer alike: they say how samples are validated
(`_asked`), what the mixture is (`_present`) and where missing values may be, the rest stands here.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin

from scoremix.arrays import Array
from scoremix.estimators.checks import informative, mean_log_density, validated_sigma
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import on_one_blas_thread
from scoremix.samples.source import ArraySource


@on_one_blas_thread
class FittedMixture(DensityMixin):
    """Base of an estimator of a `Mixture`."""

    @abstractmethod
    def _present(self) -> Mixture:
        """The mixture that the model is."""

    @abstractmethod
    def _asked(self, X: Any, allow_nan: bool | None = None) -> Array:
        """Validate samples that a fitted model is asked about; NaN entries are missing values where they may be."""

    def _labels(self, x: Array) -> NDArray[np.intp] | Array:
        return self._present().predict(x)

    def _posterior(self, x: Array) -> tuple[Array, Array]:
        """Log densities (n,) and posterior probabilities (n, k)."""
        return self._present().evaluate(x)

    def _log_density(self, x: Array) -> Array:
        return self._present().log_density(x)

    def _informative(self, x: Array, sample_weight: ArrayLike | None, at_least: int = 1) -> ArraySource:
        """The samples that say something, and how much."""
        return informative(x, sample_weight, at_least=at_least)

    def predict(self, X: ArrayLike) -> NDArray[np.intp] | Array:
        """Most probable component of every sample.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        array of shape (n,)
            Index into `means_`, in the library of X.
        """
        return self._labels(self._asked(X))

    def predict_proba(self, X: ArrayLike) -> Array:
        """Posterior probabilities of the components.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        array of shape (n, k)
            Rows sum to 1; in the library of X.
        """
        return self._posterior(self._asked(X))[1]

    def score_samples(self, X: ArrayLike) -> Array:
        """Log density of every sample: of its known entries, where some are missing.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        array of shape (n,)
            In nats, in the library of X.
        """
        return self._log_density(self._asked(X))

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log density of samples.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.
        y : None
            Ignored; here for scikit-learn's conventions.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the mean.

        Returns
        -------
        float
            In nats per sample (per unit of weight).
        """
        return mean_log_density(self._log_density, self._informative(self._asked(X), sample_weight))

    def score_function(self, X: ArrayLike, sigma: ArrayLike = 0.0) -> Array:
        """Gradient of the log density of the mixture with noise `sigma` added.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Points, without missing values.
        sigma : float or array-like of shape (n,), default=0.0
            Standard deviation of that noise, >= 0, one or one per row. One per row costs O(n k d^2).

        Returns
        -------
        array of shape (n, d)
            In the library of X.

        Raises
        ------
        ValueError
            If X does not fit the fitted columns or has NaN, or sigma is negative or of the wrong shape.
        """
        x = self._asked(X, allow_nan=False)
        return self._present().score(x, validated_sigma(sigma, x))

    def denoise(self, X: ArrayLike, sigma: ArrayLike) -> Array:
        """Expected clean sample ``E[x | y]`` of ``y = x + sigma z``: ``y + sigma^2 score``.

        Errors as for `score_function`.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Noisy samples.
        sigma : float or array-like of shape (n,)
            Standard deviation of the noise added to the data, >= 0.

        Returns
        -------
        array of shape (n, d)
            In the library of X.
        """
        x = self._asked(X, allow_nan=False)
        return self._present().denoise(x, validated_sigma(sigma, x))
