"""A Monte Carlo mean that knows its own uncertainty."""

from typing import NamedTuple

import numpy as np

from scoremix.evaluation.truth import FloatArray

__all__ = ["Estimate"]


class Estimate(NamedTuple):
    """A Monte Carlo mean and its standard error.

    Attributes
    ----------
    value : float
        The mean.
    standard_error : float
        Standard deviation of the mean.
    """

    value: float
    standard_error: float

    @classmethod
    def of(cls, values: FloatArray) -> "Estimate":
        """Mean of independent values, shape (n,) with n >= 2."""
        return cls(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
