"""Files of a fitted GaussianMixture: everything comes back, and nothing that is not a mixture is let in."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from scoremix import DiffusionMixture, GaussianMixture, load
from scoremix.storage import read_model, write_model

KINDS = ("full", "tied", "diag", "spherical")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    X[:100] += 6
    return X


@pytest.fixture
def path(data, tmp_path):
    GaussianMixture(2, random_state=0).fit(data).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_comes_back(data, tmp_path, kind, dtype):
    X = pd.DataFrame(data.astype(dtype), columns=["a", "b", "ö"])
    params = {"missing_values": np.nan, "acceleration": "squarem", "means_init": data[[0, 200]], "random_state": 7}
    model = GaussianMixture(2, covariance_type=kind, **params).fit(X)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert repr(again) == repr(model)
    for name, value in vars(model).items():
        if name.endswith("_"):
            np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)
            assert np.asarray(getattr(again, name)).dtype.kind == np.asarray(value).dtype.kind
    assert again.means_.dtype == dtype
    for method in ("predict_proba", "score_samples", "score_function"):
        np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))


def test_a_model_that_was_not_fitted_to_data(tmp_path):
    model = GaussianMixture.from_parameters([0.25, 0.75], [[0.0], [1.0]], [1.0, 2.0], "spherical")
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.lower_bound_ == -np.inf
    assert again.lower_bounds_ == []
    np.testing.assert_array_equal(again.covariances_, [1.0, 2.0])


def test_a_generator_is_not_kept(data, tmp_path):
    GaussianMixture(random_state=np.random.RandomState(0)).fit(data).save(tmp_path / "model")
    assert load(tmp_path / "model").random_state is None


def test_streams_and_warm_starts_go_on(data, tmp_path):
    batches = np.split(data[np.random.default_rng(0).permutation(300)], 6)
    whole = GaussianMixture(2, random_state=0)
    for i, batch in enumerate(batches):
        if i == 3:
            whole.save(tmp_path / "model")
            half = load(tmp_path / "model")
        whole.partial_fit(batch)
    for batch in batches[3:]:
        half.partial_fit(batch)
    np.testing.assert_array_equal(half.means_, whole.means_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        half.set_params(warm_start=True, max_iter=1).fit(data)
        whole.set_params(warm_start=True, max_iter=1).fit(data)
    np.testing.assert_array_equal(half.covariances_, whole.covariances_)


def test_both_kinds_of_models_are_loaded(data, path, tmp_path):
    assert type(load(path)) is GaussianMixture
    DiffusionMixture(n_levels=3, random_state=0).fit(data).save(tmp_path / "other")
    assert type(load(tmp_path / "other")) is DiffusionMixture


def test_a_kind_that_is_not_known(path):
    _, header, arrays = read_model(path)
    write_model(path, "PoissonMixture", header, arrays)
    with pytest.raises(ValueError, match="holds a 'PoissonMixture', which this version of scoremix does not know"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("weights", np.array([0.5, 0.6]), "weights must be shares that sum to 1"),
        ("weights", np.array([0.5, np.nan]), "weights must lie between 0 and 1"),
        ("means", np.zeros((2, 2)), r"covariances has shape \(2, 3, 3\) and not \(k, d, d\), where k = 2, d = 2"),
        ("means", np.zeros(3), r"means has shape \(3,\) and not \(k, d\)"),
        ("covariances", -np.tile(np.eye(3), (2, 1, 1)), "positive-definite"),
        ("covariances", None, "covariances is missing"),
        ("lower_bound", None, "lower_bound is missing"),
    ],
)
def test_arrays_that_are_no_mixture(path, name, value, words):
    kind, header, arrays = read_model(path)
    arrays.pop(name)
    write_model(path, kind, header, arrays if value is None else arrays | {name: value})
    with pytest.raises(ValueError, match=f"is damaged: .*{words}"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"covariance_type": "round"},
        {"dtype": "int8"},
        {"feature_names": ["a"]},
        {"params": None},
        {"params": {"n_components": 2}},
        {"n_iter": None},
    ],
)
def test_a_header_that_makes_no_sense(path, change):
    kind, header, arrays = read_model(path)
    write_model(path, kind, header | change, arrays)
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


def test_a_parameter_that_is_not_known(path):
    kind, header, arrays = read_model(path)
    write_model(path, kind, header | {"params": header["params"] | {"execute": "rm"}}, arrays)
    with pytest.raises(ValueError, match="is damaged"):
        load(path)
