"""The noise scale that data do not tell: narrow where they are narrow, never above the truth by much."""

import numpy as np
import pytest

from scoremix.learning.mixtures.noise_scale import local_noise_scale


def clusters(n=3000, d=2, noise_scale=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.zeros((3, d))
    centers[1, 0] = centers[2, d - 1] = 10 * noise_scale
    return centers[rng.integers(3, size=n)] + noise_scale * rng.standard_normal((n, d))


@pytest.mark.parametrize("noise_scale", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_separated_clusters_tell_their_noise(d, noise_scale):
    estimate = local_noise_scale(clusters(d=d, noise_scale=noise_scale), np.random.default_rng(0))
    # The smallest of 3 min(d, 6) eigenvalues from 1,000 rows is low by about sqrt(d / 1000) <= 8 %, and a variance has
    # 4.5 % deviation; too high would be wrong, by more than the deviation of a scale from 3,000 rows in particular.
    assert 0.85 < estimate / noise_scale < 1.03


def test_the_narrowest_direction_counts():
    x = np.random.default_rng(0).standard_normal((4000, 3)) * [5.0, 2.0, 0.3]
    # Scales from 4,000 rows: 1.1 %, four times, and downwards by sqrt(3 / 4000).
    assert 0.92 < local_noise_scale(x, np.random.default_rng(0)) / 0.3 < 1.045


def test_many_directions_of_noise_are_asked_for_their_bulk():
    # Six wide directions hide the noise from the crude mixture, the 24 others show it.
    x = np.random.default_rng(0).standard_normal((4000, 30)) * np.array([8.0] * 6 + [0.5] * 24)
    assert 0.9 < local_noise_scale(x, np.random.default_rng(0)) / 0.5 < 1.05


def test_units_and_shifts_do_not_matter():
    x = clusters()
    one = local_noise_scale(x, np.random.default_rng(0))
    moved = local_noise_scale(1000 * x + 7e4, np.random.default_rng(0))
    # EM stops at a relative change of 1e-3 of the likelihood: rounding may not move it further than that.
    np.testing.assert_allclose(moved, 1000 * one, rtol=1e-3)


@pytest.mark.parametrize("d", [2, 8])
def test_degenerate_data_have_a_floor(d):
    line = np.linspace(0, 1, 100)[:, None] * np.arange(1.0, d + 1)
    estimate = local_noise_scale(line, np.random.default_rng(0))
    widest = np.sqrt(line.var(axis=0).sum())
    np.testing.assert_allclose(estimate, 1e-3 * widest, rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 3), (5, 8), (30, 40)])
def test_few_rows_give_a_positive_number(n, d):
    estimate = local_noise_scale(np.random.default_rng(0).standard_normal((n, d)), np.random.default_rng(0))
    assert 0 < estimate < 2


def test_the_generator_decides_and_points_are_kept():
    x = clusters()
    kept = x.copy()
    first, again = (local_noise_scale(x, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    np.testing.assert_array_equal(x, kept)
