"""Starts of a descent: each lies where it should, and says when it cannot."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from scoremix.learning.sck.starts import initial_means, within_covariance
from scoremix.samples.source import ArraySource

MEANS = 6 * np.eye(4)[:3] + 20


def rows(n=3000, seed=0, shape=None):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, 4))
    return MEANS[rng.integers(3, size=n)] + (noise if shape is None else noise @ np.linalg.cholesky(shape).T)


def largest(found, truth=MEANS):
    gaps = np.linalg.norm(found[:, None] - truth[None], axis=2)
    return gaps[linear_sum_assignment(gaps)].max()


@pytest.mark.parametrize("method", ["tensor", "kmeans", "warm"])
def test_warm_starts_are_near_the_means(method):
    # Means of 1,000 rows are off by 0.06; third moments by a few times that.
    assert largest(initial_means(ArraySource(rows()), 3, method, np.random.default_rng(0))) < 0.6


def test_warm_is_tensor_where_that_applies_and_clusters_elsewhere():
    source = ArraySource(rows())
    warm, tensor = (initial_means(source, 3, m, np.random.default_rng(0)) for m in ("warm", "tensor"))
    np.testing.assert_array_equal(warm, tensor)
    assert initial_means(source, 6, "warm", np.random.default_rng(0)).shape == (6, 4)
    with pytest.raises(ValueError, match="4 dimensions"):
        initial_means(source, 6, "tensor", np.random.default_rng(0))
    # One Gaussian has no directions for two more means.
    plain = ArraySource(np.random.default_rng(0).standard_normal((500, 4)) / 2)
    assert initial_means(plain, 3, "warm", np.random.default_rng(0)).shape == (3, 4)


def test_random_starts_are_standard_normal_about_the_mean():
    x, rng = rows(), np.random.default_rng(0)
    drawn = np.concatenate([initial_means(ArraySource(x), 2, "random", rng) for _ in range(500)]) - x.mean(axis=0)
    # Means of 4,000 numbers and of their squares: standard errors 0.016 and 0.022.
    assert abs(drawn.mean()) < 0.065
    assert abs(np.mean(drawn**2) - 1) < 0.09


def test_the_covariance_within():
    shape = np.diag([1.0, 4.0, 0.25, 1.0]) + 0.1
    found = within_covariance(ArraySource(rows(shape=shape)), MEANS, np.random.default_rng(0))
    # 3,000 rows: relative errors of 0.026; a row in a hundred is nearer to another mean.
    np.testing.assert_allclose(found, shape, atol=0.4)
    flat = rows()
    flat[:, 3] = 7.0
    values = np.linalg.eigvalsh(
        within_covariance(ArraySource(flat), np.c_[MEANS[:, :3], np.full(3, 7.0)], np.random.default_rng(0))
    )
    assert values[0] == pytest.approx(1e-6 * values[-1])
