"""Score objectives: gradients against differences of the losses, losses against their definitions, three that agree."""

from itertools import product as every

import numpy as np
import pytest

from scoremix.learning import ddpm
from scoremix.learning.ddpm import Objective, Student, likelihood_weights, objective_sums, sums_at
from scoremix.learning.spectral import symmetric_sums
from scoremix.noise import ou_time_from_sigma, sigma_from_ou_time
from scoremix.samples.source import ArraySource

KINDS = ("denoising", "implicit", "sliced")


def problem(n=200, k=3, d=4, sigma=0.8, spread=1.5, seed=0):
    """A student, rows at noise level sigma, and what the three objectives ask for beside them."""
    rng = np.random.default_rng(seed)
    student = Student(spread * rng.standard_normal((k, d)), rng.dirichlet(np.full(k, 10.0)), 0.7)
    x = student.mixture().sample(n, rng)[0] + 0.3
    z, a = rng.standard_normal((d, n)), np.sign(rng.standard_normal((2 * d, n)))
    return student, x.T + sigma * z, {"denoising": {"noise": z}, "implicit": {}, "sliced": {"directions": a}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [1.5, 300.0])  # the second needs several frames
def test_gradients_are_differences_of_the_loss(kind, spread):
    student, y, extra = problem(spread=spread)
    sums = sums_at(student, y, 0.8, **extra[kind])
    k, d, h = 3, 4, 1e-5

    def loss(step, logits):
        weights = student.weights * np.exp(logits)
        return sums_at(Student(student.means + step, weights / weights.sum(), 0.7), y, 0.8, **extra[kind]).loss

    means, logits = np.zeros((k, d)), np.zeros(k)
    for i in range(k):
        here = np.eye(k)[i] * h
        logits[i] = (loss(0, here) - loss(0, -here)) / (2 * h)
        for j in range(d):
            step = np.outer(here, np.eye(d)[j])
            means[i, j] = (loss(step, 0) - loss(-step, 0)) / (2 * h)
    # Differences: h^2 third derivatives, and 1e-16 loss / h; measured 3e-10.
    np.testing.assert_allclose(sums.means, means, atol=1e-6 * np.abs(means).max())
    np.testing.assert_allclose(sums.logits, logits, atol=1e-6 * np.abs(means).max())
    assert abs(sums.logits.sum()) < 1e-9 * np.abs(sums.means).max()


def test_losses_are_their_definitions():
    student, y, extra = problem(n=50)
    sigma, d = 0.8, 4
    score = student.mixture().score(y.T, sigma)
    jacobian = np.stack(
        [
            (student.mixture().score(y.T + h, sigma) - student.mixture().score(y.T - h, sigma)) / 2e-5
            for h in 1e-5 * np.eye(d)
        ],
        axis=1,
    )
    noise, directions = extra["denoising"]["noise"], extra["sliced"]["directions"].reshape(2, d, -1)
    square = np.sum(score**2, axis=1)
    expected = {
        "denoising": np.sum((score + noise.T / sigma) ** 2, axis=1),
        "implicit": square + 2 * np.trace(jacobian, axis1=1, axis2=2),
        "sliced": square + 2 * np.einsum("jin,nil,jln->n", directions, jacobian, directions) / 2,
    }
    for kind in KINDS:
        sums = sums_at(student, y, sigma, **extra[kind])
        np.testing.assert_allclose(sums.mean_loss, expected[kind].mean(), rtol=1e-8)
        assert sums.weight == 50


def test_the_paper_at_its_own_time():
    # Data and means in Ornstein-Uhlenbeck coordinates, unit variance, uniform weights: the formulas as published.
    tau, rng = 0.3, np.random.default_rng(0)
    sigma, shrink = sigma_from_ou_time(tau), np.exp(-tau)
    means, x, z = rng.standard_normal((3, 5)), rng.standard_normal((40, 5)), rng.standard_normal((40, 5))
    at_tau, points = shrink * means, shrink * (x + sigma * z)
    noise = z / np.sqrt(1 - np.exp(-2 * tau))
    share = np.exp(-0.5 * np.sum((points[:, None] - at_tau) ** 2, axis=2))
    share /= share.sum(axis=1, keepdims=True)
    middle = share @ at_tau
    rest = middle - (points - noise)
    along = np.einsum("nd,nkd->nk", rest, at_tau - middle[:, None])
    gradient = 2 * np.mean(share[:, :, None] * (rest[:, None] + along[:, :, None] * (points[:, None] - at_tau)), axis=0)
    student = Student(means, np.full(3, 1 / 3))
    sums = sums_at(student, (x + sigma * z).T, sigma, noise=z.T).at_ou_time(sigma)
    np.testing.assert_allclose(ou_time_from_sigma(sigma), tau)
    np.testing.assert_allclose(sums.mean_loss, np.mean(np.sum(rest**2, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(sums.gradient, gradient, rtol=1e-10, atol=1e-12)


def test_sliced_is_implicit_on_the_average():
    student, y, _ = problem(d=3, n=60)
    signs = [np.repeat(np.array(a, dtype=float)[:, None], 60, axis=1) for a in every((-1, 1), repeat=3)]
    parts = [sums_at(student, y, 0.8, directions=a) for a in signs]
    implicit = sums_at(student, y, 0.8)
    # All signs: an exact average, up to rounding.
    np.testing.assert_allclose(np.mean([p.loss for p in parts]), implicit.loss, rtol=1e-12)
    np.testing.assert_allclose(np.mean([p.means for p in parts], axis=0), implicit.means, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.mean([p.logits for p in parts], axis=0), implicit.logits, atol=1e-10)
    both = sums_at(student, y, 0.8, directions=np.concatenate(signs[:2]))
    np.testing.assert_allclose(both.means, (parts[0].means + parts[1].means) / 2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("objective", [Objective(kind, antithetic=a) for kind in KINDS for a in (False, True)])
def test_sampled_objectives_agree_with_the_noise_integrated_out(objective):
    mu, sigma, d = np.array([1.0, -0.5, 0.3]), 0.7, 3
    source = ArraySource(Student.symmetric(mu).mixture().sample(200, np.random.default_rng(0))[0])
    exact = symmetric_sums(source, 0.8 * mu + 0.2, sigma)
    student = Student.symmetric(0.8 * mu + 0.2)
    draws = [objective_sums(source, student, sigma, objective, key=(1, step)) for step in range(200)]
    values = np.array([[s.mean_loss, *s.tied_gradient] for s in draws])
    # E denoising = E implicit + d / sigma^2; gradients are the same.
    truth = np.array([exact.mean_loss + (d / sigma**2 if objective.kind == "denoising" else 0), *exact.gradient[0]])
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - truth) < 4 * error)
    assert np.all(error[1:] < 0.02)  # the test has power: gradients are of size 0.3


def test_antithetic_pairs_cancel_what_is_odd_in_the_noise():
    # At little noise the targets z / sigma are large, and cancel in pairs.
    student, y, _ = problem()
    plain, paired = (
        np.std([objective_sums(ArraySource(y.T), student, 0.01, how, key=(s,)).gradient for s in range(30)], axis=0)
        for how in (Objective(n_draws=2), Objective(antithetic=True))
    )
    assert paired.max() < 0.2 * plain.max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_a_repetition(kind):
    student, y, extra = problem()
    repeats = np.random.default_rng(1).integers(0, 4, y.shape[1])
    weighted = sums_at(student, y, 0.8, repeats.astype(float), **extra[kind])
    often = {name: np.repeat(value, repeats, axis=1) for name, value in extra[kind].items()}
    repeated = sums_at(student, np.repeat(y, repeats, axis=1), 0.8, **often)
    for name in ("loss", "means", "logits", "weight"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_threads_do_not_matter(kind, monkeypatch):
    rng = np.random.default_rng(0)
    student = problem()[0]
    source = ArraySource(student.mixture().sample(9000, rng)[0], rng.random(9000))
    args = (source, student, np.array([0.3, 2.0]), Objective(kind, antithetic=True))
    whole = objective_sums(*args)
    monkeypatch.setattr(ddpm, "MAX_CHUNK", 1024)
    monkeypatch.setattr(ddpm, "SMALL_WORK", 0)
    pieces = [objective_sums(*args, n_threads=n) for n in (1, 2)]
    for name in ("loss", "means", "logits", "weight"):
        # Sums of 36,000 terms in another order.
        np.testing.assert_allclose(getattr(pieces[0], name), getattr(whole, name), rtol=1e-10, atol=1e-9)
        np.testing.assert_array_equal(getattr(pieces[0], name), getattr(pieces[1], name))
    np.testing.assert_allclose(whole.weight, sum(chunk.weight.sum() for chunk in source.chunks(4000)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-3)])
def test_every_library_and_precision(xp, kind, precision, tolerance):
    student, y, _ = problem(spread=3.0)
    weight = np.random.default_rng(0).random(y.shape[1])
    source = ArraySource(xp.asarray(y.T, dtype=getattr(xp, precision)), xp.asarray(weight))
    here = objective_sums(source, student, 0.5, Objective(kind))
    reference = objective_sums(ArraySource(y.T, weight), student, 0.5, Objective(kind))
    assert here.means.dtype == np.float64
    np.testing.assert_allclose(here.loss, reference.loss, rtol=tolerance)
    np.testing.assert_allclose(here.means, reference.means, atol=tolerance * np.abs(reference.means).max())
    np.testing.assert_allclose(here.logits, reference.logits, atol=tolerance * np.abs(reference.means).max())


def test_far_clusters_in_another_library(xp):
    student, y, extra = problem(spread=300.0, n=60)
    for kind in KINDS:
        here = {name: xp.asarray(value) for name, value in extra[kind].items()}
        found = sums_at(student, xp.asarray(y), 0.8, xp.ones(60, dtype=xp.float64), **here)
        reference = sums_at(student, y, 0.8, **extra[kind])
        np.testing.assert_allclose(found.means, reference.means, rtol=1e-9, atol=1e-9)


def test_levels_add_with_their_factors():
    student, y, _ = problem()
    source, sigmas = ArraySource(y.T), np.array([2.0, 0.5])
    one, other, both = (
        objective_sums(source, student, sigmas, Objective(n_draws=2), factors=np.array(f))
        for f in ((3.0, 0.0), (0.0, 5.0), (3.0, 5.0))
    )
    np.testing.assert_allclose(one.means + other.means, both.means, rtol=1e-12)
    np.testing.assert_allclose(one.loss + other.loss, both.loss, rtol=1e-12)
    assert one.weight == both.weight == y.shape[1]


def test_likelihood_weights_make_a_divergence():
    # Scores of N(0, I) and N(delta, I) differ by delta / (1 + sigma^2): the divergence is |delta|^2 / 2.
    sigmas = np.geomspace(100, 0.01, 60)
    difference = 1 / (1 + sigmas**2) ** 2
    np.testing.assert_allclose(likelihood_weights(sigmas) @ difference, 0.5, rtol=1e-3)
    np.testing.assert_allclose(likelihood_weights(sigmas[::-1]), likelihood_weights(sigmas)[::-1])
    few = np.array([0.1, 0.5, 0.8, 3.0])
    steps = np.diff(np.log(few))
    np.testing.assert_allclose(likelihood_weights(few).sum(), np.sum(steps * (few[1:] ** 2 + few[:-1] ** 2) / 2))


def test_no_noise_is_score_matching_of_the_data():
    student, y, _ = problem()
    plain = sums_at(student, y, 0.0)
    found = objective_sums(ArraySource(y.T), student, 0.0, Objective("implicit", n_draws=2, antithetic=True))
    np.testing.assert_allclose(found.means, plain.means, rtol=1e-10)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(plain.means) / 200)


@pytest.mark.parametrize(("sigmas", "kind"), [(0.0, "denoising"), (-1.0, "implicit"), ([], "sliced")])
def test_impossible_levels_are_refused(sigmas, kind):
    student, y, _ = problem()
    with pytest.raises(ValueError, match="noise levels must be"):
        objective_sums(ArraySource(y.T), student, np.array(sigmas), Objective(kind))
