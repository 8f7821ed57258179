"""Passes that leave pairs out lose nothing, whatever components and rows do."""

import numpy as np
import pytest

from scoremix.learning.em import candidates
from scoremix.learning.em.by_component import dense_pass
from scoremix.learning.em.candidates import CandidatePass, Change, joint_of, may_leave_out
from scoremix.learning.em.em import e_step, m_step, run_em
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

K, D = 6, 16


def scene(n=900, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((K, D))
    root = 0.4 * rng.standard_normal((K, D, D)) / np.sqrt(D) + np.eye(D)
    x = means[rng.integers(K, size=n)] + rng.standard_normal((n, D))
    return Mixture(np.full(K, 1 / K), means, Full(root @ np.swapaxes(root, 1, 2))), x


@pytest.fixture
def always(monkeypatch):
    """Pairs are left out whether or not that pays."""
    monkeypatch.setattr(candidates, "_pays", lambda joint, n, looked: True)


def jumps(mixture, x, source):
    """Mixtures in an order that no run would take."""
    weights, means, values = mixture.weights, mixture.means, mixture.covariance.values
    yield mixture
    updated = m_step(e_step(source, mixture), mixture, 1e-6)
    yield updated
    yield Mixture(weights, means[::-1].copy(), Full(values[::-1].copy()))  # components change places
    yield Mixture(weights, means, Full(values * np.geomspace(1e-4, 1e4, K)[:, None, None]))
    yield Mixture(weights, np.repeat(means[:1], K, axis=0), Full(np.repeat(values[:1], K, axis=0)))  # duplicates
    lost = np.where(np.arange(K) == 2, 0.0, 1.0) / (K - 1)
    yield Mixture(lost, means, Full(values))  # one has no weight
    yield Mixture(weights, np.where(np.arange(K)[:, None] == 2, 1e4, means), Full(values))  # and is back, far away
    yield Mixture(weights, np.where(np.arange(K)[:, None] == 2, x[:1], means), Full(values))  # and on a row
    yield updated
    some = updated.take(np.array([4, 1, 5, 2]))
    yield Mixture(some.weights / some.weights.sum(), some.means, some.covariance)  # some are left out
    yield Mixture(some.weights / some.weights.sum(), some.means + 0.1, some.covariance)
    yield mixture  # and others are new


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("far", [1.0, 1e8])
def test_sums_are_those_of_all_pairs(always, precision, weighted, far):
    mixture, x = scene()
    x[-3:] *= far  # far rows
    x[:50] = x[0]  # and one many times
    weight = np.random.default_rng(1).integers(0, 3, len(x)).astype(float) if weighted else None
    source, step = ArraySource(x.astype(precision), weight), CandidatePass(e_step)
    # Rounding: relative to the largest sums; single precision carries 1e-7 times the squares of many deviations.
    tolerance = 1e-9 if precision is np.float64 else 1e-3
    for present in jumps(mixture, x, ArraySource(x, weight)):
        ours, whole = step(source, present), dense_pass(source, joint_of(present))
        assert ours.log_likelihood == pytest.approx(whole.log_likelihood, rel=tolerance)
        log_density, shares = step.evaluate(source, present)
        np.testing.assert_allclose(log_density, present.log_density(x.astype(precision)), rtol=tolerance)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=10 * tolerance)
        for a, b in ((ours.mass, whole.mass), (ours.first, whole.first), (ours.second, whole.second)):
            np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(), rtol=0)


def test_most_pairs_are_left_out_where_components_are_apart(always):
    mixture, x = scene(spread=4.0)
    step, source = CandidatePass(e_step), ArraySource(x)
    for _ in range(4):
        mixture = m_step(step(source, mixture), mixture, 1e-6)
    assert step.looked < 1.5 / K


def test_threads_and_chunks_change_nothing(always, monkeypatch):
    monkeypatch.setattr("scoremix.learning.em.by_component.MIN_CHUNK", 100)
    monkeypatch.setattr("scoremix.learning.em.by_component.MAX_CHUNK", 700)
    mixture, x = scene(n=5000)
    runs = []
    for n_threads in (1, 2):
        step, present = CandidatePass(e_step), mixture
        for _ in range(4):
            expected = step(ArraySource(x), present, n_threads)
            log_density, _ = step.evaluate(ArraySource(x), present)
            np.testing.assert_allclose(log_density, present.log_density(x), rtol=1e-9)
            present = m_step(expected, present, 1e-6)
        runs.append(expected)
    assert all(np.array_equal(a, b) for a, b in zip(*(vars(run).values() for run in runs), strict=True))


@pytest.mark.parametrize("scale", [0.3, 0.99, 1.0, 1.01, 3.0])
def test_no_distance_falls_below_its_bound(scale):
    mixture, x = scene()
    old = joint_of(mixture)
    rng = np.random.default_rng(2)
    root = np.eye(D) + 0.1 * rng.standard_normal((K, D, D))
    values = scale * root @ mixture.covariance.values @ np.swapaxes(root, 1, 2)
    new = joint_of(Mixture(mixture.weights, mixture.means + 0.1 * rng.standard_normal((K, D)), Full(values)))
    change = Change.between(old, new)
    for k in range(K):
        before, after = (np.sqrt(joint.squared_distances(k, x)) for joint in (old, new))
        assert np.all(after >= (before * change.kept[k] - change.shift[k]) * (1 - 1e-9))
    same = Change.between(old, old)
    np.testing.assert_allclose(same.kept, 1.0, atol=1e-6)
    assert np.all(same.shift == 0)


def test_a_run_takes_them_where_they_pay():
    mixture, x = scene(n=6000, spread=4.0)
    source = ArraySource(x)
    assert may_leave_out(source, mixture)
    few = run_em(source, mixture, max_iter=8, tol=0.0)
    whole = run_em(source, mixture, max_iter=8, tol=0.0, step=lambda *asked: e_step(*asked))
    np.testing.assert_allclose(few.lower_bounds, whole.lower_bounds, rtol=1e-9)
    np.testing.assert_allclose(few.mixture.means, whole.mixture.means, atol=1e-7)


def test_where_all_pairs_matter_passes_are_dense():
    mixture, x = scene(spread=0.0)
    calls = []

    def dense(*asked):
        calls.append(asked)
        return e_step(*asked)

    step = CandidatePass(dense)
    for _ in range(5):
        step(ArraySource(x), mixture)
    assert len(calls) == 5
