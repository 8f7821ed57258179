"""Rules of steps, by their formulas."""

import numpy as np
import pytest

from scoremix.learning.sck.optimizers import OPTIMIZERS, Adam, GradientDescent, PreconditionedDescent

GRADIENT, CURVATURE = np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[2.0], [4.0]])


def test_plain_and_scaled_steps():
    np.testing.assert_array_equal(GradientDescent(0.1).step(GRADIENT, CURVATURE), -0.1 * GRADIENT)
    np.testing.assert_array_equal(PreconditionedDescent(0.5).step(GRADIENT, CURVATURE), [[-0.25, 0.5], [-0.0625, 0.0]])
    np.testing.assert_array_equal(PreconditionedDescent(1.0).step(GRADIENT, np.array(2.0)), -GRADIENT / 2)


def test_adam_is_the_published_algorithm():
    rng, rule = np.random.default_rng(0), Adam(0.3)
    gradients = rng.standard_normal((30, 2, 3))
    for t in range(1, 31):
        # The two running means written out as sums; corrected for their start from 0.
        past = gradients[:t][::-1]
        first = np.tensordot(0.1 * 0.9 ** np.arange(t), past, axes=1) / (1 - 0.9**t)
        second = np.tensordot(0.001 * 0.999 ** np.arange(t), past**2, axes=1) / (1 - 0.999**t)
        step = rule.step(gradients[t - 1], np.ones(()))
        np.testing.assert_allclose(step, -0.3 * first / np.sqrt(second), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_adam_moves_by_its_rate_whatever_the_gradient(scale):
    step = Adam(0.3).step(scale * GRADIENT, CURVATURE)
    np.testing.assert_allclose(step, -0.3 * np.sign(GRADIENT), rtol=1e-5)


def test_memory_is_kept_until_a_fresh_rule():
    rule = Adam(0.3)
    first = rule.step(GRADIENT, CURVATURE)
    second = rule.step(-GRADIENT, CURVATURE)
    assert not np.allclose(np.abs(second), np.abs(first))
    np.testing.assert_array_equal(rule.fresh().step(GRADIENT, CURVATURE), first)
    assert rule.count == 2
    for plain in (GradientDescent(0.3), PreconditionedDescent(0.3)):
        assert plain.fresh() == plain


def test_rules_have_names():
    assert {name: type(make(0.2)) for name, make in OPTIMIZERS.items()} == {
        "gradient": GradientDescent,
        "scaled": PreconditionedDescent,
        "adam": Adam,
    }
    assert all(make(0.2).rate == 0.2 for make in OPTIMIZERS.values())
