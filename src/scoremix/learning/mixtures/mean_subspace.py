"""The subspace of the atoms: turned to where their means lie, by maximum likelihood.

The frame of a model is first seen in the covariance of all data, noise included. Once atoms are known, responsibilities
say which rows belong together, and averages of these tell far better where the centers lie. So EM goes on in the whole
space for a few passes, with the means kept in an affine subspace of the rank of the frame: the M-step projects the
averages on the leading axes of their own scatter, which is exact for noise of one variance in all directions (as in
linear discriminant analysis of reduced rank). With k atoms in a subspace of rank k - 1 or more nothing is lost to the
choice of a subspace any more: the score is that of maximum likelihood in the whole space.

References
----------
Campbell, Australian Journal of Statistics 1984; Hastie and Tibshirani, JRSS B 1996 (discriminant analysis of reduced
rank is maximum likelihood with means in a subspace).
"""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Floats
from scoremix.learning.em.em import e_step
from scoremix.learning.moments import Moments
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.models.subspace import Subspace, orient
from scoremix.samples.source import Source

PASSES = 3  # Passes over the rows: the subspace settles with the first.

# Weight of the axes of the frame beside those of the means: it decides only where these leave directions open.
IDLE = 1e-6


def rotate_to_means(source: Source, moments: Moments, frame: Subspace, atoms: Mixture) -> tuple[Subspace, Mixture]:
    """Turn a frame to the subspace of the atoms in it.

    Three passes of O(n k d), and as many decompositions of O(k d min(k, d)).
    """
    if frame.is_whole:
        return frame, atoms
    k, d, variance = atoms.n_components, frame.n_features, frame.noise_scale**2
    mixture = Mixture(atoms.weights, np.asarray(frame.embed(atoms.means.T)), Spherical(np.full(k, variance), d))
    for _ in range(PASSES):
        expected = e_step(source, mixture)
        seen = np.maximum(expected.mass, np.finfo(float).tiny)
        means, weights = mixture.means + expected.first / seen[:, None], expected.mass / expected.mass.sum()
        center = weights @ means
        basis = _leading_axes(np.sqrt(weights)[:, None] * (means - center), frame)
        mixture = Mixture(weights, center + (means - center) @ basis @ basis.T, mixture.covariance)
    spread, turn = np.linalg.eigh(basis.T @ moments.covariance @ basis)
    basis = orient(np.ascontiguousarray(basis @ turn[:, ::-1]), moments.origin - center)
    turned = Subspace(center, basis, np.maximum(spread[::-1], 0.0), frame.noise_scale)
    return turned, Mixture(
        mixture.weights, (mixture.means - center) @ basis, Spherical(np.full(k, variance), frame.rank)
    )


def _leading_axes(rows: Floats, frame: Subspace) -> Floats:
    """As many leading axes of rows (k, d) as the frame has, shape (d, r); those of the frame where rows span fewer."""
    scale = IDLE * np.linalg.norm(rows) if rows.any() else 1.0
    _, _, axes = np.linalg.svd(np.concatenate([rows, scale * frame.basis.T]), full_matrices=False)
    return np.asarray(axes[: frame.rank].T)
