"""Moving, turning or stretching the data moves, turns or stretches everything that was learnt."""

import numpy as np
import pytest

from scoremix import DiffusionMixture

CENTERS = np.array([[0.0, 0.0], [5.0, 0.0], [1.0, 5.0]])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return CENTERS[rng.integers(3, size=2000)] + rng.standard_normal((2000, 2))


def fitted(X, noise_scale=1.0, **more):
    return DiffusionMixture(noise_scale=noise_scale, n_levels=6, random_state=1, correction_of="nothing", **more).fit(X)


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_shift(data, gates):
    moved = np.array([300.0, -20.0])
    a, b = fitted(data, gates=gates), fitted(data + moved, gates=gates)
    # Rounding at 300 is 3e-14; ridge systems of condition 1e4 and a few hundred operations magnify it.
    np.testing.assert_allclose(b.centers_, a.centers_ + moved, atol=1e-8)
    np.testing.assert_allclose(b.score_function(data[:200] + moved, 0.8), a.score_function(data[:200], 0.8), atol=1e-7)


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_scale(data, gates):
    a, b = fitted(data, gates=gates), fitted(100.0 * data, noise_scale=100.0, gates=gates)
    np.testing.assert_allclose(b.centers_, 100.0 * a.centers_, atol=1e-6)
    np.testing.assert_allclose(
        100.0 * b.score_function(100.0 * data[:200], 80.0), a.score_function(data[:200], 0.8), atol=1e-7
    )
    np.testing.assert_allclose(b.denoising_loss_, 1e4 * a.denoising_loss_, rtol=1e-8)


@pytest.mark.parametrize("angle", [0.4, 2.0, np.pi])
def test_rotation(data, angle):
    # Everything happens in the frame of the data, which turns with them; rounding as above.
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s], [-s, c]])
    a, b = fitted(data), fitted(data @ turn)
    np.testing.assert_allclose(b.centers_, a.centers_ @ turn, atol=1e-8)
    np.testing.assert_allclose(
        b.score_function(data[:200] @ turn, 0.8), a.score_function(data[:200], 0.8) @ turn, atol=1e-7
    )


def test_order_of_the_rows_does_not_matter_in_law(data):
    # Sorted by cluster, folds still hold rows of every cluster: degrees and losses stay what they were (5 % apart at
    # most: the relative standard error of a loss from 2,000 rows is 2 %).
    ordered = data[np.argsort(data[:, 0], kind="stable")]
    np.testing.assert_allclose(fitted(ordered).denoising_loss_, fitted(data).denoising_loss_, rtol=0.05)
