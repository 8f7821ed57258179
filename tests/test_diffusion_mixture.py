"""The estimator: scikit-learn's contract, parameters, inputs, outputs, model files."""

import logging
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from scoremix import DiffusionMixture, load
from scoremix.samples.columns import Columns

KNOWN = {"noise_scale": 1.0}
CELLS = {"correction_of": "nothing"}
GENERAL_CELLS = {"covariance": "general", **CELLS}
MODES = {
    "cells": {**CELLS, **KNOWN},
    "atoms": KNOWN,
    "chosen": {},
    "general": {"covariance": "general"},
    "general cells": GENERAL_CELLS,
    "general hard cells": {**GENERAL_CELLS, "gates": "hard"},
}
SLOW = ("general cells", "general hard cells")
"""Their own tests, of `learning.cell_ladder`, are among the fast ones."""

CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def three_clusters(n, seed=0):
    rng = np.random.default_rng(seed)
    return CENTERS[rng.integers(3, size=n)] + rng.standard_normal((n, 2))


@pytest.fixture(scope="module")
def data():
    return three_clusters(3000)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODES],
)
def mode(request):
    """Parameters that say what is learnt: cells alone, atoms, or a mixture with covariances."""
    return MODES[request.param]


@pytest.fixture(scope="module")
def model(data, mode):
    return DiffusionMixture(**mode, n_levels=8, random_state=0).fit(data)


def expected_failures(estimator):
    """Of 15 rows in 10 columns as many components are found as seeds happen to suggest, and seeds are drawn by row."""
    check = "check_sample_weight_equivalence_on_dense_data"
    return {check: "too few rows to tell a number of components"} if estimator.noise_scale == "auto" else {}


@pytest.mark.filterwarnings("ignore:X has no width")  # of a few rows, some of them repeated
@parametrize_with_checks(
    [
        DiffusionMixture(**KNOWN, n_levels=3, random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X has no width")
@parametrize_with_checks(
    [
        DiffusionMixture(n_levels=3, random_state=0),
        DiffusionMixture(covariance="general", n_levels=3, random_state=0),
        DiffusionMixture(**CELLS, **KNOWN, n_levels=3, random_state=0),
        DiffusionMixture(**CELLS, **KNOWN, n_levels=3, gates="hard"),
        DiffusionMixture(**GENERAL_CELLS, n_levels=3, random_state=0),
        DiffusionMixture(**GENERAL_CELLS, n_levels=3, gates="hard", random_state=0),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract_of_slower_fits(estimator, check):
    check(estimator)


def test_finds_three_cells_with_their_centres_and_weights(model):
    assert model.n_cells_ == 3
    order = np.lexsort(model.centers_.T.round(0))
    # A mean of 1000 samples has a standard error of .03 per coordinate, weights one of .009: five of them.
    np.testing.assert_allclose(model.centers_[order], CENTERS[np.lexsort(CENTERS.T)], atol=0.16)
    np.testing.assert_allclose(model.weights_, 1 / 3, atol=0.045)
    assert np.all(np.diff(model.weights_) <= 0)


def test_fitted_attributes_have_the_documented_shapes(model):
    assert model.noise_levels_.shape == model.denoising_loss_.shape == model.n_cells_per_level_.shape == (8,)
    assert np.all(np.diff(model.noise_levels_) < 0)
    # A fifth of the finest scale, 1: known, or an eigenvalue of a covariance from 1,000 rows, 10 % too small at most.
    assert model.noise_levels_[-1] == pytest.approx(0.2, rel=1e-9 if model.noise_scale == 1.0 else 0.1)
    assert model.noise_floor_ == 0
    assert [len(d) for d in model.degrees_] == list(model.n_cells_per_level_)
    assert model.n_features_in_ == 2


def test_denoising_loss_is_that_of_fresh_samples(model):
    fresh, rng = three_clusters(20000, seed=1), np.random.default_rng(2)
    for level in (0, 4, 7):
        sigma = model.noise_levels_[level]
        error = model.denoise(fresh + sigma * rng.standard_normal(fresh.shape), sigma) - fresh
        # Squared errors of 20,000 pairs vary by about 1 %; the held-out estimate itself by 3 % (3,000 samples).
        assert np.mean(error**2) == pytest.approx(model.denoising_loss_[level], rel=0.12)


def test_predict_agrees_with_the_nearest_centre(model):
    X = three_clusters(2000, seed=3)
    nearest = np.argmin(np.linalg.norm(X[:, None] - model.centers_, axis=2), axis=1)
    # Clusters 6 apart: a share of Phi(-3) = .1 % lies beyond the midplane, where the two rules may differ.
    assert np.mean(model.predict(X) == nearest) > 0.99


@pytest.mark.parametrize("method", ["dpm", "ancestral", "reverse_sde", "probability_flow"])
def test_samples_have_the_moments_of_the_data(model, data, method):
    n_steps = {"ancestral": 60, "reverse_sde": 120}.get(method)
    sample = model.sample(20000, method=method, n_steps=n_steps, random_state=0)
    # The widest standard deviation is 3; standard errors .05 (3,000 fitted rows) and .02: a bit over three of them,
    # plus the bias of a few first-order steps in the variances (5 %).
    np.testing.assert_allclose(sample.mean(axis=0), data.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(np.cov(sample.T), np.cov(data.T), atol=0.7)


def test_samples_follow_the_seed(model):
    a, b = model.sample(9000, random_state=5), model.sample(9000, random_state=5)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, model.sample(9000, random_state=6))
    assert not np.array_equal(model.sample(10), model.sample(10))


def test_same_seed_same_fit(data, model, mode):
    again = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(data)
    np.testing.assert_array_equal(again.score_function(data[:50]), model.score_function(data[:50]))


def test_sigma_may_be_one_number_or_one_per_row(model, data):
    sigma = np.linspace(0.0, 12.0, 40)
    together = model.denoise(data[:40], sigma)
    alone = np.vstack([model.denoise(data[i : i + 1], sigma[i]) for i in range(40)])
    np.testing.assert_allclose(together, alone, atol=1e-9)
    np.testing.assert_array_equal(
        model.score_function(data[:5]), model.score_function(data[:5], model.noise_levels_[-1])
    )


def test_tweedie_connects_the_three_answers(model, data):
    Y, sigma = data[:100], 0.7
    score = model.score_function(Y, sigma)
    np.testing.assert_allclose(model.denoise(Y, sigma), Y + sigma**2 * score, atol=1e-12)
    if model.noise_scale_:  # else there is no noise in the data to take away
        tweedie = Y + model.noise_scale_**2 * model.score_function(Y, 0.0)
        np.testing.assert_allclose(model.posterior_mean(Y), tweedie, atol=1e-12)


@pytest.mark.parametrize("mode", [CELLS, {}], ids=["cells", "atoms"])
def test_high_dimension_is_projected_and_its_complement_is_gaussian(mode):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((40, 2)))[0]
    X = three_clusters(4000) @ basis.T + rng.standard_normal((4000, 40)) @ (np.eye(40) - basis @ basis.T) + 3.0
    model = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(X)
    assert model.ladder_.frame.rank == 2
    assert model.n_cells_ == 3
    sample = model.sample(5000, random_state=0) - 3.0
    outside = sample - sample @ model.ladder_.frame.basis @ model.ladder_.frame.basis.T
    # 38 directions of variance 1, from 5,000 samples: relative standard error sqrt(2 / 190000) = .3 %.
    assert np.mean(np.sum((outside - outside.mean(axis=0)) ** 2, axis=1)) == pytest.approx(38, rel=0.015)


def test_explicit_rank_is_used(data):
    assert DiffusionMixture(n_levels=3, rank=1, random_state=0).fit(data).ladder_.frame.rank == 1


@pytest.mark.parametrize("unit", [1e-3, 3.0, 1e3])
def test_the_default_finds_one_scale_of_round_clusters_in_any_unit(data, unit):
    model = DiffusionMixture(n_levels=3, random_state=0).fit(unit * data)
    assert model.covariance_ == "identity"
    assert model.n_cells_ == 3
    # The deviation of 6,000 numbers is known to 1 / sqrt(12000) = .9 %, of which six.
    assert model.noise_scale_ == pytest.approx(unit, rel=0.055)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_default_learns_shapes_where_one_scale_does_not_explain_them(data, unit):
    turn = np.array([[1.0, 0.9], [0.0, 0.3]])
    shaped = np.where(np.arange(len(data))[:, None] % 2, data @ turn, data)
    model = DiffusionMixture(n_levels=3, random_state=0).fit(unit * shaped)
    assert model.covariance_ == "general"
    assert model.noise_scale_ == 0
    general = DiffusionMixture("general", n_levels=3, random_state=0).fit(unit * shaped)
    assert abs(model.score(unit * shaped) - general.score(unit * shaped)) < 0.01


def test_a_scale_that_is_given_is_taken(data):
    model = DiffusionMixture(noise_scale=0.8, n_levels=3, random_state=0).fit(data)
    assert (model.covariance_, model.noise_scale_) == ("identity", 0.8)


@pytest.mark.slow
def test_a_scale_that_is_far_off_is_told():
    X = 300.0 * three_clusters(1500)
    with pytest.warns(UserWarning, match=r"needs \d+ atoms: the data suggest (29|30|31)\d\."):
        DiffusionMixture(noise_scale=1.0, n_levels=2, random_state=0).fit(X)


def test_flat_data_are_general():
    with pytest.warns(UserWarning, match="no width"):
        model = DiffusionMixture(n_levels=2, random_state=0).fit(three_clusters(100) @ [[1.0, 2.0], [0.0, 0.0]])
    assert model.covariance_ == "general"


@pytest.mark.scene  # copies of a row lie on both sides of held-out comparisons, where they speak for narrow cells
def test_integer_weights_find_what_repeated_rows_find(data, mode):
    weight = np.where(data[:, 0] > 3, 3, 1)
    weighted = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(data, sample_weight=weight)
    repeated = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(np.repeat(data, weight, axis=0))
    assert weighted.n_cells_ == repeated.n_cells_ == 3
    # Different noise is drawn, the moments are the same: 5 standard errors of a weight and of a mean.
    np.testing.assert_allclose(weighted.weights_, repeated.weights_, atol=0.02)
    np.testing.assert_allclose(weighted.centers_, repeated.centers_, atol=0.05)


def test_weight_zero_is_absence(data, mode):
    far = np.vstack([data, np.full((50, 2), 40.0)])
    model = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(
        far, sample_weight=np.r_[np.ones(3000), np.zeros(50)]
    )
    assert model.n_cells_ == 3
    assert np.all(np.abs(model.centers_) < 10)


@pytest.mark.parametrize("convert", [np.asfortranarray, np.ndarray.tolist, pd.DataFrame, lambda x: pl.DataFrame(x)])
def test_takes_whatever_scikit_learn_takes(data, model, convert, mode):
    fitted = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(convert(data))
    assert fitted.n_cells_ == 3
    np.testing.assert_allclose(fitted.centers_, model.centers_, atol=1e-9)


def test_memory_map_gives_the_same_fit(data, model, tmp_path, mode):
    np.save(tmp_path / "x.npy", data)
    fitted = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(np.load(tmp_path / "x.npy", mmap_mode="r"))
    np.testing.assert_array_equal(fitted.centers_, model.centers_)


def test_float32_stays_float32_and_agrees(data, model, mode):
    X = data.astype(np.float32)
    fitted = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(X)
    assert fitted.n_cells_ == 3
    assert fitted.posterior_mean(X).dtype == np.float32
    # Rounding of 1e-7 moves the warm starts a little, not the answer.
    np.testing.assert_allclose(fitted.posterior_mean(X[:500]), model.posterior_mean(data[:500]), atol=0.1)


@pytest.mark.torch
def test_torch_in_torch_out(data, model, mode):
    torch = pytest.importorskip("torch")
    X = torch.asarray(data)
    fitted = DiffusionMixture(**mode, n_levels=8, random_state=0).fit(X)
    assert fitted.n_cells_ == 3
    answer = fitted.denoise(X[:100], 0.5)
    assert isinstance(answer, torch.Tensor)
    np.testing.assert_allclose(answer.numpy(), model.denoise(data[:100], 0.5), atol=1e-6)


def test_feature_names_are_kept(data, tmp_path, mode):
    frame = pd.DataFrame(data, columns=["length", "waiting"])
    model = DiffusionMixture(**mode, n_levels=3, random_state=0).fit(frame)
    model.save(tmp_path / "m.scoremix")
    loaded = load(tmp_path / "m.scoremix")
    assert list(loaded.feature_names_in_) == ["length", "waiting"]
    loaded.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"length": "other"}))


@pytest.mark.parametrize("mode", [CELLS, {**CELLS, "gates": "hard"}, {}, {"covariance": "general"}], ids=str)
def test_saved_model_answers_the_same(data, tmp_path, mode):
    model = DiffusionMixture(**mode, n_levels=4, random_state=0).fit(data)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    Y = three_clusters(200, seed=9)
    np.testing.assert_array_equal(loaded.score_function(Y, 0.9), model.score_function(Y, 0.9))
    np.testing.assert_array_equal(loaded.predict(Y), model.predict(Y))
    np.testing.assert_array_equal(loaded.posterior_mean(Y), model.posterior_mean(Y))
    np.testing.assert_array_equal(loaded.score_samples(Y), model.score_samples(Y))
    np.testing.assert_array_equal(loaded.sample(20, random_state=0), model.sample(20, random_state=0))
    assert loaded.get_params() == model.get_params()


def test_load_of_a_standardised_model_warns(data, model, tmp_path):
    model.save(tmp_path / "m", Columns(("a", "b"), (0, 0), (2, 2)))
    with pytest.warns(UserWarning, match="standardised"):
        assert load(tmp_path / "m").columns_.is_standardized


def test_clone_pickle_and_pipeline(data, model):
    assert clone(model).get_params() == model.get_params()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(data[:9]), model.predict(data[:9]))
    pipeline = make_pipeline(StandardScaler(), DiffusionMixture(noise_scale=0.35, n_levels=8, random_state=0))
    assert set(pipeline.fit(data).predict(data[:200])) == {0, 1, 2}


def test_verbose_logs_a_line_per_level(data, caplog, mode):
    with caplog.at_level(logging.INFO, logger="scoremix"):
        DiffusionMixture(**mode, n_levels=3, verbose=1, random_state=0).fit(data[:500])
    assert [record.message.split(":")[0] for record in caplog.records] == ["level 1/3", "level 2/3", "level 3/3"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise_scale": 0.0}, r"noise_scale=0\.0 is out of range"),
        ({"noise_scale": -1}, "noise_scale=-1 is out of range"),
        ({"noise_scale": np.nan}, "noise_scale=nan"),
        ({"noise_scale": "large"}, "noise_scale='large'"),
        ({"min_weight": 0}, "min_weight=0 is out of range"),
        ({"min_weight": 1.0}, r"min_weight=1\.0 is out of range"),
        ({"degree": 0}, "degree=0 is out of range: give an integer >= 1"),
        ({"degree": 2.5}, r"degree=2\.5"),
        ({**CELLS, "degree": 70}, "degree=70 in 2 dimensions means 2556 polynomial features"),
        ({"gates": "firm"}, "gates='firm' is not known: choose 'soft' or 'hard'"),
        ({"covariance": "diag"}, "covariance='diag' is not known: choose 'auto' or 'identity' or 'general'"),
        ({"correction_of": "cells"}, "correction_of='cells' is not known: choose 'mixture' or 'nothing'"),
        ({"gates": "hard"}, "gates='hard' is for correction_of='nothing'"),
        ({"degree": 3}, "degree=3 is for correction_of='nothing'"),
        ({"covariance": "general", "noise_scale": 0.5}, "noise_scale=0.5 is for covariance='identity'"),
        ({**GENERAL_CELLS, "noise_scale": 0.5}, "noise_scale=0.5 is for covariance='identity'"),
        ({**GENERAL_CELLS, "degree": 70}, "degree=70 in 2 dimensions means 2556 polynomial features"),
        ({**GENERAL_CELLS, "rank": 3}, "rank=3"),
        ({"covariance": "general", "sigma_min": 90.0}, "sigma_min=90 is not below sigma_max=.*: give levels within"),
        ({"n_levels": 1}, "n_levels=1"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"validation_fraction": 0.6}, r"validation_fraction=0\.6"),
        ({"rank": 3}, "rank=3"),
        ({"sigma_min": 0}, "sigma_min=0"),
        ({"sigma_min": 3.0, "sigma_max": 2.0}, "sigma_min=3 is not below sigma_max=2"),
        ({"noise_scale": 1e6}, "noise_scale=1e"),
    ],
)
def test_wrong_parameters_are_refused_by_name(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        DiffusionMixture(random_state=0, **parameters).fit(data)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan], [2.0, 3.0]], "NaN"),
        ([[1.0, np.inf], [2.0, 3.0]], "infinity"),
        ([[1.0, 2.0]], "minimum of 2"),
        ([["a", "b"], ["c", "d"]], "[Cc]onvert"),
        ([1.0, 2.0, 3.0], "2D array"),
        ([[1.0, 5.0], [1.0, 5.0], [1.0, 5.0]], "constant columns"),
    ],
)
def test_wrong_data_are_refused(X, message, mode):
    with pytest.raises(ValueError, match=message):
        DiffusionMixture(**mode).fit(X)


def test_noise_in_every_column_is_assumed_where_its_scale_is_known():
    with pytest.raises(ValueError, match="constant columns"):
        DiffusionMixture("identity").fit([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], "has shape"),
        (-np.ones(3000), "negative"),
        (np.zeros(3000), "zero everywhere"),
        (np.full(3000, np.nan), "non-finite"),
    ],
)
def test_wrong_weights_are_refused(data, weight, message):
    with pytest.raises(ValueError, match=message):
        DiffusionMixture().fit(data, sample_weight=weight)


def test_wrong_questions_are_refused(model, data):
    with pytest.raises(ValueError, match="3 features"):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="sigma"):
        model.denoise(data, -1.0)
    with pytest.raises(ValueError, match="one number, or one per row"):
        model.denoise(data, [1.0, 2.0])
    with pytest.raises(ValueError, match="method"):
        model.sample(3, method="magic")
    with pytest.raises(ValueError, match="n_samples=0"):
        model.sample(0)


def test_far_points_get_a_warning_and_a_finite_answer(model):
    far = np.array([[1e8, -1e8], [1e150, 0.0]])
    with pytest.warns(UserWarning, match="2 of 2 points lie more than twice"):
        score = model.score_function(far)
    assert np.all(np.isfinite(score))
    # The tail of a Gaussian pulls back towards the data.
    assert np.all(np.sum(score * far, axis=1) < 0)


@pytest.mark.filterwarnings("ignore:X has no width")
@pytest.mark.parametrize(
    "mode",
    [
        CELLS,
        {},
        {"covariance": "general"},
        pytest.param(GENERAL_CELLS, marks=pytest.mark.slow),
        pytest.param({**CELLS, "gates": "hard"}, marks=pytest.mark.slow),
        pytest.param({**GENERAL_CELLS, "gates": "hard"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_difficult_data_never_give_nan(mode):
    rng = np.random.default_rng(0)
    duplicated = np.repeat(rng.standard_normal((3, 2)), 40, axis=0)
    outlier = np.vstack([rng.standard_normal((200, 2)), [[500.0, -300.0]]])
    two_rows = np.array([[0.0, 1.0], [3.0, 2.0]])
    for X in (duplicated, outlier, two_rows, rng.standard_normal((5, 30))):
        model = DiffusionMixture(**mode, n_levels=6, random_state=0).fit(X)
        assert np.all(np.isfinite(model.score_samples(X)))
        assert np.all(np.isfinite(model.sample(500, random_state=0)))
        assert np.all(np.isfinite(model.posterior_mean(X)))
        assert np.all(np.isfinite(model.centers_))
        assert model.weights_.sum() == pytest.approx(1.0)
