"""Samplers and log densities: small functions of any denoiser ``denoiser(y, sigma)``."""

from scoremix.sampling.density import log_density
from scoremix.sampling.reverse import ancestral, dpm, probability_flow, reverse_sde

__all__ = ["ancestral", "dpm", "log_density", "probability_flow", "reverse_sde"]
