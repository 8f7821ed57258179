"""The table of the types of covariance: a new one is a file like the four, and a line here."""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Floats
from scoremix.models.covariance.diagonal import Diagonal
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import Covariance
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.covariance.tied import Tied

TYPES: dict[str, type[Covariance]] = {each.kind: each for each in (Full, Tied, Diagonal, Spherical)}


def covariance_of(kind: str, values: Floats, n_features: int) -> Covariance:
    """Covariances of a kind from their values, in scikit-learn's shapes."""
    return TYPES[kind].of(np.asarray(values, dtype=np.float64), n_features)


def shape_of_values(kind: str, n_components: int, n_features: int) -> tuple[int, ...]:
    """The shape of the values of covariances."""
    sizes = {"k": n_components, "d": n_features}
    return tuple(sizes[letter] for letter in TYPES[kind].shape.split())


def isotropic(kind: str, n_components: int, n_features: int, variance: float) -> Covariance:
    """The same variance in all directions."""
    shape = shape_of_values(kind, n_components, n_features)
    unit = np.ones(shape) if TYPES[kind].is_diagonal else np.broadcast_to(np.eye(n_features), shape)
    return covariance_of(kind, variance * unit, n_features)


def n_free(kind: str, n_features: int) -> int:
    """Free parameters of a component: weight, mean, and the covariance where it has one of its own."""
    own = 0 if TYPES[kind].is_shared else TYPES[kind].n_parameters(1, n_features)
    return 1 + n_features + own
