"""Missing values, marginalised exactly: a row says what its observed columns say, and nothing else.

Rows are grouped by their pattern of NaN. What is observed is a mixture too (the marginal), so a group is an ordinary
E-step in fewer columns; its sums are then completed with what each component expects of the missing columns, given the
observed ones: moments about the means are mapped by ``K = [I; B]`` (B the regression of the missing on the observed
columns), and the covariance that remains is added. So the completion costs O(k d^3) per pattern, not per row. Values
are taken to be missing at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, product, to_numpy
from scoremix.learning.em import Expected, expected_of
from scoremix.models.covariance import Full
from scoremix.models.joint import itemsize_of
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk, Source

CHUNK_ROWS = 16384
"""Rows whose patterns are grouped together."""

ENOUGH_COMPLETE = 1000
"""With so many complete rows, seeds are chosen among them alone."""


def patterns(x: NDArray[np.floating]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Group rows by their pattern of NaN: yields the rows and the observed columns of every group."""
    kinds, group = np.unique(~np.isnan(x), axis=0, return_inverse=True)
    group = group.ravel()
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=len(kinds)))
    for observed, rows in zip(kinds, np.split(order, ends[:-1]), strict=True):
        yield rows, np.flatnonzero(observed)


def expectation_with_missing(source: Source, mixture: Mixture, n_threads: int | None = None) -> Expected:
    """E-step where NaN entries are missing values: one pass over a source.

    Parameters
    ----------
    source : Source
    mixture : Mixture
    n_threads : int, optional

    Returns
    -------
    Expected
        As from `expectation`; the log likelihood is that of the observed entries.
    """

    def statistic(chunk: Chunk) -> Expected:
        x = to_numpy(chunk.x)
        weight = None if chunk.weight is None else to_numpy(chunk.weight)
        total: Expected | None = None
        for rows, observed in patterns(x):
            added = _expected_of_pattern(
                mixture, x[rows][:, observed], None if weight is None else weight[rows], observed
            )
            total = added if total is None else total + added
        if total is None:
            raise ValueError("There are no rows.")
        return total

    return accumulate(statistic, source, chunk_rows=CHUNK_ROWS, n_threads=n_threads)


def _expected_of_pattern(
    mixture: Mixture, x: NDArray[np.floating], weight: Array | None, observed: NDArray[np.intp]
) -> Expected:
    """Sums over rows with the same observed columns, completed."""
    k = mixture.n_components
    if not len(observed):  # what the mixture expects without any data
        total = float(len(x)) if weight is None else float(weight.sum())
        nothing = np.zeros((k, 0))
        return _completed(mixture, Expected(total * mixture.weights, nothing, np.zeros(k), 0.0, total), observed)
    part = _untied(mixture).marginal(observed)
    partial = expected_of(part.joint(itemsize_of(x)), np.ascontiguousarray(x.T), weight)
    return _completed(mixture, partial, observed)


def _untied(mixture: Mixture) -> Mixture:
    """The mixture with a covariance per component: a tied one has no moments of single components."""
    if mixture.covariance.kind != "tied":
        return mixture
    return Mixture(mixture.weights, mixture.means, Full(np.array(mixture.covariances)))


def _completed(mixture: Mixture, partial: Expected, observed: NDArray[np.intp]) -> Expected:
    """Add what the components expect of the missing columns."""
    k, d = mixture.means.shape
    kind, mass, values = mixture.covariance.kind, partial.mass, mixture.covariance.values
    rest = np.setdiff1d(np.arange(d), observed)
    first = np.zeros((k, d))
    if kind in ("diag", "spherical"):
        first[:, observed] = partial.first
        if kind == "spherical":
            second = partial.second + mass * len(rest) * values
        else:
            second = np.zeros((k, d))
            second[:, observed] = partial.second if len(observed) else 0.0
            second[:, rest] = mass[:, None] * values[:, rest]
        return Expected(mass, first, np.asarray(second), partial.log_likelihood, partial.weight)
    if not len(observed):
        full = mass[:, None, None] * mixture.covariances
    else:
        complete = np.zeros((k, d, len(observed)))  # K
        complete[:, observed, np.arange(len(observed))] = 1.0
        full = np.zeros((k, d, d))
        if len(rest):
            gain, left = mixture.regression(observed)
            complete[:, rest, :] = gain
            full[:, rest[:, None], rest] = mass[:, None, None] * left.dense(k, len(rest))
        full += complete @ partial.second @ np.swapaxes(complete, 1, 2)
        first = np.einsum("kij,kj->ki", complete, partial.first)
    second = full.sum(axis=0) if kind == "tied" else full
    return Expected(mass, first, second, partial.log_likelihood, partial.weight)


def evaluate_with_missing(
    mixture: Mixture, x: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Log density of the observed entries (n,), and responsibilities given them (n, k).

    A row without any observed entry has log density 0 and the weights of the mixture for responsibilities.
    """
    log_density = np.zeros(len(x), dtype=x.dtype)
    responsibilities = np.tile(mixture.weights.astype(x.dtype), (len(x), 1))
    for rows, observed in patterns(x):
        if len(observed):
            part = mixture.marginal(observed)
            log_density[rows], responsibilities[rows] = part.evaluate(np.ascontiguousarray(x[rows][:, observed]))
    return log_density, responsibilities


def impute(mixture: Mixture, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Replace NaN by the posterior mean of the entry, given the observed entries of its row; returns a copy."""
    out = x.copy()
    _, shares = evaluate_with_missing(mixture, x)
    for rows, observed in patterns(x):
        rest = np.setdiff1d(np.arange(x.shape[1]), observed)
        if not len(rest):
            continue
        filled = shares[rows] @ mixture.means[:, rest]
        if len(observed):
            gain, _ = mixture.regression(observed)
            for k in range(mixture.n_components):
                change = (x[rows][:, observed] - mixture.means[k, observed]) @ gain[k].T
                filled += shares[rows, k : k + 1] * change
        out[rows[:, None], rest] = filled
    return out


@dataclass(frozen=True)
class Filled:
    """A source whose NaN are replaced by the means of their columns: for choosing seeds.

    Attributes
    ----------
    source : Source
    means : ndarray of shape (d,)
    """

    source: Source
    means: Floats

    @staticmethod
    def of(source: Source) -> Filled:
        """Find the means of the observed entries, in one pass.

        Raises
        ------
        ValueError
            If a column has no entry: nothing can be learnt about it.
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

    def searchable(self) -> Source:
        """Rows that a search for the start may see: the complete ones, where these are enough, else these.

        Filled rows lie on lines through the means, which would be found to be components.
        """
        kept, weights = [], []
        for chunk in self.source.chunks(CHUNK_ROWS):
            x = to_numpy(chunk.x)
            complete = ~np.isnan(x).any(axis=1)
            kept.append(x[complete])
            weights.append(np.ones(len(kept[-1])) if chunk.weight is None else to_numpy(chunk.weight)[complete])
        x, weight = np.concatenate(kept), np.concatenate(weights)
        enough = len(x) >= min(ENOUGH_COMPLETE, self.n_rows / 2) and bool(np.any(weight > 0))
        return ArraySource(x, weight) if enough else self

    def _filled(self, x: Array) -> Array:
        values = to_numpy(x)
        return np.where(np.isnan(values), self.means.astype(values.dtype), values)
