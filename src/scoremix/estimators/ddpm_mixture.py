"""DDPMMixture: the parameters of a Gaussian mixture by gradient descent on the DDPM objective.

Thin on purpose: validate, choose units in which every component has unit covariance, descend, set attributes. The
learning is in `scoremix.learning.descent`, the model is a `Mixture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from scoremix.arrays import Array, Floats, as_floating
from scoremix.estimators.attributes import LearntAttributes, all_or_nothing
from scoremix.estimators.checks import informative, validated_samples
from scoremix.estimators.fitted_mixture import FittedMixture
from scoremix.estimators.gaussian_mixture import GaussianMixture
from scoremix.estimators.mixture_inputs import (
    check_distinct_rows,
    check_rows_suffice,
    given_means,
    known_units,
    start_weights,
)
from scoremix.estimators.model_files import pack_descent
from scoremix.estimators.parameters import LEARNT, SAMPLES, check_ddpm_parameters, stages_of
from scoremix.estimators.progress import stage_lines
from scoremix.learning.coordinates import Units
from scoremix.learning.moments import top_subspace
from scoremix.learning.sck.descent import KnownCovariance, LearntCovariance, Record, descend
from scoremix.learning.sck.optimizers import OPTIMIZERS
from scoremix.learning.sck.starts import initial_means, within_covariance
from scoremix.learning.sck.student import Student
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.paths import FilePath
from scoremix.samples.reduce import on_one_blas_thread
from scoremix.samples.source import Source
from scoremix.storage import write_model


@on_one_blas_thread
class DDPMMixture(LearntAttributes, FittedMixture, BaseEstimator):
    """Learn a mixture of Gaussians by gradient descent on the objective of a diffusion model.

    The score network is the mixture's own score, so its parameters are means (and weights, and covariances where these
    are not known). With two components a random start will do: large noise first, where descent is a power method that
    finds the direction of the means, then small noise, where it is gradient EM and finds their length [1]_. More
    components are learnt from a warm start.

    Parameters
    ----------
    n_components : int, default=2
        Number of components k.
    symmetric : bool, default=False
        Two components at ``+mu`` and ``-mu``, of equal weight: the student of the paper's first theorem.
    noise_times : sequence, default=(1.5, 0.1)
        Ornstein-Uhlenbeck time of the noise of every stage, > 0: ``sigma^2 = exp(2 tau) - 1`` in units of the
        components' variance. In place of a time, "all" or a sequence of times in order: many noise levels at once with
        likelihood weights, as accurate as maximum likelihood, for as many times the cost.
    n_steps : int or sequence of int, default=(7000, 1500)
        Most steps of every stage; the last of these, where there are fewer stages.
    learning_rate : float, default=0.05
        Rate of the steps, > 0; in units of the curvature where `step_rule` says so.
    batch_size : int, optional
        Rows of a step, drawn anew each time; all by default.
    exact_gradient : bool, default=True
        Integrate the noise out: exactly for two components; for more, every row keeps one pair of noise +-z in the span
        of the means. False: a fresh draw per row and step, as diffusion models are trained.
    means_init : {"random", "tensor", "kmeans"} or array-like of shape (k, d), optional
        Start. "random": standard normal about the mean of the data; "tensor": third moments, for ``k <= d + 1``;
        "kmeans": clusters. By default random for two components, else "tensor" where that applies, else "kmeans".
    random_state : int, RandomState or None
        Seed of the start, the noise and the batches.
    weights : {"equal", "free"} or array-like of shape (k,), default="equal"
        Known weights, or "free" to learn them.
    covariance : {"identity", "diag", "full"}, float or array-like, default="identity"
        Known covariance of every component: the identity, a variance, one per column (d,) or a matrix (d, d). "diag"
        and "full": learnt, one per component.
    step_rule : {"auto", "gradient", "scaled", "adam"}, default="auto"
        "gradient": rate times gradient. "scaled": over the curvature of components that are far apart, so that rate 1
        is a step like that of EM and learning takes tens of steps. "adam": Adam. "auto": "gradient", as published,
        where every stage has one noise level, and "scaled" elsewhere, as where covariances are learnt.
    projection_radius : float, optional
        Keep means in a ball of this radius, in the stages after the first: about the origin where `symmetric`, else
        about the mean of the data. For separations that fall with the dimension [1]_.
    tol : float, default=1e-6
        A stage ends once no mean moves by more than this per step, in standard deviations of a component; only where
        steps see no fresh noise. 0 takes all steps.
    verbose : int, default=0
        1 logs about ten lines per stage to the logger ``scoremix``.

    Attributes
    ----------
    means_ : ndarray of shape (k, d)
    weights_ : ndarray of shape (k,)
    covariances_ : ndarray
        Of shape (k,) for the identity or a variance, (k, d) for variances per column and "diag", (d, d) for a matrix,
        (k, d, d) for "full".
    covariance_type_ : {"spherical", "diag", "tied", "full"}
        Which of them.
    history_ : list of Record
        At most about 500 per stage, each with ``stage``, ``step``, ``noise_time``, ``loss``, ``gradient_norm`` and
        ``means``, as attributes and as keys; before the step was taken, and at the end of the stage.
    n_components_ : int
        Number of components k.
    n_iter_ : int
        Steps taken, of all stages.
    converged_ : bool
        Whether the last stage ended before its last step, because means moved by `tol` at most: where a step is
        deterministic (`exact_gradient`, no batches).
    n_features_in_ : int
        Number of columns d.
    feature_names_in_ : ndarray of str
        Names of the columns, where X had them.

    Notes
    -----
    A step is one pass over the rows: O(n k d), and O(n k min(k, d)) per noise level. Where the covariance is not the
    identity, X is copied once into units in which it is.

    References
    ----------
    .. [1] K. Shah, S. Chen, A. Klivans, "Learning Mixtures of Gaussians Using the DDPM Objective", NeurIPS 2023,
       arXiv 2307.01178.

    Examples
    --------
    >>> import numpy as np
    >>> from scoremix import DDPMMixture
    >>> rng = np.random.default_rng(0)
    >>> mu = np.array([2.0, 1.0, 0.0])
    >>> X = rng.choice([-1, 1], 2000)[:, None] * mu + rng.standard_normal((2000, 3))
    >>> model = DDPMMixture(symmetric=True, step_rule="scaled", learning_rate=0.5, random_state=0).fit(X)
    >>> bool(abs(abs(model.means_[0] @ mu) / 5 - 1) < 0.05)
    True
    """

    _LEARNT = ("weights_", "means_", "covariances_", "covariance_type_")

    def __init__(
        self,
        n_components: int = 2,
        symmetric: bool = False,
        noise_times: Any = (1.5, 0.1),
        n_steps: int | Sequence[int] = (7000, 1500),
        learning_rate: float = 0.05,
        batch_size: int | None = None,
        exact_gradient: bool = True,
        means_init: ArrayLike | str | None = None,
        random_state: Any = None,
        weights: ArrayLike | str = "equal",
        covariance: ArrayLike | str = "identity",
        step_rule: str = "auto",
        projection_radius: float | None = None,
        tol: float = 1e-6,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.symmetric = symmetric
        self.noise_times = noise_times
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.exact_gradient = exact_gradient
        self.means_init = means_init
        self.random_state = random_state
        self.weights = weights
        self.covariance = covariance
        self.step_rule = step_rule
        self.projection_radius = projection_radius
        self.tol = tol
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the parameters.

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
        DDPMMixture
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, X has NaN, infinite entries, fewer than 2 rows or fewer distinct rows than
            components, or the descent diverges.
        """
        check_ddpm_parameters(self.get_params())
        x = as_floating(validated_samples(self, X, reset=True, min_rows=2))
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        source = informative(x, sample_weight, at_least=2)
        check_rows_suffice(source, int(self.n_components))
        check_distinct_rows(source, int(self.n_components))
        units, means = self._units(source, rng)
        source = source.mapped(units.encode)
        mixture, history = self._descend(source, self._start(source, rng) if means is None else means, rng)
        k, d = mixture.means.shape
        learnt = mixture.covariance if self._is_learnt() else None
        self._set_fit(
            Mixture(mixture.weights, units.decode(mixture.means), units.covariance(learnt, k, d)),
            [replace(record, means=units.decode(record.means)) for record in history],
        )
        return self

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[Floats, NDArray[np.int64]]:
        """Draw independent samples, in random order.

        Parameters
        ----------
        n_samples : int, default=1
            How many, at least 1.
        random_state : int, RandomState or None
            Seed; None differs from call to call, whatever the constructor was given.

        Returns
        -------
        X : ndarray of shape (n_samples, d)
            Samples.
        y : ndarray of shape (n_samples,)
            Their components.

        Raises
        ------
        ValueError
            If `n_samples` is not a whole number >= 1.
        """
        check_is_fitted(self)
        SAMPLES.check("n_samples", n_samples)
        seed = check_random_state(random_state).randint(2**31, size=4)
        return self._mixture.sample(int(n_samples), np.random.default_rng(seed))

    def to_mixture(self) -> GaussianMixture:
        """Return the same mixture as a fitted `GaussianMixture`, whose EM may go on from there.

        Returns
        -------
        GaussianMixture
            With these weights, means and covariances.
        """
        check_is_fitted(self)
        return GaussianMixture.from_parameters(self.weights_, self.means_, self.covariances_, self.covariance_type_)

    def save(self, path: FilePath) -> None:
        """Write the fitted model to a file (safetensors; loading it never executes code).

        Parameters
        ----------
        path : str or path-like
            Where to, such as ``"model.safetensors"``; an existing file is replaced once the new one is complete.

        Raises
        ------
        ValueError
            If the ending is that of another format, such as ``.pkl``.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        write_model(path, type(self).__name__, *pack_descent(self))

    def _is_learnt(self) -> bool:
        return isinstance(self.covariance, str) and self.covariance in LEARNT

    def _given(self) -> Floats | None:
        """Means that the user gave, in the units of the data."""
        if self.means_init is None or isinstance(self.means_init, str):
            return None
        return given_means(self.means_init, int(self.n_components), self.n_features_in_, symmetric=self.symmetric)

    def _units(self, source: Source, rng: np.random.Generator) -> tuple[Units, Floats | None]:
        """Units of the student, and the means in them where these are known already."""
        means = self._given()
        if not self._is_learnt():
            units = known_units(self.covariance, self.n_features_in_)
        else:
            if means is None:
                means = initial_means(source, int(self.n_components), "kmeans", rng)
            shared = within_covariance(source, means, rng)
            if self.covariance == "diag":
                shared = np.diag(np.diagonal(shared))
            units = Units(str(self.covariance), np.asarray(np.linalg.cholesky(shared), dtype=np.float64))
        return units, None if means is None else units.encode(means)

    def _start(self, source: Source, rng: np.random.Generator) -> Floats:
        """Means to start from, where the user gave none."""
        k = int(self.n_components)
        if self.symmetric:
            mu = rng.standard_normal(self.n_features_in_)
            return np.stack([mu, -mu])
        method = str(self.means_init or ("random" if k <= 2 else "warm"))
        return initial_means(source, k, method, rng)

    def _descend(self, source: Source, means: Floats, rng: np.random.Generator) -> tuple[Mixture, list[Record]]:
        """Descend from a start, in units where components have unit covariance."""
        (k, d), rate = means.shape, float(self.learning_rate)
        center = 0.0 if self.symmetric or self.projection_radius is None else top_subspace(source, 0).mean
        stages = stages_of(self.noise_times, self.n_steps, self.projection_radius, center)
        weights = start_weights(self.weights, k, symmetric=self.symmetric)
        free_weights = isinstance(self.weights, str) and self.weights == "free"
        walk = partial(
            descend,
            batch_size=self.batch_size,
            tol=float(self.tol),
            seed=int(rng.integers(2**31)),
            report=stage_lines(stages) if self.verbose else None,
        )
        if self._is_learnt():
            kind, unit = str(self.covariance), np.ones(d) if self.covariance == "diag" else np.eye(d)
            start = Mixture(weights, means, covariance_of(kind, np.repeat(unit[None], k, axis=0), d))
            return walk(source, start, stages, LearntCovariance(rate, self.exact_gradient, free_weights=free_weights))
        published = "gradient" if all(len(stage.sigmas) == 1 for stage in stages) else "scaled"
        rule = OPTIMIZERS[published if self.step_rule == "auto" else self.step_rule]
        known = KnownCovariance(rule(rate), self.exact_gradient, bool(self.symmetric), free_weights)
        student, history = walk(source, Student(means, weights), stages, known)
        return student.mixture(), history

    def _present(self) -> Mixture:
        return self._mixture

    def _asked(self, X: Any, allow_nan: bool | None = None) -> Array:
        check_is_fitted(self)
        return as_floating(validated_samples(self, X, reset=False))

    def _set_fit(self, mixture: Mixture, history: list[Record]) -> None:
        self._is_sealed = False
        self._mixture, self.history_ = mixture, history
        self.weights_, self.means_ = mixture.weights, mixture.means
        self.covariances_, self.covariance_type_ = mixture.covariance.values, mixture.covariance.kind
        ends = {record.stage: record.step for record in history}
        self.n_iter_ = sum(ends.values())
        last = len(stages := stages_of(self.noise_times, self.n_steps)) - 1
        self.n_components_, self.converged_ = mixture.n_components, ends.get(last, 0) < stages[last].n_steps
        self._seal()

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Take over what a model file holds."""
        mixture = fitted["mixture"]
        self.n_features_in_ = mixture.n_features
        if fitted["names"] is not None:
            self.feature_names_in_ = fitted["names"]
        self._set_fit(mixture, fitted["history"])
