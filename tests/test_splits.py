"""Splits: gains against brute force and against the truth, of one Gaussian, of two clusters, thin and parallel."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from scoremix.learning.em import posterior
from scoremix.learning.em.posterior import InMemorySamples
from scoremix.learning.em.shrinkage import FixedShapePrior
from scoremix.learning.search import splits
from scoremix.learning.search.splits import MEMBER, _sound, split_gains
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture

KINDS = ("full", "tied", "diag", "spherical")
REG = 1e-9


def no_prior(kind, d):
    return FixedShapePrior(kind, 0.0, np.ones(d))


def of_kind(kind, dense):
    """Values of a kind, from matrices (k, d, d)."""
    return {
        "full": dense,
        "tied": dense[0],
        "diag": dense.diagonal(axis1=1, axis2=2).copy(),
        "spherical": dense.trace(axis1=1, axis2=2) / dense.shape[1],
    }[kind]


def one_gaussian(x, kind):
    """The maximum-likelihood fit of one component."""
    dense = np.cov(x.T, bias=True)[None]
    return Mixture(np.ones(1), x.mean(axis=0)[None], covariance_of(kind, of_kind(kind, dense), x.shape[1]))


def joint_density(mixture, x):
    """``w_k N_k(x)``, shape (n, k), by scipy."""
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return np.array([w * multivariate_normal(mean, cov).pdf(x) for w, mean, cov in parts]).T


def every(parts):
    """Parts of all components, as a mixture."""
    return parts.take(np.arange(len(parts.weights)))


def gains(x, mixture, weight=None, fold=None, rows=None):
    rows = InMemorySamples(x, np.ones(len(x)) if weight is None else weight) if rows is None else rows
    prior = no_prior(mixture.covariance.kind, mixture.n_features)
    return split_gains(rows.posterior(mixture), prior, REG, fold)


def overlapping(kind, n=500, seed=0):
    """Four overlapping components that were not fitted, with weighted rows of something else."""
    rng = np.random.default_rng(seed)
    dense = np.tile(np.diag([1.0, 2.0, 0.5]), (4, 1, 1))
    mixture = Mixture(rng.dirichlet(np.full(4, 5.0)), 1.5 * rng.standard_normal((4, 3)), None)
    mixture = Mixture(mixture.weights, mixture.means, covariance_of(kind, of_kind(kind, dense), 3))
    return mixture, 2 * rng.standard_normal((n, 3)), rng.integers(1, 4, n).astype(float)


def two_clusters(n=2000, seed=0):
    """Two clusters of unit variance, 8 apart, of weights 0.3 and 0.7."""
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.7
    centres = np.array([[-4.0, 1.0, 0.0], [4.0, 1.0, 0.0]])
    return centres[label.astype(int)] + rng.standard_normal((n, 3)), centres


@pytest.mark.parametrize("kind", KINDS)
def test_gains_are_those_of_replacing_the_component(kind):
    mixture, x, weight = overlapping(kind)
    found = gains(x, mixture, weight)
    joint = joint_density(mixture, x)
    density = joint.sum(axis=1)
    two = joint_density(every(found.first), x) + joint_density(every(found.second), x)
    for k in range(4):
        members = joint[:, k] > MEMBER * density
        change = np.log(density - joint[:, k] + two[:, k]) - np.log(density)
        assert found.gain[k] == pytest.approx((weight * change)[members].sum() / weight.sum(), abs=1e-9)
    np.testing.assert_allclose(found.first.weights + found.second.weights, mixture.weights, rtol=1e-9)
    assert found.held_out is None


@pytest.mark.parametrize("kind", KINDS)
def test_small_batches_and_single_precision_give_the_same_gains(kind, monkeypatch):
    mixture, x, weight = overlapping(kind)
    rows = InMemorySamples(x, weight)
    whole = gains(x, mixture, rows=rows)
    single = gains(x, mixture, rows=rows.single())
    # Ten steps of rounding at 6e-8 of numbers of size 10, and of what they are multiplied by on the way.
    np.testing.assert_allclose(single.gain, whole.gain, atol=2e-4)
    monkeypatch.setattr(posterior, "BATCH_NUMBERS", 1000)
    again = gains(x, mixture, rows=rows)
    if kind != "tied":
        np.testing.assert_allclose(again.gain, whole.gain, atol=1e-9)
        for combine in (np.add, lambda a, b: np.abs(a - b)):  # which half is the first is up to the sign of an axis
            ours, theirs = (combine(every(found.first).means, every(found.second).means) for found in (again, whole))
            np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_two_clusters_under_one_component_are_found(kind):
    x, centres = two_clusters()
    mixture = one_gaussian(x, kind)
    if kind == "tied":  # one matrix for all, which many other components have made the right one
        mixture = Mixture(mixture.weights, mixture.means, covariance_of("tied", np.eye(3), 3))
    truth = Mixture(np.array([0.3, 0.7]), centres, covariance_of("spherical", np.ones(2), 3))
    known = float(np.mean(np.log(joint_density(truth, x).sum(axis=1)) - mixture.log_density(x)))
    found = gains(x, mixture)
    # Fitted parameters are better at these rows than the true ones, by about 19 parameters / (2 x 2000) at most.
    assert known - 0.001 < found.gain[0] < known + 0.02
    assert known > 0.5
    pair = sorted([every(found.first), every(found.second)], key=lambda part: part.means[0, 0])
    # Means of 600 rows: standard deviation 0.04; variances of 600 rows: 0.06.
    for part, centre, share in zip(pair, centres, (0.3, 0.7), strict=True):
        np.testing.assert_allclose(part.means[0], centre, atol=0.17)
        assert part.weights[0] == pytest.approx(share, abs=0.04)
        np.testing.assert_allclose(part.covariances[0], np.eye(3), atol=0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_two_clusters_are_found_within_a_mixture(kind):
    x, centres = two_clusters()
    rng = np.random.default_rng(5)
    other = rng.standard_normal((1000, 3)) + np.array([0.0, 30.0, 0.0])
    both = np.concatenate([x, other])
    dense = np.array([np.cov(x.T, bias=True), np.cov(other.T, bias=True)])
    values = of_kind(kind, dense if kind != "tied" else dense[1:])
    means = np.array([x.mean(axis=0), other.mean(axis=0)])
    found = gains(both, Mixture(np.array([2 / 3, 1 / 3]), means, covariance_of(kind, values, 3)))
    assert found.gain[0] > 0.3
    assert abs(found.gain[1]) < 0.01
    ends = np.sort([every(found.first).means[0, 0], every(found.second).means[0, 0]])
    np.testing.assert_allclose(ends, centres[:, 0], atol=0.17)


@pytest.mark.parametrize("kind", KINDS)
def test_one_gaussian_gains_what_its_parameters_gain_by_chance(kind):
    n, d = 2000, 3
    free = {"full": 10, "diag": 7, "spherical": 5, "tied": 4}[kind]
    found = [gains(x, one_gaussian(x, kind)).gain[0] for x in np.random.default_rng(0).standard_normal((20, n, d))]
    # A parameter gains 1 / 2n by chance; the best of many directions is a few times that, and four steps climb half.
    assert np.mean(found) < 2 * free / (2 * n)
    assert np.max(found) < 5 * free / (2 * n)
    assert np.min(found) > -5 * free / (2 * n)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gaussian_gains_nothing_on_held_out_rows(kind):
    rng = np.random.default_rng(1)
    held_out = []
    for _ in range(30):
        x = rng.standard_normal((400, 3))
        fold = rng.integers(0, 2, 400).astype(float)
        held_out.append(gains(x, one_gaussian(x, kind), fold=fold).held_out[0])
    # The mean is about -q / n, and its standard error is taken from the 30 themselves.
    assert np.mean(held_out) + 2 * np.std(held_out) / np.sqrt(30) < 0


@pytest.mark.parametrize("kind", KINDS)
def test_two_clusters_gain_on_held_out_rows(kind):
    x, _ = two_clusters()
    mixture = one_gaussian(x, kind)
    if kind == "tied":
        mixture = Mixture(mixture.weights, mixture.means, covariance_of("tied", np.eye(3), 3))
    fold = np.random.default_rng(0).integers(0, 2, len(x)).astype(float)
    found = gains(x, mixture, fold=fold)
    # Half of the rows are enough for these clusters: what is lost is about the number of parameters over n. With a tied
    # matrix of unit width, means of halves of one component 8 wide are .16 apart: .013 nats, times chi-squared.
    assert found.held_out[0] == pytest.approx(found.gain[0], abs=0.15 if kind == "tied" else 0.03)


def test_held_out_gains_are_those_of_two_fits_to_halves():
    x, _ = two_clusters(n=300)
    fold = np.tile([0.0, 1.0], 150)
    mixture, total = one_gaussian(x, "full"), 0.0
    for half in (0, 1):
        inside, outside = x[fold == half], x[fold != half]
        # Moments are taken about the mean of all rows, but the fit to one half is that of the half.
        one = one_gaussian(inside, "full")
        rows = InMemorySamples(x, (fold == half).astype(float))
        two = split_gains(rows.posterior(mixture), no_prior("full", 3), REG)
        density = joint_density(every(two.first), outside)[:, 0] + joint_density(every(two.second), outside)[:, 0]
        total += np.sum(np.log(density) - one.log_density(outside))
    assert gains(x, mixture, fold=fold).held_out[0] == pytest.approx(total / 300, abs=1e-6)


def thin_clusters(n=1500, seed=0):
    """Side by side: 5 long, 0.1 thick, 1 apart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)) * [5.0, 0.1]
    x[:, 1] += np.where(np.arange(n) % 2, 0.5, -0.5)
    return x


def test_thin_parallel_clusters_show_in_the_second_direction(monkeypatch):
    x = thin_clusters()
    mixture = one_gaussian(x, "full")
    axis = np.linalg.eigh(mixture.covariances[0])[1][:, -1]
    assert abs(axis[0]) > 0.99  # the rows vary most along the clusters
    covariance = covariance_of("full", np.tile(np.diag([25.0, 0.01]), (2, 1, 1)), 2)
    truth = Mixture(np.full(2, 0.5), np.array([[0.0, -0.5], [0.0, 0.5]]), covariance)
    known = float(np.mean(np.log(joint_density(truth, x).sum(axis=1)) - mixture.log_density(x)))
    found = gains(x, mixture)
    assert known > 0.5
    assert found.gain[0] > 0.98 * known
    np.testing.assert_allclose(
        np.sort([every(found.first).means[0, 1], every(found.second).means[0, 1]]), [-0.5, 0.5], atol=0.02
    )
    monkeypatch.setattr(splits, "_least_gaussian", splits._principal)
    assert gains(x, mixture).gain[0] < 0.5 * known


@pytest.mark.parametrize("turned", [0.3, 1.2])
def test_the_gain_does_not_depend_on_the_axes(turned):
    x = thin_clusters()
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    plain, there = gains(x, one_gaussian(x, "full")), gains(x @ rotation.T, one_gaussian(x @ rotation.T, "full"))
    assert there.gain[0] == pytest.approx(plain.gain[0], abs=1e-6)


def test_components_of_few_rows_are_not_split():
    x = np.concatenate([np.random.default_rng(0).standard_normal((100, 2)), [[50.0, 50.0], [51.0, 50.0], [50.0, 51.5]]])
    mixture = Mixture(
        np.array([100 / 103, 3 / 103]), np.array([[0.0, 0.0], [50.3, 50.5]]), covariance_of("diag", np.ones((2, 2)), 2)
    )
    found = gains(x, mixture, fold=np.zeros(103))
    assert found.gain[1] == 0
    assert found.held_out[1] == 0
    np.testing.assert_array_equal(every(found.first).means[1], mixture.means[1])


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_one_row_do_no_harm(kind):
    x = np.concatenate([np.random.default_rng(0).standard_normal((200, 2)), np.tile([[3.0, 3.0]], (50, 1))])
    with np.errstate(all="raise", under="ignore"):
        found = gains(x, one_gaussian(x, kind), fold=np.tile([0.0, 1.0], 125))
    assert np.all(np.isfinite(found.gain))
    assert np.all(np.isfinite(found.held_out))
    assert np.all(np.isfinite(every(found.first).covariance.values))


def test_parts_without_width_keep_the_covariance_of_their_parent():
    parent = covariance_of("full", np.array([np.eye(2), 2 * np.eye(2)]), 2)
    flat = parent.with_values(np.array([[[1.0, 1.0], [1.0, 1.0]], [[3.0, 0.0], [0.0, 4.0]]]))
    np.testing.assert_array_equal(_sound(flat, parent).values, [np.eye(2), np.diag([3.0, 4.0])])
    assert _sound(parent, flat) is parent
