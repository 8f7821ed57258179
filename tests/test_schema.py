"""Model files that are damaged, or made by hand: each is refused in one sentence, and old ones load as before."""

import json
import re
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from scoremix import DiffusionMixture, load
from scoremix.cli import app as cli
from scoremix.estimators.schema import Each, Maybe, Numbers, Row, Table, Text, checked, everything, mixture

MODELS = Path(__file__).parent / "models"
ANSWERS = json.loads((MODELS / "answers.json").read_text(encoding="utf-8"))
POINTS = np.array([[-4.0, -4.0], [4.0, 4.0], [0.0, 1.0], [-3.0, -6.0]])


def contents(name):
    """Metadata, header and arrays of a stored file."""
    path = MODELS / f"{name}.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    return metadata, json.loads(metadata["header"]), load_file(path)


def write(path, metadata, header, arrays):
    """Write a file as `save` does, but whatever it holds."""
    text = header if isinstance(header, str) else json.dumps(header)
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path, metadata | {"header": text})
    return path


def refused(capsys, path):
    """The sentence that refuses a file, the same from the library and from the command line."""
    with pytest.raises(ValueError, match="model") as caught:
        load(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    assert cli.main(["info", str(path)]) == 2
    assert capsys.readouterr().err == f"scoremix: {sentence}\n"
    return sentence


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_files_of_earlier_versions_load_as_before(name):
    model = load(MODELS / f"{name}.safetensors") if name != "diffusion-columns" else load_with_warning(name)
    points = np.zeros((4, model.n_features_in_))
    points[:, :2] = POINTS
    # Closed forms and quadratures in double precision: rounding alone may differ.
    np.testing.assert_allclose(model.score_samples(points), ANSWERS[name], rtol=1e-6, atol=1e-6)
    assert model.sample(3, random_state=0) is not None


def load_with_warning(name):
    with pytest.warns(UserWarning, match="standardised"):
        return load(MODELS / f"{name}.safetensors")


FLAT = {
    "constant": lambda X: np.c_[X, np.ones(len(X))],
    "doubled": lambda X: np.c_[X, X],
    "large": lambda X: X * 1e60,
    "small": lambda X: X * 1e-60,
}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize(
    "params",
    [
        {},
        pytest.param({"correction_of": "nothing"}, marks=pytest.mark.slow),
        pytest.param({"correction_of": "nothing", "gates": "hard"}, marks=pytest.mark.slow),
    ],
)
def test_models_of_extreme_data_come_back(tmp_path, name, params):
    rng = np.random.default_rng(0)
    X = FLAT[name](np.r_[rng.normal(-4, 1, (80, 2)), rng.normal(4, 1, (120, 2))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DiffusionMixture(covariance="general", n_levels=3, random_state=0, **params).fit(X)
        model.save(tmp_path / "model")
        np.testing.assert_array_equal(load(tmp_path / "model").score_samples(X[:5]), model.score_samples(X[:5]))


def test_every_kind_of_file_is_stored():
    kinds = {name: contents(name)[1] for name in ANSWERS}
    assert {name for name, header in kinds.items() if header.get("cells") == "hard"} == {"diffusion-general-cells-hard"}
    assert {header.get("covariance_type") for header in kinds.values()} == {None, "full", "tied", "diag", "spherical"}


BAD_ARRAYS = [
    ("gaussian-full", "weights", [0.5, np.inf], "weights must lie between 0 and 1"),
    ("gaussian-full", "weights", [1.5, -0.5], "weights must lie between 0 and 1"),
    ("gaussian-full", "weights", [0.5, 0.4], "weights must be shares that sum to 1"),
    ("gaussian-full", "weights", [[0.5, 0.5]], "weights has shape (1, 2) and not (k)"),
    ("gaussian-full", "means", [[np.nan, 0], [0, 0]], "means must lie between"),
    ("gaussian-full", "means", [[1e160, 0], [0, 0]], "means must lie between"),
    ("gaussian-full", "means", np.zeros((0, 2)), "means has shape (0, 2)"),
    ("gaussian-full", "means", np.zeros((2, 0)), "means has shape (2, 0)"),
    ("gaussian-full", "means", [[True, False], [True, False]], "means must hold numbers"),
    ("gaussian-full", "covariances", [[[1, 2], [2, 1]]] * 2, "covariances must be symmetric, positive-definite"),
    ("gaussian-full", "covariances", [[[1, 0.5], [0, 1]]] * 2, "covariances must be symmetric, positive-definite"),
    ("gaussian-diag", "covariances", [[1.0, 0.0], [1.0, 1.0]], "covariances must lie between 1e-150 and"),
    ("gaussian-frame", "means", [[1e38, 0], [0, 0]], "means must lie between -1e+18 and 1e+18"),
    ("gaussian-full", "lower_bound", np.nan, "lower_bound must lie between -inf and inf"),
    ("gaussian-full", "optimality", [1.0], "optimality has shape (1,) and not (2)"),
    ("ddpm-identity", "history.stage", [7] * 9, "history.stage must lie between 0 and 1"),
    ("ddpm-identity", "history.step", [0.5] * 9, "history.step must hold whole numbers"),
    ("ddpm-identity", "history.means", np.zeros((9, 2, 3)), "history.means has shape (9, 2, 3) and not (s, k, d)"),
    ("ddpm-identity", "history.loss", [np.inf] * 9, "history.loss must lie between"),
    ("diffusion", "sigmas", [np.nan, 1, 0.5], "sigmas must lie between"),
    ("diffusion", "sigmas", [2, 1, 0], "sigmas must lie between"),
    ("diffusion", "sigmas", [2, 1, -1], "sigmas must lie between"),
    ("diffusion", "sigmas", [1, 2, 0.5], "sigmas must be decreasing"),
    ("diffusion", "sigmas", [1e10, np.nextafter(1e10, 0), 1], "sigmas must be decreasing"),
    ("diffusion", "sigmas", [2, 1], "denoising_loss has shape (3,) and not (L), where L = 2"),
    ("diffusion", "frame.basis", [1.0, 0.0], "frame.basis has shape (2,) and not (d, r)"),
    ("diffusion", "frame.basis", [[1, 1], [0, 1]], "frame.basis must be orthonormal columns"),
    ("diffusion", "frame.basis", [[1, 0, 0], [0, 1, 0]], "frame.basis must be orthonormal columns"),
    ("diffusion", "frame.variances", [1, -1], "frame.variances must lie between 0 and"),
    ("diffusion", "base.weights", [0.5, -np.inf], "base.weights must lie between 0 and 1"),
    ("diffusion", "level1.degrees", [10**9, 0], "level1.degrees must lie between -1 and 2000"),
    ("diffusion", "level1.degrees", [2, 0], "1 coefficients are not those of 6 features"),
    ("diffusion", "level1.coef", np.zeros((3, 1, 2)), "level1.coef has shape (3, 1, 2) and not (k, p, r)"),
    ("diffusion", "clusters.cluster", [0, 2], "clusters.cluster must lie between 0 and 1"),
    ("diffusion-cells-hard", "level0.degrees", [-1], "level0.degrees must lie between 0 and 2000"),
    ("diffusion-general-cells-hard", "level0.groups", [0, 0, 0, 10**9], "level0.groups must be all numbers from 0 on"),
    ("diffusion-general-cells-hard", "level0.kinds", [10**9], "level0.kinds must be all numbers from 0 on"),
    ("diffusion-general-cells-hard", "level0.groups", [0, 0, 0, 0], "2 weights are not one for every group and kind"),
    ("diffusion-general-cells-hard", "level0.basis", np.ones((2, 3)), "level0.basis must be at most as many axes as"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "array", "value", "words"), BAD_ARRAYS)
def test_arrays_that_no_model_has(tmp_path, capsys, name, array, value, words):
    metadata, header, arrays = contents(name)
    assert array in arrays
    path = write(tmp_path / "model", metadata, header, arrays | {array: np.array(value)})
    sentence = refused(capsys, path)
    assert sentence.startswith(f"{path} is damaged: {words}")


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_every_array_is_needed_and_none_may_be_nan(tmp_path, name):
    metadata, header, arrays = contents(name)
    for array, value in arrays.items():
        lacking = {other: values for other, values in arrays.items() if other != array}
        if not array.startswith("params."):
            with pytest.raises(ValueError, match=r"is damaged: .*(is missing|must lie)"):
                load(write(tmp_path / "model", metadata, header, lacking))
        if value.dtype.kind == "f" and array != "optimality":
            with pytest.raises(ValueError, match=f"is damaged: {re.escape(array)} must lie between"):
                load(write(tmp_path / "model", metadata, header, arrays | {array: value * np.nan}))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gaussian-full", {"n_iter": 2.5}, "n_iter must hold whole numbers"),
        ("gaussian-full", {"n_iter": -1}, "n_iter must lie between 0 and"),
        ("gaussian-full", {"n_iter": [1]}, "n_iter has shape (1,) and not ()"),
        ("gaussian-full", {"converged": 1}, "converged must hold true or false"),
        ("gaussian-full", {"dtype": "int8"}, "dtype must be 'float32' or 'float64'"),
        ("gaussian-full", {"covariance_type": "round"}, "covariance_type must be 'full' or 'tied' or 'diag'"),
        ("gaussian-full", {"covariance_type": ["full"]}, "covariance_type must be 'full' or"),
        ("gaussian-full", {"feature_names": ["a"]}, "feature_names must be a list of 2 entries"),
        ("gaussian-full", {"feature_names": ["a", 2]}, "feature_names must be text"),
        ("gaussian-full", {"feature_names": "ab"}, "feature_names must be a list of 2 entries"),
        ("gaussian-full", {"selection_path": [["split", 2]]}, "selection_path must have rows of 3 entries"),
        ("gaussian-full", {"selection_path": 3}, "selection_path must be a list"),
        ("gaussian-full", {"params": None}, "params must say missing_values"),
        ("gaussian-full", {"params": []}, "params must say missing_values"),
        ("ddpm-identity", {"noise_times": [1.5, [[0.1]]]}, "noise_times has shape (1, 1)"),
        ("ddpm-identity", {"noise_times": [1.5, [1, [2]]]}, "noise_times must hold numbers"),
        ("ddpm-identity", {"noise_times": [1.5]}, "history.stage must lie between 0 and 0"),
        ("diffusion", {"noise_scale": -1}, "noise_scale must lie between 0 and"),
        ("diffusion", {"noise_scale": 1e-320}, "noise_scale must be 0 or at least 1e-75"),
        ("diffusion-rank", {"noise_scale": 0}, "noise_scale or noise_floor must be positive where frame"),
        ("diffusion", {"reach": "far"}, "reach must hold numbers"),
        ("diffusion", {"feature_names": ["a", "b", "c"]}, "feature_names must be a list of 2 entries"),
        ("diffusion", {"columns": {"names": ["a"], "location": [0], "scale": [1]}}, "columns.names must be"),
        ("diffusion", {"columns": {"names": ["a", "b"], "location": [0, 0], "scale": [1, 0]}}, "columns.scale"),
        ("diffusion", {"columns": 3}, "columns.names is missing"),
        ("diffusion", {"base": "diag"}, "base must be 'spherical' or 'full'"),
        ("diffusion", {"base": None}, "level0.weights is missing"),
        ("diffusion-general", {"base": "spherical"}, "base.covariances has shape (2, 2, 2) and not (k)"),
    ],
)  # fmt: skip
def test_headers_that_no_model_has(tmp_path, capsys, name, change, words):
    metadata, header, arrays = contents(name)
    path = write(tmp_path / "model", metadata, header | change, arrays)
    assert refused(capsys, path).startswith(f"{path} is damaged: {words}")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gaussian-full", {"tol": -1}, "tol=-1 is out of range"),
        ("gaussian-full", {"execute": "rm"}, "GaussianMixture has no parameter 'execute'"),
        ("ddpm-full", {"two\nlines": 1}, r"DDPMMixture has no parameter 'two\nlines'"),
        ("gaussian-full", {"random_state": "dice"}, "params.random_state must hold whole numbers"),
        ("gaussian-full", {"n_components": {}}, "n_components={} is out of range"),
        ("gaussian-full", {"means_init": {}}, "params.means_init must hold numbers"),
        ("ddpm-identity", {"weights": [[[1]]]}, "params.weights has shape (1, 1, 1)"),
        ("ddpm-identity", {"covariance": [0, None]}, "params.covariance must hold numbers"),
        ("ddpm-identity", {"covariance": "round"}, "covariance='round' is not known"),
        ("ddpm-identity", {"learning_rate": "fast"}, "learning_rate='fast' is out of range"),
        ("diffusion", {"gates": "round"}, "params.gates must be 'soft' or 'hard'"),
        ("diffusion", {"correction_of": []}, "correction_of=[] is not known"),
    ],
)
def test_parameters_that_no_estimator_takes(tmp_path, capsys, name, change, words):
    metadata, header, arrays = contents(name)
    path = write(tmp_path / "model", metadata, header | {"params": header["params"] | change}, arrays)
    assert words in refused(capsys, path)


@pytest.mark.parametrize(
    "number", ["Infinity", "-Infinity", "NaN", "1e999", "9" * 400, "9" * 5000, "[" * 10**5, '{"a":' * 10**5]
)
@pytest.mark.parametrize("name", ["gaussian-full", "ddpm-full", "diffusion"])
def test_header_text_that_json_or_numbers_have_no_room_for(tmp_path, capsys, name, number):
    metadata, header, arrays = contents(name)
    text = json.dumps(header | {"n_iter": 0}).replace('"n_iter": 0', f'"n_iter": {number}')
    path = write(tmp_path / "model", metadata, text, arrays)
    assert refused(capsys, path) == f"{path} is a damaged scoremix model: save or copy it again"


@pytest.mark.parametrize("depth", [50, 200, 400, 600, 800, 900, 950, 980])
@pytest.mark.parametrize("place", ["noise_times", "means_init", "n_steps", "batch_size"])
def test_headers_that_are_deep_but_not_too_deep_for_json(tmp_path, place, depth):
    metadata, header, arrays = contents("ddpm-identity")
    header["params"][place] = 0
    text = json.dumps(header).replace(f'"{place}": 0', f'"{place}": {"[" * depth}1{"]" * depth}')
    with pytest.raises(ValueError, match=r"is (a )?damaged") as caught:
        load(write(tmp_path / "model", metadata, text, arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_numbers_of_types_that_numpy_does_not_have(tmp_path, capsys, dtype):
    whole = (MODELS / "gaussian-full.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    entries = json.loads(whole[8 : 8 + size])
    count = 2 * (8 if dtype == "BF16" else 16)
    entries["means"] |= {"dtype": dtype, "shape": [count // 2, 2] if dtype != "BF16" else [8, 2]}
    text = json.dumps(entries).encode()
    (tmp_path / "model").write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
    assert "save" in refused(capsys, tmp_path / "model")


@pytest.mark.parametrize("method", ["dpm", "probability_flow", "ancestral", "reverse_sde"])
@pytest.mark.parametrize(("noise_scale", "sigmas"), [(11054587.0, None), (1.0, [2.0, 1.0, 1e-74])])
def test_levels_far_below_the_noise_are_walked(tmp_path, method, noise_scale, sigmas):
    metadata, header, arrays = contents("diffusion")
    arrays["sigmas"] = arrays["sigmas"] if sigmas is None else np.array(sigmas)
    model = load(write(tmp_path / "model", metadata, header | {"noise_scale": noise_scale}, arrays))
    assert np.all(np.isfinite(model.sample(5, method=method, random_state=0)))


def test_nothing_of_a_claimed_size_is_allocated(tmp_path):
    metadata, header, arrays = contents("diffusion-general-cells-hard")
    claims = {"level0.groups": np.array([0, 0, 0, 10**9]), "level0.degrees": np.array([0, 2000])}
    for array, value in claims.items():
        path = write(tmp_path / "model", metadata, header, arrays | {array: value})
        tracemalloc.start()
        with pytest.raises(ValueError, match="is damaged"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()


def test_single_precision_and_whole_numbers_are_numbers_too(tmp_path):
    metadata, header, arrays = contents("diffusion")
    narrow = {name: value.astype("f4" if value.dtype.kind == "f" else "i2") for name, value in arrays.items()}
    model = load(write(tmp_path / "model", metadata, header, narrow))
    assert model.ladder_.sigmas.dtype == np.float64
    np.testing.assert_allclose(model.score_samples(POINTS), ANSWERS["diffusion"], rtol=1e-4)  # six digits are kept


def test_a_schema_reads_what_it_declares():
    schema = {"params": Table(("a",)), "params.a": Numbers("k"), "b": Maybe(Each("k", Row((Text(), Numbers()))))}
    values = everything({"params": {"a": [1, 2]}, "b": [["x", 1], ["y", 2.5]]}, {})
    found = checked(schema, values, sizes := {})
    assert found["b"] == [("x", 1), ("y", 2.5)]
    assert sizes == {"k": 2}
    assert checked(schema, everything({"params": {"a": [1]}}, {}), {})["b"] is None
    assert checked(mixture("diag"), {"weights": [1], "means": [[0, 1]], "covariances": [[1, 1]]}, {})["weights"] == [1]
