import dataclasses
import json
import re

import numpy as np
import pytest

from scoremix.samples.columns import Columns
from scoremix.samples.formats import FORMATS, default_names
from scoremix.samples.tables import write_table

ROWS = np.random.default_rng(0).standard_normal((7, 3)) * [1e-9, 1, 1e12]
NAMES = ["a", "b, in m", "ö"]


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    return tmp_path / f"data{request.param}"


def test_standardizing_gives_mean_0_and_deviation_1_and_decode_undoes_it():
    columns = Columns.standardizing(NAMES, ROWS)
    encoded = columns.encode(ROWS)
    # Rounding: seven numbers of order one, so a few units of 2e-16.
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(encoded.std(axis=0), 1, rtol=1e-14)
    np.testing.assert_allclose(columns.decode(encoded), ROWS, rtol=1e-12)
    assert columns.is_standardized


def test_plain_columns_change_nothing_and_return_copies():
    columns = Columns.plain(NAMES)
    assert not columns.is_standardized
    for turn in (columns.encode, columns.decode):
        np.testing.assert_array_equal(turn(ROWS), ROWS)
        assert turn(ROWS) is not ROWS


def test_columns_survive_json():
    columns = Columns.standardizing(NAMES, ROWS)
    assert Columns(**json.loads(json.dumps(dataclasses.asdict(columns)))) == columns


@pytest.mark.parametrize(
    ("names", "location", "scale", "words"),
    [
        (["a"], [0.0, 1.0], [1.0], "1 names, 2 locations and 1 scales"),
        (["a"], [0.0], [0.0], "column 'a' has location 0.0 and scale 0.0"),
        (["a"], [0.0], [-1.0], "the scale positive"),
        (["a"], [np.nan], [1.0], "location must be finite"),
        (["a"], [0.0], [np.inf], "column 'a'"),
    ],
)
def test_wrong_columns(names, location, scale, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Columns(names, location, scale)


def test_constant_columns_cannot_be_standardized():
    # 0.1 is not representable: the mean differs from it by rounding, and the deviation is not exactly 0.
    with pytest.raises(ValueError, match="column 'b' is constant"):
        Columns.standardizing(["a", "b"], np.column_stack([np.arange(1000.0), np.full(1000, 0.1)]))


@pytest.mark.parametrize("rows", [ROWS[:, :2], ROWS[0], ROWS[None]])
def test_wrong_number_of_columns(rows):
    columns = Columns.plain(NAMES)
    for turn in (columns.encode, columns.decode):
        with pytest.raises(ValueError, match="does not fit the 3 columns a, b, in m, ö"):
            turn(rows)


def test_a_models_columns_are_read_by_name(path):
    write_table(path, default_names(3), ROWS)
    columns = Columns.plain(["x2", "x0"])
    np.testing.assert_array_equal(columns.read(path), ROWS[:, [2, 0]])
    with pytest.raises(ValueError, match="has no column 'other': its columns are x0, x1, x2"):
        Columns.plain(["x2", "other"]).read(path)


def test_columns_without_names_are_read_by_position(path):
    write_table(path, default_names(3), ROWS)
    np.testing.assert_array_equal(Columns.plain(NAMES).read(path), ROWS)
    np.testing.assert_array_equal(Columns.plain(["x2", "x1", "x0"]).read(path), ROWS[:, ::-1])
    write_table(path, NAMES, ROWS)
    np.testing.assert_array_equal(Columns.plain(default_names(3)).read(path), ROWS)
