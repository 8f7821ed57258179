"""What there is to gain by making two components of one.

For every component the rows that it has a share in are divided along a direction, and a few EM steps of two components
follow on these rows alone. The gain is exact: the rise of the mean log likelihood when the two take the place of the
one, all else kept. Rows count with their share: looking only at rows that are most probably of the component would see
a cut-off Gaussian, whose edges look like structure.

Two directions are tried: the one in which the rows vary most, and the one in which they look least like a Gaussian
(FastICA, Hyvarinen 1999, started at the direction of least fourth moment); a fit that covers two thin clusters side by
side shows only in the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from scoremix.arrays import Floats, like, product
from scoremix.learning.em.em import Prior, recenter
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.learning.em.posterior import Batch, Ints, Posterior, ragged_batches
from scoremix.learning.search.merges import LARGEST, LEAST
from scoremix.models.covariance.interface import LOG_2PI, Covariance, are_positive
from scoremix.models.mixture import Mixture

MEMBER = 0.05  # Rows of which a component has a smaller share are not looked at.
FEWEST = 4  # A component of fewer rows is not split.
LEAST_SHARE = 1e-6  # Smallest weight of a part, relative to the parent's.
STEPS = 4  # EM steps of the two.
ROUNDING = 100.0  # Rounding errors of a second moment, at most, in units of the precision of the rows.
FAR = 1e4  # Standard deviations beyond which a row is as far as this: a component without width has no fourth moments.
TURNS, ICA_TURNS = 6, 8  # Iterations of the power method and of FastICA.


@dataclass(frozen=True)
class Splits:
    """The best division found of every component.

    gain (k,), nats per sample; 0 where a component has too few rows; held_out (k,).
    """

    gain: Floats
    held_out: Floats | None
    first: Mixture
    second: Mixture


@dataclass(frozen=True)
class _Group:
    """Rows of some components, padded: offsets (g, m, d) from the means; the rest (g, m)."""

    parent: Mixture
    offsets: Floats
    share: Floats  # the component's share of a row
    weight: Floats  # of the row; 0 where padded
    log_parent: Floats  # log w N of the component


_Direction = Callable[[_Group, Floats], Floats]  # Coordinates (g, m) of the rows, from masses (g, m).


def split_gains(posterior: Posterior, prior: Prior, reg: float, fold: Floats | None = None) -> Splits:
    """Try to split every component.

    fold (n,), 0 or 1 for every row: also return held-out gains.

    O(n d^2) per direction and step, for all components together.
    """
    rows, mixture, k = posterior.rows, posterior.mixture, posterior.mixture.n_components
    component, row = np.nonzero(posterior.shares.T > MEMBER)
    starts = np.searchsorted(component, np.arange(k + 1))
    sizes = np.diff(starts)
    gain, judged = np.zeros(k), np.full(k, -np.inf)
    first, second = _Collected(mixture), _Collected(mixture)
    for batch in ragged_batches(starts[:-1], np.where(sizes > FEWEST, sizes, 0), mixture.n_features):
        group = _group(posterior, batch, row[batch.index])
        for direction in (_principal, _least_gaussian):
            pair = _two(group, direction, group.weight, prior, reg)
            rise = np.asarray(np.sum(group.weight * _log_rise(group, pair.log_joint), axis=1, dtype=np.float64))
            value: Floats = rise if fold is None else _held_out(group, direction, fold[row[batch.index]], prior, reg)
            better = np.flatnonzero(value > judged[batch.items])
            where = batch.items[better]
            gain[where], judged[where] = rise[better], value[better]
            first.put(where, pair.first.take(better))
            second.put(where, pair.second.take(better))
    judged = np.where(np.isfinite(judged), judged, 0.0) / rows.total
    return Splits(gain / rows.total, None if fold is None else judged, first.mixture(), second.mixture())


def _group(posterior: Posterior, batch: Batch, at: Ints) -> _Group:
    """The rows of a batch of components; `at` says which, (g, m)."""
    rows, mixture = posterior.rows, posterior.mixture.take(batch.items)
    share = posterior.shares[at, batch.items[:, None]]
    return _Group(
        mixture,
        rows.x[at] - like(mixture.means, rows.x)[:, None, :],
        share,
        rows.weight[at] * batch.valid,
        np.log(share) + posterior.log_density[at],
    )


class _Collected:
    """Components that come in groups, put in the places of their parents."""

    def __init__(self, parent: Mixture) -> None:
        self._covariance = parent.covariance
        self._weights, self._means = parent.weights / 2, parent.means.copy()
        self._values = parent.covariance.values.copy()

    def put(self, where: Ints, part: Mixture) -> None:
        self._weights[where], self._means[where] = part.weights, part.means
        if not self._covariance.is_shared:
            self._values[where] = part.covariance.values

    def mixture(self) -> Mixture:
        return Mixture(self._weights, self._means, self._covariance.with_values(self._values))


def _log_rise(group: _Group, log_joint: Floats) -> Floats:
    """Change of the log density of every row when the component is replaced."""
    ratio = np.exp(np.clip(log_joint - group.log_parent, -LARGEST, LARGEST))
    return np.log(np.maximum(1 - group.share + group.share * ratio, LEAST))


def _held_out(group: _Group, direction: _Direction, fold: Floats, prior: Prior, reg: float) -> Floats:
    """Gain over one component, both fitted on one half of the rows and evaluated at the other."""
    total = np.zeros(len(group.weight))
    for half in (0, 1):
        inside = group.weight * (fold == half)
        pair = _two(group, direction, inside, prior, reg)
        whole = _sums(group, group.share * inside)
        log_one = _fitted(group, whole, whole.mass, prior, reg)[1]
        rise = _log_rise(group, pair.log_joint) - _log_rise(group, log_one)
        total += np.sum((group.weight - inside) * rise, axis=1, dtype=np.float64)
    return total


@dataclass(frozen=True)
class _Pair:
    first: Mixture
    second: Mixture
    log_joint: Floats


def _two(group: _Group, direction: _Direction, weight: Floats, prior: Prior, reg: float) -> _Pair:
    """EM of two components on the rows that have weight."""
    mass = group.share * weight
    side = (direction(group, mass) > 0).astype(mass.dtype)
    total = _sums(group, mass)
    for _ in range(STEPS):
        one = _sums(group, mass * side)
        other = ExpectedMoments(total.mass - one.mass, total.first - one.first, total.second - one.second, 0.0, 0.0)
        first, log_first = _fitted(group, one, total.mass, prior, reg)
        second, log_second = _fitted(group, other, total.mass, prior, reg)
        side = expit(log_first - log_second)
    return _Pair(first, second, np.logaddexp(log_first, log_second))


def _sums(group: _Group, mass: Floats) -> ExpectedMoments:
    """Moments of the rows about the parents' means; those of two parts add up, so the other part costs nothing."""
    first = product(mass[:, None, :], group.offsets)[:, 0, :].astype(np.float64, copy=False)
    second = group.parent.covariance.moment(group.offsets, mass)
    return ExpectedMoments(mass.sum(axis=1, dtype=np.float64), first, second, 0.0, 0.0)


def _fitted(group: _Group, sums: ExpectedMoments, total: Floats, prior: Prior, reg: float) -> tuple[Mixture, Floats]:
    """One component per parent, from moments; and its log joint density at all rows of the parent."""
    g, _, d = group.offsets.shape
    safe = np.maximum(sums.mass, LEAST)
    weights = np.maximum(safe / np.maximum(total, LEAST), LEAST_SHARE) * group.parent.weights
    shift = sums.first / safe[:, None]
    covariance: Covariance = group.parent.covariance
    if not covariance.is_shared:
        second = recenter(sums, covariance, shift).second + _slack(sums.second, group.offsets)
        covariance = _sound(covariance.fitted(*prior.add(safe, second), reg), covariance)
    white = covariance.whiten(group.offsets)
    white -= covariance.whiten(like(shift, white)[:, None, :])
    constant = np.log(weights) - 0.5 * (d * LOG_2PI + covariance.log_det(g, d))
    log_joint = like(constant, white)[:, None] - 0.5 * np.einsum("gmd,gmd->gm", white, white)
    return Mixture(weights, group.parent.means + shift, covariance), log_joint


def _sound(covariance: Covariance, parent: Covariance) -> Covariance:
    """The covariances, those of the parents where one is not positive definite: a part of rows without width."""
    try:
        covariance.precisions_cholesky()
    except np.linalg.LinAlgError:
        values = covariance.values.copy()
        values[~are_positive(covariance)] = parent.values[~are_positive(covariance)]
        return covariance.with_values(values)
    return covariance


def _slack(second: Floats, offsets: Floats) -> Floats:
    """What rounding may have taken from moments about the parents' means, on the diagonal: none may turn negative."""
    rounding = ROUNDING * float(np.finfo(offsets.dtype).eps)
    return np.asarray(rounding * (second if second.ndim < 3 else second * np.eye(second.shape[-1])))


def _principal(group: _Group, mass: Floats) -> Floats:
    """Coordinates (g, m) along the direction of largest variance, from the center."""
    scatter = product(np.swapaxes(group.offsets, 1, 2), group.offsets * mass[:, :, None])
    # The power method starts at the columns of largest variance, which are never orthogonal to what it looks for.
    largest = np.argmax(np.diagonal(scatter, axis1=1, axis2=2), axis=1)
    direction = scatter[np.arange(len(scatter)), :, largest][:, :, None]
    for _ in range(TURNS):
        direction = product(scatter, direction / (np.linalg.norm(direction, axis=1, keepdims=True) + LEAST))
    return _along(group.offsets, direction, mass)


def _least_gaussian(group: _Group, mass: Floats) -> Floats:
    """Coordinates (g, m) along a direction of locally least Gaussian shape, from the center."""
    white = np.clip(group.parent.covariance.whiten(group.offsets), -FAR, FAR)
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), LEAST)
    lengths = np.einsum("gmd,gmd->gm", white, white)
    fourth = product(np.swapaxes(white, 1, 2), white * (lengths * share)[:, :, None])
    direction = np.linalg.eigh(fourth)[1][:, :, :1]  # of least fourth moment: two humps
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
