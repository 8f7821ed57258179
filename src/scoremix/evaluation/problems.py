"""Simulated problems whose truth is known, from well-separated clusters to curves and balls.

Every constructor places centers at random (reproducibly per `random_state`) and returns a `Truth`: it can be
sampled, and it answers log density, score, denoiser and posterior mean exactly at every noise level.

Lengths are in units of the data's own noise. `separation` is always the *smallest* distance between two
centers, in units of the largest component standard deviation, and centers are packed: a dart is thrown into
a cube and kept if it is far enough from the others, and the cube grows only when darts no longer fit. So
one hundred clusters in the plane are a crowd, not a few islands, and in high dimension neighbours are about
one separation apart.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from scoremix.evaluation.continuous_truth import CurveTruth, EmbeddedTruth, ShellTruth
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.evaluation.truth import FloatArray, Seed, Truth

__all__ = [
    "make_balls",
    "make_gaussian_mixture",
    "make_manifold",
    "make_pairs",
    "make_ring",
    "make_spiral",
]


def make_gaussian_mixture(
    k: int,
    d: int,
    separation: float,
    covariance: Literal["identity", "spherical", "diag", "full"] = "identity",
    weights: Literal["equal", "zipf"] | npt.ArrayLike = "equal",
    *,
    noise_scale: float = 1.0,
    condition: float = 10.0,
    layout: Literal["random", "simplex"] = "random",
    random_state: Seed = None,
) -> GaussianMixtureTruth:
    """Make a mixture of k Gaussians in d dimensions.

    Parameters
    ----------
    k, d : int
        Number of components and of features, at least 1.
    separation : float
        Smallest distance of two means in units of the largest component standard deviation, positive.
    covariance : {"identity", "spherical", "diag", "full"}, default "identity"
        `noise_scale^2 I` for all, or random: one variance per component, one per component and coordinate,
        or the same in random axes. Random variances are log-uniform in `[noise_scale^2 / condition,
        noise_scale^2]`.
    weights : {"equal", "zipf"} or array_like of shape (k,), default "equal"
        Probabilities; "zipf" is proportional to 1, 1/2, ..., 1/k; an array is normalised.
    noise_scale : float, default 1
        Standard deviation of a component, positive; the largest possible one where they are random.
    condition : float, default 10
        Largest ratio of two variances, at least 1; not used by "identity".
    layout : {"random", "simplex"}, default "random"
        Packed darts, or a simplex: all distances equal, which needs k <= d + 1.
    random_state : int, Generator or None
        Seed of the placement (not of the samples).

    Returns
    -------
    GaussianMixtureTruth
        Has `weights`, `means`, `covariances`; `noise_scale` is None unless the covariance is "identity".

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    _require(k >= 1 and d >= 1, f"k and d must be at least 1, got {k} and {d}")
    _require(condition >= 1, f"condition must be at least 1, got {condition}")
    _require_positive(separation=separation, noise_scale=noise_scale)
    rng = np.random.default_rng(random_state)
    variances, axes = _covariances(k, d, covariance, condition, rng)
    scale = noise_scale * float(np.sqrt(variances.max()))
    _require(layout in ("random", "simplex"), f'layout must be "random" or "simplex", got {layout!r}')
    means = (_simplex if layout == "simplex" else _darts)(k, d, rng) * separation * scale
    known = noise_scale if covariance == "identity" else None
    return GaussianMixtureTruth(_weights(k, weights), means, variances * noise_scale**2, axes, known)


def make_pairs(
    k: int,
    d: int,
    separation: float = 5.0,
    spread: float = 10.0,
    *,
    noise_scale: float = 1.0,
    random_state: Seed = None,
) -> GaussianMixtureTruth:
    """Make clusters within clusters: k/2 pairs, close inside and far apart.

    Random starts put two centers into one pair and one between two others and never get out: the bad local
    optima of Jin, Zhang, Balakrishnan, Wainwright and Jordan (2016), "Local Maxima in the Likelihood of
    Gaussian Mixture Models".

    Parameters
    ----------
    k, d : int
        Number of components, even, and of features.
    separation : float, default 5
        Distance of the two centers of a pair, in units of `noise_scale`, positive.
    spread : float, default 10
        Smallest distance of two pairs in units of the distance inside a pair, at least 2.
    noise_scale : float, default 1
        Standard deviation of every component, positive.
    random_state : int, Generator or None
        Seed of the placement.

    Returns
    -------
    GaussianMixtureTruth
        Components 2i and 2i + 1 are a pair; weights are equal.

    Raises
    ------
    ValueError
        If k is odd or an argument is out of its range.
    """
    _require(k >= 2 and k % 2 == 0 and d >= 1, f"k must be even and d at least 1, got {k} and {d}")
    _require(spread >= 2, f"spread must be at least 2, got {spread}")
    _require_positive(separation=separation, noise_scale=noise_scale)
    rng = np.random.default_rng(random_state)
    middles = _darts(k // 2, d, rng) * spread
    direction = rng.standard_normal((k // 2, d))
    half = 0.5 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    # Middles move apart by one pair's length: members of different pairs keep the distance too.
    means = np.stack([middles * (1 + 1 / spread) - half, middles * (1 + 1 / spread) + half], axis=1)
    means = means.reshape(k, d) * separation * noise_scale
    variances = np.full((k, d), noise_scale**2)
    return GaussianMixtureTruth(np.full(k, 1 / k), means, variances, None, noise_scale)


def make_ring(radius: float = 6.0, noise_scale: float = 1.0) -> ShellTruth:
    """Make a circle in the plane plus noise: the center is uniform on a circle about the origin.

    Parameters
    ----------
    radius : float, default 6
        Radius in units of `noise_scale`, positive.
    noise_scale : float, default 1
        Standard deviation of the noise, positive.

    Returns
    -------
    ShellTruth
        Exact by Bessel functions.
    """
    _require_positive(radius=radius, noise_scale=noise_scale)
    length = radius * noise_scale
    return ShellTruth(np.zeros((1, 2)), length, length, noise_scale)


def make_spiral(
    turns: float = 1.5, inner_radius: float = 1.0, outer_radius: float = 7.5, noise_scale: float = 1.0
) -> CurveTruth:
    """Make an Archimedean spiral plus noise: the center is uniform along it by arc length.

    The defaults span about 13 noise scales, the arms are 4.3 apart.

    Parameters
    ----------
    turns : float, default 1.5
        Revolutions from the inner to the outer end, positive.
    inner_radius, outer_radius : float, default 1 and 7.5
        Distances of the ends from the origin in units of `noise_scale`, `0 < inner < outer`.
    noise_scale : float, default 1
        Standard deviation of the noise, positive.

    Returns
    -------
    CurveTruth
        Exact to rounding by Gauss-Legendre along the curve.
    """
    _require_positive(turns=turns, inner_radius=inner_radius, noise_scale=noise_scale)
    _require(inner_radius < outer_radius, f"outer_radius must exceed {inner_radius}, got {outer_radius}")
    pitch = (outer_radius - inner_radius) / (2 * np.pi * turns)  # growth of the radius per radian

    def arc_length(radius: FloatArray) -> FloatArray:
        """Length up to a radius, up to a constant: the integral of sqrt(radius^2 + pitch^2) / pitch."""
        root = np.hypot(radius, pitch)
        return (radius * root / pitch + pitch * np.arcsinh(radius / pitch)) / 2

    start, end = arc_length(np.array([inner_radius, outer_radius]))

    def curve(share: FloatArray) -> FloatArray:
        radius = np.sqrt(inner_radius**2 + (outer_radius**2 - inner_radius**2) * share)  # exact without pitch
        for _ in range(6):  # Newton: the length is convex in the radius, the start is good to a few per cent
            excess = arc_length(radius) - start - (end - start) * share
            radius = radius - excess * pitch / np.hypot(radius, pitch)
        angle = (radius - inner_radius) / pitch
        return noise_scale * np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

    return CurveTruth(curve, 64 + int(3 * (end - start)), noise_scale)


def make_balls(
    k: int = 3,
    d: int = 2,
    ball_radius: float = 2.0,
    separation: float = 8.0,
    *,
    noise_scale: float = 1.0,
    random_state: Seed = None,
) -> ShellTruth:
    """Make balls plus noise: the center is uniform in one of k equally likely balls.

    Parameters
    ----------
    k, d : int
        Number of balls and of features, `k >= 1` and `d >= 2`.
    ball_radius : float, default 2
        Radius in units of `noise_scale`, positive.
    separation : float, default 8
        Smallest distance of two centers in units of `noise_scale`, positive; the default leaves a gap of 4
        between balls of radius 2.
    noise_scale : float, default 1
        Standard deviation of the noise, positive.
    random_state : int, Generator or None
        Seed of the placement.

    Returns
    -------
    ShellTruth
        Exact by an integral of Bessel functions over the radius.
    """
    _require(k >= 1 and d >= 2, f"k must be at least 1 and d at least 2, got {k} and {d}")
    _require_positive(ball_radius=ball_radius, separation=separation, noise_scale=noise_scale)
    centers = _darts(k, d, np.random.default_rng(random_state)) * separation * noise_scale
    return ShellTruth(centers, 0.0, ball_radius * noise_scale, noise_scale)


def make_manifold(problem: Truth, d: int, random_state: Seed = None) -> EmbeddedTruth:
    """Rotate a problem into d dimensions; the noise is the same in all of them.

    Parameters
    ----------
    problem : Truth
        A problem with a known `noise_scale`, that is any but those with random covariances.
    d : int
        New number of features, at least that of the problem.
    random_state : int, Generator or None
        Seed of the rotation.

    Returns
    -------
    EmbeddedTruth
        `basis` holds the d x n_features rotation.

    Raises
    ------
    ValueError
        If `noise_scale` is unknown or d is too small.
    """
    scale, inner = problem.noise_scale, problem.n_features
    if scale is None:
        raise ValueError("problem must have a known isotropic noise_scale, this one's is None")
    _require(d >= inner, f"d must be at least the problem's {inner} features, got {d}")
    normal = np.random.default_rng(random_state).standard_normal((d, inner))
    return EmbeddedTruth(problem, np.linalg.qr(normal).Q, scale)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        _require(bool(np.isfinite(value)) and value > 0, f"{name} must be positive and finite, got {value}")


def _weights(k: int, weights: str | npt.ArrayLike) -> FloatArray:
    if isinstance(weights, str):
        _require(weights in ("equal", "zipf"), f'weights must be "equal", "zipf" or numbers, got {weights!r}')
        raw = np.ones(k) if weights == "equal" else 1.0 / np.arange(1, k + 1)
    else:
        raw = np.asarray(weights, dtype=np.float64)
        _require(raw.shape == (k,) and bool(np.all(raw > 0)), f"weights must be {k} numbers > 0, got {raw}")
    return np.asarray(raw / raw.sum())


def _covariances(
    k: int, d: int, covariance: str, condition: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray | None]:
    """Eigenvalues in [1 / condition, 1], shape (k, d), and axes."""
    columns = {"identity": 0, "spherical": 1, "diag": d, "full": d}
    _require(covariance in columns, f"covariance must be one of {', '.join(columns)}, got {covariance!r}")
    if covariance == "identity":
        return np.ones((k, d)), None
    variances = np.broadcast_to(condition ** -rng.random((k, columns[covariance])), (k, d))
    if covariance != "full":
        return variances, None
    return variances, np.linalg.qr(rng.standard_normal((k, d, d))).Q


def _simplex(k: int, d: int, rng: np.random.Generator) -> FloatArray:
    """Centers all at distance one from each other, in random orientation, centered at the origin."""
    _require(k <= d + 1, f'layout="simplex" needs k <= d + 1, got k = {k}, d = {d}')
    corners = np.eye(k) / np.sqrt(2)
    vectors = np.linalg.svd(corners - corners.mean(axis=0)).U[:, : k - 1] / np.sqrt(2)  # (k, k - 1)
    return np.asarray(vectors @ np.linalg.qr(rng.standard_normal((d, k - 1))).Q.T)


def _darts(k: int, d: int, rng: np.random.Generator) -> FloatArray:
    """Packed random centers whose smallest distance is one, centered at the origin."""
    side, centers = 1 / np.sqrt(d), np.zeros((1, d))
    while len(centers) < k:
        darts = side * rng.uniform(-0.5, 0.5, (64, d))
        gap = np.linalg.norm(darts[:, None] - centers, axis=2).min(axis=1)
        if gap.max() >= 1:
            centers = np.vstack([centers, darts[np.argmax(gap >= 1)]])
        else:
            side *= 1.03
    if k > 1:
        centers = centers / pdist(centers).min()
    return np.asarray(centers - centers.mean(axis=0))
