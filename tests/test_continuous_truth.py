"""Continuous mixtures against brute force: the same laws as mixtures of very many Gaussians."""

import numpy as np
import pytest
from scipy import special

from scoremix.evaluation import make_balls, make_manifold, make_ring, make_spiral
from scoremix.evaluation.continuous_truth import ShellTruth, _bessel
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth


def _atoms(points, noise_scale, weights=None):
    weights = np.full(len(points), 1 / len(points)) if weights is None else weights
    return GaussianMixtureTruth(weights, points, np.full(points.shape, noise_scale**2), None, noise_scale)


def _assert_same(truth, reference, y, sigma, atol):
    for ours, theirs in zip(truth.evaluate(y, sigma), reference.evaluate(y, sigma), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 6.0])
def test_ring_is_a_trapezoid_of_many_atoms(sigma):
    # The periodic trapezoid converges like I_400(a) / I_0(a) < 1e-100 for a < 300: only rounding is left.
    angle = 2 * np.pi * np.arange(400) / 400
    atoms = 6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    y = np.random.default_rng(0).uniform(-16, 16, (300, 2))
    _assert_same(make_ring(), _atoms(atoms, 1.0), y, sigma, 1e-12)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_balls_are_polar_grids_of_atoms(sigma):
    # Gauss-Legendre in the square of the radius times a trapezoid in the angle; both exact to rounding here.
    truth = make_balls(k=2, random_state=0)
    nodes, weights = special.roots_legendre(40)
    angle = 2 * np.pi * np.arange(100) / 100
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    disc = (2 * np.sqrt((nodes + 1) / 2)[:, None, None] * circle).reshape(-1, 2)
    atoms = (truth.centers[:, None] + disc).reshape(-1, 2)
    shares = np.tile(np.repeat(weights / 2 / 100, 100), 2) / 2
    y = np.random.default_rng(1).uniform(-12, 12, (200, 2))
    _assert_same(truth, _atoms(atoms, 1.0, shares), y, sigma, 1e-10)


def test_ball_in_five_dimensions_by_importance_of_uniform_points():
    # E[mu | y] from 200,000 uniform centres; its standard error is below 2 / sqrt(200000 / 10) = .014.
    rng, y = np.random.default_rng(2), np.array([[1.0, 0.5, 0, 0, -1.0]])
    mu = make_balls(k=1, d=5).draw(200_000, rng).mu
    weights = np.exp(-np.sum((y - mu) ** 2, axis=1) / 2)
    truth = make_balls(k=1, d=5)
    np.testing.assert_allclose(truth.posterior_mean(y)[0], weights @ mu / weights.sum(), atol=0.05)
    expected = np.log(weights.mean()) - 2.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(truth.log_density(y)[0], expected, atol=0.02)


@pytest.mark.parametrize("dimension", [2, 3, 4, 10, 50])
def test_bessel_functions_are_integrals_over_the_sphere(dimension):
    # E exp(a (t - 1)) and E t exp(a t) / E exp(a t) for t one coordinate of the unit sphere, by Gauss-Jacobi.
    a = np.concatenate([[0.0], np.geomspace(1e-8, 900, 60)])
    t, weights = special.roots_jacobi(300, (dimension - 3) / 2, (dimension - 3) / 2)
    tilted = np.exp(a[:, None] * (t - 1)) * weights / weights.sum()
    log_base, ratio = _bessel(dimension, a)
    np.testing.assert_allclose(log_base, np.log(tilted.sum(axis=1)), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(ratio * a / dimension, (tilted @ t) / tilted.sum(axis=1), rtol=1e-10, atol=1e-12)


def test_spiral_does_not_depend_on_its_nodes():
    # Panels of 20 Gauss-Legendre nodes, far more than needed, against one rule along the whole curve.
    truth = make_spiral()
    nodes, weights = special.roots_legendre(20)
    share = ((nodes + 1) / 2 + np.arange(40)[:, None]).ravel() / 40
    reference = _atoms(truth.curve(share), 1.0, np.tile(weights / 80, 40))
    y = np.random.default_rng(3).uniform(-13, 13, (300, 2))
    _assert_same(truth, reference, y, 0.0, 1e-9)


def test_spiral_is_uniform_by_arc_length():
    points = make_spiral().curve(np.linspace(0, 1, 2001))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    # Chords of a curve with radius of curvature >= 0.5 and step 0.02 are short of the arc by 7e-5 at most.
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-4)


def test_centres_lie_where_they_should():
    rng = np.random.default_rng(4)
    np.testing.assert_allclose(np.linalg.norm(make_ring(4.0).draw(100, rng).mu, axis=1), 4.0)
    annulus = ShellTruth(np.zeros((1, 3)), 1.0, 2.0, 0.1)
    radius = np.linalg.norm(annulus.draw(10_000, rng).mu, axis=1)
    assert radius.min() >= 1
    assert radius.max() <= 2
    # (r^3 - 1) / 7 is uniform: its mean has standard error .0029.
    assert abs(np.mean((radius**3 - 1) / 7) - 0.5) < 0.0145
    balls = make_balls(random_state=0)
    draw = balls.draw(1000, rng)
    assert np.linalg.norm(draw.mu - balls.centers[draw.labels], axis=1).max() <= 2
    assert set(draw.labels) == {0, 1, 2}


def test_manifold_lies_in_a_plane_with_noise_around_it():
    truth = make_manifold(make_ring(), 10, random_state=0)
    np.testing.assert_allclose(truth.basis.T @ truth.basis, np.eye(2), atol=1e-14)
    draw = truth.draw(5000, np.random.default_rng(5))
    np.testing.assert_allclose(draw.mu, draw.mu @ truth.basis @ truth.basis.T, atol=1e-12)
    spectrum = np.linalg.eigvalsh(truth.cov)
    np.testing.assert_allclose(spectrum, [1] * 8 + [19, 19])
