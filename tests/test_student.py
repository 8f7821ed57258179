"""The student: its span, its responsibilities, its levels."""

import numpy as np
import pytest

from scoremix.learning.sck.student import Student, at_noise_levels


def student(k=3, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return Student(3 * rng.standard_normal((k, d)) + 10, rng.dirichlet(np.full(k, 5.0)), 0.5)


@pytest.mark.parametrize(("k", "d", "q"), [(1, 4, 0), (2, 4, 1), (3, 5, 2), (5, 4, 4), (4, 4, 3), (9, 2, 2)])
def test_the_span_holds_the_means(k, d, q):
    here = student(k, d)
    assert here.axes.shape == (d, q)
    np.testing.assert_allclose(here.axes.T @ here.axes, np.eye(q), atol=1e-12)
    local = here.means - here.center
    np.testing.assert_allclose(local @ here.axes @ here.axes.T, local, atol=1e-12)


def test_coinciding_means_still_have_axes():
    here = Student(np.ones((3, 4)), np.full(3, 1 / 3))
    np.testing.assert_allclose(here.axes.T @ here.axes, np.eye(2), atol=1e-12)


def test_rows_seen_by_a_level():
    here, rng = student(), np.random.default_rng(1)
    (level,) = at_noise_levels(here, 0.7, None, may_be_zero=False)
    assert level.variance == pytest.approx(0.5 + 0.49)
    x, z = rng.standard_normal((2, 5)) @ np.eye(5) + 10, rng.standard_normal((2, 2))
    inside = here.axes.T @ (x - here.center).T
    noisy = level.noisy(inside, z)
    y = x + 0.7 * (here.axes @ z).T
    shares = here.mixture(0.7).evaluate(y)[1]
    np.testing.assert_allclose(noisy.shares.T, shares, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(here.center + (here.axes @ noisy.middle).T, shares @ here.means, rtol=1e-9)


def test_far_components_weigh_almost_nothing_but_are_numbers():
    here = Student(np.array([[0.0], [1e6]]), np.array([0.5, 0.5]))
    (level,) = at_noise_levels(here, 0.0, None, may_be_zero=True)
    shares = level.shares(np.array([[-5e5]]))
    np.testing.assert_allclose(shares[:, 0], [1, 0], atol=1e-200)
    assert shares.min() > 0


def test_symmetric_and_levels():
    here = Student.symmetric(np.array([1.0, 2.0]), 0.3)
    np.testing.assert_array_equal(here.means, [[1, 2], [-1, -2]])
    assert here.mixture(2.0).covariances[0, 0, 0] == pytest.approx(4.3)
    first, second = at_noise_levels(here, np.array([2.0, 1.0]), np.array([3.0, 4.0]), may_be_zero=False)
    assert (first.sigma, second.factor) == (2.0, 4.0)
    for sigmas, may_be_zero in (([], True), (-1.0, True), (0.0, False)):
        with pytest.raises(ValueError, match="noise levels must be"):
            at_noise_levels(here, np.array(sigmas), None, may_be_zero=may_be_zero)
