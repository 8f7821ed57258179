"""Score regression: the sums against a brute-force computation, the fits against known posterior means."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from scoremix.arrays import to_numpy
from scoremix.features import Hermite, hermite_size
from scoremix.learning.coordinates import encoded_rows
from scoremix.learning.gkl.ladder import cover_size, learn_ladder, noisy_rows
from scoremix.learning.gkl.posterior_mean import (
    AUTO_COLUMNS,
    CHUNK_ENTRIES,
    JOINT_COLUMNS,
    PosteriorMean,
    candidate_degrees,
    chunk_rows,
    fit_level,
)
from scoremix.learning.regression.degrees import LinearSystem
from scoremix.learning.regression.normal_equations import NormalEquations
from scoremix.learning.regression.scores import RegressionSettings, ScoreRegression
from scoremix.models.gates import LOGIT_CUT, SoftCells, Voronoi, neighbour_order
from scoremix.models.score_model import TRUST_RADIUS, PiecewisePolynomial
from scoremix.models.subspace import Subspace
from scoremix.noise import BLOCK, geometric_levels, normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk

NOISE = 0.8


def frame_of(d=3, rank=2, noise_scale=NOISE, seed=0):
    """A subspace in general position."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((d, rank)))
    return Subspace(rng.standard_normal(d), basis, np.full(rank, 9.0), noise_scale)


FRAME = frame_of()


def scene(k, n=1500, seed=1, frame=FRAME):
    """Centres in the frame, rows around them and weights from 0 to 3."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-np.sqrt(k), np.sqrt(k), (k, frame.rank))
    centers = centers[neighbour_order(centers)]
    mu = frame.embed(centers[rng.integers(k, size=n)].T)
    rows = mu + frame.noise_scale * rng.standard_normal(mu.shape)
    return centers, rng.dirichlet(np.ones(k)), rows, rng.integers(0, 4, n).astype(float)


def statistic(cells, degree=2, sigma=0.7, frame=FRAME, draws=2, folds=3):
    return ScoreRegression(PosteriorMean(cells, Hermite(frame.rank, degree), sigma, frame), draws, folds, (7, 4))


def cell_weights(cells, y, variance):
    """Weights of every cell at every point, from SciPy."""
    squared, k = cdist(cells.centers, y.T, "sqeuclidean"), len(cells.centers)
    if isinstance(cells, Voronoi):
        return 1.0 * (np.arange(k)[:, None] == squared.argmin(axis=0))
    logits = np.log(cells.weights)[:, None] - squared / (2 * variance)
    r = np.maximum(np.exp(logits - logits.max(axis=0)) - np.exp(LOGIT_CUT), 0)
    return r / r.sum(axis=0)


def noisy_pairs(asked, x):
    """All noisy versions of the encoded rows x, with the row numbers, targets and clean coordinates."""
    noise = normal_rows(asked.key, 0, x.shape[1], asked.n_draws * len(x), x)
    for z in np.split(noise, asked.n_draws):
        for sign in (1, -1):
            yield (
                x + sign * asked.problem.sigma * z,
                x - sign * asked.problem.frame.noise_scale**2 / asked.problem.sigma * z,
            )


def columns_of(asked, y, variance):
    """The dense design matrix (k, p, n) of the joint regression."""
    r = cell_weights(asked.problem.cells, y, variance)
    u = (y[None] - asked.problem.cells.centers[:, :, None]) / np.sqrt(variance)
    u = u * np.minimum(1, TRUST_RADIUS / np.linalg.norm(u, axis=1, keepdims=True))
    return r[:, None, :] * asked.problem.features(u), r


def brute_force(asked, rows, weight):
    """Gram, cross, target and weight of the whole design, fold by fold, as the docstrings define them."""
    frame, folds = asked.problem.frame, asked.folds
    x = frame.basis.T @ (rows - frame.mean).T
    variance = frame.noise_scale**2 + asked.problem.sigma**2
    systems, together = asked.problem.cells.systems()
    q = together * asked.problem.features.sizes[-1]
    shape = (folds, systems)
    out = NormalEquations(*map(np.zeros, ((*shape, q, q), (*shape, q, frame.rank), shape, shape)))
    for y, target in noisy_pairs(asked, x):
        matrix, r = columns_of(asked, y, variance)
        residual = (target - asked.problem.cells.centers.T @ r) / np.sqrt(variance)
        for fold in range(folds):
            inside = weight * (np.arange(len(rows)) % folds == fold)
            for system in range(systems):
                part = matrix.reshape(q, -1) if together > 1 or systems == 1 else matrix[system]
                w = inside if systems == 1 else inside * r[system]
                out.gram[fold, system] += (w * part) @ part.T
                out.cross[fold, system] += (w * part) @ residual.T
                out.target[fold, system] += np.sum(w * residual**2)
                out.weight[fold, system] += w.sum()
    return out


def assert_same(sums, expected, rtol):
    """Equal up to `rtol` of the largest entry."""
    for name in ("gram", "cross", "target", "weight"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(sums, name), wanted, rtol=0, atol=rtol * np.abs(wanted).max())


CELLS = {"soft, dense": (SoftCells, 5), "soft, sparse": (SoftCells, 40), "hard": (Voronoi, 6)}


@pytest.fixture(params=CELLS)
def kind(request):
    return CELLS[request.param]


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_equal_the_dense_computation(xp, kind, weighted):
    centers, shares, rows, weight = scene(kind[1])
    asked = statistic(kind[0](centers, shares), degree=1 if kind[1] == 40 else 2)
    given = xp.asarray(weight) if weighted else None
    sums = asked(Chunk(0, xp.asarray(rows), given))
    expected = brute_force(asked, rows, weight if weighted else np.ones(len(rows)))
    # 6,000 terms of size up to 100 (fourth moments of u): rounding 1e-13 of the largest sum.
    assert_same(sums, expected, 1e-11)
    np.testing.assert_array_equal(rows, scene(kind[1])[2])  # what was given stays as it was


@pytest.mark.parametrize("rows_per_chunk", [BLOCK, 1000, 1, 10**6])
def test_chunk_size_does_not_change_the_sums(kind, rows_per_chunk):
    n = 60 if rows_per_chunk == 1 else 2 * BLOCK + 100
    centers, shares, rows, weight = scene(kind[1], n=n)
    asked = statistic(kind[0](centers, shares), degree=1)
    source = ArraySource(rows, weight)
    whole = asked(Chunk(0, rows, weight))
    chunked = accumulate(asked, source, chunk_rows=rows_per_chunk, n_threads=1)
    # The same terms in another order: rounding of sums of 10^4 terms.
    assert_same(chunked, whole, 1e-11)


def test_number_of_threads_does_not_change_a_bit(kind):
    centers, shares, rows, weight = scene(kind[1], n=3000)
    asked = statistic(kind[0](centers, shares), degree=1)
    source = ArraySource(rows, weight)
    one, three = (accumulate(asked, source, chunk_rows=500, n_threads=t) for t in (1, 3))
    assert_same(one, three, 0)


def test_weights_add(kind):
    # Given the same noise, a row of weight a + b is a row of weight a and one of weight b.
    centers, shares, rows, weight = scene(kind[1])
    asked = statistic(kind[0](centers, shares), degree=1)
    other = np.where(weight > 0, 0.5, 2.0)
    separately = asked(Chunk(0, rows, weight)) + asked(Chunk(0, rows, other))
    assert_same(asked(Chunk(0, rows, weight + other)), separately, 1e-12)


def test_rows_of_weight_zero_are_as_good_as_absent(kind):
    centers, shares, rows, _ = scene(kind[1], n=900)
    asked = statistic(kind[0](centers, shares), degree=1)
    present = np.arange(900) < 600
    padded, alone = asked(Chunk(0, rows, present.astype(float))), asked(Chunk(0, rows[:600], None))
    assert_same(padded, alone, 1e-12)


def test_targets_are_unbiased():
    """E[F (target - g)] = 0 for every feature F, with g the true posterior mean of a mixture."""
    frame = frame_of(d=2)
    centers, shares, _, _ = scene(3, frame=frame)
    rng = np.random.default_rng(5)
    same = statistic(Voronoi(np.zeros((1, 2)), np.ones(1)), degree=2, frame=frame, draws=1, folds=1)
    variance, differences = NOISE**2 + 0.7**2, []
    for repeat in range(60):
        asked = replace(same, key=(repeat, 4))  # the same noise would make the repeats depend on each other
        mu = centers[rng.choice(3, size=400, p=shares)]
        rows = frame.embed((mu + NOISE * rng.standard_normal(mu.shape)).T)
        ours = asked(Chunk(0, rows, None)).cross[0, 0]
        expected = np.zeros_like(ours)
        for y, _ in noisy_pairs(asked, frame.encode(rows)):
            distances = cdist(centers, y.T, "sqeuclidean")
            g = centers.T @ softmax(np.log(shares)[:, None] - distances / (2 * variance), axis=0)
            matrix, _ = columns_of(asked, y, variance)
            expected += matrix[0] @ (g / np.sqrt(variance)).T
        differences.append(ours - expected)
    errors = np.mean(differences, axis=0) / (np.std(differences, axis=0) / np.sqrt(60))
    # 12 statistics of Student's t with 59 degrees of freedom: above 4.5 once in 3,000 seeds.
    assert np.abs(errors).max() < 4.5


def test_pairs_keep_the_targets_harmless_at_small_noise():
    # N(0, 2^2) with noise scale 1: the posterior mean at sigma -> 0 is 0.75 y, and its denoiser risk is sigma^2.
    rng = np.random.default_rng(0)
    frame = Subspace(np.zeros(1), np.eye(1), np.array([4.0]), 1.0)
    rows = 2 * rng.standard_normal((20_000, 1))
    how = RegressionSettings("soft", 1, 0.01, 2, 5, 3)
    cells = SoftCells(np.zeros((1, 1)), np.ones(1))
    for sigma in (1e-1, 1e-4):
        slope = fit_level(ArraySource(rows), cells, (1,), sigma, 0, frame, how).model.coef[0, 1, 0]
        # By Stein's identity the slope is 1 - (mean of z^2) / var(x) up to 1e-2 (2e4 rows, 4e4 draws); u clipped at
        # 4.5 costs 1e-2 more. Without pairs the error would be about 1/(sigma sqrt(n)) = 70 at the lower level.
        assert abs(slope - 0.75) < 0.03


@pytest.mark.parametrize("gates", ["soft", "hard"])
def test_one_gaussian_is_learnt_to_its_bayes_risk(gates):
    rng = np.random.default_rng(1)
    frame = Subspace(np.zeros(2), np.eye(2), np.array([5.0, 2.0]), 1.0)
    variances, sigma = np.array([5.0, 2.0]), 1.5
    rows = rng.standard_normal((20_000, 2)) * np.sqrt(variances)
    cells = (SoftCells if gates == "soft" else Voronoi)(np.zeros((1, 2)), np.ones(1))
    fit = fit_level(
        ArraySource(rows), cells, (0, 1, 2), sigma, 0, frame, RegressionSettings(gates, None, 0.01, 2, 5, 0)
    )
    assert fit.model.degrees[0] >= 1  # chance may speak for a little more
    y = np.array([[1.0, -2.0, 0.0], [0.5, 1.0, -1.0]])
    slope = (variances - 1) / (variances + sigma**2)
    # Slopes are known to about 1/sqrt(2e4) = 0.007 times the noise of the target, 1.2: 4 of these, at |y| <= 2.2.
    np.testing.assert_allclose(fit.model.posterior_mean(y, sigma), slope[:, None] * y, atol=0.08)
    risk = np.mean(variances * sigma**2 / (variances + sigma**2))
    # The risk is a mean over 4e4 numbers of relative deviation 1.4: 0.7 %, four times.
    assert abs(fit.denoising_loss / risk - 1) < 0.03


def test_denoising_loss_is_that_of_brute_force_refits():
    frame = frame_of(d=5)
    centers, shares, rows, weight = scene(4, n=5000, frame=frame)
    cells, sigma, folds = SoftCells(centers, shares), 0.7, 3
    how = RegressionSettings("soft", 1, 0.01, 2, folds, 7)
    loss = fit_level(ArraySource(rows, weight), cells, (1,), sigma, 4, frame, how).denoising_loss
    asked = statistic(cells, degree=1, sigma=sigma, frame=frame, folds=folds)
    sums, x = asked(Chunk(0, rows, weight)), frame.encode(rows)
    system = LinearSystem(sums.gram[:, 0], sums.cross[:, 0], sums.weight[:, 0], asked.problem.features.sizes)
    t, variance, total = sigma**2, NOISE**2 + sigma**2, 0.0
    for fold in range(folds):
        coef = system.solve(system.columns(np.full(4, 1)), without=fold).reshape(4, -1, 2)
        model = PiecewisePolynomial(cells, asked.problem.features, coef, np.full(4, 1), NOISE)
        held = np.arange(len(rows)) % folds == fold
        for y, _ in noisy_pairs(asked, x):
            denoised = y + t / variance * (model.posterior_mean(y, sigma) - y)
            total += np.sum(weight * held * np.sum((denoised - x) ** 2, axis=0))
    inside = total / (weight.sum() * 2 * asked.n_draws)
    outside = 3 * NOISE**2 * t / variance  # three exactly Gaussian directions
    # The same sums taken apart differently: cancellation costs a factor of 100 on rounding 1e-13.
    np.testing.assert_allclose(loss, (inside + outside) / 5, rtol=1e-9)


@pytest.mark.parametrize(("gates", "limit"), [("soft", 0.1), ("hard", 0.3)])
def test_ladder_of_three_clusters(gates, limit):
    rng = np.random.default_rng(2)
    centers = np.array([[0.0, 4.0], [-4.0, -2.0], [4.0, -2.0]])
    rows = centers[rng.integers(3, size=6000)] + rng.standard_normal((6000, 2))
    frame = Subspace(np.zeros(2), np.eye(2), rows.var(axis=0), 1.0)
    sigmas, seen = geometric_levels(9.0, 0.3, 7), []
    how = RegressionSettings(gates, None, 0.01, 1, 5, 11, 2)
    ladder, losses = learn_ladder(ArraySource(rows), frame, sigmas, how, rng, lambda level, _: seen.append(level))
    assert seen == list(range(7))
    assert np.all(np.diff(losses) < 0)  # the risk of the best denoiser falls with the noise
    assert len(ladder.centers(0)) == 1 < 3 <= len(ladder.centers(6))
    y = rows[:1000] + 0.5 * rng.standard_normal((1000, 2))
    exact = softmax(-cdist(y, centers, "sqeuclidean") / 2.5, axis=1) @ centers
    error = np.mean(np.sum((ladder.posterior_mean(y, 0.5) - exact) ** 2, axis=1))
    # Naming the mean of all data costs 19; 6,000 rows and few draws leave a few per cent of the noise's 2.
    assert error < limit


def test_the_seed_decides_everything():
    rows = scene(3, n=1200, frame=frame_of(d=2))[2]
    frame = Subspace(rows.mean(axis=0), np.eye(2), rows.var(axis=0), NOISE)
    sigmas = geometric_levels(5.0, 0.5, 3)

    def coefficients(seed):
        how = RegressionSettings("soft", None, 0.01, 1, 2, seed)
        ladder, _ = learn_ladder(ArraySource(rows), frame, sigmas, how, np.random.default_rng(0))
        return np.concatenate([level.coef.ravel() for level in ladder.levels])

    np.testing.assert_array_equal(coefficients(1), coefficients(1))
    assert not np.array_equal(coefficients(1)[:1], coefficients(2)[:1])


def equal_cells(k, rank=2, kind=SoftCells):
    return kind(np.zeros((k, rank)), np.full(k, 1 / k))


def level_above(k, degree):
    coef = np.zeros((k, hermite_size(2, degree), 2))
    return PiecewisePolynomial(equal_cells(k), Hermite(2, degree), coef, np.full(k, degree), 1.0)


def test_candidate_degrees_of_one_cell_and_of_a_fixed_degree():
    assert candidate_degrees(equal_cells(1), 2, None, None) == (0, 1, 2, 3, 4, 5)
    assert candidate_degrees(equal_cells(1), 2, None, 3) == (3,)


@pytest.mark.parametrize(("k", "rank"), [(1, 10), (12, 2), (300, 2), (300, 10)])
def test_candidate_degrees_stay_within_the_cost(k, rank):
    chosen = candidate_degrees(equal_cells(k, rank), rank, None, None)
    assert chosen == tuple(range(len(chosen)))

    def fits(m):
        return m == 0 or k * hermite_size(rank, m) <= (JOINT_COLUMNS if m == 1 else AUTO_COLUMNS)

    assert all(fits(m) for m in chosen)
    assert chosen[-1] == 5 or not fits(chosen[-1] + 1)


def test_no_higher_degree_than_above_where_soft_cells_multiply():
    few, many = equal_cells(3), equal_cells(6)
    assert candidate_degrees(few, 2, level_above(3, 3), None) == (0, 1, 2, 3, 4)  # as many cells: one more may pay
    assert candidate_degrees(many, 2, level_above(3, 3), None) == (0, 1, 2, 3)
    assert candidate_degrees(many, 2, level_above(3, 0), None) == (0, 1, 2)  # up to 2 is always tried
    hard = equal_cells(6, kind=Voronoi)
    assert candidate_degrees(hard, 2, level_above(3, 1), None)[-1] == 5  # hard cells stay polynomials


@pytest.mark.parametrize("columns", [1, 30, 900])
@pytest.mark.parametrize("d", [1, 100])
def test_chunks_are_whole_blocks_of_noise_of_bounded_size(columns, d):
    rows = chunk_rows(columns, 5, d)
    assert rows % BLOCK == 0
    assert rows == BLOCK or max(rows / 5 * 2 * columns, rows * d) <= CHUNK_ENTRIES


def test_cover_needs_samples_in_proportion_to_the_smallest_cluster():
    assert [cover_size(share) for share in (0.5, 0.003, 1e-6)] == [500, 2000, 4000]


def test_noisy_rows_add_the_noise_of_the_level(xp):
    rows = np.tile(FRAME.mean, (5000, 1))
    rng = np.random.default_rng(0)
    y = noisy_rows(encoded_rows(ArraySource(xp.asarray(rows)), FRAME, 4500, rng), 1.7, 4000, rng)
    assert (type(y), y.shape) == (np.ndarray, (2, 4000))
    # Standard deviations from 4,000 numbers: 1.1 %, four times.
    np.testing.assert_allclose(y.std(axis=1), 1.7, rtol=0.045)


def test_foreign_arrays_give_the_same_level(xp):
    centers, shares, rows, weight = scene(4, n=3000)
    how = RegressionSettings("soft", None, 0.01, 1, 3, 7, 1)
    cells = SoftCells(centers, shares)
    ours, theirs = (
        fit_level(source, cells, (0, 1), 0.7, 0, FRAME, how)
        for source in (ArraySource(rows, weight), ArraySource(xp.asarray(rows), xp.asarray(weight)))
    )
    y = np.random.default_rng(0).standard_normal((2, 50))
    # The same sums by another library, and a solve of condition 100.
    np.testing.assert_allclose(
        to_numpy(theirs.model.posterior_mean(xp.asarray(y), 0.7)), ours.model.posterior_mean(y, 0.7), atol=1e-9
    )
