"""Residual regression: learn what the score of a mixture misses, at every noise level.

In the local coordinate u of component j (`scoremix.models.score_model`) the residual ``s - s_base`` is regressed on
Hermite polynomials h_a with the responsibilities r_j for weights: a Gram matrix ``G_j = E[r_j h h^T]`` and cross
products ``B_j = E[r_j h (s - s_base)^T]``, both from one pass over noisy rows. The unknown s drops out of B_j in two
ways.

* *Denoising* (large sigma): ``E[-z / sigma | y] = s(y)`` for ``y = x + sigma z`` puts ``-z / sigma`` in its place. Its
  noise grows as sigma falls, though antithetic pairs take away the worst of it.
* *Implicit* (small sigma): integrate by parts. The gradient of a responsibility is ``r_j (g_j - s_base)`` with ``g_j =
  -A_j u`` the score of the component, so s_base cancels, and what remains is the Stein operator of N(0, I),

      B_j = E[r_j (h u^T - grad h^T)] A_j.

  u itself is the Hermite polynomial of degree 1 and ``d h_a / d u_i = sqrt(a_i) h_(a - e_i)``, so all of B_j stands in
  G_j already: the Gram matrix alone is the fit, without any noise in the target. At sigma = 0 the degrees 0 and 1 ask
  that the means and covariances of the components be what EM has made them; corrections begin where EM ends.

A polynomial is accepted only where folds of the rows gain by the fit to the others, and surely: by more than
three standard errors. (Two halves that must both gain let more by that only fits the sample.) As responsibilities
sum to one, the loss of the blend is at most the sum of the losses of the components (Jensen), so what is accepted
component by component cannot lose together, and the held-out denoising loss comes from the same sums.

References
----------
Hyvarinen, JMLR 2005 (implicit score matching); Vincent, Neural Computation 2011 (denoising score matching); Chen,
Kontonis and Shah (arXiv 2404.18893), LearnScore: a crude mixture first, polynomials after, chosen by held-out loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scoremix.arrays import Array, Floats, indices_like, like, namespace, product, squared_lengths, to_numpy
from scoremix.features import Hermite, hermite_size
from scoremix.learning.regression.degrees import MIN_STANDARD_ERRORS, select_if_sure
from scoremix.learning.regression.scores import FittedLevel, Part, RegressionSettings, ScoreRegression
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import CorrectedMixture, shares_and_score, trust_radius
from scoremix.models.whitening import Whitening
from scoremix.noise import BLOCK
from scoremix.samples.reduce import accumulate
from scoremix.samples.source import Source

# Responsibilities of a chunk, at most about; and blocks of noise. Short calls would be all overhead.
CHUNK_NUMBERS, MAX_BLOCKS = 2**20, 4

FOLDS = 4  # Folds of the rows, by their number modulo 4.

# Responsibilities below this are left out of the sums. Integration by parts leaves a term at that edge: at 1e-3, with
# dozens of components, all folds alike take it for a residual.
GATE = 1e-5

# Degree 3 is tried in up to so many dimensions; and no degree with more features than this.
SMALL_DIMENSION, MAX_COLUMNS = 5, 100

# The target is implicit where ``sigma^2`` is at most this times the variance of a narrow component: where the noise of
# the other one, the variance of x given y, is the larger.
SWITCH = 2.0

NARROW = 0.1  # Quantile of the components' variances that counts as narrow.


@dataclass(frozen=True)
class MixtureResidual:
    """What the score of a mixture misses, per component, with responsibilities for weights.

    O(p (p + d)) multiplications for every pair of a point and a component that has a share in it.
    """

    base: Mixture
    features: Hermite
    sigma: float

    @cached_property
    def whitening(self) -> Whitening:
        """Local coordinates of all components."""
        return Whitening.of(self.base)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Systems, columns of each, outputs."""
        return self.base.n_components, self.features.sizes[-1], self.base.n_features

    def points(self, x: Array) -> Array:
        """The samples themselves."""
        return x.T

    def parts(self, x: Array, z: Array, y: Array, weight: Array | None) -> Iterator[Part]:
        """The sums of every component, over the points in which it has a share."""
        xp = namespace(x)
        shares, score = shares_and_score(self.base, y, self.sigma)
        target = z / -self.sigma - score
        heavy = shares if weight is None else shares * weight[None, :]
        losses, masses = to_numpy(product(heavy, squared_lengths(target))), to_numpy(xp.sum(heavy, axis=1))
        active = to_numpy(shares > GATE)
        for j in range(self.base.n_components):
            index = indices_like(np.flatnonzero(active[j]), y)
            gram, cross = self._sums(j, *(xp.take(part, index, axis=1) for part in (y, heavy[j : j + 1, :], target)))
            yield Part(j, gram, cross, losses[j], masses[j])

    def _sums(self, j: int, y: Array, share: Array, target: Array) -> tuple[Floats, Floats]:
        """Products of the features of component j with themselves and with the targets."""
        u = self.whitening.apply(j, y - like(self.base.means[j], y)[:, None], self.sigma**2)
        inside = squared_lengths(u) < trust_radius(u.shape[0]) ** 2  # the polynomial lives in the trust ball only
        matrix = self.features(u)
        weighted = matrix * (share * namespace(y).astype(inside, y.dtype)[None, :])
        return to_numpy(product(weighted, matrix.T)), to_numpy(product(weighted, target.T))


def stein_products(gram: Floats, features: Hermite) -> Floats:
    """Cross products of the implicit target, ``E[r (h u^T - grad h^T)]``, read off Gram matrices.

    gram: ``E[r h h^T]`` of features of degree >= 1.
    """
    d, exponents = features.n_features, features.exponents
    row = {tuple(e): i for i, e in enumerate(exponents.tolist())}
    lower = exponents[:, None, :] - np.eye(d, dtype=np.intp)  # (p, d, d)
    below = [[row.get(tuple(e), 0) for e in rows] for rows in lower.tolist()]
    return np.asarray(gram[..., 1 : d + 1] - np.sqrt(exponents) * gram[..., 0][..., below])


def fit_residual(
    source: Source,
    base: Mixture,
    sigma: float,
    level: int,
    how: RegressionSettings,
    sure: float = MIN_STANDARD_ERRORS,
) -> FittedLevel[CorrectedMixture]:
    """Regress the residual of one noise level, > 0; a degree is taken where it gains by `sure` standard errors.

    One pass over the source, then k solves of p equations.
    """
    features = Hermite(base.n_features, how.degree or highest_degree(base.n_features))
    problem = MixtureResidual(base, features, sigma)
    statistic = ScoreRegression(problem, how.n_draws, how.folds, (how.seed, level))
    blocks = int(np.clip(CHUNK_NUMBERS // (BLOCK * base.n_components), 1, MAX_BLOCKS))
    sums = accumulate(statistic, source, chunk_rows=blocks * BLOCK, n_threads=how.n_threads)
    roots = problem.whitening.roots(sigma**2)
    cross = sums.cross
    if sigma**2 <= SWITCH * narrow_variance(base):
        cross = stein_products(sums.gram, features) @ roots
    rows = source.n_rows * sums.weight.sum(axis=0) / sums.weight.sum()
    systems = zip(np.moveaxis(sums.gram, 1, 0), np.moveaxis(cross, 1, 0), rows, strict=True)
    chosen = [select_if_sure(gram, right, features.sizes, m, sure, how.degree) for gram, right, m in systems]
    degrees = np.array([c.degree for c in chosen])
    top = Hermite(base.n_features, max(0, int(degrees.max())))
    coef = np.linalg.solve(roots, np.swapaxes([c.coef[: top.sizes[-1]] for c in chosen], 1, 2))
    model = CorrectedMixture(base, top, np.ascontiguousarray(np.swapaxes(coef, 1, 2)), degrees, 0.0)
    unit = sigma**4 / float(sums.weight.sum()) / base.n_features  # D - D_base = sigma^2 (s - s_base)
    before, change = float(sums.target.sum()), sum(c.change for c in chosen)
    return FittedLevel(model, unit * (before + change), unit * before)


def highest_degree(n_features: int) -> int:
    """Highest degree that is tried, at least 1."""
    degree = 3 if n_features <= SMALL_DIMENSION else 2
    return degree if hermite_size(n_features, degree) <= MAX_COLUMNS else 1


def narrow_variance(base: Mixture) -> float:
    """Variance of a narrow component: a low quantile of all eigenvalues of all covariances."""
    return float(np.quantile(np.linalg.eigvalsh(base.covariances), NARROW))
