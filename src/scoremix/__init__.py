"""scoremix: learn mixtures of Gaussians with diffusion models."""

from scoremix.estimators import DDPMMixture, DiffusionMixture, GaussianMixture, load

__version__ = "0.1.0"
__all__ = ["DDPMMixture", "DiffusionMixture", "GaussianMixture", "load"]
