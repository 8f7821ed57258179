"""Expectation maximisation: nothing but update until converged.

One pass over the data is the statistic of this file, `Expected`: for every component the mass, the first and the second
moment about its own present mean. About the mean, not about the origin: then the new parameters are small corrections,
and no digits are lost where means are far apart. The M-step is the small solve.

`fit` iterates passes, plain or accelerated; an accelerated step is a guess that is taken back where it lowers the
likelihood. Its stopping rule, and what it reports, are those of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.arrays import Array, Floats, namespace, product, to_numpy
from scoremix.learning.acceleration import Acceleration
from scoremix.models.covariance import Covariance, Tied
from scoremix.models.joint import FEW_COMPONENTS, Joint, Part, itemsize_of, normalise
from scoremix.models.mixture import Mixture
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import ArraySource, Chunk, Source

COLLAPSED = 1e-6
"""Smallest variance of a component, relative to that of a typical one in the same direction."""

DEAD = 1e-12
"""A component with less than this share of the data keeps its mean and covariance."""

CHUNK_NUMBERS = 2**19
"""Features and responsibilities of a chunk, at most about: 4 MB in double precision."""

MIN_CHUNK, MAX_CHUNK = 1024, 16384
"""Rows of a chunk: calls must not be too short, and enough chunks must remain for the threads."""

SMALL_WORK = 2**22
"""Up to this many responsibilities x features in a pass one thread does it: more would only wait for each other."""


@dataclass(frozen=True)
class Expected:
    """What a pass adds up.

    Attributes
    ----------
    mass : ndarray of shape (k,)
        Sums of responsibilities, times the weights of the rows.
    first : ndarray of shape (k, d)
        First moments about the means.
    second : ndarray
        Second moments about the means, in the shape of the covariances.
    log_likelihood : float
        Sum of the log densities, times the weights of the rows.
    weight : float
        Sum of the weights of the rows.
    """

    mass: Floats
    first: Floats
    second: Floats
    log_likelihood: float
    weight: float

    def __add__(self, other: Expected) -> Expected:
        """Merge the sums of two sets of rows."""
        return Expected(
            self.mass + other.mass,
            self.first + other.first,
            self.second + other.second,
            self.log_likelihood + other.log_likelihood,
            self.weight + other.weight,
        )

    @property
    def mean_log_likelihood(self) -> float:
        """Log likelihood per unit of weight."""
        return self.log_likelihood / self.weight


def expected_of(joint: Joint, x: Array, weight: Array | None) -> Expected:
    """Sums over the points x of shape (d, n), with weights of shape (n,) or without."""
    total: Expected | None = None
    for part in joint.parts(x):
        w = weight if weight is None or part.order is None else namespace(x).take(weight, part.order)
        added = _part_sums(joint, part, w)
        total = added if total is None else total + added
    if total is None:
        raise ValueError("There are no points.")
    return total


def _part_sums(joint: Joint, part: Part, weight: Array | None) -> Expected:
    """Softmax, then the second product of the kernel."""
    covariance, phi = joint.covariance, part.phi
    shares, total, log_density = normalise(part.log_joint)
    if weight is not None:
        log_density = log_density * weight
    log_likelihood = float(namespace(part.x).sum(log_density, dtype=namespace(part.x).float64))
    scale = 1 / total if weight is None else weight / total
    if phi is None and joint.n_components > FEW_COMPONENTS:
        phi = covariance.features(part.x)
    if phi is not None and phi.shape[0] < shares.shape[0]:
        phi *= scale[None, :]  # whichever is smaller
    else:
        shares *= scale[None, :]
    delta = joint.means - joint.frames[part.frame]
    return sums_of(covariance, shares, phi, part.x, weight, delta, log_likelihood)


def sums_of(
    covariance: Covariance,
    shares: Array,
    phi: Array | None,
    x: Array,
    weight: Array | None,
    delta: Floats,
    log_likelihood: float,
) -> Expected:
    """Sums of responsibilities (k, n), weights included, times features (p, n) of the points x (d, n) of a frame."""
    xp, d = namespace(x), x.shape[0]
    sums = _sums_by_component(shares, x) if phi is None else to_numpy(product(shares, phi.T)).astype(np.float64)
    common = None
    if isinstance(covariance, Tied):
        heavy = x if weight is None else x * weight[None, :]
        common = to_numpy(product(heavy, x.T)).astype(np.float64)
    mass = sums[:, 0]
    return Expected(
        mass,
        sums[:, 1 : d + 1] - mass[:, None] * delta,
        covariance.second(sums, common, delta),
        log_likelihood,
        float(x.shape[1]) if weight is None else float(xp.sum(weight, dtype=xp.float64)),
    )


def _sums_by_component(shares: Array, x: Array) -> Floats:
    """Packed sums without the products of coordinates: one small product per component."""
    d = x.shape[0]
    rows, columns = np.triu_indices(d)
    first = to_numpy(product(shares, x.T))
    second = [to_numpy(product(x * shares[k : k + 1, :], x.T))[rows, columns] for k in range(shares.shape[0])]
    mass = to_numpy(namespace(x).sum(shares, axis=1))
    return np.concatenate([mass[:, None], first, np.array(second)], axis=1).astype(np.float64)


def expectation(source: Source, mixture: Mixture, n_threads: int | None = None) -> Expected:
    """E-step: one pass over a source.

    Parameters
    ----------
    source : Source
        Of n rows without missing values.
    mixture : Mixture
    n_threads : int, optional
        Threads over chunks; small problems run on one.

    Returns
    -------
    Expected

    Notes
    -----
    Cost O(n k p), p features of the covariances.
    """
    first = next(iter(source.chunks(1))).x
    joint = mixture.joint(itemsize_of(first))
    k, p = mixture.n_components, mixture.covariance.n_sums(mixture.n_features)
    rows = int(
        np.clip(CHUNK_NUMBERS // (k * mixture.n_features + k if joint.is_stacked else k + p), MIN_CHUNK, MAX_CHUNK)
    )
    if source.n_rows * k * p <= SMALL_WORK:
        n_threads = 1

    def statistic(chunk: Chunk) -> Expected:
        return expected_of(joint, chunk.x.T, chunk.weight)

    return accumulate(statistic, source, chunk_rows=rows, n_threads=n_threads)


def maximisation(expected: Expected, mixture: Mixture, reg: float = 0.0) -> Mixture:
    """M-step: the mixture that explains what was expected.

    Parameters
    ----------
    expected : Expected
        About the means of `mixture`.
    mixture : Mixture
    reg : float
        Added to the variances.

    Returns
    -------
    Mixture
        Components without data keep their mean and covariance. Where a covariance has collapsed relative to a typical
        one it is raised to `COLLAPSED` times that.

    Raises
    ------
    ValueError
        If no covariance is positive definite.
    """
    mass = expected.mass
    alive = mass > DEAD * expected.weight
    safe = np.where(alive, mass, 1.0)
    shift = np.where(alive[:, None], expected.first / safe[:, None], 0.0)
    means = mixture.means + shift
    second = moved(expected, mixture.covariance, shift).second
    if mixture.covariance.kind == "tied":
        covariance = mixture.covariance.fitted(mass, second, reg)
    else:
        covariance = mixture.covariance.fitted(safe, second, reg)
        if not np.all(alive):
            covariance = _keep(covariance, mixture.covariance, ~alive)
    return Mixture(mass / mass.sum(), means, covariance.guarded(COLLAPSED))


def moved(expected: Expected, covariance: Covariance, shift: Floats) -> Expected:
    """The same statistics about means that have moved by `shift` (k, d)."""
    mass, first = expected.mass, expected.first
    left = first - mass[:, None] * shift
    if covariance.kind == "full":
        cross = first[:, :, None] * shift[:, None, :]
        second = expected.second - cross - np.swapaxes(left[:, :, None] * shift[:, None, :], 1, 2)
    elif covariance.kind == "tied":
        second = expected.second - first.T @ shift - shift.T @ left
    elif covariance.kind == "diag":
        second = expected.second - (first + left) * shift
    else:
        second = expected.second - np.sum((first + left) * shift, axis=1)
    return Expected(mass, left, np.asarray(second), expected.log_likelihood, expected.weight)


def _keep(new: Covariance, old: Covariance, which: NDArray[np.bool_]) -> Covariance:
    values = new.values.copy()
    values[which] = old.values[which]
    return new.with_values(values)


@dataclass(frozen=True)
class Fit:
    """What a run of EM found.

    Attributes
    ----------
    mixture : Mixture
    lower_bounds : list of float
        Mean log likelihood before each update, of the passes that were kept.
    converged : bool
    n_passes : int
        Passes over the data, those of rejected guesses included.
    """

    mixture: Mixture
    lower_bounds: list[float]
    converged: bool
    n_passes: int


def fit(
    source: Source,
    start: Mixture,
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
    reg: float = 1e-6,
    acceleration: Acceleration | None = None,
    n_threads: int | None = None,
    step: Callable[[Source, Mixture, int | None], Expected] = expectation,
    report: Callable[[int, float], None] | None = None,
    previous: float = -np.inf,
) -> Fit:
    """Iterate E- and M-steps until the mean log likelihood changes by less than `tol`.

    Parameters
    ----------
    source : Source
    start : Mixture
    tol : float
        Nats per sample, >= 0.
    max_iter : int
        Most passes, >= 1.
    reg : float
        Added to the variances at every update.
    acceleration : Acceleration, optional
        Proposes where to go on instead; a proposal that lowers the likelihood is rejected, its pass is counted.
    n_threads : int, optional
    step : callable
        The E-step: `expectation`, or one that knows missing values.
    report : callable, optional
        Called with the number of every pass and the change of the mean log likelihood.
    previous : float
        Mean log likelihood before the first pass, where the run continues another.

    Returns
    -------
    Fit
    """
    mixture, fallback = start, start
    bounds: list[float] = []
    guessed, converged, passes = False, False, 0
    while passes < max_iter and not converged:
        passes += 1
        expected = step(source, mixture, n_threads)
        bound = expected.mean_log_likelihood
        if guessed and not bound >= bounds[-1]:
            mixture, guessed = fallback, False
            if acceleration is not None:
                acceleration.reset()
            continue
        change = bound - (bounds[-1] if bounds else previous)
        bounds.append(bound)
        updated = maximisation(expected, mixture, reg)
        if report is not None:
            report(passes, change)
        converged = abs(change) < tol
        guess = None if acceleration is None or converged else acceleration.propose(mixture, updated)
        mixture, fallback, guessed = (updated, updated, False) if guess is None else (guess, updated, True)
    if guessed:
        mixture = fallback
    return Fit(mixture, bounds, converged, passes)


def gradient_step(expected: Expected, mixture: Mixture, rate: float) -> Mixture:
    """One step of gradient EM on the means (Segol and Nadler, EJS 2021).

    ``m_k + rate S_k^-1 sum_n r_nk (x_n - m_k) / n``, the gradient of the mean log likelihood.
    With ``rate = S_k / w_k`` it is the M-step of the means; the theory takes one rate for all.
    """
    k, d = mixture.means.shape
    pull = np.linalg.solve(mixture.covariance.dense(k, d), expected.first[:, :, None] / expected.weight)[:, :, 0]
    return Mixture(mixture.weights, mixture.means + rate * pull, mixture.covariance)


def coarse_to_fine(
    source: Source,
    start: Mixture,
    rng: np.random.Generator,
    *,
    fractions: tuple[float, ...] = (0.01, 0.1),
    min_rows: int = 2000,
    tol: float = 1e-3,
    max_iter: int = 100,
    reg: float = 1e-6,
) -> Mixture:
    """Fit growing samples of the rows, each from the fit before: a start for all rows at a fraction of the cost.

    Parameters
    ----------
    source : Source
    start : Mixture
    rng : Generator
        Draws the samples, by weight.
    fractions : tuple of float
        Shares of the rows, increasing; samples of fewer than `min_rows` rows or 10 per parameter are left out.
    min_rows : int
    tol, max_iter, reg
        As for `fit`.

    Returns
    -------
    Mixture
    """
    mixture = start
    for fraction in fractions:
        rows = int(fraction * source.n_rows)
        if rows >= max(min_rows, 10 * mixture.n_parameters):
            sample = ArraySource(source.draw(rows, rng))
            mixture = fit(sample, mixture, tol=tol, max_iter=max_iter, reg=reg).mixture
    return mixture
