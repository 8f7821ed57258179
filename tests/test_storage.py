import json
import os
import re
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scoremix.storage import read_model, write_model

HEADER = {"parameters": {"noise_scale": 0.1, "sigma_min": None, "degree": "auto"}, "names": ["ö"], "n": 3}
ARRAYS = {
    "matrix": np.random.default_rng(0).standard_normal((5, 3)),
    "single": np.arange(4, dtype=np.float32),
    "whole": np.arange(4),
    "flags": np.array([True, False]),
    "number": np.array(2.5),
    "nothing": np.zeros((0, 3)),
}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    write_model(path, "DiffusionMixture", HEADER, ARRAYS)
    return path


def with_metadata(path, **changes):
    """Write a model file whose metadata are changed; None takes an entry away."""
    write_model(path, "DiffusionMixture", HEADER, {})
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"] | changes
    save_file(ARRAYS, path, {key: value for key, value in metadata.items() if value is not None})
    return path


def test_everything_is_read_back_exactly(model):
    kind, header, arrays = read_model(str(model))
    assert kind == "DiffusionMixture"
    assert header == HEADER
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def test_model_files_have_the_usual_permissions(model):
    (model.parent / "plain").touch()
    assert model.stat().st_mode == (model.parent / "plain").stat().st_mode


def test_other_programs_can_read_the_arrays(model):
    np.testing.assert_array_equal(load_file(model)["matrix"], ARRAYS["matrix"])


def test_memory_order_and_byte_order_do_not_matter(tmp_path):
    base = np.arange(12.0).reshape(3, 4)
    views = {"columns": np.asfortranarray(base), "steps": base[::-2, 1::2], "big": base.astype(">f8")}
    write_model(tmp_path / "model", "K", {}, views)
    arrays = read_model(tmp_path / "model")[2]
    for name, view in views.items():
        np.testing.assert_array_equal(arrays[name], view)


def test_numpy_numbers_in_the_header_become_plain_numbers(tmp_path):
    header = {"a": np.float64(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.float32(0.5)}
    write_model(tmp_path / "model", "K", header, {})
    assert read_model(tmp_path / "model")[1] == {"a": 0.1, "b": 3, "c": True, "d": 0.5}


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.nan, ValueError, "not JSON compliant"),
        (np.zeros(2), TypeError, "a model's header cannot hold array"),
        (print, TypeError, "a model's header cannot hold <built-in function print>"),
    ],
)
def test_what_a_header_cannot_hold_is_not_written(tmp_path, value, error, words):
    with pytest.raises(error, match=re.escape(words)):
        write_model(tmp_path / "model", "K", {"value": value}, {})
    assert not os.listdir(tmp_path)


def test_a_failure_while_writing_leaves_the_old_file(model):
    before = model.read_bytes()
    with pytest.raises(Exception, match="object"):
        write_model(model, "K", {}, {"things": np.array([object()])})
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == [model.name]


@pytest.mark.parametrize("kept", [9, 40, 0.5, -1])
def test_a_file_that_was_cut_short(model, kept):
    whole = model.read_bytes()
    model.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or was cut short: save or copy it again$"):
        read_model(model)


@pytest.mark.parametrize(
    "content", [b"1", b"a,b\n1,2\n", b"\x80\x04K\x01.", b"PK\x03\x04 a zip file", b"\x00" * 64, b"\xff" * 64]
)
def test_a_file_of_another_kind(tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model is not a scoremix model: give a file that scoremix saved"):
        read_model(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program(tmp_path, metadata):
    save_file({"weight": np.ones(3)}, tmp_path / "model", metadata)
    with pytest.raises(ValueError, match="model is a safetensors file of another program"):
        read_model(tmp_path / "model")


def test_a_newer_file(tmp_path):
    path = with_metadata(tmp_path / "model", format_version="2", library_version="9.1\n")
    with pytest.raises(
        ValueError, match=r"written by a newer scoremix \(9\.1, format 2; this one knows 1\): update scoremix"
    ):
        read_model(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"header": "{"},
        {"header": None},
        {"header": "3"},
        {"kind": None},
        {"format_version": "one"},
        {"format_version": "9" * 5000},
    ],
)
def test_damaged_metadata(tmp_path, changes):
    with pytest.raises(ValueError, match="model is a damaged scoremix model: save or copy it again"):
        read_model(with_metadata(tmp_path / "model", **changes))


def test_no_file_an_empty_file_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="model does not exist"):
        read_model(tmp_path / "model")
    (tmp_path / "model").touch()
    with pytest.raises(ValueError, match="model is empty"):
        read_model(tmp_path / "model")
    with pytest.raises(ValueError, match="is a folder"):
        read_model(tmp_path)


@pytest.mark.parametrize("name", ["g.pkl", "g.JOBLIB", "g.npz", "g.json", "g.csv", "folder.d/g.pt"])
def test_names_that_promise_another_format(tmp_path, name):
    ending = name[name.rindex(".") :]
    with pytest.raises(ValueError, match=rf"models are no \{ending} files: give a name that ends in \.safetensors"):
        write_model(tmp_path / name, "K", {}, {})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["g", "g.safetensors", "g.model", "v1.2", ".g"])
def test_names_that_promise_nothing_else(tmp_path, name):
    write_model(tmp_path / name, "K", {"a": 1}, {})
    assert read_model(tmp_path / name)[1] == {"a": 1}
