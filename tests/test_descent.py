"""Descents: stages and records, steps by their formulas, and that they arrive."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from scoremix.learning.em import em
from scoremix.learning.sck import descent
from scoremix.learning.sck.covariances import covariance_sums, descent_step
from scoremix.learning.sck.descent import (
    ALL_LEVELS,
    Evaluated,
    KnownCovariance,
    LearntCovariance,
    Record,
    Stage,
    all_levels,
    descend,
    single_level,
)
from scoremix.learning.sck.objective import Objective, likelihood_weights, objective_sums
from scoremix.learning.sck.optimizers import Adam, GradientDescent, PreconditionedDescent
from scoremix.learning.sck.student import Student
from scoremix.learning.sck.two_components import exact_sums
from scoremix.models.covariance.diagonal import Diagonal
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.noise import sigma_from_ou_time
from scoremix.samples.source import ArraySource

MEANS = np.array([[2.0, 1.0, 0.0], [-1.0, 2.0, 1.0], [1.0, -3.0, 0.5]])


def problem(k=2, n=500, weights=None, variance=1.0, seed=0):
    """Rows of k components, and a student nearby."""
    rng = np.random.default_rng(seed)
    truth = Student(MEANS[:k], np.full(k, 1 / k) if weights is None else weights, variance)
    x = truth.mixture().sample(n, rng)[0]
    return ArraySource(x), Student(MEANS[:k] + 0.5 * rng.choice([-1.0, 1.0], (k, 3)), np.full(k, 1 / k), variance)


def distance(found, means):
    """Largest distance of a mean from the nearest learnt one."""
    return np.linalg.norm(found.means[:, None] - means, axis=2).min(axis=0).max()


@dataclass(frozen=True)
class Halving:
    """A method that halves means; it notes what it was given."""

    calls: list
    is_one_function: bool = True

    def step(self, source, student, stage, key):
        self.calls.append((key, source.n_rows))
        return Evaluated(float(np.sum(student.means**2)), 0.0, replace(student, means=student.means / 2))

    def fresh(self):
        self.calls.append("fresh")
        return self


def test_stages():
    stage = single_level(0.3, 7)
    assert stage.sigmas == [sigma_from_ou_time(0.3)]
    np.testing.assert_allclose(stage.factors, np.exp(0.6))  # 1 + sigma^2: the loss of the paper
    assert (stage.n_steps, stage.radius) == (7, None)
    assert stage.noise_time == pytest.approx(0.3)
    assert isinstance(stage.noise_time, float)
    stage = all_levels(5)
    np.testing.assert_allclose(stage.sigmas, np.sqrt(ALL_LEVELS))
    np.testing.assert_allclose(stage.factors, likelihood_weights(np.sqrt(ALL_LEVELS)))
    assert (stage.n_steps, stage.radius) == (5, None)
    np.testing.assert_allclose(sigma_from_ou_time(stage.noise_time), stage.sigmas)
    mine = all_levels(5, np.array([2.0, 1.0, 0.5]))
    np.testing.assert_allclose(mine.factors, likelihood_weights(np.array([2.0, 1.0, 0.5])))


def test_records_are_mappings():
    record = Record(1, 2, 0.3, 4.0, 5.0, MEANS)
    numbers = {"stage": 1, "step": 2, "noise_time": 0.3, "loss": 4.0, "gradient_norm": 5.0}
    assert dict(record) == numbers | {"means": MEANS}
    assert (record["loss"], record.loss) == (4.0, 4.0)
    with pytest.raises(KeyError, match="keys"):
        record["keys"]


@pytest.mark.parametrize(("n_steps", "kept"), [(0, 1), (1, 2), (10, 11), (11, 7), (19, 11), (20, 11), (35, 10)])
def test_at_most_so_many_records_are_kept(monkeypatch, n_steps, kept):
    monkeypatch.setattr(descent, "RECORDS", 10)
    source, student = problem()
    stages, calls, heard = [Stage(np.ones(1), np.ones(1), n_steps)] * 2, [], []
    found, records = descend(source, student, stages, Halving(calls), tol=-1.0, seed=3, report=heard.append)
    assert [len([r for r in records if r.stage == number]) for number in (0, 1)] == [kept, kept]
    assert heard == records
    for number in (0, 1):
        steps = [r.step for r in records if r.stage == number]
        assert (steps[0], steps[-1]) == (0, n_steps)
    for record in records:  # what was evaluated, before its step; stages go on where the last one ended
        expected = student.means / 2.0 ** (record.step + n_steps * record.stage)
        np.testing.assert_allclose(record.means, expected)
        assert record.loss == np.sum(record.means**2)
    np.testing.assert_array_equal(found.means, records[-1].means)
    expected = ["fresh", *(((3, 0, i), 500) for i in range(n_steps + 1))]
    assert calls == [*expected, "fresh", *(((3, 1, i), 500) for i in range(n_steps + 1))]


def test_small_moves_end_a_stage():
    source, student = problem()
    size, stages = np.abs(student.means).max(), [Stage(np.ones(1), np.ones(1), 50)]
    found, records = descend(source, student, stages, Halving([]), tol=size / 100)
    # A move from 2^-s is half as long: the first that is at most 1/100 is that of s = 6; it is not taken.
    assert records[-1].step == 6
    np.testing.assert_allclose(found.means, student.means / 64)
    for method, options in ((Halving([], False), {}), (Halving([]), {"batch_size": 30})):  # noise is no sign of the end
        assert descend(source, student, stages, method, tol=size / 100, **options)[1][-1].step == 50


def test_batches_are_drawn_anew():
    source, student = problem()
    calls, seen = [], []
    descend(source, student, [Stage(np.ones(1), np.ones(1), 3)], Halving(calls), batch_size=30)
    assert [rows for _, rows in calls[1:]] == [30] * 4

    class Looking(Halving):
        def step(self, source, student, stage, key):
            seen.append(next(iter(source.chunks(100))).x)
            return super().step(source, student, stage, key)

    for seed in (0, 0, 1):
        descend(source, student, [Stage(np.ones(1), np.ones(1), 1)] * 2, Looking([]), batch_size=30, seed=seed)
    rows = next(iter(source.chunks(500))).x
    assert all(any(np.array_equal(row, each) for each in rows) for row in seen[0])
    for first in range(4):  # stages and steps have rows of their own, seeds reproduce them
        np.testing.assert_array_equal(seen[first], seen[4 + first])
        assert not np.array_equal(seen[first], seen[8 + first])
        assert not np.array_equal(seen[first], seen[(first + 1) % 4])
    method = KnownCovariance(PreconditionedDescent(0.3))
    found = descend(source, student, [single_level(0.2, 60)], method, batch_size=200)[0]
    assert distance(found, MEANS[:2]) < 0.5  # sampling of 200 rows: sqrt(3 / 100) = 0.17


@pytest.mark.parametrize("variance", [1.0, 4.0])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("is_exact", [True, False])
def test_a_step_is_the_rule_of_the_gradient(k, is_exact, variance):
    source, student = problem(k, variance=variance)
    stage, method = all_levels(1), KnownCovariance(GradientDescent(0.1), is_exact)
    taken = method.step(source, student, stage, (5, 0, 0))
    sigmas, how = np.sqrt(variance) * stage.sigmas, {"factors": stage.factors, "key": (5, 0, 0)}
    if is_exact:  # the same noise in all steps
        sums = objective_sums(source, student, sigmas, Objective(antithetic=True), **how | {"key": (5, 0)})
        sums = exact_sums(source, student, sigmas, factors=stage.factors) if k == 2 else sums
    else:
        sums = objective_sums(source, student, sigmas, **how)
    np.testing.assert_allclose(taken.moved.means, student.means - 0.1 * sums.gradient, rtol=1e-12)
    assert taken.loss == pytest.approx(sums.mean_loss, rel=1e-12)
    assert taken.gradient_norm == pytest.approx(np.linalg.norm(sums.gradient))
    assert (taken.moved.variance, method.is_one_function) == (variance, is_exact)
    np.testing.assert_array_equal(taken.moved.weights, student.weights)


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_loss_of_one_level_is_the_papers(is_exact):
    # E|s(x_tau) + z / sqrt(1 - exp(-2 tau))|^2 at Ornstein-Uhlenbeck time, unit variance: many draws, 4 errors.
    source, student = problem(n=200)
    x, tau, rng = next(iter(source.chunks(200))).x, 0.4, np.random.default_rng(0)
    z, shrink = rng.standard_normal((500, 200, 3)), np.exp(-tau)
    y, means = shrink * x + np.sqrt(1 - shrink**2) * z, shrink * student.means
    share = np.exp(-0.5 * np.sum((y[..., None, :] - means) ** 2, axis=-1))
    score = (share / share.sum(axis=-1, keepdims=True)) @ means - y
    losses = np.mean(np.sum((score + z / np.sqrt(1 - shrink**2)) ** 2, axis=-1), axis=1)
    methods = [
        KnownCovariance(GradientDescent(0.0), is_exact).step(source, student, single_level(tau, 1), (s,))
        for s in range(300)
    ]
    found = np.array([each.loss for each in methods])
    error = np.hypot(losses.std() / np.sqrt(500), found.std() / np.sqrt(300))
    assert abs(found.mean() - losses.mean()) < 4 * error
    assert error < 0.01 * losses.mean()


@pytest.mark.parametrize("variance", [1.0, 4.0])
@pytest.mark.parametrize("options", [{"free_weights": True}, {"is_symmetric": True}])
def test_scaled_steps_know_their_curvature(options, variance):
    # Components far apart: a step of rate 1 lands on the means of what belongs to each, and on nothing that depends on
    # units; a logit that is a little off returns by the same curvature.
    means, rng, scale = np.array([[30.0, 0, 0], [-30.0, 0, 0]]), np.random.default_rng(0), np.sqrt(variance)
    x = Student(scale * means, np.full(2, 0.5), variance).mixture().sample(400, rng)[0]
    start = Student(scale * (means + np.array([[0.5, -0.3, 0.2], [-0.5, 0.3, -0.2]])), np.full(2, 0.5), variance)
    taken = (
        KnownCovariance(PreconditionedDescent(1.0), **options).step(ArraySource(x), start, all_levels(1), (0,)).moved
    )
    right = x[:, 0] > 0
    centres = np.stack([x[right].mean(axis=0), x[~right].mean(axis=0)])
    if "is_symmetric" in options:
        tied = np.mean(x * np.where(right, 1, -1)[:, None], axis=0)
        np.testing.assert_allclose(taken.means, [tied, -tied], rtol=0, atol=1e-2 * scale)
        return
    # Weights are those of the student, rows those of the sample: the step is too long by their ratio.
    share = np.array([right.mean(), 1 - right.mean()])[:, None] / 0.5
    np.testing.assert_allclose(taken.means, start.means + share * (centres - start.means), rtol=0, atol=1e-2 * scale)


@pytest.mark.parametrize("k", [2, 3])
def test_scaled_steps_do_not_know_units(k):
    source, student = problem(k, weights=np.arange(1.0, k + 1) / (k * (k + 1) / 2))
    x, method = next(iter(source.chunks(500))).x, KnownCovariance(PreconditionedDescent(0.5), free_weights=True)
    there = Student(30 * student.means, student.weights, 900.0)
    near, far = (descend(ArraySource(c * x), s, [all_levels(3)], method)[0] for c, s in ((1, student), (30, there)))
    np.testing.assert_allclose(far.means, 30 * near.means, rtol=1e-9)
    np.testing.assert_allclose(far.weights, near.weights, rtol=1e-9)
    assert np.abs(near.weights - student.weights).max() > 0.02  # they moved


@pytest.mark.parametrize("rule", [GradientDescent(0.02), Adam(0.02)])
def test_memory_ends_with_a_stage(rule):
    source, student = problem()
    stages, method = [single_level(1.0, 5), single_level(0.2, 5)], KnownCovariance(rule)
    between = descend(source, student, stages[:1], method)[0]
    apart = descend(source, between, stages[1:], method)[0]
    np.testing.assert_allclose(descend(source, student, stages, method)[0].means, apart.means, rtol=1e-12)
    kept = KnownCovariance(rule, n_threads=1)
    assert kept.fresh() == replace(kept, rule=rule.fresh())


@pytest.mark.parametrize(("is_symmetric", "centre"), [(True, 0.0), (False, 0.0), (False, np.array([1.0, 2.0, -0.5]))])
def test_means_stay_in_the_ball(is_symmetric, centre):
    source, method = problem()[0], KnownCovariance(GradientDescent(1.0), is_symmetric=is_symmetric)
    mu = np.array([0.3, -0.5, 0.2])
    start = replace(Student.symmetric(mu), means=centre + np.stack([mu, -mu]))
    ball = replace(single_level(0.2, 10), radius=1.5, center=centre)
    inside, outside = (descend(source, start, [stage], method)[1] for stage in (ball, single_level(0.2, 10)))
    norms = np.array([np.linalg.norm(r.means - centre, axis=1) for r in inside])
    assert norms.max() <= 1.5 * (1 + 1e-12)
    assert np.isclose(norms, 1.5, rtol=1e-12).any()  # it was met
    free = outside[1].means - centre
    cut = free * np.minimum(1, 1.5 / np.linalg.norm(free, axis=1))[:, None]
    np.testing.assert_allclose(inside[1].means, centre + cut, rtol=1e-12)  # projected: only lengths are cut


@pytest.mark.parametrize("is_exact", [True, False])
def test_symmetric_means_stay_symmetric(is_exact):
    mu = np.array([2.0, -1.0, 1.0])
    source = ArraySource(Student.symmetric(mu).mixture().sample(1000, np.random.default_rng(0))[0] + 0.3)
    method = KnownCovariance(PreconditionedDescent(0.5), is_exact, is_symmetric=True)
    found, records = descend(source, Student.symmetric(np.array([1.0, 1.0, 1.0])), [single_level(0.3, 60)], method)
    assert all(np.array_equal(r.means[0], -r.means[1]) for r in records)
    assert distance(found, np.stack([mu, -mu])) < 0.4
    stage = single_level(0.3, 1)
    tied = method.sums(source, found, stage, (0,)).tied_gradient
    assert method.step(source, found, stage, (0,)).gradient_norm == pytest.approx(np.linalg.norm(tied))


@pytest.mark.parametrize(("k", "is_exact"), [(2, True), (2, False), (3, True)])
def test_free_weights_are_learnt(k, is_exact):
    weights = np.array([0.15, 0.85]) if k == 2 else np.array([0.1, 0.3, 0.6])
    source, start = problem(k, 4000, weights, 0.6)
    best = em.run_em(source, start.mixture(), tol=1e-10, max_iter=500).mixture
    method = KnownCovariance(PreconditionedDescent(0.5), is_exact, free_weights=True)
    found, records = descend(source, start, [all_levels(60)], method)
    # Sampling error of a weight: 0.007; many levels are as good as maximum likelihood, and near it.
    np.testing.assert_allclose(found.weights, weights, rtol=0, atol=0.03)
    np.testing.assert_allclose(found.weights, best.weights, rtol=0, atol=0.02)
    assert found.weights.sum() == pytest.approx(1)
    fixed = descend(source, start, [all_levels(5)], replace(method, free_weights=False))[0]
    np.testing.assert_array_equal(fixed.weights, start.weights)
    assert records[-1].loss < records[0].loss


def test_weights_stay_positive_whatever_the_step():
    source, start = problem(weights=np.array([1.0, 0.0]))
    for weights in (start.weights, np.array([1.0, 0.0])):
        student, method = replace(start, weights=weights), KnownCovariance(GradientDescent(1e5), free_weights=True)
        for step in range(3):
            student = method.step(source, student, replace(single_level(0.2, 1), radius=5.0), (step,)).moved
            assert np.all(np.isfinite(student.weights))
            assert student.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("k", "is_exact", "is_random"), [(1, True, False), (2, True, False), (2, False, True), (3, True, True)]
)
def test_seeds_reproduce(k, is_exact, is_random):
    source, student = problem(k)
    method = KnownCovariance(Adam(0.1), is_exact)
    paths = [descend(source, student, [single_level(0.3, 5)], method, seed=seed)[0].means for seed in (1, 1, 2)]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert np.array_equal(paths[0], paths[2]) != is_random


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_means_are_found(k, is_exact):
    source, start = problem(k, 3000)
    method = KnownCovariance(PreconditionedDescent(0.3), is_exact)
    found, records = descend(source, start, [all_levels(200)], method, tol=1e-6)
    # Sampling error of a mean: sqrt(3 k / 3000) = 0.055 at k = 3; three of them.
    assert distance(found, MEANS[:k]) < 0.16
    assert distance(start, MEANS[:k]) > 0.4
    assert (records[-1].step < 200) == method.is_one_function
    if k == 1:
        x = next(iter(source.chunks(3000))).x
        # Convergence by a factor of 0.7 per step, until a step is 1e-6; noise is averaged over 3000 rows and steps.
        np.testing.assert_allclose(found.means[0], x.mean(axis=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize("stage", [single_level(1.5, 60), single_level(0.1, 60), all_levels(60)])
def test_plain_steps_of_a_small_rate_never_lose(stage, is_symmetric):
    source, start = problem()
    start = Student.symmetric(start.means[0]) if is_symmetric else start
    records = descend(source, start, [stage], KnownCovariance(GradientDescent(0.05), is_symmetric=is_symmetric))[1]
    losses = np.array([r.loss for r in records])
    assert len(losses) == 61
    assert np.all(np.diff(losses) < 1e-9)
    assert losses[-1] < losses[0] - 1e-5


@pytest.mark.scene
@pytest.mark.parametrize(("d", "seed"), [(20, 1), (100, 1), (100, 4)])
def test_large_noise_finds_what_small_noise_alone_does_not(d, seed):
    # The published experiment: means of length 6, both free, from N(0, I). For seeds 0, 2, 3 small noise does as well.
    truth = 6 * np.eye(d)[:1]
    means = np.concatenate([truth, -truth])
    source = ArraySource(Student.symmetric(truth[0]).mixture().sample(1000, np.random.default_rng(0))[0])
    start = Student(np.random.default_rng(seed).standard_normal((2, d)), np.full(2, 0.5))
    small, both = (
        descend(source, start, stages, KnownCovariance(GradientDescent(0.1)), tol=1e-6)[0]
        for stages in ([single_level(0.1, 600)], [single_level(1.5, 400), single_level(0.1, 200)])
    )
    assert distance(both, means) < 2 * np.sqrt(d / 500)  # twice the sampling error of a mean
    assert distance(small, means) > 5


@pytest.mark.parametrize(("free_weights", "is_exact"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("kind", [Diagonal, Full])
def test_covariances_are_learnt(kind, free_weights, is_exact):
    rng, values = np.random.default_rng(0), np.array([[1.0, 0.3, 2.0], [0.5, 2.0, 0.8]])
    matrices = np.array([np.diag(v) for v in values])
    if kind is Full:
        matrices[0, 0, 1] = matrices[0, 1, 0] = 0.3
    weights = np.array([0.35, 0.65]) if free_weights else np.full(2, 0.5)
    truth = Mixture(weights, 2 * MEANS[:2], kind(values if kind is Diagonal else matrices))
    source = ArraySource(truth.sample(3000, rng)[0])
    flat = np.ones((2, 3)) if kind is Diagonal else np.tile(np.eye(3), (2, 1, 1))
    start = Mixture(np.full(2, 0.5), truth.means + 0.4, kind(flat))
    method = LearntCovariance(0.5, is_exact, free_weights=free_weights)
    assert (method.is_one_function, method.fresh()) == (is_exact, method)
    found, records = descend(source, start, [all_levels(40)], method)
    # Sampling errors: sqrt(2 / 1000) = 0.045 of a mean, sqrt(2 / 1000) 2 = 0.09 of a variance, 0.01 of a weight.
    np.testing.assert_allclose(found.means, truth.means, rtol=0, atol=0.2)
    np.testing.assert_allclose(found.covariances, truth.covariances, rtol=0, atol=0.36)
    np.testing.assert_allclose(found.weights, weights, rtol=0, atol=0.03 if free_weights else 0)
    assert records[-1].loss < records[0].loss
    assert len(records) == 41


def test_levels_of_learnt_covariances_are_in_units_of_their_scale():
    source, stage = problem()[0], all_levels(1)
    student = Mixture(np.array([0.4, 0.6]), MEANS[:2], Diagonal(np.full((2, 3), 4.0)))
    for is_exact, key in ((True, (3, 0)), (False, (3, 0, 7))):  # exact: the same noise in all steps
        taken = LearntCovariance(0.7, is_exact, 2.0, True).step(source, student, stage, (3, 0, 7))
        sums = covariance_sums(source, student, 2 * stage.sigmas, antithetic=is_exact, factors=stage.factors, key=key)
        moved = descent_step(student, sums, 2 * stage.sigmas, rate=0.7, factors=stage.factors)
        for name in ("weights", "means", "covariances"):
            np.testing.assert_array_equal(getattr(taken.moved, name), getattr(moved, name))
        assert taken.loss == sums.loss / 500
        assert taken.gradient_norm == pytest.approx(np.linalg.norm(sums.means) / 500)


def test_a_descent_that_diverges_is_refused():
    source, student = problem()

    @dataclass(frozen=True)
    class Diverging(Halving):
        def step(self, source, student, stage, key):
            factor = np.inf if key == (0, 1, 3) else 1.0
            return Evaluated(0.0, 0.0, replace(student, means=factor * student.means))

    with pytest.raises(ValueError, match="step 3 of stage 1: lower the learning rate"):
        descend(source, student, [Stage(np.ones(1), np.ones(1), 5)] * 2, Diverging([], False))


def test_covariances_that_cannot_be_learnt_are_refused():
    source, student = problem()[0], Mixture(np.full(2, 0.5), MEANS[:2], Spherical(np.ones(2), 3))
    with pytest.raises(TypeError, match="use Diagonal or Full"):
        descend(source, student, [all_levels(1)], LearntCovariance(0.5))
