"""General mixtures whose truth is known: how far the learnt score is from the true one, and from what can be reached.

Errors are Girsanov's bound on the Kullback-Leibler divergence, ``1/2 sum_l |s - s_hat|^2 (t_l - t_{l+1})``, at fresh
points of the truth, the same for all methods, so that differences have standard errors of their own. The limit is
maximum likelihood: EM that starts at the truth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.run import Row, cpu_seconds
from benchmarks.tables import Size
from scoremix import DiffusionMixture, GaussianMixture
from scoremix.arrays import Floats
from scoremix.evaluation import histogram_total_variation, make_gaussian_mixture, total_variation
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.learning.regression.corrections import FOLDS, fit_residual
from scoremix.learning.regression.scores import RegressionSettings
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

BASE, CORRECTED, LIMIT = "mixture", "corrected", "maximum likelihood from the truth"
HALF, DOUBLE = "half of k", "twice k"
PAPER, SOFT = "cells alone, as published", "cells alone, soft"
CELLS = {"hard": PAPER, "soft": SOFT}
HALF_CORRECTED, DOUBLE_CORRECTED = "half of k, corrected", "twice k, corrected"

Score = Callable[[Floats, float], Floats]


@dataclass(frozen=True)
class Case:
    """k components in d dimensions: their separation, condition number, and rows."""

    d: int
    k: int
    separation: float
    condition: float
    n: int = 50_000

    @property
    def name(self) -> str:
        return f"{self.d}-D, k = {self.k}, separation {self.separation:g}, condition {self.condition:.3g}"

    @property
    def parameters(self) -> int:
        """Free parameters of the mixture."""
        return self.k * (self.d + 1) * (self.d + 2) // 2 - 1

    def truth(self, seed: int) -> GaussianMixtureTruth:
        """At separation 0 all means are the same."""
        law = make_gaussian_mixture(
            self.k, self.d, self.separation or 1.0, "full", condition=self.condition, random_state=seed
        )
        means = law.means if self.separation else np.zeros_like(law.means)
        return GaussianMixtureTruth(law.weights, means, law.variances, law.axes, None)


CASES = (
    Case(2, 4, 3, 10),
    Case(5, 5, 3, 10),
    Case(8, 8, 3, 10),
    Case(2, 2, 0, 100),
    Case(2, 16, 4, 100),
    Case(3, 6, 2, 100),
    Case(5, 16, 6, 1e4),
    Case(10, 4, 1, 100),
    Case(20, 8, 4, 1e4),
    Case(50, 2, 0, 10, 20_000),
    Case(50, 4, 6, 100, 20_000),
)


def errors(scores: Sequence[Score], truth: GaussianMixtureTruth, sigmas: Floats, n: int, seed: int) -> Floats:
    """Girsanov's bound at every one of n points, shape (scores, n)."""
    rng = np.random.default_rng([seed, 1])
    steps = -np.diff(np.append(sigmas, 0.0) ** 2) / 2
    total = np.zeros((len(scores), n))
    for sigma, step in zip(sigmas.tolist(), steps.tolist(), strict=True):
        y = truth.sample(n, rng)
        y = y + sigma * rng.standard_normal(y.shape)
        exact = truth.score(y, sigma)
        total += step * np.stack([np.sum((score(y, sigma) - exact) ** 2, axis=1) for score in scores])
    return total


def cells_alone(x: Floats, sigmas: Floats, gates: str, seed: int) -> DiffusionMixture:
    """The published algorithm, k not told, at the levels of the others."""
    model = DiffusionMixture(
        "general",
        correction_of="nothing",
        gates=gates,
        n_levels=len(sigmas),
        sigma_min=float(sigmas[-1]),
        sigma_max=float(sigmas[0]),
        random_state=seed,
    )
    return model.fit(x)


def corrected(x: Floats, model: GaussianMixture, sigmas: Floats, seed: int) -> Score:
    """A mixture of any number of components, corrected."""
    covariance = Full(np.asarray(model.covariances_))
    base = Mixture(np.asarray(model.weights_), np.asarray(model.means_), covariance)
    source, how = ArraySource(x), RegressionSettings(folds=FOLDS, seed=seed)
    levels = {sigma: fit_residual(source, base, sigma, level, how).model for level, sigma in enumerate(sigmas.tolist())}
    return lambda y, sigma: np.asarray(levels[sigma].score(y.T, sigma).T)


def mixture_score(model: GaussianMixture) -> Score:
    return lambda y, sigma: np.asarray(model.score_function(y, sigma))


def from_truth(truth: GaussianMixtureTruth, x: Floats) -> GaussianMixture:
    """Maximum likelihood: EM from the truth until it stands."""
    model = GaussianMixture(
        len(truth.weights),
        weights_init=truth.weights,
        means_init=truth.means,
        precisions_init=np.linalg.inv(truth.covariances),
        reg_covar=0.0,
        tol=1e-7,
        max_iter=300,
    )
    return model.fit(x)


def distance(truth: GaussianMixtureTruth, drawn: Floats, n: int, seed: int) -> tuple[float, float]:
    """Excess of the two-sample histogram TV, above three dimensions in the plane of the widest axes; its error."""
    axes = np.eye(truth.n_features)
    if truth.n_features > 3:
        axes = np.linalg.eigh(truth.cov).eigenvectors[:, -2:]
    found = histogram_total_variation(truth.sample(n, np.random.default_rng([seed, 2])) @ axes, drawn @ axes)
    return found.excess, found.standard_error


def known(size: Size) -> Iterator[Row]:
    """General mixtures: the default mode, wrong numbers of components, the published algorithm, and the limit."""
    tiny = size == "tiny"
    for case in (Case(2, 2, 3, 10, 600),) if tiny else CASES:
        for seed in range(1 if tiny or case.d > 4 else 2):
            yield from one_case(case, seed, 500 if tiny else 5_000 if case.d > 10 else 20_000)


def one_case(case: Case, seed: int, n_points: int) -> Iterator[Row]:
    """All methods on one draw of one law."""
    truth = case.truth(seed)
    x = truth.sample(case.n, np.random.default_rng([seed, 0]))
    model, seconds = cpu_seconds(lambda: DiffusionMixture("general", random_state=seed).fit(x))
    sigmas, crude = model.noise_levels_, model.to_mixture()
    scores: dict[str, Score] = {BASE: mixture_score(crude), CORRECTED: model.ladder_.score}
    drawn = {BASE: np.asarray(crude.sample(case.n)[0]), CORRECTED: model.sample(case.n, random_state=seed)}
    times, numbers = {CORRECTED: seconds}, {BASE: crude.n_components_, CORRECTED: crude.n_components_}
    exact, times[LIMIT] = cpu_seconds(lambda: from_truth(truth, x))
    scores[LIMIT], numbers[LIMIT] = mixture_score(exact), case.k
    for plain, better, k in ((HALF, HALF_CORRECTED, case.k // 2), (DOUBLE, DOUBLE_CORRECTED, 2 * case.k)):
        wrong, times[plain] = cpu_seconds(lambda k=k: GaussianMixture(k, random_state=seed).fit(x))
        fitted, more = cpu_seconds(lambda wrong=wrong: corrected(x, wrong, sigmas, seed))
        scores |= {plain: mixture_score(wrong), better: fitted}
        times[better] = times[plain] + more
        numbers |= {plain: k, better: k}
    for gates, name in CELLS.items() if case.d <= 3 else ():
        cells, times[name] = cpu_seconds(lambda gates=gates: cells_alone(x, sigmas, gates, seed))
        scores[name], numbers[name] = cells.ladder_.score, cells.n_cells_
        drawn[name] = cells.sample(case.n, random_state=seed)
    found = dict(zip(scores, errors(list(scores.values()), truth, sigmas, n_points, seed), strict=True))
    for method, values in found.items():
        excess = found[BASE] - values
        tv, tv_error = distance(truth, drawn[method], case.n, seed) if method in drawn else (None, None)
        yield {
            "problem": case.name,
            "d": case.d,
            "k": case.k,
            "n": case.n,
            "seed": seed,
            "method": method,
            "k_found": numbers.get(method),
            "kl": float(values.mean()),
            "kl_error": _error(values),
            "gain": float(excess.mean()),
            "gain_error": _error(excess),
            "tv_excess": tv,
            "tv_error": tv_error,
            "parameters_over_2n": case.parameters / (2 * case.n),
            "corrected_levels": sum(int(q.max() >= 0) for q in model.degrees_) if method == CORRECTED else None,
            "seconds": times.get(method),
        }


def random(size: Size) -> Iterator[Row]:
    """Forty random problems: is the correction ever worse than the mixture?"""
    tiny = size == "tiny"
    for seed in range(2 if tiny else 40):
        rng = np.random.default_rng([seed, 5])
        d = int(np.round(np.exp(rng.uniform(np.log(2), np.log(12)))))
        case = Case(
            d,
            int(rng.integers(2, 13)),
            float(np.round(rng.uniform(0, 6), 1)),
            float(10.0 ** np.round(rng.uniform(0, 4), 1)),
            500 if tiny else int(rng.choice([5_000, 20_000, 50_000])),
        )
        truth = case.truth(seed)
        x = truth.sample(case.n, np.random.default_rng([seed, 0]))
        model, seconds = cpu_seconds(lambda x=x, seed=seed: DiffusionMixture("general", random_state=seed).fit(x))
        crude = model.to_mixture()
        scores: tuple[Score, ...] = mixture_score(crude), model.ladder_.score
        plain, better = errors(scores, truth, model.noise_levels_, 500 if tiny else 10_000, seed)
        yield {
            "problem": case.name,
            "d": d,
            "k": case.k,
            "n": case.n,
            "seed": seed,
            "k_found": crude.n_components_,
            "kl": float(better.mean()),
            "kl_mixture": float(plain.mean()),
            "gain": float((plain - better).mean()),
            "gain_error": _error(plain - better),
            "corrected_levels": sum(int(q.max() >= 0) for q in model.degrees_),
            "parameters_over_2n": case.parameters / (2 * case.n),
            "seconds": seconds,
        }


@dataclass(frozen=True)
class Law:
    """A density with its sampler, as the distance asks for them."""

    sample: Callable[[int, np.random.Generator], Floats]
    log_density: Callable[[Floats], Floats]


def overlap(size: Size) -> Iterator[Row]:
    """Two components half a standard deviation or one apart, of different covariances."""
    tiny = size == "tiny"
    n = 600 if tiny else 100_000
    for d in (2,) if tiny else (2, 5):
        for separation in (0.5,) if tiny else (0.5, 1.0):
            for seed in range(1 if tiny else 3):
                truth = Case(d, 2, separation, 10, n).truth(seed)
                x = truth.sample(n, np.random.default_rng([seed, 0]))
                model, seconds = cpu_seconds(lambda x=x, s=seed: DiffusionMixture("general", random_state=s).fit(x))
                crude, exact = model.to_mixture(), from_truth(truth, x)
                laws = {
                    BASE: _law(crude),
                    CORRECTED: Law(
                        lambda m, rng, f=model: f.sample(m, random_state=int(rng.integers(2**31))), model.score_samples
                    ),
                    LIMIT: _law(exact),
                }
                for method, law in laws.items():
                    found = total_variation(truth, law, 500 if tiny else 40_000, np.random.default_rng([seed, 3]))
                    yield {
                        "d": d,
                        "separation": separation,
                        "n": n,
                        "seed": seed,
                        "method": method,
                        "k_found": crude.n_components_ if method != LIMIT else 2,
                        "tv": found.value,
                        "tv_error": found.standard_error,
                        "seconds": seconds,
                    }


def _law(model: GaussianMixture) -> Law:
    matrices = np.asarray(model.covariances_)
    variances, axes = np.linalg.eigh(matrices)
    closed = GaussianMixtureTruth(np.asarray(model.weights_), np.asarray(model.means_), variances, axes, None)
    return Law(closed.sample, closed.log_density)


def flat(size: Size) -> Iterator[Row]:
    """Components in planes, and data in a plane: where learning stops, and the error of the scores down to there."""
    tiny = size == "tiny"
    d, k, n = (3, 2, 600) if tiny else (5, 3, 20_000)
    for problem in ("one component in a plane", "all components in planes", "data in a plane"):
        for seed in range(1 if tiny else 3):
            truth = in_planes(problem, d, k, seed)
            x = truth.sample(n, np.random.default_rng([seed, 0]))
            row: Row = {"problem": problem, "d": d, "n": n, "seed": seed, "k": k}
            row["narrowest"] = float(np.sqrt(truth.variances[truth.variances > GONE].min()))
            try:
                model = DiffusionMixture("general", random_state=seed).fit(x)
            except ValueError as error:
                yield row | {"k_found": None, "floor": None, "kl": None, "finite": False, "error": str(error)}
                continue
            values = _above_floor(model.ladder_.score, truth, model.noise_levels_, 500 if tiny else 10_000, seed)
            yield row | {
                "k_found": model.n_cells_,
                "floor": model.noise_floor_,
                "kl": float(values.mean()),
                "finite": bool(np.isfinite(model.sample(1000, random_state=0)).all()),
                "error": None,
            }


GONE = 1e-200
"""A variance in place of 0: the truth is asked for its score at noisy points only."""


def in_planes(problem: str, d: int, k: int, seed: int) -> GaussianMixtureTruth:
    """A law of which one component, all, or all in the same plane have no width beyond two directions."""
    law = make_gaussian_mixture(k, d, 4.0, "full", condition=10, random_state=seed)
    assert law.axes is not None
    variances, axes, means = np.array(law.variances), law.axes, law.means
    variances[: 1 if problem.startswith("one") else k, 2:] = GONE
    if problem.startswith("data"):
        axes = np.broadcast_to(axes[0], (k, d, d))
        means = means @ axes[0][:, :2] @ axes[0][:, :2].T
    return GaussianMixtureTruth(law.weights, means, variances, axes, None)


def _above_floor(score: Score, truth: GaussianMixtureTruth, sigmas: Floats, n: int, seed: int) -> Floats:
    """Girsanov's bound down to the lowest level: below it nothing is learnt, and the last step is left out."""
    rng, total = np.random.default_rng([seed, 1]), np.zeros(n)
    for sigma, step in zip(sigmas[:-1].tolist(), (-np.diff(sigmas**2) / 2).tolist(), strict=True):
        y = truth.sample(n, rng)
        y = y + sigma * rng.standard_normal(y.shape)
        total += step * np.sum((score(y, sigma) - truth.score(y, sigma)) ** 2, axis=1)
    return total


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))
