"""Where EM starts: seeds and Lloyd steps against scikit-learn, the first update against its M-step."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.mixture._gaussian_mixture import _estimate_gaussian_parameters

from scoremix.learning.em import seeding
from scoremix.learning.em.seeding import d2_seeds, initial_mixture, lloyd, n_distinct_rows
from scoremix.samples.source import ArraySource

KINDS = ("full", "tied", "diag", "spherical")
METHODS = ("kmeans", "k-means++", "random_from_data", "random")
REG = 1e-6


def clusters(n=400, k=4, d=3, spread=6.0, seed=0):
    """Rows around k centres, and their labels."""
    rng = np.random.default_rng(seed)
    centres, labels = spread * rng.standard_normal((k, d)), np.arange(n) % k
    return centres[labels] + rng.standard_normal((n, d)) @ (np.eye(d) + 0.3), labels


def begin(x, kind="full", method="kmeans", k=4, seed=0, weight=None):
    return initial_mixture(ArraySource(x, weight), k, kind, method, REG, np.random.default_rng(seed))


def m_step(x, labels, kind, k=4):
    """Weights, means and covariances of labels, by scikit-learn."""
    mass, means, values = _estimate_gaussian_parameters(x, np.eye(k)[labels], REG, kind)
    return mass / len(x), means, values


def nearest(x, centers):
    return np.argmin(np.sum((x[:, None] - centers) ** 2, axis=2), axis=1)


def cost(x, centers):
    return np.min(np.sum((x[:, None] - centers) ** 2, axis=2), axis=1).sum()


def assert_equal_mixtures(one, other, tolerance):
    np.testing.assert_allclose(one.weights, other.weights, atol=tolerance)
    np.testing.assert_allclose(one.means, other.means, atol=tolerance)
    np.testing.assert_allclose(one.covariance.values, other.covariance.values, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_start_is_a_mixture_and_reproducible(kind, method):
    x, _ = clusters()
    start = begin(x, kind, method)
    assert start.covariance.kind == kind
    assert start.means.shape == (4, 3)
    assert np.all(start.weights > 0)
    np.testing.assert_allclose(start.weights.sum(), 1.0, rtol=1e-14)
    assert np.linalg.eigvalsh(start.covariances).min() > 0
    assert len(np.unique(start.means, axis=0)) == 4
    assert np.all(np.isfinite(start.log_density(x)))
    again, other = begin(x, kind, method), begin(x, kind, method, seed=1)
    assert_equal_mixtures(start, again, 0.0)
    if method == "random":  # seeds find the same clusters from everywhere, and drawn rows may do so
        assert np.abs(start.means - other.means).max() > 1e-3
    # Shares z^2 / sum z^2 of 400 rows put every mean within a few (1 / 20) spreads of that of all rows.
    distance = np.abs(start.means - x.mean(axis=0)).max() / x.std()
    assert distance < 0.3 if method == "random" else distance > 0.5


@pytest.mark.scene  # elsewhere a cell about a random row may have too few rows for a matrix, which is then raised
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS[:3])
def test_the_first_update_is_that_of_scikit_learn_from_the_same_labels(kind, method):
    x, _ = clusters()
    rng = np.random.default_rng(3)
    sample = ArraySource(x).draw(seeding.SAMPLE_ROWS, rng)
    labels = nearest(x, seeding._centers(sample, 4, method, rng))
    start = begin(x, kind, method, seed=3)
    weights, means, values = m_step(x, labels, kind)
    # It adds 2e-15 to every mass; sums of 400 terms of size 100.
    np.testing.assert_allclose(start.weights, weights, atol=1e-12)
    np.testing.assert_allclose(start.means, means, atol=1e-11)
    np.testing.assert_allclose(start.covariance.values, values, atol=1e-10)


def test_kmeans_finds_separated_clusters():
    x, labels = clusters(spread=40.0)
    start = begin(x)
    expected = np.array([x[labels == j].mean(axis=0) for j in range(4)])
    order = np.argmin(np.sum((start.means[:, None] - expected) ** 2, axis=2), axis=1)
    np.testing.assert_array_equal(np.sort(order), np.arange(4))
    np.testing.assert_allclose(start.means, expected[order], atol=1e-10)
    np.testing.assert_allclose(start.weights, 0.25, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_foreign_arrays_give_the_same_start(xp, kind, method):
    x, _ = clusters()
    ours, theirs = begin(x, kind, method), begin(xp.asarray(x), kind, method)
    # Sums of 400 terms of size 100 in another order.
    assert_equal_mixtures(theirs, ours, 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_gives_nearly_the_same_start(method):
    x = clusters()[0].astype(np.float32)
    # The same numbers; sums of 400 terms of size 100 in units of 6e-8, divided by masses of 100.
    assert_equal_mixtures(begin(x, method=method), begin(x.astype(np.float64), method=method), 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS[:3])
def test_rows_of_weight_zero_neither_seed_nor_enter(kind, method):
    x, _ = clusters()
    rng = np.random.default_rng(5)
    rows = np.sort(rng.choice(500, 400, replace=False))
    mixed, weight = np.full((500, 3), 1e3) + rng.standard_normal((500, 3)), np.zeros(500)
    mixed[rows], weight[rows] = x, 2.0
    # The rows that count are drawn as if alone.
    assert_equal_mixtures(begin(mixed, kind, method, weight=weight), begin(x, kind, method), 1e-9)


def test_rows_of_weight_zero_do_not_enter_random_responsibilities():
    x, _ = clusters()
    weight = np.repeat([1.0, 0.0], 200)
    far = np.concatenate([x[:200], x[200:] + 1e3])
    # Responsibilities belong to the number of the row, so those of the first rows are the same.
    assert_equal_mixtures(begin(far, method="random", weight=weight), begin(x[:200], method="random"), 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_count_as_repetitions(kind):
    x, labels = clusters(spread=40.0)
    weight = np.random.default_rng(1).integers(1, 4, len(x))
    many = np.repeat(x, weight, axis=0)
    start = begin(x, kind, weight=weight.astype(float))
    expected = m_step(many, np.repeat(labels, weight), kind)
    order = nearest(start.means, expected[1])
    np.testing.assert_array_equal(np.sort(order), np.arange(4))
    values = expected[2] if kind == "tied" else expected[2][order]
    # Sums of 800 terms of size 1e4.
    np.testing.assert_allclose(start.weights, expected[0][order], atol=1e-12)
    np.testing.assert_allclose(start.means, expected[1][order], atol=1e-9)
    np.testing.assert_allclose(start.covariance.values, values, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_a_million_spreads_apart(kind):
    local, labels = clusters(spread=0.0)
    centres = 1e6 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]])
    start = begin(local + centres[labels], kind)
    order = nearest(start.means, centres)
    np.testing.assert_array_equal(np.sort(order), np.arange(4))
    weights, means, values = m_step(local, labels, kind)
    # The rows themselves carry 1e6 x 1e-16.
    np.testing.assert_allclose(start.weights, weights[order], atol=1e-12)
    np.testing.assert_allclose(start.means - centres[order], means[order], atol=1e-8)
    np.testing.assert_allclose(start.covariance.values, values if kind == "tied" else values[order], atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_neither_chunks_nor_threads_change_the_start(monkeypatch, method):
    x, _ = clusters(n=20_000)
    whole = initial_mixture(ArraySource(x), 4, "full", method, REG, np.random.default_rng(0), 1)
    monkeypatch.setattr(seeding, "MAX_CHUNK", 4096)
    threaded = initial_mixture(ArraySource(x), 4, "full", method, REG, np.random.default_rng(0), 3)
    assert_equal_mixtures(threaded, whole, 1e-9)


@pytest.mark.parametrize("method", METHODS[:3])
def test_a_sample_is_enough_for_seeds(monkeypatch, method):
    monkeypatch.setattr(seeding, "SAMPLE_ROWS", 40)
    monkeypatch.setattr(seeding, "SAMPLE_ROWS_PER_COMPONENT", 10)
    x, _ = clusters(n=4000, spread=40.0)
    start = begin(x, method=method)
    # All rows enter the update.
    np.testing.assert_allclose(start.weights @ start.means, x.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(start.weights * 4000, np.round(start.weights * 4000), atol=1e-8)


@pytest.mark.parametrize("copies", [1, 50, 1000])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_seeds_are_distinct_where_rows_are(copies, offset):
    values = offset + np.random.default_rng(0).standard_normal((6, 2))
    x = np.concatenate([np.repeat(values[:1], 10 * copies, axis=0), np.repeat(values[1:], copies, axis=0)])
    for seed in range(20):
        seeds = d2_seeds(x, 6, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.unique(seeds, axis=0), np.unique(values, axis=0))


def test_seeds_are_distinct_where_pairs_are_close_beside_their_distance():
    # Squared distances of 1 beside norms of 1e14, whose rounding is 1e-2: copies of a seed must not look like news.
    values = np.array([[0.0, 0.0], [1.0, 0.0], [1e7, 3e6], [1e7, 3e6 + 1.0]]) + 1 / 3
    x = np.repeat(values, 500, axis=0)
    for seed in range(10):
        seeds = d2_seeds(x, 4, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.unique(seeds, axis=0), np.unique(values, axis=0))


def test_seeds_where_there_are_too_few_rows_are_still_rows():
    x = np.repeat([[1.0, 2.0], [3.0, 4.0]], 5, axis=0)
    seeds = d2_seeds(x, 4, np.random.default_rng(0))
    assert seeds.shape == (4, 2)
    np.testing.assert_array_equal(np.unique(seeds, axis=0), [[1.0, 2.0], [3.0, 4.0]])


def test_random_rows_are_distinct_where_there_are_as_many():
    x = np.concatenate([np.zeros((500, 2)), np.arange(1.0, 7.0).reshape(3, 2)])
    for seed in range(10):
        centers = seeding._centers(x, 4, "random_from_data", np.random.default_rng(seed))
        np.testing.assert_array_equal(np.unique(centers, axis=0), np.unique(x, axis=0))


def test_seeds_beat_random_rows_on_separated_clusters():
    x, _ = clusters(n=1000, k=10, d=2, spread=30.0)
    ours = [cost(x, d2_seeds(x, 10, np.random.default_rng(s))) for s in range(20)]
    rows = [cost(x, x[np.random.default_rng(s).choice(1000, 10, replace=False)]) for s in range(20)]
    # Random rows miss a third of the clusters, each costs 30^2 a row; seeds in the right cluster cost twice the best.
    assert np.median(ours) < 0.1 * np.median(rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_lloyd_steps_are_those_of_scikit_learn(seed, offset):
    x = offset + clusters(n=600, k=6, d=2, spread=2.0, seed=seed)[0]
    centers = d2_seeds(x, 6, np.random.default_rng(seed))
    reference = KMeans(6, init=centers, n_init=1, tol=1e-4, max_iter=300, algorithm="lloyd").fit(x)
    ours = lloyd(x, centers, np.random.default_rng(0))
    # The same steps and the same end; rounding of the offset.
    np.testing.assert_allclose(ours, reference.cluster_centers_, rtol=1e-13, atol=1e-11)


def test_lloyd_seeds_empty_centres_anew():
    x, _ = clusters(spread=40.0)
    lost = np.concatenate([x[:2], [[1e5, 1e5, 1e5], [-1e5, 0.0, 0.0]]])
    centers = lloyd(x, lost, np.random.default_rng(0))
    assert np.all(np.bincount(nearest(x, centers), minlength=4) > 0)
    assert cost(x, centers) <= cost(x, x[:2])


def test_distinct_rows_are_counted(xp):
    x = np.repeat(np.arange(10.0).reshape(5, 2), 700, axis=0)
    source = ArraySource(xp.asarray(x))
    assert [n_distinct_rows(source, k) for k in (1, 2, 5, 6)] == [1, 2, 5, 5]


def test_distinct_rows_of_weight_zero_do_not_count():
    x = np.concatenate([np.zeros((3, 2)), np.arange(8.0).reshape(4, 2) + 1])
    assert n_distinct_rows(ArraySource(x, np.array([1.0, 1, 1, 1, 0, 0, 0])), 3) == 2


@pytest.mark.parametrize("weighted", [False, True])
def test_few_wide_cells_have_the_moments_of_their_rows(weighted):
    """In many dimensions a cell's second moment is taken of its own rows, without products of coordinates."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 12)) + 9 * rng.integers(2, size=(300, 1))
    weight = rng.integers(0, 3, 300).astype(float) if weighted else np.ones(300)
    mixture = initial_mixture(ArraySource(x, weight if weighted else None), 2, "full", "kmeans", 0.0, rng)
    label = x.mean(axis=1) > 4.5
    for k in range(2):
        mine = label == (mixture.means[k].mean() > 4.5)
        # 150 terms of size 100, in another order.
        np.testing.assert_allclose(mixture.weights[k], weight[mine].sum() / weight.sum(), rtol=1e-12)
        np.testing.assert_allclose(mixture.means[k], np.average(x[mine], axis=0, weights=weight[mine]), atol=1e-11)
        expected = np.cov(x[mine].T, aweights=weight[mine], ddof=0)
        np.testing.assert_allclose(mixture.covariance.values[k], expected, atol=1e-11)
