"""Score objectives of a parametric mixture, and their gradients: the DDPM objective and its two relatives.

A *student* is a mixture of k spherical Gaussians of one known variance s0. Noise of standard deviation sigma makes its
variance ``v = s0 + sigma^2``, its responsibilities ``r_i(y)``, its posterior mean ``m(y) = sum_i r_i m_i`` and its
score ``s(y) = (m(y) - y) / v``. At ``y = x + sigma z`` three objectives are offered:

* denoising, ``|s + z / sigma|^2``: what a diffusion model is trained on (Shah, Chen and Klivans, arXiv 2307.01178);
* implicit, ``|s|^2 + 2 div s``: z has been integrated by parts (Hyvarinen, JMLR 6, 2005);
* sliced, ``|s|^2 + 2 a^T (ds/dy) a`` with random signs a (Song, Garg, Shi and Ermon, UAI 2019).

They have one expectation L: ``E denoising = E implicit + d / sigma^2`` (Stein's identity in z, for every x), and
``E[sliced | y] = implicit``.

*The complement is exact.* A student moves points only within the span of its centered means, of q dimensions. Noise
across it meets nothing that is not linear, so it is integrated out: q numbers are drawn per row, not d, and what is
left costs little more than a pass of EM.

Other scalings: the denoising error is ``E|D(y) - x|^2 = sigma^4 L``; at Ornstein-Uhlenbeck time tau, where
``sigma^2 = exp(2 tau) - 1``, the loss of the DDPM paper is ``(1 + sigma^2) L`` (`ObjectiveSums.at_ou_time`); and
``sum sigma^2 dlog(sigma) L`` over levels is a Kullback-Leibler divergence up to a constant (`likelihood_weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from scoremix.arrays import (
    Array,
    Floats,
    like,
    namespace,
    product,
    squared_lengths,
    to_numpy,
)
from scoremix.learning.em.em import SMALL_WORK
from scoremix.learning.sck.student import NoisySamples, NoisyStudent, Student, at_noise_levels
from scoremix.noise import normal_rows
from scoremix.samples.reduce import accumulate, add_fields
from scoremix.samples.source import Chunk, Source

CHUNK_ROWS = 16384  # Rows of a chunk: many, as noise is drawn in blocks of 4096.
TILE_NUMBERS = 2**16  # Responsibilities that are worked on at a time: 512 kB, which stay near the processor.


@dataclass(frozen=True)
class ObjectiveSums:
    """An objective and its gradients, added up over rows.

    means (k, d); logits (k,).
    """

    loss: float
    means: Floats
    logits: Floats
    weight: float

    __add__ = add_fields

    @property
    def mean_loss(self) -> float:
        """Loss per unit of weight."""
        return self.loss / self.weight

    @property
    def gradient(self) -> Floats:
        """Gradient of the mean loss in the means, shape (k, d)."""
        return self.means / self.weight

    @property
    def tied_gradient(self) -> Floats:
        """Gradient of the mean loss in mu, shape (d,), where the two means are ``+mu`` and ``-mu``."""
        return np.asarray(self.gradient[0] - self.gradient[1])

    def at_ou_time(self, sigma: float) -> ObjectiveSums:
        """The same at Ornstein-Uhlenbeck time: the loss there, and its gradient in ``exp(-tau) m_i``.

        Losses grow by ``1 + sigma^2 = exp(2 tau)``; means are shorter by ``exp(tau)``, so gradients grow once more.
        """
        factor = 1 + sigma**2
        return ObjectiveSums(factor * self.loss, factor**1.5 * self.means, factor * self.logits, self.weight)


@dataclass(frozen=True)
class Objective:
    """Which objective, and with how much noise.

    n_draws: draws of the noise per row and level, >= 1; n_directions: per draw, of the sliced objective, >= 1.
    """

    kind: Literal["denoising", "implicit", "sliced"] = "denoising"
    n_draws: int = 1
    antithetic: bool = False
    n_directions: int = 1

    @property
    def n_normals(self) -> int:
        """Numbers drawn per row and direction of the span."""
        return self.n_draws * (1 + self.n_directions * (self.kind == "sliced"))


@dataclass(frozen=True)
class LossTerms:
    """An objective at noisy rows: ``v^2 L = |m - t|^2 + 2 V``, a target t and a spread V of the means about m.

    losses (n,); h (k, n); direct (q, n); others (k, q).
    """

    losses: Array
    h: Array
    direct: Array
    others: Callable[[Array], Array] | None = None


def _denoising(p: NoisySamples, at: NoisyStudent) -> LossTerms:
    lean = at.clean_variance / at.sigma  # the target is x - lean z
    rest = p.middle - p.x + lean * p.z
    return LossTerms(squared_lengths(rest), product(p.means, rest), p.middle + (at.variance / at.sigma) * p.z)


def _implicit(p: NoisySamples, at: NoisyStudent) -> LossTerms:
    # V is the whole sum r_i |m_i|^2 - |m|^2.
    lengths = like(np.sum(at.means**2, axis=1), p.x)
    spread = product(lengths[None, :], p.shares)[0, :] - squared_lengths(p.middle)
    h = lengths[:, None] - product(p.means, p.middle + p.y)

    def others(mixed: Array) -> Array:
        return 4 * namespace(mixed).sum(mixed, axis=1)[:, None] * p.means

    return LossTerms(squared_lengths(p.middle - p.y) + 2 * spread, h, -p.middle, others)


def _sliced(p: NoisySamples, at: NoisyStudent) -> LossTerms:
    xp, rest, signs = namespace(p.x), p.middle - p.y, cast(Array, p.signs)
    along = xp.stack([product(p.means, signs[j, ...]) for j in range(signs.shape[0])])  # (j, k, n)
    along -= xp.sum(p.shares[None, ...] * along, axis=1)[:, None, :]
    squares = xp.mean(along**2, axis=0)

    def others(mixed: Array) -> Array:
        n_signs = signs.shape[0]
        return sum(4 / n_signs * product(mixed * along[j, ...], signs[j, ...].T) for j in range(n_signs))

    losses = squared_lengths(rest) + 2 * xp.sum(p.shares * squares, axis=0)
    return LossTerms(losses, product(p.means, rest) + squares, p.middle, others)


TERMS = {"denoising": _denoising, "implicit": _implicit, "sliced": _sliced}


@dataclass
class SpanSums:
    """What the rows of a chunk add up to: loss and gradients, in coordinates of the span.

    means (k, q); logits (k,); rows (k, n).
    """

    loss: float
    means: Floats
    logits: Floats
    rows: Array

    def add(self, kind: str, at: NoisyStudent, p: NoisySamples, weight: Array | None, share: float) -> None:
        """Add `share` of an objective at noisy rows, but for its loss across the span; weights (n,) or none.

        The gradient is ``sum_n explicit_i - p_i (m_i - y) / v``, ``p_i = 2 r_i (h_i - sum_j r_j h_j)``. What multiplies
        x in it is ``c_i = p_i / v - 2 r_i``, and p is kept as c.
        """
        xp, v = namespace(p.x), at.variance
        scale, terms, shares = share * at.factor / v**2, TERMS[kind](p, at), p.shares
        c = terms.h
        c -= xp.sum(shares * c, axis=0)[None, :] + v
        c *= shares
        c *= 2 * scale / v if weight is None else (2 * scale / v * weight)[None, :]
        mixed = shares if weight is None else shares * weight[None, :]
        mass, turned = xp.sum(mixed, axis=1), xp.sum(c, axis=1)
        by_component = turned + 2 * scale * mass  # sum of p / v
        direct = 2 * product(mixed, terms.direct.T)
        if terms.others is not None:
            direct += terms.others(mixed)
        gradient = scale * direct + at.sigma * product(c, p.z.T) - by_component[:, None] * p.means
        self.loss += scale * float(xp.sum(terms.losses if weight is None else terms.losses * weight))
        self.means += to_numpy(gradient)
        self.logits += v * to_numpy(by_component)
        self.rows += c


@dataclass(frozen=True)
class ObjectiveStatistic:
    """The statistic of a gradient: project the rows of a chunk, noise them at every level, add up loss and gradients.

    Noise is keyed by `key`, level and row, so neither chunks nor threads change it; another key is fresh noise.
    """

    student: Student
    objective: Objective
    levels: tuple[NoisyStudent, ...]
    key: tuple[int, ...]

    def __call__(self, chunk: Chunk) -> ObjectiveSums:
        """Sums over the rows of `chunk`."""
        xp, (k, d), axes = namespace(chunk.x), self.student.means.shape, self.student.axes
        x = xp.astype(chunk.x, xp.float64, copy=False)
        x = x - like(self.student.center, x)  # (n, d)
        weight = None if chunk.weight is None else xp.astype(chunk.weight, xp.float64, copy=False)
        inside, q = product(like(axes.T, x), x.T), axes.shape[1]  # (q, n)
        across = squared_lengths(x.T) - squared_lengths(inside)
        across_sum = float(xp.sum(across if weight is None else across * weight))
        weight_sum = float(x.shape[0] if weight is None else xp.sum(weight))
        total = SpanSums(0.0, np.zeros((k, q)), np.zeros(k), xp.zeros((k, x.shape[0]), dtype=x.dtype, device=x.device))
        for number, level in enumerate(self.levels):
            drawn = normal_rows((*self.key, number), chunk.start, chunk.stop, self.objective.n_normals * q, x)
            for here in _tiles(x.shape[0], k):
                tile = replace(total, loss=0.0, rows=total.rows[:, here])
                for share, z, signs in self._draws(drawn[:, here], q):
                    p = level.noisy(inside[:, here], z, signs)
                    tile.add(self.objective.kind, level, p, None if weight is None else weight[here], share)
                total.loss += tile.loss
            total.loss += level.factor / level.variance**2 * (across_sum + weight_sum * self._across(level, d - q))
        return ObjectiveSums(
            total.loss, total.means @ axes.T + to_numpy(product(total.rows, x)), total.logits, weight_sum
        )

    def _across(self, level: NoisyStudent, free: int) -> float:
        """What a row of length 0 loses across the span (and, for the implicit objectives, by the divergence)."""
        if self.objective.kind == "denoising":
            return free * level.clean_variance**2 / level.sigma**2
        return free * level.sigma**2 - 2 * len(self.student.center) * level.variance

    def _draws(self, drawn: Array, q: int) -> Iterator[tuple[float, Array, Array | None]]:
        """Draws of the noise at some rows: how much each counts, z, and directions for the sliced objective."""
        how, xp, n = self.objective, namespace(drawn), drawn.shape[1]
        signs = None
        if how.kind == "sliced":  # signs: of all independent coordinates they make the divergence least noisy
            signs = xp.reshape(xp.sign(drawn[how.n_draws * q :, :]), (how.n_draws, how.n_directions, q, n))
        for draw in range(how.n_draws):
            z, a = drawn[draw * q : (draw + 1) * q, :], None if signs is None else signs[draw, ...]
            share = 1 / (how.n_draws * (1 + how.antithetic))
            yield share, z, a
            if how.antithetic:
                yield share, -z, a


def _tiles(n: int, k: int) -> Iterator[slice]:
    """Cut rows so that their responsibilities stay near the processor."""
    rows = max(TILE_NUMBERS // k, 256)
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def objective_sums(
    source: Source,
    student: Student,
    sigmas: Floats | float,
    objective: Objective | None = None,
    *,
    factors: Floats | None = None,
    key: tuple[int, ...] = (0,),
    n_threads: int | None = None,
) -> ObjectiveSums:
    """Loss and gradient of an objective, at one noise level or summed over several: one pass over a source.

    sigmas (l,), noise levels >= 0 in units of the data; the denoising objective asks for > 0; factors (l,); key: key of
    the noise, each >= 0: seed and step, for fresh noise in every step -> (k, d).

    ValueError: If there is no level, or one is too small for the objective.
    """
    objective = objective or Objective()
    levels = at_noise_levels(student, sigmas, factors, may_be_zero=objective.kind != "denoising")
    statistic = ObjectiveStatistic(student, objective, levels, key)
    k, q = levels[0].means.shape
    if source.n_rows * k * (source.n_features + q * len(levels) * objective.n_normals) <= SMALL_WORK:
        n_threads = 1
    return accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)


def likelihood_weights(sigmas: Floats) -> Floats:
    """Factors ``sigma^2 dlog(sigma)`` (l,) of monotone levels > 0, l >= 2, by the trapezoidal rule in log sigma."""
    half = np.abs(np.diff(np.log(sigmas))) / 2
    return np.asarray(np.square(sigmas) * (np.append(half, 0.0) + np.append(0.0, half)))
