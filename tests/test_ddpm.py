"""Score objectives: gradients against differences of the losses, losses against their definitions, three that agree."""

from itertools import product as every

import numpy as np
import pytest

from scoremix.learning.sck import objective as ddpm
from scoremix.learning.sck.objective import Objective, SpanSums, likelihood_weights, objective_sums
from scoremix.learning.sck.student import Student, at_noise_levels
from scoremix.noise import normal_rows, ou_time_from_sigma, sigma_from_ou_time
from scoremix.samples.source import ArraySource

KINDS = ("denoising", "implicit", "sliced")
NAMES = ("loss", "means", "logits", "weight")
MANY, FEW = {"k": 5, "d": 3}, {"k": 3, "d": 5}  # components: their means span everything, or a plane


def problem(k=3, d=4, n=200, spread=1.5, seed=0):
    """A student, and rows of another law."""
    rng = np.random.default_rng(seed)
    student = Student(spread * rng.standard_normal((k, d)) + 2, rng.dirichlet(np.full(k, 10.0)), 0.7)
    return student, 1.2 * student.mixture().sample(n, rng)[0] + 0.3


def drawn(n, width, key=(0,)):
    """Noise of the first level: draws and directions of a row stand beside each other."""
    return normal_rows((*key, 0), 0, n, width, np.empty(0))


def naive(student, x, z, sigma, kind, a=None):
    """Losses by their definitions, in all dimensions; x, z and directions a of shape (..., d)."""
    y, v, means = x + sigma * z, student.variance + sigma**2, student.means
    shares = np.log(student.weights) - 0.5 * np.sum((y[..., None, :] - means) ** 2, axis=-1) / v
    shares = np.exp(shares - shares.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    middle = shares @ means
    score = (middle - y) / v
    if kind == "denoising":
        return np.sum((score + z / sigma) ** 2, axis=-1)
    local = means - middle[..., None, :]  # ds/dy = (covariance of the means / v - 1) / v
    along = np.sum(local**2, axis=-1) if a is None else np.sum(local * a[..., None, :], axis=-1) ** 2
    return np.sum(score**2, axis=-1) + 2 * (np.sum(shares * along, axis=-1) / v - x.shape[-1]) / v


def changes(loss, student):
    """Differences of a loss of (means, weights) along all means and logits: (k d + k, ...)."""
    (k, d), h = student.means.shape, 1e-4

    def slope(step, logits):
        def at(t):
            weights = student.weights * np.exp(t * logits)
            return loss(student.means + t * step, weights / weights.sum())

        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)  # error: h^4 fifth derivatives, 1e-16 / h

    steps = [slope(np.eye(k * d)[i].reshape(k, d), np.zeros(k)) for i in range(k * d)]
    return np.array(steps + [slope(np.zeros((k, d)), each) for each in np.eye(k)])


def flat(sums):
    """Gradients in means and logits."""
    return np.concatenate([sums.means.ravel(), sums.logits])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, {"k": 3, "d": 2, "spread": 30.0}, {"k": 2, "d": 1}])
def test_gradients_are_differences_of_the_loss(kind, shape):
    student, x = problem(**shape)
    weight = np.random.default_rng(0).random(len(x))
    how, source = Objective(kind, n_draws=2, n_directions=2), ArraySource(x, weight)
    sums = objective_sums(source, student, np.array([0.8, 0.2]), how)

    def loss(means, weights):
        return objective_sums(source, Student(means, weights, 0.7), np.array([0.8, 0.2]), how).loss

    difference = changes(loss, student)
    np.testing.assert_allclose(flat(sums), difference, rtol=0, atol=1e-6 * np.abs(sums.means).max())
    assert abs(sums.logits.sum()) < 1e-9 * np.abs(sums.means).max()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_differences_within_the_span(kind):
    # Steps within the span, a shift of all means anywhere: noise is needed in no other direction, if axes are kept.
    student, x = problem(**FEW)
    source, rng = ArraySource(x), np.random.default_rng(1)
    sums = objective_sums(source, student, 0.8, Objective(kind))
    for _ in range(5):
        step = rng.standard_normal((3, 2)) @ student.axes.T + rng.standard_normal(5)
        losses = []
        for t in (1e-4, -1e-4, 2e-4, -2e-4):
            moved = Student(student.means + t * step, student.weights, 0.7)
            vars(moved)["axes"] = student.axes
            losses.append(objective_sums(source, moved, 0.8, Objective(kind)).loss)
        difference = (8 * (losses[0] - losses[1]) - (losses[2] - losses[3])) / 12e-4
        assert abs(np.sum(sums.means * step) - difference) < 1e-6 * np.linalg.norm(sums.means) * np.linalg.norm(step)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [FEW, {"k": 2, "d": 4}, {"k": 1, "d": 2}])
def test_noise_across_the_span_is_integrated_out(kind, shape):
    # Noise within the span is that of the key; across it is drawn here, and averages are those of many draws.
    student, x = problem(**shape, n=10)
    (k, d), (n, draws), sigma = student.means.shape, (len(x), 2000), 0.8
    q, rng = k - 1, np.random.default_rng(2)
    across = np.linalg.svd(student.axes, full_matrices=True)[0][:, q:]
    numbers = drawn(n, (1 + (kind == "sliced")) * q)
    z = (student.axes @ numbers[:q]).T + rng.standard_normal((draws, n, d - q)) @ across.T
    signs = np.sign(rng.standard_normal((draws, n, d - q)))
    a = None if kind != "sliced" else (student.axes @ np.sign(numbers[q:])).T + signs @ across.T

    def loss(means, weights):
        return naive(Student(means, weights, 0.7), x, z, sigma, kind, a).sum(axis=1)  # (draws,)

    sums = objective_sums(ArraySource(x), student, sigma, Objective(kind))
    expected = np.concatenate([loss(student.means, student.weights)[None], changes(loss, student)])
    error = expected.std(axis=1, ddof=1) / np.sqrt(draws)
    found = np.concatenate([[sums.loss], flat(sums)])
    # 4 standard errors, and what differences are off by.
    assert np.all(np.abs(expected.mean(axis=1) - found) < 4 * error + 1e-8 * np.abs(found).max())
    assert np.all(error[1:] < 0.1 * np.abs(found[1:]).max())  # the test has power


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("antithetic", [True, False])
def test_losses_are_their_definitions(kind, antithetic):
    student, x = problem(**MANY)
    sigma, d, n, h = 0.8, 3, len(x), 1e-5
    how = Objective(kind, n_draws=2, antithetic=antithetic, n_directions=3)
    numbers = drawn(n, how.n_normals * d).reshape(how.n_normals, d, n)
    losses = []
    for draw, sign in every(range(2), (1, -1) if antithetic else (1,)):
        z = sign * numbers[draw].T
        y = x + sigma * z
        score = student.mixture().score(y, sigma)
        slopes = [student.mixture().score(y + e, sigma) - student.mixture().score(y - e, sigma) for e in h * np.eye(d)]
        jacobian = np.stack(slopes, axis=1) / (2 * h)
        a = np.sign(numbers[2 + 3 * draw : 5 + 3 * draw])
        losses.append(
            {
                "denoising": np.sum((score + z / sigma) ** 2, axis=1),
                "implicit": np.sum(score**2, axis=1) + 2 * np.trace(jacobian, axis1=1, axis2=2),
                "sliced": np.sum(score**2, axis=1) + 2 * np.einsum("jin,nil,jln->n", a, jacobian, a) / max(len(a), 1),
            }[kind]
        )
        if kind != "sliced":
            np.testing.assert_allclose(naive(student, x, z, sigma, kind), losses[-1], rtol=1e-6, atol=1e-7)
    sums = objective_sums(ArraySource(x), student, sigma, how)
    # Terms of either sign cancel; slopes are known to h^2.
    np.testing.assert_allclose(sums.mean_loss, np.mean(losses), rtol=1e-8, atol=1e-8 * np.mean(np.abs(losses)))
    assert sums.weight == n


def test_the_paper_at_its_own_time():
    # Data and means in Ornstein-Uhlenbeck coordinates, unit variance, uniform weights: the formulas as published.
    tau, rng = 0.3, np.random.default_rng(0)
    sigma, shrink = sigma_from_ou_time(tau), np.exp(-tau)
    means, x, z = rng.standard_normal((6, 5)), rng.standard_normal((40, 5)), drawn(40, 5).T
    at_tau, points = shrink * means, shrink * (x + sigma * z)
    noise = z / np.sqrt(1 - np.exp(-2 * tau))
    share = np.exp(-0.5 * np.sum((points[:, None] - at_tau) ** 2, axis=2))
    share /= share.sum(axis=1, keepdims=True)
    middle = share @ at_tau
    rest = middle - (points - noise)
    along = np.einsum("nd,nkd->nk", rest, at_tau - middle[:, None])
    gradient = 2 * np.mean(share[:, :, None] * (rest[:, None] + along[:, :, None] * (points[:, None] - at_tau)), axis=0)
    sums = objective_sums(ArraySource(x), Student(means, np.full(6, 1 / 6)), sigma).at_ou_time(sigma)
    np.testing.assert_allclose(ou_time_from_sigma(sigma), tau)
    np.testing.assert_allclose(sums.mean_loss, np.mean(np.sum(rest**2, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(sums.gradient, gradient, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(sums.logits / 40, 2 * np.mean(share * along, axis=0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_sliced_is_implicit_on_the_average(weighted):
    student, x = problem(k=4, d=3, n=60)
    rng, at = np.random.default_rng(0), at_noise_levels(student, 0.8, None, may_be_zero=True)[0]
    signs = np.repeat(np.array(list(every((-1.0, 1.0), repeat=3)))[:, :, None], 60, axis=2)  # all: an exact average
    noisy, weight = at.noisy((x - student.center).T, rng.standard_normal((3, 60)), signs), rng.random(60)
    pair = [SpanSums(0.0, np.zeros((4, 3)), np.zeros(4), np.zeros((4, 60))) for _ in range(2)]
    for kind, sums in zip(("implicit", "sliced"), pair, strict=True):
        sums.add(kind, at, noisy, weight if weighted else None, 0.5)
    for name in ("loss", "means", "logits", "rows"):
        implicit, sliced = (getattr(sums, name) for sums in pair)
        np.testing.assert_allclose(sliced, implicit, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [MANY, FEW])
def test_three_objectives_have_one_expectation(shape):
    student, x = problem(**shape, n=50)
    source, sigma, d = ArraySource(x), 0.7, shape["d"]

    def average(how, seed):
        draws = [objective_sums(source, student, sigma, how, key=(seed, step)) for step in range(100)]
        values = np.array([[s.mean_loss, *flat(s) / s.weight] for s in draws])
        values[:, 0] -= d / sigma**2 * (how.kind == "denoising")
        return values.mean(axis=0), values.var(axis=0, ddof=1) / len(draws)

    reference, error = average(Objective("implicit", n_draws=4, antithetic=True), 0)
    objectives = [Objective(kind, 2, a, 2) for kind in KINDS for a in (False, True)]
    for seed, how in enumerate(objectives, 1):
        mean, square = average(how, seed)
        # 6 x 24 comparisons: 4.5 standard errors.
        assert np.all(np.abs(mean - reference) < 4.5 * np.sqrt(error + square))
        assert np.all(np.sqrt(square[1:]) < 0.1 * np.abs(reference[1:]).max())  # the test has power


def test_antithetic_pairs_cancel_what_is_odd_in_the_noise():
    # At little noise the targets z / sigma are large, and cancel in pairs.
    student, x = problem()
    plain, paired = (
        np.std([objective_sums(ArraySource(x), student, 0.01, how, key=(s,)).gradient for s in range(30)], axis=0)
        for how in (Objective(n_draws=2), Objective(antithetic=True))
    )
    assert paired.max() < 0.2 * plain.max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, FEW])
def test_a_weight_is_a_repetition(kind, shape):
    # Rows have noise of their own, so what is repeated is the row with its noise: sums are linear in weights.
    student, x = problem(**shape)
    repeats, how = np.random.default_rng(1).integers(0, 3, len(x)), Objective(kind, 2, True, 2)
    repeats[0] = 2
    once = repeats * (np.arange(len(x)) < 80)

    def total(x, weight=None):
        return objective_sums(ArraySource(x, weight), student, np.array([0.8, 2.0]), how)

    parts = total(x, (repeats > 0).astype(float)) + total(x, (repeats > 1).astype(float))
    for found, expected in (
        (total(x, repeats.astype(float)), parts),
        (total(x, once.astype(float)), total(x[:80], once[:80].astype(float))),  # weight 0: no row
        (total(x, np.ones(len(x))), total(x)),
    ):
        for name in NAMES:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, FEW])
def test_chunks_tiles_and_threads_do_not_matter(kind, shape, monkeypatch):
    student, x = problem(**shape, n=9000)
    weight = np.random.default_rng(0).random(9000)
    args = (ArraySource(x, weight), student, np.array([0.3, 2.0]), Objective(kind, 2, True, 2))
    whole = objective_sums(*args)
    monkeypatch.setattr(ddpm, "CHUNK_ROWS", 1300)
    monkeypatch.setattr(ddpm, "TILE_NUMBERS", 300 * shape["k"])
    monkeypatch.setattr(ddpm, "SMALL_WORK", 0)
    pieces = [objective_sums(*args, n_threads=n) for n in (1, 2)]
    for name in NAMES:
        # Sums of 36,000 terms in another order.
        np.testing.assert_allclose(getattr(pieces[0], name), getattr(whole, name), rtol=1e-10, atol=1e-9)
        np.testing.assert_array_equal(getattr(pieces[0], name), getattr(pieces[1], name))
    np.testing.assert_allclose(whole.weight, weight.sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, FEW])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_library_and_precision(xp, kind, shape, precision):
    student, x = problem(**shape, spread=3.0)
    x, weight = x.astype(precision), np.random.default_rng(0).random(len(x)).astype(precision)
    here = ArraySource(xp.asarray(x), xp.asarray(weight))
    found = objective_sums(here, student, 0.5, Objective(kind, 2, True, 2))
    reference = objective_sums(ArraySource(x.astype(float), weight), student, 0.5, Objective(kind, 2, True, 2))
    assert found.means.dtype == found.logits.dtype == np.float64
    for name in NAMES:  # whatever the precision of the rows: computations have all digits
        np.testing.assert_allclose(getattr(found, name), getattr(reference, name), rtol=1e-9, atol=1e-9)


def test_levels_add_with_their_factors():
    student, x = problem()
    one, other, both = (
        objective_sums(ArraySource(x), student, np.array([2.0, 0.5]), Objective(n_draws=2), factors=np.array(f))
        for f in ((3.0, 0.0), (0.0, 5.0), (3.0, 5.0))
    )
    single = objective_sums(ArraySource(x), student, 2.0, Objective(n_draws=2))
    np.testing.assert_allclose(3 * single.means, one.means, rtol=1e-12)
    np.testing.assert_allclose(3 * single.loss, one.loss, rtol=1e-12)
    for name in NAMES[:-1]:
        np.testing.assert_allclose(getattr(one + other, name), getattr(both, name), rtol=1e-12)
    assert one.weight == both.weight == len(x)


def test_likelihood_weights_make_a_divergence():
    # Scores of N(0, I) and N(delta, I) differ by delta / (1 + sigma^2): the divergence is |delta|^2 / 2.
    sigmas = np.geomspace(100, 0.01, 60)
    difference = 1 / (1 + sigmas**2) ** 2
    np.testing.assert_allclose(likelihood_weights(sigmas) @ difference, 0.5, rtol=1e-3)
    np.testing.assert_allclose(likelihood_weights(sigmas[::-1]), likelihood_weights(sigmas)[::-1])
    few = np.array([0.1, 0.5, 0.8, 3.0])
    steps = np.diff(np.log(few))
    np.testing.assert_allclose(likelihood_weights(few).sum(), np.sum(steps * (few[1:] ** 2 + few[:-1] ** 2) / 2))


@pytest.mark.parametrize("shape", [MANY, FEW, {"k": 1, "d": 3}])
def test_no_noise_is_score_matching_of_the_data(shape):
    student, x = problem(**shape)
    sums = objective_sums(ArraySource(x), student, 0.0, Objective("implicit", n_draws=2, antithetic=True))
    none = np.zeros_like(x)
    np.testing.assert_allclose(sums.loss, naive(student, x, none, 0.0, "implicit").sum(), rtol=1e-12)
    expected = changes(lambda m, w: naive(Student(m, w, 0.7), x, none, 0.0, "implicit").sum(), student)
    np.testing.assert_allclose(flat(sums), expected, rtol=0, atol=1e-7 * np.abs(sums.means).max())


@pytest.mark.parametrize("kind", KINDS)
def test_one_component_has_no_noise_left(kind):
    student, x = problem(k=1)
    sums = [objective_sums(ArraySource(x), student, 0.8, Objective(kind), key=(s,)) for s in range(2)]
    v, d = 0.7 + 0.64, 4
    # s + z / sigma = (m - x) / v + s0 z / (sigma v)
    loss = np.mean(np.sum((x - student.means) ** 2, axis=1)) / v**2 + d * (0.7 / (0.8 * v)) ** 2
    np.testing.assert_allclose(sums[0].mean_loss, loss - (kind != "denoising") * d / 0.64, rtol=1e-12)
    np.testing.assert_allclose(sums[0].gradient[0], 2 * (student.means[0] - x.mean(axis=0)) / v**2, rtol=1e-11)
    np.testing.assert_array_equal(sums[0].means, sums[1].means)
    np.testing.assert_allclose(sums[0].logits, 0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, FEW])
def test_means_that_coincide_move_together(kind, shape):
    k, d = shape["k"], shape["d"]
    x, weights = problem(**shape)[1], np.random.default_rng(0).dirichlet(np.ones(k))
    student = Student(np.full((k, d), 0.4), weights, 0.7)
    sums = objective_sums(ArraySource(x), student, 0.8, Objective(kind, antithetic=True))
    expected = 2 * weights[:, None] * (0.4 - x.mean(axis=0)) / (0.7 + 0.64) ** 2
    np.testing.assert_allclose(sums.gradient, expected, rtol=1e-10)
    np.testing.assert_allclose(sums.logits, 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [MANY, FEW])
def test_far_means_are_components_alone(kind, shape):
    # 1e4 apart, and as far from the origin: every row belongs to one component, up to exp(-1e6).
    student, _ = problem(**shape, spread=1e4)
    rng, (k, d) = np.random.default_rng(0), student.means.shape
    labels = rng.integers(0, k, 300)
    x = student.means[labels] + rng.standard_normal((300, d)) + 0.1
    sums = objective_sums(ArraySource(x), student, 0.8, Objective(kind, antithetic=True))
    counts = np.bincount(labels)[:, None]
    offsets = np.stack([(x[labels == i] - student.means[i]).sum(axis=0) for i in range(k)])
    # Distances of 1e4 have 12 digits left, their products 8.
    np.testing.assert_allclose(sums.means, -2 * offsets / (0.7 + 0.64) ** 2, rtol=0, atol=1e-6 * counts.max())
    assert np.all(np.abs(sums.logits) < 1e-5)
    q = min(k - 1, d)
    inside = np.sum(drawn(300, (1 + (kind == "sliced")) * q)[:q] ** 2) if kind != "denoising" else 0.0
    if kind == "denoising":
        inside = np.sum(drawn(300, q) ** 2) * (0.7 / 0.8) ** 2 + 300 * (d - q) * (0.7 / 0.8) ** 2
    else:
        inside = 0.64 * (inside + 300 * (d - q)) - 2 * d * 300 * (0.7 + 0.64)
    loss = (np.sum((x - student.means[labels]) ** 2) + inside) / (0.7 + 0.64) ** 2
    np.testing.assert_allclose(sums.loss, loss, rtol=1e-6)


def test_symmetric_students_and_their_gradient():
    mu = np.array([1.0, 0.5, -0.3])
    student, x = Student.symmetric(mu, 0.6), problem(k=2, d=3)[1]
    np.testing.assert_array_equal(student.means, [mu, -mu])
    assert student.mixture(0.5).score(x).shape == x.shape
    np.testing.assert_allclose(student.mixture(0.5).covariances, np.tile(0.85 * np.eye(3), (2, 1, 1)))
    sums = objective_sums(ArraySource(x), student, 0.0, Objective("implicit"))
    pair = [naive(Student.symmetric(mu + h * np.eye(3)[0], 0.6), x, 0 * x, 0.0, "implicit") for h in (1e-5, -1e-5)]
    assert sums.tied_gradient[0] == pytest.approx(np.mean(pair[0] - pair[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(("sigmas", "kind"), [(0.0, "denoising"), (-1.0, "implicit"), ([], "sliced")])
def test_impossible_levels_are_refused(sigmas, kind):
    student, x = problem()
    with pytest.raises(ValueError, match="noise levels must be"):
        objective_sums(ArraySource(x), student, np.array(sigmas), Objective(kind))
    with pytest.raises(ValueError, match="zip"):
        objective_sums(ArraySource(x), student, 1.0, factors=np.ones(2))
