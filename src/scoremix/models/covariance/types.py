"""The table of the types of covariance."""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Floats
from scoremix.models.covariance.diagonal import Diagonal
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import Covariance
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.covariance.tied import Tied


def covariance_of(kind: str, values: Floats, n_features: int) -> Covariance:
    """Covariances of a kind from their values, in scikit-learn's shapes.

    values (k, d, d).
    """
    values = np.asarray(values, dtype=np.float64)
    if kind == "spherical":
        return Spherical(values, n_features)
    if kind == "full":
        return Full(values)
    return Tied(values) if kind == "tied" else Diagonal(values)
