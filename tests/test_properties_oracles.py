"""What a mixture says, against fifty digits; what EM finds, against scikit-learn; at arguments that stretch them.

The kernel promises that products of coordinates cost no logarithm more than `TOLERANCE` of it, and the inverse of a
matrix loses digits with its condition: so a logarithm may be off by ``(TOLERANCE + eps condition)`` times one and the
squared distance.
`pytest --hypothesis-profile thorough` tries a hundred times as many examples.
"""

import warnings
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import sklearn.mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.exceptions import ConvergenceWarning

from scoremix import GaussianMixture
from scoremix.models.log_joint import TOLERANCE

KINDS = ("full", "tied", "diag", "spherical")
WEIGHTS = [1.0, 1.0, 1.0, 1e-3, 1e-30, 1e-300, 1e-310, 0.0]
DECADES = {8: 6, 4: 2}
"""Powers of ten that widths of one matrix span, half of them to either side, by bytes of a number."""


def covariances_of(kind, n, d, decades, rng, draw):
    """Covariances of any size and shape, and how many times wider than narrow the worst is, squared."""
    size = 10.0 ** np.array([draw(st.floats(-5, 5)) for _ in range(1 if kind == "tied" else n)])
    narrow = 10.0 ** rng.uniform(-decades / 2, 0, (len(size), d)) * size[:, None]
    if kind == "spherical":
        return size**2, 1.0
    if kind == "diag":
        return narrow**2, 1.0  # every column stands alone
    turns = [ortho_group.rvs(d, random_state=int(rng.integers(2**31))) if d > 1 else np.eye(1) for _ in size]
    turned = np.stack([turn * widths @ (turn * widths).T for turn, widths in zip(turns, narrow, strict=True)])
    turned = (turned + np.swapaxes(turned, 1, 2)) / 2
    return turned if kind == "full" else turned[0], float(np.max((narrow.max(axis=1) / narrow.min(axis=1)) ** 2))


@dataclass(frozen=True)
class Question:
    """A mixture, points, and how exact the answer can be."""

    model: GaussianMixture
    points: np.ndarray
    loss: float


@st.composite
def questions(draw, dtypes=(np.float64, np.float32), least_columns=1):
    """A mixture of parameters that stretch it, and points near and far."""
    kind, dtype = draw(st.sampled_from(KINDS)), np.dtype(draw(st.sampled_from(dtypes)))
    n, d = draw(st.integers(1, 3)), draw(st.integers(least_columns, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    values, condition = covariances_of(kind, n, d, DECADES[dtype.itemsize], rng, draw)
    weights = np.array([1.0, *(draw(st.sampled_from(WEIGHTS)) for _ in range(n - 1))])
    width = np.sqrt(np.max(values))
    means = 10.0 ** draw(st.floats(-2, 3)) * width * rng.standard_normal((n, d))
    model = GaussianMixture.from_parameters(weights / weights.sum(), means, values, kind)
    far = 10.0 ** np.array([draw(st.floats(-3, 6)) for _ in range(3)])
    points = means[rng.integers(n, size=3)] + far[:, None] * width * rng.standard_normal((3, d))
    return Question(model, points.astype(dtype), TOLERANCE[dtype.itemsize] + np.finfo(dtype).eps * condition)


@dataclass(frozen=True)
class Exact:
    """What is true of one point, in double precision after everything was done in fifty digits.

    Attributes
    ----------
    log_density, shares, score, denoised : float or ndarray
    log_error : float
        Of the log density, and of the logarithm of a share that is not negligible.
    scores, candidates : ndarray of shape (k, d)
        Of the components that may have a part.
    steepness : float
        Their largest ``(1 + distance) / width``.
    """

    log_density: float
    shares: np.ndarray
    score: np.ndarray
    denoised: np.ndarray
    log_error: float
    candidates: np.ndarray
    steepness: float


def exact(question, point, sigma=0.0):
    mixture = question.model._mixture
    support = np.flatnonzero(mixture.weights > 0)
    y, logs, squares, pulls, clean = mp.matrix(point.astype(float).tolist()), [], [], [], []
    with mp.workdps(50):
        for k in support:
            clean_covariance = mp.matrix(mixture.covariances[k].tolist())
            covariance = clean_covariance + mp.mpf(float(sigma)) ** 2 * mp.eye(len(point))
            mean = mp.matrix(mixture.means[k].tolist())
            pull = mp.lu_solve(covariance, mean - y)
            squares.append(mp.fdot(mean - y, pull))
            log_det = mp.log(mp.det(covariance)) + len(point) * mp.log(2 * mp.pi)
            logs.append(mp.log(mp.mpf(float(mixture.weights[k]))) - (log_det + squares[-1]) / 2)
            pulls.append(pull)
            clean.append(mean - clean_covariance * pull)
        top = max(logs)
        total = mp.fsum(mp.exp(one - top) for one in logs)
        shares = [mp.exp(one - top) / total for one in logs]
        score = sum((share * pull for share, pull in zip(shares, pulls, strict=True)), mp.zeros(len(point), 1))
        denoised = sum((share * one for share, one in zip(shares, clean, strict=True)), mp.zeros(len(point), 1))
        errors = [question.loss * (1 + float(square)) for square in squares]
        close = [i for i, one in enumerate(logs) if top - one < 50 + errors[i] + errors[int(np.argmax(shares))]]
        log_density = float(top + mp.log(total))
    whole = np.zeros(mixture.n_components)
    whole[support] = [float(share) for share in shares]
    widths = [np.sqrt(np.linalg.eigvalsh(mixture.covariances[support[i]])[0] + float(sigma) ** 2) for i in close]
    return Exact(
        log_density,
        whole,
        numbers(score),
        numbers(denoised),
        max(errors[i] for i in close),
        np.array([numbers(clean[i]) for i in close]),
        max((1 + float(squares[i]) ** 0.5) / width for i, width in zip(close, widths, strict=True)),
    )


def numbers(vector):
    return np.array([float(one) for one in vector])


@given(question=questions())
def test_log_densities_and_posteriors(question):
    found, shares = question.model.score_samples(question.points), question.model.predict_proba(question.points)
    for i, point in enumerate(question.points):
        true = exact(question, point)
        np.testing.assert_allclose(found[i], true.log_density, rtol=10 * question.loss, atol=10 * true.log_error)
        # Shares below exp(-60), in double precision exp(-600), may be that.
        np.testing.assert_allclose(shares[i], true.shares, rtol=0, atol=min(1.0, 10 * true.log_error) + 1e-25)
        assert np.all(shares[i][question.model.weights_ == 0] == 0)


@given(
    question=questions(), sigma=st.just(0.0) | st.floats(-12, 12).map(lambda power: 10.0**power), by_row=st.booleans()
)
def test_scores_and_denoised_points(question, sigma, by_row):
    levels = np.full(len(question.points), sigma) if by_row else sigma
    scores = question.model.score_function(question.points, levels)
    denoised = question.model.denoise(question.points, levels)
    for i, point in enumerate(question.points):
        true = exact(question, point, sigma)
        assert np.linalg.norm(scores[i] - true.score) <= 10 * min(1.0, true.log_error) * true.steepness
        reach = np.max(np.abs(question.model.means_)) + np.max(np.abs(point))
        spread = np.max(np.abs(true.candidates - true.candidates[0]))
        assert np.linalg.norm(denoised[i] - true.denoised) <= 10 * (
            min(1.0, true.log_error) * spread + question.loss * reach
        )


@given(question=questions(dtypes=(np.float64,), least_columns=2), data=st.data())
def test_parts_and_conditions_make_the_whole(question, data):
    # log p(x) = log p(given) + log p(rest | given), each by its own path.
    d = question.points.shape[1]
    given_columns = sorted(data.draw(st.sets(st.integers(0, d - 1), min_size=1, max_size=d - 1)))
    rest = np.setdiff1d(np.arange(d), given_columns)
    for point in question.points:
        part = question.model.marginal(given_columns).score_samples(point[None, given_columns])[0]
        other = question.model.conditional(dict(zip(given_columns, point[given_columns], strict=True)))
        true = exact(question, point)
        if np.any((other.weights_ < np.finfo(np.float64).tiny) & (question.model.weights_ > 0)):
            continue  # a share that has no digits any more
        whole = part + other.score_samples(point[None, rest])[0]
        np.testing.assert_allclose(whole, true.log_density, rtol=10 * question.loss, atol=10 * true.log_error)


@settings(max_examples=max(20, settings.default.max_examples // 2))
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 3),
    d=st.integers(1, 4),
    passes=st.integers(1, 8),
    seed=st.integers(0, 2**31 - 1),
    unit=st.floats(-4, 4).map(lambda power: 10.0**power),
)
def test_em_takes_the_passes_of_scikit_learn(kind, n, d, passes, seed, unit):
    rng = np.random.default_rng(seed)
    x = unit * (rng.standard_normal((60, d)) + 2 * rng.integers(0, 3, (60, 1)))
    shape = {"full": (n, d, d), "tied": (d, d), "diag": (n, d), "spherical": (n,)}[kind]
    precisions = np.broadcast_to(np.eye(d), shape) if kind in ("full", "tied") else np.ones(shape)
    common = {
        "covariance_type": kind,
        "weights_init": np.full(n, 1 / n),
        "means_init": x[rng.choice(60, n, replace=False)],
        "precisions_init": precisions / unit**2,
        "reg_covar": 1e-6 * unit**2,
        "max_iter": passes,
        "tol": 0.0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sklearn.mixture.GaussianMixture(n, **common).fit(x)
        ours = GaussianMixture(n, covariance_prior=None, **common).fit(x)
    # Eight passes, each of which magnifies rounding by the inverse of a narrow component's share of the rows.
    for name in ("weights_", "means_", "covariances_"):
        expected = getattr(theirs, name)
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-6, atol=1e-6 * np.max(np.abs(expected)))
