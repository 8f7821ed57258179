"""What is made of a known mixture: samples, imputed rows, mixtures of some columns, other estimators.

Known is a mixture that was fitted, that was set by hand, or that was built from its parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Self

import numpy as np
import sklearn.mixture
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from scoremix.arrays import Array, indices_like, like, precise_like, to_numpy
from scoremix.estimators.attributes import ParameterAttributes
from scoremix.estimators.fitted_mixture import FittedMixture
from scoremix.estimators.mixture_inputs import column_indices, given_values, known_mixture
from scoremix.estimators.parameters import OWN_STARTS, SAMPLES
from scoremix.learning.em.missing import impute
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import on_one_blas_thread


@on_one_blas_thread
class KnownMixture(ParameterAttributes, FittedMixture, BaseEstimator):
    """Base of an estimator whose attributes are the mixture, which may have missing values."""

    missing_values: float | None
    random_state: Any
    _stream: tuple[int, np.random.RandomState] | None = None

    @abstractmethod
    def _known(self, mixture: Mixture) -> Self:
        """Become the estimator of a known mixture."""

    @abstractmethod
    def _plain(self, mixture: Mixture) -> Any:
        """A `GaussianMixture`, of whatever class this is: constructors of other classes are not known."""

    def bic(self, X: ArrayLike) -> float:
        """Bayesian information criterion.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        float
            ``-2 log L + p log n``: the lower the better.
        """
        n = self._informative(self._asked(X), None).n_rows
        return -2 * self.score(X) * n + self._n_parameters() * float(np.log(n))

    def aic(self, X: ArrayLike) -> float:
        """Akaike information criterion.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        float
            ``-2 log L + 2 p``: the lower the better.
        """
        n = self._informative(self._asked(X), None).n_rows
        return -2 * self.score(X) * n + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[Array, Array]:
        """Draw independent samples, in random order.

        Parameters
        ----------
        n_samples : int, default=1
            How many, at least 1.
        random_state : int, RandomState or None
            Seed. With None samples differ from call to call; they are those of a model that was fitted alike, where
            the constructor's `random_state` is a number.

        Returns
        -------
        X : array of shape (n_samples, d)
            Samples, in double precision and in the library of `means_`.
        y : array of shape (n_samples,)
            Their components.

        Raises
        ------
        ValueError
            If `n_samples` is not a whole number >= 1.
        """
        check_is_fitted(self)
        try:
            SAMPLES.check("n_samples", n_samples)
        except ValueError as error:
            raise ValueError(f"Invalid value for 'n_samples': {error}") from None
        seeds = self._seeds() if random_state is None else check_random_state(random_state)
        rng = np.random.default_rng(seeds.randint(2**31, size=4))
        X, y = self._mixture.sample(int(n_samples), rng)
        return precise_like(X, self.means_), indices_like(y, self.means_)

    def impute(self, X: ArrayLike) -> Array:
        """Replace missing values by their expectation given the rest of the row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples with NaN where values are missing, whatever `missing_values` says.

        Returns
        -------
        array of shape (n, d)
            In the library of X. A row without any value becomes the mean of the mixture.
        """
        x = self._asked(X, allow_nan=True)
        return like(impute(self._mixture, to_numpy(x)), x)

    def conditional(self, given: Mapping[int | str, float]) -> Self:
        """The mixture of the other columns, given the values of some.

        Parameters
        ----------
        given : mapping of column to float
            Values of columns, which are named by number or, where X had names, by name.

        Returns
        -------
        GaussianMixture
            Fitted, over the remaining columns in their order.

        Raises
        ------
        ValueError
            If a column is not known or given twice, none is given or none remains, or a value is not finite.
        """
        check_is_fitted(self)
        columns = column_indices(given, self.n_features_in_, self._names())
        rest = np.setdiff1d(np.arange(self.n_features_in_), columns)
        if not len(rest):
            raise ValueError("every column is given: leave at least one out, which the others say something about.")
        return self._derived(self._mixture.conditional(columns, given_values(given.values())), rest)

    def marginal(self, columns: Iterable[int | str]) -> Self:
        """The mixture of some columns.

        Parameters
        ----------
        columns : iterable of int or str
            Columns by number or, where X had names, by name; in the order that is wanted.

        Returns
        -------
        GaussianMixture
            Fitted, over these columns.

        Raises
        ------
        ValueError
            If a column is not known or given twice, or none is given.
        """
        check_is_fitted(self)
        chosen = column_indices(columns, self.n_features_in_, self._names())
        return self._derived(self._mixture.marginal(chosen), chosen)

    @classmethod
    def from_parameters(
        cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, covariance_type: str = "full"
    ) -> Self:
        """Build a fitted estimator from known parameters.

        Parameters
        ----------
        weights : array-like of shape (k,)
            Weights in [0, 1], summing to 1.
        means : array-like of shape (k, d)
            Means.
        covariances : array-like
            Covariances, of shape (k, d, d), (d, d), (k, d) or (k,), positive definite.
        covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
            What they are.

        Returns
        -------
        GaussianMixture
            As if it had been fitted.

        Raises
        ------
        ValueError
            If parameters do not fit together, or are not those of a mixture.
        """
        mixture = known_mixture(weights, means, covariances, covariance_type)
        return cls(mixture.n_components, covariance_type=covariance_type)._known(mixture)

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """Return the same mixture as a fitted estimator of scikit-learn.

        Returns
        -------
        sklearn.mixture.GaussianMixture
            With the same parameters and fitted attributes, but for those that scikit-learn does not know; a refit there
            starts by k-means where the start was "global" or "diffusion".
        """
        check_is_fitted(self)
        params = self.get_params() | {
            "n_components": self.n_components_,
            "covariance_type": self._mixture.covariance.kind,
        }
        for name in ("missing_values", "acceleration", "covariance_prior", "criterion", "max_components"):
            del params[name]
        if params["init_params"] in OWN_STARTS:
            params["init_params"] = "kmeans"
        theirs = sklearn.mixture.GaussianMixture(**params)
        for name, value in vars(self).items():
            if name.endswith("_"):
                setattr(theirs, name, deepcopy(value))
        return theirs

    def _n_parameters(self) -> int:
        """Number of free parameters."""
        check_is_fitted(self)
        return self._mixture.n_parameters

    def _seeds(self) -> np.random.RandomState:
        """Where the seeds of samples come from: if `random_state` is a number, a stream that it begins."""
        state = self.random_state
        if not isinstance(state, int | np.integer):
            own: np.random.RandomState = check_random_state(state)  # goes on by itself
            return own
        if self._stream is None or self._stream[0] != state:
            self._stream = int(state), np.random.RandomState(int(state))
            self._stream[1].randint(2**31, size=4)  # which the starts had
        return self._stream[1]

    def _derived(self, mixture: Mixture, columns: NDArray[np.intp]) -> Self:
        """The estimator of a mixture of some of the columns."""
        model: Self = self._plain(mixture)  # to a type checker, and for all but subclasses
        names = self._names()
        if names is not None:
            model.feature_names_in_ = names[columns]
        return model

    def _names(self) -> NDArray[Any] | None:
        return getattr(self, "feature_names_in_", None)
