"""Selection by held-out denoising loss.

Features are ordered by degree, so all degrees share one Gram matrix, and the Gram matrix is kept in folds of the rows:
fitting on all folds but one and judging on that one needs no second pass. First one degree for all cells of a system,
then cell by cell whether a lower one is better (the effect of taking a block of features out of a ridge regression has
a closed form), kept only if the refitted whole is better held out.

What is only added to a model that stands without it (`select_if_sure`) must gain surely, over none at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Floats
from scoremix.learning.regression.normal_equations import ridge_solve, squared_loss

RIDGE = 1e-4  # Relative ridge on the Gram matrix of unit diagonal.
MIN_STANDARD_ERRORS = 3.0  # Standard errors between folds that a polynomial which is added to a mixture must gain.
ROWS_PER_FEATURE = 5  # Rows that a component must have per feature of its polynomial.


@dataclass(frozen=True)
class LinearSystem:
    """Normal equations of one joint regression over `k` cells with `p` features each, in folds.

    gram (folds, k * p, k * p); cross (folds, k * p, d); weight (folds,); sizes: ``sizes[m]``: number of features of
    degree <= m; ``sizes[-1] == p``.
    """

    gram: Floats
    cross: Floats
    weight: Floats
    sizes: tuple[int, ...]

    @property
    def n_cells(self) -> int:
        """Number of cells k."""
        return int(self.gram.shape[1]) // self.sizes[-1]

    @cached_property
    def total(self) -> tuple[Floats, Floats, float]:
        """Gram matrix, cross products and weight of all folds together."""
        return self.gram.sum(axis=0), self.cross.sum(axis=0), float(self.weight.sum())

    def columns(self, degrees: NDArray[np.intp]) -> NDArray[np.intp]:
        """Indices of the features up to the given degree of every cell."""
        p = self.sizes[-1]
        return np.concatenate([j * p + np.arange(self.sizes[m]) for j, m in enumerate(degrees)])

    def solve(self, columns: NDArray[np.intp], without: int | None = None) -> Floats:
        """Ridge coefficients of `columns` from all folds, or all but one."""
        pick = np.ix_(columns, columns)
        gram, cross, weight = self.total[0][pick], self.total[1][columns], self.total[2]
        if without is not None:
            gram, cross = gram - self.gram[without][pick], cross - self.cross[without][columns]
            weight -= float(self.weight[without])
        return ridge_solve(gram, cross, weight, RIDGE)

    def held_out_loss(self, columns: NDArray[np.intp]) -> float:
        """Sum over the folds of the loss of the fit without that fold (relative to no fit at all)."""
        pick = np.ix_(columns, columns)
        return sum(
            squared_loss(self.solve(columns, without=f), self.gram[f][pick], self.cross[f][columns])
            for f in range(len(self.gram))
        )


@dataclass(frozen=True)
class SelectedDegrees:
    """Outcome of a selection: degrees (k,), coefficients (k, p, d) zero above them, held-out loss change."""

    degrees: NDArray[np.intp]
    coef: Floats
    loss: float


def select_degrees(system: LinearSystem, candidates: tuple[int, ...]) -> SelectedDegrees:
    """Choose the degree of every cell."""
    k, p = system.n_cells, system.sizes[-1]
    degrees, columns, loss = _best_common(system, candidates)
    if len(candidates) > 1 and k > 1 and degrees[0] > candidates[0]:
        trimmed = _trim(system, columns, degrees, candidates)
        fewer = system.columns(trimmed)
        if len(fewer) < len(columns):
            trimmed_loss = system.held_out_loss(fewer)
            if trimmed_loss < loss:
                degrees, columns, loss = trimmed, fewer, trimmed_loss
    coef = np.zeros((k * p, system.cross.shape[2]))
    coef[columns] = system.solve(columns)
    return SelectedDegrees(degrees, coef.reshape(k, p, -1), loss)


def _best_common(system: LinearSystem, candidates: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp], float]:
    """One degree for all cells: the lowest held-out loss."""
    best: tuple[NDArray[np.intp], NDArray[np.intp], float] | None = None
    for m in candidates:
        degrees = np.full(system.n_cells, m, dtype=np.intp)
        columns = system.columns(degrees)
        loss = system.held_out_loss(columns)
        if best is None or loss < best[2]:
            best = degrees, columns, loss
    if best is None:
        raise ValueError("There is no degree to choose from.")
    return best


def _trim(
    system: LinearSystem, columns: NDArray[np.intp], degrees: NDArray[np.intp], candidates: tuple[int, ...]
) -> NDArray[np.intp]:
    """Lower the degree of single cells where that lowers the held-out loss, each judged with the others as they are.

    Taking the features S out of a fit with coefficients c and (regularised) Gram matrix A changes it by
    ``-A^-1[:, S] (A^-1[S, S])^-1 c[S]``.
    """
    common = int(degrees[0])
    q, lower = system.sizes[common], [m for m in candidates if m < common]
    change = np.zeros((system.n_cells, len(lower)))
    pick = np.ix_(columns, columns)
    for f in range(len(system.gram)):
        train = (system.total[0] - system.gram[f])[pick]
        ridge = RIDGE * np.maximum(np.diagonal(train), 1e-12 * max(float(np.diagonal(train).max()), 1e-300))
        inverse = np.linalg.inv(train + np.diag(ridge))
        coef = inverse @ (system.total[1] - system.cross[f])[columns]
        gram = system.gram[f][pick]
        slope = gram @ coef - system.cross[f][columns]
        for j in range(system.n_cells):
            for i, m in enumerate(lower):
                out = np.arange(j * q + system.sizes[m], (j + 1) * q)
                step = -inverse[:, out] @ np.linalg.solve(inverse[np.ix_(out, out)], coef[out])
                change[j, i] += 2 * np.sum(step * slope) + np.sum(step * (gram @ step))
    best = np.argmin(change, axis=1)
    gains = change[np.arange(system.n_cells), best] < 0
    return np.where(gains, np.asarray(lower, dtype=np.intp)[best], degrees)


@dataclass(frozen=True)
class SelectedDegree:
    """Polynomial of one component: degree (-1: none), coefficients (p, d), and change of the held-out loss, <= 0."""

    degree: int
    coef: Floats
    change: float


def select_if_sure(
    gram: Floats,
    cross: Floats,
    sizes: tuple[int, ...],
    rows: float,
    sure: float = MIN_STANDARD_ERRORS,
    fixed: int | None = None,
) -> SelectedDegree:
    """Choose the highest degree that held-out folds surely gain by, over none and over the degrees below.

    gram, cross (folds, p, p); sizes: ``sizes[m]`` features have degree <= m.
    """
    best, gains = -1, np.zeros(len(gram))
    if fixed is not None:
        best, gains = fixed, held_out_gains(gram, cross)
    for degree, q in enumerate(sizes if fixed is None else ()):
        if rows < ROWS_PER_FEATURE * q:
            break
        found = held_out_gains(gram[:, :q, :q], cross[:, :q])
        more = found - gains
        if more.sum() > sure * np.sqrt(len(more)) * more.std(ddof=1):
            best, gains = degree, found
    coef = np.zeros_like(cross[0])
    if best >= 0:
        q = sizes[best]
        coef[:q] = _solve(gram[:, :q, :q].sum(axis=0), cross[:, :q].sum(axis=0))
    return SelectedDegree(best, coef, -float(gains.sum()))


def held_out_gains(gram: Floats, cross: Floats) -> Floats:
    """By how much the fit to the other folds lowers the loss of each, shape (folds,)."""
    gains = []
    for own_gram, own_cross in zip(gram, cross, strict=True):
        coef = _solve(gram.sum(axis=0) - own_gram, cross.sum(axis=0) - own_cross)
        gains.append(-squared_loss(coef, own_gram, own_cross))
    return np.array(gains)


def _solve(gram: Floats, cross: Floats) -> Floats:
    return ridge_solve(gram, cross, float(gram[0, 0]), RIDGE)  # feature 0 is 1: its square is the weight
