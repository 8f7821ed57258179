"""How a gradient becomes a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scoremix.arrays import Floats


class Optimizer(Protocol):
    """What a descent asks of a rule."""

    def step(self, gradient: Floats, curvature: Floats) -> Floats:
        """What to add to the parameters; the curvature is that of components far apart, in a shape that broadcasts."""

    def fresh(self) -> Optimizer:
        """The same rule without memory."""


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent with a constant rate, as published."""

    rate: float

    def step(self, gradient: Floats, curvature: Floats) -> Floats:
        """Minus the rate times the gradient."""
        return -self.rate * gradient

    def fresh(self) -> Optimizer:
        """Itself: it has no memory."""
        return self


@dataclass(frozen=True)
class PreconditionedDescent:
    """Gradient descent in units of the curvature: rate 1 is Newton's step for components that are far apart."""

    rate: float

    def step(self, gradient: Floats, curvature: Floats) -> Floats:
        """Minus the rate times the gradient over the curvature."""
        return -self.rate * gradient / curvature

    def fresh(self) -> Optimizer:
        """Itself: it has no memory."""
        return self


@dataclass
class Adam:
    """Adam (Kingma and Ba, ICLR 2015): every parameter moves by about the rate, whatever the size of its gradient."""

    rate: float
    first: Floats | float = 0.0
    second: Floats | float = 0.0
    count: int = 0

    def step(self, gradient: Floats, curvature: Floats) -> Floats:
        """A step along the running mean of the gradients, over their running size."""
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        return np.asarray(-self.rate * first / (np.sqrt(second) + 1e-12))

    def fresh(self) -> Optimizer:
        """Adam without memory."""
        return Adam(self.rate)


# Rules by name; each takes a rate.
OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {
    "gradient": GradientDescent,
    "scaled": PreconditionedDescent,
    "adam": Adam,
}
