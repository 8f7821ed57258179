import dataclasses
import os
import re

import numpy as np
import pytest

from scoremix.samples.formats import FORMATS, default_names
from scoremix.samples.tables import read_table, table_ending, write_table

ENDINGS = list(FORMATS)
ROWS = np.random.default_rng(0).standard_normal((7, 3)) * [1e-9, 1, 1e12]
NAMES = ["a", "b, in m", "ö"]


@pytest.fixture(params=ENDINGS)
def path(request, tmp_path):
    return tmp_path / f"data{request.param}"


def test_endings():
    compressed = [".csv.gz", ".csv.bz2", ".csv.zst", ".csv.lz4"]
    assert [".csv", *compressed, ".parquet", ".arrow", ".feather", ".npy"] == ENDINGS


def test_a_written_table_is_read_back_exactly(path):
    write_table(path, NAMES, ROWS)
    names, array = read_table(path)
    assert names == (default_names(3) if path.suffix == ".npy" else NAMES)
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, ROWS)
    assert os.listdir(path.parent) == [path.name]


def test_the_ending_may_be_in_capitals(path):
    shouted = path.with_suffix(path.suffix.upper())
    write_table(shouted, NAMES, ROWS)
    np.testing.assert_array_equal(read_table(str(shouted))[1], ROWS)


def test_columns_are_chosen_by_name_and_in_the_order_asked_for(path):
    write_table(path, default_names(3), ROWS)
    names, array = read_table(path, ["x2", "x0"])
    assert names == ["x2", "x0"]
    np.testing.assert_array_equal(array, ROWS[:, [2, 0]])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["x0", "nope"], "has no column 'nope': its columns are x0, x1, x2"),
        (["x0", "x0"], "column 'x0' is chosen twice"),
        ([], "no columns chosen: its columns are x0, x1, x2"),
        ([""], "has no column '': its columns"),
    ],
)
def test_columns_that_cannot_be_chosen(path, columns, words):
    write_table(path, default_names(3), ROWS)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_table(path, columns)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_entries(path, value):
    rows = ROWS.copy()
    rows[[2, 4], 1] = value
    write_table(path, default_names(3), rows)
    with pytest.raises(ValueError, match=r"'x1' has 2 missing or infinite entries, the first in data row 3: "):
        read_table(path)
    np.testing.assert_array_equal(read_table(path, ["x0"])[1], rows[:, :1])


def test_no_file_an_empty_file_a_folder(path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_table(path)
    path.touch()
    with pytest.raises(ValueError, match="is empty"):
        read_table(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(path)


def test_a_table_without_rows(path):
    write_table(path, default_names(3), ROWS[:0])
    with pytest.raises(ValueError, match="has no rows"):
        read_table(path)


@pytest.mark.parametrize("name", ["data", "data.txt", "data.csv.xz", "data.npy.gz"])
def test_unknown_endings(tmp_path, name):
    words = "unknown ending .*: use one of .csv, .csv.gz, .*, .parquet, .arrow, .feather, .npy"
    (tmp_path / name).write_text("1")
    with pytest.raises(ValueError, match=words):
        table_ending(name)
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / name)
    with pytest.raises(ValueError, match=words):
        write_table(tmp_path / f"new-{name}", NAMES, ROWS)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(("names", "rows"), [(["a"], ROWS), (["a", "a", "b"], ROWS), (NAMES, ROWS[0])])
def test_names_that_do_not_fit_are_not_written(path, names, rows):
    with pytest.raises(ValueError, match="column names"):
        write_table(path, names, rows)
    assert not os.listdir(path.parent)


def test_a_failure_while_writing_leaves_the_old_file(path, monkeypatch):
    write_table(path, NAMES, ROWS)

    def fail(partial, names, array):
        partial.write_text("half")
        raise OSError("disk full")

    broken = dataclasses.replace(FORMATS[table_ending(path)], save=fail)
    monkeypatch.setitem(FORMATS, table_ending(path), broken)
    with pytest.raises(OSError, match="disk full"):
        write_table(path, NAMES, ROWS + 1)
    np.testing.assert_array_equal(read_table(path)[1], ROWS)
    assert os.listdir(path.parent) == [path.name]
