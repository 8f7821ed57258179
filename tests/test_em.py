"""EM: a pass against brute-force sums, the update against scikit-learn, runs that never go down."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Reference

from scoremix.arrays import to_numpy
from scoremix.learning.em import em
from scoremix.learning.em.acceleration import Anderson, Squarem
from scoremix.learning.em.em import e_step, expected_of, m_step, recenter, run_em, sums_by_component
from scoremix.models.covariance.interface import CollapsedError
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")


def data(n=600, k=4, d=3, spread=3.0, seed=0):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((k, d))
    return means, means[rng.integers(k, size=n)] + rng.standard_normal((n, d)) @ (np.eye(d) + 0.2)


def start(kind, means, seed=1):
    k, d = means.shape
    rng = np.random.default_rng(seed)
    values = {
        "full": np.tile(np.eye(d), (k, 1, 1)),
        "tied": np.eye(d),
        "diag": np.ones((k, d)),
        "spherical": np.ones(k),
    }
    weights = rng.dirichlet(np.full(k, 20.0))
    return Mixture(weights, means + 0.5 * rng.standard_normal((k, d)), covariance_of(kind, 1.5 * values[kind], d))


def brute_force(mixture, x, weight):
    """Mass, first and second moments about the means, and the log likelihood, from the definition."""
    offsets = x[None] - mixture.means[:, None]
    inverse = np.linalg.inv(mixture.covariances)
    quadratic = np.einsum("kni,kij,knj->kn", offsets, inverse, offsets)
    log_det = np.linalg.slogdet(2 * np.pi * mixture.covariances)[1]
    joint = np.log(mixture.weights)[:, None] - 0.5 * (quadratic + log_det[:, None])
    shares = softmax(joint, axis=0) * weight
    full = np.einsum("kn,kni,knj->kij", shares, offsets, offsets)
    second = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": full.diagonal(axis1=1, axis2=2),
        "spherical": full.trace(axis1=1, axis2=2),
    }
    log_density = np.logaddexp.reduce(joint, axis=0)
    return shares.sum(axis=1), np.einsum("kn,kni->ki", shares, offsets), second, weight @ log_density


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [3.0, 1e5])
def test_a_pass_adds_up_what_it_says(xp, kind, weighted, spread):
    means, x = data(spread=spread)
    mixture = start(kind, means)
    weight = np.random.default_rng(2).integers(0, 4, len(x)).astype(float) if weighted else None
    source = ArraySource(xp.asarray(x), None if weight is None else xp.asarray(weight))
    ours = e_step(source, mixture)
    mass, first, second, log_likelihood = brute_force(mixture, x, np.ones(len(x)) if weight is None else weight)
    # 600 terms of size 10; offsets from means 1e5 away carry 1e-11.
    np.testing.assert_allclose(ours.mass, mass, atol=1e-9)
    np.testing.assert_allclose(ours.first, first, atol=1e-8)
    np.testing.assert_allclose(ours.second, second[kind], atol=1e-6)
    np.testing.assert_allclose(ours.log_likelihood, log_likelihood, rtol=1e-10)
    assert ours.weight == (len(x) if weight is None else weight.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_stacked_kernels_agree(kind):
    means, x = data(k=3, d=12)
    mixture = start(kind, means)
    joint = mixture.joint()
    assert joint.is_stacked == (kind == "full")
    ours = expected_of(joint, np.ascontiguousarray(x.T), None)
    mass, first, second, _ = brute_force(mixture, x, np.ones(len(x)))
    np.testing.assert_allclose(ours.mass, mass, atol=1e-9)
    np.testing.assert_allclose(ours.first, first, atol=1e-9)
    np.testing.assert_allclose(ours.second, second[kind], atol=1e-8)


def test_chunks_and_threads_do_not_change_the_sums(monkeypatch):
    means, x = data(n=5000)
    mixture = start("full", means)
    whole = e_step(ArraySource(x), mixture, 1)
    monkeypatch.setattr(em, "SMALL_WORK", 0)
    monkeypatch.setattr(em, "MAX_CHUNK", 700)
    for threads in (1, 3):
        again = e_step(ArraySource(x), mixture, threads)
        np.testing.assert_allclose(again.second, whole.second, rtol=1e-11, atol=1e-9)
        np.testing.assert_allclose(again.log_likelihood, whole.log_likelihood, rtol=1e-12)


def test_many_frames_give_the_same_sums(monkeypatch):
    means, x = data(k=6, spread=1e6)
    mixture = start("full", means)
    assert len(mixture.joint().frames) == 6
    kept = e_step(ArraySource(x), mixture)
    monkeypatch.setattr(em, "FEW_FRAMES", 2)
    np.testing.assert_allclose(e_step(ArraySource(x), mixture).second, kept.second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_moved_statistics_are_those_about_other_means(kind):
    means, x = data()
    mixture = start(kind, means)
    shift = np.random.default_rng(3).standard_normal(means.shape)
    joint = mixture.joint()
    joint_sums = em.sums_of(joint, np.ascontiguousarray(x.T), None)
    there = recenter(joint_sums.expected(joint, mixture.covariance), mixture.covariance, shift)
    joint.means = mixture.means + shift
    expected = joint_sums.expected(joint, mixture.covariance)
    np.testing.assert_allclose(there.first, expected.first, atol=1e-9)
    np.testing.assert_allclose(there.second, expected.second, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_ten_iterations_are_those_of_scikit_learn(kind, precision):
    means, x = data(n=2000, k=5)
    begin = start(kind, means)
    values = begin.covariance.values
    inverse = np.linalg.inv(values) if kind in ("full", "tied") else 1 / values
    reference = Reference(
        5,
        covariance_type=kind,
        weights_init=begin.weights,
        means_init=begin.means,
        precisions_init=inverse,
        max_iter=10,
        tol=1e-300,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference.fit(x)
    ours = run_em(ArraySource(x.astype(precision)), begin, tol=1e-300, max_iter=10)
    # Benign data: rounding of sums of 2,000 terms, in double and in single precision.
    tolerance = 1e-10 if precision == np.float64 else 1e-4
    np.testing.assert_allclose(ours.mixture.weights, reference.weights_, atol=tolerance)
    np.testing.assert_allclose(ours.mixture.means, reference.means_, atol=10 * tolerance)
    np.testing.assert_allclose(ours.mixture.covariance.values, reference.covariances_, atol=10 * tolerance)
    np.testing.assert_allclose(ours.lower_bounds[-1], reference.lower_bound_, atol=tolerance)
    assert (ours.n_passes, ours.converged) == (10, False)


@given(st.sampled_from(KINDS), st.integers(0, 30), st.integers(1, 5))
def test_the_likelihood_never_falls(kind, seed, k):
    means, x = data(n=150, k=k, d=2, spread=1.0, seed=seed)
    run = run_em(ArraySource(x), start(kind, means, seed), tol=1e-9, max_iter=40, reg=0.0)
    # Rounding of a mean of 150 logarithms.
    assert np.all(np.diff(run.lower_bounds) > -1e-12)


@pytest.mark.scene  # elsewhere two runs may end in different optima: test_acceleration.py asks several data sets
@pytest.mark.parametrize("accelerate", [Squarem, Anderson])
@pytest.mark.parametrize("kind", KINDS)
def test_accelerated_runs_reach_the_same_optimum_in_fewer_passes(kind, accelerate):
    means, x = data(n=2000, k=3, d=2, spread=1.5)
    begin = start(kind, means)
    plain = run_em(ArraySource(x), begin, tol=1e-9, max_iter=5000)
    fast = run_em(ArraySource(x), begin, tol=1e-9, max_iter=5000, acceleration=accelerate())
    assert plain.converged
    assert fast.converged
    assert fast.mixture.log_density(x).mean() > plain.mixture.log_density(x).mean() - 1e-6
    assert np.all(np.diff(fast.lower_bounds) >= 0) or np.diff(fast.lower_bounds).min() > -1e-9
    assert fast.n_passes < plain.n_passes


def test_a_guess_that_lowers_the_likelihood_is_taken_back():
    means, x = data(n=500, k=3, d=2)

    class Bad:
        """Proposes something absurd every time."""

        resets = 0

        def propose(self, present, updated):
            return Mixture(updated.weights, updated.means + 50.0, updated.covariance)

        def reset(self):
            self.resets += 1

    bad = Bad()
    begin = start("full", means)
    run = run_em(ArraySource(x), begin, max_iter=21, tol=0.0, acceleration=bad)
    plain = run_em(ArraySource(x), begin, max_iter=11, tol=0.0)
    assert bad.resets == 10
    assert run.n_passes == 21
    np.testing.assert_allclose(run.lower_bounds, plain.lower_bounds, rtol=1e-12)


def test_a_component_without_data_stays_where_it_is():
    means, x = data(n=300, k=2, d=2)
    lost = np.concatenate([means, [[1e5, 1e5]]])
    begin = start("full", lost)
    update = m_step(e_step(ArraySource(x), begin), begin, 1e-6)
    np.testing.assert_array_equal(update.means[2], begin.means[2])
    np.testing.assert_array_equal(update.covariance.values[2], begin.covariance.values[2])
    assert np.all(np.isfinite(update.log_density(x)))
    assert update.weights[2] < 1e-12


def test_data_without_any_spread_are_an_error():
    x = np.zeros((20, 2))
    with pytest.raises(CollapsedError, match="ill-defined empirical covariance"):
        run_em(ArraySource(x), start("full", np.zeros((2, 2))), reg=0.0)


def test_foreign_arrays_give_the_same_fit(xp):
    means, x = data()
    begin = start("full", means)
    ours = run_em(ArraySource(x), begin, max_iter=3, tol=0.0).mixture
    theirs = run_em(ArraySource(xp.asarray(x)), begin, max_iter=3, tol=0.0).mixture
    np.testing.assert_allclose(theirs.means, ours.means, atol=1e-10)
    np.testing.assert_array_equal(to_numpy(xp.asarray(x)), x)


def test_a_likelihood_that_is_not_finite_is_an_error():
    means, x = data(n=100, k=2, d=2)
    begin = start("spherical", means)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not a finite number"):
        run_em(ArraySource(x * 1e160), begin)


def test_sums_of_few_pairs_are_those_of_all_points():
    rng = np.random.default_rng(0)
    shares = np.where(rng.random((50, 200)) < 0.02, rng.random((50, 200)), 0.0)
    shares[7] = 0.0  # a component without points
    x = rng.standard_normal((2, 200))
    phi = np.concatenate([np.ones((1, 200)), x])
    expected = np.concatenate([shares @ phi.T, np.einsum("kn,in,jn->kij", shares, x, x).reshape(50, 4)], axis=1)
    np.testing.assert_allclose(sums_by_component(shares, phi), expected, rtol=1e-12, atol=1e-14)
    dense = rng.random((50, 200))  # one product per component
    expected = np.concatenate([dense @ phi.T, np.einsum("kn,in,jn->kij", dense, x, x).reshape(50, 4)], axis=1)
    np.testing.assert_allclose(sums_by_component(dense, phi), expected, rtol=1e-12, atol=1e-13)
