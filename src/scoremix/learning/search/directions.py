"""Directions in which the samples of a component may fall in two, found in many columns without a matrix of moments.

All by products of the samples with vectors, O(n d) each, for a group of components at once: the parts of a component
differ in a few directions if at all, and it is those of largest variance, or of least fourth moment, that show it.
"""

from __future__ import annotations

import numpy as np

from scoremix.arrays import Floats, product

TINY = 1e-30
TURNS, STEPS = 3, 16  # Turns of the power method, and steps of Lanczos' method.


def leading_directions(x: Floats, weight: Floats, most: int) -> Floats:
    """Orthonormal directions (g, d, q) of largest variance, largest first, of offsets (g, m, d) with weights (g, m)."""
    basis = np.random.default_rng(0).standard_normal((x.shape[2], most)).astype(x.dtype)
    basis = np.broadcast_to(basis, (len(x), *basis.shape))
    for _ in range(TURNS):
        basis = np.linalg.qr(_moments_times(x, weight, basis))[0]
    variances, axes = np.linalg.eigh(product(np.swapaxes(basis, 1, 2), _moments_times(x, weight, basis)))
    order = np.argsort(-variances, axis=1)[:, None, :]
    return np.asarray(product(basis, np.take_along_axis(axes, order, axis=2)))


def _moments_times(x: Floats, weight: Floats, vectors: Floats) -> Floats:
    return np.asarray(product(np.swapaxes(x, 1, 2), product(x, vectors) * weight[:, :, None]))


def least_moment(x: Floats, weight: Floats) -> Floats:
    """The directions (g, d, 1) in which second moments of vectors (g, m, d) with weights (g, m) are least, nearly.

    Lanczos' method, from a vector among the samples: it never looks where there are none.
    """
    g, m, d = x.shape
    signs = np.sign(np.sin(1.0 + 7.0 * np.arange(m))).astype(x.dtype)  # as good as drawn
    vector = product(np.swapaxes(x, 1, 2), (weight * signs)[:, :, None])
    steps = min(STEPS, d, m)
    basis, small = np.zeros((g, d, steps), x.dtype), np.zeros((g, steps, steps))
    for step in range(steps):
        vector = vector / (np.linalg.norm(vector, axis=1, keepdims=True) + TINY)
        basis[:, :, step] = vector[:, :, 0]
        vector = _moments_times(x, weight, vector)
        for _ in range(2):  # orthogonal to what was seen, and once more for rounding
            seen = product(np.swapaxes(basis[:, :, : step + 1], 1, 2), vector)
            vector = vector - product(basis[:, :, : step + 1], seen)
            small[:, : step + 1, step] += seen[:, :, 0]
            small[:, step, : step + 1] = small[:, : step + 1, step]
    values, axes = np.linalg.eigh(small)
    # Where vectors came to an end, moments are those of nothing.
    nothing = np.linalg.norm(product(basis, axes.astype(x.dtype)), axis=1) < 0.5
    least = np.argmin(np.where(nothing, np.inf, values), axis=1)
    return np.asarray(product(basis, np.take_along_axis(axes, least[:, None, None], axis=2).astype(x.dtype)))
