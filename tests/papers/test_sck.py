"""Shah, Chen and Klivans (arXiv 2307.01178): what the paper claims of gradient descent on the DDPM objective."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from scoremix import DDPMMixture


def pair(d, length, n, seed):
    """Rows of two components at +-mu, and both means."""
    rng = np.random.default_rng(seed)
    mu = rng.standard_normal(d)
    mu *= length / np.linalg.norm(mu)
    return rng.choice([-1.0, 1.0], n)[:, None] * mu + rng.standard_normal((n, d)), np.stack([mu, -mu])


def errors(found, truth):
    """Distances of means, components matched."""
    gaps = np.linalg.norm(found[:, None] - truth[None], axis=2)
    return gaps[linear_sum_assignment(gaps)]


def em(x, means, steps=2000):
    """Maximum likelihood of means, components of unit covariance and equal weight."""
    for _ in range(steps):
        logits = x @ means.T - np.sum(means**2, axis=1) / 2
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        moved = shares.T @ x / shares.sum(axis=0)[:, None]
        if np.abs(moved - means).max() < 1e-8:
            return moved
        means = moved
    return means


@pytest.mark.slow
def test_the_published_experiment():
    # 12 from the truth in 100 dimensions. Seeds 0 to 5; that small noise alone fails in most is a fact of these starts.
    stuck = 0
    for seed in range(6):
        x, truth = pair(100, 6.0, 1500, seed)
        both = DDPMMixture(random_state=seed).fit(x)
        small = DDPMMixture(noise_times=0.1, n_steps=4000, random_state=seed).fit(x)
        assert 11 < errors(both.history_[0].means, truth).max() < 14
        assert errors(both.means_, truth).max() < 0.5  # sampling alone: sqrt(100 / 750) = 0.37
        stuck += errors(small.means_, truth).max() > 10
    assert stuck >= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_tied_student_needs_no_large_noise(seed):
    x, truth = pair(100, 6.0, 2000, seed)
    model = DDPMMixture(symmetric=True, noise_times=0.1, n_steps=4000, random_state=seed).fit(x)
    assert errors(model.means_, truth).max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_random_start_finds_a_weak_signal_in_many_dimensions(seed):
    x, truth = pair(100, 1.0, 20_000, seed)
    model = DDPMMixture(symmetric=True, n_steps=(300, 100), step_rule="scaled", learning_rate=0.5, random_state=seed)
    mu = model.fit(x).means_[0]
    assert abs(mu @ truth[0]) / np.linalg.norm(mu) > 0.95
    assert errors(model.means_, truth).max() < 1.3 * errors(em(x, truth), truth).max()


@pytest.mark.parametrize("seed", range(2))
def test_all_levels_are_as_good_as_maximum_likelihood(seed):
    rng = np.random.default_rng(seed)
    truth = 5 * rng.standard_normal((8, 16)) / np.sqrt(32)
    x = truth[rng.integers(8, size=10_000)] + rng.standard_normal((10_000, 16))
    start = truth + 0.25 * rng.standard_normal(truth.shape)
    model = DDPMMixture(
        8, noise_times="all", n_steps=60, step_rule="scaled", learning_rate=1.0, means_init=start, random_state=seed
    ).fit(x)
    assert np.linalg.norm(errors(model.means_, truth)) < 1.2 * np.linalg.norm(errors(em(x, start), truth))


def test_one_small_level_is_not_efficient():
    x, truth = pair(2, 1.5, 4000, 0)
    params = {"means_init": truth, "exact_gradient": False, "step_rule": "scaled", "random_state": 0}
    few = DDPMMixture(noise_times=0.005, n_steps=200, learning_rate=0.1, **params).fit(x)
    every = DDPMMixture(noise_times="all", n_steps=200, learning_rate=0.1, **params).fit(x)
    best = em(x, truth)
    assert np.linalg.norm(few.means_ - best) > 5 * np.linalg.norm(every.means_ - best)
