"""Gradient EM: an E-step, then a step of the means along the gradient of the likelihood (Segol and Nadler, EJS 2021).

The reference for what gradient descent on a mixture does; EM itself takes longer steps and needs no rate.
"""

from __future__ import annotations

import numpy as np

from scoremix.learning.em import Expected
from scoremix.models.mixture import Mixture


def gradient_step(expected: Expected, mixture: Mixture, rate: float) -> Mixture:
    """One step of gradient EM on the means (Segol and Nadler, EJS 2021).

    ``m_k + rate S_k^-1 sum_n r_nk (x_n - m_k) / n``, the gradient of the mean log likelihood.
    With ``rate = S_k / w_k`` it is the M-step of the means; the theory takes one rate for all.
    """
    k, d = mixture.means.shape
    pull = np.linalg.solve(mixture.covariance.dense(k, d), expected.first[:, :, None] / expected.weight)[:, :, 0]
    return Mixture(mixture.weights, mixture.means + rate * pull, mixture.covariance)
