"""The joint density ``log w_k N_k(x)`` of a mixture at many points: the kernel of everything a mixture is asked.

Three ways of computing it, which give the same numbers:

* *packed*: natural parameters times features, one matrix product for all components. The fastest in general; but
  products of coordinates cancel where a component is far from the origin of the features or badly conditioned.
* *stacked* (`Full` only): the factors of all precisions stacked to one matrix, ``|U_k^T (x - m_k)|^2``: one product and
  a sum of squares. Digits are lost with the square root of the condition number only. It is also faster where few large
  matrices meet (k <= 8, d >= 4 k), because it needs no products of coordinates.
* *by component* (`Full` only): one factor after the other, in many dimensions; see `by_component`.

The origin is a *frame*. Where all means are near one point, that is the only frame; else frames are put on means until
each mean is near one, points are sorted by nearest frame, and every block of points is seen from its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scoremix.arrays import (
    Array,
    Floats,
    at_least_in_place,
    exp_in_place,
    like,
    namespace,
    product,
    squared_lengths,
)
from scoremix.models.by_component import FEW_COMPONENTS, ComponentJoint, pays_by_component
from scoremix.models.covariance.full import Full
from scoremix.models.covariance.interface import LOG_2PI, Covariance, linear_features
from scoremix.models.gates import Voronoi

# Rounding that products of coordinates may cause in a logarithm, by bytes of a number; beyond it frames are added.
TOLERANCE = {8: 1e-11, 4: 1e-3}

# Up to 8 components the stacked factors are faster in 4 dimensions per component and more.
LARGE_DIMENSION = 4

FRAMES_COST = (
    16  # From so many dimensions on components, which need no frames, are better asked one by one than several.
)

# Relative logarithms are cut here: exp of less is a denormal number, which makes products a hundred times slower.
LOGIT_FLOOR = {8: -600.0, 4: -60.0}


@dataclass(frozen=True)
class Evaluation:
    """Some of the points that were asked for.

    order: which points (None: all, as they came); phi (p, n); log_joint (k, n).
    """

    order: Array | None
    frame: int
    phi: Array
    log_joint: Array


class LogJoint:
    """Everything about a mixture that can be computed before its points are seen.

    weights (k,); means (k, d).
    """

    def __init__(self, weights: Floats, means: Floats, covariance: Covariance, itemsize: int = 8) -> None:
        k, d = means.shape
        self.means, self.covariance = means, covariance
        self.by_component: ComponentJoint | None = None
        if isinstance(covariance, Full) and pays_by_component(k, d):
            self._go_by_component(weights, covariance)
            return
        epsilon = 2.0 ** (-52 if itemsize == 8 else -23)
        limit = TOLERANCE[itemsize] / epsilon
        is_unsafe = covariance.condition(d) > limit
        # Second moments about a frame are products of coordinates too: badly conditioned ones need nearer frames.
        frames = choose_origins(weights, means, covariance, limit / 100 if is_unsafe else limit)
        # Numbers that the points' precision has: offsets of points and of means are then from the same place.
        self.frames = frames if itemsize == 8 else frames.astype(np.float32).astype(np.float64)
        if isinstance(covariance, Full) and d >= FRAMES_COST and len(self.frames) > 1:
            self._go_by_component(weights, covariance)
            return
        self.is_stacked = isinstance(covariance, Full) and (are_few_and_large(k, d) or is_unsafe)
        if self.is_stacked:
            factor = np.swapaxes(covariance.precisions_cholesky(), 1, 2)  # U_k^T
            offsets = [-factor @ (means - frame)[:, :, None] for frame in self.frames]
            self._theta = [np.concatenate([offset, factor], axis=2).reshape(k * d, d + 1) for offset in offsets]
            self._constant = (np.log(weights) - 0.5 * (d * LOG_2PI + covariance.log_det(k, d)))[:, None]
        else:
            self._theta = [covariance.natural(weights, means - frame) for frame in self.frames]

    def _go_by_component(self, weights: Floats, covariance: Full) -> None:
        self.by_component, self.is_stacked = ComponentJoint(weights, self.means, covariance), True
        self.frames = (weights @ self.means / weights.sum())[None, :]

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return len(self.means)

    @property
    def rows_per_megabyte(self) -> int:
        """Points whose temporaries take a megabyte in double precision."""
        k, d = self.means.shape
        if self.by_component is not None:
            width = k + 3 * d
        else:
            width = k + (k * d if self.is_stacked else self.covariance.n_sums(d))
        return int(max(1, 2**17 // width))

    def parts(self, x: Array, *, nearly: bool = False) -> Iterator[Evaluation]:
        """Evaluate the points x of shape (d, n), frame by frame.

        nearly: components with a share below e^-28 in a point may be left out, as -inf.
        """
        if self.by_component is not None:
            yield self._one_by_one(self.by_component, x, nearly)
            return
        if len(self.frames) == 1:
            yield self._part(0, None, x)
            return
        partition = Voronoi(self.frames, np.ones(len(self.frames))).partition(x)
        sorted_x = partition.arrange(x)
        for block in partition.blocks:
            here = slice(block.start, block.stop)
            order = None if partition.order is None else partition.order[here]
            yield self._part(int(block.cells[0]), order, sorted_x[:, here])

    def _part(self, frame: int, order: Array | None, x: Array) -> Evaluation:
        k, d = self.means.shape
        theta = like(self._theta[frame], x)
        if not self.is_stacked:
            phi = self.covariance.features(x, self.frames[frame])
            return Evaluation(order, frame, phi, product(theta, phi))
        phi = linear_features(x, self.frames[frame], d + 1)
        log_joint = squared_lengths(namespace(x).reshape(product(theta, phi), (k, d, -1)))
        log_joint *= -0.5
        log_joint += like(self._constant, x)
        return Evaluation(order, frame, phi, log_joint)

    def _one_by_one(self, joint: ComponentJoint, x: Array, nearly: bool) -> Evaluation:
        xp, (k, d) = namespace(x), self.means.shape
        log_joint = xp.full((k, x.shape[1]), -xp.inf, dtype=x.dtype, device=x.device)
        for component, rows, logs in joint.near(x.T)[0] if nearly else joint.at_all(x.T):
            log_joint[component, rows] = logs
        return Evaluation(None, 0, linear_features(x, self.frames[0], d + 1), log_joint)

    def gradient(self, part: Evaluation, responsibilities: Array) -> Array:
        """Score of the mixture at the points of a part, shape (d, n)."""
        xp, (k, d) = namespace(part.phi), self.means.shape
        if self.by_component is not None:
            local = part.phi[1 : d + 1, :] + like(self.frames[part.frame], part.phi)[:, None]
            return self.by_component.gradient(local.T, responsibilities)
        theta = like(self._theta[part.frame], part.phi)
        if not self.is_stacked:
            return self.covariance.gradient(product(theta.T, responsibilities), part.phi[1 : d + 1, :])
        white = xp.reshape(product(theta, part.phi), (k, d, -1)) * -responsibilities[:, None, :]
        return product(theta[:, 1:].T, xp.reshape(white, (k * d, -1)))


def are_few_and_large(n_components: int, n_features: int) -> bool:
    """Whether products of coordinates cost more than going through the components one by one."""
    return n_components <= FEW_COMPONENTS and n_features >= LARGE_DIMENSION * n_components


def choose_origins(weights: Floats, means: Floats, covariance: Covariance, limit: float) -> Floats:
    """Points such that every mean is within a squared Mahalanobis distance of `limit` of one of them, shape (f, d)."""
    center = weights @ means / weights.sum()
    if np.all(covariance.squared_distance(means, center) <= limit):
        return np.asarray(center[None, :])
    far, frames = np.ones(len(means), dtype=bool), []
    while far.any():
        index = int(np.argmax(np.where(far, weights, -1.0)))
        frame, far[index] = means[index], False  # one mean less, whatever the numbers are
        frames.append(frame)
        far &= ~(covariance.squared_distance(means, frame) <= limit) & np.any(means != frame, axis=1)
    return np.array(frames)


def itemsize_of(x: Array) -> int:
    """Bytes per number of a float32 or float64 array."""
    return 4 if x.dtype == namespace(x).float32 else 8


def normalize_posterior(log_joint: Array) -> tuple[Array, Array, Array]:
    """Turn ``log w_k N_k`` into unnormalised responsibilities, in place.

    Returns relative (k, n), total (n,), log_density (n,).
    """
    xp = namespace(log_joint)
    top = xp.max(log_joint, axis=0)
    log_joint -= top[None, :]
    relative = exp_in_place(at_least_in_place(log_joint, LOGIT_FLOOR[itemsize_of(log_joint)]))
    total = xp.sum(relative, axis=0)
    return relative, total, top + xp.log(total)
