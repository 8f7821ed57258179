"""Log density from scores: an integral over noise levels at fixed points, without trajectories.

The density of noisy data obeys the heat equation, ``d q_t / dt = (div grad q_t) / 2``, so at a fixed point y::

    log q_0(y) = log q_T(y) - 1/2 integral over 0 < t < T of (div s + |s|^2) dt,

with ``t = sigma**2`` and the score s at level sigma. The integrand times t is smooth in log t: the trapezoidal rule on
a few levels is ten times as accurate as the probability flow at the same levels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scoremix.arrays import Array, Floats, like, namespace, product, to_numpy
from scoremix.sampling.reverse import Denoiser

STEP = 1e-3  # Step of central differences, in units of sigma.


def log_density(
    denoiser: Denoiser,
    x: Array,
    sigmas: Iterable[float],
    mean: Floats | None = None,
    cov: Floats | None = None,
) -> Array:
    """Log density of the data's distribution at some points, from its denoiser.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma) -> E[x | y]``.
    x : array of shape (n, d)
        Points.
    sigmas : iterable of float
        Decreasing levels, at least two that are not 0; the score of the lowest one continues to 0.
    mean, cov : ndarray of shape (d,) and (d, d), optional
        Moments of the data, those of x by default: at the top level their distribution is taken to be Gaussian.

    Returns
    -------
    array of shape (n,)
        In nats, in the library and the precision of x; computed in double precision.

    Raises
    ------
    ValueError
        If the levels do not decrease.

    Notes
    -----
    ``2 d + 1`` calls of the denoiser per level: the divergence is taken by central differences along the axes.
    """
    levels = np.array([sigma for sigma in map(float, sigmas) if sigma > 0])
    if len(levels) < 2 or np.any(np.diff(levels) >= 0):
        raise ValueError(f"sigmas={levels} are no levels of a density: give at least two, decreasing.")
    xp = namespace(x)
    y = xp.astype(x, xp.float64)
    points = to_numpy(y)
    mean = points.mean(axis=0) if mean is None else mean
    cov = np.cov(points.T, bias=True).reshape(2 * [y.shape[1]]) if cov is None else cov
    top = np.asarray(cov) + levels[0] ** 2 * np.eye(int(y.shape[1]))
    total = _gaussian(y, np.asarray(mean), top)
    for sigma, weight in zip(levels.tolist(), heat_weights(levels).tolist(), strict=True):
        total = total - 0.5 * weight * _growth(denoiser, y, sigma)
    return xp.astype(total, x.dtype)


def heat_weights(sigmas: Floats, end: float = 0.0) -> Floats:
    """Weights of an integral over t: the trapezoidal rule in log t, and a rectangle from the lowest level to `end`.

    Parameters
    ----------
    sigmas : ndarray of shape (L,)
        Decreasing noise levels.
    end : float
        Where the integral ends, a noise level up to the lowest one.

    Returns
    -------
    ndarray of shape (L,)
    """
    t = sigmas**2
    halves = -0.5 * np.diff(np.log(t))
    weights = t * (np.append(halves, 0.0) + np.append(0.0, halves))
    weights[-1] += t[-1] - end**2
    return np.asarray(weights)


def divergence(field: Denoiser, y: Array, step: float, sigma: float) -> Array:
    """Divergence of a vector field at the points y (n, d), by central differences along the axes, shape (n,)."""
    total = 0.0
    for j, axis in enumerate(np.eye(int(y.shape[1]))):
        shift = step * like(axis, y)[None, :]
        change = field(y + shift, sigma) - field(y - shift, sigma)
        total = total + change[:, j] / (2 * step)
    return total


def _growth(denoiser: Denoiser, y: Array, sigma: float) -> Array:
    """``div s + |s|^2`` of the rows y."""
    score = (denoiser(y, sigma) - y) / sigma**2
    slope = divergence(denoiser, y, STEP * sigma, sigma) - float(y.shape[1])
    return slope / sigma**2 + namespace(y).sum(score * score, axis=1)


def _gaussian(y: Array, mean: Floats, cov: Floats) -> Array:
    """Log density of N(mean, cov) at the rows y."""
    root = np.linalg.cholesky(cov)
    white = product(y - like(mean, y)[None, :], like(np.linalg.inv(root).T, y))
    constant = 0.5 * len(mean) * np.log(2 * np.pi) + float(np.log(np.diagonal(root)).sum())
    return -0.5 * namespace(y).sum(white * white, axis=1) - float(constant)
