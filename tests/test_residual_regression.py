"""Residual regression: sums and identities by brute force, fits against known scores."""

import numpy as np
import pytest

from scoremix.arrays import to_numpy
from scoremix.evaluation.problems import make_gaussian_mixture
from scoremix.features import Hermite, hermite_size
from scoremix.learning.regression.corrections import (
    FOLDS,
    GATE,
    MAX_COLUMNS,
    SWITCH,
    MixtureResidual,
    fit_residual,
    highest_degree,
    narrow_variance,
    stein_products,
)
from scoremix.learning.regression.degrees import ROWS_PER_FEATURE, held_out_gains, select_if_sure
from scoremix.learning.regression.normal_equations import NormalEquations
from scoremix.learning.regression.scores import RegressionSettings, ScoreRegression
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import trust_radius
from scoremix.noise import BLOCK, geometric_levels, normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk

ONE = RegressionSettings(folds=FOLDS, n_threads=1)
NAMES = ("gram", "cross", "target", "weight")


def mixture():
    covariances = np.array([[[2.0, 0.6], [0.6, 0.7]], [[0.5, -0.2], [-0.2, 1.5]], [[1.0, 0.0], [0.0, 1.0]]])
    return Mixture(np.array([0.5, 0.3, 0.2]), np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 2.0]]), Full(covariances))


def scene(n=900, seed=0):
    rng = np.random.default_rng(seed)
    return mixture().sample(n, rng)[0], rng.integers(0, 4, n).astype(float)


def statistic(sigma=0.7, degree=2, draws=2, base=None):
    return ScoreRegression(MixtureResidual(base or mixture(), Hermite(2, degree), sigma), draws, FOLDS, (7, 4))


def brute_force(asked, rows, weight):
    """The sums as the docstrings define them, fold by fold, over all pairs of point and component."""
    k, d, p = 3, 2, asked.problem.features.sizes[-1]
    out = NormalEquations(*map(np.zeros, ((FOLDS, k, p, p), (FOLDS, k, p, d), (FOLDS, k), (FOLDS, k))))
    smooth = asked.problem.base.smooth(asked.problem.sigma)
    noise = normal_rows(asked.key, 0, len(rows), asked.n_draws * d, rows)
    folds = np.arange(len(rows)) % FOLDS
    for z in np.split(noise.T, asked.n_draws, axis=1):
        for signed in (z, -z):
            y = rows + asked.problem.sigma * signed
            _, shares = smooth.evaluate(y)
            target = -signed / asked.problem.sigma - smooth.score(y)
            for j, root in enumerate(asked.problem.whitening.roots(asked.problem.sigma**2)):
                u = (y - smooth.means[j]) @ root
                inside = (np.linalg.norm(u, axis=1) < trust_radius(d)) & (shares[:, j] > GATE)
                h = asked.problem.features(u.T)
                for fold in range(FOLDS):
                    w = weight * shares[:, j] * (folds == fold)
                    out.gram[fold, j] += (h * w * inside) @ h.T
                    out.cross[fold, j] += (h * w * inside) @ target
                    out.target[fold, j] += w @ np.sum(target**2, axis=1)
                    out.weight[fold, j] += w.sum()
    return out


def assert_same(sums, expected, rtol):
    for name in NAMES:
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(sums, name), wanted, rtol=0, atol=rtol * np.abs(wanted).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_equal_the_dense_computation(xp, weighted):
    rows, weight = scene()
    asked = statistic()
    sums = asked(Chunk(0, xp.asarray(rows), xp.asarray(weight) if weighted else None))
    assert_same(sums, brute_force(asked, rows, weight if weighted else np.ones(len(rows))), 1e-10)


@pytest.mark.parametrize("rows_per_chunk", [BLOCK, 1000, 37])
def test_chunk_size_does_not_change_the_sums(rows_per_chunk):
    rows, weight = scene(300 if rows_per_chunk == 37 else BLOCK + 500)
    asked = statistic()
    chunked = accumulate(asked, ArraySource(rows, weight), chunk_rows=rows_per_chunk, n_threads=1)
    assert_same(chunked, asked(Chunk(0, rows, weight)), 1e-11)


def test_number_of_threads_does_not_change_a_bit():
    rows, weight = scene(3 * BLOCK)
    one, three = (accumulate(statistic(), ArraySource(rows, weight), chunk_rows=BLOCK, n_threads=t) for t in (1, 3))
    assert_same(one, three, 0)


def test_weights_add_and_rows_without_weight_are_absent():
    rows, weight = scene()
    asked, other = statistic(), np.where(weight > 0, 0.5, 2.0)
    separately = asked(Chunk(0, rows, weight)) + asked(Chunk(0, rows, other))
    assert_same(asked(Chunk(0, rows, weight + other)), separately, 1e-12)
    present = np.arange(900) < 500
    assert_same(asked(Chunk(0, rows, present.astype(float))), asked(Chunk(0, rows[:500], None)), 1e-12)


def test_stein_products_are_the_operator_applied_to_every_feature():
    rng, features, step = np.random.default_rng(0), Hermite(3, 3), 1e-5
    u, r = rng.standard_normal((3, 50)), rng.random(50)
    h = features(u)
    gradient = np.stack([(features(u + step * e[:, None]) - features(u - step * e[:, None])) @ r for e in np.eye(3)])
    expected = (h * r) @ u.T - gradient.T / (2 * step)
    np.testing.assert_allclose(stein_products((h * r) @ h.T, features), expected, atol=1e-6 * np.abs(expected).max())


def test_both_targets_have_the_same_mean():
    # The base is wrong everywhere, so the cross products are far from 0.
    base = Mixture(np.array([0.6, 0.4]), np.array([[0.5, 0.5], [2.0, 1.0]]), Spherical(np.array([1.5, 1.0]), 2))
    asked = statistic(sigma=1.0, degree=1, draws=1, base=base)
    differences, sizes = [], []
    for seed in range(40):
        sums = asked(Chunk(seed * BLOCK, scene(1000, seed)[0], None))
        denoising = sums.cross.sum(axis=0)
        implicit = (stein_products(sums.gram, asked.problem.features) @ asked.problem.whitening.roots(1.0)).sum(axis=0)
        differences.append(denoising - implicit)
        sizes.append(implicit)
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(40)
    # 12 statistics of Student's t with 39 degrees of freedom: above 4.5 about once in 1,500 seeds.
    assert np.all(np.abs(np.mean(differences, axis=0)) < 4.5 * error)
    assert np.abs(np.mean(sizes, axis=0) / error).max() > 50


@pytest.mark.parametrize("sigma", [0.3, 2.5])
def test_a_wrong_gaussian_is_put_right(sigma):
    # The residual of one Gaussian for another is linear: degree 1 is enough, whichever target is used.
    truth = Mixture(np.ones(1), np.array([[0.4, -0.3]]), Full(np.array([[[1.6, 0.4], [0.4, 0.8]]])))
    base = Mixture(np.ones(1), np.zeros((1, 2)), Spherical(np.ones(1), 2))
    assert (sigma**2 <= SWITCH) == (sigma < 1)
    rows = truth.sample(20_000, np.random.default_rng(0))[0]
    fit = fit_residual(ArraySource(rows), base, sigma, 0, ONE)
    assert fit.model.degrees[0] >= 1
    y = truth.sample(4000, np.random.default_rng(1))[0] + sigma * np.random.default_rng(2).standard_normal((4000, 2))
    errors = [
        np.mean((score - truth.score(y, sigma)) ** 2) for score in (fit.model.score(y.T, sigma).T, base.score(y, sigma))
    ]
    # 6 numbers, each to a variance of order 1 / n, are 6 / 2e4 = 3e-4 of a residual that is of order 1 in local
    # coordinates at small sigma, but of order 0.1 at large, where it is 1 %.
    assert errors[0] < 0.02 * errors[1]
    # What the loss falls by is sigma^4 times what the error does, each known to a few per cent.
    fall = sigma**4 * (errors[1] - errors[0])
    assert fit.base_loss - fit.denoising_loss == pytest.approx(fall, rel=0.1)


def test_base_loss_is_the_denoising_loss():
    rows, weight = scene(2000)
    fit = fit_residual(ArraySource(rows, weight), mixture(), 0.8, 3, ONE)
    z, losses = normal_rows((0, 3), 0, 2000, 4, rows), []
    for part in (z[:2].T, z[2:].T):
        for signed in (part, -part):
            losses.append(np.sum((mixture().denoise(rows + 0.8 * signed, 0.8) - rows) ** 2, axis=1))
    assert fit.base_loss == pytest.approx(np.average(np.mean(losses, axis=0), weights=weight) / 2, rel=1e-10)


def score_errors(truth, base, fits, sigmas, n=4000):
    """Bounds on the Kullback-Leibler divergence of base and of corrected levels."""
    rng, steps, total = np.random.default_rng(9), -np.diff(np.append(sigmas, 0.0) ** 2), np.zeros(2)
    for sigma, step, fit in zip(sigmas.tolist(), steps, fits, strict=True):
        y = truth.sample(n, rng)
        y = y + sigma * rng.standard_normal(y.shape)
        exact = truth.score(y, sigma)
        for i, score in enumerate((base.score(y, sigma), fit.model.score(y.T, sigma).T)):
            total[i] += 0.5 * step * np.mean(np.sum((score - exact) ** 2, axis=1))
    return total


def test_a_crude_base_is_corrected_and_a_right_one_left_alone():
    truth = make_gaussian_mixture(4, 2, 3.0, "full", random_state=1)
    right = Mixture(truth.weights, truth.means, Full(truth.covariances))
    crude = Mixture(truth.weights, truth.means + 0.15, Full(1.2 * right.covariances))
    source = ArraySource(truth.sample(10_000, np.random.default_rng(0)))
    sigmas = geometric_levels(6.0, 0.1, 6)
    fits = [fit_residual(source, crude, sigma, level, ONE) for level, sigma in enumerate(sigmas)]
    before, after = score_errors(truth, crude, fits, sigmas)
    assert after < 0.5 * before
    fits = [fit_residual(source, right, sigma, level, ONE) for level, sigma in enumerate(sigmas)]
    # The exact truth is its own limit: what is added is error, at most the bar for the base at 5e4 rows, times 5.
    assert score_errors(truth, right, fits, sigmas)[1] < 2.5e-4
    assert all(fit.denoising_loss <= fit.base_loss for fit in fits)


def noisy_system(signal, seed=0, n=2000):
    """Folds of a regression on the features of N(0, 1), with so much of degree 1 in the target."""
    rng, features = np.random.default_rng(seed), Hermite(1, 2)
    u = rng.standard_normal((FOLDS, 1, n))
    h = features(u)
    target = signal * u + rng.standard_normal(u.shape)
    return h @ np.swapaxes(h, 1, 2), h @ np.swapaxes(target, 1, 2), features.sizes


def test_noise_is_refused_and_signal_accepted():
    refused = [select_if_sure(*noisy_system(0.0, seed), 1e9).degree for seed in range(40)]
    # Each degree passes by chance in a few per cent; 40 systems of three: more than 12 in all would be wrong.
    assert np.count_nonzero(np.array(refused) >= 0) <= 12
    chosen = select_if_sure(*noisy_system(0.3), 1e9)
    assert chosen.degree >= 1
    assert chosen.coef[1, 0] == pytest.approx(0.3, abs=0.05)
    assert chosen.change < 0


def test_few_rows_have_no_polynomial():
    gram, cross, sizes = noisy_system(1.0)
    assert select_if_sure(gram, cross, sizes, ROWS_PER_FEATURE * 1 - 1).degree == -1
    assert select_if_sure(gram, cross, sizes, ROWS_PER_FEATURE * 2).degree <= 1


def test_held_out_gains_are_those_of_refits():
    gram, cross, _ = noisy_system(0.3)
    for fold, gain in enumerate(held_out_gains(gram, cross)):
        coef = np.linalg.solve(gram.sum(axis=0) - gram[fold], cross.sum(axis=0) - cross[fold])
        expected = 2 * np.sum(coef * cross[fold]) - np.sum(coef * (gram[fold] @ coef))
        assert gain == pytest.approx(expected, rel=1e-2)  # the ridge of 1e-4


def test_degrees_fit_the_dimension():
    assert [highest_degree(d) for d in (1, 2, 5, 6, 12, 13, 50)] == [3, 3, 3, 2, 2, 1, 1]
    assert all(hermite_size(d, highest_degree(d)) <= max(MAX_COLUMNS, d + 1) for d in range(1, 60))
    assert narrow_variance(mixture()) < 0.6


def test_tensors_of_single_precision_keep_it(xp):
    rows, _ = scene(200)
    model = fit_residual(ArraySource(rows), mixture(), 0.5, 0, ONE).model
    y = xp.astype(xp.asarray(rows.T), xp.float32)
    assert model.score(y, 0.5).dtype == xp.float32
    np.testing.assert_allclose(to_numpy(model.score(y, 0.5)), model.score(rows.T, 0.5), atol=1e-3)
