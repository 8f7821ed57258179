"""Missing values, marginalised exactly: a row says what its observed columns say, and nothing else.

The density of what a row shows, and what is to be expected of the rest, follow from the precision matrix P = U U^T of a
component and the few entries that are missing (index m): given the others these have the covariance ``P_mm^-1``, and
their mean makes the quadratic form of the whole row least. So a row is *completed*, offset by offset from the mean of
every component, ``f_m = -P_mm^-1 (P z)_m`` with z the observed offsets; ``|U^T f|^2`` is the quadratic form of what it
shows (at its least, where errors of f count squared), and ``log det P_mm`` is what the determinant changes by. Then an
E-step is one of complete rows, but for the covariances ``P_mm^-1`` that are added.

Rows come in as many patterns as there are rows. Those with equally many missing entries are a stack of small systems,
which are *swept* (Gauss-Jordan, without pivots since they are positive definite) all at once: O(k m^3) per pattern of m
missing entries, and O(k d^2) per row. Values are taken to be missing at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, product, to_numpy
from scoremix.learning.em.em import expected_of, with_others
from scoremix.learning.em.expected import ExpectedMoments
from scoremix.models.covariance.interface import LOG_2PI, by_column
from scoremix.models.log_joint import itemsize_of, normalize_posterior
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Chunk, Source

# Rows that are completed together, and their offsets from all means, at most about.
CHUNK_ROWS, CHUNK_NUMBERS = 16384, 2**18

ENOUGH_COMPLETE = 1000  # With so many complete rows, seeds are chosen among them alone.


@dataclass(frozen=True)
class Holes:
    """Rows with the same number m > 0 of missing entries, sorted by which these are.

    rows (n,); columns (m, p); starts (p,); pattern (n,).
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    starts: NDArray[np.intp]
    pattern: NDArray[np.intp]


def holes_of(x: NDArray[np.floating]) -> Iterator[Holes]:
    """Group the rows with missing entries by their number, and by pattern."""
    missing = np.isnan(x)
    numbers = missing.sum(axis=1)
    bits = np.packbits(missing, axis=1)
    names = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}")[:, 0]
    for m in np.unique(numbers[numbers > 0]):
        rows = np.flatnonzero(numbers == m)
        _, first, pattern = np.unique(names[rows], return_index=True, return_inverse=True)
        order = np.argsort(pattern, kind="stable")
        columns = np.nonzero(missing[rows[first]])[1].reshape(-1, m).T
        starts = np.searchsorted(pattern[order], np.arange(len(first)))
        yield Holes(rows[order], columns, starts, pattern[order])


def swept(matrices: Floats) -> tuple[Floats, Floats]:
    """Invert positive definite matrices (m, m, ...) in place: the inverses, and log determinants (...)."""
    log_det = np.zeros(matrices.shape[2:])
    for i in range(len(matrices)):
        pivot, column = matrices[i, i].copy(), matrices[:, i].copy()
        log_det += np.log(pivot)
        row = matrices[i] / pivot
        matrices -= column[:, None] * row
        matrices[i], matrices[:, i] = row, -column / pivot
        matrices[i, i] = 1 / pivot
    return matrices, log_det


@dataclass(frozen=True)
class Completed:
    """Rows as every component expects them.

    offsets (k, n, d); log_joint (k, n); left (m, m, p, k).
    """

    offsets: Floats
    log_joint: Floats
    left: list[tuple[Holes, Floats]]

    def posterior(self) -> tuple[Floats, Floats]:
        """Log densities (n,), and responsibilities (k, n)."""
        relative, total, log_density = normalize_posterior(self.log_joint.copy())
        return log_density, relative / total


class Completion:
    """What completing rows takes of a mixture, computed once."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        k, d = mixture.means.shape
        self.chunk_rows = int(np.clip(CHUNK_NUMBERS // (k * d), 1, CHUNK_ROWS))
        with np.errstate(divide="ignore"):  # a weight of 0
            self._log_weights = np.log(mixture.weights)
        self._is_apart = mixture.covariance.is_diagonal
        if self._is_apart:
            self._variances = by_column(mixture.covariance, mixture.covariance.values, k, d)
        else:
            self._factor = mixture.covariance.precisions_cholesky().reshape(-1, d, d)
            self._precision = self._factor @ np.swapaxes(self._factor, 1, 2)
            self._stacked = np.ascontiguousarray(np.moveaxis(self._precision, 0, -1))
            self._log_det = mixture.covariance.log_det(k, d)

    def of(self, x: NDArray[np.floating]) -> Completed:
        """Complete the rows x (n, d), of which each shows something."""
        seen = ~np.isnan(x)
        offsets = np.where(seen, x - self.mixture.means[:, None, :], 0.0)
        squares, left = (self._apart if self._is_apart else self._together)(offsets, seen, holes_of(x))
        constant = self._log_weights[:, None] - 0.5 * LOG_2PI * seen.sum(axis=1)
        return Completed(offsets, constant - 0.5 * squares, left)

    def _together(
        self, offsets: Floats, seen: NDArray[np.bool_], found: Iterator[Holes]
    ) -> tuple[Floats, list[tuple[Holes, Floats]]]:
        """Quadratic forms plus log determinants (k, n), and what is left; missing offsets are filled in place."""
        pull, log_det, left = offsets @ self._precision, np.tile(self._log_det[:, None], len(seen)), []
        for holes in found:
            inverse, change = swept(self._stacked[holes.columns[:, None], holes.columns])
            at = (np.arange(len(offsets)), holes.rows[:, None], holes.columns[:, holes.pattern, None])  # (m, n, k)
            offsets[at] = -np.sum(inverse[:, :, holes.pattern] * pull[at], axis=1)
            log_det[:, holes.rows] += change[holes.pattern].T
            left.append((holes, inverse))
        white = offsets @ self._factor
        return np.einsum("knd,knd->kn", white, white) + log_det, left

    def _apart(
        self, offsets: Floats, seen: NDArray[np.bool_], found: Iterator[Holes]
    ) -> tuple[Floats, list[tuple[Holes, Floats]]]:
        """The same where columns are independent: the missing ones have their means and variances."""
        squares = np.einsum("knd,kd->kn", offsets**2, 1 / self._variances) + np.log(self._variances) @ seen.T
        return squares, [(holes, np.moveaxis(self._variances[:, holes.columns], 0, -1)) for holes in found]


def expectation_with_missing(source: Source, mixture: Mixture, n_threads: int | None = None) -> ExpectedMoments:
    """E-step where NaN entries are missing values: one pass over a source.

    Returns as from `e_step`; the log likelihood is that of the observed entries.
    """
    support = np.flatnonzero(mixture.weights != 0)
    if len(support) < mixture.n_components:
        some = expectation_with_missing(source, mixture.take(support), n_threads)
        return with_others(some, support, mixture)
    completion, joint = Completion(mixture), mixture.joint(itemsize_of(next(iter(source.chunks(1))).x))

    def statistic(chunk: Chunk) -> ExpectedMoments:
        x = to_numpy(chunk.x)
        weight = np.ones(len(x)) if chunk.weight is None else to_numpy(chunk.weight).astype(np.float64)
        missing = np.isnan(x).sum(axis=1)
        total = _expected_of_nothing(mixture, float(weight[missing == x.shape[1]].sum()))
        some, whole = (missing > 0) & (missing < x.shape[1]), missing == 0
        if np.any(some):
            total += _expected_with_holes(completion, x[some].astype(np.float64), weight[some])
        if np.any(whole):
            total += expected_of(joint, np.ascontiguousarray(x[whole].T), weight[whole].astype(x.dtype))
        return total

    return accumulate(statistic, source, chunk_rows=completion.chunk_rows, n_threads=n_threads)


def _expected_of_nothing(mixture: Mixture, total: float) -> ExpectedMoments:
    """What the mixture expects of rows of this weight that show nothing."""
    second = total * mixture.covariance.second_of(mixture.weights)
    return ExpectedMoments(total * mixture.weights, np.zeros_like(mixture.means), second, 0.0, total)


def _expected_with_holes(completion: Completion, x: Floats, weight: Floats) -> ExpectedMoments:
    """Sums over rows that show something each."""
    rows, covariance = completion.of(x), completion.mixture.covariance
    log_density, shares = rows.posterior()
    shares *= weight
    first = product(shares[:, None, :], rows.offsets)[:, 0, :]
    if covariance.is_diagonal:
        second = product(shares[:, None, :], rows.offsets**2)[:, 0, :]
    else:
        second = product(np.swapaxes(rows.offsets * shares[:, :, None], 1, 2), rows.offsets)
    second = second + sum((_spread(holes, left, shares, second.shape) for holes, left in rows.left), start=0.0)
    second = covariance.reduced(second)
    return ExpectedMoments(shares.sum(axis=1), first, second, float(product(weight, log_density)), float(weight.sum()))


def _spread(holes: Holes, left: Floats, shares: Floats, shape: tuple[int, ...]) -> Floats:
    """Covariances that are left, weighted and put at their columns: (k, d, d), or (k, d) where they are diagonal."""
    mass = np.add.reduceat(shares[:, holes.rows].T, holes.starts, axis=0)  # (p, k)
    k, d = shape[:2]
    at = holes.columns if left.ndim == 3 else holes.columns[:, None] * d + holes.columns
    at = at[..., None] * k + np.arange(k)
    sums: Floats = np.bincount(at.ravel(), (left * mass).ravel(), int(np.prod(shape))).astype(np.float64, copy=False)
    return np.moveaxis(sums.reshape(*shape[1:], k), -1, 0)


def evaluate_with_missing(
    mixture: Mixture, x: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Log density of the observed entries (n,), and responsibilities given them (n, k).

    A row without any observed entry has log density 0 and the weights of the mixture for responsibilities.
    """
    log_density = np.zeros(len(x), dtype=x.dtype)
    shares = np.tile(mixture.weights.astype(x.dtype), (len(x), 1))
    for rows, part in completed_parts(mixture, x):
        log_density[rows], some = part.posterior()
        shares[rows] = some.T
    return log_density, shares


def impute(mixture: Mixture, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Replace NaN by the posterior mean of the entry, given the observed entries of its row; returns a copy."""
    out = np.where(np.isnan(x), mixture.mean().astype(x.dtype), x)
    for rows, part in completed_parts(mixture, x):
        _, shares = part.posterior()
        expected = np.einsum("kn,knd->nd", shares, part.offsets + mixture.means[:, None, :])
        out[rows] = np.where(np.isnan(x[rows]), expected, x[rows])
    return out


def completed_parts(mixture: Mixture, x: NDArray[np.floating]) -> Iterator[tuple[NDArray[np.intp], Completed]]:
    """Complete the rows that show something, some at a time."""
    completion, some = Completion(mixture), np.flatnonzero(~np.all(np.isnan(x), axis=1))
    for start in range(0, len(some), completion.chunk_rows):
        rows = some[start : start + completion.chunk_rows]
        yield rows, completion.of(x[rows].astype(np.float64))


@dataclass(frozen=True)
class Filled:
    """A source whose NaN are replaced by the means of their columns: for choosing seeds.

    means (d,).
    """

    source: Source
    means: Floats

    @staticmethod
    def of(source: Source) -> Filled:
        """Find the means of the observed entries, in one pass.

        ValueError: If a column has no entry: nothing can be learnt about it.
        """

        def statistic(chunk: Chunk) -> Floats:
            x = to_numpy(chunk.x).astype(np.float64)
            weight = np.ones(len(x)) if chunk.weight is None else to_numpy(chunk.weight)
            observed = ~np.isnan(x)
            return np.stack([product(weight, np.where(observed, x, 0.0)), product(weight, observed)])

        sums, mass = accumulate(statistic, source, chunk_rows=CHUNK_ROWS)
        empty = np.flatnonzero(mass == 0)
        if len(empty):
            raise ValueError(f"column {empty[0]} of X has only missing values: leave it out.")
        return Filled(source, sums / mass)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.source.n_rows

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.source.n_features

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Walk the rows in order."""
        for chunk in self.source.chunks(rows):
            yield Chunk(chunk.start, self._filled(chunk.x), chunk.weight)

    def draw(self, size: int, rng: np.random.Generator) -> Array:
        """Draw rows: only complete ones where these are enough, since means of columns lie between the clusters."""
        x = self.source.draw(size, rng)
        complete = to_numpy(x)[~np.isnan(to_numpy(x)).any(axis=1)]
        return complete if len(complete) >= ENOUGH_COMPLETE else self._filled(x)

    def _filled(self, x: Array) -> Array:
        values = to_numpy(x)
        return np.where(np.isnan(values), self.means.astype(values.dtype), values)
