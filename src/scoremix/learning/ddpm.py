"""Score objectives of a parametric mixture, and their gradients: the DDPM objective and its two relatives.

A *student* is a mixture of k spherical Gaussians of one known variance s0. Noise of standard deviation sigma makes its
variance ``v = s0 + sigma^2``, its responsibilities ``r_i(y)``, its posterior mean ``m(y) = sum_i r_i m_i`` and its
score ``s(y) = (m(y) - y) / v``. At ``y = x + sigma z`` three objectives are offered:

* denoising, ``|s + z / sigma|^2``: what a diffusion model is trained on (Shah, Chen and Klivans, arXiv 2307.01178);
* implicit, ``|s|^2 + 2 div s``: z has been integrated by parts (Hyvarinen, JMLR 6, 2005);
* sliced, ``|s|^2 + 2 a^T (ds/dy) a`` with random signs a (Song, Garg, Shi and Ermon, UAI 2019).

They have one expectation L: ``E denoising = E implicit + d / sigma^2`` (Stein's identity in z, for every x), and
``E[sliced | y] = implicit``. Given y the last two know nothing of z: what remains is the expectation over y, here a
mean over the noised rows.

Other scalings: the denoising error is ``E|D(y) - x|^2 = sigma^4 L``; at Ornstein-Uhlenbeck time tau, where
``sigma^2 = exp(2 tau) - 1``, the loss of the DDPM paper is ``(1 + sigma^2) L`` (`DenoisingSums.at_ou_time`); and
``sum sigma^2 dlog(sigma) L`` over levels is a Kullback-Leibler divergence up to a constant (`likelihood_weights`).

All are one computation: ``v^2 L = |m - t|^2 + 2 V`` with a target t and a spread V of the means, so that a gradient is
``sum_n explicit_i - 2 r_i (h_i - sum_j r_j h_j) (m_i - y) / v``: a few matrix products per chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Literal, Self

import numpy as np

from scoremix.arrays import Array, Floats, like, namespace, product, squared_lengths, to_numpy
from scoremix.learning.em import SMALL_WORK
from scoremix.models.covariance import Spherical
from scoremix.models.joint import itemsize_of, normalise
from scoremix.models.mixture import Mixture
from scoremix.noise import normal_rows
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

CHUNK_NUMBERS, MIN_CHUNK, MAX_CHUNK = 2**19, 1024, 16384
"""Numbers per matrix of a chunk, at most about, and its rows; many rows, as noise is drawn in blocks of 4096."""


@dataclass(frozen=True)
class Student:
    """``sum_i w_i N(m_i, variance I)``, whose means (and weights) are learnt.

    Attributes
    ----------
    means : ndarray of shape (k, d)
    weights : ndarray of shape (k,)
        Positive, summing to 1: ``softmax(logits)``. Where they are fixed, the gradient in the logits is not used.
    variance : float
        Known variance s0 > 0 of every component, in squared units of the data.
    """

    means: Floats
    weights: Floats
    variance: float = 1.0

    @classmethod
    def symmetric(cls, mu: Floats, variance: float = 1.0) -> Self:
        """The student of two components at ``+mu`` and ``-mu``, shape (d,), of equal weight."""
        return cls(np.stack([mu, -mu]), np.full(2, 0.5), variance)

    def mixture(self, sigma: float = 0.0) -> Mixture:
        """The mixture at noise level sigma."""
        k, d = self.means.shape
        return Mixture(self.weights, self.means, Spherical(np.full(k, self.variance + sigma**2), d))


@dataclass(frozen=True)
class DenoisingSums:
    """An objective and its gradients, added up over rows.

    Attributes
    ----------
    loss : float
        Sum of the losses, times the weights of the rows.
    means : ndarray of shape (k, d)
        Its gradient in the means; for `symmetric_sums_at` shape (1, d), in mu.
    logits : ndarray of shape (k,)
        Its gradient in the logits of the weights; it sums to 0.
    weight : float
        Sum of the weights of the rows.
    """

    loss: float
    means: Floats
    logits: Floats
    weight: float

    def __add__(self, other: DenoisingSums) -> DenoisingSums:
        """Merge the sums of two sets of rows."""
        return DenoisingSums(
            self.loss + other.loss, self.means + other.means, self.logits + other.logits, self.weight + other.weight
        )

    def scaled(self, factor: float) -> DenoisingSums:
        """The sums of `factor` times the objective."""
        return DenoisingSums(factor * self.loss, factor * self.means, factor * self.logits, self.weight)

    @property
    def mean_loss(self) -> float:
        """Loss per unit of weight."""
        return self.loss / self.weight

    @property
    def gradient(self) -> Floats:
        """Gradient of the mean loss in the means, shape (k, d)."""
        return self.means / self.weight

    @property
    def gradient_norm(self) -> float:
        """Length of `gradient`."""
        return float(np.linalg.norm(self.gradient))

    @property
    def tied_gradient(self) -> Floats:
        """Gradient of the mean loss in mu, shape (d,), where the two means are ``+mu`` and ``-mu``."""
        return np.asarray(self.gradient[0] - self.gradient[1])

    def at_ou_time(self, sigma: float) -> DenoisingSums:
        """The same at Ornstein-Uhlenbeck time: the loss there, and its gradient in ``exp(-tau) m_i``.

        Losses grow by ``1 + sigma^2 = exp(2 tau)``; means are shorter by ``exp(tau)``, so gradients grow once more.
        """
        return replace(self.scaled(1 + sigma**2), means=self.means * (1 + sigma**2) ** 1.5)


def sums_at(
    student: Student,
    y: Array,
    sigma: float,
    weight: Array | None = None,
    *,
    noise: Array | None = None,
    directions: Array | None = None,
) -> DenoisingSums:
    """An objective at rows that are noised already, feature major.

    Parameters
    ----------
    student : Student
    y : array of shape (d, n)
        ``x + sigma z``.
    sigma : float
        Noise level >= 0 in units of the data.
    weight : array of shape (n,), optional
        Of the rows.
    noise : array of shape (d, n), optional
        The z of every row: asks for the denoising objective (sigma > 0), else it is implicit or sliced.
    directions : array of shape (j d, n), optional
        j directions per row, one below the other, of identity second moment: asks for the sliced objective.

    Returns
    -------
    DenoisingSums
        The gradients are those of the very loss that is returned. Cost O(n k d), sliced O(j n k d).
    """
    xp, variance, d = namespace(y), student.variance + sigma**2, y.shape[0]
    joint = student.mixture(sigma).joint(itemsize_of(y))
    sums = []
    for part in joint.parts(y):
        z, a, w = (
            extra if extra is None or part.order is None else xp.take(extra, part.order, axis=extra.ndim - 1)
            for extra in (noise, directions, weight)
        )
        points = part.phi[1 : d + 1, :]
        shares, norm, _ = normalise(part.log_joint)
        shares /= norm[None, :]
        target = None if z is None else points - (variance / sigma) * z
        means = student.means - joint.frames[part.frame]
        sums.append(_sums_about(means, variance, points, shares, target, a, w))
    return reduce(add, sums)


def _sums_about(
    means: Floats,
    variance: float,
    y: Array,
    shares: Array,
    target: Array | None,
    directions: Array | None,
    weight: Array | None,
) -> DenoisingSums:
    """Sums of ``(|m - t|^2 + 2 V) / v^2`` over points y about a frame (d, n) with responsibilities (k, n).

    h are the derivatives of half of that in the logarithms of the responsibilities, up to what all components share.
    """
    xp, m, (d, n) = namespace(y), like(means, y), y.shape
    mixed = shares if weight is None else shares * weight[None, :]
    middle, weight_here = product(m.T, shares), float(n if weight is None else xp.sum(weight))
    is_implicit = target is None and directions is None
    # Where V is the whole sum r_i |m_i - m|^2, everything collapses into m + y.
    rest = -(middle + y) if is_implicit else middle - (y if target is None else target)
    h, explicit, constant = product(m, rest), 2 * _double(product(mixed, rest.T)), 0.0
    losses = squared_lengths(rest)
    if is_implicit:
        lengths = like(np.sum(means**2, axis=1)[None, :], y)
        h += lengths.T
        losses = 2 * (squared_lengths(y) + product(lengths, shares)[0, :]) - losses
        explicit += 4 * _double(xp.sum(mixed, axis=1))[:, None] * means
        constant = 2 * d * variance
    elif directions is not None:
        n_directions = directions.shape[0] // d
        for j in range(n_directions):
            a = directions[j * d : (j + 1) * d, :]
            along = product(m, a)
            along = along - xp.sum(shares * along, axis=0)[None, :]
            h += along**2 / n_directions
            slack = 2 * xp.sum(shares * along**2, axis=0) - 2 * variance * squared_lengths(a)
            losses = losses + slack / n_directions
            explicit += 4 / n_directions * _double(product(mixed * along, a.T))
    pull = (2 * mixed) * (h - xp.sum(shares * h, axis=0)[None, :])
    by_component = _double(xp.sum(pull, axis=1))
    gradient = explicit - (by_component[:, None] * means - _double(product(pull, y.T))) / variance
    loss = float(xp.sum(losses if weight is None else losses * weight, dtype=xp.float64)) - constant * weight_here
    return DenoisingSums(loss, gradient, by_component, weight_here).scaled(variance**-2)


def _double(x: Array) -> Floats:
    return to_numpy(x).astype(np.float64, copy=False)


@dataclass(frozen=True)
class Objective:
    """Which objective, and with how much noise.

    Attributes
    ----------
    kind : {"denoising", "implicit", "sliced"}
    n_draws : int
        Draws of the noise per row and level, >= 1.
    antithetic : bool
        Every draw with both signs: what is odd in z cancels, for twice the cost.
    n_directions : int
        Per draw, of the sliced objective, >= 1.
    """

    kind: Literal["denoising", "implicit", "sliced"] = "denoising"
    n_draws: int = 1
    antithetic: bool = False
    n_directions: int = 1


@dataclass(frozen=True)
class ObjectiveStatistic:
    """The statistic of a gradient: noise the rows of a chunk at every level, add up loss and gradients.

    Noise is keyed by `key`, level and row, so neither chunks nor threads change it; another key is fresh noise.
    """

    student: Student
    objective: Objective
    sigmas: Floats
    factors: Floats
    key: tuple[int, ...]

    def __call__(self, chunk: Chunk) -> DenoisingSums:
        """Sums over the rows of `chunk`."""
        x, n_draws = chunk.x.T, self.objective.n_draws * (2 if self.objective.antithetic else 1)
        terms = []
        for level, (sigma, factor) in enumerate(zip(self.sigmas, self.factors, strict=True)):
            for z, a in self._draws(chunk, level):
                y = x if sigma == 0 else x + float(sigma) * z
                noise = z if self.objective.kind == "denoising" else None
                sums = sums_at(self.student, y, float(sigma), chunk.weight, noise=noise, directions=a)
                terms.append(sums.scaled(factor / n_draws))
        total = reduce(add, terms)
        return replace(total, weight=total.weight / len(terms))  # rows count once

    def _draws(self, chunk: Chunk, level: int) -> Iterator[tuple[Array, Array | None]]:
        """Noise (d, n), and directions for the sliced objective."""
        d, how = chunk.x.shape[1], self.objective
        z = normal_rows((*self.key, level, 0), chunk.start, chunk.stop, how.n_draws * d, chunk.x)
        a, width = None, how.n_directions * d
        if how.kind == "sliced":  # signs: of all independent coordinates they make the divergence least noisy
            a = normal_rows((*self.key, level, 1), chunk.start, chunk.stop, how.n_draws * width, chunk.x)
            a = namespace(a).sign(a)
        for draw in range(how.n_draws):
            here = z[draw * d : (draw + 1) * d, :]
            along = None if a is None else a[draw * width : (draw + 1) * width, :]
            yield here, along
            if how.antithetic:
                yield -here, along


def objective_sums(
    source: Source,
    student: Student,
    sigmas: Floats | float,
    objective: Objective | None = None,
    *,
    factors: Floats | None = None,
    key: tuple[int, ...] = (0,),
    n_threads: int | None = None,
) -> DenoisingSums:
    """Loss and gradient of an objective, at one noise level or summed over several: one pass over a source.

    Parameters
    ----------
    source : Source
    student : Student
    sigmas : float or ndarray of shape (l,)
        Noise levels >= 0 in units of the data; the denoising objective asks for > 0.
    objective : Objective, optional
        Denoising with one draw by default.
    factors : ndarray of shape (l,), optional
        Of the levels, `likelihood_weights` say; 1 by default.
    key : tuple of int
        Key of the noise, each >= 0: seed and step, for fresh noise in every step.
    n_threads : int, optional

    Returns
    -------
    DenoisingSums
        At a cost of O(n k d) per level and draw, twice that if antithetic.

    Raises
    ------
    ValueError
        If there is no level, or one is too small for the objective.
    """
    objective = objective or Objective()
    levels = np.atleast_1d(np.asarray(sigmas, dtype=np.float64))
    if not len(levels) or np.any(levels < 0) or (objective.kind == "denoising" and np.any(levels == 0)):
        raise ValueError(f"sigmas = {levels}: noise levels must be >= 0, and > 0 for the denoising objective.")
    factors = np.ones(len(levels)) if factors is None else np.asarray(factors, dtype=np.float64)
    statistic = ObjectiveStatistic(student, objective, levels, factors, key)
    return summed(statistic, source, len(student.means), len(levels) * objective.n_draws, n_threads)


def summed(
    statistic: Callable[[Chunk], DenoisingSums], source: Source, width: int, terms: int, n_threads: int | None
) -> DenoisingSums:
    """Sums of a statistic over a source; a row has `terms` computations, each of `width` numbers per feature."""
    if source.n_rows * source.n_features * width * terms <= SMALL_WORK:
        n_threads = 1
    rows = int(np.clip(CHUNK_NUMBERS // max(width, source.n_features), MIN_CHUNK, MAX_CHUNK))
    return accumulate(statistic, source, chunk_rows=rows, n_threads=n_threads)


def likelihood_weights(sigmas: Floats) -> Floats:
    """Factors ``sigma^2 dlog(sigma)`` (l,) of monotone levels > 0, l >= 2, by the trapezoidal rule in log sigma."""
    half = np.abs(np.diff(np.log(sigmas))) / 2
    return np.asarray(np.square(sigmas) * (np.append(half, 0.0) + np.append(0.0, half)))
