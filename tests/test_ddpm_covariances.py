"""The DDPM objective with covariances: gradients are differences, objectives agree, steps lead where they should."""

from dataclasses import replace

import numpy as np
import pytest

from scoremix.learning.em import em
from scoremix.learning.sck import covariances as ddpm_covariances
from scoremix.learning.sck.covariances import TRUST, covariance_sums, descent_step
from scoremix.models.covariance.diagonal import Diagonal
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS, TYPES = ("denoising", "implicit"), (Diagonal, Full)
NAMES = ("loss", "means", "logits", "covariances", "weight")


def sums_at(student, y, sigma, weight=None, noise=None):
    joint, target = student.smooth(sigma).joint(), None if noise is None else noise / sigma
    return ddpm_covariances.sums_at(joint, y, weight, target)


def student_of(kind, k=3, d=4, spread=1.5, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((k, d, 2 * d))
    matrices = root @ np.swapaxes(root, 1, 2) / (2 * d)
    values = matrices if kind is Full else np.diagonal(matrices, axis1=1, axis2=2).copy()
    return Mixture(rng.dirichlet(np.full(k, 10.0)), spread * rng.standard_normal((k, d)), kind(values))


def problem(kind, n=200, sigma=0.8, **shape):
    """A student, rows at noise level sigma of another law, and their noise."""
    rng, student = np.random.default_rng(1), student_of(kind, **shape)
    z = rng.standard_normal((student.n_features, n))
    return student, 1.2 * student.sample(n, rng)[0].T + 0.3 + sigma * z, z


def assert_same(found, reference, tolerance, names=NAMES):
    for name in names:
        expected = np.asarray(getattr(reference, name))
        np.testing.assert_allclose(getattr(found, name), expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("is_denoising", [True, False])
@pytest.mark.parametrize("kind", TYPES)
# Several frames; factors that are stacked because dimensions are many, and components few.
@pytest.mark.parametrize("shape", [{}, {"spread": 3e5, "d": 2}, {"k": 1, "d": 5}])
def test_gradients_are_differences_of_the_loss(kind, is_denoising, shape):
    student, y, z = problem(kind, n=60, **shape)
    noise, rng, h = z if is_denoising else None, np.random.default_rng(2), 1e-4
    sums = sums_at(student, y, 0.8, noise=noise)

    def loss(logits, means, values):
        weights, covariance = student.weights * np.exp(logits), student.covariance
        moved = Mixture(
            weights / weights.sum(), student.means + means, covariance.with_values(covariance.values + values)
        )
        return sums_at(moved, y, 0.8, noise=noise).loss

    for _ in range(5):
        for change in range(3):
            shapes = (student.weights, student.means, student.covariance.values)
            step = [rng.standard_normal(a.shape) * (i == change) for i, a in enumerate(shapes)]
            if kind is Full:
                step[2] = (step[2] + np.swapaxes(step[2], 1, 2)) / 2
            gradients = (sums.logits, sums.means, sums.covariances)
            size = sum(np.linalg.norm(g) * np.linalg.norm(s) for g, s in zip(gradients, step, strict=True))
            # Five points: an error of h^4 fifth derivatives, and of 1e-16 loss / h.
            one, two = (loss(*(i * h * s for s in step)) - loss(*(-i * h * s for s in step)) for i in (1, 2))
            difference = (8 * one - two) / (12 * h)
            exact = sum(np.sum(g * s) for g, s in zip(gradients, step, strict=True))
            assert abs(exact - difference) <= 1e-6 * size + 1e-14 * abs(sums.loss) / h
    assert abs(sums.logits.sum()) < 1e-9 * np.abs(sums.means).max()
    if kind is Full:
        np.testing.assert_allclose(sums.covariances, np.swapaxes(sums.covariances, 1, 2), atol=1e-9 * abs(sums.loss))


@pytest.mark.parametrize("kind", TYPES)
def test_losses_are_their_definitions(kind):
    student, y, z = problem(kind, n=50)
    score, h = student.score(y.T, 0.8), 1e-5
    slopes = [
        (student.score(y.T + step, 0.8) - student.score(y.T - step, 0.8)) @ step / (2 * h**2) for step in h * np.eye(4)
    ]
    implicit = np.sum(score**2, axis=1) + 2 * np.sum(slopes, axis=0)
    np.testing.assert_allclose(sums_at(student, y, 0.8).loss, implicit.sum(), rtol=1e-8)
    np.testing.assert_allclose(sums_at(student, y, 0.8, noise=z).loss, np.sum((score.T + z / 0.8) ** 2), rtol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_rows_keep_their_noise_and_weight_where_components_are_far(kind):
    student, y, z = problem(kind, spread=3e3)  # several frames, by which rows are sorted
    weight = np.random.default_rng(0).random(y.shape[1])
    expected = weight @ np.sum((student.score(y.T, 0.8) + z.T / 0.8) ** 2, axis=1)
    np.testing.assert_allclose(sums_at(student, y, 0.8, weight, noise=z).loss, expected, rtol=1e-9)


def test_spherical_students_of_known_variance_have_their_formula():
    # s = (m - y) / v with m the posterior mean; gradients as published, with R = m - (y - v z / sigma), over v^2.
    sigma, variance, (k, d) = 0.7, 0.6, (3, 4)
    v, spread = variance + sigma**2, student_of(Full)
    y, z = problem(Full, n=80, sigma=sigma)[1:]
    share = np.exp(np.log(spread.weights) - 0.5 * np.sum((y.T[:, None] - spread.means) ** 2, axis=2) / v)
    share /= share.sum(axis=1, keepdims=True)
    middle = share @ spread.means
    rest = middle - (y.T - v * z.T / sigma)
    along = np.einsum("nd,nkd->nk", rest, spread.means - middle[:, None])
    terms = rest[:, None] + along[:, :, None] * (y.T[:, None] - spread.means) / v
    gradient = 2 * np.sum(share[:, :, None] * terms, axis=0) / v**2
    for values in (np.full((k, d), variance), np.tile(variance * np.eye(d), (k, 1, 1))):
        covariance = Diagonal(values) if values.ndim == 2 else Full(values)
        sums = sums_at(Mixture(spread.weights, spread.means, covariance), y, sigma, noise=z)
        np.testing.assert_allclose(sums.loss, np.sum(rest**2) / v**2, rtol=1e-12)
        np.testing.assert_allclose(sums.means, gradient, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(sums.logits, 2 * np.sum(share * along, axis=0) / v**2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", TYPES)
def test_stein_denoising_is_implicit_and_a_constant(kind):
    student, sigma, d = student_of(kind, d=3), 0.7, 3
    source = ArraySource(1.2 * student.sample(100, np.random.default_rng(0))[0])
    draws = []
    for step in range(200):
        sums = [covariance_sums(source, student, sigma, kind=how, antithetic=True, key=(3, step)) for how in KINDS]
        draws.append([np.concatenate([np.ravel(getattr(s, name)) for name in NAMES[:-1]]) / s.weight for s in sums])
    denoising, implicit = np.swapaxes(draws, 0, 1)
    gap = denoising - implicit
    gap[:, 0] -= d / sigma**2
    error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))
    assert np.all(np.abs(gap.mean(axis=0)) < 4.5 * error)
    assert np.all(error < 0.03 * np.abs(implicit).max())  # the test has power


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("kind", TYPES)
def test_chunks_and_threads_do_not_matter_and_weights_repeat(kind, how, monkeypatch):
    rng, student = np.random.default_rng(0), student_of(kind)
    x, weight = student.sample(5000, rng)[0], rng.integers(0, 3, 5000).astype(float)
    args, options = (student, np.array([0.3, 2.0])), {"kind": how, "antithetic": True, "n_draws": 2}
    whole = covariance_sums(ArraySource(x, weight), *args, **options)
    assert whole.weight == weight.sum()
    monkeypatch.setattr(ddpm_covariances, "MAX_CHUNK", 700)
    monkeypatch.setattr(ddpm_covariances, "SMALL_WORK", 0)
    pieces = [covariance_sums(ArraySource(x, weight), *args, n_threads=n, **options) for n in (1, 2)]
    assert_same(pieces[0], whole, 1e-10)
    assert_same(pieces[0], pieces[1], 0.0)
    y, z = problem(kind)[1:]
    w = weight[:200]
    noise, often = (z, np.repeat(z, w.astype(int), axis=1)) if how == "denoising" else (None, None)
    repeated = sums_at(student, np.repeat(y, w.astype(int), axis=1), 0.8, noise=often)
    assert_same(sums_at(student, y, 0.8, w, noise=noise), repeated, 1e-10)


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-3)])
def test_every_library_and_precision(xp, kind, how, precision, tolerance):
    student, y, _ = problem(kind, n=60)
    weight = np.random.default_rng(0).random(60)
    source = ArraySource(xp.asarray(y.T, dtype=getattr(xp, precision)), xp.asarray(weight))
    found = covariance_sums(source, student, 0.5, kind=how)
    assert found.covariances.dtype == np.float64
    assert_same(found, covariance_sums(ArraySource(y.T, weight), student, 0.5, kind=how), tolerance)


def test_levels_add_with_their_factors():
    student, y, _ = problem(Full)
    one, other, both = (
        covariance_sums(ArraySource(y.T), student, np.array([2.0, 0.5]), factors=np.array(f))
        for f in ((3.0, 0.0), (0.0, 5.0), (3.0, 5.0))
    )
    assert_same(one + other, both, 1e-12, NAMES[:-1])
    assert one.weight == both.weight == 200


def test_what_cannot_be_asked():
    source, student = ArraySource(np.zeros((5, 4))), student_of(Full)
    with pytest.raises(ValueError, match="denoising"):
        covariance_sums(source, student, 0.0)
    with pytest.raises(TypeError, match="use Diagonal or Full"):
        covariance_sums(source, Mixture(student.weights, student.means, Spherical(np.ones(3), 4)), 1.0)


@pytest.mark.parametrize("kind", TYPES)
def test_steps_stay_positive_and_within_their_trust(kind):
    student, y, _ = problem(kind)
    sums = covariance_sums(ArraySource(y.T), student, 0.5)
    if kind is Full:  # indefinite: out in some directions, to the edge of the cone in others
        sums = replace(sums, covariances=np.tile(np.diag([1.0, -1.0, 2.0, 0.0]) + 0.3, (3, 1, 1)))
    else:
        sums = replace(sums, covariances=np.tile([1.0, -1.0, 2.0, 0.0], (3, 1)))
    for step in range(80):
        after = descent_step(student, sums, 0.5, rate=1e6)  # the same gradient, absurdly long
        eigenvalues = np.linalg.eigvalsh(after.covariances)
        assert np.all(eigenvalues > 0)
        assert np.all(after.weights > 0)
        if step < 10:
            # Variances in all directions at once: generalised eigenvalues of the two matrices.
            ratio = np.linalg.eigvals(np.linalg.solve(student.covariances, after.covariances)).real
            assert np.all(np.abs(np.log(ratio)) <= TRUST + 1e-6)
            shift = (after.means - student.means)[:, :, None]
            lengths = np.swapaxes(shift, 1, 2) @ np.linalg.solve(student.covariances, shift)
            assert np.all(lengths <= (TRUST + 1e-6) ** 2)
        student = after
    assert eigenvalues.max() > 1e10 * eigenvalues.min()  # it did come to the edge


def path(student, x, sigmas, n_steps, rate=1.0, **options):
    for _ in range(n_steps):
        sums = covariance_sums(ArraySource(x), student, sigmas, **options)
        student = descent_step(student, sums, sigmas, factors=options.get("factors"), rate=rate)
    return student


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("kind", TYPES)
def test_units_do_not_matter(kind, scale):
    student, y, _ = problem(kind)
    sigmas = np.array([0.4, 1.5])
    here = path(student, y.T, sigmas, 8)
    there = path(student.scaled(np.full(4, scale), np.zeros(4)), scale * y.T, scale * sigmas, 8)
    np.testing.assert_allclose(there.means, scale * here.means, rtol=1e-8, atol=1e-8 * scale)
    np.testing.assert_allclose(there.covariances, scale**2 * here.covariances, rtol=1e-7, atol=1e-8 * scale**2)
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-8)
    assert np.linalg.norm(here.means - student.means) > 0.1  # it moved


def test_axes_do_not_matter():
    student, y, z = problem(Full)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    turned = Mixture(student.weights, student.means @ turn.T, Full(turn @ student.covariances @ turn.T))
    here = descent_step(student, sums_at(student, y, 0.8, noise=z), 0.8)
    there = descent_step(turned, sums_at(turned, turn @ y, 0.8, noise=turn @ z), 0.8)
    np.testing.assert_allclose(there.means, here.means @ turn.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(there.covariances, turn @ here.covariances @ turn.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("sigma", [0.1, 1.0, 4.0])
def test_rate_1_is_newtons_step_of_one_component(kind, sigma):
    # The implicit gradient near the optimum, exact in y: small errors are gone to second order after one step.
    truth = student_of(kind, k=1, d=3)
    rng, half = np.random.default_rng(0), 2000
    z = rng.standard_normal((half, 3))
    z = np.concatenate([z, -z])
    white = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / len(z))).T  # mean 0, covariance 1: exactly
    y = truth.means + white @ np.linalg.cholesky(truth.smooth(sigma).covariances[0]).T
    off = 1e-3 * rng.standard_normal((3, 3))
    change = off + off.T if kind is Full else np.diagonal(off)
    start = Mixture(truth.weights, truth.means + 1e-3, kind(truth.covariance.values + change))
    after = descent_step(start, sums_at(start, y.T, sigma), sigma)
    for name in ("means", "covariances"):
        before, left = (np.abs(getattr(m, name) - getattr(truth, name)).max() for m in (start, after))
        assert left < 0.02 * before


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_descent_over_all_levels_is_as_accurate_as_maximum_likelihood(kind):
    (k, d), n_samples = (3, 3), 6
    drawn = student_of(kind, k, d)
    truth = Mixture(np.array([0.2, 0.3, 0.5]), 3 * np.linalg.qr(drawn.means)[0], drawn.covariance)
    flat = np.ones((k, d)) if kind is Diagonal else np.tile(np.eye(d), (k, 1, 1))
    sigmas = np.sqrt(np.geomspace(0.02, 50, 14))
    steps = np.abs(np.diff(np.log(sigmas))) / 2
    factors = sigmas**2 * (np.append(steps, 0) + np.append(0, steps))  # sigma^2 dlog(sigma): the likelihood
    options = {"antithetic": True, "factors": factors, "rate": 1.5}

    def distance(a, b):
        return np.array([np.sum((getattr(a, name) - getattr(b, name)) ** 2) for name in ("means", "covariances")])

    distances = []
    for sample in range(n_samples):
        rng = np.random.default_rng(sample)
        x = truth.sample(5000, rng)[0]
        start = Mixture(np.full(k, 1 / k), truth.means + 0.4 * rng.standard_normal((k, d)), kind(flat))
        best = em.run_em(ArraySource(x), start, tol=1e-10, max_iter=2000, reg=0.0).mixture
        found = path(start, x, sigmas, 30, key=(sample,), **options)
        pairs = ((best, truth), (found, truth), (found, best), (start, truth))
        distances.append([distance(*pair) for pair in pairs])
    likelihood, descent, between, before = np.mean(distances, axis=0)
    # The fixed noise of one antithetic pair adds 5 to 20 % to the variance of an estimate (more draws: less in
    # proportion), its distance from the maximum; six samples gave 7 to 31 %, and ratios up to 1.37.
    assert np.all(between < 0.45 * likelihood)
    assert np.all(descent < 1.5 * likelihood)
    assert np.all(before > 20 * likelihood)  # there was a way to go
    again = path(found, x, sigmas, 1, key=(sample,), **options)
    assert np.all(distance(again, found) < 1e-6 * likelihood)  # it has converged
