"""Certificates: losses on new rows rank models as the truth does."""

import numpy as np
import pytest

from scoremix import DiffusionMixture
from scoremix.evaluation import make_gaussian_mixture, score_error
from scoremix.evaluation.certificate import integrated_losses

TRUTH = make_gaussian_mixture(3, 2, 4, random_state=0)
SIGMAS = np.geomspace(8.0, 0.2, 10)


def test_differences_of_losses_are_differences_of_score_errors():
    rng = np.random.default_rng(0)

    def wrong(y, sigma):
        return TRUTH.denoise(y, sigma) + 0.3 * sigma

    losses = integrated_losses([TRUTH.denoise, wrong], TRUTH.sample(20_000, rng), SIGMAS, rng)
    t = np.append(SIGMAS, 0.0) ** 2
    steps = -np.diff(t) / 2
    exact = sum(
        step * score_error(lambda y, s: (wrong(y, s) - y) / s**2, TRUTH, s, 100, rng).value / 2
        for step, s in zip(steps, SIGMAS, strict=True)
    )
    gain = losses[1] - losses[0]
    assert gain.mean() == pytest.approx(exact, abs=5 * gain.std() / np.sqrt(len(gain)))


@pytest.mark.parametrize("mode", [{}, {"covariance": "general"}, {"correction_of": "nothing"}], ids=str)
def test_a_fit_is_worth_more_than_one_gaussian(mode):
    model = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(TRUTH.sample(3000, np.random.default_rng(0)))
    new = TRUTH.sample(3000, np.random.default_rng(1))
    found = model.certificate(new, random_state=0)
    # About 20 standard errors in expectation: more than ten is right but in one of 10^20 draws.
    assert found.over_gaussian.value > 10 * found.over_gaussian.standard_error > 0
    # The crude mixture of round cells is nearly right here: what the polynomials add or cost is small beside the gain.
    assert abs(found.over_mixture.value) < 0.1 * found.over_gaussian.value
    assert found == model.certificate(new, random_state=0)
    with pytest.raises(ValueError, match="at least 2"):
        model.certificate(new[:1])


def test_flat_data_are_compared_at_the_same_noise():
    rng = np.random.default_rng(0)
    X = TRUTH.sample(3000, rng)
    X = np.column_stack([X, X @ [1.0, -1.0]])
    with pytest.warns(UserWarning, match="no width"):
        model = DiffusionMixture(covariance="general", n_levels=8, random_state=0).fit(X)
    assert model.noise_floor_ > 0
    found = model.certificate(X, random_state=0)
    assert all(np.all(degrees < 0) for degrees in model.degrees_)  # the mixture alone, up to the noise that it carries
    assert abs(found.over_mixture.value) < 1e-6 * found.over_gaussian.value
