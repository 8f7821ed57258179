"""DiffusionMixture: the score of a mixture at every noise level, as a scikit-learn estimator.

Thin on purpose: validate, learn, set attributes. The learning is in `scoremix.learning`, the model is a `Ladder`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from scoremix.arrays import Array, Floats, as_floating, like, to_numpy
from scoremix.estimators.inputs import (
    check_choice,
    check_number,
    check_parameters,
    moments_of,
    validated_samples,
    validated_sigma,
    warn_if_far,
)
from scoremix.estimators.model_file import pack
from scoremix.features import Hermite
from scoremix.learning.clusters import Clusters, find_clusters
from scoremix.learning.noise_scale import ROWS, local_noise_scale
from scoremix.learning.score_regression import LevelFit, Settings, learn_ladder
from scoremix.models.subspace import Subspace, leading_subspace
from scoremix.noise import geometric_levels, paper_levels
from scoremix.paths import FilePath
from scoremix.samples.files import Columns
from scoremix.samples.source import ArraySource
from scoremix.sampling.draw import draw
from scoremix.sampling.reverse import ancestral, dpm, probability_flow, reverse_sde
from scoremix.storage import write_model

logger = logging.getLogger("scoremix")

SAMPLERS = {"dpm": dpm, "ancestral": ancestral, "reverse_sde": reverse_sde, "probability_flow": probability_flow}


class DiffusionMixture(BaseEstimator):
    """Learn the score of a mixture of Gaussians with a diffusion model: cells, denoiser, sampler.

    The data are taken to be ``x = mu + noise_scale z``: centres mu of any law (points, balls, a manifold) plus
    isotropic Gaussian noise of known scale. No number of components is asked for. From large noise levels down to small
    ones the posterior mean is regressed on polynomials, cell by cell, and the denoised samples show where the cells of
    the next level go [1]_.

    Parameters
    ----------
    covariance : {"identity"}, default="identity"
        The noise in the data is isotropic, with standard deviation `noise_scale`.
    noise_scale : float or "auto", default=1.0
        Standard deviation of that noise, > 0, in the units of X. "auto" takes the smallest one that is
        consistent with the local spectrum of the data.
    degree : int or "auto", default="auto"
        Degree of the polynomials, at least 1 (constants alone never split the first cell); "auto" chooses 0 to 5 per
        level and cell by held-out denoising loss.
    gates : {"soft", "hard"}, default="soft"
        "hard": Voronoi cells, schedule and warm starts as published. "soft": responsibilities and one joint regression,
        several times more accurate.
    n_levels : int, default=16
        Number of noise levels, at least 2.
    sigma_min, sigma_max : float, optional
        Smallest and largest noise level; by default ``0.2 * noise_scale`` and 2.5 standard deviations of the data along
        their widest direction.
    min_weight : float in (0, 1), default=0.003
        Smallest share of the data that makes a cell of its own (a_min of the paper).
    n_draws : int, default=2
        Antithetic pairs of noise per sample and level (more where there are fewer than 4096 samples).
    validation_fraction : float in (0, 0.5], default=0.2
        Share of the rows held out when degrees are chosen. Every row is held out once: ``round(1 / fraction)`` folds.
    rank : int, optional
        Dimension of the subspace that holds the centres. By default d where that is at most 5, else every direction
        whose variance exceeds what noise alone can show (Marchenko-Pastur edge). The complement is handled exactly, as
        Gaussian.
    random_state : int, RandomState or None
        Seed of all noise and of the samples warm starts are made from.
    verbose : int, default=0
        1 logs a line per level to the logger ``scoremix``.

    Attributes
    ----------
    ladder_ : Ladder
        The learnt model: score, denoiser and posterior mean at any (y, sigma).
    noise_levels_ : ndarray of shape (n_levels,)
        Decreasing noise levels.
    noise_scale_ : float
        The noise scale that was used.
    n_cells_ : int
        Number of clusters: cells of the lowest level, those that one Gaussian explains merged.
    centers_ : ndarray of shape (n_cells_, n_features_in_)
        Means of the data in each, by decreasing weight.
    weights_ : ndarray of shape (n_cells_,)
        Their shares of the data.
    n_cells_per_level_ : ndarray of shape (n_levels,)
        Number of cells the regression used; soft cells over-cover on purpose.
    degrees_ : tuple of ndarray
        Degree of every cell, per level.
    denoising_loss_ : ndarray of shape (n_levels,)
        Held-out mean squared error of the denoiser per coordinate, ``E|D(x + sigma z, sigma) - x|^2 / d``.
    n_features_in_ : int
        Number of columns d.
    feature_names_in_ : ndarray of str
        Names of the columns, where X had them.

    Notes
    -----
    Time is linear in the number of rows and memory beyond X independent of it. Results do not depend on chunking or on
    the number of threads beyond rounding.

    References
    ----------
    .. [1] K. Gatmiry, J. Kelner, H. Lee, "Learning Mixtures of Gaussians Using Diffusion Models", COLT 2025,
       arXiv 2404.18869.

    Examples
    --------
    >>> import numpy as np
    >>> from scoremix import DiffusionMixture
    >>> rng = np.random.default_rng(0)
    >>> centers = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    >>> X = centers[rng.integers(3, size=3000)] + rng.standard_normal((3000, 2))
    >>> model = DiffusionMixture(random_state=0).fit(X)
    >>> model.n_cells_
    3
    >>> model.sample(5, random_state=0).shape
    (5, 2)
    """

    def __init__(
        self,
        covariance: str = "identity",
        noise_scale: float | str = 1.0,
        degree: int | str = "auto",
        gates: str = "soft",
        n_levels: int = 16,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        min_weight: float = 0.003,
        n_draws: int = 2,
        validation_fraction: float = 0.2,
        rank: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.covariance = covariance
        self.noise_scale = noise_scale
        self.degree = degree
        self.gates = gates
        self.n_levels = n_levels
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.min_weight = min_weight
        self.n_draws = n_draws
        self.validation_fraction = validation_fraction
        self.rank = rank
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the score of the data at every noise level.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples: anything scikit-learn takes, ``numpy.memmap`` (read in chunks) or an array of another array-API
            library, such as torch (then computed there).
        y : None
            Ignored; here for scikit-learn's conventions.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0. A weight of 2 counts as a row that is there twice.

        Returns
        -------
        DiffusionMixture
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, or X has NaN, infinite entries, fewer than 2 rows, or a constant column.
        """
        check_parameters(self.get_params())
        X = validated_samples(self, X, reset=True)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        source = ArraySource(X, sample_weight)
        moments = moments_of(source, getattr(self, "feature_names_in_", None))
        if self.noise_scale == "auto":
            self.noise_scale_ = local_noise_scale(to_numpy(source.draw(ROWS, rng)).astype(np.float64), rng)
        else:
            self.noise_scale_ = float(self.noise_scale)
        frame = leading_subspace(
            moments.mean,
            moments.covariance,
            float(moments.effective_rows),
            self.noise_scale_,
            self._rank(),
            moments.origin,
        )
        self._reach = float(np.max(moments.reach + np.abs(moments.mean - moments.origin)))
        how = self._settings(frame, int(rng.integers(2**31)))
        self.noise_levels_ = self._levels(frame)
        self.ladder_, self.denoising_loss_ = learn_ladder(
            source,
            frame,
            self.noise_levels_,
            how,
            rng,
            _log_level(self.noise_levels_) if self.verbose else None,
        )
        self._set_clusters(find_clusters(source, self.ladder_, self.min_weight, rng))
        self.columns_: Columns | None = None
        return self

    def score_function(self, Y: ArrayLike, sigma: ArrayLike | None = None) -> Array:
        """Score ``grad log q_sigma(y)`` of the data's law with noise `sigma` added.

        Parameters
        ----------
        Y : array-like of shape (n, d)
            Points, as data + sigma z.
        sigma : float or array-like of shape (n,), optional
            Noise added to the data, >= 0; the smallest learnt level by default.

        Returns
        -------
        array of shape (n, d)
            In the library of Y.

        Raises
        ------
        ValueError
            If Y does not fit the fitted data, or sigma is negative or of the wrong shape.
        """
        Y, level = self._asked(Y, self._lowest() if sigma is None else sigma)
        return self.ladder_.score(Y, level)

    def denoise(self, Y: ArrayLike, sigma: ArrayLike) -> Array:
        """Expected clean sample ``E[x | y]`` of ``y = x + sigma z``; the data's own noise stays in x.

        Parameters and errors as for `score_function`.

        Parameters
        ----------
        Y : array-like of shape (n, d)
            Noisy samples.
        sigma : float or array-like of shape (n,)
            Noise added to the data.

        Returns
        -------
        array of shape (n, d)
            In the library of Y.
        """
        Y, level = self._asked(Y, sigma)
        return self.ladder_.denoise(Y, level)

    def posterior_mean(self, Y: ArrayLike) -> Array:
        """Expected centre ``E[mu | y]`` of samples with the data's own noise: the empirical-Bayes denoiser.

        Parameters
        ----------
        Y : array-like of shape (n, d)
            Samples like those of the fit.

        Returns
        -------
        array of shape (n, d)
            In the library of Y.
        """
        Y, level = self._asked(Y, 0.0)
        return self.ladder_.posterior_mean(Y, level)

    def predict(self, X: ArrayLike) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Cell of every sample, from 0 (the heaviest) to ``n_cells_ - 1``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        ndarray of shape (n,)
            Index into `centers_`.
        """
        X, level = self._asked(X, 0.0)
        return self._clusters.labels(self.ladder_.frame.encode(self.ladder_.posterior_mean(X, level)))

    def sample(
        self,
        n_samples: int = 1,
        *,
        method: str = "dpm",
        n_steps: int | None = None,
        random_state: Any = None,
    ) -> Floats:
        """Draw new samples of the data's law.

        Parameters
        ----------
        n_samples : int, default=1
            How many, at least 1.
        method : {"dpm", "ancestral", "reverse_sde", "probability_flow"}, default="dpm"
            Sampler, see `scoremix.sampling`.
        n_steps : int, optional
            Steps of the walk, at least 1; by default one per learnt level.
        random_state : int, RandomState or None
            Seed; None differs from call to call.

        Returns
        -------
        ndarray of shape (n_samples, d)
            Independent samples.

        Raises
        ------
        ValueError
            If an argument is out of range.
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, at_least=1, integer=True)
        check_choice("method", method, SAMPLERS)
        sigmas = self.noise_levels_
        if n_steps is not None:
            check_number("n_steps", n_steps, at_least=1, integer=True)
            sigmas = geometric_levels(sigmas[0], sigmas[-1], n_steps)
        seed = int(check_random_state(random_state).randint(2**31))
        return draw(self.ladder_, int(n_samples), SAMPLERS[method], np.append(sigmas, 0.0), seed)

    def save(self, path: FilePath, columns: Columns | None = None) -> None:
        """Write the fitted model to a file (safetensors; loading it never executes code).

        Parameters
        ----------
        path : str or path-like
            Where to; an existing file is replaced once the new one is complete.
        columns : Columns, optional
            Names and units of the columns, for models of tables; those of the loaded file by default.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        write_model(path, type(self).__name__, *pack(self, columns or self.columns_))

    @property
    def n_cells_per_level_(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Number of cells the regression used, per level."""
        return np.array([len(level.degrees) for level in self.ladder_.levels])

    @property
    def degrees_(self) -> tuple[np.ndarray[Any, np.dtype[np.intp]], ...]:
        """Degree of every cell, per level."""
        return tuple(level.degrees for level in self.ladder_.levels)

    def _rank(self) -> int | None:
        if self.rank is not None:
            check_number("rank", self.rank, at_least=1, at_most=self.n_features_in_, integer=True)
            return int(self.rank)
        return None

    def _settings(self, frame: Subspace, seed: int) -> Settings:
        degree = None
        if self.degree != "auto":
            degree = int(self.degree)
            Hermite(frame.rank, degree)  # refuses what is too large
        folds = max(2, round(1 / self.validation_fraction))
        return Settings(self.gates, degree, float(self.min_weight), int(self.n_draws), folds, seed)

    def _levels(self, frame: Subspace) -> Floats:
        scale = self.noise_scale_
        top = 2.5 * float(np.sqrt(frame.variances[0])) if self.sigma_max is None else float(self.sigma_max)
        low = 0.2 * scale if self.sigma_min is None else float(self.sigma_min)
        if low >= top:
            raise ValueError(
                f"sigma_min={low:g} is not below sigma_max={top:g}: noise_scale={scale:g} may be far above the scale "
                "of the data; lower it, or give both levels."
            )
        if self.gates == "hard":
            return paper_levels(top, low, self.n_levels, scale)
        return geometric_levels(top, low, self.n_levels)

    def _set_clusters(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self.centers_, self.weights_ = clusters.centers, clusters.weights
        self.n_cells_ = len(clusters.weights)

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Take over the fitted attributes of a model file."""
        for name, value in fitted.items():
            setattr(self, name, value)
        self._set_clusters(self._clusters)

    def _lowest(self) -> float:
        check_is_fitted(self)
        return float(self.noise_levels_[-1])

    def _asked(self, Y: Any, sigma: Any) -> tuple[Array, Array | float]:
        """Validate points and noise levels that a fitted model is asked at; warn where it has seen nothing."""
        check_is_fitted(self)
        Y = as_floating(validated_samples(self, Y, reset=False))
        levels = validated_sigma(sigma, int(Y.shape[0]))
        warn_if_far(Y, levels, self.ladder_.frame.mean, self._reach)
        return Y, float(levels) if levels.ndim == 0 else like(levels, Y)


def _log_level(sigmas: Floats) -> Callable[[int, LevelFit], None]:
    """Log one line per finished level."""

    def report(level: int, fit: LevelFit) -> None:
        logger.info(
            "level %d/%d: sigma=%.4g, %d cells, degree <= %d, held-out denoising loss %.5g",
            level + 1, len(sigmas), sigmas[level], len(fit.model.degrees), fit.model.degrees.max(), fit.denoising_loss,
        )  # fmt: skip

    return report
