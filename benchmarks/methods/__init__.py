"""The methods of the benchmark, by name.

A method is anything with `name`, `max_rows` (more would take hours) and `fit(x, noise_scale, seed)`, which
returns a `Fitted`. All of them get the same rows and may know the noise scale of the data.
"""

from typing import Protocol

import numpy as np

from scoremix.evaluation.truth import FloatArray


class Fitted(Protocol):
    """What the metrics ask of a fitted method.

    `sigmas` are its own noise levels, or None where its score is closed form at every level; `n_cells` the
    number of clusters it found, or None; `row_cost` the number of kernels in the score of one row.
    """

    @property
    def sigmas(self) -> FloatArray | None: ...

    @property
    def n_cells(self) -> int | None: ...

    @property
    def row_cost(self) -> int: ...

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray: ...

    def score(self, y: FloatArray, sigma: float) -> FloatArray: ...

    def posterior_mean(self, x: FloatArray) -> FloatArray: ...


class Method(Protocol):
    """A learner with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def max_rows(self) -> int: ...

    def fit(self, x: FloatArray, noise_scale: float, seed: int) -> Fitted: ...
