"""Noise levels and the noise itself."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scoremix.arrays import to_numpy
from scoremix.noise import (
    BLOCK,
    PANEL,
    antithetic,
    geometric_levels,
    normal_rows,
    ou_time_from_sigma,
    paper_levels,
    sigma_from_ou_time,
)


def test_geometric_levels_have_one_ratio():
    sigmas = geometric_levels(8.0, 0.5, 5)
    np.testing.assert_allclose(sigmas, [8, 4, 2, 1, 0.5], rtol=1e-14)


@given(st.floats(0.5, 50), st.floats(0.01, 0.9), st.integers(2, 40), st.sampled_from([0.1, 1.0, 7.0]))
def test_paper_levels_have_one_ratio_in_two_clocks(sigma_max, factor, n_levels, noise_scale):
    sigmas = paper_levels(sigma_max, factor * sigma_max, n_levels, noise_scale)
    assert len(sigmas) == n_levels
    assert (sigmas[0], sigmas[-1]) == (sigma_max, factor * sigma_max)
    assert np.all(np.diff(sigmas) < 0)
    t, unit = sigmas**2, noise_scale**2
    high, low = t[t >= unit], t[t <= unit]
    ratios = np.concatenate([(high[1:] + unit) / (high[:-1] + unit), low[1:] / low[:-1]])
    # Ends are put in exactly, the rest carries rounding.
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-8)


def test_paper_levels_depend_on_ratios_only():
    np.testing.assert_allclose(paper_levels(30.0, 0.6, 9, 3.0), 3 * paper_levels(10.0, 0.2, 9, 1.0), rtol=1e-13)


@given(st.floats(1e-6, 20))
def test_ou_time_and_back(tau):
    sigma = sigma_from_ou_time(tau)
    np.testing.assert_allclose(ou_time_from_sigma(sigma), tau, rtol=1e-12)
    # x_tau = exp(-tau) (x + sigma z) has the noise variance 1 - exp(-2 tau).
    np.testing.assert_allclose(np.exp(-2 * tau) * sigma**2, -np.expm1(-2 * tau), rtol=1e-12)


def test_ou_time_of_arrays():
    tau = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(ou_time_from_sigma(sigma_from_ou_time(tau)), tau, atol=1e-15)


@given(st.integers(0, 3 * BLOCK), st.integers(1, BLOCK + 50), st.integers(1, 3))
def test_a_row_has_the_same_noise_in_every_chunk(start, rows, d):
    whole = normal_rows((5, 1), 0, 4 * BLOCK + 60, d, np.empty(0))
    part = normal_rows((5, 1), start, start + rows, d, np.empty(0))
    np.testing.assert_array_equal(part, whole[:, start : start + rows])


def test_noise_is_standard_normal_and_streams_differ():
    n = 40_000
    streams = [normal_rows(seed, 0, n, 2, np.empty(0)) for seed in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))]
    z = np.concatenate(streams)
    # Means to 1/sqrt(n) = 0.005; correlations (28 of them) and variances to 0.005 and 0.007: 4.5 times each.
    assert np.abs(z.mean(axis=1)).max() < 0.0225
    assert np.abs(np.cov(z) - np.eye(8)).max() < 0.032
    blocks = streams[0][0, : 9 * BLOCK].reshape(9, BLOCK)
    # 36 correlations, each to 1/sqrt(BLOCK).
    assert np.abs(np.corrcoef(blocks) - np.eye(9)).max() < 4.5 / np.sqrt(BLOCK)


@pytest.mark.parametrize("d", [1, 3])
def test_noise_has_the_normal_law_to_its_tails(d):
    n = 60_000
    z = normal_rows((11,), 0, n, d, np.empty(0))
    for column in z:
        assert stats.kstest(column, "norm").pvalue > 1e-3
        assert (
            stats.kstest(column**2 + np.roll(column, 1) ** 2, stats.chi2(2).cdf).pvalue > 1e-3
        )  # rows beside each other
    for beyond in (2.0, 3.0, 4.0):
        for tail in (z > beyond, z < -beyond):
            expected = d * n * stats.norm.sf(beyond)
            # Counts are Poisson; 4.5 standard errors.
            assert abs(tail.sum() - expected) < 4.5 * np.sqrt(expected) + 1
    # Pairs by the polar form: rows and columns that come of one radius and angle are independent, in squares too.
    # Numbers of a panel are d PANEL in a row: those of one radius stand half of them apart.
    panels = np.moveaxis(z[:, : n // PANEL * PANEL].reshape(d, -1, PANEL), 1, 0).reshape(-1, 2, d * PANEL // 2)
    for values, variance in ((panels, 1.0), (panels**2 - 1, 2.0)):
        pairs = values[:, 0] * values[:, 1]
        assert abs(pairs.mean()) < 4.5 * variance / np.sqrt(pairs.size)


@pytest.mark.parametrize("n_features", [0, 1, 5])
def test_noise_of_any_number_of_features(n_features):
    # Blocks and panels are drawn from their start: slices that begin and end anywhere are those of the whole.
    whole = normal_rows((5,), 0, 2 * BLOCK + 700, n_features, np.empty(0))
    assert whole.shape == (n_features, 2 * BLOCK + 700)
    ends = (0, 1, PANEL - 1, PANEL, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 700)
    for start, stop in combinations(ends, 2):
        part = normal_rows((5,), start, stop, n_features, np.empty(0))
        np.testing.assert_array_equal(part, whole[:, start:stop])
        assert part.flags.c_contiguous


def test_noise_comes_in_the_library_of_the_data(xp):
    z = normal_rows((3,), BLOCK - 5, BLOCK + 5, 2, xp.ones(1, dtype=xp.float32))
    assert z.dtype == xp.float32
    assert z.shape == (2, 10)
    expected = normal_rows((3,), BLOCK - 5, BLOCK + 5, 2, np.empty(0))
    np.testing.assert_array_equal(to_numpy(z), expected.astype(np.float32))


@pytest.mark.parametrize("sigma", [1e-6, 1.0, 30.0])
def test_antithetic_pairs(xp, sigma):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 3, 7))
    twice, signed, y = (to_numpy(a) for a in antithetic(xp.asarray(x), xp.asarray(z), sigma))
    np.testing.assert_array_equal(twice, np.concatenate([x, x], axis=1))
    np.testing.assert_array_equal(signed[:, :7], z)
    np.testing.assert_allclose(y[:, :7], x + sigma * z, rtol=1e-15)
    # What is odd in z cancels.
    np.testing.assert_array_equal(signed[:, 7:], -signed[:, :7])
    np.testing.assert_allclose(y[:, :7] + y[:, 7:], 2 * x, atol=1e-14 * max(1, sigma))
