"""Crude estimates and the regression on them: brute force with NumPy, the certificate of Lemma 9, known truths."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.problems import make_gaussian_mixture
from scoremix.features import Hermite
from scoremix.learning.cks import covariances as module
from scoremix.learning.cks.cells import (
    CellScore,
    enumerate_partitions,
    fit_cells,
    learn_general,
    select_candidate,
    share_cells,
)
from scoremix.learning.cks.covariances import (
    MAX_NET,
    ball_net,
    clip_eigenvalues,
    covariance_blocks,
    local_covariances,
    most_used,
    net_covariances,
    project,
)
from scoremix.learning.cks.means import (
    add_covariances,
    cells_of_means,
    clustered_means,
    crude_estimates,
    crude_sets,
    mean_subspace,
    net_means,
)
from scoremix.learning.regression.scores import RegressionSettings, ScoreRegression
from scoremix.models.likelihood_ratio import LikelihoodRatio
from scoremix.models.score_model import PiecewiseScore
from scoremix.noise import BLOCK, normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk

ONE = RegressionSettings(n_threads=1)


def problem(k=3, d=5, separation=3.0, n=6000, seed=0, condition=10.0):
    truth = make_gaussian_mixture(k, d, separation, "full", condition=condition, random_state=seed)
    drawn = truth.draw(n, np.random.default_rng(seed + 100))
    return truth, drawn.x, drawn.labels


def crossed(n=6000, seed=0):
    """Two components of one mean."""
    variances = np.array([[9.0, 0.04], [0.04, 9.0]])
    truth = GaussianMixtureTruth(np.full(2, 0.5), np.zeros((2, 2)), variances, None, None)
    drawn = truth.draw(n, np.random.default_rng(seed))
    return truth, drawn.x, drawn.labels


def recentred(rows, means, basis):
    """z = x - the candidate nearest in the subspace, by plain loops over candidates."""
    gaps = np.stack([np.linalg.norm((rows - m) @ basis, axis=1) for m in means])
    return rows - means[gaps.argmin(axis=0)]


def second_moment(z, left, right, weight=None):
    """T of a block as a matrix, all its entries."""
    q = np.einsum("na,nb->nab", z @ left, z @ right).reshape(len(z), -1)
    weight = np.ones(len(z)) if weight is None else weight
    return (q * weight[:, None]).T @ q / weight.sum()


def blocks_of(x, k, d_seed=0, weight=None, threads=1):
    source, rng = ArraySource(x, weight), np.random.default_rng(d_seed)
    subspace = mean_subspace(source, k, n_threads=threads)
    cells = cells_of_means(clustered_means(x[:2000], subspace, k, rng), subspace.basis)
    return subspace, cells, covariance_blocks(source, cells, k, rng, threads)


def test_the_subspace_of_the_means_is_found():
    """Spherical components: the angle is a perturbation of the spectrum (Davis-Kahan)."""
    truth = make_gaussian_mixture(4, 20, 6.0, layout="simplex", random_state=1)
    source = ArraySource(truth.sample(20_000, np.random.default_rng(1)))
    found = mean_subspace(source, 3, n_threads=1).basis
    # Centred means of 4 components span 3 directions; the error of the covariance has norm about 2 lambda sqrt(d / n),
    # the gap is lambda - 1 for the smallest of the three: lambda stands for the largest.
    span = np.linalg.svd((truth.means - truth.mean).T)[0][:, :3]
    values = np.sort(np.linalg.eigvalsh(truth.cov))[::-1]
    bound = 2 * values[0] * np.sqrt(20 / 20_000) / (values[2] - 1)
    assert np.sin(subspace_angles(found, span).max()) < bound < 0.5


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("separation", [0.3, 3.0])
def test_no_mean_is_further_from_the_subspace_than_its_certificate(seed, separation):
    """Lemma 9, means, of the sample itself: w |(I - P)(m_i - m)|^2 <= lambda_(k+1), with no constant."""
    k = 2
    _, x, labels = problem(k=k, d=6, separation=separation, seed=seed)
    subspace = mean_subspace(ArraySource(x), k, n_threads=1)
    assert subspace.rest == pytest.approx(np.linalg.eigvalsh(np.cov(x.T, bias=True))[-k - 1], rel=1e-9)
    for i in range(k):
        centred = x[labels == i].mean(axis=0) - subspace.mean
        lost = np.linalg.norm(centred - subspace.basis @ (subspace.basis.T @ centred))
        assert lost <= np.sqrt(subspace.rest / np.mean(labels == i)) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_every_component_has_a_candidate_in_the_nets(seed):
    """Lemma 9 for both nets: distances of means, and of recentred second moments, to the nearest point of the net."""
    k = 2
    _, x, labels = problem(k=k, d=3, separation=2.0, seed=seed)
    subspace, cells, blocks = blocks_of(x, k)
    means = net_means(subspace, 4.0, 1.0)
    radius = 1.2 * max(np.linalg.norm(x[labels == i].T @ x[labels == i] / np.sum(labels == i)) for i in range(k))
    net = net_covariances(blocks, radius, radius / 4, 0.0)
    z = recentred(x, cells.means, cells.basis)
    rest = sum((2 if b.left is not b.right else 1) * b.rest for b in blocks)
    for i in range(k):
        mine, share = labels == i, np.mean(labels == i)
        gap = np.linalg.norm(means - x[mine].mean(axis=0), axis=1).min()
        assert gap <= np.sqrt(1.0 + subspace.rest / share)
        q = z[mine].T @ z[mine] / mine.sum()
        # Inside the subspaces the net is within 2 spacings; what the subspaces lose adds by Pythagoras. (Eigenvalues
        # are then raised to 0: no further from q, whose are positive.)
        assert np.linalg.norm(net - q, axis=(1, 2)).min() <= np.sqrt((radius / 2) ** 2 + rest / share)


@pytest.mark.parametrize("seed", range(5))
def test_data_have_candidates_near_every_component(seed):
    """Lemma 9 for the default: means within 2 sqrt(beta), covariances within the loss of the subspaces and a factor."""
    k, d = 3, 4
    truth, x, labels = problem(k=k, d=d, separation=4.0, seed=seed)
    crude = crude_estimates(ArraySource(x), k, np.random.default_rng(seed), n_threads=1)
    beta = truth.variances.max()
    for i in range(k):
        assert np.linalg.norm(crude.means - truth.means[i], axis=1).min() <= 2 * np.sqrt(beta)
        # 2 sqrt(beta) off recentres S by up to 4 beta in one direction; S itself is at most sqrt(d) beta.
        gaps = np.linalg.norm(crude.covariances - truth.covariances[i], axis=(1, 2))
        assert gaps.min() <= np.sqrt(d) * beta
        assert np.mean(labels == i) > 0.2
    assert np.linalg.eigvalsh(crude.covariances).min() > 0


@pytest.mark.parametrize("k", [2, 4])
def test_blocks_are_those_of_the_full_eigendecomposition(k):
    _, x, _ = problem(k=4, d=5, n=3000)
    _, cells, blocks = blocks_of(x, k)
    z = recentred(x, cells.means, cells.basis)
    assert len(blocks) == 3
    for block in blocks:
        t = second_moment(z, block.left, block.right)
        values, vectors = np.linalg.eigh(t)
        q = len(block.basis)
        # Blocks of at most k + 8 directions take one pass and no iteration: equal but for rounding.
        ours = block.basis.reshape(q, -1).T
        np.testing.assert_allclose(ours.T @ ours, np.eye(q), atol=1e-10)
        np.testing.assert_allclose(ours @ ours.T, vectors[:, -q:] @ vectors[:, -q:].T, atol=1e-7)
        wanted = values[-q - 1] if q < len(values) else 0.0
        assert block.rest == pytest.approx(max(wanted, 0.0), abs=1e-8 * values[-1])


def test_many_directions_are_found_by_iteration():
    """36 directions in the block 11, 10 sketches: angles to the full eigenvectors, and rows of 1 to 10 passes."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20_000, 9)) * np.array([4, 1, 1, 1, 1, 1, 1, 1, 1])
    x[::2] *= np.linspace(0.3, 1.5, 9)
    subspace = mean_subspace(ArraySource(x), 1, n_threads=1)
    cells = cells_of_means(subspace.mean[None], subspace.basis)
    block = covariance_blocks(ArraySource(x), cells, 2, rng, 1)[-1]
    t = second_moment(x - subspace.mean, block.left, block.right)
    values = np.linalg.eigvalsh(t)
    assert block.left.shape[1] == 8
    # Directions converge like (lambda_11 / lambda_i)^(2 passes + 1) of the Rayleigh quotient.
    found = np.linalg.eigvalsh(block.basis.reshape(2, -1) @ t @ block.basis.reshape(2, -1).T)
    rate = (values[-11] / values[-2]) ** 5
    np.testing.assert_allclose(found, values[-2:], rtol=max(10 * rate, 1e-9))
    assert block.rest <= values[-3] * (1 + 1e-9)


def test_projection_keeps_what_lies_in_the_subspaces_and_is_idempotent():
    _, x, _ = problem(k=2, d=5)
    _, _, blocks = blocks_of(x, 2)
    rng = np.random.default_rng(0)
    inside = sum(b.matrices(rng.standard_normal((3, len(b.basis)))) for b in blocks)
    np.testing.assert_allclose(project(blocks, inside), inside, atol=1e-12)
    np.testing.assert_allclose(inside, np.swapaxes(inside, 1, 2), atol=1e-12)
    outside = rng.standard_normal((3, 5, 5))
    once = project(blocks, outside + np.swapaxes(outside, 1, 2))
    np.testing.assert_allclose(project(blocks, once), once, atol=1e-12)
    assert np.linalg.norm(once) < np.linalg.norm(outside + np.swapaxes(outside, 1, 2))


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_do_not_depend_on_chunks_and_threads(monkeypatch, threads):
    _, x, _ = problem(n=5000)
    expected = blocks_of(x, 2)[2]
    monkeypatch.setattr(module, "CHUNK_ROWS", 700)
    for ours, theirs in zip(blocks_of(x, 2, threads=threads)[2], expected, strict=True):
        np.testing.assert_allclose(project((ours,), np.eye(5)[None]), project((theirs,), np.eye(5)[None]), atol=1e-9)


def test_weights_are_repetition_in_the_blocks():
    _, x, _ = problem(n=1500, d=4)
    weight = np.random.default_rng(0).integers(0, 4, len(x))
    subspace = mean_subspace(ArraySource(x), 2, n_threads=1)
    cells = cells_of_means(x[:3], subspace.basis)
    asked = [ArraySource(x, weight.astype(float)), ArraySource(np.repeat(x, weight, axis=0))]
    ours, theirs = (covariance_blocks(s, cells, 2, np.random.default_rng(1), 1) for s in asked)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(project((one,), np.eye(4)[None]), project((other,), np.eye(4)[None]), atol=1e-9)
        assert one.rest == pytest.approx(other.rest, rel=1e-9)


def test_crossed_covariances_are_recovered():
    truth, x, labels = crossed()
    crude = crude_estimates(ArraySource(x), 2, np.random.default_rng(0), n_means=1, n_threads=1)
    order = np.argsort(crude.covariances[:, 1, 1])
    # Hard cells of 96 % of the right rows; the 4 % strays are small ones, and the bias is below 10 % of 9.
    np.testing.assert_allclose(crude.covariances[order], truth.covariances, atol=0.9)
    agreement = np.mean(crude.labels(x.T, 0.0) == labels)
    assert max(agreement, 1 - agreement) > 0.94  # .9576 expected, standard error .0026


def test_separated_components_of_different_shapes_keep_their_labels():
    _, x, labels = problem(k=4, d=3, separation=8.0, seed=2)
    crude = crude_estimates(ArraySource(x), 4, np.random.default_rng(1), n_covariances=1, n_threads=1)
    found = crude.labels(x.T, 0.0)
    table = np.array([[np.sum((labels == i) & (found == j)) for j in range(4)] for i in range(4)])
    # 4 standard deviations from any border: about 4 rows of 6000 on the wrong side, were all as wide as the widest.
    assert table.max(axis=1).sum() >= len(x) - 12


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_net_covers_its_ball(rank):
    net = ball_net(3.0, 0.7, rank)
    inside = np.random.default_rng(0).standard_normal((500, rank))
    inside *= 3 * np.random.default_rng(1).random((500, 1)) / np.maximum(np.linalg.norm(inside, axis=1), 1e-9)[:, None]
    assert max(np.linalg.norm(net - p, axis=1).min() for p in inside) <= 0.7
    assert len(net) <= (2 * np.ceil(3.0 / (1.4 / np.sqrt(max(rank, 1)))) + 1) ** rank


def test_nets_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match=f"more than {MAX_NET}"):
        ball_net(10.0, 0.5, 6)
    _, x, _ = problem(k=3, d=5)
    _, _, blocks = blocks_of(x, 3)
    with pytest.raises(ValueError, match=f"more than {MAX_NET}"):
        net_covariances(blocks, 3.0, 1.0, 0.0)


def test_nets_serve_small_problems():
    _, x, labels = crossed()
    crude = crude_estimates(ArraySource(x), 2, np.random.default_rng(0), candidates="net", n_means=1, n_threads=1)
    agreement = np.mean(crude.labels(x.T, 0.0) == labels)
    assert len(crude.means) == 1
    assert max(agreement, 1 - agreement) > 0.8
    with pytest.raises(ValueError, match="choose 'data' or 'net'"):
        crude_estimates(ArraySource(x), 2, np.random.default_rng(0), candidates="grid")


def test_members_that_win_most_rows_are_used():
    _, x, _ = crossed()
    cells = add_covariances(
        cells_of_means(np.zeros((1, 2)), np.eye(2)), 1.0 * np.array([np.diag(v) for v in VARIANCES])
    )
    expected = np.bincount(np.asarray(cells.likeliest(x.T, 0.0)), minlength=len(VARIANCES))
    chosen = most_used(x, cells, 2)
    np.testing.assert_array_equal(chosen, np.argsort(-expected, kind="stable")[:2])


VARIANCES = [[1e3, 1e3], [9.0, 0.04], [1e-3, 1e-3], [0.04, 9.0], [1.0, 1.0]]


def test_eigenvalues_are_kept_in_range():
    out = clip_eigenvalues(np.array([np.diag([5.0, -1.0]), np.diag([1.0, 1.0])]), 0.5, 2.0)
    np.testing.assert_allclose(out, [np.diag([2.0, 0.5]), np.eye(2)])


@pytest.mark.parametrize("candidates", [(1, 1), (2, 2)])
def test_flat_data_do_not_fail(candidates):
    x = np.random.default_rng(0).standard_normal((500, 3)) * np.array([1.0, 0.0, 0.0])
    a, b = candidates
    crude = crude_estimates(ArraySource(x), 2, np.random.default_rng(0), n_means=a, n_covariances=b, n_threads=1)
    assert np.all(np.isfinite(crude.covariances))
    fit = fit_cells(ArraySource(x), crude, 0.3, 0, ONE)
    assert np.isfinite(fit.denoising_loss)


def test_fewer_rows_than_dimensions_do_not_fail():
    x = np.random.default_rng(0).standard_normal((4, 6))
    _, cells, blocks = blocks_of(x, 2)
    assert local_covariances(x, cells, blocks, 2, np.random.default_rng(0)).shape == (1, 6, 6)


def exact(truth):
    """Cells of the true parameters, one mean and one covariance per component."""
    return add_covariances(cells_of_means(truth.means, np.eye(truth.means.shape[1])), truth.covariances)


def test_candidates_that_are_close_share_cells():
    truth, _, _ = crossed()
    means, covariances = np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([[[1.0]], [[1.5]]])
    crude = add_covariances(cells_of_means(means, np.eye(1)), covariances)
    scale = np.sqrt(1.5 + 4.0)
    shared = share_cells(crude, 2.0, 1.01 / scale)  # chains: 0 - 1 - 2; ratio 5.5 / 5 - 1 = .1
    np.testing.assert_array_equal(shared.groups, [0, 0, 0, 1])
    np.testing.assert_array_equal(shared.kinds, [0, 0])
    apart = share_cells(crude, 2.0, 0.09)
    assert len(set(apart.groups)) == 4
    assert len(set(apart.kinds)) == 2
    assert share_cells(exact(truth), 0.0, 0.0).kinds.max() == 1  # equal means are one, different covariances are not
    assert share_cells(exact(truth), 0.0, 0.0).groups.max() == 0
    assert len(share_cells(crude, 2.0, np.inf).weights) == 1


def test_partitions_are_nested_and_none_is_tried_twice():
    truth, _, _ = problem(k=4, d=3)
    found = enumerate_partitions([exact(truth)], 0.5)
    assert len({(*c.groups, -1, *c.kinds) for c in found}) == len(found) > 1
    both = enumerate_partitions([exact(truth), exact(truth)], 0.5)
    assert len(both) == 2 * len(found) - 1  # one cell is one cell, whatever set it comes from
    cuts = [len(share_cells(exact(truth), 0.5, delta).weights) for delta in (0.0, 1.0, 4.0, np.inf)]
    assert all(a >= b for a, b in pairwise(cuts))


def test_statistic_is_the_sum_over_all_noisy_points():
    truth, x, _ = problem(k=2, d=2, n=400)
    cells, features, sigma = exact(truth), Hermite(2, 2), 0.6
    weight = np.random.default_rng(1).integers(0, 3, 400).astype(float)
    sums = ScoreRegression(CellScore(cells, features, sigma), 2, 2, (3, 1))(Chunk(0, x, weight))
    noise = normal_rows((3, 1), 0, 400, 4, x)
    gram, cross = np.zeros_like(sums.gram), np.zeros_like(sums.cross)
    for z in (noise[:2].T, noise[2:].T):
        for signed in (z, -z):
            y = x + sigma * signed
            for row, j in enumerate(np.asarray(cells.labels(y.T, sigma**2))):
                values, axes = np.linalg.eigh(cells.spreads[j] + sigma**2 * np.eye(2))
                u = axes / np.sqrt(values) @ axes.T @ (y[row] - cells.centers[j])
                h = features((u * min(1, (3 + np.sqrt(2)) / np.linalg.norm(u)))[:, None])[:, 0]
                target = axes / values @ axes.T @ (y[row] - cells.centers[j]) - signed[row] / sigma
                gram[row % 2, j] += weight[row] * np.outer(h, h)
                cross[row % 2, j] += weight[row] * np.outer(h, target)
    np.testing.assert_allclose(sums.gram, gram, atol=1e-9 * gram.max())
    np.testing.assert_allclose(sums.cross, cross, atol=1e-9 * np.abs(cross).max())
    assert sums.weight.sum() == pytest.approx(4 * weight.sum())


@pytest.mark.parametrize("threads", [1, 3])
def test_sums_do_not_depend_on_chunks_and_threads(threads):
    truth, x, _ = problem(k=2, d=2, n=3 * BLOCK)
    statistic = ScoreRegression(CellScore(exact(truth), Hermite(2, 2), 0.5), 1, 2, (0, 0))
    whole = accumulate(statistic, ArraySource(x), chunk_rows=len(x), n_threads=1)
    parts = accumulate(statistic, ArraySource(x), chunk_rows=1000, n_threads=threads)
    np.testing.assert_allclose(parts.gram, whole.gram, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(parts.cross, whole.cross, rtol=1e-10, atol=1e-8)


def test_held_out_loss_is_the_risk_of_the_denoiser():
    """Against fresh rows and fresh noise."""
    truth, x, _ = problem(k=3, d=2, n=8000)
    fit = fit_cells(ArraySource(x), exact(truth), 0.8, 0, ONE)
    rng = np.random.default_rng(9)
    fresh = truth.sample(40_000, rng)
    y = fresh + 0.8 * rng.standard_normal(fresh.shape)
    errors = np.mean((fit.model.posterior_mean(y.T, 0.8).T - fresh) ** 2, axis=1)
    # Standard errors of both means, four of them.
    tolerance = 4 * errors.std() * np.sqrt(1 / 40_000 + 1 / 8000)
    assert fit.denoising_loss == pytest.approx(errors.mean(), abs=tolerance)
    assert fit.model.weights.sum() == pytest.approx(1.0)


def score_error(fit, truth, sigma):
    rng = np.random.default_rng(1)
    y = truth.sample(20_000, rng)
    y = y + sigma * rng.standard_normal(y.shape)
    return np.mean(np.sum((fit.model.score(y.T, sigma).T - truth.score(y, sigma)) ** 2, axis=1))


def test_selection_takes_the_cells_that_fit():
    """Crossed components: cells by covariance win over Voronoi cells and over one cell, as their errors say."""
    truth, x, _ = crossed()
    voronoi = cells_of_means(np.array([[-2.0, 0.0], [2.0, 0.0]]), np.eye(2))
    good, one = enumerate_partitions([exact(truth)], 0.3, (0.0, np.inf))
    chosen = select_candidate(ArraySource(x), [voronoi, one, good], 0.3, 0, ONE)
    assert chosen.index == 2
    assert chosen.losses[2] == chosen.fit.denoising_loss
    errors = [score_error(fit_cells(ArraySource(x), c, 0.3, 0, ONE), truth, 0.3) for c in (voronoi, one, good)]
    # Losses are errors plus one constant: same order, and the same gaps up to the noise of 6000 rows.
    assert np.argsort(errors).tolist() == np.argsort(chosen.losses).tolist()
    assert errors[2] < 0.5 * min(errors[:2])
    with pytest.raises(ValueError, match="no candidate"):
        select_candidate(ArraySource(x), [], 0.3, 0, ONE)


def test_one_gaussian_is_learnt_exactly():
    """Degree 1 holds the score of a Gaussian whatever the cell's own Gaussian is."""
    rng = np.random.default_rng(0)
    truth = GaussianMixtureTruth(np.ones(1), np.ones((1, 3)), np.array([[1.0, 4.0, 0.5]]), None, None)
    wrong = add_covariances(cells_of_means(np.zeros((1, 3)), np.eye(3)), 2 * np.eye(3)[None])
    fit = fit_cells(ArraySource(truth.sample(20_000, rng)), wrong, 1.0, 0, replace(ONE, degree=1))
    # 12 coefficients, noise of the target about 1 per coordinate at sigma = 1: 12 / 80,000, times 4.
    assert score_error(fit, truth, 1.0) < 4 * 12 / 80_000 + 1e-4


def test_a_ladder_is_learnt():
    truth, x, _ = crossed(n=4000)
    seen = []
    fits = learn_general(
        ArraySource(x), 2, np.array([4.0, 0.5, 0.1]), ONE, np.random.default_rng(0), lambda *a: seen.append(a)
    )
    assert [level for level, _ in seen] == [0, 1, 2]
    assert [fit for _, fit in seen] == list(fits)
    assert all(isinstance(fit.model, PiecewiseScore) and fit.denoising_loss > 0 for fit in fits)
    # Against the score of one Gaussian, which is what no cells at all would give.
    gaussian = np.linalg.inv(np.cov(x.T) + 0.25 * np.eye(2))
    y = x + 0.5 * np.random.default_rng(2).standard_normal(x.shape)
    naive = np.mean(np.sum((-y @ gaussian - truth.score(y, 0.5)) ** 2, axis=1))
    assert score_error(fits[1], truth, 0.5) < 0.1 * naive


def test_sets_offer_one_mean_k_means_and_more():
    _, x, _ = problem(k=3, d=3)
    sets = crude_sets(ArraySource(x), 3, np.random.default_rng(0), 1)
    assert [len(s.means) for s in sets] == [1, 1, 3, 3, 6, 6]
    assert [len(s.covariances) for s in sets] == [3, 6, 1, 3, 1, 6]
    assert len(crude_sets(ArraySource(x), 1, np.random.default_rng(0), 1)) == 1
    assert all(isinstance(s, LikelihoodRatio) for s in sets)
