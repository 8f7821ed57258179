"""Acceleration: coordinates in which every vector is a mixture, and guesses that are exact where theory says so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scoremix.learning.em.acceleration import FIRST_BOUND, GROWTH, WARM_UP, Anderson, FreeParameters, Squarem
from scoremix.learning.em.em import run_em
from scoremix.models.covariance.types import covariance_of
from scoremix.models.mixture import Mixture
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
K, D = 3, 2


def mixture_of(kind, seed=0, k=K, d=D, unit=1.0):
    """A mixture in general position; columns in other units where `unit` is not 1."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((k, d, d))
    full = roots @ np.swapaxes(roots, 1, 2) / d + 0.3 * np.eye(d)
    values = {
        "full": full * np.outer(unit * np.ones(d), unit * np.ones(d)),
        "tied": full[0] * np.outer(unit * np.ones(d), unit * np.ones(d)),
        "diag": full.diagonal(axis1=1, axis2=2) * np.square(unit),
        "spherical": full[:, 0, 0] * np.max(np.square(unit)),
    }[kind]
    weights = rng.dirichlet(np.full(k, 5.0))
    return Mixture(weights, unit * rng.standard_normal((k, d)), covariance_of(kind, values, d))


def assert_same(one, other, rtol):
    np.testing.assert_allclose(one.weights, other.weights, rtol=rtol)
    np.testing.assert_allclose(one.means, other.means, rtol=rtol, atol=rtol * np.abs(other.means).max())
    size = np.abs(other.covariance.values).max()
    np.testing.assert_allclose(one.covariance.values, other.covariance.values, rtol=rtol, atol=rtol * size)


def linear(kind, eigenvalues, seed=0):
    """A linear iteration about a mixture: gives the point after t updates; the weights stay.

    Errors lie along as many directions as there are eigenvalues, one each.
    """
    centre = mixture_of(kind, seed)
    coordinates = FreeParameters(centre)
    base = coordinates.vector(centre)
    directions = np.random.default_rng(seed + 1).standard_normal((len(eigenvalues), len(base)))
    directions[:, :K] = 0.0

    def at(t):
        return coordinates.mixture(base + 0.3 * np.power(eigenvalues, t) @ directions)

    return centre, coordinates, at


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture_survives_the_way_to_a_vector_and_back(kind):
    coordinates = FreeParameters(mixture_of(kind, 5))
    mixture = mixture_of(kind, 6)
    vector = coordinates.vector(mixture)
    assert vector.shape == (mixture.n_parameters + 1,)  # the weights are not normalised there
    # A Cholesky factor, a logarithm and back: a few roundings.
    assert_same(coordinates.mixture(vector), mixture, 1e-12)
    # A common factor of the weights is no change.
    vector[:K] += 3.0
    assert_same(coordinates.mixture(vector), mixture, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_the_columns_only_shift_logarithms_of_variances(kind):
    unit = 1e6 if kind == "spherical" else np.array([1e6, 1e-3])
    ours = FreeParameters(mixture_of(kind, 5)).vector(mixture_of(kind, 6))
    theirs = FreeParameters(mixture_of(kind, 5, unit=unit)).vector(mixture_of(kind, 6, unit=unit))
    # Numbers of size 1 after a few roundings.
    head = K + K * D
    np.testing.assert_allclose(theirs[:head], ours[:head], atol=1e-12)
    shift = {"full": 0.0, "tied": 0.0, "diag": np.tile(2 * np.log(unit), K), "spherical": 2 * np.log(unit)}[kind]
    np.testing.assert_allclose(theirs[head:] - shift, ours[head:], atol=1e-12)


@given(st.sampled_from(KINDS), st.data())
def test_every_vector_is_a_mixture(kind, data):
    coordinates = FreeParameters(mixture_of(kind, 5, unit=1e4))
    size = len(coordinates.vector(mixture_of(kind, 5, unit=1e4)))
    vector = data.draw(arrays(np.float64, size, elements=st.floats(-4, 4, allow_subnormal=False)))
    mixture = coordinates.mixture(vector)
    assert mixture.covariance.kind == kind
    assert mixture.means.shape == (K, D)
    assert np.all(mixture.weights > 0)
    np.testing.assert_allclose(mixture.weights.sum(), 1.0, rtol=1e-14)
    # Condition numbers up to e^16 (1 + 4^2 e^8)^2: positive in double precision when the units are taken out.
    assert np.all(np.linalg.eigvalsh(mixture.covariances)[:, 0] > 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e3, -1e3, 1e200])
def test_numbers_out_of_range_are_no_mixture(kind, size):
    unit = mixture_of(kind)
    coordinates = FreeParameters(unit)
    vector = coordinates.vector(unit)
    vector[-1] = size  # the last variance or factor, as a logarithm
    assert coordinates.mixture(vector) is None


@pytest.mark.parametrize("part", [0, K])
def test_weights_and_means_that_overflow_are_no_mixture(part):
    coordinates = FreeParameters(mixture_of("full"))
    vector = coordinates.vector(mixture_of("full"))
    vector[part] = np.inf
    assert coordinates.mixture(vector) is None


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_a_guess_that_is_numerically_singular_is_none(kind):
    unit = mixture_of(kind)
    coordinates = FreeParameters(unit)
    vector = coordinates.vector(unit)
    vector[-2] = 1e12  # off the diagonal of the last factor: correlation 1 to the last digit
    guess = coordinates.mixture(vector)
    if guess is not None:
        assert np.all(np.isfinite(guess.log_density(np.zeros((1, D)))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eigenvalue", [0.3, 0.7])
def test_squarem_lands_on_the_fixed_point_of_one_eigenvalue(kind, eigenvalue):
    centre, _, at = linear(kind, [eigenvalue])
    squarem = Squarem(warm_up=0)
    assert squarem.propose(at(0), at(1)) is None
    # Roundings of 1e-16, divided by (1 - eigenvalue)^2.
    assert_same(squarem.propose(at(1), at(2)), centre, 1e-11)


def test_squarem_waits_and_then_guesses_every_second_update():
    _, _, at = linear("diag", [0.7])
    squarem = Squarem()
    guesses = [squarem.propose(at(t), at(t + 1)) for t in range(WARM_UP + 6)]
    assert [guess is not None for guess in guesses] == [False] * (WARM_UP + 1) + [True, False, True, False, True]


def test_the_bound_of_squarem_grows_where_it_is_reached_and_shrinks_where_a_guess_is_rejected():
    rate = 1e-4
    centre, coordinates, at = linear("diag", [1 - rate])
    squarem = Squarem(warm_up=0)
    base, error = coordinates.vector(centre), coordinates.vector(at(0)) - coordinates.vector(centre)

    def length():
        squarem.propose(at(0), at(1))
        left = coordinates.vector(squarem.propose(at(1), at(2))) - base
        # A step of length a multiplies the error by (1 - a rate)^2.
        return (1 - np.sqrt(left @ error / (error @ error))) / rate

    steps = [length() for _ in range(3)]
    # Errors of 1e-15 of the vectors, divided by the rate.
    np.testing.assert_allclose(steps, FIRST_BOUND * GROWTH ** np.arange(3), rtol=1e-8)
    squarem.reset()
    np.testing.assert_allclose(length(), FIRST_BOUND * GROWTH, rtol=1e-8)
    squarem.reset()
    squarem.reset()
    np.testing.assert_allclose(length(), FIRST_BOUND, rtol=1e-8)


def test_squarem_does_not_guess_where_a_plain_update_goes_further():
    centre, coordinates, _ = linear("diag", [0.5])
    base = coordinates.vector(centre)
    step = np.zeros_like(base)
    step[K] = 0.3

    def at(t):  # changes sign: eigenvalue -1/2, step length 2/3
        return coordinates.mixture(base + (-0.5) ** t * step)

    squarem = Squarem(warm_up=0)
    assert [squarem.propose(at(t), at(t + 1)) for t in range(4)] == [None] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_anderson_finds_the_fixed_point_in_one_step_more_than_eigenvalues(kind):
    eigenvalues = [0.9, 0.6, 0.2]
    centre, _, at = linear(kind, eigenvalues)
    anderson = Anderson(warm_up=0)
    guesses = [anderson.propose(at(t), at(t + 1)) for t in range(len(eigenvalues) + 1)]
    assert guesses[0] is None
    # The differences of four updates have a condition number of some 1e3, errors of 1e-15 and 1 / (1 - .9).
    assert_same(guesses[-1], centre, 1e-9)
    assert np.abs(guesses[-2].means - centre.means).max() > 1e-4


def test_anderson_remembers_no_more_than_its_memory():
    eigenvalues = [0.9, 0.6, 0.2]
    centre, _, at = linear("diag", eigenvalues)
    anderson = Anderson(memory=1, warm_up=0)
    guesses = [anderson.propose(at(t), at(t + 1)) for t in range(4)]
    alone = Anderson(memory=1, warm_up=0)
    alone.propose(at(0), at(0.5))  # sets the same units
    alone.reset()
    assert alone.propose(at(2), at(3)) is None
    assert_same(alone.propose(at(3), at(4)), guesses[-1], 1e-12)
    assert np.abs(guesses[-1].means - centre.means).max() > 1e-3


def test_anderson_waits_and_forgets():
    _, _, at = linear("diag", [0.9, 0.6])
    anderson = Anderson()
    guesses = [anderson.propose(at(t), at(t + 1)) for t in range(WARM_UP + 3)]
    assert [guess is not None for guess in guesses] == [False] * (WARM_UP + 1) + [True, True]
    anderson.reset()
    assert anderson.propose(at(3), at(4)) is None
    assert anderson.propose(at(4), at(5)) is not None


@pytest.mark.scene  # what guesses save is up to the data: nothing where EM takes few passes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [Squarem, Anderson])
def test_accelerated_fits_of_slow_problems_take_fewer_passes_to_the_same_likelihood(kind, method):
    passes, lost = np.zeros(2), []
    for seed in range(5):
        rng = np.random.default_rng((3, seed))
        x = np.concatenate([rng.standard_normal((400, D)), rng.standard_normal((400, D)) + 1.5])
        begin = mixture_of(kind, 4, k=2)
        source = ArraySource(x)
        plain = run_em(source, begin, tol=1e-7, max_iter=3000)
        quick = run_em(source, begin, tol=1e-7, max_iter=3000, acceleration=method())
        assert quick.converged
        passes += quick.n_passes, plain.n_passes
        lost.append(plain.lower_bounds[-1] - quick.lower_bounds[-1])
    # Plain EM stops when a pass changes less than 1e-7: what is left is that over (1 - its rate), below 1e-4. A fit may
    # end in another optimum than plain EM, at as many passes, so both are asked of five together: a third of the passes
    # in expectation.
    assert np.median(lost) < 1e-5
    assert passes[0] < 0.9 * passes[1]


@pytest.mark.parametrize(
    ("kind", "method", "seed"),
    [("diag", Squarem, 78), pytest.param("full", Anderson, 120, marks=pytest.mark.slow), ("full", Squarem, 136)],
)
def test_guesses_beside_collapse_do_not_end_a_fit(kind, method, seed):
    # Few rows, some of them repeated, and nothing added to the variances: components collapse, EM itself goes on.
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, D))
    if seed % 3 == 0:
        x = np.concatenate([x, np.repeat(x[:2], 5, axis=0)])
    values = {"full": np.tile(np.eye(D), (5, 1, 1)), "diag": np.ones((5, D))}[kind]
    begin = Mixture(np.full(5, 0.2), x[:5], covariance_of(kind, values, D))
    assert np.isfinite(run_em(ArraySource(x), begin, tol=1e-9, max_iter=300, reg=0.0).lower_bounds[-1])
    run = run_em(ArraySource(x), begin, tol=1e-9, max_iter=300, reg=0.0, acceleration=method())
    # It may fall here: what has collapsed is raised again at every update.
    assert np.all(np.isfinite(run.lower_bounds))
    assert np.all(np.isfinite(run.mixture.log_density(x)))
