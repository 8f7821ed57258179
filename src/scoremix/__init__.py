"""scoremix: learn mixtures of Gaussians with diffusion models.

``import scoremix`` costs nothing: the public names and the sub-packages are loaded when they are first asked for
(PEP 562). Type checkers and editors read the imports instead, and so know which names there are.
"""

import importlib
import typing

__version__ = "0.1.0"
__all__ = ["DDPMMixture", "DiffusionMixture", "GaussianMixture", "load"]

_SUBPACKAGES = ("evaluation", "plots", "sampling")
_INNER = ("estimators", "learning", "models", "samples")

if typing.TYPE_CHECKING:
    from scoremix import evaluation as evaluation
    from scoremix import plots as plots
    from scoremix import sampling as sampling
    from scoremix.estimators import DDPMMixture, DiffusionMixture, GaussianMixture, load
else:

    def __getattr__(name):
        if name in __all__:
            return getattr(importlib.import_module("scoremix.estimators"), name)
        if name in _SUBPACKAGES + _INNER:
            return importlib.import_module(f"scoremix.{name}")
        raise AttributeError(f"module 'scoremix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBPACKAGES, "__version__"])
