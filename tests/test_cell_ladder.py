"""Cells of general covariances as a mode of the estimator: closed-form laws and the published cells are the judges."""

import json
import struct

import numpy as np
import pytest

from scoremix import DiffusionMixture, load
from scoremix.arrays import to_numpy
from scoremix.estimators.checks import moments_of
from scoremix.evaluation import histogram_total_variation, make_gaussian_mixture
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth
from scoremix.learning.cks.candidates import find_candidates
from scoremix.learning.cks.cells import enumerate_partitions
from scoremix.learning.cks.gates import at_noise_level, cell_gaussians, choose_gates, drop_light_components
from scoremix.learning.coordinates import StandardizedColumns
from scoremix.learning.regression.scores import RegressionSettings
from scoremix.models.covariance.full import Full
from scoremix.models.mixture import Mixture
from scoremix.models.score_model import PiecewiseScore
from scoremix.samples.source import ArraySource
from scoremix.sampling.ladder_density import base_of

CELLS = {"covariance": "general", "correction_of": "nothing", "n_levels": 6, "n_draws": 1, "random_state": 0}
CROSSED = GaussianMixtureTruth(np.array([0.5, 0.5]), np.zeros((2, 2)), np.array([[9.0, 0.09], [0.09, 9.0]]), None, None)
SETTINGS = RegressionSettings("soft", None, 0.003, 1, 2, 0, 1)


def crossed(n=2000, seed=0):
    return CROSSED.sample(n, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=["soft", "hard"])
def model(request):
    return DiffusionMixture(**CELLS, gates=request.param).fit(crossed())


def candidates(x, **more):
    source = ArraySource(x)
    space = StandardizedColumns.of(moments_of(source, None, needs_width=False))
    return find_candidates(source, space, more.get("rank"), SETTINGS, np.random.default_rng(0))


def test_crossed_components_are_told_apart(model):
    y = CROSSED.sample(4000, np.random.default_rng(1))
    y = y + 0.5 * np.random.default_rng(2).standard_normal(y.shape)
    exact = CROSSED.score(y, 0.5)
    one = np.linalg.solve(np.cov(crossed().T) + 0.25 * np.eye(2), -y.T).T
    # No cells at all would give the score of one Gaussian.
    error = np.mean((model.score_function(y, 0.5) - exact) ** 2)
    assert error < 0.15 * np.mean((one - exact) ** 2)
    assert model.noise_scale_ == 0
    assert model.noise_floor_ == 0
    assert base_of(model.ladder_) is None
    assert all(isinstance(level, PiecewiseScore) == (model.gates == "hard") for level in model.ladder_.levels)


def test_components_have_covariances_of_their_own(model):
    mixture = model.to_mixture()
    assert mixture.n_components_ == model.n_cells_ >= 2
    np.testing.assert_allclose(mixture.means_, model.centers_, atol=1e-12)
    # Of the two widest, one lies along each axis; hard cells are truncated pieces, hence the factor.
    ratios = mixture.covariances_[:, 0, 0] / mixture.covariances_[:, 1, 1]
    assert ratios.max() > 9
    assert ratios.min() < 1 / 9


def test_posterior_mean_is_the_expected_mean_of_the_component(model):
    mixture, x = model.to_mixture(), crossed(50, 3)
    np.testing.assert_allclose(model.posterior_mean(x), mixture.predict_proba(x) @ mixture.means_, atol=1e-9)
    np.testing.assert_array_equal(model.predict(x), mixture.predict(x))


def test_density_is_that_of_the_law(model):
    x = crossed(1000, 4)
    # Soft scores are good to a few percent, the integral over 6 levels to a tenth of a nat; hard ones jump: .4 to .7.
    error = np.mean(np.abs(model.score_samples(x) - CROSSED.log_density(x)))
    assert error < (0.3 if model.gates == "soft" else 1.0)


def test_a_saved_model_answers_the_same_and_tampering_is_refused(model, tmp_path):
    path, x = tmp_path / "model", crossed(40, 5)
    model.save(path)
    again = load(path)
    for name in ("score_function", "posterior_mean", "score_samples", "predict"):
        np.testing.assert_array_equal(getattr(again, name)(x), getattr(model, name)(x))
    np.testing.assert_array_equal(again.sample(9, random_state=0), model.sample(9, random_state=0))
    np.testing.assert_array_equal(again.centers_, model.centers_)
    lost = {"level0.means": "level0.meant", "components.weights": "components.heights"}
    if model.gates == "hard":
        lost["level1.kinds"] = "level1.minds"
    content = path.read_bytes()
    for name, wrong in lost.items():
        assert len(name) == len(wrong)
        path.write_bytes(content.replace(name.encode(), wrong.encode()))
        with pytest.raises(ValueError, match="model"):
            load(path)
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    key = "level0.groups" if model.gates == "hard" else "level0.covariances"
    start, stop = header[key]["data_offsets"]
    changed = bytearray(content)
    changed[8 + size + start : 8 + size + stop] = b"\xff" * (stop - start)  # -1, or not a number
    path.write_bytes(bytes(changed))
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["soft", pytest.param("hard", marks=pytest.mark.slow)])
def test_units_do_not_matter(gates):
    x, units = crossed(800), np.array([1.0, 1e4])
    how = {**CELLS, "gates": gates, "n_levels": 8}
    plain, scaled = (DiffusionMixture(**how).fit(data) for data in (x, x * units))
    np.testing.assert_allclose(scaled.weights_.sum(), plain.weights_.sum())
    one, other = plain.to_mixture(), scaled.to_mixture()
    # Reported mixtures of the same rows: each is within a few parameters / n of what the rows can tell, hard ones are
    # of truncated pieces, a tenth of a nat off.
    assert one.score(x) == pytest.approx(other.score(x * units) + np.log(1e4), abs=0.2)
    drawn = scaled.sample(8000, random_state=0) / units
    # A variance of 4.5 with kurtosis 6 has a standard error of .11 in 8000 draws and of .36 in 800 rows.
    np.testing.assert_allclose(np.var(drawn, axis=0), np.var(x, axis=0), atol=3 * np.hypot(0.11, 0.36))


@pytest.mark.parametrize("gates", ["soft", pytest.param("hard", marks=pytest.mark.slow)])
def test_columns_that_others_determine_and_constant_ones_are_left_out(gates):
    x = crossed(800)
    wide = np.column_stack([x, x[:, 0] - x[:, 1], np.full(len(x), 7.0)])
    with pytest.warns(UserWarning, match="X has no width"):
        model = DiffusionMixture(**CELLS, gates=gates).fit(wide)
    assert model.ladder_.frame.rank == 2
    assert model.noise_floor_ == model.noise_levels_[-1] > 0
    drawn = model.sample(200, random_state=0)
    np.testing.assert_allclose(drawn[:, 2], drawn[:, 0] - drawn[:, 1], atol=1e-9)
    np.testing.assert_allclose(drawn[:, 3], 7.0, atol=1e-9)
    # Of the data with the noise of the floor, as the reported mixture is; hard cells are off it by up to a nat: their
    # scores jump where they meet.
    noisy = model.to_mixture().score(wide)
    assert model.score(wide) == pytest.approx(noisy, abs=0.6 if gates == "soft" else 1.5)


@pytest.mark.slow
def test_components_on_lines_have_a_floor():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.repeat([0.0, 5.0], 300), rng.standard_normal(600)])
    with pytest.warns(UserWarning, match="X has no width"):
        model = DiffusionMixture(**CELLS).fit(x)
    assert model.noise_floor_ > 0
    assert np.all(np.isfinite(model.score_samples(x)))


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["soft", pytest.param("hard", marks=pytest.mark.slow)])
def test_parameters_act(gates):
    x, how = crossed(300), {**CELLS, "gates": gates, "n_levels": 3}
    base = DiffusionMixture(**how).fit(x)
    y = x[:50] + 0.3

    def differs(**more):
        other = DiffusionMixture(**{**how, **more}).fit(x)
        return other, not np.array_equal(other.score_function(y, 1.0), base.score_function(y, 1.0))

    fixed, changed = differs(degree=2)
    assert changed
    assert all(np.all(degrees == 2) for degrees in fixed.degrees_)
    # Soft cells of 300 rows have nothing that held-out rows could choose.
    validated = [{"validation_fraction": 0.5}] if gates == "hard" else []
    for more in ({"n_draws": 20}, {"random_state": 1}, *validated):
        other, changed = differs(**more)
        loss = not np.array_equal(other.denoising_loss_, base.denoising_loss_)
        assert changed or loss, more
    ends, _ = differs(sigma_min=0.2, sigma_max=5.0, n_levels=4)
    np.testing.assert_allclose(ends.noise_levels_[[0, -1]], [5.0, 0.2])
    assert len(ends.denoising_loss_) == 4
    assert differs(rank=1)[1]


@pytest.mark.slow
def test_weights_count_as_rows():
    x = crossed(1000)
    heavy_ones = np.where(x[:, 0] > 0, 3.0, 1.0)
    model = DiffusionMixture(**CELLS).fit(x, sample_weight=heavy_ones)
    # Rows with weight: the mean moves to that of the weighted sample, up to its standard error.
    error = 3 / np.sqrt(1000)
    assert model.sample(4000, random_state=0)[:, 0].mean() == pytest.approx(
        np.average(x[:, 0], weights=heavy_ones), abs=5 * error / 2
    )


@pytest.mark.slow
def test_candidates_are_as_many_as_pays():
    rng = np.random.default_rng(0)
    assert candidates(rng.standard_normal((3, 2))).sets[0].means.shape == (1, 2)
    law = make_gaussian_mixture(12, 2, 6.0, random_state=0)
    found = candidates(law.sample(6000, rng))
    assert max(len(crude.means) for crude in found.sets) >= 8
    assert found.local_scale == pytest.approx(1.0, rel=0.3)  # round unit components, EM on 6000 rows
    assert not found.is_flat


@pytest.mark.slow
def test_axes_forget_columns_that_noise_has_swallowed():
    x = crossed(2000) * np.array([1.0, 1e3])
    crude = candidates(x).sets[0]
    silent, loud = at_noise_level(crude, 1e-6), at_noise_level(crude, 100.0)
    gram = [to_numpy(one.basis @ one.basis.T) for one in (crude, silent, loud)]
    np.testing.assert_allclose(gram[1], gram[0], rtol=1e-6, atol=1e-12)
    # Metric 1 / (scale^2 + sigma^2) along each column: the narrow one, of deviation about 2, loses 1e4 / 4 of it.
    small, large = np.sort(np.linalg.eigvalsh(gram[2]) / np.linalg.eigvalsh(gram[0]))
    assert large == pytest.approx(1.0, rel=0.01)
    assert small < 1e-2


def test_gates_move_to_the_components():
    x = crossed(8000)
    cells = enumerate_partitions([at_noise_level(crude, 0.3) for crude in candidates(x).sets], 0.3)
    gates = choose_gates(x, cells, None, 0.3, 0.003, np.random.default_rng(0))
    start = cell_gaussians(cells[0], x, 0.3, 0.003)
    y = crossed(4000, 7)
    y = y + 0.3 * np.random.default_rng(8).standard_normal(y.shape)
    errors = [np.mean((to_numpy(one.score(y, 0.3)) - CROSSED.score(y, 0.3)) ** 2) for one in (start, gates)]
    assert errors[1] < 0.5 * errors[0]
    assert np.all(np.diff(gates.weights) <= 0)
    assert gates.weights.sum() == pytest.approx(1.0)


def test_light_components_are_left_out_but_never_all():
    mixture = Mixture(np.array([0.3, 0.699, 0.001]), np.eye(3)[:, :2], Full(np.array([np.eye(2)] * 3)))
    np.testing.assert_allclose(drop_light_components(mixture, 0.01).weights, np.array([0.699, 0.3]) / 0.999)
    assert drop_light_components(mixture, 0.99).n_components == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "d", "separation", "condition"), [(4, 2, 3.0, 10), (2, 2, 0.0, 100), (16, 2, 4.0, 100), (6, 3, 2.0, 100)]
)
@pytest.mark.parametrize("gates", ["soft", pytest.param("hard", marks=pytest.mark.slow)])
def test_samples_are_near_the_law(k, d, separation, condition, gates):
    law = make_gaussian_mixture(k, d, separation or 1.0, "full", condition=condition, random_state=0)
    means = law.means if separation else np.zeros_like(law.means)
    truth = GaussianMixtureTruth(law.weights, means, law.variances, law.axes, None)
    x = truth.sample(50_000, np.random.default_rng([0, 0]))
    model = DiffusionMixture("general", correction_of="nothing", gates=gates, random_state=0).fit(x)
    fresh = truth.sample(50_000, np.random.default_rng([0, 2]))
    found = histogram_total_variation(fresh, model.sample(50_000, random_state=0))
    assert found.excess < 0.03
