"""Simulated problems with known truth, and distances from it.

1. `truth`, `gaussian_truth`, `continuous_truth`: what is known of a distribution; apart from `models` on purpose, as it
   is what these are measured against.
2. `problems`: the problems by name.
3. `estimate`: a mean with its standard error.
4. `metrics`, `total_variation`: errors of scores and parameters, bounds, distances between samples.
5. `certificate`: what a model is worth without knowing the truth.

In: a truth and a model, or samples. Out: an `Estimate` in nats, or in units of the noise.
"""

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
