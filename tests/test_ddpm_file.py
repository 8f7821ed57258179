"""Files of a fitted DDPMMixture: everything comes back, and nothing that is not a mixture is let in."""

import numpy as np
import pandas as pd
import pytest

from scoremix import DDPMMixture, load
from scoremix.storage import read_model, write_model


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    X[:100] += 6
    return pd.DataFrame(X, columns=["a", "b", "ö"])


@pytest.mark.parametrize(
    "params",
    [
        {"n_steps": (20, 5)},
        {"n_steps": 3, "noise_times": "all", "covariance": "full", "weights": "free", "random_state": 7},
        {"n_steps": [4, 2], "noise_times": ([2.0, 1.0], 0.1), "means_init": np.eye(3)[:2], "covariance": 2.0},
        {"symmetric": True, "n_steps": (3, 3), "covariance": np.eye(3) + 0.1, "weights": np.array([0.5, 0.5])},
    ],
)
def test_everything_comes_back(frame, tmp_path, params):
    model = DDPMMixture(**params).fit(frame)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert repr(again) == repr(model).replace("[4, 2]", "(4, 2)").replace("[2.0, 1.0]", "(2.0, 1.0)")
    for name in ("means_", "weights_", "covariances_", "covariance_type_", "n_iter_", "feature_names_in_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name), err_msg=name)
    assert len(again.history_) == len(model.history_)
    for one, other in zip(again.history_, model.history_, strict=True):
        for name in one.keys():  # noqa: SIM118 - a record is no dictionary
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    assert again.fit(frame).n_features_in_ == 3  # parameters are such that a fit works


@pytest.mark.parametrize("change", ["history.means", "history.step", "means", "covariances", "weights"])
def test_tampered_files_are_refused(frame, tmp_path, change):
    DDPMMixture(n_steps=(3, 3)).fit(frame).save(tmp_path / "model")
    kind, header, arrays = read_model(tmp_path / "model")
    for broken in (None, np.zeros((7, 2))):
        changed = {name: value for name, value in arrays.items() if name != change}
        if broken is not None:
            changed[change] = broken
        write_model(tmp_path / "bad", kind, header, changed)
        with pytest.raises(ValueError, match="is damaged"):
            load(tmp_path / "bad")
    write_model(tmp_path / "bad", kind, {key: value for key, value in header.items() if key != "params"}, arrays)
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path / "bad")
