"""The DDPM objective of students whose covariances are learnt too: its gradients, and steps that know their units.

A *student* is a `Mixture` with `Diagonal` or `Full` covariances ``S_i``. Noise of standard deviation sigma makes them
``C_i = S_i + sigma^2 I = P_i^-1``; its score is ``s(y) = sum_i r_i(y) P_i (m_i - y)``, its loss at ``y = x + sigma z``
denoising, ``|s + z / sigma|^2``, or implicit, ``|s|^2 + 2 div s`` (Hyvarinen, JMLR 6, 2005), less by ``d / sigma^2``.

**Gradients are sums of features.** The logarithm ``l_i(y) = theta_i . phi(y)`` of ``w_i N(y; m_i, C_i)`` is linear in
polynomials phi of degree 2. Scores are made of its gradients, whose component along u is ``theta_i . dphi[u]`` with the
derivative of the features along u. So with ``R = s + z / sigma`` and ``h_i = theta_i . dphi[R]``::

    d |R|^2 = sum_i dtheta_i . (2 r_i dphi[R] + pull_i phi),    pull_i = 2 r_i (h_i - sum_j r_j h_j).

Summed over rows the brackets are a mass, a first and a second moment per component, as of an EM step but with signs;
gradients are ``P first`` and ``(P second P - mass P) / 2``. A pass is four matrix products like the two of EM. The
implicit objective is ``2 sum_i r_i q_i - |s|^2`` with polynomials ``q_i = |P_i (m_i - y)|^2 - trace P_i``: the same of
``R = -s`` and ``h_i + q_i``, and moments under r for ``dq_i``.

**Steps are Newton's for a component that is alone.** Its Hessian is ``2 P^2`` in the mean, ``D -> P^2 D P + P D P^2``
in the covariance, times its weight: diagonal in the axes of S, additive over levels. So one rate without units serves
all; with likelihood weights and all levels rate 1 is a step like that of EM. Covariances move by
``S^1/2 exp(E) S^1/2``, which is positive definite whatever the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import product as every
from operator import add
from typing import Literal

import numpy as np

from scoremix.arrays import Array, Floats, like, multiply_into, namespace, product, squared_lengths, to_numpy
from scoremix.features import packed_size
from scoremix.learning.em.em import SMALL_WORK
from scoremix.models.covariance.diagonal import Diagonal
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import Covariance, linear_features
from scoremix.models.log_joint import Evaluation, LogJoint, itemsize_of, normalize_posterior
from scoremix.models.mixture import Mixture
from scoremix.noise import normal_rows
from scoremix.samples.reduce import accumulate, add_fields
from scoremix.samples.source import Chunk, Source

# Numbers of the features of a chunk, at most about, and its rows.
CHUNK_NUMBERS, MIN_CHUNK, MAX_CHUNK = 2**20, 2048, 16384

# A step changes the logarithm of no variance by more, and moves no mean by more standard deviations.
TRUST = float(np.log(2))

TINY = 1e-12  # Steps take no weight for less, and no variance for less than this part of the largest of its component.


class DiagonalAlgebra:
    """Matrices (k, d) of which only diagonals are kept; their axes are the coordinates."""

    def times(self, a: Floats, b: Floats) -> Floats:
        """Products of matrices."""
        return a * b

    apply = outer = times

    def transpose(self, a: Floats) -> Floats:
        """Matrices themselves, which are the coefficients of their quadratic forms, too."""
        return a

    packed = transpose

    def spectrum(self, a: Floats) -> tuple[Floats, Floats]:
        """Eigenvalues, and the identity."""
        return a, np.ones_like(a)

    def derivative(self, x: Array, u: Array) -> Array:
        """``[0, u, 2 x u]``: the derivative of the features at x (d, n) along u (d, n)."""
        d = x.shape[0]
        out = linear_features(u, np.zeros(d), 2 * d + 1)
        out[0, :] = 0.0
        multiply_into(2 * x, u, out[d + 1 :, :])
        return out


class FullAlgebra:
    """Symmetric matrices (k, d, d)."""

    def times(self, a: Floats, b: Floats) -> Floats:
        """Products of matrices."""
        return a @ b

    def apply(self, a: Floats, v: Floats) -> Floats:
        """Matrices times vectors (k, d)."""
        return np.asarray((a @ v[:, :, None])[:, :, 0])

    def outer(self, u: Floats, v: Floats) -> Floats:
        """``u v^T`` of vectors (..., k, d)."""
        return u[..., :, None] * v[..., None, :]

    def transpose(self, a: Floats) -> Floats:
        """Rows become columns."""
        return np.swapaxes(a, 1, 2)

    def spectrum(self, a: Floats) -> tuple[Floats, Floats]:
        """Eigenvalues and axes."""
        return np.linalg.eigh(a)

    def packed(self, a: Floats) -> Floats:
        """Quadratic forms as coefficients of features: upper triangles, twice what is off the diagonal."""
        rows, columns = np.triu_indices(a.shape[1])
        return np.asarray(a[:, rows, columns] * np.where(rows == columns, 1.0, 2.0))

    def derivative(self, x: Array, u: Array) -> Array:
        """``[0, u, upper(x u^T + u x^T)]``: the derivative of the features at x (d, n) along u (d, n)."""
        d, at = x.shape[0], x.shape[0] + 1
        out = linear_features(u, np.zeros(d), packed_size(d))
        out[0, :] = 0.0
        for i in range(d):
            multiply_into(x[i:, :], u[i : i + 1, :], out[at : at + d - i, :])
            out[at : at + d - i, :] += x[i : i + 1, :] * u[i:, :]
            at += d - i
        return out


ALGEBRAS: dict[type, DiagonalAlgebra | FullAlgebra] = {Diagonal: DiagonalAlgebra(), Full: FullAlgebra()}


def algebra_of(covariance: Covariance) -> DiagonalAlgebra | FullAlgebra:
    """The algebra of a type of covariances; TypeError for others than `Diagonal` and `Full`."""
    if (algebra := ALGEBRAS.get(type(covariance))) is None:
        raise TypeError(f"{type(covariance).__name__} covariances cannot be learnt here: use Diagonal or Full.")
    return algebra


@dataclass(frozen=True)
class CovarianceSums:
    """An objective and its gradients, added up over rows.

    means, logits, covariances (k, d).
    """

    loss: float
    means: Floats
    logits: Floats
    covariances: Floats
    weight: float

    __add__ = add_fields

    def scaled(self, factor: float) -> CovarianceSums:
        """The sums of `factor` times the objective."""
        return replace(CovarianceSums(*(factor * value for value in vars(self).values())), weight=self.weight)


def sums_at(joint: LogJoint, y: Array, weight: Array | None = None, target: Array | None = None) -> CovarianceSums:
    """An objective of a noisy student at noisy points y (d, n): denoising where a target z / sigma is given."""
    xp, sums = namespace(y), []
    for part in joint.parts(y):
        z, w = (
            extra if extra is None or part.order is None else xp.take(extra, part.order, axis=extra.ndim - 1)
            for extra in (target, weight)
        )
        sums.append(_part_sums(joint, part, z, w))
    return reduce(add, sums)


def _part_sums(joint: LogJoint, part: Evaluation, target: Array | None, weight: Array | None) -> CovarianceSums:
    """Sums over the points of a part: denoising where there is a target z / sigma (d, n), else implicit."""
    covariance, algebra, (k, d) = joint.covariance, algebra_of(joint.covariance), joint.means.shape
    delta, points = joint.means - joint.frames[part.frame], part.phi[1 : d + 1, :]
    xp, phi = namespace(points), covariance.features(points, np.zeros(d)) if joint.is_stacked else part.phi
    shares, norm, _ = normalize_posterior(part.log_joint)
    shares /= norm[None, :]
    mixed, score = shares if weight is None else shares * weight[None, :], joint.gradient(part, shares)
    rest = -score if target is None else score + target
    along = algebra.derivative(points, rest)
    h, losses = product(like(covariance.natural(np.ones(k), delta), phi), along), squared_lengths(rest)
    if target is None:
        q = product(like(_divergences(covariance, delta), phi), phi)
        losses = 2 * xp.sum(shares * q, axis=0) - losses
        h += q
    pull = (2 * mixed) * (h - xp.sum(shares * h, axis=0)[None, :])
    shared = product(mixed, phi.T) if target is None else None
    gradients = _gradients(covariance, delta, 2 * product(mixed, along.T) + product(pull, phi.T), shared)
    loss = float(xp.sum(losses if weight is None else losses * weight, dtype=xp.float64))
    return CovarianceSums(loss, *gradients, float(points.shape[1] if weight is None else xp.sum(weight)))


def _of(numbers: Floats, matrices: Floats) -> Floats:
    """A number times each vector or matrix."""
    return np.asarray(numbers.reshape(-1, *[1] * (matrices.ndim - 1)) * matrices)


def _moments(covariance: Covariance, delta: Floats, sums: Array) -> tuple[Floats, Floats, Floats]:
    """Masses, first and second moments about the means from sums of features about a frame."""
    sums = to_numpy(sums).astype(np.float64, copy=False)
    first = sums[:, 1 : delta.shape[1] + 1] - sums[:, :1] * delta
    return sums[:, 0], first, covariance.second(sums, None, delta)


def _gradients(
    covariance: Covariance, delta: Floats, sums: Array, shared: Array | None
) -> tuple[Floats, Floats, Floats]:
    """Gradients of ``theta . sums`` in means, logits and covariances, plus those of ``2 q`` in shared sums of r phi."""
    algebra, factor = algebra_of(covariance), covariance.precisions_cholesky()
    p = algebra.times(factor, algebra.transpose(factor))
    mass, first, second = _moments(covariance, delta, sums)
    means, covariances = algebra.apply(p, first), (algebra.times(algebra.times(p, second), p) - _of(mass, p)) / 2
    if shared is not None:
        share, first, second = _moments(covariance, delta, shared)
        square, white = algebra.times(p, p), algebra.times(algebra.times(p, second), p)
        means -= 4 * algebra.apply(square, first)
        covariances += 2 * (_of(share, square) - algebra.times(p, white) - algebra.times(white, p))
    return means, mass, covariances


def _divergences(covariance: Covariance, delta: Floats) -> Floats:
    """Coefficients (k, p) of ``q = |P (m - y)|^2 - trace P`` in the features of y; means about their frame."""
    algebra, factor = algebra_of(covariance), covariance.precisions_cholesky()
    p = algebra.times(factor, algebra.transpose(factor))
    square, trace = algebra.times(p, p), np.sum(factor.reshape(len(p), -1) ** 2, axis=1)
    pull = algebra.apply(square, delta)
    return np.concatenate(
        [np.sum(pull * delta, axis=1)[:, None] - trace[:, None], -2 * pull, algebra.packed(square)], axis=1
    )


def _levels(sigmas: Floats | float, factors: Floats | None) -> tuple[Floats, Floats]:
    sigmas = np.array(sigmas, dtype=np.float64, ndmin=1)
    return sigmas, np.ones(len(sigmas)) if factors is None else np.asarray(factors, dtype=np.float64)


def covariance_sums(
    source: Source,
    student: Mixture,
    sigmas: Floats | float,
    *,
    kind: Literal["denoising", "implicit"] = "denoising",
    n_draws: int = 1,
    antithetic: bool = False,
    factors: Floats | None = None,
    key: tuple[int, ...] = (0,),
    n_threads: int | None = None,
) -> CovarianceSums:
    """Loss and gradients of an objective, at one noise level or summed over several: one pass over a source.

    sigmas (l,), noise levels >= 0 in units of the data; the denoising objective asks for > 0; n_draws: draws of the
    noise per row and level, >= 1; factors (l,); key: key of the noise, each >= 0: seed and step, for fresh noise in
    every step.

    TypeError: If covariances are of another type. ValueError: If there is no level, or one is too small.
    """
    sigmas, factors = _levels(sigmas, factors)
    if not len(sigmas) or np.any(sigmas < 0) or (kind == "denoising" and np.any(sigmas == 0)):
        raise ValueError(f"sigmas = {sigmas}: noise levels must be >= 0, and > 0 for the denoising objective.")
    itemsize = itemsize_of(next(iter(source.chunks(1))).x)
    joints = [student.smooth(sigma).joint(itemsize) for sigma in sigmas]
    signs = (1.0, -1.0) if antithetic else (1.0,)

    def statistic(chunk: Chunk) -> CovarianceSums:
        x, d, terms = chunk.x.T, student.n_features, []
        for level, (joint, sigma, factor) in enumerate(zip(joints, sigmas.tolist(), factors, strict=True)):
            normal = normal_rows((*key, level, 0), chunk.start, chunk.stop, n_draws * d, chunk.x)
            for draw, sign in every(range(n_draws), signs):
                z = sign * normal[draw * d : (draw + 1) * d, :]
                target = z / sigma if kind == "denoising" else None
                sums = sums_at(joint, x + sigma * z, chunk.weight, target)
                terms.append(sums.scaled(factor / (n_draws * len(signs))))
        total = reduce(add, terms)
        return replace(total, weight=total.weight / len(terms))  # rows count once

    width = 2 * student.covariance.n_sums(student.n_features) + student.n_components
    n_threads = 1 if source.n_rows * width * student.n_components * len(sigmas) * n_draws <= SMALL_WORK else n_threads
    rows = int(np.clip(CHUNK_NUMBERS // width, MIN_CHUNK, MAX_CHUNK))
    return accumulate(statistic, source, chunk_rows=rows, n_threads=n_threads)


def descent_step(
    student: Mixture,
    sums: CovarianceSums,
    sigmas: Floats | float,
    *,
    factors: Floats | None = None,
    rate: float = 1.0,
    trust: float = TRUST,
) -> Mixture:
    """One step of preconditioned gradient descent in weights, means and covariances.

    rate: without units; 1 is Newton's step of components that are far apart.
    """
    algebra, (sigmas, factors) = algebra_of(student.covariance), _levels(sigmas, factors)
    scale = rate / (sums.weight * np.maximum(student.weights, TINY))
    values, axes = algebra.spectrum(student.covariance.values)
    values = np.maximum(values, TINY * values.max(axis=1, keepdims=True))
    back, root, ones = algebra.transpose(axes), np.sqrt(values), np.ones_like(values)
    p = 1 / (values + sigmas[:, None, None] ** 2)  # (l, k, d)
    curvature = 2 * np.tensordot(factors, p**2, axes=1) * values  # of the means, in standard deviations
    shift = -_of(scale, algebra.apply(back, sums.means)) * root / curvature
    shift *= np.minimum(1, trust / np.maximum(np.linalg.norm(shift, axis=1, keepdims=True), trust))
    change = _of(-scale, algebra.times(algebra.times(back, sums.covariances), axes))
    bend = np.tensordot(factors, algebra.outer(p**2, p) + algebra.outer(p, p**2), axes=1)
    exponents, turn = algebra.spectrum(change / (bend * algebra.outer(root, root)))
    turn = turn * algebra.outer(ones, np.exp(np.clip(exponents, -trust, trust) / 2))
    half = algebra.times(axes * algebra.outer(ones, root), turn)
    weights = student.weights * np.exp(np.clip(-scale * sums.logits / curvature.mean(axis=1), -trust, trust))
    covariance = student.covariance.with_values(algebra.times(half, algebra.transpose(half)))
    return Mixture(weights / weights.sum(), student.means + algebra.apply(axes, root * shift), covariance)
