"""Normal equations that are added up over chunks, and their ridge solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from scoremix.arrays import Floats


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of several independent least-squares systems, in folds of the rows.

    With features F (q of them) and targets T (d): ``gram = sum w F F^T``, ``cross = sum w F T^T``.

    gram (folds, systems, q, q); cross (folds, systems, q, d); target (folds, systems); weight (folds, systems).
    """

    gram: Floats
    cross: Floats
    target: Floats
    weight: Floats

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Merge the sums of two sets of rows; the left operand is overwritten (Gram matrices are large)."""
        for mine, theirs in zip(self._sums, other._sums, strict=True):
            mine += theirs
        return self

    @property
    def _sums(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.gram, self.cross, self.target, self.weight


def ridge_solve(gram: Floats, cross: Floats, weight: float, ridge: float) -> Floats:
    """Solve the ridge regression of one system, with the Gram matrix scaled to unit diagonal.

    gram (q, q); cross (q, d) -> (q, d).
    """
    if weight <= 0:
        return np.zeros_like(cross)
    diagonal = np.diagonal(gram) / weight
    # A feature that never fires (an empty cell) keeps the coefficient 0 instead of dividing by 0.
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max()), 1e-300)))
    scaled = gram / (weight * np.outer(scale, scale))
    scaled[np.diag_indices_from(scaled)] += ridge
    rhs = cross / (weight * scale[:, None])
    try:
        return np.asarray(cho_solve(cho_factor(scaled, lower=True, check_finite=False), rhs) / scale[:, None])
    except np.linalg.LinAlgError:  # a few rows far out leave the others no digits: what rounds below 0 is 0
        values, axes = np.linalg.eigh(scaled)
        return np.asarray(axes @ ((axes.T @ rhs) / np.maximum(values, ridge)[:, None]) / scale[:, None])


def squared_loss(coef: Floats, gram: Floats, cross: Floats) -> float:
    """Change of ``sum w |T - coef^T F|^2`` against coef = 0: negative where the fit helps."""
    return float(np.sum(coef * (gram @ coef)) - 2 * np.sum(coef * cross))
