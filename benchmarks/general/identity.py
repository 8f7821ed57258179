"""Noise of known scale: clusters, curves and balls, posterior means in up to 50 dimensions, and many centres in 20."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.general.known import distance, errors
from benchmarks.general.rivals import NPEB_ATOMS, NPEB_PRESENT, NPEB_ROWS, npeb
from benchmarks.methods.kde import CrossValidatedKDE
from benchmarks.problems import BALLS, RING, SPIRAL, Problem, clusters, rotated
from benchmarks.run import Row, cpu_seconds
from benchmarks.tables import Size
from scoremix import DiffusionMixture
from scoremix.arrays import Floats
from scoremix.evaluation import make_gaussian_mixture, posterior_regret
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.learning.mixtures.npmle import FixedVariancePrior
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

PROBLEMS = (clusters(3, 2, 4), clusters(6, 2, 4), clusters(4, 5, 4), clusters(5, 10, 4), RING, SPIRAL, BALLS)
LIMIT_PASSES = 200


def limit(truth: GaussianMixtureTruth, x: Floats) -> Mixture:
    """Maximum likelihood for centres and weights, the variance known: EM from the truth."""
    k, d = truth.means.shape
    start = Mixture(truth.weights, truth.means, Spherical(np.ones(k), d))
    return FixedVariancePrior(1.0, d).em(ArraySource(x), start, LIMIT_PASSES)


def identity(size: Size) -> Iterator[Row]:
    """The score, against the limit where the centres are finitely many."""
    tiny = size == "tiny"
    n = 600 if tiny else 50_000
    for problem in PROBLEMS[:1] if tiny else PROBLEMS:
        for seed in range(1 if tiny else 3):
            truth = problem.make(seed)
            x = truth.sample(n, np.random.default_rng([seed, 0]))
            model, seconds = cpu_seconds(lambda x=x, seed=seed: DiffusionMixture(random_state=seed).fit(x))
            scores: list[Callable[[Floats, float], Floats]] = [model.ladder_.score]
            if isinstance(truth, GaussianMixtureTruth):
                best = limit(truth, x)
                scores.append(lambda y, sigma, best=best: np.asarray(best.score(y, sigma)))
            found = errors(scores, truth, model.noise_levels_, 500 if tiny else 20_000, seed)
            tv, tv_error = distance(truth, model.sample(n, random_state=seed), n, seed)
            k, d = (len(truth.weights) if problem.n_cells else None), truth.n_features
            yield {
                "problem": problem.name,
                "n": n,
                "seed": seed,
                "atoms": int(model.n_cells_per_level_[-1]),
                "cells": model.n_cells_,
                "kl": float(found[0].mean()),
                "kl_error": float(found[0].std(ddof=1) / np.sqrt(found.shape[1])),
                "limit": float(found[1].mean()) if len(found) > 1 else None,
                "parameters_over_2n": (k * (d + 1) - 1) / (2 * n) if k else None,
                "tv_excess": tv,
                "tv_error": tv_error,
                "seconds": seconds,
            }


def regret(size: Size) -> Iterator[Row]:
    """Excess risk of posterior means over the oracle, relative to its risk."""
    tiny = size == "tiny"
    n, points, some = (600, 300, 200) if tiny else (50_000, 40_000, 2_000)
    problems: list[tuple[Problem, int]] = [
        (rotated(problem, d) if d > 2 else problem, d) for problem in (RING, SPIRAL, BALLS) for d in (2, 10, 50)
    ]
    for problem, d in problems[:2] if tiny else problems:
        for seed in range(1 if tiny else 2):
            truth = problem.make(seed)
            x = truth.sample(n, np.random.default_rng([seed, 0]))
            model, seconds = cpu_seconds(lambda x=x, seed=seed: DiffusionMixture(random_state=seed).fit(x))
            answers: dict[str, tuple[Callable[[Floats], Floats], float, int]] = {
                "scoremix": (model.posterior_mean, seconds, n)
            }
            if seed == 0:
                kde, seconds = cpu_seconds(partial(CrossValidatedKDE().fit, x, 1.0, seed))
                answers["KDE, cross-validated"] = kde.posterior_mean, seconds, n
            if NPEB_PRESENT and seed == 0:
                rows, atoms = (100, 20) if tiny else (NPEB_ROWS, NPEB_ATOMS)
                mean, seconds = cpu_seconds(partial(npeb, x, seed, rows, atoms))
                answers["npeb"] = mean, seconds, rows
                few, seconds = cpu_seconds(lambda x=x[:rows], seed=seed: DiffusionMixture(random_state=seed).fit(x))
                answers[f"scoremix, {rows:,} rows"] = few.posterior_mean, seconds, rows
            for method, (mean, seconds, learnt_from) in answers.items():
                asked = some if method.startswith("KDE") else points
                found = posterior_regret(mean, truth, asked, np.random.default_rng([seed, 1]))
                yield {
                    "problem": problem.name.removesuffix(f" in {d}-D"),
                    "d": d,
                    "n": learnt_from,
                    "seed": seed,
                    "method": method,
                    "regret": found.value,
                    "regret_error": found.standard_error,
                    "seconds": seconds,
                }


def equidistant(size: Size) -> Iterator[Row]:
    """Many centres in 20 dimensions, 5 apart: 16 on a simplex, 32 packed, for no 32 points are all equally far."""
    tiny = size == "tiny"
    n, d = (600, 4) if tiny else (20_000, 20)
    for k, layout in ((3, "simplex"),) if tiny else ((16, "simplex"), (32, "random")):
        for seed in range(1 if tiny else 20):
            truth = make_gaussian_mixture(k, d, 5.0, layout=layout, random_state=seed)
            x = truth.sample(n, np.random.default_rng([seed, 0]))
            model, seconds = cpu_seconds(lambda x=x, seed=seed: DiffusionMixture(random_state=seed).fit(x))
            best = limit(truth, x)
            scores = [model.ladder_.score, lambda y, sigma, best=best: np.asarray(best.score(y, sigma))]
            mine, least = errors(scores, truth, model.noise_levels_, 500 if tiny else 5_000, seed)
            yield {
                "k": k,
                "layout": layout,
                "d": d,
                "n": n,
                "seed": seed,
                "cells": model.n_cells_,
                "atoms": int(model.n_cells_per_level_[-1]),
                "kl": float(mine.mean()),
                "limit": float(least.mean()),
                "parameters_over_2n": (k * (d + 1) - 1) / (2 * n),
                "seconds": seconds,
            }
