"""Finite mixtures of Gaussians as truths: closed form at every noise level.

A mixture stays a mixture under added noise: `sum w_j N(m_j, S_j)` becomes `sum w_j N(m_j, S_j + sigma^2
I)`. Every covariance is kept by its eigenvalues and axes, so that a new noise level adds to eigenvalues and
nothing has to be factorised again, not even when every row has its own level.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from scoremix.evaluation.truth import Draw, Evaluation, FloatArray, Truth

__all__ = ["GaussianMixtureTruth"]


@dataclass(frozen=True, eq=False)
class GaussianMixtureTruth(Truth):
    """Mixture of k Gaussians with known parameters; its latent center is the mean of the component.

    Parameters
    ----------
    weights : ndarray of shape (k,)
        Probabilities, summing to one.
    means : ndarray of shape (k, d)
        Component means.
    variances : ndarray of shape (k, d)
        Eigenvalues of the component covariances, positive.
    axes : ndarray of shape (k, d, d) or None
        Eigenvectors as columns; None when they are the coordinate axes.
    noise_scale : float or None
        Common standard deviation when every covariance is `noise_scale^2 I`.

    Notes
    -----
    Evaluation costs O(n k d), with axes O(n k d^2).
    """

    weights: FloatArray
    means: FloatArray
    variances: FloatArray = field(repr=False)
    axes: FloatArray | None = field(repr=False)
    noise_scale: float | None

    @property
    def covariances(self) -> FloatArray:
        """Component covariances, shape (k, d, d)."""
        axes = np.eye(self.means.shape[1])[None] if self.axes is None else self.axes
        return (axes * self.variances[:, None, :]) @ np.swapaxes(axes, 1, 2)

    @property
    def mean(self) -> FloatArray:
        """Expectation of x, shape (d,)."""
        return self.weights @ self.means

    @property
    def cov(self) -> FloatArray:
        """Covariance of x, shape (d, d): within plus between components."""
        centered = self.means - self.mean
        within = np.einsum("k,kij->ij", self.weights, self.covariances)
        return np.asarray(within + (centered * self.weights[:, None]).T @ centered)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n rows together with their component means and component numbers."""
        labels = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1])) * np.sqrt(self.variances[labels])
        if self.axes is not None:
            for j, axes in enumerate(self.axes):
                noise[labels == j] = noise[labels == j] @ axes.T
        mu = self.means[labels]
        return Draw(mu + noise, mu, labels)

    @property
    def _row_size(self) -> int:
        return self.means.size

    def _evaluate_block(self, y: FloatArray, variance: FloatArray) -> Evaluation:
        diff = y - self.means[:, None, :]  # (k, n, d)
        local = diff if self.axes is None else diff @ self.axes
        spread = self.variances[:, None, :] + variance[:, None]  # (k, n, d)
        pull = -local / spread
        quadratic = np.einsum("knd,knd->kn", pull, local)
        log_normal = 0.5 * (quadratic - np.log(2.0 * np.pi * spread).sum(axis=2))
        log_joint = np.log(self.weights)[:, None] + log_normal  # (k, n)
        log_density = logsumexp(log_joint, axis=0)
        responsibilities = np.exp(log_joint - log_density)
        if self.axes is not None:
            pull = pull @ np.swapaxes(self.axes, 1, 2)
        score = np.einsum("kn,knd->nd", responsibilities, pull)
        return Evaluation(log_density, score, responsibilities.T @ self.means)
