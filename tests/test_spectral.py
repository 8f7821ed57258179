"""The two ends of the gradient, large noise and small, and means from moments."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from scoremix.learning.em import em
from scoremix.learning.moments import top_subspace
from scoremix.learning.sck import tensor_power as spectral
from scoremix.learning.sck.objective import Objective, objective_sums
from scoremix.learning.sck.student import Student
from scoremix.learning.sck.tensor_power import decompose, tensor_power
from scoremix.learning.sck.two_components import exact_sums
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource


def power_step(mu, second_moment):
    """A step of the power method, not normalised; for data of means ``+-m``, ``M = s0 I + m m^T``."""
    return second_moment @ mu


def large_noise_gradient(mu, second_moment, sigma, variance=1.0):
    """What the gradient of the student ``+-mu`` tends to at large noise: that of a rank-one fit of the second moment.

    ``4 (|mu|^2 mu - (M - s0 I) mu) / (s0 + sigma^2)^3``. What leads across mu is the step of the power method; along mu
    the length is kept in check.
    """
    excess = power_step(mu, second_moment) - variance * mu
    return 4 * (mu @ mu * mu - excess) / (variance + sigma**2) ** 3


def em_direction(expected, student, sigma=0.0):
    """Direction of gradient EM in the means, ``sum_n r_ni (y_n - m_i) / (n v)``, from an E-step of the student.

    Where clusters are apart against ``sqrt(v)``, minus the gradient of every objective is ``2 / v`` times that, up to
    the mean of ``r_i (1 - r_i)`` times squared distances between means.
    """
    return expected.first / (expected.weight * (student.variance + sigma**2))


def gradient_step(expected, mixture, rate):
    """One step of gradient EM on the means (Segol and Nadler, EJS 2021): along the gradient of the likelihood."""
    k, d = mixture.means.shape
    pull = np.linalg.solve(mixture.covariance.dense(k, d), expected.first[:, :, None] / expected.weight)[:, :, 0]
    return Mixture(mixture.weights, mixture.means + rate * pull, mixture.covariance)


def cosine(a, b):
    return np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b))


def tied_gradient(x, mu, sigma):
    """Gradient of the student +-mu, noise integrated out."""
    return exact_sums(ArraySource(x), Student.symmetric(mu), sigma, kind="implicit").tied_gradient


def test_large_noise_is_the_power_method():
    rng = np.random.default_rng(1)
    truth, mu = 1.5 * np.eye(10)[0], 0.3 * rng.standard_normal(10)
    mu = (mu + truth) / np.linalg.norm(mu + truth)  # not across the truth, where only sampling errors are left
    x = Student.symmetric(truth).mixture().sample(50_000, rng)[0]
    gradient = tied_gradient(x, mu, 16.0)
    moment, population = x.T @ x / len(x), np.eye(10) + np.outer(truth, truth)

    def across(v):
        return v - (v @ mu) * mu

    # The remainder is of relative size |mu|^2 / sigma^2 = 1/256; the population is off by its sampling error.
    assert cosine(gradient, large_noise_gradient(mu, moment, 16.0)) > 0.9999
    assert abs(np.linalg.norm(gradient) / np.linalg.norm(large_noise_gradient(mu, moment, 16.0)) - 1) < 0.02
    assert cosine(gradient, large_noise_gradient(mu, population, 16.0)) > 0.99
    assert cosine(-across(gradient), across(power_step(mu, moment))) > 0.999999
    assert cosine(-across(gradient), across(power_step(mu, population))) > 0.99


def test_descent_at_large_noise_turns_to_the_means():
    rng = np.random.default_rng(2)
    truth, mu = 2.0 * np.eye(20)[0], 0.1 * rng.standard_normal(20)
    x, sigma = Student.symmetric(truth).mixture().sample(20_000, rng)[0], 4.0
    assert abs(cosine(mu, truth)) < 0.9  # drawn in 20 dimensions: 0.22 in the mean
    for _ in range(40):
        mu = mu - 0.05 * (1 + sigma**2) ** 3 * tied_gradient(x, mu, sigma)
    assert abs(cosine(mu, truth)) > 0.99


@pytest.mark.parametrize(("separation", "angle", "length"), [(3.0, 0.999, 0.05), (4.0, 0.999, 0.02), (10.0, 1, 1e-9)])
def test_small_noise_is_gradient_em(separation, angle, length):
    # The two differ by the mean of r (1 - r) times squared distances: it is apart, not noise, that makes them equal.
    rng = np.random.default_rng(3)
    truth = separation * np.eye(10)[0]
    x = Student.symmetric(truth).mixture().sample(10_000, rng)[0]
    student = Student.symmetric(truth + 0.1 * separation * rng.standard_normal(10))
    expected = em.e_step(ArraySource(x), student.mixture())
    direction = em_direction(expected, student)
    step = gradient_step(expected, student.mixture(), 1.0).means - student.means
    np.testing.assert_allclose(direction, step, rtol=1e-12)
    gradient, pull = tied_gradient(x, student.means[0], 0.0), direction[0] - direction[1]
    assert cosine(-gradient, pull) >= angle - 1e-12
    assert abs(np.linalg.norm(gradient) / np.linalg.norm(2 * pull) - 1) < length


def test_small_noise_is_gradient_em_for_three_means():
    rng = np.random.default_rng(4)
    truth = 20 * np.eye(3)
    x = Student(truth, np.array([0.2, 0.3, 0.5])).mixture().sample(5000, rng)[0]
    student = Student(truth + rng.standard_normal((3, 3)), np.array([0.2, 0.3, 0.5]))
    direction = em_direction(em.e_step(ArraySource(x), student.mixture()), student)
    gradient = objective_sums(ArraySource(x), student, 0.0, Objective("implicit")).gradient
    np.testing.assert_allclose(gradient, -2 * direction, rtol=1e-8)


@pytest.mark.parametrize(("separation", "tolerance"), [(2.0, 0.05), (4.0, 0.02), (10.0, 1e-6)])
def test_the_fixed_point_of_em_is_stationary(separation, tolerance):
    rng = np.random.default_rng(5)
    x = Student.symmetric(separation * np.eye(5)[0]).mixture().sample(10_000, rng)[0]
    mu = separation * np.eye(5)[0]
    for _ in range(100):
        mu = np.mean(np.tanh(x @ mu)[:, None] * x, axis=0)
    at_data, noised = (np.linalg.norm(tied_gradient(x, mu, sigma)) for sigma in (0.0, 0.3))
    # With mu = E[T x] the gradient is 2 mu E[S] - 2 E[S (|mu|^2 T + u) x], S = 1 - T^2: nothing but terms in S.
    u = x @ mu
    slope, square = 1 - np.tanh(u) ** 2, mu @ mu
    left = 2 * mu * np.mean(slope) - 2 * np.mean((slope * (square * np.tanh(u) + u))[:, None] * x, axis=0)
    assert at_data == pytest.approx(np.linalg.norm(left), rel=1e-6, abs=1e-11)
    # The curvature is about 2 and sampling moves means by sqrt(5 / n) = 0.02: that would be 0.04. Apart by 4, two rows
    # between the means are expected, and each has a part of 0.0016.
    assert at_data < tolerance
    assert noised < tolerance


def five(n=50_000, seed=0):
    rng = np.random.default_rng(seed)
    means, weights = 6 * np.eye(5, 8) + 2, np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    truth = Mixture(weights, means, Spherical(np.ones(5), 8))
    return truth, truth.sample(n, rng)[0]


def errors(found, truth):
    """Distances of means, and differences of weights, of the nearest components; each may be taken once."""
    distance = np.linalg.norm(found.means[:, None] - truth.means[None], axis=2)
    order = np.argmin(distance, axis=0)
    assert len(set(order)) == len(order)
    return distance.min(axis=0), np.abs(found.weights[order] - truth.weights)


def test_top_subspace():
    truth, x = five()
    spectrum = top_subspace(ArraySource(x + 100), 4)
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    np.testing.assert_allclose(spectrum.variances, values[:4], rtol=1e-9)
    np.testing.assert_allclose(spectrum.mean, x.mean(axis=0) + 100, rtol=1e-12)
    np.testing.assert_allclose(spectrum.axes.T @ spectrum.axes, np.eye(4), atol=1e-12)
    local = truth.means - truth.mean()
    rest = local - local @ spectrum.axes @ spectrum.axes.T
    assert np.linalg.norm(rest) < 0.02 * np.linalg.norm(local)
    with pytest.raises(ValueError, match="8 dimensions"):
        top_subspace(ArraySource(x), 9)


def test_tensor_power_finds_means_and_weights():
    truth, x = five()
    found = tensor_power(ArraySource(x), 5, 1.0, np.random.default_rng(0))
    # Sampling error of the whitened third moment, entry by entry; for eigenvectors and values of an orthogonal tensor
    # it counts 8 and 5 times (Anandkumar et al., theorem 5.1), for means times the widest axis, for weights w 2 w^.5.
    spectrum = top_subspace(ArraySource(x), 4)
    y = (x - spectrum.mean) @ (spectrum.axes / np.sqrt(spectrum.variances - 1))
    second = np.mean((y**2).sum(axis=1) ** 3) - np.sum(np.mean(np.einsum("na,nb,nc->nabc", y, y, y), axis=0) ** 2)
    error = np.sqrt(second / len(x))
    means, weights = errors(found, truth)
    assert error < 0.1
    assert means.max() < 13 * error * np.sqrt(spectrum.variances[0])
    assert np.all(weights < 2 * truth.weights**1.5 * 5 * error)
    # In numbers, which the theorem is far above: half a percent of the distances between means.
    assert means.max() < 0.1
    assert weights.max() < 0.01


def test_tensor_power_does_not_know_the_origin():
    _, x = five(5000)
    here = tensor_power(ArraySource(x), 5, 1.0, np.random.default_rng(0))
    there = tensor_power(ArraySource(3 * x + 100), 5, 9.0, np.random.default_rng(0))
    np.testing.assert_allclose(there.means, 3 * here.means + 100, rtol=1e-8)
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-8)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_tensor_power_in_every_library_and_with_weights(xp, precision, tolerance, monkeypatch):
    _, x = five(4000)
    weight = np.random.default_rng(1).integers(0, 4, 4000)
    repeated = tensor_power(ArraySource(np.repeat(x, weight, axis=0)), 5, 1.0, np.random.default_rng(0))
    monkeypatch.setattr(spectral, "CHUNK_ROWS", 1000)
    source = ArraySource(xp.asarray(x, dtype=getattr(xp, precision)), xp.asarray(weight, dtype=xp.float64))
    found = tensor_power(source, 5, 1.0, np.random.default_rng(0), n_threads=2)
    means, weights = errors(found, repeated)
    assert means.max() < 10 * tolerance
    assert weights.max() < tolerance


@pytest.mark.parametrize("k", [1, 2, 3])
def test_up_to_one_more_component_than_dimensions(k):
    means = 6 * np.array([[0.0, 0.0], [1.0, 0.0], [0.3, 1.2]])[:k]
    truth = Mixture(np.full(k, 1 / k), means, Spherical(np.ones(k), 2))
    x = truth.sample(20_000, np.random.default_rng(0))[0]
    distance, weights = errors(tensor_power(ArraySource(x), k, 1.0, np.random.default_rng(0)), truth)
    assert distance.max() < 0.2
    assert weights.max() < 0.02


def test_too_many_components_are_refused():
    x = np.random.default_rng(0).standard_normal((1000, 3))
    with pytest.raises(ValueError, match="3 dimensions"):
        tensor_power(ArraySource(x), 5, 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="0 directions only"):
        tensor_power(ArraySource(x), 3, 2.0, np.random.default_rng(0))


def test_orthogonal_tensors_are_taken_apart():
    values, vectors = np.array([4.0, 2.5, 1.5, 1.2]), ortho_group.rvs(4, random_state=0)
    tensor = np.einsum("i,ia,ib,ic->abc", values, vectors, vectors, vectors)
    found, axes = decompose(tensor, np.random.default_rng(0))
    order = np.argmax(axes @ vectors.T, axis=0)
    np.testing.assert_allclose(found[order], values, rtol=1e-12)
    np.testing.assert_allclose(axes[order], vectors, atol=1e-12)
