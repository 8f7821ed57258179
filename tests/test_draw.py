"""Drawing from a ladder that is exact."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scoremix.features import Hermite
from scoremix.models.gates import SoftCells
from scoremix.models.ladder import Ladder
from scoremix.models.score_model import PiecewisePolynomial
from scoremix.models.subspace import Subspace
from scoremix.noise import geometric_levels
from scoremix.sampling import draw as module
from scoremix.sampling.draw import draw
from scoremix.sampling.reverse import ancestral, dpm, probability_flow, reverse_sde

NOISE = 0.5
CENTERS = np.array([[-3.0, 0.0], [3.0, 1.5], [1.0, -4.0]])
SHARES = np.array([0.5, 0.3, 0.2])
SIGMAS = np.append(geometric_levels(20.0, 0.1, 40), 0.0)


def ladder_of(d):
    """Three clusters in a plane of d dimensions; the frame's axes are their principal axes."""
    centers = CENTERS - SHARES @ CENTERS
    values, vectors = np.linalg.eigh((centers.T * SHARES) @ centers)
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((d, 2)))
    frame = Subspace(np.arange(d) + 5.0, basis, values + NOISE**2, NOISE)
    cells = SoftCells(centers @ vectors, SHARES)
    level = PiecewisePolynomial(cells, Hermite(2, 0), np.zeros((3, 1, 2)), np.zeros(3, int), NOISE)
    return Ladder(SIGMAS[:-1], (level,) * 40, frame)


@pytest.mark.parametrize("sampler", [dpm, probability_flow, ancestral, reverse_sde])
@pytest.mark.parametrize("d", [2, 5])
def test_law_of_the_samples(sampler, d):
    n, ladder = 8000, ladder_of(d)
    x = draw(ladder, n, sampler, SIGMAS, 1)
    assert x.shape == (n, d)
    means = ladder.centers(0)
    labels = cdist(x, means).argmin(axis=1)
    # Binomial deviation 0.0056, four times; a Gaussian start at 20 is within 0.01 of the truth.
    np.testing.assert_allclose(np.bincount(labels) / n, SHARES, atol=0.033)
    for j, mean in enumerate(means):
        rows = x[labels == j]
        # At least 1,500 rows of spread 0.5: 0.013 and 0.009 for means and covariances, four times, and as much again
        # for 40 steps. Centres are twelve deviations apart. The complement is noise of the same scale.
        np.testing.assert_allclose(rows.mean(axis=0), mean, atol=0.1)
        np.testing.assert_allclose(np.cov(rows.T), NOISE**2 * np.eye(d), atol=0.07)


def test_complement_is_exactly_gaussian_and_independent_of_the_rest():
    n, ladder = 8000, ladder_of(6)
    x = draw(ladder, n, dpm, SIGMAS, 3) - ladder.frame.mean
    complement = np.linalg.svd(ladder.frame.basis, full_matrices=True)[0][:, 2:]
    outside = x @ complement / NOISE
    # Entries of a covariance from 8,000 rows: 0.011 and 0.016 on the diagonal, four times.
    np.testing.assert_allclose(np.cov(outside.T), np.eye(4), atol=0.063)
    correlation = np.corrcoef(outside.T, (x @ ladder.frame.basis).T)[:4, 4:]
    assert np.abs(correlation).max() < 0.045


def test_the_walk_starts_from_the_moment_matched_gaussian():
    n, ladder = 8000, ladder_of(2)
    start = draw(ladder, n, lambda denoiser, y, sigmas, rng, *, noise_scale: y, np.array([2.0, 0.0]), 5)
    covariance = (ladder.frame.basis * (ladder.frame.variances + 4.0)) @ ladder.frame.basis.T
    # Variances up to 13 from 8,000 rows: 1.6 %, four times; means to sqrt(13 / 8000) = 0.04.
    np.testing.assert_allclose(np.cov(start.T), covariance, atol=0.063 * 13)
    np.testing.assert_allclose(start.mean(axis=0), ladder.frame.mean, atol=0.16)


def test_the_seed_decides_and_threads_do_not(monkeypatch):
    ladder = ladder_of(5)
    monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    runs = []
    for threads, seed in ((1, 7), (4, 7), (1, 8)):
        monkeypatch.setattr(module, "available_threads", lambda threads=threads: threads)
        runs.append(draw(ladder, 300, ancestral, SIGMAS, seed))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.any(runs[0] == runs[2])


def test_blocks_have_streams_of_their_own(monkeypatch):
    ladder = ladder_of(5)
    monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    few, many = (draw(ladder, n, ancestral, SIGMAS, 7) for n in (2 * 64, 3 * 64 + 10))
    # The rest of the samples does not matter; only products of other shapes may round otherwise.
    np.testing.assert_allclose(many[:128], few, rtol=1e-12)
    assert not np.any(few[:64] == few[64:])


@pytest.mark.parametrize("n", [1, 63, 64, 65])
def test_any_number_of_samples(monkeypatch, n):
    monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    x = draw(ladder_of(3), n, dpm, SIGMAS, 0)
    assert x.shape == (n, 3)
    assert np.all(np.isfinite(x))
    assert len(np.unique(x[:, 0])) == n


def test_a_walk_that_fails_says_so():
    def broken(denoiser, y, sigmas, rng, *, noise_scale):
        raise RuntimeError("no way down")

    with pytest.raises(RuntimeError, match="no way down"):
        draw(ladder_of(2), 10, broken, SIGMAS, 0)
