"""Selection: held-out losses against brute-force refits, and the degrees that the truth asks for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from scoremix.features import Hermite
from scoremix.learning.regression.degrees import RIDGE, LinearSystem, select_degrees

FOLDS = 4


def design(k, degree, n=600, seed=0):
    """Joint design matrix (k p, n) of k soft cells on a line, two variables; centres 3 apart."""
    rng = np.random.default_rng(seed)
    centers = np.stack([3.0 * np.arange(k), np.zeros(k)], axis=1)
    y = centers[rng.integers(k, size=n)] + rng.standard_normal((n, 2))
    u = y.T[None] - centers[:, :, None]
    r = softmax(-0.5 * np.sum(u**2, axis=1), axis=0)
    features = Hermite(2, degree)
    return features(u) * r[:, None, :], features.sizes


def system_of(matrix, target, sizes):
    """Normal equations in folds, row number modulo folds."""
    flat = matrix.reshape(-1, matrix.shape[-1])
    parts = [(flat[:, f::FOLDS], target[:, f::FOLDS]) for f in range(FOLDS)]
    return LinearSystem(
        np.array([a @ a.T for a, _ in parts]),
        np.array([a @ t.T for a, t in parts]),
        np.array([float(a.shape[1]) for a, _ in parts]),
        sizes,
    )


def refit(features, target):
    """Ridge by least squares: min |T - c^T F|^2 + RIDGE sum_q |F_q|^2 |c_q|^2."""
    penalty = np.diag(np.sqrt(RIDGE * np.sum(features**2, axis=1)))
    left = np.concatenate([features.T, penalty])
    return np.linalg.lstsq(left, np.concatenate([target.T, np.zeros((len(features), len(target)))]))[0]


def noise(n, scale=0.5, seed=9):
    return scale * np.random.default_rng(seed).standard_normal((2, n))


@pytest.mark.parametrize("degrees", [[0, 0, 0], [2, 2, 2], [1, 0, 2]])
def test_held_out_loss_is_that_of_brute_force_refits(degrees):
    matrix, sizes = design(3, 2)
    target = noise(600, 1.0) + matrix[0, 1]
    system = system_of(matrix, target, sizes)
    columns = system.columns(np.array(degrees))
    chosen = np.concatenate([matrix[j, : sizes[m]] for j, m in enumerate(degrees)])
    expected = 0.0
    for f in range(FOLDS):
        held = np.arange(600) % FOLDS == f
        coef = refit(chosen[:, ~held], target[:, ~held])
        expected += np.sum((target[:, held] - coef.T @ chosen[:, held]) ** 2) - np.sum(target[:, held] ** 2)
    # Differences of sums of 1,200 squares; normal equations of condition 1e3.
    np.testing.assert_allclose(system.held_out_loss(columns), expected, rtol=1e-8)
    np.testing.assert_allclose(system.solve(columns), refit(chosen, target), rtol=1e-7, atol=1e-9)


def test_columns_are_leading_features_of_every_cell():
    matrix, sizes = design(3, 2)
    system = system_of(matrix, noise(600), sizes)
    assert system.n_cells == 3
    assert system.columns(np.array([0, 2, 1])).tolist() == [0, *range(6, 12), *range(12, 15)]


@pytest.mark.scene  # elsewhere chance may speak for more
def test_what_is_linear_in_the_weights_needs_degree_0():
    matrix, sizes = design(3, 3)
    target = np.array([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]]) @ matrix[:, 0] + noise(600)
    selected = select_degrees(system_of(matrix, target, sizes), (0, 1, 2, 3))
    assert selected.degrees.tolist() == [0, 0, 0]
    assert selected.coef.shape == (3, 10, 2)
    assert np.all(selected.coef[:, 1:] == 0)
    # Three numbers from 600 noisy rows: 0.5 / sqrt(200) = 0.035, and overlap doubles it at most; four times.
    np.testing.assert_allclose(selected.coef[:, 0], [[1, 0.5], [-2, 1], [3, -1]], atol=0.28)


@pytest.mark.parametrize(("row", "degree"), [(1, 1), (4, 2), (7, 3)])
def test_one_cell_gets_the_degree_of_the_truth(row, degree):
    matrix, sizes = design(1, 4)
    target = noise(600) + np.array([[1.0], [-1.0]]) * matrix[0, row]
    selected = select_degrees(system_of(matrix, target, sizes), (0, 1, 2, 3, 4))
    # Chance may recommend more, and then gives it next to nothing: 0.5 / sqrt(600) = 0.02, six of these.
    assert selected.degrees[0] >= degree
    assert np.all(np.abs(selected.coef[0, sizes[degree] :]) < 0.12)


@pytest.mark.scene  # elsewhere chance may speak for more in a cell that needs none
def test_cells_that_need_less_are_trimmed():
    matrix, sizes = design(3, 2, n=2000)
    target = noise(2000) + 2.0 * matrix[1, 3] + matrix[0, 0]  # only the middle cell bends
    selected = select_degrees(system_of(matrix, target, sizes), (0, 1, 2))
    assert selected.degrees[1] == 2
    assert selected.degrees[0] < 2
    assert selected.degrees[2] < 2
    for j, m in enumerate(selected.degrees):
        assert np.all(selected.coef[j, sizes[m] :] == 0)


@given(st.integers(0, 200), st.integers(1, 4))
def test_trimming_never_makes_the_held_out_loss_worse(seed, k):
    matrix, sizes = design(k, 2, n=200, seed=seed)
    truth = np.random.default_rng(seed).standard_normal((2, k * 6)) * 0.3
    target = truth @ matrix.reshape(k * 6, -1) + noise(200, 1.0, seed)
    system = system_of(matrix, target, sizes)
    selected = select_degrees(system, (0, 1, 2))
    common = [system.held_out_loss(system.columns(np.full(k, m))) for m in (0, 1, 2)]
    assert selected.loss <= min(common) + 1e-9 * abs(min(common))
    columns = system.columns(selected.degrees)
    np.testing.assert_allclose(selected.loss, system.held_out_loss(columns), rtol=1e-10)
    np.testing.assert_array_equal(selected.coef.reshape(k * 6, 2)[columns], system.solve(columns))


@pytest.mark.scene
def test_twins_are_not_both_trimmed():
    # Two cells that share all points alike: either can spare its features while the other has them, not both.
    matrix, sizes = design(1, 2)
    twins = np.concatenate([0.5 * matrix, 0.5 * matrix + 1e-3 * np.random.default_rng(0).standard_normal(matrix.shape)])
    system = system_of(twins, noise(600) + matrix[0, 3], sizes)
    alone = [system.held_out_loss(system.columns(np.array(degrees))) for degrees in ([2, 2], [0, 2], [2, 0], [0, 0])]
    assert alone[3] > alone[0] > max(alone[1:3])
    assert select_degrees(system, (0, 2)).degrees.max() == 2


def test_one_candidate_is_no_choice():
    matrix, sizes = design(3, 2)
    selected = select_degrees(system_of(matrix, noise(600), sizes), (2,))
    assert selected.degrees.tolist() == [2, 2, 2]


def test_no_candidate_is_refused():
    matrix, sizes = design(1, 0)
    with pytest.raises(ValueError, match="no degree to choose from"):
        select_degrees(system_of(matrix, noise(600), sizes), ())


def test_an_empty_cell_is_harmless():
    matrix, sizes = design(3, 2)
    matrix[1] = 0
    selected = select_degrees(system_of(matrix, noise(600) + matrix[0, 1], sizes), (0, 1, 2))
    assert np.all(np.isfinite(selected.coef))
    assert np.all(selected.coef[1] == 0)
    nothing = LinearSystem(np.zeros((FOLDS, 6, 6)), np.zeros((FOLDS, 6, 2)), np.zeros(FOLDS), sizes)
    assert np.all(select_degrees(nothing, (0, 1, 2)).coef == 0)


def test_sums_are_kept():
    matrix, sizes = design(3, 2)
    system = system_of(matrix, noise(600) + matrix[1, 3], sizes)
    kept = system.gram.copy(), system.cross.copy()
    select_degrees(system, (0, 1, 2))
    np.testing.assert_array_equal(system.gram, kept[0])
    np.testing.assert_array_equal(system.cross, kept[1])
