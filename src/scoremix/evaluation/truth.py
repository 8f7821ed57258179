"""Truth: a distribution that is known exactly, at every noise level.

Everything a learner can be asked has an exact answer here, so an error is an error of the learner. A truth
is a latent center plus Gaussian noise, `x = mu + noise`, and the noisy sample of level sigma is `y = x +
sigma z`. Three answers describe it at `(y, sigma)` and all come out of one pass, `evaluate`:

* the log density of `y`,
* the score `s`, its gradient in `y`,
* the posterior mean `E[mu | y]`, the best denoiser there is (the oracle).

`E[x | y] = y + sigma^2 s` follows from the score (Tweedie; Miyasawa). Where the noise of the data is
isotropic and known, `noise_scale` says how large it is and `E[mu | y] = y + (noise_scale^2 + sigma^2) s`.

A distribution is a final class with `draw` and `_evaluate_block` and a few attributes; `Truth` turns those into the
questions people ask, checks the arguments once, and walks over blocks of rows so that memory stays bounded.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt

__all__ = ["Draw", "Evaluation", "FloatArray", "Seed", "Truth"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Seed: TypeAlias = int | np.random.Generator | None  # whatever numpy.random.default_rng makes reproducible

_BLOCK_SIZE = 2**19  # numbers in the largest temporary array of a block: 4 MB, about one cache


class Draw(NamedTuple):
    """A sample with everything that is hidden in practice.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        The data.
    mu : ndarray of shape (n, d)
        The latent center of every row; for a mixture the mean of its component.
    labels : ndarray of shape (n,), int
        The component or ball of every row; all zero where the distribution has one piece.
    """

    x: FloatArray
    mu: FloatArray
    labels: npt.NDArray[np.intp]


class Evaluation(NamedTuple):
    """What the truth answers at n points.

    Attributes
    ----------
    log_density : ndarray of shape (n,)
        Log density of the noisy distribution, natural logarithm.
    score : ndarray of shape (n, d)
        Gradient of `log_density` in y.
    posterior_mean : ndarray of shape (n, d)
        E[mu | y].
    """

    log_density: FloatArray
    score: FloatArray
    posterior_mean: FloatArray


class Truth(ABC):
    """A distribution known exactly, convolved with Gaussian noise of any level.

    Attributes
    ----------
    noise_scale : float or None
        Standard deviation of the isotropic noise inside the data; None where the noise is of another kind.
    mean : ndarray of shape (d,)
        Expectation of x.
    cov : ndarray of shape (d, d)
        Covariance of x.
    """

    noise_scale: float | None

    @property
    @abstractmethod
    def mean(self) -> FloatArray:
        """Expectation of x, shape (d,)."""

    @property
    @abstractmethod
    def cov(self) -> FloatArray:
        """Covariance of x, shape (d, d)."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw data together with everything hidden.

        Parameters
        ----------
        n : int
            Number of rows.
        rng : Generator
            Source of randomness.

        Returns
        -------
        Draw
            Named tuple `(x, mu, labels)`.
        """

    @property
    @abstractmethod
    def _row_size(self) -> int:
        """Numbers that the evaluation of one row needs at a time."""

    @abstractmethod
    def _evaluate_block(self, y: FloatArray, variance: FloatArray) -> Evaluation:
        """Answer at `y` (n, d) with added noise of `variance` (n,); arguments are checked already."""

    @final
    @property
    def n_features(self) -> int:
        """Number of columns d."""
        return int(self.mean.shape[0])

    @final
    def evaluate(self, y: npt.ArrayLike, sigma: npt.ArrayLike = 0.0) -> Evaluation:
        """Log density, score and posterior mean in one pass.

        Parameters
        ----------
        y : array_like of shape (n, d)
            Points of the noisy distribution.
        sigma : float or array_like of shape (n,), default 0
            Noise added to the data, one level or one per row, at least 0.

        Returns
        -------
        Evaluation
            Named tuple `(log_density, score, posterior_mean)`.

        Raises
        ------
        ValueError
            If `y` does not have d columns, or `sigma` is negative or of a wrong shape.
        """
        points = np.asarray(y, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.n_features:
            raise ValueError(f"y must have shape (n, {self.n_features}), got {points.shape}")
        levels = np.asarray(sigma, dtype=np.float64)
        if levels.shape not in ((), (len(points),)) or not np.all(levels >= 0):
            raise ValueError(f"sigma must be one number >= 0 or one per row, got {sigma!r}")
        variance = np.broadcast_to(levels**2, len(points))
        rows = max(1, _BLOCK_SIZE // self._row_size)
        starts = range(0, max(1, len(points)), rows)
        blocks = [self._evaluate_block(points[i : i + rows], variance[i : i + rows]) for i in starts]
        return Evaluation(*(np.concatenate(part) for part in zip(*blocks, strict=True)))

    @final
    def log_density(self, x: npt.ArrayLike, sigma: npt.ArrayLike = 0.0) -> FloatArray:
        """Log density of the distribution at a noise level.

        Parameters
        ----------
        x : array_like of shape (n, d)
            Points.
        sigma : float or array_like of shape (n,), default 0
            Noise added to the data, at least 0.

        Returns
        -------
        ndarray of shape (n,)
            Natural logarithm.
        """
        return self.evaluate(x, sigma).log_density

    @final
    def score(self, y: npt.ArrayLike, sigma: npt.ArrayLike = 0.0) -> FloatArray:
        """Gradient of the log density at a noise level.

        Parameters
        ----------
        y : array_like of shape (n, d)
            Points of the noisy distribution.
        sigma : float or array_like of shape (n,), default 0
            Noise added to the data, at least 0.

        Returns
        -------
        ndarray of shape (n, d)
            Score.
        """
        return self.evaluate(y, sigma).score

    @final
    def denoise(self, y: npt.ArrayLike, sigma: npt.ArrayLike) -> FloatArray:
        """E[x | y] = y + sigma^2 score: takes the added noise away, not that inside the data.

        Parameters
        ----------
        y : array_like of shape (n, d)
            Points of the noisy distribution.
        sigma : float or array_like of shape (n,)
            Noise added to the data, at least 0.

        Returns
        -------
        ndarray of shape (n, d)
            Expected clean rows.
        """
        points = np.asarray(y, dtype=np.float64)
        return points + np.square(np.asarray(sigma, dtype=np.float64))[..., None] * self.score(points, sigma)

    @final
    def posterior_mean(self, x: npt.ArrayLike, sigma: npt.ArrayLike = 0.0) -> FloatArray:
        """E[mu | y], the oracle: takes all noise away.

        Parameters
        ----------
        x : array_like of shape (n, d)
            Points of the noisy distribution; with the default level, data.
        sigma : float or array_like of shape (n,), default 0
            Noise added to the data, at least 0.

        Returns
        -------
        ndarray of shape (n, d)
            Expected latent centers.
        """
        return self.evaluate(x, sigma).posterior_mean

    @final
    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw data.

        Parameters
        ----------
        n : int
            Number of rows.
        rng : Generator
            Source of randomness.

        Returns
        -------
        ndarray of shape (n, d)
            Independent rows.
        """
        return self.draw(n, rng).x

    @final
    def sample_latent(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draw data together with their latent centers.

        Parameters
        ----------
        n : int
            Number of rows.
        rng : Generator
            Source of randomness.

        Returns
        -------
        x, mu : ndarray of shape (n, d)
            Rows and the centers they were drawn around.
        """
        x, mu, _ = self.draw(n, rng)
        return x, mu
