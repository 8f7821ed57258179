"""Component by component: the densities are SciPy's, the sums those of brute force, in any array library."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from scoremix.arrays import to_numpy
from scoremix.learning.em.by_component import dense_pass, sums_of_all
from scoremix.learning.em.em import e_step
from scoremix.models.by_component import ComponentJoint, pays_by_component
from scoremix.models.covariance.full import Full
from scoremix.models.log_joint import LogJoint
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource


def scene(k=5, d=20, n=700, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((k, d))
    root = 0.4 * rng.standard_normal((k, d, d)) / np.sqrt(d) + np.eye(d)
    x = means[rng.integers(k, size=n)] + 1.2 * rng.standard_normal((n, d))
    weights = rng.dirichlet(np.full(k, 5.0))
    return Mixture(weights, means, Full(root @ np.swapaxes(root, 1, 2))), x


def dense_logs(mixture, x):
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return np.array([np.log(w) + multivariate_normal(m, s).logpdf(x) for w, m, s in parts])


@pytest.mark.parametrize("d", [3, 20, 130])
def test_densities_are_those_of_scipy(xp, d):
    mixture, x = scene(d=d, n=50)
    joint = ComponentJoint(mixture.weights, mixture.means, mixture.covariance)
    ours = np.array([to_numpy(joint.log_joint(k, xp.asarray(x))) for k in range(5)])
    np.testing.assert_allclose(ours, dense_logs(mixture, x), rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_brute_force(xp, weighted):
    mixture, x = scene()
    weight = np.random.default_rng(1).integers(0, 3, len(x)).astype(float) if weighted else np.ones(len(x))
    joint = ComponentJoint(mixture.weights, mixture.means, mixture.covariance)
    ours = sums_of_all(joint, xp.asarray(x), xp.asarray(weight) if weighted else None).expected()
    logs = dense_logs(mixture, x)
    shares = softmax(logs, axis=0) * weight
    offsets = x - mixture.means[:, None, :]
    # Shares below e^-28 are left out: 700 of them, times squares of a hundred.
    np.testing.assert_allclose(ours.mass, shares.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(ours.first, np.einsum("kn,kni->ki", shares, offsets), atol=1e-8)
    np.testing.assert_allclose(ours.second, np.einsum("kn,kni,knj->kij", shares, offsets, offsets), atol=1e-7)
    np.testing.assert_allclose(ours.log_likelihood, weight @ np.logaddexp.reduce(logs, axis=0), rtol=1e-11)
    assert ours.weight == weight.sum()


@pytest.mark.parametrize("d", [20, 100])
def test_chunks_and_threads_change_nothing(d):
    mixture, x = scene(d=d, n=5000)
    joint = ComponentJoint(mixture.weights, mixture.means, mixture.covariance)
    one, two = (dense_pass(ArraySource(x), joint, n) for n in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))
    once = sums_of_all(joint, x, None).expected()
    np.testing.assert_allclose(one.second, once.second, atol=1e-9 * len(x))


def test_a_pass_in_many_dimensions_is_that_of_products(monkeypatch):
    mixture, x = scene(d=40, k=10)
    source = ArraySource(x)
    together = e_step(source, mixture)
    monkeypatch.setattr("scoremix.models.log_joint.pays_by_component", lambda k, d: True)
    one_by_one = e_step(source, mixture)
    for a, b in zip(vars(together).values(), vars(one_by_one).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-7)


def test_a_mixture_of_many_dimensions_answers_as_one_of_few(xp, monkeypatch):
    mixture, x = scene(d=30, n=80)
    x = xp.asarray(x)

    def answers():
        asked = (*mixture.evaluate(x), mixture.log_density(x), mixture.score(x), mixture.denoise(x, 0.5))
        return [to_numpy(answer) for answer in asked]

    few = answers()
    monkeypatch.setattr("scoremix.models.log_joint.pays_by_component", lambda k, d: True)
    for a, b in zip(few, answers(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_components_far_apart_need_no_frames():
    mixture, x = scene(d=20)
    far = Mixture(mixture.weights, mixture.means * 1e7, mixture.covariance)
    joint = LogJoint(far.weights, far.means, far.covariance)
    assert joint.by_component is not None
    assert len(joint.frames) == 1
    near = far.means[2] + x[:30] - x[:30].mean(axis=0)
    np.testing.assert_allclose(far.log_density(near), dense_logs(far, near)[2], rtol=1e-7)


def test_the_choice_grows_with_the_dimension():
    for k in (2, 8, 20, 100, 1000):
        choices = [pays_by_component(k, d) for d in range(2, 200)]
        assert choices == sorted(choices)
        assert len(set(choices)) == 2
