"""GaussianMixture: scikit-learn's estimator on this library's kernel, and what is asked of it beyond.

Thin on purpose: validate, learn, set attributes. The learning is in `scoremix.learning`, the model is a `Mixture`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from scoremix.arrays import Array, as_floating, is_foreign, like, namespace, to_numpy
from scoremix.estimators.attributes import all_or_nothing
from scoremix.estimators.checks import FLOATING, informative, validated_samples, warn
from scoremix.estimators.known_mixture import KnownMixture
from scoremix.estimators.mixture_inputs import (
    check_matrices,
    check_means,
    check_rows_suffice,
    check_weights,
    floating_type,
    has_missing,
    inverse_of,
)
from scoremix.estimators.model_files import pack_mixture
from scoremix.estimators.parameters import OWN_STARTS, check_mixture_parameters
from scoremix.estimators.progress import Passes
from scoremix.learning.em.acceleration import ACCELERATIONS
from scoremix.learning.em.em import EMResult, Prior, e_step, run_em
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.learning.em.missing import Filled, evaluate_with_missing, expectation_with_missing
from scoremix.learning.em.posterior import total_weight
from scoremix.learning.em.seeding import initial_mixture, n_distinct_rows
from scoremix.learning.em.shrinkage import ENOUGH_ROWS
from scoremix.learning.em.stepwise import Running
from scoremix.learning.search.component_number import search_component_number
from scoremix.learning.search.global_start import (
    PLAIN_PASSES,
    SeenRows,
    check_optimality,
    find_global_start,
    shared_prior,
)
from scoremix.models.covariance.interface import is_thin
from scoremix.models.covariance.types import n_free
from scoremix.models.mixture import Mixture, repeated
from scoremix.paths import FilePath
from scoremix.samples.reduce import on_one_blas_thread
from scoremix.samples.source import ArraySource, Source
from scoremix.storage import write_model

FLAT = 10.0  # A variance of fewer times `reg_covar` is hardly the data's.

# Most EM passes over the first batch of a stream: enough to leave the seeds, too few to fit that batch's noise.
FIRST_BATCH_PASSES = 10


@on_one_blas_thread
class GaussianMixture(KnownMixture):
    """Gaussian mixture by expectation maximisation: parameters, clusters, density, score.

    A drop-in for ``sklearn.mixture.GaussianMixture``, with weights of samples, missing values, streams, conditional
    and marginal mixtures, the score at every noise level, and arrays of other libraries, such as torch.

    Parameters
    ----------
    n_components : int or "auto", default=1
        Number of components k, at most the number of rows; "auto" finds it: 1 for data that are one Gaussian.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        One matrix per component, one for all, one variance per component and column, or one per component.
    tol : float, default=1e-3
        EM ends when the mean log likelihood changes by less, in nats per sample; >= 0.
    reg_covar : float, default=1e-6
        Added to all variances at every update, >= 0, in squared units of X.
    max_iter : int, default=100
        Most passes over X; 0 keeps the start.
    n_init : int, default=1
        Number of starts; the fit of largest likelihood is kept.
    init_params : {"global", "diffusion", "kmeans", "k-means++", "random", "random_from_data"}, default="global"
        How a start is chosen. "global": one that needs no restarts, from too many seeds by merges, splits and moves;
        "diffusion": from noise, then the same moves; the others as in scikit-learn. Where a component has no width in
        some direction, both are compared with the start by "kmeans", and the fit of larger likelihood is kept. Where
        `means_init` is given, plain EM starts there.
    weights_init : array-like of shape (k,), optional
        Weights to start from. With all three starts given nothing is drawn.
    means_init : array-like of shape (k, d), optional
        Means to start from.
    precisions_init : array-like, optional
        Inverse covariances to start from, in the shape of `precisions_`.
    random_state : int, RandomState or None
        Seed of the starts, and, if it is a number, of the stream that `sample` draws from.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit, with one start.
    verbose : int, default=0
        1 prints starts and passes, 2 adds times and likelihoods.
    verbose_interval : int, default=10
        Passes between two lines.
    missing_values : None or nan, default=None
        With ``numpy.nan`` NaN entries are missing at random, and integrated out; with None they are refused.
    acceleration : {None, "squarem", "anderson"}, default=None
        Extrapolate EM where it is slow; a guess that lowers the likelihood is taken back.
    covariance_prior : {"auto", "shared", None}, default="auto"
        "shared" shrinks the covariances of small components towards what all have in common, by as much as they are
        found to be alike (empirical Bayes), and keeps them above the rounding of the data; None is maximum likelihood,
        as in scikit-learn. "auto" is "shared" where `n_components` or the start are found by this library, else None.
    criterion : {"density", "clusters"}, default="density"
        What "auto" counts: the components that describe the density best, or clusters of any shape, of which one that
        is not Gaussian may otherwise be described by several components.
    max_components : int, default=100
        Most components that "auto" finds.

    Attributes
    ----------
    weights_ : ndarray of shape (k,)
        Weights, summing to 1.
    means_ : ndarray of shape (k, d)
        Means.
    covariances_ : ndarray
        Covariances, of shape (k, d, d), (d, d), (k, d) or (k,), by `covariance_type`.
    precisions_ : ndarray
        Their inverses, in the same shape.
    precisions_cholesky_ : ndarray
        Upper factors U of the precisions ``U U^T``, in the same shape.
    converged_ : bool
        Whether the best start converged.
    n_iter_ : int
        Its passes over X.
    lower_bound_ : float
        Its mean log likelihood before the last update.
    lower_bounds_ : list of float
        The same before every update.
    n_components_ : int
        Number of components k.
    split_gain_ : float
        What splitting a component would gain, at most, in nats per sample (measured on at most 10,000 rows, or 200 per
        component; NaN after `partial_fit`).
    merge_cost_ : float
        What merging two would cost, at least; infinite for one component. A split gain well below it tells that no
        move improves the fit: the optimality check.
    selection_path_ : list of (str, int, float)
        What "auto" accepted: step, number of components, and mean log likelihood minus charges; empty otherwise.
    n_features_in_ : int
        Number of columns d.
    feature_names_in_ : ndarray of str
        Names of the columns, where X had them.

    Notes
    -----
    A pass costs O(n k d^2) ("full"; O(n k d) for the others) and memory beyond X independent of n. Fitted attributes
    have the precision of X; inside, parameters are kept in double precision. Results do not depend on the number of
    threads, but for rounding.

    `weights_`, `means_` and one of `covariances_`, `precisions_` and `precisions_cholesky_` may be set, or edited in
    place, on a fitted estimator or on a fresh one: they are the model that every method uses; what follows from them
    follows.

    Examples
    --------
    >>> import numpy as np
    >>> from scoremix import GaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, (300, 2)), rng.normal(4, 1, (700, 2))])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> [round(float(weight), 2) for weight in sorted(model.weights_)]
    [0.3, 0.7]
    >>> model.conditional({0: 4.0}).means_.shape
    (2, 1)
    """

    _MEASURED: ClassVar[dict[str, Any]] = {
        "lower_bound_": -np.inf,
        "lower_bounds_": [],
        "split_gain_": np.nan,
        "merge_cost_": np.nan,
        "selection_path_": [],
    }
    _HISTORY: ClassVar[dict[str, Any]] = {"converged_": True, "n_iter_": 0, "_n_batches": 1}

    lower_bound_: float
    lower_bounds_: list[float]
    split_gain_: float
    merge_cost_: float
    selection_path_: list[tuple[str, int, float]]
    converged_: bool
    n_iter_: int
    _n_batches: int

    def __init__(
        self,
        n_components: int | str = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "global",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        missing_values: float | None = None,
        acceleration: str | None = None,
        covariance_prior: str | None = "auto",
        criterion: str = "density",
        max_components: int = 100,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.missing_values = missing_values
        self.acceleration = acceleration
        self.covariance_prior = covariance_prior
        self.criterion = criterion
        self.max_components = max_components

    @all_or_nothing
    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Estimate the parameters by expectation maximisation.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples: anything scikit-learn takes, ``numpy.memmap``, or an array of another array-API library, such as
            torch (then computed there).
        y : None
            Ignored; here for scikit-learn's conventions.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0, relative to each other: a weight of 2 counts as two rows of weight 1 in every sum; how much
            all rows say (for numbers of components and priors) is their effective number ``(sum w)^2 / sum w^2``.

        Returns
        -------
        GaussianMixture
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, there are more components than rows, X has infinite entries, or NaN without
            `missing_values`, or every covariance collapses.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` passes were not enough for the best start, or if there are fewer distinct rows than
            components.
        """
        check_mixture_parameters(self.get_params())
        past = self._past() if self.warm_start else None
        x = self._rows(X, reset=True, min_rows=2)
        source = self._informative(x, sample_weight, at_least=2)
        step = self._step(source)
        seeding = source if step is e_step else Filled.of(source)
        n_seeds = self._seedable(seeding)
        past = past if past is not None and self._may_continue(past) else None
        rng, prior = self._begin(), self._prior(seeding, n_seeds)
        best: EMResult | None = None
        is_searched = past is None and self._is_searched(n_seeds)
        seen = SeenRows.of_all(seeding, self.covariance_type) if is_searched else None
        for i in range(self.n_init if past is None else 1):
            seeds = deepcopy(rng)
            start, steps = self._start(seeding, n_seeds, prior, rng, seen) if past is None else (past, [])
            found = self._run(i, source, start, step, prior, -np.inf if past is None else float(self.lower_bound_))
            if is_searched and self._is_flat(found.mixture):
                start = initial_mixture(seeding, n_seeds, self.covariance_type, "kmeans", self.reg_covar, seeds)
                found = max(found, self._run(i, source, start, step, prior, -np.inf), key=_bound)
            if best is None or _bound(found) > _bound(best):
                best, path = found, steps
        assert best is not None  # n_init >= 1
        self._set_fit(best.mixture, _home(x), best.lower_bounds, best.converged, best.n_passes)
        self.selection_path_ = path
        self.split_gain_, self.merge_cost_ = check_optimality(seeding, best.mixture, seen)
        if not best.converged and self.max_iter > 0:
            warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                ConvergenceWarning,
            )
        return self

    def fit_predict(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.intp] | Array:
        """Estimate the parameters and label the samples: ``fit(X).predict(X)``.

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
        array of shape (n,)
            Most probable components.
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    @all_or_nothing
    def partial_fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from one batch of a stream, by stepwise EM (Cappe and Moulines, JRSS-B 2009).

        The first batch is fitted, with few passes. Of every later one a single pass is taken, and its moments are mixed
        with those of the present parameters, at a rate of ``(t + 2)^-0.7`` after t batches.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Samples; at least one per component in the first batch.
        y : None
            Ignored; here for scikit-learn's conventions.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 within the batch. Batches count alike, however large.

        Returns
        -------
        GaussianMixture
            The estimator, fitted to the stream so far; `lower_bounds_` has the mean log likelihood of every batch.
        """
        check_mixture_parameters(self.get_params())
        past = self._past()
        x = self._rows(X, reset=past is None, min_rows=2 if past is None else 1)
        if past is not None and not self._may_continue(past):
            raise ValueError(
                f"partial_fit goes on with {past.n_components} components of covariance_type={past.covariance.kind!r}, "
                f"but n_components={self.n_components!r} of {self.covariance_type!r} are asked for now: call fit to "
                "begin anew."
            )
        source = self._informative(x, sample_weight, at_least=2 if past is None else 1)
        step = self._step(source)
        if past is None:
            seeding = source if step is e_step else Filled.of(source)
            n_seeds = self._seedable(seeding)
            passes, prior = min(self.max_iter, FIRST_BATCH_PASSES), self._prior(seeding, n_seeds)
            start, steps = self._start(seeding, n_seeds, prior, self._begin())
            first = run_em(source, start, max_iter=passes, reg=self.reg_covar, prior=prior, step=step)
            self._set_fit(first.mixture, _home(x), first.lower_bounds[-1:], False, 1)
            self.selection_path_ = steps
            return self
        expected = step(source, past, None)
        running = Running(_moments_of(past, self.reg_covar), self._n_batches).mix(expected)
        updated, running = running.maximise(past, self.reg_covar)
        bounds = [*self.lower_bounds_, expected.mean_log_likelihood]
        self._set_fit(updated, as_floating(self.means_), bounds, False, running.n_batches)
        self._n_batches = running.n_batches
        return self

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
        write_model(path, type(self).__name__, *pack_mixture(self))

    def _rows(self, X: Any, *, reset: bool, min_rows: int) -> Array:
        return validated_samples(
            self, X, reset=reset, allow_nan=self.missing_values is not None, min_rows=min_rows, dtype=FLOATING
        )

    def _asked(self, X: Any, allow_nan: bool | None = None) -> Array:
        check_is_fitted(self)
        allow_nan = self.missing_values is not None if allow_nan is None else allow_nan
        return validated_samples(self, X, reset=False, allow_nan=allow_nan, dtype=FLOATING)

    def _labels(self, x: Array) -> NDArray[np.intp] | Array:
        return super()._labels(x) if self.missing_values is None else namespace(x).argmax(self._posterior(x)[1], axis=1)

    def _posterior(self, x: Array) -> tuple[Array, Array]:
        if self.missing_values is not None and has_missing(ArraySource(x)):
            log_density, shares = evaluate_with_missing(self._mixture, to_numpy(x))
            return like(log_density, x), like(shares, x)
        return super()._posterior(x)

    def _log_density(self, x: Array) -> Array:
        return super()._log_density(x) if self.missing_values is None else self._posterior(x)[0]

    def _begin(self) -> np.random.Generator:
        """Random numbers for the starts of a fit; samples begin anew."""
        self._stream = None
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))

    def _informative(self, x: Array, sample_weight: ArrayLike | None, at_least: int = 1) -> ArraySource:
        return informative(x, sample_weight, has_missing=self.missing_values is not None, at_least=at_least)

    def _step(self, source: Source) -> Callable[[Source, Mixture, int | None], ExpectedMoments]:
        """The E-step that the samples need."""
        is_needed = self.missing_values is not None and has_missing(source)
        return expectation_with_missing if is_needed else e_step

    def _past(self) -> Mixture | None:
        """The present mixture, fitted or set by hand, if there is one."""
        return self._mixture if self.__sklearn_is_fitted__() else None

    def _may_continue(self, past: Mixture) -> bool:
        """Tell whether a mixture is of the shape that is asked for now."""
        same = (past.covariance.kind, past.n_features) == (self.covariance_type, self.n_features_in_)
        return same and self.n_components in ("auto", past.n_components)

    def _seedable(self, source: Source) -> int:
        """How many components the rows can be seeds of: all, or else as many as there are distinct rows."""
        k = 1 if self.n_components == "auto" else int(self.n_components)
        check_rows_suffice(source, k)
        n_seeds = n_distinct_rows(source, k)
        if n_seeds < k:
            warn(
                f"n_components={k} is more than X has distinct rows ({n_seeds}): several components are the same.",
                ConvergenceWarning,
            )
        return n_seeds

    def _prior(self, source: Source, n_seeds: int) -> Prior | None:
        """The prior of the covariances."""
        if self.covariance_prior == "auto":
            found_here = self.init_params in OWN_STARTS and not self._is_start_given() and n_seeds == self.n_components
            wanted = self.n_components == "auto" or (found_here and self._is_scarce(source))
        else:
            wanted = self.covariance_prior == "shared"
        return shared_prior(source, self.covariance_type, counting=self.n_components == "auto") if wanted else None

    def _is_start_given(self) -> bool:
        return any(given is not None for given in (self.weights_init, self.means_init, self.precisions_init))

    def _is_searched(self, n_seeds: int) -> bool:
        """Whether the start of a given number of components is to be found by moves."""
        few = self.n_components == "auto" or n_seeds < max(2, int(self.n_components))
        return self.init_params in OWN_STARTS and not self._is_start_given() and not few

    def _is_flat(self, mixture: Mixture) -> bool:
        """Whether a component has no width in some direction: moves then gain by `reg_covar`, and judge no start."""
        return is_thin(mixture.covariance, FLAT * self.reg_covar)

    def _is_scarce(self, source: Source) -> bool:
        """Whether rows are few for the parameters of the components."""
        free = max(n_free(self.covariance_type, self.n_features_in_), self.n_features_in_ + 2)
        return total_weight(source) < ENOUGH_ROWS * free * int(self.n_components)

    def _start(
        self,
        source: Source,
        n_seeds: int,
        prior: Prior | None,
        rng: np.random.Generator,
        seen: SeenRows | None = None,
    ) -> tuple[Mixture, list[tuple[str, int, float]]]:
        """A start by `init_params`, with the parts that the user gave put in place, and how the number was found."""
        kind = self.covariance_type
        if self.n_components == "auto":
            clusters = self.criterion == "clusters"
            mixture, path = search_component_number(source, kind, self.max_components, rng, clusters=clusters)
            return mixture, [(trial.step, trial.n_components, trial.objective) for trial in path]
        k, d = int(self.n_components), self.n_features_in_
        weights = None if self.weights_init is None else check_weights(self.weights_init, k)
        means = None if self.means_init is None else check_means(self.means_init, k, d)
        covariance = None
        if self.precisions_init is not None:
            covariance = inverse_of(kind, check_matrices("precision", self.precisions_init, kind, k, d), d)
        if weights is not None and means is not None and covariance is not None:
            return Mixture(weights, means, covariance), []
        if not self._is_searched(n_seeds):
            method = "kmeans" if self.init_params in OWN_STARTS else self.init_params
            start = repeated(initial_mixture(source, n_seeds, kind, method, self.reg_covar, rng), k)
        else:
            # A fit of few passes is one that is meant to end early, and to be gone on with.
            noise, plain = self.init_params == "diffusion", prior is None and self.max_iter >= PLAIN_PASSES
            start = find_global_start(source, k, kind, rng, noise=noise, plain=plain, seen=seen)
        start = Mixture(
            start.weights if weights is None else weights,
            start.means if means is None else means,
            start.covariance if covariance is None else covariance,
        )
        return start, []

    def _run(
        self,
        number: int,
        source: Source,
        start: Mixture,
        step: Callable[[Source, Mixture, int | None], ExpectedMoments],
        prior: Prior | None,
        previous: float,
    ) -> EMResult:
        """EM from one start, with the lines that `verbose` asks for."""
        progress = Passes(number, self.verbose, self.verbose_interval) if self.verbose else None
        found = run_em(
            source,
            start,
            tol=self.tol,
            max_iter=self.max_iter,
            reg=self.reg_covar,
            prior=prior,
            acceleration=None if self.acceleration is None else ACCELERATIONS[self.acceleration](),
            step=step,
            report=None if progress is None else progress.report,
            previous=previous,
        )
        if progress is not None:
            progress.end(found.converged, _bound(found))
        return found

    def _set_fit(self, mixture: Mixture, home: Array, bounds: list[float], converged: bool, n_iter: int) -> None:
        """Set the fitted attributes, the arrays like `home`; inside all digits are kept."""
        self._hold(mixture, home)
        self.converged_, self.n_iter_, self._n_batches = converged, n_iter, 1
        self.split_gain_ = self.merge_cost_ = np.nan
        self.selection_path_ = []
        self.lower_bounds_ = bounds
        self.lower_bound_ = bounds[-1] if bounds else -np.inf

    def _plain(self, mixture: Mixture) -> Any:
        kind, missing = mixture.covariance.kind, self.missing_values
        return GaussianMixture(mixture.n_components, covariance_type=kind, missing_values=missing)._known(mixture)

    def _known(self, mixture: Mixture) -> Self:
        """Become the estimator of a known mixture."""
        self._set_fit(mixture, np.empty(0), [], True, 0)
        return self

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Take over what a model file holds."""
        home = np.empty(0, fitted["dtype"])
        self._set_fit(fitted["mixture"], home, fitted["lower_bounds"], fitted["converged"], fitted["n_iter"])
        self.lower_bound_, self._n_batches = fitted["lower_bound"], fitted["n_batches"]
        self.split_gain_, self.merge_cost_ = fitted["optimality"]
        self.selection_path_ = fitted["selection_path"]
        if fitted["names"] is not None:
            self.feature_names_in_ = fitted["names"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing_values is not None
        tags.array_api_support = True
        return tags


def _home(x: Array) -> Array:
    """What fitted attributes are to be like: the samples where scikit-learn's dispatch is on, else NumPy."""
    return x if is_foreign(x) and get_config()["array_api_dispatch"] else np.empty(0, floating_type(x))


def _bound(found: EMResult) -> float:
    return found.lower_bounds[-1] if found.lower_bounds else -np.inf


def _moments_of(mixture: Mixture, reg: float) -> ExpectedMoments:
    """The moments, per unit of weight, that EM would return the mixture for: all that a stream has to remember."""
    second = mixture.covariance.plus(-reg).second_of(mixture.weights)
    return ExpectedMoments(mixture.weights, np.zeros_like(mixture.means), second, 0.0, 1.0)
