"""The mixture against SciPy's multivariate normal."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scoremix.evaluation import make_gaussian_mixture


@pytest.mark.parametrize("covariance", ["identity", "spherical", "diag", "full"])
def test_closed_forms_agree_with_scipy(covariance):
    truth = make_gaussian_mixture(3, 3, 2.0, covariance, "zipf", noise_scale=1.5, random_state=0)
    rng, sigma = np.random.default_rng(0), 0.6
    y = truth.sample(50, rng) + sigma * rng.standard_normal((50, 3))
    laws = [multivariate_normal(m, s + sigma**2 * np.eye(3)) for m, s in zip(*_parameters(truth), strict=True)]
    joint = np.stack([w * law.pdf(y) for w, law in zip(truth.weights, laws, strict=True)], axis=1)
    responsibilities = joint / joint.sum(axis=1, keepdims=True)
    pulls = np.stack([-(y - law.mean) @ np.linalg.inv(law.cov) for law in laws], axis=1)
    np.testing.assert_allclose(truth.log_density(y, sigma), np.log(joint.sum(axis=1)))
    np.testing.assert_allclose(truth.score(y, sigma), np.einsum("nk,nkd->nd", responsibilities, pulls))
    np.testing.assert_allclose(truth.posterior_mean(y, sigma), responsibilities @ truth.means)


def test_labels_name_the_component_and_follow_the_weights():
    truth = make_gaussian_mixture(3, 2, 3.0, "full", [5, 3, 2], random_state=1)
    draw = truth.draw(20_000, np.random.default_rng(1))
    np.testing.assert_array_equal(draw.mu, truth.means[draw.labels])
    # Shares: standard error below sqrt(.25 / 20000) = .0035.
    np.testing.assert_allclose(np.bincount(draw.labels) / 20_000, [0.5, 0.3, 0.2], atol=0.0175)


def test_components_have_their_covariances():
    truth = make_gaussian_mixture(2, 3, 4.0, "full", random_state=2)
    draw = truth.draw(40_000, np.random.default_rng(2))
    for j in range(2):
        found = np.cov(draw.x[draw.labels == j].T)
        # Entries have standard error below sqrt(2 / 20000) = .01 for variances of at most one.
        np.testing.assert_allclose(found, truth.covariances[j], atol=0.05)


def _parameters(truth):
    return truth.means, truth.covariances
