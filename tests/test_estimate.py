"""A mean and its standard error."""

import numpy as np
import pytest

from scoremix.evaluation.estimate import Estimate


def test_mean_and_standard_error():
    value, error = Estimate.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert value == 2.5
    assert error == pytest.approx(np.sqrt(5 / 3) / 2)


def test_error_is_the_spread_of_the_mean():
    rng = np.random.default_rng(0)
    runs = [Estimate.of(rng.exponential(size=100)) for _ in range(2000)]
    # The spread of 2000 means has relative error 1 / sqrt(4000) = 1.6 %.
    assert np.mean([run.standard_error for run in runs]) == pytest.approx(np.std([r.value for r in runs]), rel=0.065)
