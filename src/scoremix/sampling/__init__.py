"""Samplers and log densities: small functions of any denoiser ``denoiser(y, sigma)``.

1. `reverse`: four walks from noise to data, and the table of them.
2. `density`: a log density by an integral of the score over the noise levels.
3. `draw`: samples of a ladder, in blocks with a random stream each.
4. `ladder_density`: the log density of a ladder, in closed form as far as it is a mixture.

In: a denoiser, or a `Ladder`. Out: samples and log densities, in the library of the points.
"""

from scoremix.sampling.density import log_density
from scoremix.sampling.reverse import ancestral, dpm, probability_flow, reverse_sde

__all__ = ["ancestral", "dpm", "log_density", "probability_flow", "reverse_sde"]
