"""A Gaussian mixture as a frozen value: everything that can be asked of known parameters.

A mixture stays a mixture under noise, under projection and under conditioning, so smoothing, marginals and conditionals
are mixtures again, and score and denoiser are closed forms at every noise level: ``score = sum_k r_k S_k^-1 (m_k - y)``
with all covariances increased by ``sigma^2 I``, and ``denoise = sum_k r_k (m_k + S_k (S_k + sigma^2 I)^-1 (y - m_k))``:
Tweedie's ``y + sigma^2 score``, whose two terms cancel where the noise is large.

Points are rows, (n, d), of any array library; parameters are NumPy float64 arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product
from scoremix.models.covariance.interface import Covariance, by_column, shrinkage
from scoremix.models.log_joint import Evaluation, LogJoint, itemsize_of, normalize_posterior

CHUNK_MEGABYTES = 8  # Temporaries of one chunk of points.

# The smallest positive number: weights of less are 0, and have a logarithm only here.
LEAST_WEIGHT = float(np.finfo(np.float64).smallest_subnormal)


@dataclass(frozen=True)
class Mixture:
    """``sum_k w_k N(m_k, S_k)``.

    weights (k,); means (k, d).
    """

    weights: Floats
    means: Floats
    covariance: Covariance

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return len(self.means)

    @property
    def n_features(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    @property
    def n_parameters(self) -> int:
        """Number of free parameters: weights, means and covariances."""
        k, d = self.means.shape
        return int(k - 1 + k * d + self.covariance.n_parameters(k, d))

    @property
    def covariances(self) -> Floats:
        """Covariance matrices, shape (k, d, d)."""
        return self.covariance.dense(self.n_components, self.n_features)

    def take(self, components: NDArray[np.intp]) -> Mixture:
        """Some components, with the weights they have here."""
        return Mixture(self.weights[components], self.means[components], self.covariance.take(components))

    def sorted(self) -> Mixture:
        """The same mixture, components numbered by the first coordinate of their means."""
        return self.take(np.lexsort(self.means.T[::-1]))

    def scaled(self, scale: Floats, origin: Floats) -> Mixture:
        """The mixture of ``scale * x + origin``."""
        return Mixture(self.weights, self.means * scale + origin, self.covariance.scaled(scale))

    def joint(self, itemsize: int = 8) -> LogJoint:
        """Prepare the evaluation of many points, whose numbers have `itemsize` bytes."""
        return LogJoint(np.maximum(self.weights, LEAST_WEIGHT), self.means, self.covariance, itemsize)

    def _ask(
        self, x: Array, question: Callable[[LogJoint, Evaluation], tuple[Array, ...]], *, nearly: bool = True
    ) -> tuple[Array, ...]:
        """Answer a question for the rows x chunk by chunk; each answer of a part has its points along axis 0.

        nearly: components that say nothing about a row may be left out.
        """
        xp, joint = namespace(x), self.joint(itemsize_of(x))
        rows, answers = CHUNK_MEGABYTES * joint.rows_per_megabyte, []
        for start in range(0, x.shape[0], rows):
            parts = list(joint.parts(x[start : min(start + rows, x.shape[0]), :].T, nearly=nearly))
            chunk = [
                xp.concat(pieces, axis=0) for pieces in zip(*(question(joint, part) for part in parts), strict=True)
            ]
            if parts[0].order is not None:
                back = xp.argsort(xp.concat([part.order for part in parts], axis=0))
                chunk = [xp.take(piece, back, axis=0) for piece in chunk]
            answers.append(chunk)
        return tuple(xp.concat(pieces, axis=0) for pieces in zip(*answers, strict=True))

    @property
    def _support(self) -> NDArray[np.intp]:
        """Components of positive weight."""
        return np.flatnonzero(self.weights > 0)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        """Log density (n,) and responsibilities (n, k) of the rows x; cost O(n k p), p features of the covariances."""
        if len(self._support) < self.n_components:
            log_density, some = self.take(self._support).evaluate(x)
            shares = namespace(x).zeros((x.shape[0], self.n_components), dtype=x.dtype, device=x.device)
            for i, k in enumerate(self._support):
                shares[:, k] = some[:, i]
            return log_density, shares

        def question(_: LogJoint, part: Evaluation) -> tuple[Array, Array]:
            relative, total, log_density = normalize_posterior(part.log_joint)
            relative /= total[None, :]
            return log_density, relative.T

        log_density, responsibilities = self._ask(x, question)
        return log_density, responsibilities

    def log_joint(self, x: Array) -> Array:
        """``log w_k N_k`` at the rows x, shape (n, k)."""
        return self._ask(x, lambda _, part: (part.log_joint.T,), nearly=False)[0]

    def log_density(self, x: Array) -> Array:
        """Log density of the rows x, shape (n,)."""
        if len(self._support) < self.n_components:
            return self.take(self._support).log_density(x)
        return self._ask(x, lambda _, part: normalize_posterior(part.log_joint)[2:])[0]

    def predict(self, x: Array) -> Array:
        """Most probable component of the rows x, shape (n,)."""
        if len(self._support) < self.n_components:
            return namespace(x).take(indices_like(self._support, x), self.take(self._support).predict(x))
        return self._ask(x, lambda _, part: (namespace(x).argmax(part.log_joint, axis=0),))[0]

    def score(self, y: Array, sigma: float | Floats = 0.0) -> Array:
        """Gradient of the log density at noise level sigma, shape (n, d).

        y (n, d); sigma (n,).
        """
        sigma = np.asarray(sigma, dtype=np.float64)
        if len(self._support) < self.n_components:
            return self.take(self._support).score(y, sigma)
        if sigma.ndim:
            return self._by_row(y, sigma)
        if sigma > 0:
            return self.smooth(float(sigma)).score(y)

        def question(joint: LogJoint, part: Evaluation) -> tuple[Array]:
            relative, total, _ = normalize_posterior(part.log_joint)
            relative /= total[None, :]
            return (joint.gradient(part, relative).T,)

        return self._ask(y, question)[0]

    def denoise(self, y: Array, sigma: float | Floats) -> Array:
        """``E[x | y]`` for ``y = x + sigma z``, shape (n, d); sigma is a number or has shape (n,)."""
        sigma = np.asarray(sigma, dtype=np.float64)
        if len(self._support) < self.n_components:
            return self.take(self._support).denoise(y, sigma)
        if sigma.ndim:
            return self._by_row(y, sigma, denoised=True)
        kept, xp, d = shrinkage(self.covariance, float(sigma) ** 2), namespace(y), self.n_features

        def question(joint: LogJoint, part: Evaluation) -> tuple[Array]:
            relative, total, _ = normalize_posterior(part.log_joint)
            relative /= total[None, :]
            frame = joint.frames[part.frame]
            local, means = part.phi[1 : d + 1, :], self.means - frame
            center = product(like(means.T, y), relative)
            if not self.covariance.is_diagonal and not self.covariance.is_shared:
                pulled = xp.reshape(product(like(kept.reshape(-1, d), y), local), (-1, d, local.shape[1]))
                pulled -= like(kept @ means[:, :, None], y)
                inside = xp.sum(pulled * relative[:, None, :], axis=0)
            elif not self.covariance.is_diagonal:
                inside = product(like(kept, y), local - center)
            else:
                each = by_column(self.covariance, kept, *means.shape)
                inside = product(like(each.T, y), relative) * local - product(like((each * means).T, y), relative)
            return ((center + inside).T + like(frame, y)[None, :],)

        return self.smooth(float(sigma))._ask(y, question)[0]

    def _by_row(self, y: Array, sigma: Floats, *, denoised: bool = False) -> Array:
        """Scores, or denoised rows, with a level per row: noise only adds to the eigenvalues of the covariances."""
        xp, (k, d) = namespace(y), self.means.shape
        values, axes = np.linalg.eigh(self.covariances)
        turn, parts = like(np.swapaxes(axes, 1, 2).reshape(k * d, d), y), []
        rows = CHUNK_MEGABYTES * max(1, 2**17 // (k * d))
        for start in range(0, y.shape[0], rows):
            here = slice(start, min(start + rows, y.shape[0]))
            variance = like(values, y)[:, :, None] + like(sigma[here] ** 2, y)[None, None, :]  # (k, d, n)
            offset = xp.reshape(product(turn, y[here, :].T), (k, d, -1))
            offset -= xp.reshape(like(np.swapaxes(axes, 1, 2) @ self.means[:, :, None], y), (k, d, 1))
            log_joint = like(np.log(self.weights), y)[:, None] - 0.5 * xp.sum(
                offset**2 / variance + xp.log(variance), axis=1
            )
            relative, total, _ = normalize_posterior(log_joint)
            relative /= total[None, :]
            pull = offset / variance * relative[:, None, :]
            pull = pull * like(values, y)[:, :, None] if denoised else -pull
            answer = product(turn.T, xp.reshape(pull, (k * d, -1)))
            parts.append((answer + product(like(self.means.T, y), relative) if denoised else answer).T)
        return xp.concat(parts, axis=0)

    def smooth(self, sigma: float) -> Mixture:
        """The mixture after noise of standard deviation sigma is added."""
        return Mixture(self.weights, self.means, self.covariance.plus(sigma**2))

    def marginal(self, columns: NDArray[np.intp]) -> Mixture:
        """The mixture of some columns."""
        columns = np.asarray(columns, dtype=np.intp)
        return Mixture(self.weights, self.means[:, columns], self.covariance.marginal(columns))

    def conditional(self, columns: NDArray[np.intp], values: Floats) -> Mixture:
        """The mixture of the other columns, given the values of some.

        columns (m,), given columns, m < d; values (m,).
        """
        columns = np.asarray(columns, dtype=np.intp)
        rest = np.setdiff1d(np.arange(self.n_features), columns)
        part, point = self.marginal(columns).take(self._support), np.asarray(values, dtype=np.float64)[None, :]
        shares = np.zeros(self.n_components)  # not cut anywhere: other columns may tell against the likeliest
        shares[self._support] = softmax(part._ask(point, lambda _, asked: (asked.log_joint.T,), nearly=False)[0][0])
        gain, covariance = self.regression(columns)
        means = self.means[:, rest] + np.einsum("kij,kj->ki", gain, values - self.means[:, columns])
        return Mixture(shares, means, covariance)

    def regression(self, columns: NDArray[np.intp]) -> tuple[Floats, Covariance]:
        """How the other columns follow from some: gains (k, d - m, m), and the covariances that remain."""
        rest = np.setdiff1d(np.arange(self.n_features), columns)
        if self.covariance.is_diagonal:
            return np.zeros((self.n_components, len(rest), len(columns))), self.covariance.marginal(rest)
        dense = np.asarray(self.covariance.values).reshape(-1, self.n_features, self.n_features)
        given, cross = dense[:, columns[:, None], columns], dense[:, rest[:, None], columns]
        gain = np.swapaxes(np.linalg.solve(given, np.swapaxes(cross, 1, 2)), 1, 2)
        left = dense[:, rest[:, None], rest] - gain @ np.swapaxes(cross, 1, 2)
        left = (left + np.swapaxes(left, 1, 2)) / 2
        gain = np.broadcast_to(gain, (self.n_components, *gain.shape[1:]))
        return gain, self.covariance.with_values(left[0] if self.covariance.is_shared else left)

    def mean(self) -> Floats:
        """Expectation, shape (d,)."""
        return np.asarray(self.weights @ self.means)

    def cov(self) -> Floats:
        """Covariance of a draw, shape (d, d): within plus between components."""
        local = self.means - self.mean()
        within = np.einsum("k,kij->ij", self.weights, self.covariances)
        return np.asarray(within + (self.weights[:, None] * local).T @ local)

    def sample(self, n_samples: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Draw independent rows, in random order, and their components: (n, d) and (n,)."""
        labels = rng.choice(self.n_components, size=n_samples, p=self.weights / self.weights.sum())
        z = rng.standard_normal((n_samples, self.n_features))
        if not self.covariance.is_diagonal:
            values, axes = np.linalg.eigh(np.asarray(self.covariance.values).reshape(-1, *self.means.shape[1:] * 2))
            root = axes * np.sqrt(np.maximum(values, 0))[:, None, :]
            for k in range(self.n_components):
                mine = labels == k
                z[mine] = z[mine] @ root[min(k, len(root) - 1)].T
        else:
            scale = np.sqrt(by_column(self.covariance, self.covariance.values, *self.means.shape))
            z *= scale[labels]
        return self.means[labels] + z, labels


def joined(parts: Sequence[Mixture]) -> Mixture:
    """One mixture of the components of several, weights in proportion; a tied covariance is that of the first."""
    weights = np.concatenate([part.weights for part in parts])
    means = np.concatenate([part.means for part in parts])
    covariance = parts[0].covariance
    if not covariance.is_shared:
        covariance = covariance.with_values(np.concatenate([part.covariance.values for part in parts]))
    return Mixture(weights / weights.sum(), means, covariance)


def repeated(mixture: Mixture, n_components: int) -> Mixture:
    """The same density with more components: copies, which share the weights."""
    copies = np.sort(np.arange(n_components) % mixture.n_components)
    taken = mixture.take(copies)
    return Mixture(taken.weights / np.bincount(copies)[copies], taken.means, taken.covariance)
