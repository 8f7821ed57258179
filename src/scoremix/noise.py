"""Noise levels, schedules and the noise itself.

One convention everywhere: variance exploding, ``y = x + sigma z`` with ``z ~ N(0, I)`` and ``t = sigma**2``; `sigma`
is the only clock. Ornstein-Uhlenbeck (variance preserving) time is converted at the edge: the process
``x_tau = exp(-tau) x_0 + sqrt(1 - exp(-2 tau)) z`` is ``exp(-tau) y`` at ``sigma**2 = exp(2 tau) - 1``.

Noise is keyed by *row*, not by chunk: rows are numbered from 0 and every block of `BLOCK` rows has a random stream of
its own, so that neither the chunk size nor the number of threads changes what is drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, like, namespace

BLOCK = 4096  # Rows that share one random stream; chunks that are multiples of it draw no number twice.
PANEL = 512  # Rows of a stream that are drawn together: a stream is read from its start, panel by panel.


def geometric_levels(sigma_max: float, sigma_min: float, n_levels: int) -> Floats:
    """Return `n_levels` noise levels, decreasing geometrically from `sigma_max` to `sigma_min`."""
    return np.geomspace(sigma_max, sigma_min, n_levels)


def paper_levels(sigma_max: float, sigma_min: float, n_levels: int, noise_scale: float = 1.0) -> Floats:
    """Return the schedule of GKL: geometric in ``t + noise_scale**2`` at large t, geometric in t near 0.

    sigma_max, sigma_min: first and last level, ``sigma_max > sigma_min > 0`` -> (n_levels,).

    Gatmiry, Kelner and Lee (arXiv 2404.18869), Algorithm 1 and its schedule.
    """
    unit = noise_scale**2

    def clock(t: Floats) -> Floats:  # log(t + 1) above t = 1, log(t) + const below; continuous and increasing
        return np.where(t > 1, np.log1p(t), np.log(np.minimum(t, 1)) + np.log(2))

    ends = clock(np.array([sigma_max**2, sigma_min**2]) / unit)
    ticks = np.linspace(ends[0], ends[1], n_levels)
    t = unit * np.where(ticks > np.log(2), np.expm1(ticks), np.exp(ticks) / 2)
    sigmas = np.sqrt(t)
    sigmas[0], sigmas[-1] = sigma_max, sigma_min  # the ends exactly, not to rounding
    return sigmas


def sigma_from_ou_time(tau: float | Floats) -> float | Floats:
    """Convert Ornstein-Uhlenbeck time to a noise level: ``sigma = sqrt(exp(2 tau) - 1)``."""
    return np.sqrt(np.expm1(2 * np.asarray(tau, dtype=np.float64)))[()]


def ou_time_from_sigma(sigma: float | Floats) -> float | Floats:
    """Convert a noise level to Ornstein-Uhlenbeck time: ``tau = log(1 + sigma**2) / 2``."""
    return (0.5 * np.log1p(np.asarray(sigma, dtype=np.float64) ** 2))[()]


def normal_rows(seed: tuple[int, ...], start: int, stop: int, n_features: int, x: Array) -> Array:
    """Draw the standard normal noise of the rows ``start..stop``, feature major.

    Returns (n_features, stop - start).
    """
    rows = np.empty((n_features, stop - start))
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        stream = np.random.SFC64(np.random.SeedSequence((*seed, block)))
        origin = block * BLOCK - start
        for panel, normals in enumerate(_panels(stream, -(-min(stop - block * BLOCK, BLOCK) // PANEL), n_features)):
            first = origin + panel * PANEL
            low, high = max(first, 0), min(first + PANEL, stop - start)
            if low < high:
                rows[:, low:high] = normals[:, low - first : high - first]
    return like(rows, x)


def _panels(stream: np.random.BitGenerator, n_panels: int, n_features: int) -> NDArray[np.float32]:
    """Standard normals of shape (n_panels, n_features, PANEL), by the polar form of Box and Muller (1958).

    In array calls and single precision this takes a third of the time of the generator's own loop. Radii and angles
    have 32 bits each, so no number is beyond 6.7: one in 10^11 would be.
    """
    half = n_features * PANEL // 2
    uniform = stream.random_raw(n_panels * half).view(np.uint32).astype(np.float32).reshape(n_panels, 2, half)
    uniform *= 2.0**-32
    radius, angle = uniform[:, :1], uniform[:, 1:]
    np.log(np.maximum(radius, 2.0**-33, out=radius), out=radius)
    radius *= -2
    np.sqrt(radius, out=radius)
    angle *= 2 * np.pi
    normals = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    normals *= radius
    return normals.reshape(n_panels, n_features, PANEL)


def antithetic(x: Array, z: Array, sigma: float) -> tuple[Array, Array, Array]:
    """Noise samples in antithetic pairs, ``x + sigma z`` beside ``x - sigma z``.

    Both members of a pair are used in every sum: what is odd in z cancels exactly, which keeps the regression
    targets harmless as sigma goes to 0.

    x, z (d, n) -> x, z, y (d, 2 n).
    """
    xp = namespace(x)
    twice, signed = xp.concat([x, x], axis=1), xp.concat([z, -z], axis=1)
    return twice, signed, twice + sigma * signed
