"""The ladder: at its levels, between, below and above them, and outside the subspace."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from scoremix.arrays import to_numpy
from scoremix.features import Hermite
from scoremix.models import gates as cells_module
from scoremix.models import ladder as module
from scoremix.models.gates import SoftCells
from scoremix.models.ladder import Ladder
from scoremix.models.score_model import PiecewisePolynomial
from scoremix.models.subspace import Subspace

NOISE = 0.8
SIGMAS = np.array([6.0, 3.0, 1.0, 0.4])
CENTERS = np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def frame_of(d=5, seed=0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((d, 2)))
    return Subspace(rng.standard_normal(d), basis, np.array([6.0, 3.0]), NOISE)


@pytest.fixture
def random_ladder():
    """Levels that differ from each other, so that it matters which one answers."""
    features, rng = Hermite(2, 1), np.random.default_rng(1)
    levels = [
        PiecewisePolynomial(
            SoftCells(CENTERS + rng.standard_normal((3, 2)), WEIGHTS),
            features,
            0.4 * rng.standard_normal((3, 3, 2)),
            np.ones(3, int),
            NOISE,
        )
        for _ in SIGMAS
    ]
    return Ladder(SIGMAS, tuple(levels), frame_of())


@pytest.fixture
def exact_ladder(monkeypatch):
    """A mixture in the subspace of 5 dimensions; degree 0 at the exact centres has no error at any level."""
    monkeypatch.setattr(cells_module, "LOGIT_CUT", -600.0)
    level = PiecewisePolynomial(
        SoftCells(CENTERS, WEIGHTS), Hermite(2, 0), np.zeros((3, 1, 2)), np.zeros(3, int), NOISE
    )
    return Ladder(SIGMAS, (level,) * 4, frame_of())


def points(ladder, n=200, seed=2):
    rng = np.random.default_rng(seed)
    return ladder.frame.mean + 3 * rng.standard_normal((n, ladder.frame.n_features))


def inside(ladder, y, level, sigma):
    """What one level says, embedded."""
    return ladder.frame.embed(ladder.levels[level].posterior_mean(ladder.frame.encode(y), sigma))


@pytest.mark.parametrize("sigma", [3.0, 0.4, 2.0, 0.55, 0.2, 0.0])
def test_score_is_that_of_the_mixture_in_the_whole_space(xp, exact_ladder, sigma):
    y = points(exact_ladder)
    means = exact_ladder.frame.embed(CENTERS.T)
    variance = NOISE**2 + sigma**2
    r = softmax(np.log(WEIGHTS) - cdist(y, means, "sqeuclidean") / (2 * variance), axis=1)
    score = to_numpy(exact_ladder.score(xp.asarray(y), sigma))
    # Exact in the subspace and in the complement; logits of size 100 and scores of size 20 carry rounding 1e-13.
    np.testing.assert_allclose(score, (r @ means - y) / variance, atol=1e-11)


@pytest.mark.parametrize("level", range(4))
def test_at_a_level_its_model_answers(xp, random_ladder, level):
    y = points(random_ladder)
    answer = random_ladder.posterior_mean(xp.asarray(y), float(SIGMAS[level]))
    np.testing.assert_allclose(to_numpy(answer), inside(random_ladder, y, level, SIGMAS[level]), atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("above", range(3))
def test_between_levels_the_blend_is_linear_in_log_sigma(random_ladder, above, share):
    y = points(random_ladder)
    sigma = float(SIGMAS[above] ** share * SIGMAS[above + 1] ** (1 - share))
    high, low = (inside(random_ladder, y, level, sigma) for level in (above, above + 1))
    answer = random_ladder.posterior_mean(y, sigma)
    np.testing.assert_allclose(answer, share * high + (1 - share) * low, atol=1e-12)


def test_below_the_lowest_level_it_continues(random_ladder):
    y = points(random_ladder)
    for sigma in (0.3, 1e-9, 0.0):
        np.testing.assert_allclose(
            random_ladder.posterior_mean(y, sigma), inside(random_ladder, y, 3, sigma), atol=1e-12
        )


def test_above_the_highest_level_it_is_the_moment_matched_gaussian(random_ladder):
    y, sigma, frame = points(random_ladder), 20.0, random_ladder.frame
    covariance = (frame.basis * (frame.variances - NOISE**2)) @ frame.basis.T + NOISE**2 * np.eye(5)
    score = np.linalg.solve(covariance + sigma**2 * np.eye(5), (frame.mean - y).T).T
    np.testing.assert_allclose(random_ladder.score(y, sigma), score, atol=1e-12)


def test_variance_below_that_of_the_noise_is_no_signal(random_ladder):
    frame = Subspace(np.zeros(2), np.eye(2), np.array([6.0, 0.1]), NOISE)
    y = np.array([[1.0, 2.0]])
    answer = Ladder(SIGMAS, random_ladder.levels, frame).posterior_mean(y, 10.0)
    np.testing.assert_allclose(answer, [[(6 - 0.64) / 106, 0.0]], atol=1e-15)


def test_continuous_in_sigma(random_ladder):
    y = points(random_ladder)
    for sigma in SIGMAS[1:]:
        at, before, after = (random_ladder.score(y, float(sigma) * factor) for factor in (1, 1 - 1e-7, 1 + 1e-7))
        # A relative step of 1e-7 in sigma: scores of size 20 move by some 1e-5 at most; a jump would be of size 1.
        np.testing.assert_allclose(before, at, atol=1e-4)
        np.testing.assert_allclose(after, at, atol=1e-4)


@pytest.mark.parametrize("method", ["posterior_mean", "score", "denoise"])
def test_a_level_per_row_equals_row_by_row(xp, random_ladder, method):
    levels = np.array([6.0, 2.0, 0.0, 11.0, 0.4, 3.0, 0.7, 1.0, 4.4, 0.2])
    y = points(random_ladder, 50)
    sigma = np.random.default_rng(0).permutation(np.tile(levels, 5))
    ask = getattr(random_ladder, method)
    together = to_numpy(ask(xp.asarray(y), xp.asarray(sigma)))
    alone = np.concatenate([ask(y[i : i + 1], float(s)) for i, s in enumerate(sigma)])
    np.testing.assert_allclose(together, alone, atol=1e-11)


def test_denoise_is_tweedie(xp, random_ladder):
    y, sigma = points(random_ladder), np.linspace(0.0, 9.0, 200)
    expected = y + sigma[:, None] ** 2 * random_ladder.score(y, sigma)
    np.testing.assert_allclose(to_numpy(random_ladder.denoise(xp.asarray(y), xp.asarray(sigma))), expected, atol=1e-11)


def test_complement_is_exactly_gaussian(random_ladder):
    frame = random_ladder.frame
    projector = np.eye(5) - frame.basis @ frame.basis.T
    y = points(random_ladder)
    for sigma in (0.0, 0.7, 3.0, 50.0):
        outside = random_ladder.score(y, sigma) @ projector
        np.testing.assert_allclose(outside, (frame.mean - y) @ projector / (NOISE**2 + sigma**2), atol=1e-11)
        np.testing.assert_allclose((random_ladder.posterior_mean(y, sigma) - frame.mean) @ projector, 0, atol=1e-12)


def test_inside_is_the_same_ladder_in_its_own_coordinates(random_ladder):
    y, frame = points(random_ladder), random_ladder.frame
    coordinates = frame.encode(y).T
    for sigma in (0.0, 0.7, 3.0, 50.0):
        np.testing.assert_allclose(
            random_ladder.inside().score(coordinates, sigma), random_ladder.score(y, sigma) @ frame.basis, atol=1e-11
        )


def test_points_far_outside_have_a_finite_score(xp, random_ladder):
    y = np.array([1e3, -1e6, 1e9])[:, None] * np.ones((3, 5))
    for sigma in (0.0, 0.4, 0.7, 6.0, 1e4):
        score = to_numpy(random_ladder.score(xp.asarray(y), sigma))
        assert np.all(np.isfinite(score))
        # The posterior mean stays near the data, so the score points back: -(y - O(10)) / s^2.
        if sigma <= 6:
            np.testing.assert_allclose(score * (NOISE**2 + sigma**2), -y, rtol=0.05)


@pytest.mark.parametrize("per_row", [False, True])
def test_chunks_do_not_show(xp, random_ladder, monkeypatch, per_row):
    y = points(random_ladder, 100)
    sigma = np.linspace(0, 9, 100) if per_row else 0.7
    whole = random_ladder.score(y, sigma)
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    chunked = random_ladder.score(xp.asarray(y), xp.asarray(sigma) if per_row else sigma)
    np.testing.assert_allclose(to_numpy(chunked), whole, atol=1e-11)


def test_precision_library_and_input_are_kept(xp, random_ladder):
    y = points(random_ladder)
    single = xp.asarray(y, dtype=xp.float32)
    for method in ("posterior_mean", "score", "denoise"):
        for sigma in (0.7, xp.asarray(np.full(len(y), 0.7), dtype=xp.float32)):
            out = getattr(random_ladder, method)(single, sigma)
            assert out.dtype == xp.float32
            assert type(out) is type(single)
            # Single precision, 6e-8 relative: coordinates of size 10, slopes and scores of size 10.
            np.testing.assert_allclose(to_numpy(out), getattr(random_ladder, method)(y, 0.7), atol=1e-3)
    np.testing.assert_array_equal(to_numpy(single), y.astype(np.float32))


def test_levels_in_single_precision_are_still_levels(random_ladder):
    # 6.3 is rounded up: one level per row must not put it above the ladder.
    ladder = Ladder(np.array([6.3, 3.0, 1.0, 0.4]), random_ladder.levels, random_ladder.frame)
    y, sigma = points(ladder), np.full(200, 6.3, dtype=np.float32)
    assert float(sigma[0]) > 6.3
    np.testing.assert_allclose(ladder.posterior_mean(y, sigma), inside(ladder, y, 0, 6.3), atol=1e-4)


def test_centres_and_weights_of_a_level(random_ladder):
    np.testing.assert_allclose(
        random_ladder.frame.encode(random_ladder.centers(2)).T, random_ladder.levels[2].cells.centers
    )
    assert random_ladder.centers(2).shape == (3, 5)
    np.testing.assert_array_equal(random_ladder.weights(2), WEIGHTS)
    assert random_ladder.noise_scale == NOISE
