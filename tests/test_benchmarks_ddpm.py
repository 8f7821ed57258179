"""What gradient descent is compared with in its benchmark is checked by hand."""

import numpy as np
import pytest
from benchmarks.ddpm.rivals import em, gradient_em, largest_error, mean_error, symmetric_em


def test_rivals():
    rng = np.random.default_rng(0)
    mu = np.array([2.0, 1.0])
    x = rng.choice([-1.0, 1.0], 3000)[:, None] * mu + rng.standard_normal((3000, 2))
    start = np.array([[1.0, 0.0], [-1.0, 0.5]])
    best = em(x, start)
    np.testing.assert_allclose(gradient_em(x, start), best, atol=1e-5)
    np.testing.assert_allclose(symmetric_em(x, start[0]), (best[0] - best[1]) / 2, atol=0.02)
    truth = np.stack([-mu, mu])
    assert largest_error(best, truth) < mean_error(best, truth) < 0.15
    moved = truth[::-1] + np.array([3.0, 4.0])
    assert mean_error(moved, truth[::-1]) <= np.sqrt(50)
    assert largest_error(truth[::-1], truth) == mean_error(truth[::-1], truth) == 0
    assert largest_error(np.array([[-2.0, -1.0], [5.0, 5.0]]), truth) == pytest.approx(5)
