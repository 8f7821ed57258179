"""Simulated problems with known truth, and distances from it."""

from scoremix.evaluation.metrics import (
    kl_bound,
    parameter_error,
    posterior_regret,
    score_error,
)
from scoremix.evaluation.problems import (
    make_balls,
    make_gaussian_mixture,
    make_manifold,
    make_pairs,
    make_ring,
    make_spiral,
)
from scoremix.evaluation.total_variation import histogram_total_variation, total_variation

__all__ = [
    "histogram_total_variation",
    "kl_bound",
    "make_balls",
    "make_gaussian_mixture",
    "make_manifold",
    "make_pairs",
    "make_ring",
    "make_spiral",
    "parameter_error",
    "posterior_regret",
    "score_error",
    "total_variation",
]
