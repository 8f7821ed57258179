"""DiffusionMixture: the score of a mixture at every noise level, as a scikit-learn estimator.

Thin on purpose: validate, learn, set attributes. The learning is in `scoremix.learning`, the model is a `Ladder`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from scoremix.arrays import Array, Floats, as_floating, like, product, to_numpy
from scoremix.estimators.attributes import LearntAttributes, all_or_nothing
from scoremix.estimators.checks import (
    informative,
    mean_log_density,
    moments_of,
    validated_samples,
    validated_sigma,
    warn,
    warn_if_far,
)
from scoremix.estimators.gaussian_mixture import GaussianMixture
from scoremix.estimators.model_files import pack_ladder
from scoremix.estimators.parameters import COUNT, SAMPLES, Choice, check_diffusion_parameters
from scoremix.estimators.progress import level_lines
from scoremix.evaluation.certificate import Certificate, integrated_losses
from scoremix.evaluation.estimate import Estimate
from scoremix.learning.coordinates import as_float64
from scoremix.learning.gkl.clusters import Clusters
from scoremix.learning.modes import Learnt, Wanted, learn
from scoremix.models.ladder import Ladder
from scoremix.models.mixture import Mixture
from scoremix.paths import FilePath
from scoremix.samples.columns import Columns
from scoremix.samples.reduce import on_one_blas_thread
from scoremix.sampling.draw import draw, levels_of
from scoremix.sampling.ladder_density import base_of, ladder_log_density
from scoremix.sampling.reverse import SAMPLERS
from scoremix.storage import write_model


@on_one_blas_thread
class DiffusionMixture(LearntAttributes, BaseEstimator):
    """Learn the score of a mixture of Gaussians with a diffusion model: cells, denoiser, sampler.

    No number of components is asked for, and no scale. Where that explains them, data are ``x = mu + noise_scale z``:
    centers mu of any distribution (points, balls, a manifold) plus isotropic Gaussian noise [1]_. Else they are
    clusters of any shape [2]_. By default a mixture is learnt first: its score is known in closed form at every noise
    level, and polynomials add what it misses, where that pays on held-out rows.

    Parameters
    ----------
    covariance : {"auto", "identity", "general"}, default="auto"
        "identity": the noise in the data is isotropic, with standard deviation `noise_scale`. "general": covariances
        are learnt; units of columns do not matter. "auto": "identity" where a `noise_scale` is given, or one scale
        predicts held-out samples as well as full covariances do, within two standard errors; else "general".
    noise_scale : float or "auto", default="auto"
        Standard deviation of that noise, > 0, in the units of X. "auto" takes the largest one that the data are
        consistent with: above the truth where centers are spread out evenly, which looks like more noise.
    degree : int or "auto", default="auto"
        Degree of the polynomials of ``correction_of="nothing"``, at least 1 (constants alone never split the first
        cell); "auto" chooses 0 to 5 per level and cell by held-out denoising loss. With "general" and soft gates it
        chooses none, or 0 to 3 (up to five dimensions) as they surely gain.
    gates : {"soft", "hard"}, default="soft"
        Cells of ``correction_of="nothing"``. "hard": as published; with "identity" Voronoi cells, schedule and warm
        starts [1]_, with "general" cells cut by likelihood ratios [2]_. "soft": responsibilities in their place,
        several times more accurate; one joint regression, with "general" the Gaussians of the cells and what they miss.
    n_levels : int, default=16
        Number of noise levels, at least 2. With "general", in proportion more where they span more than a factor 1000.
    sigma_min, sigma_max : float, optional
        Smallest and largest noise level; by default ``0.2 * noise_scale`` (with "general" of the narrowest direction
        of a component instead) and 2.5 standard deviations of the data along their widest direction.
    min_weight : float in (0, 1), default=0.003
        Smallest share of the data that makes a cell of its own (a_min of the paper).
    n_draws : int, default=2
        Antithetic pairs of noise per sample and level (more where cells are learnt from fewer than 4096 samples).
    correction_of : {"mixture", "nothing"}, default="mixture"
        What polynomials correct. "mixture": with "identity" many atoms under the known noise (a nonparametric
        maximum-likelihood estimate of the distribution of mu), which leave nothing to correct, so that no polynomial is
        tried; with "general" a mixture with full covariances, its number of components found, and polynomials per
        component
        and level where they surely gain on held-out rows. "nothing": the papers' piecewise polynomials alone. With
        "identity" they are learnt from large noise levels down to small ones, whose denoised samples show where the
        next cells go; with "general" every level chooses cells among crude means and covariances, made for up to 16
        components while that gains, by held-out denoising loss.
    validation_fraction : float in (0, 0.5], default=0.2
        Share of the rows held out when degrees are chosen by ``correction_of="nothing"``. Every row is held out once:
        ``round(1 / fraction)`` folds.
    rank : int, optional
        Dimension of the subspace that holds the centers. By default d where that is at most 5, else every direction
        whose variance exceeds what noise alone can show (Marchenko-Pastur edge); with "general", d or 50. The
        complement is handled exactly, as Gaussian; cells of "general" differ in so many directions only, and their
        polynomials act in all.
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
    noise_floor_ : float
        0, or the lowest noise level, where the data have no width in some direction and so no score without noise:
        the distribution that is learnt is that of the data with this noise, and lower levels are answered at this one.
    covariance_ : str
        "identity" or "general".
    noise_scale_ : float
        The noise scale that was used; 0 with "general".
    n_cells_ : int
        Number of clusters: cells of the lowest level, those that one Gaussian explains merged; with "general" and
        ``correction_of="mixture"`` the components.
    centers_ : ndarray of shape (n_cells_, n_features_in_)
        Means of the data in each, by decreasing weight.
    weights_ : ndarray of shape (n_cells_,)
        Their shares of the data.
    n_cells_per_level_ : ndarray of shape (n_levels,)
        Number of components of the mixture, or cells the regression used; soft cells and atoms over-cover on purpose.
    degrees_ : tuple of ndarray
        Degree of the polynomial of every component or cell, per level; -1 where there is none.
    denoising_loss_ : ndarray of shape (n_levels,)
        Mean squared error of the denoiser per coordinate, ``E|D(x + sigma z, sigma) - x|^2 / d``: held out as far as
        polynomials go, while the mixture has seen all rows (for new rows see `certificate`).
    n_features_in_ : int
        Number of columns d.
    feature_names_in_ : ndarray of str
        Names of the columns, where X had them.

    Notes
    -----
    Time is linear in the rows, memory beyond X independent of them; chunks and threads change results by rounding only.

    References
    ----------
    .. [1] K. Gatmiry, J. Kelner, H. Lee, "Learning Mixtures of Gaussians Using Diffusion Models", COLT 2025,
       arXiv 2404.18869.
    .. [2] S. Chen, V. Kontonis, K. Shah, "Learning general Gaussian mixtures with efficient score matching", COLT 2025,
       arXiv 2404.18893.

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

    _LEARNT = ("ladder_", "covariance_", "noise_scale_", "noise_levels_", "centers_", "weights_", "n_cells_")

    def __init__(
        self,
        covariance: str = "auto",
        noise_scale: float | str = "auto",
        degree: int | str = "auto",
        gates: str = "soft",
        n_levels: int = 16,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        min_weight: float = 0.003,
        n_draws: int = 2,
        correction_of: str = "mixture",
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
        self.correction_of = correction_of
        self.validation_fraction = validation_fraction
        self.rank = rank
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
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
            Weights >= 0, relative to each other: a weight of 2 counts as two rows of weight 1 in every sum; how much
            all rows say (for numbers of components and priors) is their effective number ``(sum w)^2 / sum w^2``.

        Returns
        -------
        DiffusionMixture
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range or does not go with the others, or X has NaN, infinite entries, fewer than 2
            rows, or a constant column ("identity") or no other ("general").

        Warns
        -----
        UserWarning
            If the data or a component have no width in some direction, so that learning stops at a noise level above 0;
            if a given `noise_scale` needs 256 atoms or more, and the data suggest one more than 1.5 times as large.
        """
        check_diffusion_parameters(self.get_params())
        X = validated_samples(self, X, reset=True, min_rows=2)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        source = informative(X, sample_weight, at_least=2)
        names = getattr(self, "feature_names_in_", None)
        is_identity = self.covariance == "identity"
        moments = moments_of(source if is_identity else as_float64(source), names, needs_width=is_identity)
        self._is_sealed = False
        self._reach = float(np.max(moments.reach + np.abs(moments.mean - moments.origin)))
        self._set_fit(learn(self.covariance, self.correction_of, source, moments, self._wanted(), rng))
        self.columns_: Columns | None = None
        self._seal()
        return self

    def score_function(self, Y: ArrayLike, sigma: ArrayLike | None = None) -> Array:
        """Score ``grad log q_sigma(y)`` of the data's distribution with noise `sigma` added.

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
        check_is_fitted(self)
        Y, level = self._asked(Y, float(self.noise_levels_[-1]) if sigma is None else sigma)
        return self.ladder_.score(Y, level)

    def denoise(self, Y: ArrayLike, sigma: ArrayLike) -> Array:
        """Expected clean sample ``E[x | y]`` of ``y = x + sigma z``; the data's own noise stays in x.

        Errors as for `score_function`.

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
        """Expected center ``E[mu | y]`` of samples with the data's own noise: the empirical-Bayes denoiser.

        With general covariances mu is the mean of the component that a sample is from (see `to_mixture`).

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
        base = self._components
        if base is None:
            return self.ladder_.posterior_mean(Y, level)
        _, shares = base.evaluate(self.ladder_.frame.encode(Y).T)
        return self.ladder_.frame.embed(product(shares, like(base.means, Y)).T)

    def fit_predict(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Learn the score and label the samples: ``fit(X).predict(X)``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.
        y : None
            Ignored; here for scikit-learn's conventions.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0.

        Returns
        -------
        ndarray of shape (n,)
            Index into `centers_`.
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Posterior probabilities of the cells.

        Those of the components that the model is made of, added up where several are one cell. `predict` gives the cell
        of the denoised sample: between cells that need not be the most probable one.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        array of shape (n, n_cells_)
            Rows sum to 1; in the library of X.
        """
        X, _ = self._asked(X, 0.0)
        points = self.ladder_.frame.encode(X).T
        if self._clusters is not None:
            return self._clusters.shares(points, base_of(self.ladder_), self.noise_scale_)
        assert self._components is not None
        return self._components.evaluate(points)[1]

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
        if self._clusters is None:
            assert self._components is not None
            return np.asarray(to_numpy(self._components.predict(self.ladder_.frame.encode(X).T)))
        return self._clusters.labels(self.ladder_.frame.encode(self.ladder_.posterior_mean(X, level)))

    def score_samples(self, X: ArrayLike) -> Array:
        """Log density of every sample.

        In closed form where the model is a mixture; else, and for the corrections of a mixture, by an integral of the
        score over the noise levels (then ``2 d + 1`` evaluations per level).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples.

        Returns
        -------
        array of shape (n,)
            In nats, in the library of X; of the data with noise `noise_floor_`, where that is not 0. With
            ``correction_of="nothing"`` the score is that of no density exactly: integrals from .96 to 1 were measured.
        """
        X, _ = self._asked(X, 0.0)
        return ladder_log_density(self.ladder_, X, self.noise_floor_)

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
        X, _ = self._asked(X, 0.0)
        log_density = partial(ladder_log_density, self.ladder_, floor=self.noise_floor_)
        return mean_log_density(log_density, informative(X, sample_weight))

    def certificate(self, X: ArrayLike, *, random_state: Any = None) -> Certificate:
        """What the model is worth on new samples: integrated denoising loss, without knowing the truth.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples that the model has not seen, at least 2.
        random_state : int, RandomState or None
            Seed of the noise.

        Returns
        -------
        Certificate
            In nats per dimension: the loss, and by how much it is below that of the best single Gaussian
            (`over_gaussian`) and of the crude mixture (`over_mixture`, see `to_mixture`), with standard errors.
        """
        Y, _ = self._asked(X, 0.0)
        x = to_numpy(Y).astype(np.float64)
        if len(x) < 2:
            raise ValueError("X has 1 row: give at least 2, for a standard error.")
        gaussian, crude = Ladder(np.empty(0), (), self.ladder_.frame), self.to_mixture()

        def crude_denoise(y: Floats, sigma: float) -> Floats:
            beyond = float(np.sqrt(max(sigma**2 - self.noise_floor_**2, 0.0)))  # the mixture has that noise already
            return y + sigma**2 * to_numpy(crude.score_function(y, beyond))

        denoisers = self.ladder_.denoise, gaussian.denoise, crude_denoise
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31, size=4))
        mine, single, mixture = integrated_losses(denoisers, x, self.noise_levels_, rng)
        return Certificate(Estimate.of(mine), Estimate.of(single - mine), Estimate.of(mixture - mine))

    def to_mixture(self) -> GaussianMixture:
        """The crude mixture as an estimator of its own, to read or to start EM from.

        Returns
        -------
        GaussianMixture
            Fitted: the mixture that is corrected; with ``correction_of="nothing"`` a component per cell, round, or with
            "general" of the shape of the data in it. Where the data have no width, that of the data with noise
            `noise_floor_`.
        """
        check_is_fitted(self)
        base, frame = self._components or base_of(self.ladder_), self.ladder_.frame
        if base is not None and not frame.noise_scale:
            mixture = frame.embedded(base, self.noise_floor_)
            return GaussianMixture.from_parameters(mixture.weights, mixture.means, mixture.covariances)
        weights, centers = self.weights_, self.centers_
        if base is not None:
            weights, centers = base.weights, np.asarray(frame.embed(base.means.T))
        variances = np.full(len(weights), frame.noise_scale**2)
        return GaussianMixture.from_parameters(weights, centers, variances, "spherical")

    def sample(
        self, n_samples: int = 1, *, method: str = "dpm", n_steps: int | None = None, random_state: Any = None
    ) -> Floats:
        """Draw new samples of the data's distribution.

        Parameters
        ----------
        n_samples : int, default=1
            How many, at least 1.
        method : {"dpm", "ancestral", "reverse_sde", "probability_flow"}, default="dpm"
            Sampler, see `scoremix.sampling`.
        n_steps : int, optional
            Steps of the walk, at least 1; by default one per learnt level, or more where levels are far apart; more
            for "ancestral" and "reverse_sde", whose shares of the clusters are right with 250 and 70 steps or so.
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
        SAMPLES.check("n_samples", n_samples)
        Choice(SAMPLERS).check("method", method)
        if n_steps is not None:
            COUNT.check("n_steps", n_steps)
        sampler = SAMPLERS[method]
        sigmas = np.append(levels_of(sampler, self.noise_levels_, n_steps), 0.0)
        seed = int(check_random_state(random_state).randint(2**31))
        return draw(self.ladder_, int(n_samples), sampler.walk, sigmas, seed)

    def save(self, path: FilePath, columns: Columns | None = None) -> None:
        """Write the fitted model to a file (safetensors; loading it never executes code).

        Parameters
        ----------
        path : str or path-like
            Where to, such as ``"model.safetensors"``; an existing file is replaced once the new one is complete.
        columns : Columns, optional
            Names and units of the columns, for models of tables; those of the loaded file by default.

        Raises
        ------
        ValueError
            If the ending is that of another format, such as ``.pkl``.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        write_model(path, type(self).__name__, *pack_ladder(self, columns or self.columns_))

    @property
    def n_components_(self) -> int:
        """Number of cells, by the name that other mixtures have for it."""
        check_is_fitted(self)
        return self.n_cells_

    @property
    def n_cells_per_level_(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Number of cells or components that a level has."""
        return np.array([len(level.degrees) for level in self.ladder_.levels])

    @property
    def degrees_(self) -> tuple[np.ndarray[Any, np.dtype[np.intp]], ...]:
        """Degree of the polynomial of every cell or component, per level; -1 where there is none."""
        return tuple(level.degrees for level in self.ladder_.levels)

    def _wanted(self) -> Wanted:
        """The parameters, as the learning takes them."""
        if self.rank is not None:
            replace(COUNT, at_most=self.n_features_in_).check("rank", self.rank)
        return Wanted(
            None if self.noise_scale == "auto" else float(self.noise_scale),
            None if self.rank is None else int(self.rank),
            None if self.degree == "auto" else int(self.degree),
            self.gates == "hard",
            int(self.n_levels),
            None if self.sigma_min is None else float(self.sigma_min),
            None if self.sigma_max is None else float(self.sigma_max),
            float(self.min_weight),
            int(self.n_draws),
            max(2, round(1 / self.validation_fraction)),
            lambda sigmas: level_lines(sigmas) if self.verbose else None,
        )

    def _set_fit(self, learnt: Learnt) -> None:
        """Set the fitted attributes, and say so where learning stops at a noise level above 0."""
        self.ladder_, self.denoising_loss_ = learnt.ladder, learnt.denoising_loss
        self.noise_levels_, self.noise_scale_ = learnt.ladder.sigmas, learnt.ladder.frame.noise_scale
        self.covariance_ = "identity" if self.noise_scale_ else "general"
        self.noise_floor_ = float(self.noise_levels_[-1]) if learnt.is_flat else 0.0
        self._set_clusters(learnt.clusters, learnt.components)
        if learnt.better_scale is not None:
            warn(
                f"noise_scale={self.noise_scale_:.3g} needs {learnt.ladder.levels[-1].degrees.size} atoms: the data "
                f"suggest {learnt.better_scale:.3g}. Give that, or noise_scale='auto'."
            )
        if learnt.is_flat:
            warn(
                "X has no width in some direction (columns that determine each other, clusters on a plane or a line, "
                f"equal rows): without noise there is no score, and learning stopped at sigma={self.noise_floor_:.3g}."
            )

    def _set_clusters(self, clusters: Clusters | None, components: Mixture | None = None) -> None:
        """Report the cells; without clusters they are components, in the coordinates of the frame."""
        self._clusters, self._components = clusters, components
        if clusters is not None:
            self.centers_, self.weights_ = clusters.centers, clusters.weights
        else:
            assert components is not None
            self.centers_ = np.asarray(self.ladder_.frame.embed(components.means.T))
            self.weights_ = components.weights
        self.n_cells_ = len(self.weights_)

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Take over the fitted attributes of a model file."""
        self._is_sealed = False
        for name, value in fitted.items():
            setattr(self, name, value)
        self._set_clusters(self._clusters, self._components)
        self._seal()

    def _asked(self, Y: Any, sigma: Any) -> tuple[Array, Array | float]:
        """Validate points and noise levels that a fitted model is asked at; warn where it has seen nothing."""
        check_is_fitted(self)
        Y = as_floating(validated_samples(self, Y, reset=False))
        levels = np.maximum(validated_sigma(sigma, Y), self.noise_floor_)
        warn_if_far(Y, levels, self.ladder_.frame.mean, self._reach)
        return Y, float(levels) if levels.ndim == 0 else like(levels, Y)
