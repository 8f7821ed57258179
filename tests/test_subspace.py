"""The frame: orthonormal coordinates, and the rank that noise alone does not explain."""

import numpy as np
import pytest

from scoremix.arrays import to_numpy
from scoremix.models.subspace import SMALL_DIMENSION, Subspace, leading_subspace, noise_edge


def frame_of(d=5, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((d, rank)))
    return Subspace(rng.standard_normal(d), basis, np.arange(rank, 0.0, -1), 0.7)


def moments_of(signal, d, n, noise_scale, seed=0):
    """Mean and covariance of n rows: signal variances along random directions, plus noise."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.standard_normal((d, len(signal))))
    x = (rng.standard_normal((n, len(signal))) * np.sqrt(signal)) @ directions.T
    x += noise_scale * rng.standard_normal((n, d))
    return x, directions


def test_coordinates_and_back(xp):
    frame, points = frame_of(), np.random.default_rng(1).standard_normal((2, 30))
    embedded = frame.embed(xp.asarray(points))
    assert embedded.shape == (30, 5)
    np.testing.assert_allclose(to_numpy(frame.encode(embedded)), points, atol=1e-14)
    np.testing.assert_allclose(to_numpy(embedded), frame.mean + points.T @ frame.basis.T, atol=1e-14)


def test_subspace_and_residual_make_up_the_point(xp):
    frame, x = frame_of(), np.random.default_rng(1).standard_normal((30, 5))
    rows = xp.asarray(x)
    coordinates = frame.encode(rows)
    outside = to_numpy(frame.residual(rows, coordinates))
    np.testing.assert_allclose(frame.mean + to_numpy(frame.lift(coordinates)) + outside, x, atol=1e-14)
    np.testing.assert_allclose(outside @ frame.basis, 0, atol=1e-14)


def test_precision_and_library_are_kept(xp):
    frame, rows = frame_of(), xp.ones((4, 5), dtype=xp.float32)
    coordinates = frame.encode(rows)
    for out in (coordinates, frame.embed(coordinates), frame.lift(coordinates), frame.residual(rows, coordinates)):
        assert out.dtype == xp.float32
        assert type(out) is type(rows)


def test_sizes():
    assert (frame_of().n_features, frame_of().rank, frame_of().is_whole) == (5, 2, False)
    assert frame_of(3, 3).is_whole


@pytest.mark.parametrize("noise_scale", [1.0, 0.01])
@pytest.mark.parametrize(("d", "n"), [(20, 5000), (100, 2000), (50, 200)])
def test_pure_noise_has_rank_1(d, n, noise_scale):
    # The largest eigenvalue is above the edge in fewer than one of 1,000 samples; these are ten.
    for seed in range(10):
        x, _ = moments_of([], d, n, noise_scale, seed)
        frame = leading_subspace(x.mean(axis=0), np.cov(x.T, bias=True), n, noise_scale)
        assert frame.rank == 1


@pytest.mark.parametrize("noise_scale", [1.0, 0.01])
def test_signal_is_found(noise_scale):
    d, n, signal = 40, 4000, noise_scale**2 * np.array([9.0, 4.0, 1.0])
    x, directions = moments_of(signal, d, n, noise_scale)
    frame = leading_subspace(x.mean(axis=0), np.cov(x.T, bias=True), n, noise_scale)
    assert frame.rank == 3
    assert frame.noise_scale == noise_scale
    # Variances to sqrt(2 / n) = 2.2 %, four times, plus d / n = 1 % times the noise's share.
    np.testing.assert_allclose(frame.variances, signal + noise_scale**2, rtol=0.11)
    # A direction is tilted by sqrt(d v (v + 1) / n) / v <= 0.15 at signal v = 1, in units of the noise.
    cosines = np.linalg.svd(directions.T @ frame.basis)[1]
    assert cosines.min() > np.cos(0.3)


def test_few_rows_explain_a_wide_spectrum():
    # Variance 1.5 in one direction is news after 10^5 rows in 50 dimensions, but not after 200.
    ranks = []
    for n in (10**5, 200):
        covariance = np.diag([3.0, 1.5] + [1.0] * 48)
        ranks.append(leading_subspace(np.zeros(50), covariance, n, 1.0).rank)
    assert ranks == [2, 1]


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_an_explicit_rank_is_taken(rank):
    x, _ = moments_of([9.0, 4.0], 9, 500, 1.0)
    frame = leading_subspace(x.mean(axis=0), np.cov(x.T, bias=True), 500, 1.0, rank)
    assert frame.rank == rank
    np.testing.assert_allclose(frame.basis.T @ frame.basis, np.eye(rank), atol=1e-12)
    assert np.all(np.diff(frame.variances) <= 0)
    np.testing.assert_allclose(
        frame.basis.T @ np.cov(x.T, bias=True) @ frame.basis, np.diag(frame.variances), atol=1e-10
    )


def test_small_spaces_are_kept_whole():
    for d in range(1, SMALL_DIMENSION + 1):
        assert leading_subspace(np.zeros(d), np.eye(d), 1000, 1.0).is_whole
    assert leading_subspace(np.zeros(d + 1), np.eye(d + 1), 1000, 1.0).rank == 1


def test_noise_edge_is_just_above_the_law_of_marchenko_and_pastur():
    for d, n in ((10, 100), (50, 1000), (100, 10**6)):
        bulk = (1 + np.sqrt(d / n)) ** 2
        assert bulk < noise_edge(d, n) < 1.5 * bulk
    assert abs(noise_edge(100, 1e12) - 1) < 1e-4
    # Pure noise stays below it with probability 99.9 %, and comes close: its fluctuations are a few per cent.
    x = np.random.default_rng(0).standard_normal((200, 300, 30))
    tops = np.linalg.eigvalsh(np.swapaxes(x, 1, 2) @ x / 300)[:, -1]
    # Of 200: Poisson with the mean .2, above six once in 10^8.
    assert np.count_nonzero(tops > noise_edge(30, 300)) <= 6
    assert tops.max() > 0.9 * noise_edge(30, 300)


def test_axes_turn_to_the_anchor():
    x, _ = moments_of([9.0, 4.0], 4, 500, 1.0)
    covariance = np.cov(x.T, bias=True)
    for anchor in (x[3], 2 * x.mean(axis=0) - x[3]):  # the opposite point turns every axis
        frame = leading_subspace(x.mean(axis=0), covariance, 500, 1.0, 3, anchor)
        assert np.all((anchor - frame.mean) @ frame.basis > 0)
        np.testing.assert_allclose(covariance @ frame.basis, frame.basis * frame.variances, atol=1e-10)


def test_rounding_below_zero_is_zero():
    covariance = np.outer([1.0, 2, 3], [1.0, 2, 3]) - 1e-15 * np.eye(3)
    assert leading_subspace(np.zeros(3), covariance, 100, 1.0, 3).variances.min() >= 0


def test_weak_directions_are_kept_beside_strong_ones():
    # What is left after 17 strong directions is noise in 3: its edge is nearer to 1 than that of noise in 20.
    n, strong, weak = 20_000, [4.0] * 17, [1.06] * 3
    edges = [noise_edge(d, n) for d in (3, 20)]
    assert edges[0] < 1.06 < edges[1]
    frame = leading_subspace(np.zeros(20), np.diag(strong + weak), n, 1.0)
    assert frame.rank == 20
    assert leading_subspace(np.zeros(20), np.diag([4.0] + [1.06] * 19), n, 1.0).rank == 1
