"""What there is to gain by making two components of one.

For every component the rows that it has a share in are divided along a direction, and a few EM steps of two components
follow on these rows alone. The gain is exact: the rise of the mean log likelihood when the two take the place of the
one, all else kept. Rows count with their share: looking only at rows that are most probably of the component would see
a cut-off Gaussian, whose edges look like structure.

Two directions are tried: the one in which the rows vary most, and the one in which they look least like a Gaussian
(FastICA, Hyvarinen 1999, started at the direction of least fourth moment); a fit that covers two thin clusters side by
side shows only in the second. In many columns components with correlations are looked at in these directions and the
next of largest variance only: elsewhere the two are what the one is, and the gain is what this pair gains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import expit

from scoremix.arrays import Floats, like, product
from scoremix.learning.em.em import Prior, recenter
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.learning.em.posterior import Batch, Ints, Posterior, ragged_batches
from scoremix.learning.em.shrinkage import FixedShapePrior
from scoremix.learning.search.directions import leading_directions, least_moment
from scoremix.learning.search.merges import LARGEST, LEAST
from scoremix.models.covariance.interface import LOG_2PI, CollapsedError, Covariance, are_positive
from scoremix.models.covariance.types import TYPES
from scoremix.models.mixture import Mixture

MEMBER = 0.05  # Rows of which a component has a smaller share are not looked at.
FEWEST = 4  # A component of fewer rows is not split.
LEAST_SHARE = 1e-6  # Smallest weight of a part, relative to the parent's.
STEPS = 4  # EM steps of the two.
ROUNDING = 100.0  # Rounding errors of a second moment, at most, in units of the precision of the rows.
FAR = 1e4  # Standard deviations beyond which a row is as far as this: a component without width has no fourth moments.
TURNS, ICA_TURNS = 6, 8  # Iterations of the power method and of FastICA.

# From so many columns on components with correlations are split in so many directions, in units of their deviations.
MANY_COLUMNS, SEEN = 64, 10
REG = 1e-6


@dataclass(frozen=True)
class Splits:
    """The best division found of every component.

    gain (k,), nats per sample; 0 where a component has too few rows; held_out (k,).
    """

    gain: Floats
    held_out: Floats | None
    first: Parts
    second: Parts


class Parts:
    """One of the two of every component; its matrices are made when it is taken."""

    def __init__(self, parent: Mixture) -> None:
        self._parent, self.weights = parent, parent.weights / 2
        self._found: dict[int, tuple[_View, Mixture, int]] = {}

    def put(self, where: Ints, view: _View, part: Mixture, which: Ints) -> None:
        """Of some components: some of the parts that a view has found."""
        self.weights[where] = part.weights[which]
        self._found.update({int(j): (view, part, int(one)) for j, one in zip(where, which, strict=True)})

    def take(self, components: Ints) -> Mixture:
        """Those of some components."""
        covariance, parts = self._parent.covariance, [self._one(int(j)) for j in components]
        if not covariance.is_shared and parts:
            covariance = covariance.with_values(np.concatenate([part.covariance.values for part in parts]))
        means = [part.means for part in parts]
        return Mixture(self.weights[components], np.concatenate(means) if parts else self._parent.means[:0], covariance)

    def _one(self, component: int) -> Mixture:
        if component not in self._found:
            return self._parent.take(np.array([component]))
        view, part, which = self._found[component]
        return view.outside(part, np.array([which]))


@dataclass(frozen=True)
class _Group:
    """Rows of some components, padded: offsets (g, m, d) from the means; the rest (g, m)."""

    parent: Mixture
    offsets: Floats
    share: Floats  # the component's share of a row
    weight: Floats  # of the row; 0 where padded
    log_parent: Floats  # log w N of the component

    @cached_property
    def squares(self) -> Floats | None:
        """What variances of many columns multiply, or one for all: (g, m, d) or (g, m, 1); else none."""
        covariance = self.parent.covariance
        if self.offsets.shape[2] < MANY_COLUMNS or not covariance.is_diagonal:
            return None
        if TYPES[covariance.kind].is_round:
            return np.asarray(np.einsum("gmd,gmd->gm", self.offsets, self.offsets)[:, :, None])
        return np.asarray(self.offsets**2)


_Direction = Callable[[_Group, Floats], Floats]  # Coordinates (g, m) of the rows, from masses (g, m).


def split_gains(posterior: Posterior, prior: FixedShapePrior, reg: float, fold: Floats | None = None) -> Splits:
    """Try to split every component.

    fold (n,), 0 or 1 for every row: also return held-out gains.

    O(n d^2) per direction and step, for all components together.
    """
    rows, mixture, k = posterior.rows, posterior.mixture, posterior.mixture.n_components
    component, row = np.nonzero(posterior.shares.T > MEMBER)
    starts = np.searchsorted(component, np.arange(k + 1))
    sizes = np.diff(starts)
    gain, judged = np.zeros(k), np.full(k, -np.inf)
    first, second = Parts(mixture), Parts(mixture)
    for batch in ragged_batches(starts[:-1], np.where(sizes > FEWEST, sizes, 0), mixture.n_features):
        group = _group(posterior, batch, row[batch.index])
        view = _view(group, group.weight, prior, reg)
        for number, direction in enumerate(view.directions):
            pair = _two(view.group, direction, group.weight, view.prior, view.reg)
            rise = np.asarray(np.sum(group.weight * _log_rise(group, pair.log_ratio), axis=1, dtype=np.float64))
            value: Floats = rise if fold is None else _held_out(group, view, number, fold[row[batch.index]])
            better = np.flatnonzero(value > judged[batch.items])
            where = batch.items[better]
            gain[where], judged[where] = rise[better], value[better]
            first.put(where, view, pair.first, better)
            second.put(where, view, pair.second, better)
    judged = np.where(np.isfinite(judged), judged, 0.0) / rows.total
    return Splits(gain / rows.total, None if fold is None else judged, first, second)


def _group(posterior: Posterior, batch: Batch, at: Ints) -> _Group:
    """The rows of a batch of components; `at` says which, (g, m)."""
    rows, mixture = posterior.rows, posterior.mixture.take(batch.items)
    share = posterior.shares[at, batch.items[:, None]]
    offsets = rows.x[at]
    offsets -= like(mixture.means, rows.x)[:, None, :]
    return _Group(
        mixture,
        offsets,
        share,
        rows.weight[at] * batch.valid,
        np.log(share) + posterior.log_density[at],
    )


def _log_rise(group: _Group, log_ratio: Floats) -> Floats:
    """Change of the log density of every row when the component is replaced."""
    ratio = np.exp(np.clip(log_ratio, -LARGEST, LARGEST))
    return np.log(np.maximum(1 - group.share + group.share * ratio, LEAST))


def _held_out(group: _Group, view: _View, number: int, fold: Floats) -> Floats:
    """Gain over one component, both fitted on one half of the rows and evaluated at the other."""
    total, seen = np.zeros(len(group.weight)), view.group
    for half in (0, 1):
        inside = group.weight * (fold == half)
        pair = _two(seen, view.directions[number], inside, view.prior, view.reg)
        whole = _sums(seen, seen.share * inside)
        log_one = _log_joint(seen, *_fitted(seen, whole, whole.mass, view.prior, view.reg))
        rise = _log_rise(group, pair.log_ratio) - _log_rise(group, log_one - seen.log_parent)
        total += np.sum((group.weight - inside) * rise, axis=1, dtype=np.float64)
    return total


@dataclass(frozen=True)
class _Pair:
    first: Mixture
    second: Mixture
    log_ratio: Floats  # to the parent


def _two(group: _Group, direction: _Direction, weight: Floats, prior: Prior, reg: float) -> _Pair:
    """EM of two components on the rows that have weight."""
    mass = group.share * weight
    side = (direction(group, mass) > 0).astype(mass.dtype)
    total = _sums(group, mass)
    for _ in range(STEPS):
        one = _sums(group, mass * side)
        other = ExpectedMoments(total.mass - one.mass, total.first - one.first, total.second - one.second, 0.0, 0.0)
        first, second = (_fitted(group, part, total.mass, prior, reg) for part in (one, other))
        log_first, log_second = _log_joint(group, *first), _log_joint(group, *second)
        side = expit(log_first - log_second)
    return _Pair(first[0], second[0], np.logaddexp(log_first, log_second) - group.log_parent)


def _sums(group: _Group, mass: Floats) -> ExpectedMoments:
    """Moments of the rows about the parents' means; those of two parts add up, so the other part costs nothing."""
    first = product(mass[:, None, :], group.offsets)[:, 0, :].astype(np.float64, copy=False)
    covariance = group.parent.covariance
    if group.squares is None:
        second = covariance.moment(group.offsets, mass)
    else:
        second = product(mass[:, None, :], group.squares).astype(np.float64).reshape(covariance.values.shape)
    return ExpectedMoments(mass.sum(axis=1, dtype=np.float64), first, second, 0.0, 0.0)


def _fitted(group: _Group, sums: ExpectedMoments, total: Floats, prior: Prior, reg: float) -> tuple[Mixture, Floats]:
    """One component per parent, from moments; and how far it is from the parent."""
    safe = np.maximum(sums.mass, LEAST)
    weights = np.maximum(safe / np.maximum(total, LEAST), LEAST_SHARE) * group.parent.weights
    shift = sums.first / safe[:, None]
    covariance: Covariance = group.parent.covariance
    if not covariance.is_shared:
        second = recenter(sums, covariance, shift).second + _slack(sums.second, group.offsets)
        covariance = _sound(covariance.fitted(*prior.add(safe, second), reg), covariance)
    return Mixture(weights, group.parent.means + shift, covariance), shift


def _log_joint(group: _Group, part: Mixture, shift: Floats) -> Floats:
    """Log joint density of one component per parent, so far from it, at all rows of the parent."""
    (g, _, d), covariance, offsets = group.offsets.shape, part.covariance, group.offsets
    constant = np.log(part.weights) - 0.5 * (d * LOG_2PI + covariance.log_det(g, d))
    if group.squares is None:
        white = covariance.whiten(offsets)
        white -= covariance.whiten(like(shift, white)[:, None, :])
        return np.asarray(like(constant, white)[:, None] - 0.5 * np.einsum("gmd,gmd->gm", white, white))
    # Products round like the distance of the two, beside which it is nothing.
    weight = 1 / covariance.values.reshape(g, -1)
    constant -= 0.5 * np.sum(shift**2 * weight, axis=1)
    log_joint = product(offsets, like(shift * weight, offsets)[:, :, None])
    log_joint -= product(group.squares, like(0.5 * weight, offsets)[:, :, None])
    return np.asarray(log_joint[:, :, 0] + like(constant, offsets)[:, None])


def _sound(covariance: Covariance, parent: Covariance) -> Covariance:
    """The covariances, those of the parents where one is not positive definite: a part of rows without width."""
    try:
        covariance.precisions_cholesky()
    except CollapsedError:
        values = covariance.values.copy()
        values[~are_positive(covariance)] = parent.values[~are_positive(covariance)]
        return covariance.with_values(values)
    return covariance


def _slack(second: Floats, offsets: Floats) -> Floats:
    """What rounding may have taken from moments about the parents' means, on the diagonal: none may turn negative."""
    rounding = ROUNDING * float(np.finfo(offsets.dtype).eps)
    return np.asarray(rounding * (second if second.ndim < 3 else second * np.eye(second.shape[-1])))


@dataclass(frozen=True)
class _View:
    """How a group is looked at: as it is, or in some directions, in units of the parents' deviations.

    basis (g, d, q) of whitened coordinates.
    """

    group: _Group
    directions: tuple[_Direction, ...]
    prior: Prior
    reg: float
    parent: Mixture
    basis: Floats | None = None

    def outside(self, part: Mixture, which: Ints) -> Mixture:
        """Some of the parts in all columns: elsewhere they are what their parents are."""
        part, parent = part.take(which), self.parent.take(which)
        if self.basis is None:
            return part
        covariance, basis = parent.covariance, self.basis[which].astype(np.float64)
        root = product(covariance.values, product(covariance.precisions_cholesky(), basis))
        means = parent.means + product(root, part.means[:, :, None])[:, :, 0]
        if covariance.is_shared:
            return Mixture(part.weights, means, covariance)
        change = part.covariance.values - np.eye(basis.shape[2])
        added = product(product(root, change), np.swapaxes(root, 1, 2))
        added += np.swapaxes(added, 1, 2).copy()
        added /= 2
        added += covariance.values
        return Mixture(part.weights, means, covariance.with_values(added))


def _view(group: _Group, weight: Floats, prior: FixedShapePrior, reg: float) -> _View:
    """The group, if it has many columns in those directions in which rows of some weights may fall in two."""
    parent, d = group.parent, group.offsets.shape[2]
    if d < MANY_COLUMNS or parent.covariance.is_diagonal:
        return _View(group, (_principal, _least_gaussian), prior, reg, parent)
    mass = group.share * weight
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), LEAST)
    white = _white(group)
    lead = leading_directions(group.offsets, share, SEEN - 1)
    factors = np.broadcast_to(parent.covariance.precisions_cholesky(), (len(lead), d, d))
    lead = np.array([solve_triangular(u, v) for u, v in zip(factors, lead, strict=True)], dtype=white.dtype)
    least = least_moment(white, np.einsum("gmd,gmd->gm", white, white) * share)
    basis = np.linalg.qr(np.concatenate([least, lead], axis=2))[0]
    y, along = product(white, basis), product(np.swapaxes(basis, 1, 2), lead[:, :, :1])
    values = np.eye(SEEN) if parent.covariance.is_shared else np.tile(np.eye(SEEN), (len(y), 1, 1))
    seen = Mixture(parent.weights, np.zeros((len(y), SEEN)), parent.covariance.with_values(values))
    log_parent = like(np.log(parent.weights) - 0.5 * SEEN * LOG_2PI, y)[:, None] - 0.5 * np.einsum("gmd,gmd->gm", y, y)
    few = _Group(seen, y, group.share, group.weight, log_parent)

    def principal(group: _Group, mass: Floats) -> Floats:
        return _along(group.offsets, along, mass)

    return _View(few, (principal, _least_gaussian), prior.white(SEEN), REG, parent, basis)


def _white(group: _Group) -> Floats:
    white = group.parent.covariance.whiten(group.offsets)
    return np.asarray(np.clip(white, -FAR, FAR, out=white))


def _principal(group: _Group, mass: Floats) -> Floats:
    """Coordinates (g, m) along the direction of largest variance, from the center."""
    if group.offsets.shape[2] >= MANY_COLUMNS:
        return _along(group.offsets, leading_directions(group.offsets, mass, 1), mass)
    scatter = product(np.swapaxes(group.offsets, 1, 2), group.offsets * mass[:, :, None])
    # The power method starts at the columns of largest variance, which are never orthogonal to what it looks for.
    largest = np.argmax(np.diagonal(scatter, axis1=1, axis2=2), axis=1)
    direction = scatter[np.arange(len(scatter)), :, largest][:, :, None]
    for _ in range(TURNS):
        direction = product(scatter, direction / (np.linalg.norm(direction, axis=1, keepdims=True) + LEAST))
    return _along(group.offsets, direction, mass)


def _least_gaussian(group: _Group, mass: Floats) -> Floats:
    """Coordinates (g, m) along a direction of locally least Gaussian shape, from the center."""
    white = _white(group)
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), LEAST)
    lengths = np.einsum("gmd,gmd->gm", white, white)
    if white.shape[2] < MANY_COLUMNS:
        fourth = product(np.swapaxes(white, 1, 2), white * (lengths * share)[:, :, None])
        direction = np.linalg.eigh(fourth)[1][:, :, :1]  # of least fourth moment: two humps
    else:
        direction = least_moment(white, lengths * share)
    for _ in range(ICA_TURNS):
        bent = np.tanh(product(white, direction)[:, :, 0])
        slope = np.sum(share * (1 - bent**2), axis=1)[:, None, None]
        direction = product(np.swapaxes(white, 1, 2), (share * bent)[:, :, None]) - slope * direction
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + LEAST
    return _along(white, direction, mass)


def _along(offsets: Floats, direction: Floats, mass: Floats) -> Floats:
    along = product(offsets, direction)[:, :, 0]
    center = np.sum(along * mass, axis=1) / np.maximum(mass.sum(axis=1), LEAST)
    return np.asarray(along - center[:, None])
