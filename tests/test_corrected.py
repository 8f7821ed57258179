"""The corrected mixture: the base where nothing is added, the definition where something is."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from scoremix.arrays import to_numpy
from scoremix.features import Hermite
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, trust_radius
from scoremix.models.whitening import Whitening

VALUES = {
    "full": [[[2.0, 0.6], [0.6, 0.7]], [[0.5, -0.2], [-0.2, 1.5]], [[1.0, 0.0], [0.0, 1.0]]],
    "tied": [[2.0, 0.6], [0.6, 0.7]],
    "diag": [[2.0, 0.7], [0.5, 1.5], [1.0, 1.0]],
    "spherical": [2.0, 0.5, 1.0],
}


def mixture(kind="full", spread=1.0):
    means = spread * np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 2.0]])
    return Mixture(np.array([0.5, 0.3, 0.2]), means, covariance_of(kind, np.array(VALUES[kind]), 2))


def points(n=200, seed=0):
    return 2.5 * np.random.default_rng(seed).standard_normal((2, n))


def model(base, degrees=(2, -1, 1), noise_scale=0.8):
    features = Hermite(2, max(*degrees, 0))
    coef = 0.3 * np.random.default_rng(1).standard_normal((3, features.sizes[-1], 2))
    for j, degree in enumerate(degrees):
        coef[j, features.sizes[degree] if degree >= 0 else 0 :] = 0
    return CorrectedMixture(base, features, coef, np.array(degrees), noise_scale)


def by_definition(asked, y, sigma):
    """The formula of the docstring, point by component."""
    base = asked.base.smooth(sigma)
    _, shares = base.evaluate(y.T)
    score, radius = base.score(y.T).T, trust_radius(2)
    for j in range(3):
        root = np.linalg.inv(sqrtm(base.covariances[j]).real)
        u = root @ (y - base.means[j][:, None])
        u *= np.minimum(1, radius / np.linalg.norm(u, axis=0))
        score = score + shares[:, j] * (root @ asked.coef[j].T @ asked.features(u))
    return score


@pytest.mark.parametrize("kind", VALUES)
def test_without_polynomials_it_is_the_base(kind):
    base, y = mixture(kind), points()
    alone = model(base, (-1, -1, -1))
    for sigma in (0.0, 0.3, 5.0):
        np.testing.assert_allclose(alone.score(y, sigma), base.score(y.T, sigma).T, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(alone.centers, base.means)
    np.testing.assert_array_equal(alone.weights, base.weights)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_score_is_what_is_defined(kind, sigma):
    asked, y = model(mixture(kind)), 2 * points()
    # Responsibilities below 1e-6 are silent; they are times polynomials of up to 20.
    np.testing.assert_allclose(asked.score(y, sigma), by_definition(asked, y, sigma), rtol=1e-9, atol=1e-4)
    assert np.abs(asked.score(y, sigma) - asked.base.score(y.T, sigma).T).max() > 0.1


def test_a_level_per_point_is_the_same_as_one_after_the_other():
    asked, y = model(mixture()), points(5)
    sigma = np.array([0.1, 0.5, 0.5, 2.0, 9.0])
    one_by_one = [asked.score(y[:, i : i + 1], float(s)) for i, s in enumerate(sigma)]
    np.testing.assert_allclose(asked.score(y, sigma), np.concatenate(one_by_one, axis=1), rtol=1e-10, atol=1e-12)


def test_a_component_that_is_silent_everywhere_corrects_nothing():
    asked = model(mixture(spread=1e3))
    y = asked.base.means[:1].T + points(4)  # of the first component alone
    np.testing.assert_allclose(asked.score(y, 0.5), by_definition(asked, y, 0.5), rtol=1e-9, atol=1e-9)


def test_means_far_apart_keep_points_in_their_order():
    # So far that the kernel looks at points from several origins, sorted by the nearest.
    asked = model(mixture(spread=1e6))
    assert len(asked.base.joint().frames) > 1
    y = points(60) + asked.base.means[np.arange(60) % 3].T
    np.testing.assert_allclose(asked.score(y, 0.5), by_definition(asked, y, 0.5), rtol=1e-6, atol=1e-6)


def test_posterior_mean_is_tweedies():
    asked, y = model(mixture()), points(20)
    expected = y + (0.8**2 + 1.5**2) * asked.score(y, 1.5)
    np.testing.assert_allclose(asked.posterior_mean(y, 1.5), expected, rtol=1e-12)


def test_what_is_added_stays_constant_beyond_the_trust_radius():
    base = mixture("spherical").take(np.array([0]))
    asked = CorrectedMixture(base, Hermite(2, 1), np.ones((1, 3, 2)), np.array([1]), 0.0)
    direction = np.array([[0.6], [0.8]]) * np.sqrt(2.0 + 1.0)
    far = direction * trust_radius(2) * np.array([1.0, 2.0, 50.0])
    added = asked.score(far, 1.0) - base.score(far.T, 1.0).T
    np.testing.assert_allclose(added, added[:, :1] @ np.ones((1, 3)), rtol=1e-9)
    assert np.all(added > 1)


def test_whitening_makes_components_standard():
    base = mixture()
    local = Whitening.of(base)
    for j, root in enumerate(local.roots(0.5)):
        np.testing.assert_allclose(root @ (base.covariances[j] + 0.5 * np.eye(2)) @ root, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(root, root.T, atol=1e-14)
        np.testing.assert_allclose(local.apply(j, np.eye(2), 0.5), root, rtol=1e-12)


@pytest.mark.parametrize("levels", ["one", "per point"])
def test_every_array_library_answers_alike(xp, levels):
    asked, y = model(mixture()), points()
    sigma = 0.7 if levels == "one" else np.linspace(0.1, 3, 200)
    there = asked.score(xp.asarray(y), sigma if levels == "one" else xp.asarray(sigma))
    np.testing.assert_allclose(to_numpy(there), asked.score(y, sigma), rtol=1e-9, atol=1e-12)
