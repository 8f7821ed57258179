"""Stepwise EM for streams: running averages of the expected statistics (Cappe and Moulines, JRSS-B 2009).

Every batch is seen once. Its statistics, per unit of weight, are mixed into the running ones with a falling rate; the
M-step is that of EM. All moments are about the means of the present mixture, so they move with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.em.em import m_step, recenter
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.models.mixture import Mixture

# Rates fall as the number of batches to this power: between 1/2 and 1, smaller forgets the first batches sooner.
FORGETTING = 0.7


@dataclass(frozen=True)
class Running:
    """Statistics per unit of weight, about the means of the mixture they belong to."""

    expected: ExpectedMoments
    n_batches: int

    @staticmethod
    def start(expected: ExpectedMoments) -> Running:
        """Statistics of the first batch."""
        return Running(_scaled(expected, 1 / expected.weight), 1)

    @property
    def rate(self) -> float:
        """Rate of the next batch, ``(t + 2)^-0.7`` after t batches."""
        return float((self.n_batches + 2) ** -FORGETTING)

    def mix(self, expected: ExpectedMoments) -> Running:
        """Mix in the statistics of another batch, about the same means."""
        rate = self.rate
        mixed = _scaled(self.expected, 1 - rate) + _scaled(expected, rate / expected.weight)
        return Running(mixed, self.n_batches + 1)

    def maximise(self, mixture: Mixture, reg: float) -> tuple[Mixture, Running]:
        """M-step: the new mixture, and the statistics about its means."""
        updated = m_step(self.expected, mixture, reg)
        shift = updated.means - mixture.means
        return updated, Running(recenter(self.expected, mixture.covariance, shift), self.n_batches)


def _scaled(expected: ExpectedMoments, factor: float) -> ExpectedMoments:
    parts: tuple[Floats, ...] = (expected.mass, expected.first, expected.second)
    mass, first, second = (np.asarray(factor * part) for part in parts)
    return ExpectedMoments(mass, first, second, factor * expected.log_likelihood, factor * expected.weight)
