"""EM in extended precision: the textbook, slow, for a few rows. What all methods are compared with.

`numpy.longdouble` has 64 bits of mantissa on x86, 113 on some others, and is no better than double precision on the
rest; `HAS_EXTENDED` tells.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.gaussian.methods import REG
from scoremix.arrays import Floats
from scoremix.models.mixture import Mixture

Extended = NDArray[np.longdouble]

HAS_EXTENDED = bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 100)


def cholesky(a: Extended) -> Extended:
    """Lower factors of symmetric matrices (k, d, d), column by column."""
    lower = np.zeros_like(a)
    for j in range(a.shape[-1]):
        rest = a[:, j:, j] - np.einsum("kil,kl->ki", lower[:, j:, :j], lower[:, j, :j])
        lower[:, j:, j] = rest / np.sqrt(rest[:, :1])
    return lower


def solve_lower(lower: Extended, b: Extended) -> Extended:
    """``lower^-1 b`` for b of shape (k, d, n)."""
    out = np.zeros_like(b)
    for i in range(b.shape[1]):
        known = np.einsum("kl,kln->kn", lower[:, i, :i], out[:, :i])
        out[:, i] = (b[:, i] - known) / lower[:, i, i, None]
    return out


def shaped(kind: str, scatter: Extended, mass: Extended) -> Extended:
    """Covariance matrices (k, d, d) of a kind, from the scatter of every component about its mean."""
    d = scatter.shape[-1]
    covariance = scatter / mass[:, None, None]
    if kind == "tied":
        covariance = np.broadcast_to(scatter.sum(axis=0) / mass.sum(), scatter.shape)
    elif kind == "diag":
        covariance = covariance * np.eye(d)
    elif kind == "spherical":
        covariance = np.einsum("kii->k", covariance)[:, None, None] / d * np.eye(d)
    return covariance + np.longdouble(REG) * np.eye(d)


def extended_em(x: Floats, start: Mixture, n_iter: int) -> tuple[Extended, Extended, Extended]:
    """Weights, means and covariance matrices after `n_iter` iterations.

    Parameters
    ----------
    x : ndarray of shape (n, d)
    start : Mixture
    n_iter : int

    Returns
    -------
    tuple of ndarray
        Of shapes (k,), (k, d), (k, d, d).
    """
    rows, kind = x.astype(np.longdouble), start.covariance.kind
    weights, means, covariance = (np.array(v, np.longdouble) for v in (start.weights, start.means, start.covariances))
    for _ in range(n_iter):
        lower = cholesky(covariance)
        white = solve_lower(lower, np.swapaxes(rows[None] - means[:, None], 1, 2))
        half_log_det = np.log(np.einsum("kii->ki", lower)).sum(axis=1)
        log_joint = (np.log(weights) - half_log_det)[:, None] - np.sum(white**2, axis=1) / 2
        shares = np.exp(log_joint - log_joint.max(axis=0))
        shares /= shares.sum(axis=0)
        mass = shares.sum(axis=1)
        means = np.einsum("kn,ni->ki", shares, rows) / mass[:, None]
        offset = rows[None] - means[:, None]
        scatter = np.array([(r[:, None] * o).T @ o for r, o in zip(shares, offset, strict=True)])
        weights, covariance = mass / mass.sum(), shaped(kind, scatter, mass)
    return weights, means, covariance


def relative_error(mixture: Mixture, truth: tuple[Extended, Extended, Extended]) -> float:
    """Largest difference of a parameter, in coordinates in which the true covariance of its component is the identity.

    Weights are compared relative to themselves, means in standard deviations, covariances as relative ones: nothing
    depends on units or on the direction in which a component is thin. Not finite numbers count as infinity.
    """
    weights, means, covariance = truth
    lower = cholesky(covariance)
    shift = solve_lower(lower, (mixture.means - means)[:, :, None])
    half = solve_lower(lower, mixture.covariances - covariance)
    whole = solve_lower(lower, np.swapaxes(half, 1, 2))
    errors = (mixture.weights / weights - 1, shift, whole)
    largest = max(float(np.max(np.abs(error))) for error in errors)
    return largest if np.isfinite(largest) else float("inf")
