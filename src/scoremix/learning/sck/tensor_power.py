"""Means by the third moment: a spectral start, and what descent at large noise is an iteration of.

At large noise gradient descent is a power method on the second moment of the data, at small noise gradient EM. What the
first finds slowly an eigendecomposition finds at once (`learning.moments.top_subspace`), and with third moments the
means themselves: `tensor_power`.

References
----------
Shah, Chen and Klivans (2023), arXiv 2307.01178; Hsu and Kakade (ITCS 2013); Anandkumar, Ge, Hsu, Kakade and Telgarsky,
JMLR 15 (2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Floats, like, namespace, product, to_numpy
from scoremix.learning.moments import CHUNK_ROWS, top_subspace
from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate, add_fields
from scoremix.samples.source import Chunk, Source

POWER_STEPS, STARTS = 100, 10  # Iterations of the power method, and random starts per component.


@dataclass(frozen=True)
class ThirdMoment:
    """Sum of ``w y y y`` of whitened rows, shape (r, r, r), and of the weights w."""

    third: Floats
    weight: float

    __add__ = add_fields


def chunk_third_moment(chunk: Chunk, mean: Floats, whitening: Floats) -> ThirdMoment:
    """Third moment of ``y = whitening^T (x - mean)``, whitening of shape (d, r); cost O(n r (d + r^2))."""
    xp, x = namespace(chunk.x), chunk.x
    y = product(like(whitening.T, x), (x - like(mean, x)[None, :]).T)  # (r, n)
    weighted = y if chunk.weight is None else y * chunk.weight[None, :]
    weight = float(x.shape[0] if chunk.weight is None else xp.sum(chunk.weight))
    rank = whitening.shape[1]
    third = np.zeros((rank, rank, rank))
    for i in range(rank):  # the tensor is symmetric: only entries j, l >= i
        slab = to_numpy(product(y[i:, :] * weighted[i : i + 1, :], y[i:, :].T)).astype(np.float64)
        third[i, i:, i:] = third[i:, i, i:] = third[i:, i:, i] = slab
    return ThirdMoment(third, weight)


def tensor_power(
    source: Source, n_components: int, variance: float, rng: np.random.Generator, *, n_threads: int | None = None
) -> Mixture:
    """Means and weights of spherical Gaussians of one known variance, from three moments: no start, no likelihood.

    variance: s0 > 0, of every component.

    ValueError: If there are too many components, or the data vary too little for their number.

    Two passes of cost O(n d^2) and O(n k (d + k^2)), then O(k^5) for the power method with deflation.

    Hsu and Kakade subtract the noise from raw moments and need independent means. Here rows are taken about their mean,
    projected to the k - 1 top directions, whitened, and given one more coordinate, the constant 1: this makes the means
    independent wherever the origin is, the noise has no third moment of its own, and all entries of the third moment
    with the constant are known (identity, zero and one). A component of whitened mean m becomes the eigenpair
    ``(w^-1/2, w^1/2 (m, 1))`` of the tensor.
    """
    spectrum = top_subspace(source, n_components - 1, n_threads=n_threads)
    between = spectrum.variances - variance
    if np.any(between <= 0):
        raise ValueError(
            f"The data vary by more than variance = {variance} in {int(np.sum(between > 0))} directions only: too few "
            f"for {n_components} components. Ask for fewer, or give a smaller variance."
        )
    whitening = spectrum.axes / np.sqrt(between)

    def statistic(chunk: Chunk) -> ThirdMoment:
        return chunk_third_moment(chunk, spectrum.mean, whitening)

    sums = accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)
    r = n_components - 1
    tensor = np.zeros((r + 1, r + 1, r + 1))
    tensor[:r, :r, :r] = sums.third / sums.weight
    i = np.arange(r)
    tensor[i, i, r] = tensor[i, r, i] = tensor[r, i, i] = tensor[r, r, r] = 1.0
    values, vectors = decompose(tensor, rng)
    weights = np.maximum(values, 1.0) ** -2  # at most 1 each; sampling errors may say otherwise
    means = spectrum.mean + (values[:, None] * vectors[:, :r] * np.sqrt(between)) @ spectrum.axes.T
    return Mixture(weights / weights.sum(), means, Spherical(np.full(n_components, variance), source.n_features))


def decompose(tensor: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Eigenpairs of a symmetric tensor with orthogonal components ``sum_i value_i v_i v_i v_i``.

    tensor (k, k, k) -> values (k,), vectors (k, k).
    """
    k = len(tensor)
    left, values, vectors = tensor.copy(), np.zeros(k), np.zeros((k, k))
    for i in range(k):
        theta = rng.standard_normal((STARTS * k, k))
        for _ in range(POWER_STEPS):
            theta = _applied(left, theta / np.linalg.norm(theta, axis=1, keepdims=True))
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
        best = int(np.argmax(np.sum(_applied(left, theta) * theta, axis=1)))
        vectors[i] = theta[best]
        values[i] = _applied(left, theta[best : best + 1])[0] @ theta[best]
        left -= values[i] * np.einsum("a,b,c->abc", vectors[i], vectors[i], vectors[i])
    return values, vectors


def _applied(tensor: Floats, theta: Floats) -> Floats:
    """``T(., t, t)`` of every row t, shape (s, k)."""
    k = len(tensor)
    once = (theta @ tensor.reshape(k, k * k)).reshape(-1, k, k)
    return np.asarray((once @ theta[:, :, None])[:, :, 0])
