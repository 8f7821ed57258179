"""The noise scale that data do not tell, and whether one scale explains them."""

import numpy as np
import pytest

from scoremix.estimators.checks import moments_of
from scoremix.evaluation.problems import make_balls, make_gaussian_mixture, make_ring, make_spiral
from scoremix.learning.mixtures.noise_scale import find_one_scale
from scoremix.samples.source import ArraySource


def found(x, seed=0):
    source = ArraySource(np.asarray(x, dtype=np.float64))
    return find_one_scale(source, moments_of(source, None, needs_width=False), np.random.default_rng(seed))


def clusters(n=3000, d=2, noise_scale=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.zeros((3, d))
    centers[1, 0] = centers[2, d - 1] = 10 * noise_scale
    return centers[rng.integers(3, size=n)] + noise_scale * rng.standard_normal((n, d))


@pytest.mark.parametrize(("d", "noise_scale"), [(1, 1.0), (2, 0.01), (2, 300.0), (5, 1.0), (20, 1.0)])
def test_separated_clusters_tell_their_noise(d, noise_scale):
    one = found(clusters(d=d, noise_scale=noise_scale))
    assert one.explains
    # The deviation of 1,500 rows has an error of 1 / sqrt(2 n d) = 1.8 % / sqrt(d), of which six. On a line two atoms
    # of less width look like one, and are taken where held-out rows prefer them by chance: .85 was seen.
    assert 1 - 0.11 / np.sqrt(d) - 0.2 * (d == 1) < one.scale / noise_scale < 1 + 0.11 / np.sqrt(d)


@pytest.mark.slow
@pytest.mark.scene  # a distribution that is spread out tells its scale by few nats
@pytest.mark.parametrize("make", [make_ring, make_spiral])
def test_curves_have_one_scale(make):
    one = found(make().sample(20_000, np.random.default_rng(0)))
    assert one.explains
    assert 0.93 < one.scale < 1.05  # over four seeds from .94 to 1.02


@pytest.mark.parametrize("radius", [1.0, 2.0])
def test_balls_may_be_taken_for_wider_noise_but_not_for_less(radius):
    one = found(make_balls(ball_radius=radius).sample(6000, np.random.default_rng(0)))
    assert one.explains
    # A ball of radius r has the variance r^2 / 4 in the plane: three round clusters are the widest description.
    assert 0.9 < one.scale < 1.03 * np.sqrt(1 + radius**2 / 4)


def test_shapes_are_told_from_one_scale():
    truth = make_gaussian_mixture(4, 3, 6.0, covariance="full", random_state=0)
    one = found(truth.sample(4000, np.random.default_rng(0)))
    narrowest = np.sqrt(min(np.linalg.eigvalsh(c)[0] for c in truth.covariances))
    assert not one.explains
    # The smallest of 12 eigenvalues from some 600 rows each: low by up to sqrt(d / 600) = 7 %, give or take 3 %.
    assert 0.75 < one.scale / narrowest < 1.1


def test_the_narrowest_direction_counts():
    one = found(np.random.default_rng(0).standard_normal((4000, 3)) * [5.0, 2.0, 0.3])
    assert not one.explains
    # A deviation of 2,500 rows: 1.4 %, six times, and downwards by sqrt(3 / 2500).
    assert 0.85 < one.scale / 0.3 < 1.09


def test_many_directions_of_noise_are_asked_for_their_bulk():
    # Of 60 directions 50 are the contender's; the narrowest is the noise.
    x = np.random.default_rng(0).standard_normal((4000, 60)) * np.array([8.0] * 6 + [0.5] * 54)
    # Eigenvalues of 54 directions of noise from 2,500 rows: at the lower edge 1 - sqrt(54 / 2500) = .85.
    assert 0.75 < found(x).scale / 0.5 < 1.05


def test_units_and_shifts_do_not_matter():
    x = clusters()
    one, moved = found(x), found(1000 * x + 7e4)
    np.testing.assert_allclose(moved.scale, 1000 * one.scale, rtol=1e-3)


def test_degenerate_data_have_a_floor():
    line = np.linspace(0, 1, 100)[:, None] * np.arange(1.0, 3.0)
    widest = np.sqrt(line.var(axis=0).sum())
    one = found(line)
    assert not one.explains
    np.testing.assert_allclose(one.scale, 1e-3 * widest, rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 3), (5, 8), (30, 40)])
def test_few_rows_give_a_positive_number(n, d):
    assert 0 < found(np.random.default_rng(0).standard_normal((n, d))).scale < 2


def test_the_generator_decides_and_points_are_kept():
    x = clusters()
    kept = x.copy()
    first, again = (found(x, 5).scale for _ in range(2))
    assert first == again
    np.testing.assert_array_equal(x, kept)


def test_leading_axes_keep_the_atoms():
    one = found(clusters(d=5))
    lead = one.leading(2)
    assert lead.trials.training.x.shape[1] == lead.atoms.mixture.n_features == 2
    assert lead.atoms.variance == one.atoms.variance
    np.testing.assert_allclose(lead.atoms.log_density, lead.atoms.mixture.log_density(one.trials.judging.x[:, :2]))
