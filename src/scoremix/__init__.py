"""scoremix: learn mixtures of Gaussians with diffusion models.

``import scoremix`` costs nothing: the public names and the sub-packages are loaded when they are first asked for
(PEP 562), while type checkers and editors read the imports below.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from scoremix import evaluation as evaluation
    from scoremix import plots as plots
    from scoremix import sampling as sampling
    from scoremix.estimators import DDPMMixture, DiffusionMixture, GaussianMixture, load

__version__ = "0.1.0"
__all__ = ["DDPMMixture", "DiffusionMixture", "GaussianMixture", "load"]

_SUBPACKAGES = ("evaluation", "plots", "sampling")


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module("scoremix.estimators"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"scoremix.{name}")
    raise AttributeError(f"module 'scoremix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBPACKAGES, "__version__"])
