"""Priors of covariances: closed forms of ghosts and floors, laws of the common shape, evidence against scipy."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import eigh
from scipy.stats import gamma, invgamma, invwishart, wishart

from scoremix.learning.em.shrinkage import (
    ROWS,
    EmpiricalBayesShapePrior,
    PseudoObservations,
    _evidence,
    rounding_floor,
    width_of_categories,
)

KINDS = ("full", "tied", "diag", "spherical")


def moments(truth, n, seed=0):
    """Masses and second moments about the means of n rows from each of the covariance matrices (k, d, d)."""
    rng = np.random.default_rng(seed)
    n = np.broadcast_to(n, len(truth))
    rows = [rng.standard_normal((m, len(s))) @ np.linalg.cholesky(s).T for m, s in zip(n, truth, strict=True)]
    return n.astype(float), np.array([x.T @ x for x in rows])


def of_kind(kind, second):
    """What a kind keeps of matrices (k, d, d)."""
    return {
        "full": second,
        "tied": second.sum(axis=0),
        "diag": second.diagonal(axis1=1, axis2=2),
        "spherical": second.trace(axis1=1, axis2=2),
    }[kind]


def matrices(k, d, condition=3.0, seed=0):
    """Random covariance matrices of different shapes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    values = condition ** rng.uniform(0, 1, (k, d))
    return axes * values[:, None, :] @ np.swapaxes(axes, 1, 2)


def per_row(mass, second):
    return second / mass.reshape(-1, *[1] * (second.ndim - 1))


@pytest.mark.parametrize("kind", KINDS)
def test_ghosts_add_rows_of_their_variance(kind):
    _, second = moments(matrices(4, 3), 9)
    mass = np.array([1.0, 9.0, 40.0, 4e6])
    added_mass, added = PseudoObservations(kind, 3, variance=0.7, mass=2.0).add(mass, of_kind(kind, second))
    if kind == "tied":  # one covariance, one ghost
        ghosts = 2 / (1 + (mass.sum() / 40) ** 2)
        np.testing.assert_allclose(added, second.sum(axis=0) + 0.7 * ghosts * np.eye(3), rtol=1e-14)
        assert added_mass.sum() == mass.sum() + ghosts
    else:
        ghosts = 2 / (1 + (mass / 40) ** 2)  # half of them are left with ten rows per dimension and one more
        np.testing.assert_allclose(added, of_kind(kind, second + 0.7 * ghosts[:, None, None] * np.eye(3)), rtol=1e-14)
        np.testing.assert_array_equal(added_mass, mass + ghosts)
        assert ghosts[3] < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_no_variance_is_below_the_floor_and_those_above_stay(kind):
    floor = np.array([1.0, 1e-4, 30.0])
    flat = np.array([1e-6, 1e-8, 1e-3])
    large, small = np.diag(floor) * 5 + 0.1, np.diag(flat)
    truth = np.array([large, small, large])
    mass = np.array([10.0, 20.0, 30.0])
    second = of_kind(kind, mass[:, None, None] * (small[None] if kind == "tied" else truth))
    kept, raised = PseudoObservations(kind, 3, floor=floor).add(mass, second)
    np.testing.assert_array_equal(kept[:3], mass)
    if kind == "tied":
        relative = eigh(raised / mass.sum(), np.diag(floor), eigvals_only=True)
        assert relative.min() > 1 - 1e-12
        above = mass.sum() * large
        np.testing.assert_array_equal(PseudoObservations(kind, 3, floor=floor).add(mass, above)[1], above)
        return
    np.testing.assert_array_equal(raised[[0, 2]], second[[0, 2]])
    values = per_row(mass, raised)[1]
    if kind == "full":
        assert eigh(values, np.diag(floor), eigvals_only=True).min() > 1 - 1e-12
    elif kind == "diag":
        np.testing.assert_allclose(values, floor, rtol=1e-14)
    else:
        assert values == pytest.approx(floor.sum(), rel=1e-14)


def test_the_floor_raises_only_the_directions_that_need_it():
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    values = (turned * [1e-6, 2.0, 5.0]) @ turned.T
    raised = PseudoObservations("full", 3, floor=np.full(3, 0.01)).add(np.array([7.0]), 7 * values[None])[1][0] / 7
    np.testing.assert_allclose(raised, (turned * [0.01, 2.0, 5.0]) @ turned.T, atol=1e-12)


@pytest.mark.parametrize("kind", ["diag", "spherical", "full"])
def test_the_common_shape_has_no_units(kind):
    mass, second = moments(matrices(6, 3), [8, 9, 10, 20, 40, 12])
    if kind == "spherical":
        change = 1e-3 * np.eye(3)
    elif kind == "diag":
        change = np.diag([1e-3, 7.0, 1e4])
    else:
        change = np.array([[1e-2], [1.0], [50.0]]) * np.random.default_rng(1).standard_normal((3, 3))
    prior = EmpiricalBayesShapePrior(kind, 3)
    rows, pulled = prior.add(mass, of_kind(kind, second))
    again, there = prior.add(mass, of_kind(kind, change @ second @ change.T))
    np.testing.assert_array_equal(rows, again)
    if kind == "full":
        back = np.linalg.inv(change)
        there = back @ there @ back.T
    elif kind == "diag":
        there = there / np.diag(change) ** 2
    else:
        there = there / 1e-6
    # The factor of the common shape has 1e-9 of its diagonal added, whose size relative to it is not invariant.
    np.testing.assert_allclose(there, pulled, rtol=1e-5, atol=1e-6 * np.abs(pulled).max())


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_the_order_of_components_does_not_matter(kind):
    mass, second = moments(matrices(6, 3), [8, 9, 10, 20, 40, 12])
    order = np.array([3, 1, 5, 0, 2, 4])
    rows, pulled = EmpiricalBayesShapePrior(kind, 3).add(mass, of_kind(kind, second))
    again, there = EmpiricalBayesShapePrior(kind, 3).add(mass[order], of_kind(kind, second)[order])
    np.testing.assert_allclose(again, rows[order], rtol=1e-12)
    np.testing.assert_allclose(there, pulled[order], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_shapes_do_not_depend_on_the_volumes(kind):
    mass, second = moments(np.tile(matrices(1, 3), (10, 1, 1)), 12)
    volume = np.where(np.arange(10) % 2, 1e8, 1.0)

    def shapes(second):
        values = per_row(*EmpiricalBayesShapePrior(kind, 3).add(mass, of_kind(kind, second)))
        matrix = values if kind == "full" else values[:, :, None] * np.eye(3)
        return matrix / np.linalg.det(matrix)[:, None, None] ** (1 / 3)

    # Volumes and the common shape are found by turns, three of them, from a start that the large components decide.
    np.testing.assert_allclose(shapes(volume[:, None, None] * second), shapes(second), atol=0.02)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-8])
def test_a_small_component_keeps_its_volume_among_large_ones(kind, ratio):
    volume = np.append(np.ones(19), ratio)
    mass, second = moments(volume[:, None, None] * np.eye(3), 200)
    second = of_kind(kind, second)
    change = per_row(*EmpiricalBayesShapePrior(kind, 3).add(mass, second))[-1] / per_row(mass, second)[-1]
    scale = np.trace(change) / 3 if kind == "full" else np.mean(change)
    # 200 rows say what the volume is to 6 per cent.
    assert 0.9 < scale < 1.1


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_components_that_are_alike_are_pooled(kind):
    k, d, n = 30, 5, 15
    truth = matrices(1, d, 10.0)[0] if kind == "full" else np.diag(10.0 ** np.linspace(-2, 2, d))
    mass, second = moments(np.tile(truth, (k, 1, 1)), n)
    second = of_kind(kind, second)

    def error(values):
        values = values if kind == "full" else values[:, :, None] * np.eye(d)
        root = np.linalg.inv(np.linalg.cholesky(truth))
        return float(np.mean(np.sum((root @ values @ root.T - np.eye(d)) ** 2, axis=(1, 2))))

    parameters = d * (d + 1) / 2 if kind == "full" else d
    # A square of a relative error has mean 2 / n and, with n rows, a deviation of 1.7 times that: 14 % for 150 of them.
    assert error(second / n) == pytest.approx(2 * parameters / n, rel=6 * 0.14)
    # All pooled k times less, a sum of `parameters` squares.
    pooled = error(per_row(*EmpiricalBayesShapePrior(kind, d).add(mass, second)))
    assert pooled < 2 * parameters / (n * k) * (1 + 6 * np.sqrt(2 / parameters))


def test_spherical_variances_that_are_alike_are_pooled():
    k, d, n = 40, 2, 6
    mass, second = moments(np.tile(np.eye(d), (k, 1, 1)), n)
    second = of_kind("spherical", second)
    plain = np.mean((second / (d * n) - 1) ** 2)
    pooled = np.mean((per_row(*EmpiricalBayesShapePrior("spherical", d).add(mass, second)) / d - 1) ** 2)
    # The variance between logarithms of volumes, 0, is known to 2 / (d n) sqrt(2 / k) = .037: at six of these the
    # common one counts for 4.5 rows beside 6, and a third of the error is left.
    assert pooled < plain / 2


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_components_of_very_different_shapes_stay_as_they_are(kind):
    k, d, n = 12, 4, 60
    rng = np.random.default_rng(2)
    truth = matrices(k, d, 1e4) if kind == "full" else 10.0 ** rng.uniform(-4, 4, (k, d))[:, :, None] * np.eye(d)
    mass, second = moments(truth, n)
    second = of_kind(kind, second)
    prior = EmpiricalBayesShapePrior(kind, d)
    plain, pulled = per_row(mass, second), per_row(*prior.add(mass, second))
    assert prior.rows(mass, second) < 3
    # Fewer than three rows of 60: what is large in a component hardly changes.
    change, size = (np.linalg.norm(values.reshape(k, -1), axis=1) for values in (pulled - plain, plain))
    assert np.median(change / size) < 0.1


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_many_rows_speak_for_themselves(kind):
    truth = matrices(5, 3, 20.0)
    for n, tolerance in ((1e3, 0.2), (1e5, 2e-3), (1e7, 2e-5)):
        second = of_kind(kind, n * truth)
        pulled = per_row(*EmpiricalBayesShapePrior(kind, 3).add(np.full(5, n), second))
        assert np.abs(pulled - second / n).max() / np.abs(second / n).max() < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_shared_by_one_component_or_tied_ones(kind):
    mass, second = moments(matrices(3 if kind == "tied" else 1, 3), 5)
    second = of_kind(kind, second)
    again, there = EmpiricalBayesShapePrior(kind, 3).add(mass, second)
    np.testing.assert_array_equal(again, mass)
    np.testing.assert_array_equal(there, second)
    assert EmpiricalBayesShapePrior(kind, 3).rows(mass, second) == 0


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_singular_moments_give_covariances(kind, scale):
    d = 6
    mass, second = moments(scale * np.tile(np.eye(d), (5, 1, 1)), [1, 2, 3, 1, 0])
    mass[4] = 1e-3  # nothing of it is left
    pulled = per_row(*EmpiricalBayesShapePrior(kind, d).add(mass, of_kind(kind, second)))
    assert np.all(np.isfinite(pulled))
    if kind == "full":
        np.testing.assert_allclose(pulled, np.swapaxes(pulled, 1, 2), atol=1e-12 * scale)
        pulled = np.linalg.eigvalsh(pulled)
    assert pulled.min() > -1e-9 * scale


def test_moments_of_zero_give_finite_numbers():
    for kind, zero in (("full", np.zeros((3, 2, 2))), ("diag", np.zeros((3, 2))), ("spherical", np.zeros(3))):
        mass, second = EmpiricalBayesShapePrior(kind, 2).add(np.ones(3), zero)
        assert np.all(np.isfinite(second))
        assert np.all(mass >= 1)


def test_evidence_of_matrices_is_that_of_scipy():
    # By Bayes: prior times likelihood over posterior, at any point, is what is left when the covariance is integrated.
    d, n, volume = 2, 7, 1.7
    relative = np.array([[0.4, 1.9]])
    second, at = n * np.diag(relative[0]), np.array([[1.3, 0.2], [0.2, 0.8]])
    reference = [
        wishart.logpdf(second, n, at)
        + invwishart.logpdf(at, rows + d + 1, rows * volume * np.eye(d))
        - invwishart.logpdf(at, rows + d + 1 + n, rows * volume * np.eye(d) + second)
        for rows in ROWS
    ]
    ours = _evidence(np.array([float(n)]), np.array([volume]), relative, True)[:, 0]
    np.testing.assert_allclose(ours - ours[0], np.array(reference) - reference[0], atol=1e-9)


def test_evidence_of_variances_is_the_integral_over_them():
    n, volume = 5, 0.8
    relative = np.array([[0.3, 1.6]])

    def marginal(rows, value):
        def integrand(log_variance):
            variance = np.exp(log_variance)
            likelihood = gamma.pdf(n * value, n / 2, scale=2 * variance)
            return likelihood * invgamma.pdf(variance, (rows + 2) / 2, scale=rows * volume / 2) * variance

        return quad(integrand, -30, 30, points=[np.log(volume), np.log(value)], limit=400)[0]

    at = [0, 8, 14, 18]
    reference = np.array([sum(np.log(marginal(ROWS[g], value)) for value in relative[0]) for g in at])
    ours = _evidence(np.array([float(n)]), np.array([volume]), relative, False)[at, 0]
    np.testing.assert_allclose(ours - ours[0], reference - reference[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_the_known_shape_adds_the_same_up_to_volumes(kind):
    mass, second = moments(matrices(6, 3), [8, 9, 10, 20, 40, 12])
    second = of_kind(kind, second)
    prior = EmpiricalBayesShapePrior(kind, 3, PseudoObservations(kind, 3, 0.1, 1.0))
    rows, pulled = prior.add(mass, second)
    again, there = prior.known(mass, second).add(mass, second)
    np.testing.assert_allclose(again, rows, rtol=1e-12)
    ratio = pulled.reshape(6, -1) / there.reshape(6, -1)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-7)
    assert np.ptp(ratio[:, 0]) > 0


def test_the_known_shape_does_not_see_other_components():
    mass, second = moments(matrices(6, 3), 10)
    known = EmpiricalBayesShapePrior("full", 3).known(mass, second)
    _, together = known.add(mass, second)
    _, alone = known.add(mass[2:3], second[2:3])
    np.testing.assert_allclose(alone[0], together[2], rtol=1e-12)


def test_rounded_columns_have_a_floor_of_their_step():
    x = np.random.default_rng(0).standard_normal((4000, 4))
    x[:, 1] = np.round(x[:, 1], 1)
    x[:, 2] = np.round(50 * x[:, 2])
    x[:, 3] = np.sign(x[:, 3])  # categories
    floor = rounding_floor(x)
    np.testing.assert_allclose(floor[1:3], [0.01 / 4, 1 / 4], rtol=1e-9)
    assert floor[0] < 1e-12
    assert floor[3] < 1e-12
    assert np.all(floor > 0)
    # A component of that variance on one value has no more density there than rows that lie anywhere: 1 / step.
    assert 1 / np.sqrt(2 * np.pi * floor[1]) < 1 / 0.1


def test_categories_have_a_tenth_of_their_step():
    x = np.random.default_rng(0).standard_normal((4000, 4))
    x[:, 1] = np.round(x[:, 1], 1)  # measurements
    x[:, 2] = np.where(x[:, 2] > 0, 5.0, np.sign(x[:, 3]))  # -1, 1, 5
    x[:, 3] = 1.0
    np.testing.assert_allclose(width_of_categories(x), [0, 0, 0.2**2, 0], rtol=1e-12)
    assert width_of_categories(x[:, :2]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_as_much_wider(kind):
    mass, second = np.array([3.0, 50.0, 1000.0]), 7 * np.array([np.eye(3)] * 3)
    blur = np.array([0.0, 0.01, 4.0])
    second = second.sum(axis=0) if kind == "tied" else of_kind(kind, second)
    kept, wider = PseudoObservations(kind, 3, blur=blur).add(mass, second)
    assert kept.sum() == mass.sum()
    if kind == "tied":
        np.testing.assert_allclose(wider - second, mass.sum() * np.diag(blur), atol=1e-9)
    else:
        added = of_kind(kind, mass[:, None, None] * np.diag(blur))
        np.testing.assert_allclose(wider - second, added, atol=1e-9)


def test_columns_that_were_not_rounded_have_no_floor():
    x = np.random.default_rng(0).standard_normal((300, 2))
    assert rounding_floor(x) is None
    assert rounding_floor(np.where(x > 0, 1.0, 0.0)) is None
    assert rounding_floor(np.zeros((20, 2))) is None
