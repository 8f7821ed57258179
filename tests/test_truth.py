"""Laws that every truth obeys, whatever it is made of."""

import numpy as np
import pytest

from scoremix.evaluation import (
    make_balls,
    make_gaussian_mixture,
    make_manifold,
    make_pairs,
    make_ring,
    make_spiral,
    total_variation,
)

PROBLEMS = {
    "identity": make_gaussian_mixture(4, 3, 3.0, weights="zipf", noise_scale=0.5, random_state=0),
    "spherical": make_gaussian_mixture(3, 2, 2.0, "spherical", random_state=1),
    "diag": make_gaussian_mixture(3, 2, 2.0, "diag", random_state=2),
    "full": make_gaussian_mixture(3, 4, 2.0, "full", random_state=3),
    "pairs": make_pairs(4, 2, random_state=4),
    "ring": make_ring(noise_scale=2.0),
    "spiral": make_spiral(),
    "balls": make_balls(d=3, noise_scale=0.7, random_state=5),
    "disc in 6-D": make_manifold(make_balls(k=2, random_state=6), 6, random_state=7),
    "ring in 4-D": make_manifold(make_ring(), 4, random_state=8),
}


@pytest.fixture(params=PROBLEMS)
def truth(request):
    return PROBLEMS[request.param]


@pytest.fixture
def noisy(truth):
    """Points at level 0.8, with some far outside."""
    rng = np.random.default_rng(0)
    x = truth.sample(40, rng)
    return np.concatenate([x + 0.8 * rng.standard_normal(x.shape), truth.mean + 3 * (x[:5] - truth.mean)])


@pytest.mark.parametrize("sigma", [0.0, 0.8])
def test_score_is_the_gradient_of_the_log_density(truth, noisy, sigma):
    # Central differences of step 1e-5: error 1e-10 |third derivative| + 1e-13 |log density| / 1e-5 < 1e-6.
    step, score = 1e-5, truth.score(noisy, sigma)
    for axis in range(truth.n_features):
        shift = step * np.eye(truth.n_features)[axis]
        slope = truth.log_density(noisy + shift, sigma) - truth.log_density(noisy - shift, sigma)
        np.testing.assert_allclose(slope / (2 * step), score[:, axis], rtol=1e-6, atol=1e-6)


def test_noise_convolves_the_law(truth, noisy):
    # Heat equation: d log q / dt = (div s + |s|^2) / 2 at t = sigma^2; steps of 1e-4 err by about 1e-6.
    t, step, divergence = 0.64, 1e-4, 0.0
    for axis in range(truth.n_features):
        shift = step * np.eye(truth.n_features)[axis]
        divergence += (truth.score(noisy + shift, 0.8) - truth.score(noisy - shift, 0.8))[:, axis] / (2 * step)
    later, earlier = (truth.log_density(noisy, np.sqrt(t + h)) for h in (step, -step))
    expected = (divergence + np.sum(truth.score(noisy, 0.8) ** 2, axis=1)) / 2
    np.testing.assert_allclose((later - earlier) / (2 * step), expected, rtol=1e-5, atol=1e-5)


def test_density_is_the_law_of_the_samples(truth):
    # E s = 0 and E (x - mean) s^T = -I under the law (Stein): z-scores of every entry below 5.
    x = truth.sample(20_000, np.random.default_rng(1))
    score = truth.score(x)
    entries = np.concatenate([score[:, :, None], score[:, :, None] * (x - truth.mean)[:, None, :]], axis=2)
    expected = np.concatenate([np.zeros((truth.n_features, 1)), -np.eye(truth.n_features)], axis=1)
    z = (entries.mean(axis=0) - expected) / (entries.std(axis=0) / np.sqrt(len(x)))
    assert np.abs(z).max() < 5


def test_mean_and_cov_are_those_of_the_samples(truth):
    # Entries are means of 40,000 products: z-scores below 5.
    x = truth.sample(40_000, np.random.default_rng(2)) - truth.mean
    products = x[:, :, None] * x[:, None, :]
    assert np.all(np.abs(x.mean(axis=0)) < 5 * x.std(axis=0) / 200)
    assert np.all(np.abs(products.mean(axis=0) - truth.cov) < 5 * products.std(axis=0) / 200)


def test_posterior_mean_is_the_regression_of_the_centre(truth):
    # mu - E[mu | x] is uncorrelated with any function of x, here E[mu | x] itself: z-scores below 5.
    x, mu = truth.sample_latent(20_000, np.random.default_rng(3))
    oracle = truth.posterior_mean(x)
    products = (mu - oracle)[:, :, None] * np.concatenate([np.ones((len(x), 1)), oracle], axis=1)[:, None, :]
    spread = products.std(axis=0) + 1e-12
    assert np.abs(products.mean(axis=0) / spread).max() * np.sqrt(len(x)) < 5


def test_posterior_mean_and_denoiser_follow_from_the_score(truth, noisy):
    score = truth.score(noisy, 0.8)
    np.testing.assert_allclose(truth.denoise(noisy, 0.8), noisy + 0.64 * score)
    if truth.noise_scale is not None:
        tweedie = noisy + (truth.noise_scale**2 + 0.64) * score
        np.testing.assert_allclose(truth.posterior_mean(noisy, 0.8), tweedie, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, truth in PROBLEMS.items() if truth.noise_scale])
def test_latent_centre_carries_the_noise(name):
    truth = PROBLEMS[name]
    x, mu = truth.sample_latent(20_000, np.random.default_rng(4))
    # Second moments of x - mu: standard error noise_scale^2 sqrt(2 / 20000) = 0.01 noise_scale^2.
    second = (x - mu).T @ (x - mu) / len(x) / truth.noise_scale**2
    np.testing.assert_allclose(second, np.eye(truth.n_features), atol=0.05)


def test_level_may_differ_from_row_to_row(truth, noisy):
    sigmas = np.linspace(0, 2, len(noisy))
    rows = [truth.score(row[None], sigma)[0] for row, sigma in zip(noisy, sigmas, strict=True)]
    np.testing.assert_allclose(truth.score(noisy, sigmas), rows, atol=1e-10)
    np.testing.assert_allclose(truth.denoise(noisy, sigmas)[3], truth.denoise(noisy, sigmas[3])[3])


def test_same_seed_same_sample(truth):
    first, second = (truth.draw(50, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(first.x, second.x)
    assert first.mu.shape == first.x.shape == (50, truth.n_features)
    assert first.labels.shape == (50,)


def test_blocks_do_not_change_the_answer():
    truth = PROBLEMS["balls"]
    x = truth.sample(12_000, np.random.default_rng(5))  # several blocks
    whole = truth.evaluate(x, 0.3)
    for many, few in zip(whole, truth.evaluate(x[-7:], 0.3), strict=True):
        np.testing.assert_allclose(many[-7:], few, atol=1e-12)
    assert truth.log_density(np.empty((0, 3))).shape == (0,)


def test_truth_is_at_distance_zero_from_itself():
    assert total_variation(PROBLEMS["full"], PROBLEMS["full"], 100, 0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("y", "sigma", "message"),
    [
        (np.zeros((3, 2)), 0.0, r"y must have shape \(n, 3\)"),
        (np.zeros(3), 0.0, "y must have shape"),
        (np.zeros((3, 3)), -1.0, "sigma must be"),
        (np.zeros((3, 3)), np.nan, "sigma must be"),
        (np.zeros((3, 3)), np.ones(2), "sigma must be"),
    ],
)
def test_wrong_arguments_are_refused(y, sigma, message):
    with pytest.raises(ValueError, match=message):
        PROBLEMS["identity"].evaluate(y, sigma)
