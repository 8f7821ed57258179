from dataclasses import dataclass

import numpy as np

from scoremix.plots.split_tree import SplitTree


@dataclass
class Cells:
    """The part of a ladder that a tree asks: cells by level."""

    sigmas: list
    levels: list

    def centers(self, level):
        return np.array([[center] for center, _ in self.levels[level]], dtype=float)

    def weights(self, level):
        return np.array([weight for _, weight in self.levels[level]])


LADDER = Cells(
    [4.0, 2.0, 1.0],
    [[(0, 1.0)], [(-5, 0.25), (5, 0.75)], [(6, 0.5), (-5, 0.25), (4, 0.25)]],
)


def nearest(centers):
    return lambda points: np.abs(points - np.array(centers)).argmin(axis=1)


def test_parents_are_the_nearest_cells_above():
    tree = SplitTree.of(LADDER, nearest([-5, 4, 6]), 3)
    assert [parents.tolist() for parents in tree.parents] == [[], [0, 0], [1, 0, 1]]
    np.testing.assert_array_equal(tree.sigmas, LADDER.sigmas)
    for level in range(3):
        np.testing.assert_array_equal(tree.centers[level], LADDER.centers(level))
        np.testing.assert_array_equal(tree.weights[level], LADDER.weights(level))


def test_outcomes_are_the_weighted_shares_of_the_descendants():
    tree = SplitTree.of(LADDER, nearest([-5, 4, 6]), 3)
    assert tree.outcomes[2].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(tree.outcomes[1], [[1, 0, 0], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(tree.outcomes[0], [[0.25, 0.25, 0.5]])


def test_a_cell_without_children_keeps_its_own_label():
    ladder = Cells([2.0, 1.0], [[(0, 0.5), (10, 0.5)], [(1, 1.0)]])
    tree = SplitTree.of(ladder, nearest([0, 10]), 2)
    assert tree.outcomes[0].tolist() == [[1, 0], [0, 1]]


def test_several_cells_may_end_in_one():
    ladder = Cells([2.0, 1.0], [[(0, 1.0)], [(-1, 0.5), (1, 0.5)]])
    tree = SplitTree.of(ladder, nearest([0]), 1)
    assert [outcomes.tolist() for outcomes in tree.outcomes] == [[[1]], [[1], [1]]]
