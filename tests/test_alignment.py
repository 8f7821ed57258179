"""Alignment: the subspace of the atoms is that of maximum likelihood with means in a subspace."""

import numpy as np
import pytest

from scoremix.evaluation.problems import make_gaussian_mixture
from scoremix.learning.mixtures.mean_subspace import rotate_to_means
from scoremix.learning.mixtures.npmle import CommonVariance
from scoremix.learning.moments import chunk_moments
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import leading_subspace
from scoremix.samples.source import ArraySource, Chunk

D, RANK = 12, 3


def problem(k, n=4000, seed=0, rank=RANK):
    """Clusters, the frame of their covariance, and their true means in it."""
    truth = make_gaussian_mixture(k, D, 5.0, layout="simplex" if k <= D else "random", random_state=seed)
    rows = truth.sample(n, np.random.default_rng(seed))
    moments = chunk_moments(Chunk(0, rows, None), rows[0])
    frame = leading_subspace(moments.mean, moments.covariance, n, 1.0, rank, moments.origin)
    atoms = Mixture(truth.weights, frame.encode(truth.means).T, Spherical(np.ones(k), rank))
    return rows, moments, frame, atoms


def whole(frame, atoms):
    k = atoms.n_components
    return Mixture(atoms.weights, np.asarray(frame.embed(atoms.means.T)), Spherical(np.ones(k), frame.n_features))


def test_atoms_that_span_the_subspace_are_those_of_em_in_the_whole_space():
    rows, moments, frame, atoms = problem(4)
    turned, found = rotate_to_means(ArraySource(rows), moments, frame, atoms)
    best = CommonVariance(1.0, D).em(ArraySource(rows), whole(frame, atoms), 3)
    np.testing.assert_allclose(whole(turned, found).means, best.means, atol=1e-6)
    np.testing.assert_allclose(found.weights, best.weights, atol=1e-9)


def test_likelihood_rises_where_atoms_span_more_than_the_subspace():
    rows, moments, frame, atoms = problem(8)
    turned, found = rotate_to_means(ArraySource(rows), moments, frame, atoms)
    assert turned.rank == RANK
    # The axes of all data are not those of maximum likelihood, nor are means of the truth: both passes gain by it.
    start = CommonVariance(1.0, RANK).em(ArraySource(frame.encode(rows).T), atoms, 3)
    gain = whole(turned, found).log_density(rows) - whole(frame, start).log_density(rows)
    assert gain.mean() > 0


def test_the_frame_is_one_of_principal_axes():
    rows, moments, frame, atoms = problem(8)
    turned, _ = rotate_to_means(ArraySource(rows), moments, frame, atoms)
    np.testing.assert_allclose(turned.basis.T @ turned.basis, np.eye(RANK), atol=1e-12)
    inner = turned.basis.T @ moments.covariance @ turned.basis
    np.testing.assert_allclose(inner, np.diag(turned.variances), atol=1e-10)
    assert np.all(np.diff(turned.variances) <= 0)
    assert np.all((moments.origin - turned.mean) @ turned.basis >= 0)


@pytest.mark.parametrize("k", [1, 2])
def test_directions_without_atoms_are_those_of_the_frame(k):
    rows, moments, frame, atoms = problem(k)
    turned, found = rotate_to_means(ArraySource(rows), moments, frame, atoms)
    assert turned.rank == RANK
    # The means span k - 1 axes; the others stay within the old subspace, up to what the means turned.
    inside = np.linalg.svd(frame.basis.T @ turned.basis, compute_uv=False)
    assert np.count_nonzero(inside > 1 - 1e-9) >= RANK - (k - 1)
    assert found.n_components == k


def test_a_whole_space_is_left_as_it_is():
    rows, moments, frame, atoms = problem(3, rank=D)
    assert rotate_to_means(ArraySource(rows), moments, frame, atoms) == (frame, atoms)


def test_the_frame_turns_with_the_data():
    rows, moments, frame, atoms = problem(6)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((D, D)))[0]
    turned, found = rotate_to_means(ArraySource(rows), moments, frame, atoms)
    again = chunk_moments(Chunk(0, rows @ rotation, None), (rows @ rotation)[0])
    other = leading_subspace(again.mean, again.covariance, len(rows), 1.0, RANK, again.origin)
    rotated, same = rotate_to_means(ArraySource(rows @ rotation), again, other, atoms)
    np.testing.assert_allclose(rotated.basis, rotation.T @ turned.basis, atol=1e-7)
    np.testing.assert_allclose(same.means, found.means, atol=1e-7)
