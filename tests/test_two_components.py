"""Two components with the noise integrated out: against draws, quadrature, differences and the published formulas."""

import numpy as np
import pytest
from scipy.special import expit

from scoremix.learning.sck import two_components
from scoremix.learning.sck.objective import Objective, objective_sums
from scoremix.learning.sck.student import Student
from scoremix.learning.sck.two_components import exact_sums
from scoremix.noise import sigma_from_ou_time
from scoremix.samples.source import ArraySource

KINDS, NAMES = ("denoising", "implicit"), ("loss", "means", "logits", "weight")


def problem(n=60, d=4, spread=1.0, odds=0.3, seed=0):
    """A student of two weights, and rows of another law."""
    rng = np.random.default_rng(seed)
    student = Student(spread * rng.standard_normal((2, d)) + 1, np.array([odds, 1 - odds]), 0.7)
    return student, 1.2 * student.mixture().sample(n, rng)[0] + 0.2


def naive(student, y, sigma):
    """Implicit losses of noisy rows, ``|s|^2 + 2 div s``, by the definition."""
    v = student.variance + sigma**2
    logs = np.log(student.weights) - 0.5 * np.sum((y[..., None, :] - student.means) ** 2, axis=-1) / v
    share = expit(logs[..., 0] - logs[..., 1])[..., None]
    score = (share * student.means[0] + (1 - share) * student.means[1] - y) / v
    spread = share[..., 0] * (1 - share[..., 0]) * np.sum((student.means[0] - student.means[1]) ** 2)
    return np.sum(score**2, axis=-1) + 2 * (spread / v - y.shape[-1]) / v


def grid(n_nodes=4001):
    """A fine rule for the standard normal law."""
    z = np.linspace(-9, 9, n_nodes)
    share = np.exp(-(z**2) / 2)
    return z, share / share.sum()


@pytest.mark.parametrize("spread", [1e-3, 1.0, 8.0])
@pytest.mark.parametrize("odds", [0.5, 0.02])
@pytest.mark.parametrize("sigma", [0.1, 1.1, 6.0])
def test_losses_are_those_of_a_fine_quadrature(spread, odds, sigma):
    student, x = problem(spread=spread, odds=odds)
    half = student.means[0] - student.means[1]
    axis, (z, share) = half / np.linalg.norm(half), grid()
    # Across the line noise meets nothing but the |y|^2 of |s|^2.
    across = 3 * sigma**2 / (0.7 + sigma**2) ** 2
    expected = share @ naive(student, x + sigma * z[:, None, None] * axis, sigma) + across
    found = {kind: exact_sums(ArraySource(x), student, sigma, kind=kind) for kind in KINDS}
    # The nodes are right to 1e-9, times the derivatives of what is integrated: 3e-8 at most here.
    np.testing.assert_allclose(found["implicit"].mean_loss, expected.mean(), rtol=1e-7)
    np.testing.assert_allclose(found["denoising"].mean_loss, expected.mean() + 4 / sigma**2, rtol=1e-7)
    for name in NAMES[1:]:
        np.testing.assert_array_equal(getattr(found["denoising"], name), getattr(found["implicit"], name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [1e-3, 1.0, 8.0])
@pytest.mark.parametrize("odds", [0.5, 0.02])
@pytest.mark.parametrize("sigmas", [0.1, [1.1, 6.0]])
def test_gradients_are_differences_of_the_loss(kind, spread, odds, sigmas):
    student, x = problem(spread=spread, odds=odds)
    weight = np.random.default_rng(0).random(len(x))
    source, how = ArraySource(x, weight), {"kind": kind, "factors": np.arange(np.size(sigmas)) + 0.5}
    found, h = exact_sums(source, student, sigmas, **how), 1e-3

    def slope(step, logits):
        def at(t):
            weights = student.weights * np.exp(t * logits)
            moved = Student(student.means + t * step, weights / weights.sum(), 0.7)
            return exact_sums(source, moved, sigmas, **how).loss

        # Error: h^6 seventh derivatives, and that of the quadrature (1e-10) over h.
        return (45 * (at(h) - at(-h)) - 9 * (at(2 * h) - at(-2 * h)) + at(3 * h) - at(-3 * h)) / (60 * h)

    means = [slope(step.reshape(2, 4), np.zeros(2)) for step in np.eye(8)]
    logits = [slope(np.zeros((2, 4)), step) for step in np.eye(2)]
    scale = np.abs(found.means).max()
    np.testing.assert_allclose(found.means.ravel(), means, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(found.logits, logits, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("kind", ["denoising", "implicit", "sliced"])
@pytest.mark.parametrize("d", [1, 3])
def test_it_is_the_average_of_many_draws(kind, d):
    student, x = problem(d=d)
    source, sigma = ArraySource(x), 0.7
    exact = exact_sums(source, student, sigma, kind="denoising" if kind == "denoising" else "implicit")
    draws = [objective_sums(source, student, sigma, Objective(kind), key=(1, step)) for step in range(300)]
    values, truth = (
        np.array([[s.mean_loss, *s.gradient.ravel(), s.logits[0] / s.weight] for s in sums])
        for sums in (draws, [exact])
    )
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - truth[0]) < 4 * error + 1e-12)
    assert np.all(error[1:] < 0.2 * np.abs(truth[0, 1:]).max())  # the test has power


@pytest.mark.parametrize("length", [0.0, 0.5, 3.0])
def test_the_closed_form_is_the_papers(length):
    # exp(-tau) (x + sigma z) at Ornstein-Uhlenbeck time, unit variance: noise along mu by a fine rule, across it has
    # mean 0.
    tau, axis = 0.4, np.array([0.6, 0.0, 0.8, 0.0])
    sigma, (z, share) = sigma_from_ou_time(tau), grid()
    rows = problem()[1]
    points = np.exp(-tau) * (rows + sigma * z[:, None, None] * axis)
    mu = np.exp(-tau) * length * axis
    u = points @ mu
    t, s, square = np.tanh(u), 1 - np.tanh(u) ** 2, mu @ mu
    factor = 2 * square * t * s + 2 * (t + u * s)
    per_node = 4 * mu - 2 * mu * np.mean(t**2, axis=1)[:, None] - np.mean(factor[..., None] * points, axis=1)
    student = Student.symmetric(length * axis)
    found = exact_sums(ArraySource(rows), student, sigma).at_ou_time(sigma).tied_gradient
    np.testing.assert_allclose(found, share @ per_node, rtol=1e-6, atol=1e-6)  # 5e-7 of the length: nodes
    middle = (len(z) - 1) // 2  # no noise, but the variance that it would bring
    t, u, x = t[middle], u[middle], rows
    plain = exact_sums(ArraySource(x), Student.symmetric(length * axis, 1 + sigma**2), 0.0, kind="implicit")
    np.testing.assert_allclose(plain.at_ou_time(sigma).tied_gradient, per_node[middle], rtol=0, atol=1e-12)
    # |T mu - x|^2 + 2 ((1 - T^2) |mu|^2 - d)
    loss = np.sum((t[:, None] * mu - points[middle]) ** 2, axis=1) + 2 * ((1 - t**2) * square - 4)
    np.testing.assert_allclose(plain.at_ou_time(sigma).mean_loss, loss.mean(), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_means_that_coincide_move_together(kind):
    x, weights = problem()[1], np.array([0.2, 0.8])
    found = exact_sums(ArraySource(x), Student(np.full((2, 4), 0.4), weights, 0.7), 0.8, kind=kind)
    v = 0.7 + 0.64
    np.testing.assert_allclose(found.gradient, 2 * weights[:, None] * (0.4 - x.mean(axis=0)) / v**2, rtol=1e-12)
    np.testing.assert_allclose(found.logits, 0, atol=1e-12)
    loss = (np.mean(np.sum((x - 0.4) ** 2, axis=1)) + 4 * 0.64) / v**2 - 8 / v + (kind == "denoising") * 4 / 0.64
    np.testing.assert_allclose(found.mean_loss, loss, rtol=1e-12)


def test_far_means_are_components_alone():
    # Halfway between them rows belong to the nearer one, up to exp(-1e6).
    rng, means = np.random.default_rng(0), 1e4 * np.array([[1.0, 2.0, 2.0], [1.0, 1.0, 2.0]])
    labels = rng.integers(0, 2, 20)
    x = means[labels] + rng.standard_normal((20, 3)) + 0.1
    found = exact_sums(ArraySource(x), Student(means, np.array([0.3, 0.7])), 0.8, kind="implicit")
    offsets = np.stack([(x[labels == i] - means[i]).sum(axis=0) for i in range(2)])
    # Of distances of 1e4 twelve digits are left, of their squares eight.
    np.testing.assert_allclose(found.means, -2 * offsets / 1.64**2, rtol=0, atol=1e-4)
    loss = (np.sum((x - means[labels]) ** 2) + 3 * 20 * 0.64) / 1.64**2 - 6 * 20 / 1.64
    np.testing.assert_allclose(found.loss, loss, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_a_repetition(kind):
    student, x = problem()
    repeats = np.random.default_rng(1).integers(0, 4, len(x))
    weighted = exact_sums(ArraySource(x, repeats.astype(float)), student, 0.8, kind=kind)
    repeated = exact_sums(ArraySource(np.repeat(x, repeats, axis=0)), student, 0.8, kind=kind)
    for name in NAMES:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-11)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_library_and_precision(xp, precision):
    student, x = problem()
    x, weight = x.astype(precision), np.random.default_rng(0).random(len(x)).astype(precision)
    sigmas = np.array([0.5, 2.0])
    found = exact_sums(ArraySource(xp.asarray(x), xp.asarray(weight)), student, sigmas)
    reference = exact_sums(ArraySource(x.astype(float), weight), student, sigmas)
    assert found.means.dtype == np.float64
    for name in NAMES:  # whatever the precision of the rows: computations have all digits
        np.testing.assert_allclose(getattr(found, name), getattr(reference, name), rtol=1e-10)


def test_chunks_tiles_and_threads_do_not_matter(monkeypatch):
    student, x = problem(n=5000)
    args = (ArraySource(x, np.random.default_rng(0).random(5000)), student, np.array([0.3, 2.0]))
    whole = exact_sums(*args)
    monkeypatch.setattr(two_components, "CHUNK_ROWS", 1300)
    monkeypatch.setattr(two_components, "TILE_NUMBERS", 3000)
    monkeypatch.setattr(two_components, "SMALL_WORK", 0)
    pieces = [exact_sums(*args, n_threads=n) for n in (1, 2)]
    for name in NAMES:
        np.testing.assert_allclose(getattr(pieces[0], name), getattr(whole, name), rtol=1e-10)
        np.testing.assert_array_equal(getattr(pieces[0], name), getattr(pieces[1], name))


@pytest.mark.parametrize("kind", KINDS)
def test_levels_add_with_their_factors(kind):
    student, x = problem()
    sigmas, factors, source = np.array([3.0, 1.0, 0.2]), np.array([2.0, 0.0, 0.7]), ArraySource(x)
    together = exact_sums(source, student, sigmas, kind=kind, factors=factors)
    single = [exact_sums(source, student, sigma, kind=kind) for sigma in sigmas]
    for name in NAMES[:-1]:
        total = sum(f * getattr(s, name) for f, s in zip(factors, single, strict=True))
        np.testing.assert_allclose(getattr(together, name), total, rtol=1e-12)
    assert together.weight == len(x)
    no_factors = exact_sums(source, student, sigmas, kind=kind)
    np.testing.assert_allclose(no_factors.loss, sum(s.loss for s in single), rtol=1e-12)


def test_no_noise_is_score_matching_of_the_data():
    student, x = problem()
    found = exact_sums(ArraySource(x), student, 0.0, kind="implicit")
    np.testing.assert_allclose(found.loss, naive(student, x, 0.0).sum(), rtol=1e-12)
    sampled = objective_sums(ArraySource(x), student, 0.0, Objective("implicit"))
    for name in NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(sampled, name), rtol=1e-10)


def test_nodes_are_bounded_however_far_the_means():
    # As many as a slope asks for, and no more than so many.
    assert [len(two_components.noise_nodes(slope)[0]) for slope in (0.0, 0.1, 1.0, 3.0)] == [1, 17, 37, 101]
    assert len(two_components.noise_nodes(1e12)[0]) == two_components.MAX_NODES + 1
    x = problem()[1]
    assert np.isfinite(exact_sums(ArraySource(x), Student.symmetric(np.full(4, 1e9)), 1.0).means).all()


def test_what_cannot_be_asked():
    student, x = problem()
    with pytest.raises(ValueError, match="not for 3"):
        exact_sums(ArraySource(x), Student(np.zeros((3, 4)), np.full(3, 1 / 3)), 1.0)
    for sigmas, kind in ((0.0, "denoising"), (-1.0, "implicit"), ([], "implicit")):
        with pytest.raises(ValueError, match="noise levels must be"):
            exact_sums(ArraySource(x), student, np.array(sigmas), kind=kind)
