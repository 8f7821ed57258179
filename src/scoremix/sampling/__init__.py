"""Samplers: small functions of any denoiser ``denoiser(y, sigma)``."""

from scoremix.sampling.reverse import ancestral, dpm, probability_flow, reverse_sde

__all__ = ["ancestral", "dpm", "probability_flow", "reverse_sde"]
