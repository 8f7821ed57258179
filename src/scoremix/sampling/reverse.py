"""Samplers: walk a noisy start down to the data, one small function each.

Every sampler has the form ``sampler(denoiser, y, sigmas, rng=None, ...)``: `denoiser` is any callable with
``denoiser(y, sigma) = E[x | y]`` for ``y = x + sigma z`` (ours, or one from elsewhere in the k-diffusion style), `y` of
shape (n, d) lies at level ``sigmas[0]``, `sigmas` decrease, and what comes back lies at level ``sigmas[-1]``; end them
with 0 for clean samples. NumPy in, NumPy out; torch in, torch out.

Data that carry noise themselves, ``x = mu + noise_scale z``, are walked in the clock ``S = sqrt(noise_scale**2 +
sigma**2)`` with the denoiser of the center, ``g = E[mu | y] = y + S**2 score``. The flow is the same, ``dy/dS = (y -
g)/S``, but a single Gaussian is then followed exactly and the end, ``S = noise_scale``, is no singularity: the last
step from the lowest level needs no small levels before it. With ``noise_scale = 0`` all of them are the usual methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import expm1, hypot, log, sqrt

import numpy as np

from scoremix.arrays import Array, like

Denoiser = Callable[[Array, float], Array]  # ``denoiser(y, sigma) = E[x | y]``.

# Steps that are shorter, relative to the noise, move nothing, and would only divide rounding errors by each other.
IDLE = 1e-9


def dpm(
    denoiser: Denoiser,
    y: Array,
    sigmas: Iterable[float],
    rng: np.random.Generator | None = None,
    *,
    noise_scale: float = 0.0,
) -> Array:
    """DPM-Solver++(2M): second order, one call per step, deterministic.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma) -> E[x | y]``.
    y : array of shape (n, d)
        Points at level ``sigmas[0]``.
    sigmas : iterable of float
        Decreasing levels; may end with 0.
    rng : Generator, optional
        Not drawn from: the method is deterministic. Accepted so that all samplers are called alike.
    noise_scale : float
        Standard deviation of the noise that the data carry.

    Returns
    -------
    array of shape (n, d)
        Points at level ``sigmas[-1]``.

    References
    ----------
    Lu et al., DPM-Solver++ (arXiv 2211.01095), Algorithm 2.
    """
    before: tuple[Array, float] | None = None
    for sigma, _, s, s_lower in _steps(sigmas, noise_scale):
        g = _center(denoiser, y, sigma, noise_scale)
        if s_lower == 0.0:
            return g
        h = log(s / s_lower)
        extrapolated = g
        if before is not None:
            ratio = h / (2 * before[1])
            extrapolated = (1 + ratio) * g - ratio * before[0]
        y = (s_lower / s) * y - expm1(-h) * extrapolated
        before = g, h
    return y


def probability_flow(
    denoiser: Denoiser,
    y: Array,
    sigmas: Iterable[float],
    rng: np.random.Generator | None = None,
    *,
    noise_scale: float = 0.0,
    method: str = "heun",
) -> Array:
    """Probability-flow ODE ``dy/dsigma = -sigma score``, by Heun's or Euler's rule.

    Parameters
    ----------
    denoiser, y, sigmas, rng, noise_scale : as for `dpm`
        What is walked, from where, and along which levels.
    method : {"heun", "euler"}
        Heun calls the denoiser twice per step (Karras et al. 2022, Algorithm 1), but once in a step to 0.

    Returns
    -------
    array of shape (n, d)
        Points at level ``sigmas[-1]``.

    Raises
    ------
    ValueError
        If the method is not known.
    """
    if method not in ("heun", "euler"):
        raise ValueError(f"method={method!r} is not known: choose 'heun' or 'euler'.")
    for sigma, lower, s, s_lower in _steps(sigmas, noise_scale):
        slope = (y - _center(denoiser, y, sigma, noise_scale)) / s
        ahead = y + (s_lower - s) * slope
        if method == "heun" and lower > 0:
            slope_ahead = (ahead - _center(denoiser, ahead, lower, noise_scale)) / s_lower
            ahead = y + (s_lower - s) * 0.5 * (slope + slope_ahead)
        y = ahead
    return y


def ancestral(
    denoiser: Denoiser,
    y: Array,
    sigmas: Iterable[float],
    rng: np.random.Generator | None = None,
    *,
    noise_scale: float = 0.0,
) -> Array:
    """Ancestral (DDPM posterior) sampling: ``y' = y + (t - t') score + sqrt((t - t') t'/t) z``.

    The step to level 0 follows the flow, which keeps the noise of the data (`noise_scale`) instead of averaging it
    away.

    Parameters
    ----------
    denoiser, y, sigmas, rng, noise_scale : as for `dpm`
        Fresh noise comes from `rng`.

    Returns
    -------
    array of shape (n, d)
        Points at level ``sigmas[-1]``.
    """
    rng = np.random.default_rng() if rng is None else rng
    for sigma, lower in pairwise(map(float, sigmas)):
        if lower == 0.0:
            return dpm(denoiser, y, (sigma, lower), noise_scale=noise_scale)
        t, t_lower = sigma**2, lower**2
        score = (denoiser(y, sigma) - y) / t
        y = y + (t - t_lower) * score + sqrt((t - t_lower) * t_lower / t) * _normal(y, rng)
    return y


def reverse_sde(
    denoiser: Denoiser,
    y: Array,
    sigmas: Iterable[float],
    rng: np.random.Generator | None = None,
    *,
    noise_scale: float = 0.0,
) -> Array:
    """The published step of GKL: ``y' = y + 2 (S^2 - S S') score + sqrt(t - t') z``, exact in the linear part.

    Parameters
    ----------
    denoiser, y, sigmas, rng, noise_scale : as for `dpm`
        Fresh noise comes from `rng`.

    Returns
    -------
    array of shape (n, d)
        Points at level ``sigmas[-1]``.

    Notes
    -----
    In units ``noise_scale = 1`` the factor is ``2 [(t + 1) - sqrt((t' + 1)(t + 1))]``. The paper prints -1 for the
    three +1: with -1 the variance explodes below t = 1, with +1 it is right (see the page on GKL in the
    documentation). The error of a step is of second order in ``S - S'``, and unlike the others it keeps drawing noise
    to the end.

    References
    ----------
    Gatmiry, Kelner and Lee (arXiv 2404.18869), generation from the learnt score.
    """
    rng = np.random.default_rng() if rng is None else rng
    for sigma, lower in pairwise(map(float, sigmas)):
        t, s, s_lower = sigma**2, hypot(noise_scale, sigma), hypot(noise_scale, lower)
        score = (denoiser(y, sigma) - y) / t
        y = y + 2 * s * (s - s_lower) * score + sqrt(t - lower**2) * _normal(y, rng)
    return y


def _steps(sigmas: Iterable[float], noise_scale: float) -> Iterator[tuple[float, float, float, float]]:
    """Steps between levels in both clocks, but those in which the noise of the data hides what is taken away."""
    for sigma, lower in pairwise(map(float, sigmas)):
        s, s_lower = hypot(noise_scale, sigma), hypot(noise_scale, lower)
        if s - s_lower > IDLE * s:
            yield sigma, lower, s, s_lower


def _center(denoiser: Denoiser, y: Array, sigma: float, noise_scale: float) -> Array:
    """``E[mu | y] = y + S^2 score`` from ``E[x | y] = y + sigma^2 score``."""
    if noise_scale == 0.0:
        return denoiser(y, sigma)
    return y + (1 + (noise_scale / sigma) ** 2) * (denoiser(y, sigma) - y)


def _normal(y: Array, rng: np.random.Generator) -> Array:
    return like(rng.standard_normal(tuple(y.shape)), y)


@dataclass(frozen=True)
class Sampler:
    """A sampler by name, and its largest step in log sigma."""

    walk: Callable[..., Array]
    step: float


# With steps twice as long narrow clusters in wide data come out blurred, or, by the samplers that draw noise, whose
# steps are of first order, clusters get the shares of their neighbours.
SAMPLERS = {
    "dpm": Sampler(dpm, 0.25),
    "ancestral": Sampler(ancestral, 0.02),
    "reverse_sde": Sampler(reverse_sde, 0.07),
    "probability_flow": Sampler(probability_flow, 0.25),
}
