"""DiffusionMixture as it comes: the default, and the cells of the paper with soft or hard gates."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scoremix import DiffusionMixture
from scoremix.evaluation.truth import FloatArray


@dataclass(frozen=True)
class FittedScoremix:
    """A fitted estimator behind the questions of the metrics."""

    model: DiffusionMixture
    row_cost: int = 1

    @property
    def sigmas(self) -> FloatArray:
        return self.model.noise_levels_

    @property
    def n_cells(self) -> int:
        return self.model.n_cells_

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return np.asarray(self.model.sample(n, random_state=int(rng.integers(2**31))))

    def score(self, y: FloatArray, sigma: float) -> FloatArray:
        return np.asarray(self.model.ladder_.score(y, sigma))

    def posterior_mean(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.model.posterior_mean(x))


@dataclass(frozen=True)
class Scoremix:
    """The default of the library: a mixture of atoms under the known noise."""

    name: str = "scoremix"
    max_rows: int = 10**9

    def fit(self, x: FloatArray, noise_scale: float, seed: int) -> FittedScoremix:
        return FittedScoremix(DiffusionMixture(noise_scale=noise_scale, random_state=seed).fit(x))


@dataclass(frozen=True)
class Cells:
    """The piecewise polynomials of the paper alone, ``correction_of="nothing"``, with the gates asked for."""

    gates: Literal["soft", "hard"] = "soft"
    max_rows: int = 10**9

    @property
    def name(self) -> str:
        return f"{self.gates} cells"

    def fit(self, x: FloatArray, noise_scale: float, seed: int) -> FittedScoremix:
        model = DiffusionMixture(correction_of="nothing", gates=self.gates, noise_scale=noise_scale, random_state=seed)
        return FittedScoremix(model.fit(x))
