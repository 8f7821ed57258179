"""What the default mode is compared with: scikit-learn's best mixture, kernels, and npeb's maximum likelihood."""

import contextlib
import io
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from benchmarks.methods import KINDS, Score, closed_form, kernel_score
from scoremix.arrays import Floats
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth

FOLDS, BANDWIDTHS = 5, 15

NPEB_ROWS, NPEB_ATOMS = 2000, 400
"""Its weights solve one dense cone program of so many rows and atoms."""

NPEB_PRESENT = find_spec("npeb") is not None and find_spec("cvxpy") is not None


def best_of_grid(x: Floats, most: int, seed: int, patience: int = 5) -> tuple[GaussianMixture, GaussianMixtureTruth]:
    """scikit-learn's mixture of least BIC over all shapes and k = 1, 2, ..., 10, 12, ..., and the same in closed form.

    A shape is given up after `patience` numbers of components in a row that do not improve it.
    """
    best, lowest = None, np.inf
    for kind in KINDS:
        own, since = np.inf, 0
        for k in (*range(1, min(most, 10) + 1), *range(12, most + 1, 2)):
            model = GaussianMixture(k, covariance_type=kind, random_state=seed, max_iter=200).fit(x)
            value = model.bic(x)
            own, since = (value, 0) if value < own else (own, since + 1)
            if value < lowest:
                best, lowest = model, value
            if since == patience:
                break
    assert best is not None
    return best, closed_form(best)


def kernels(x: Floats, seed: int) -> tuple[KernelDensity, Score]:
    """A kernel density whose bandwidth was chosen by the likelihood of five folds of at most 5,000 rows."""
    n, d = x.shape
    rows = x[np.random.default_rng(seed).permutation(n)[:5000]]
    scott = float(np.sqrt(x.var(axis=0).mean())) * len(rows) ** (-1 / (d + 4))
    bandwidths = scott * np.geomspace(0.08, 2, BANDWIDTHS)
    fold = np.arange(len(rows)) % FOLDS
    some = range(FOLDS) if n <= 5000 else range(1)
    gains = [
        sum(KernelDensity(bandwidth=h, rtol=1e-4).fit(rows[fold != f]).score(rows[fold == f]) for f in some)
        for h in bandwidths
    ]
    bandwidth = float(bandwidths[np.argmax(gains)]) * (n / len(rows)) ** (-1 / (d + 4))
    kde = KernelDensity(bandwidth=bandwidth, rtol=1e-6).fit(x)
    return kde, kernel_score(x, bandwidth)


def npeb(x: Floats, seed: int, rows: int = NPEB_ROWS, atoms: int = NPEB_ATOMS) -> Callable[[Floats], Floats]:
    """Posterior means under unit noise, by npeb on as many rows and atoms as it can take."""
    with contextlib.redirect_stdout(io.StringIO()):
        from npeb import GLMixture
    d, order = x.shape[1], np.random.default_rng(seed).permutation(len(x))
    chosen = x[order[:rows]]
    model = GLMixture(prec_type="diagonal", homoscedastic=True, atoms_init=chosen[:atoms])
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(chosen, np.ones(d), row_condition=True, score_every=None, max_iter_em=10, solver="cvxpy")
    weights, places = np.maximum(np.asarray(model.weights), 1e-300), np.asarray(model.atoms)
    fitted = GaussianMixtureTruth(weights / weights.sum(), places, np.ones_like(places), None, 1.0)
    return lambda y: y + fitted.score(y)
