"""Placement, units and refusals of the simulated problems."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from scoremix.evaluation import (
    make_balls,
    make_gaussian_mixture,
    make_manifold,
    make_pairs,
    make_ring,
    make_spiral,
)


@pytest.mark.parametrize(("k", "d"), [(2, 1), (3, 2), (100, 2), (4, 5), (16, 100)])
def test_separation_is_the_smallest_distance(k, d):
    truth = make_gaussian_mixture(k, d, 4.0, noise_scale=0.5, random_state=0)
    assert pdist(truth.means).min() == pytest.approx(4.0 * 0.5)
    assert truth.noise_scale == 0.5
    np.testing.assert_allclose(truth.weights, 1 / k)


@pytest.mark.parametrize("covariance", ["spherical", "diag", "full"])
def test_separation_is_in_units_of_the_largest_standard_deviation(covariance):
    truth = make_gaussian_mixture(5, 3, 3.0, covariance, noise_scale=2.0, condition=20.0, random_state=0)
    spectra = np.linalg.eigvalsh(truth.covariances)
    assert pdist(truth.means).min() == pytest.approx(3.0 * np.sqrt(spectra.max()))
    assert spectra.max() <= 4.0
    assert spectra.min() >= 4.0 / 20
    assert truth.noise_scale is None
    assert np.ptp(spectra, axis=1).max() < 1e-9 if covariance == "spherical" else np.ptp(spectra) > 0.1


def test_hundred_clusters_crowd_the_plane():
    # Random packing fills 55 % of the plane with discs of diameter one separation; a third is still a crowd.
    means = make_gaussian_mixture(100, 2, 5.0, random_state=0).means
    nearest = (squareform(pdist(means)) + 1e9 * np.eye(100)).min(axis=1)
    assert nearest.mean() < 1.3 * 5
    assert 100 * np.pi * 2.5**2 / np.prod(np.ptp(means, axis=0)) > 1 / 3


def test_neighbours_are_about_one_separation_apart_in_many_dimensions():
    means = make_gaussian_mixture(50, 100, 5.0, random_state=0).means
    nearest = (squareform(pdist(means)) + 1e9 * np.eye(50)).min(axis=1)
    assert nearest.max() < 1.5 * 5


@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 1), (5, 4), (4, 10)])
def test_simplex_has_equal_distances(k, d):
    means = make_gaussian_mixture(k, d, 5.0, layout="simplex", random_state=0).means
    np.testing.assert_allclose(pdist(means), 5.0)
    assert means.shape == (k, d)


def test_weights_are_normalised():
    np.testing.assert_allclose(make_gaussian_mixture(2, 2, 1.0, weights="zipf").weights, [2 / 3, 1 / 3])
    np.testing.assert_allclose(make_gaussian_mixture(2, 2, 1.0, weights=[1, 3]).weights, [0.25, 0.75])


@pytest.mark.parametrize("k", [2, 8, 32])
def test_pairs_are_close_inside_and_far_apart(k):
    distances = squareform(pdist(make_pairs(k, 5, noise_scale=0.5, random_state=0).means))
    for i in range(0, k, 2):
        assert distances[i, i + 1] == pytest.approx(5 * 0.5)
        others = np.delete(distances[i], [i, i + 1])
        assert np.all(others >= 10 * 5 * 0.5 - 1e-9)


def test_balls_keep_their_distance():
    assert pdist(make_balls(5, 3, separation=7.0, noise_scale=2.0, random_state=0).centers).min() == pytest.approx(14)


def test_lengths_scale_with_the_noise():
    for make in (make_ring, make_spiral, make_balls):
        unit, double = make(noise_scale=1.0), make(noise_scale=2.0)
        if make is make_balls:
            unit, double = make(random_state=0), make(random_state=0, noise_scale=2.0)
        np.testing.assert_allclose(double.cov, 4 * unit.cov, rtol=1e-9, atol=1e-9)


def test_spiral_spans_about_thirteen_noise_scales():
    extent = np.ptp(make_spiral().curve(np.linspace(0, 1, 1000)), axis=0)
    assert 12 < extent.max() < 15
    assert extent.min() > 10


def test_placement_is_reproducible():
    make = {
        "mixture": lambda seed: make_gaussian_mixture(5, 2, 4.0, "full", random_state=seed).means,
        "pairs": lambda seed: make_pairs(4, 2, random_state=seed).means,
        "balls": lambda seed: make_balls(random_state=seed).centers,
        "manifold": lambda seed: make_manifold(make_ring(), 5, seed).basis,
    }
    for place in make.values():
        np.testing.assert_array_equal(place(1), place(1))
        assert not np.array_equal(place(1), place(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_gaussian_mixture(0, 2, 4.0), "k and d"),
        (lambda: make_gaussian_mixture(2, 2, 0.0), "separation must be positive"),
        (lambda: make_gaussian_mixture(2, 2, 4.0, noise_scale=np.inf), "noise_scale must be positive"),
        (lambda: make_gaussian_mixture(2, 2, 4.0, "tied"), "covariance must be one of"),
        (lambda: make_gaussian_mixture(2, 2, 4.0, weights="even"), "weights must be"),
        (lambda: make_gaussian_mixture(2, 2, 4.0, weights=[1, 0]), "weights must be 2 numbers"),
        (lambda: make_gaussian_mixture(2, 2, 4.0, "diag", condition=0.5), "condition must be"),
        (lambda: make_gaussian_mixture(4, 2, 4.0, layout="simplex"), "k <= d"),
        (lambda: make_gaussian_mixture(4, 2, 4.0, layout="grid"), "layout must be"),
        (lambda: make_pairs(3, 2), "k must be even"),
        (lambda: make_pairs(4, 2, spread=1.0), "spread must be"),
        (lambda: make_ring(-1.0), "radius must be positive"),
        (lambda: make_spiral(outer_radius=0.5), "outer_radius must exceed"),
        (lambda: make_balls(d=1), "d at least 2"),
        (lambda: make_manifold(make_ring(), 1), "d must be at least"),
        (lambda: make_manifold(make_gaussian_mixture(2, 2, 4.0, "full"), 5), "known isotropic noise_scale"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
