"""What the benchmark of the default mode measures and compares with is checked by hand."""

import importlib.util

import numpy as np
import pytest
from benchmarks.general.identity import limit
from benchmarks.general.known import Case, errors, from_truth
from benchmarks.general.neural import fit_denoiser
from benchmarks.general.real import DATA, flow_like, split
from benchmarks.general.rivals import best_of_grid

from scoremix.evaluation import make_gaussian_mixture, score_error


def test_grid_chooses_by_bic():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-6, 1, (300, 2)), rng.normal(6, 1, (300, 2))])
    model, closed = best_of_grid(x, 4, 0)
    assert model.n_components == len(closed.weights) == 2
    assert model.covariance_type in ("spherical", "tied")


def test_errors_are_those_of_the_bound():
    truth = Case(2, 2, 3, 10).truth(0)
    sigmas = np.array([2.0, 1.0])

    def wrong(y, sigma):
        return truth.score(y, sigma) + 0.1 / sigma

    right, off = errors([truth.score, wrong], truth, sigmas, 400, 0)
    assert not right.any()
    expected = sum(score_error(wrong, truth, s, 10).value * step / 2 for s, step in ((2.0, 3.0), (1.0, 1.0)))
    np.testing.assert_allclose(off, expected)


def test_problems():
    together = Case(3, 2, 0, 10).truth(0)
    assert not together.means.any()
    assert Case(2, 3, 1, 1).parameters == 17
    x = flow_like(3000)
    assert x.shape == (3000, 8)
    assert np.isfinite(x).all()
    for name in ("iris", "digits, 20 axes"):
        learnt, held_out = split(DATA[name](), 0)
        assert len(learnt) == pytest.approx(4 * len(held_out), rel=0.05)
        np.testing.assert_allclose(learnt.mean(axis=0), 0, atol=1e-9)
        assert learnt.var(axis=0).mean() == pytest.approx(1)


def test_limit_is_maximum_likelihood():
    truth = make_gaussian_mixture(2, 2, 4.0, random_state=0)
    x = truth.sample(2000, np.random.default_rng(0))
    centres, everything = limit(truth, x), from_truth(truth, x)
    assert truth.log_density(x).mean() < centres.log_density(x).mean() < everything.score(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what PyTorch imports
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_neural_score():
    x = np.random.default_rng(0).standard_normal((500, 2)) * 3 + 5
    denoise = fit_denoiser(x, 0, 400)
    y = x[:100] + np.random.default_rng(1).standard_normal((100, 2))
    best = 5 + (y - 5) * 0.9
    assert np.mean((denoise(y, 1.0) - best) ** 2) < 0.1
