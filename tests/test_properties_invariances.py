"""What must not matter to an answer: order, units, place, copies, weights that say nothing, how rows are stored.

Clusters are fifteen standard deviations apart and their rows spread evenly (a Halton sequence), so that the data, not
the start, determine the answer. `pytest --hypothesis-profile thorough` tries a hundred times as many examples.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ortho_group, qmc
from sklearn.exceptions import ConvergenceWarning

from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture

KINDS = ("full", "tied", "diag", "spherical")
PER_CLUSTER = 32


def clusters(n_clusters, n_columns, seed):
    """Rows of round clusters of unit width, in random order, and their labels."""
    rng = np.random.default_rng(seed)
    spread = norm.ppf(qmc.Halton(n_columns, seed=rng).random(PER_CLUSTER * n_clusters))
    centres = 15.0 * np.stack([rng.permutation(n_clusters) for _ in range(n_columns)], axis=1)
    labels = rng.permutation(np.arange(len(spread)) % n_clusters)
    return spread + centres[labels], labels


@dataclass(frozen=True)
class Moved:
    """The same data in another form.

    Attributes
    ----------
    x, weight : ndarray
        The other form.
    rows : ndarray of int
        The rows of the data that its first rows are; what comes after says nothing.
    log_volume : float or None
        Logarithm of the volume that unit volume becomes; None where the other form has no density of its own.
    unit : float
        Length that a unit becomes.
    weight_before : ndarray
        Weights of the data.
    options : dict
        Of the estimator.
    tolerance : float
        In nats. Coordinates of up to 1e6 widths round at 1e-10 of a width; rows are up to four widths from their mean,
        of up to four columns, and EM has converged: 1e-7 leaves a factor of sixty.
    """

    x: np.ndarray
    rows: np.ndarray
    weight: np.ndarray | None = None
    log_volume: float | None = 0.0
    unit: float = 1.0
    weight_before: np.ndarray | None = None
    options: dict = field(default_factory=dict)
    tolerance: float = 1e-7


def permuted_rows(x, draw, rng):
    rows = rng.permutation(len(x))
    return Moved(x[rows], rows)


def permuted_columns(x, draw, rng):
    return Moved(x[:, rng.permutation(x.shape[1])], np.arange(len(x)))


def shifted(x, draw, rng):
    return Moved(
        x + 10.0 ** draw(st.floats(-3, 6)) * rng.standard_normal(x.shape[1]), np.arange(len(x)), tolerance=1e-6
    )


def scaled(x, draw, rng):
    unit = 10.0 ** draw(st.floats(-8, 8))
    return Moved(x * unit, np.arange(len(x)), log_volume=x.shape[1] * np.log(unit), unit=unit)


def rotated(x, draw, rng):
    turn = ortho_group.rvs(x.shape[1], random_state=int(rng.integers(2**31))) if x.shape[1] > 1 else -np.eye(1)
    return Moved(x @ turn, np.arange(len(x)))


def with_a_copied_column(x, draw, rng):
    copies = x[:, [draw(st.integers(0, x.shape[1] - 1))]] * draw(st.sampled_from([1.0, -1.0, 3.0]))
    return Moved(np.hstack([x, copies]), np.arange(len(x)), log_volume=None)


def with_a_constant_column(x, draw, rng):
    return Moved(np.insert(x, 0, draw(st.floats(-1e6, 1e6)), axis=1), np.arange(len(x)), log_volume=None)


def repeated(x, draw, rng):
    """Rows in place of integer weights: of the same likelihood, but of another effective sample size."""
    counts = rng.integers(1, 4, len(x))
    return Moved(
        np.repeat(x, counts, axis=0),
        np.repeat(np.arange(len(x)), counts),
        weight_before=counts.astype(np.float64),
        options={"covariance_prior": None},
    )


def reweighted(x, draw, rng):
    weight = rng.uniform(0.5, 1.5, len(x))
    factor = draw(st.one_of(st.floats(-6, 6).map(lambda power: 10.0**power), st.sampled_from([1e-200, 1e200])))
    return Moved(x, np.arange(len(x)), weight=weight * factor, weight_before=weight)


def with_rows_of_weight_zero(x, draw, rng):
    others = 10.0 ** draw(st.floats(-2, 4)) * rng.standard_normal((draw(st.integers(1, 50)), x.shape[1]))
    weight = np.ones(len(x))
    return Moved(np.vstack([x, others]), np.arange(len(x)), weight=np.concatenate([weight, np.zeros(len(others))]))


def with_rows_without_values(x, draw, rng):
    others = np.full((draw(st.integers(1, 50)), x.shape[1]), np.nan)
    return Moved(np.vstack([x, others]), np.arange(len(x)), options={"missing_values": np.nan})


def in_single_precision(x, draw, rng):
    # Rounding at 60 widths is 4e-6 of one, times four widths and four columns.
    return Moved(x.astype(np.float32), np.arange(len(x)), tolerance=1e-3)


def stored_by_columns(x, draw, rng):
    return Moved(np.asfortranarray(x), np.arange(len(x)))


def stored_backwards(x, draw, rng):
    return Moved(np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1], np.arange(len(x)))


MOVES = (
    *(permuted_rows, permuted_columns, shifted, scaled, rotated, with_a_copied_column, with_a_constant_column),
    *(repeated, reweighted, with_rows_of_weight_zero, with_rows_without_values),
    *(in_single_precision, stored_by_columns, stored_backwards),
)
ROUND = ("full", "tied", "spherical")
"""Covariances that stay what they are when axes are turned."""


def same_partition(labels, others):
    """Whether two labellings are the same up to the names of the labels."""
    return len(set(zip(labels.tolist(), others.tolist(), strict=True))) == len(set(labels)) == len(set(others))


def fitted(make, x, weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make().fit(x, sample_weight=weight)


def compare(make, x, labels, moved, n_clusters, tolerance=0.0):
    """Fit both forms and compare what must be the same; `make` takes the unit of length and options."""
    before = fitted(lambda: make(1.0, moved.options), x, moved.weight_before)
    assume(before.n_components_ == n_clusters)  # else some other number describes these rows better
    after = fitted(lambda: make(moved.unit, moved.options), moved.x, moved.weight)
    assert after.n_components_ == n_clusters
    there = moved.x[: len(moved.rows)]
    assert same_partition(before.predict(x), labels)
    assert same_partition(after.predict(there), labels[moved.rows])
    if moved.log_volume is not None:
        expected = before.score_samples(x)[moved.rows] - moved.log_volume
        np.testing.assert_allclose(after.score_samples(there), expected, rtol=0, atol=moved.tolerance + tolerance)


EVERYWHERE = (permuted_rows, permuted_columns, shifted, scaled, rotated, reweighted, with_rows_of_weight_zero)
EVERYWHERE = (*EVERYWHERE, in_single_precision, stored_by_columns, stored_backwards)
"""What matters to no estimator: of a law with noise of a known scale, columns cannot be copies or constant."""


@st.composite
def moves(draw, kind, choice=MOVES, at_least=1):
    """Clusters, their labels and number, and the same in another form."""
    n_clusters, n_columns = draw(st.integers(at_least, 3)), draw(st.integers(1, 4))
    move = draw(st.sampled_from([move for move in choice if move is not rotated or kind in ROUND]))
    seed = draw(st.integers(0, 2**31 - 1))
    x, labels = clusters(n_clusters, n_columns, seed)
    return x, labels, n_clusters, move(x, draw, np.random.default_rng(seed + 1))


def fewer(share):
    """Settings for a share of the examples of the profile: where a fit takes long."""
    return settings(max_examples=max(5, settings.default.max_examples // share))


@given(kind=st.sampled_from(KINDS), method=st.sampled_from(["global", "global", "global", "diffusion"]), data=st.data())
def test_fits_of_a_given_number(kind, method, data):
    x, labels, n_clusters, moved = data.draw(moves(kind))

    def make(unit, options):
        model = GaussianMixture(n_clusters, covariance_type=kind, init_params=method, tol=1e-9, random_state=0)
        return model.set_params(reg_covar=1e-6 * unit**2, **options)

    compare(make, x, labels, moved, n_clusters)


def compare_found_number(kind, criterion, data):
    # Repetitions tell more than weights (effective sample size), so that they may find more components.
    # A copy in other units stretches what is round.
    left_out = (repeated, with_a_copied_column) if kind == "spherical" else (repeated,)
    x, labels, n_clusters, moved = data.draw(moves(kind, [move for move in MOVES if move not in left_out]))

    def make(unit, options):
        model = GaussianMixture("auto", covariance_type=kind, criterion=criterion, tol=1e-9, random_state=0)
        return model.set_params(reg_covar=1e-6 * unit**2, **options)

    compare(make, x, labels, moved, n_clusters)


@fewer(20)
@given(kind=st.sampled_from(KINDS), criterion=st.sampled_from(["density", "clusters"]), data=st.data())
def test_number_of_components(kind, criterion, data):
    compare_found_number(kind, criterion, data)


@pytest.mark.slow
@given(kind=st.sampled_from(KINDS), criterion=st.sampled_from(["density", "clusters"]), data=st.data())
def test_number_of_components_at_length(kind, criterion, data):
    compare_found_number(kind, criterion, data)


@given(data=st.data())
def test_descent(data):
    x, labels, n_clusters, moved = data.draw(moves("spherical", EVERYWHERE))

    def make(unit, options):
        return DDPMMixture(
            n_clusters,
            covariance=unit**2,
            means_init="kmeans",
            step_rule="scaled",
            learning_rate=1.0,
            n_steps=100,
            random_state=0,
        )

    # Means rest where they move by 1e-6 of a width; densities four widths away change by four times that per column.
    compare(make, x, labels, moved, n_clusters, tolerance=1e-4)


def compare_diffusion(covariance, data):
    x, labels, n_clusters, moved = data.draw(moves("spherical", EVERYWHERE))

    def make(unit, options):
        scale = {"noise_scale": unit} if covariance == "identity" else {}
        return DiffusionMixture(covariance, n_levels=2, random_state=0, **scale)

    # Up to fifty passes of EM follow each other; with "general" they end where the likelihood hardly changes.
    compare(make, x, labels, moved, n_clusters, tolerance=1e-6 if covariance == "identity" else 1e-4)


@fewer(20)
@given(data=st.data())
def test_diffusion_under_known_noise(data):
    compare_diffusion("identity", data)


@pytest.mark.slow
@given(data=st.data())
def test_diffusion_under_known_noise_at_length(data):
    compare_diffusion("identity", data)


@pytest.mark.slow
@fewer(20)
@given(data=st.data())
def test_diffusion_of_general_shapes(data):
    compare_diffusion("general", data)
