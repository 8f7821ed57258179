"""The tree of cells: how the cells of a ladder split as the noise falls.

At a high noise level one cell holds everything; at the lowest there is one for each separate part of the
data. A cell's parent is the nearest cell one level up; what becomes of a cell is known from its descendants.

The components of a mixture are the same at all levels, but seen through noise they are one: at the means that are left
of them after noise has been added and taken away again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from scoremix.arrays import Floats
from scoremix.models.ladder import Ladder
from scoremix.models.score_model import CorrectedMixture

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SplitTree:
    """Cells at every noise level, with parents; lists run over the L levels, from the highest noise down.

    centers (k_i, d); weights (k_i,); parents (k_i,); outcomes (k_i, n_cells).
    """

    sigmas: Floats
    centers: list[Floats]
    weights: list[Floats]
    parents: list[Labels]
    outcomes: list[Floats]

    @classmethod
    def of(cls, ladder: Ladder, label: Callable[[Floats], Labels], n_cells: int) -> Self:
        """Link the cells of a ladder.

        label: ``label(points)`` says in which final cell points lie, 0 <= label < n_cells.
        """
        sigmas = np.asarray(ladder.sigmas)
        centers = [np.asarray(ladder.centers(level)) for level in range(len(sigmas))]
        weights = [np.asarray(ladder.weights(level)) for level in range(len(sigmas))]
        outcomes = [np.eye(n_cells)[label(cells)] for cells in centers]
        centers = [_seen(ladder, level, cells) for level, cells in enumerate(centers)]
        parents: list[Labels] = [np.empty(0, dtype=np.intp)]
        parents += [cdist(below, above).argmin(axis=1) for above, below in pairwise(centers)]
        for level in reversed(range(1, len(sigmas))):
            flow = np.zeros((len(centers[level - 1]), n_cells))
            np.add.at(flow, parents[level], weights[level][:, None] * outcomes[level])
            total = flow.sum(axis=1, keepdims=True)
            outcomes[level - 1] = np.where(total > 0, flow / np.where(total > 0, total, 1), outcomes[level - 1])
        return cls(sigmas, centers, weights, parents, outcomes)


def _seen(ladder: Ladder, level: int, cells: Floats) -> Floats:
    """Centers of the cells of a level; those of a mixture as the level sees them."""
    if not isinstance(ladder.levels[level], CorrectedMixture):
        return cells
    return np.asarray(ladder.denoise(cells, float(ladder.sigmas[level])))
