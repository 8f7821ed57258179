"""Samplers on denoisers that are known exactly."""

from itertools import pairwise
from math import hypot, sqrt

import numpy as np
import pytest

from scoremix.arrays import like, to_numpy
from scoremix.evaluation import make_gaussian_mixture
from scoremix.noise import geometric_levels
from scoremix.sampling import ancestral, dpm, probability_flow, reverse_sde

SAMPLERS = [dpm, probability_flow, ancestral, reverse_sde]
MEAN = np.array([2.0, -1.0])


def gaussian(variance):
    """Denoiser of N(MEAN, variance I), in any array library; a sequence of variances means axes of their own."""

    def denoiser(y, sigma):
        v, mean = like(np.asarray(variance), y), like(MEAN, y)
        return (v * y + sigma**2 * mean) / (v + sigma**2)

    return denoiser


def start_of(variance, sigma, n, seed=0):
    rng = np.random.default_rng(seed)
    return MEAN + np.sqrt(np.asarray(variance) + sigma**2) * rng.standard_normal((n, 2))


def test_dpm_follows_a_single_gaussian_exactly_with_any_number_of_steps():
    y = start_of(0.81, 9.0, 50)
    for sigmas in ([9.0, 0.0], [9.0, 3.0, 0.5, 0.0], [9.0, 8.0, 1.0, 0.9]):
        out = dpm(gaussian(0.81), y, sigmas, noise_scale=0.9)
        expected = MEAN + hypot(0.9, sigmas[-1]) / hypot(0.9, 9.0) * (y - MEAN)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sampler", [dpm, probability_flow])
def test_levels_that_the_noise_of_the_data_hides_change_nothing(sampler):
    y, seen = start_of(0.81, 9.0, 50), [9.0, 4.0, 2.0, 1.0, 0.3]
    expected = sampler(gaussian(0.81), y, [*seen, 1e-9], noise_scale=0.9)
    hidden = sampler(gaussian(0.81), y, [*seen, 1e-9, 1e-20, 1e-100, 0.0], noise_scale=0.9)
    np.testing.assert_array_equal(hidden, expected)
    idle = sampler(gaussian(0.81), y, [1e-50, 1e-100], noise_scale=1e90)
    np.testing.assert_array_equal(idle, y)


@pytest.mark.parametrize("sampler", [dpm, probability_flow])
def test_without_noise_scale_the_end_is_the_denoised_point(sampler):
    y = start_of(4.0, 2.0, 20)
    np.testing.assert_array_equal(dpm(gaussian(4.0), y, [2.0, 0.0]), gaussian(4.0)(y, 2.0))
    lower = sampler(gaussian(4.0), y, [2.0, 0.1])
    np.testing.assert_allclose(sampler(gaussian(4.0), y, [2.0, 0.1, 0.0]), gaussian(4.0)(lower, 0.1), atol=5e-2)


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize(("options", "order"), [({}, 2), ({"method": "heun"}, 2), ({"method": "euler"}, 1)])
def test_order_of_convergence(options, order, noise_scale):
    variance, y = np.array([9.0, 2.0]), start_of([9.0, 2.0], 8.0, 40)
    sampler = probability_flow if options else dpm
    exact = MEAN + np.sqrt((variance + 0.01) / (variance + 64.0)) * (y - MEAN)
    errors = []
    for steps in (50, 100, 200):
        out = sampler(gaussian(variance), y, geometric_levels(8.0, 0.1, steps + 1), noise_scale=noise_scale, **options)
        errors.append(np.abs(out - exact).max())
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    # Twice the steps, error / 2^order; higher terms still show at 50 steps.
    np.testing.assert_allclose(orders, order, atol=0.2)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_moments_of_a_gaussian(sampler, noise_scale):
    n, variance = 20_000, np.array([9.0, 2.0])
    sigmas = np.append(geometric_levels(30.0, 0.05, 150), 0.0)
    start = start_of(variance, 30.0, n)
    out = sampler(gaussian(variance), start, sigmas, np.random.default_rng(1), noise_scale=noise_scale)
    # Means to sd / sqrt(n), four times; variances to sqrt(2 / n) = 1 %, four times, and 3 % for 150 steps.
    assert np.all(np.abs(out.mean(axis=0) - MEAN) < 4 * np.sqrt(variance / n))
    np.testing.assert_allclose(np.cov(out.T), np.diag(variance), rtol=0.07, atol=4 * sqrt(18 / n))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_mixture(sampler):
    n = 12_000
    truth = make_gaussian_mixture(3, 2, 6.0, weights=[0.5, 0.3, 0.2], random_state=0)
    sigmas = np.append(geometric_levels(40.0, 0.2, 80), 0.0)
    rng = np.random.default_rng(2)
    start = truth.mean + rng.standard_normal((n, 2)) @ np.linalg.cholesky(truth.cov + 1600 * np.eye(2)).T
    out = sampler(truth.denoise, start, sigmas, rng, noise_scale=1.0)
    labels = np.argmin(np.sum((out[:, None] - truth.means) ** 2, axis=2), axis=1)
    for j, (weight, mean) in enumerate(zip(truth.weights, truth.means, strict=True)):
        rows = out[labels == j]
        # Shares to sqrt(w (1 - w) / n) = 0.0045, four times; a Gaussian start at 40 is within 0.005 of the truth.
        assert abs(len(rows) / n - weight) < 0.023
        # Half a separation is three standard deviations: 1 % of a cell is cut off or foreign, and moves the mean by
        # 0.04 and the variance by 0.05; statistical errors are 0.02 and 0.03, three times; 80 steps cost 0.03.
        np.testing.assert_allclose(rows.mean(axis=0), mean, atol=0.1)
        np.testing.assert_allclose(np.cov(rows.T), np.eye(2), atol=0.17)


def test_published_step_needs_plus_one():
    """GKL print ``2 [(t - 1) - sqrt((t' - 1)(t - 1))]``; on N(0, 1) only +1 keeps the variance at t + 1."""

    def variance_at_the_end(sign, steps):
        sigmas = geometric_levels(0.9, 0.2, steps)  # below t = 1, where -1 makes the step large and negative
        variance = sigmas[0] ** 2 + 1
        for t, t_lower in pairwise(sigmas**2):
            factor = 2 * ((t + sign) - sqrt((t_lower + sign) * (t + sign)))
            variance = (1 - factor / (t + 1)) ** 2 * variance + t - t_lower
        return variance

    # A step adds 2 (S - S')^2: in all at most 2 (S_0 - S_L) max(S - S') = 2 x 0.33 x 0.003.
    assert abs(variance_at_the_end(+1, 400) - 1.04) < 0.002
    assert variance_at_the_end(-1, 20) > 1e6


def test_reverse_sde_is_the_published_step_with_plus_one():
    y, (sigma, lower) = start_of(1.0, 3.0, 30), (3.0, 2.2)
    t, t_lower, score = sigma**2, lower**2, (MEAN - y) / 10
    z = np.random.default_rng(4).standard_normal(y.shape)
    expected = y + 2 * ((t + 1) - sqrt((t_lower + 1) * (t + 1))) * score + sqrt(t - t_lower) * z
    out = reverse_sde(gaussian(1.0), y, [sigma, lower], np.random.default_rng(4), noise_scale=1.0)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_ancestral_step_is_the_ddpm_posterior():
    # x | y is N(D, ...): the step is drawn from y' | y, x averaged: mean x + (t'/t)(y - x) with x = D(y).
    y, t, t_lower = start_of(1.0, 3.0, 30), 9.0, 4.0
    x = gaussian(1.0)(y, 3.0)
    z = np.random.default_rng(4).standard_normal(y.shape)
    expected = x + t_lower / t * (y - x) + sqrt(t_lower * (1 - t_lower / t)) * z
    out = ancestral(gaussian(1.0), y, [3.0, 2.0], np.random.default_rng(4))
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_library_and_precision_are_kept_and_seeds_mean_the_same(xp, sampler):
    y, sigmas = start_of(2.0, 5.0, 40), [5.0, 2.0, 0.7, 0.0]
    out = sampler(gaussian(2.0), xp.asarray(y), sigmas, np.random.default_rng(3), noise_scale=1.0)
    assert type(out) is type(xp.asarray(y))
    expected = sampler(gaussian(2.0), y, sigmas, np.random.default_rng(3), noise_scale=1.0)
    np.testing.assert_allclose(to_numpy(out), expected, rtol=1e-11)
    single = sampler(gaussian(2.0), xp.asarray(y, dtype=xp.float32), sigmas, np.random.default_rng(3))
    assert single.dtype == xp.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seed_decides_and_input_is_kept(sampler):
    y, sigmas = start_of(2.0, 5.0, 40), [5.0, 2.0, 0.7]
    kept = y.copy()
    first, again, other = (sampler(gaussian(2.0), y, sigmas, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (sampler in (dpm, probability_flow))
    np.testing.assert_array_equal(y, kept)


@pytest.mark.parametrize("sampler", [probability_flow, ancestral, reverse_sde])
def test_walks_compose(sampler):
    """Stopping at a level and going on from it is the same walk (not for dpm, which remembers its last answer)."""
    y, sigmas, rng = start_of(2.0, 5.0, 40), geometric_levels(5.0, 0.5, 9), np.random.default_rng(0)
    half = sampler(gaussian(2.0), y, sigmas[:5], rng)
    whole = sampler(gaussian(2.0), y, sigmas, np.random.default_rng(0))
    np.testing.assert_allclose(sampler(gaussian(2.0), half, iter(sigmas[4:]), rng), whole, rtol=1e-12)


def test_number_of_calls_per_step():
    calls = []

    def counting(y, sigma):
        calls.append(sigma)
        return gaussian(2.0)(y, sigma)

    y, sigmas = start_of(2.0, 5.0, 4), [5.0, 2.0, 0.7, 0.0]
    for sampler, expected in [
        (dpm, [5.0, 2.0, 0.7]),
        (ancestral, [5.0, 2.0, 0.7]),
        (reverse_sde, [5.0, 2.0, 0.7]),
        (probability_flow, [5.0, 2.0, 2.0, 0.7, 0.7]),
    ]:
        calls.clear()
        sampler(counting, y, sigmas, np.random.default_rng(0), noise_scale=1.0)
        assert calls == expected


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='rk45' is not known"):
        probability_flow(gaussian(1.0), np.zeros((1, 2)), [1.0, 0.0], method="rk45")
