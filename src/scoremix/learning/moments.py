"""Additive statistics and the small solves that end them.

`Moments` are weighted sums of ``1, x, x x^T`` about a fixed origin (mean, covariance). `NormalEquations` are the Gram
matrix and the cross products of a linear regression, kept apart in *folds* of the rows, so that held-out losses of
every fold come from the same single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoremix.arrays import Floats, like, namespace, product, to_numpy
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source


@dataclass(frozen=True)
class Moments:
    """Weighted moments of rows about an origin; leading axes (cells, say) are allowed.

    origin (d,).
    """

    weight: Floats
    first: Floats
    second: Floats
    squared_weight: Floats
    reach: Floats
    origin: Floats

    def __add__(self, other: Moments) -> Moments:
        """Merge the moments of two sets of rows about the same origin."""
        return Moments(
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            self.squared_weight + other.squared_weight,
            np.maximum(self.reach, other.reach),
            self.origin,
        )

    @property
    def mean(self) -> Floats:
        """Weighted mean, shape (..., d)."""
        return np.asarray(self.origin + self.first / self.weight[..., None])

    @property
    def covariance(self) -> Floats:
        """Weighted covariance (maximum likelihood), shape (..., d, d)."""
        shift = self.first / self.weight[..., None]
        cov = self.second / self.weight[..., None, None] - shift[..., :, None] * shift[..., None, :]
        return np.asarray((cov + np.swapaxes(cov, -1, -2)) / 2)

    @property
    def effective_rows(self) -> Floats:
        """Kish's effective number of rows, (sum w)^2 / sum w^2."""
        return np.asarray(self.weight**2 / self.squared_weight)


def chunk_moments(chunk: Chunk, origin: Floats) -> Moments:
    """Moments of one chunk about `origin`; cost O(n d^2), one symmetric product."""
    xp = namespace(chunk.x)
    centered = chunk.x - like(origin, chunk.x)[None, :]
    if chunk.weight is None:
        n = np.float64(centered.shape[0])
        weight, squared, weighted = n, n, centered
    else:
        weight = np.float64(to_numpy(xp.sum(chunk.weight)))
        squared = np.float64(to_numpy(xp.sum(chunk.weight**2)))
        weighted = centered * chunk.weight[:, None]
    first = to_numpy(xp.sum(weighted, axis=0)).astype(np.float64)
    second = to_numpy(product(weighted.T, centered)).astype(np.float64)
    distance = xp.abs(centered)
    if chunk.weight is not None:
        distance = distance * xp.astype(chunk.weight > 0, distance.dtype)[:, None]  # a row without weight is absent
    reach = to_numpy(xp.max(distance, axis=0)).astype(np.float64)
    return Moments(np.asarray(weight), first, second, np.asarray(squared), reach, origin)


CHUNK_ROWS = 8192  # Rows of a chunk of moments.


@dataclass(frozen=True)
class Spectrum:
    """Leading directions of the data.

    mean (d,); variances (k,); axes (d, k).
    """

    mean: Floats
    variances: Floats
    axes: Floats


def top_subspace(source: Source, n_directions: int, *, n_threads: int | None = None) -> Spectrum:
    """Directions of the largest variance: up to sampling error they span the means of a mixture about their mean.

    n_directions: between 0 and d; k - 1 for the means of k components of one spherical covariance.

    ValueError: If there are fewer features than directions.

    One pass of cost O(n d^2), then O(d^3).
    """
    d = source.n_features
    if not 0 <= n_directions <= d:
        raise ValueError(f"{n_directions} directions were asked for, but the data have {d} dimensions.")
    origin = to_numpy(next(iter(source.chunks(1))).x)[0].astype(np.float64)

    def statistic(chunk: Chunk) -> Moments:
        return chunk_moments(chunk, origin)

    moments = accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)
    values, axes = np.linalg.eigh(moments.covariance)
    largest = slice(d - n_directions, d)
    return Spectrum(moments.mean, values[largest][::-1], axes[:, largest][:, ::-1])
