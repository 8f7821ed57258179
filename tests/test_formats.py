import bz2
import datetime
import decimal
import gzip
import re

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from scoremix.samples.formats import FORMATS, default_names
from scoremix.samples.tables import read_table, write_table

ARROW_ENDINGS = ["parquet", "arrow", "feather"]


def write_arrow(path, table):
    """Write any pyarrow table, so with types that `write_table` does not write."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif path.suffix == ".feather":
        pa.feather.write_feather(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)


def read_csv(tmp_path, text, columns=None):
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    names, array = read_table(path, columns)
    return names, array.tolist()


def test_default_names():
    assert default_names(3) == ["x0", "x1", "x2"]


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("a,b\n1,2", ["a", "b"], [[1, 2]]),
        ("a,b\r\n1,2\r\n", ["a", "b"], [[1, 2]]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [[1, 2]]),
        (' a ,"b, in m"\n 1 ,-2.5e3\n', ["a", "b, in m"], [[1, -2500]]),
        ("a;b\n1;2\n", ["a", "b"], [[1, 2]]),
        ("a\tb\n1\t2\n", ["a", "b"], [[1, 2]]),
        ("a\n1\n2\n", ["a"], [[1], [2]]),
        ("1,2\n3,4\n", ["x0", "x1"], [[1, 2], [3, 4]]),
        ("5\n6\n", ["x0"], [[5], [6]]),
        ("a,b\r1,2\r3,4\r", ["a", "b"], [[1, 2], [3, 4]]),
        ("a,b\r1,2\r\n3,4\n5,6", ["a", "b"], [[1, 2], [3, 4], [5, 6]]),
        ("\r\n\na,b\r\n1,2\r\n", ["a", "b"], [[1, 2]]),
        ("sep=;\na;b\n1;2\n", ["a", "b"], [[1, 2]]),
        ("\ufeffSEP=,\r\n1,2\r\n3,4\r\n", ["x0", "x1"], [[1, 2], [3, 4]]),
        ('"sep=|"\ra|b\r1|2\r', ["a", "b"], [[1, 2]]),
        ("sep=\t\n1\t2\n", ["x0", "x1"], [[1, 2]]),
        ("a|b\n1|2\n", ["a", "b"], [[1, 2]]),
        ("a b\n1 2\n", ["a", "b"], [[1, 2]]),
        ("a, in m;b, in s\n1;2\n", ["a, in m", "b, in s"], [[1, 2]]),
        ("a;b\n1,5;2\n1,234;-2,5E-3\n", ["a", "b"], [[1.5, 2], [1.234, -0.0025]]),
        ("a;b\n1,234;2\n", ["a", "b"], [[1.234, 2]]),
        ("1,5;2,5\n3,5;4,5\n", ["x0", "x1"], [[1.5, 2.5], [3.5, 4.5]]),
        ("a, in m;b, in s\n1,5;2,5\n", ["a, in m", "b, in s"], [[1.5, 2.5]]),
        ("a\tb\n0,123\t1,234\n", ["a", "b"], [[0.123, 1.234]]),
        ("a\n1,5\n2,5\n", ["a"], [[1.5], [2.5]]),
        ('"1,5","2,5"\n"3,5","4,5"\n', ["x0", "x1"], [[1.5, 2.5], [3.5, 4.5]]),
        ('"0,5"\n', ["x0"], [[0.5]]),
        ("0,5;1,5\n", ["x0", "x1"], [[0.5, 1.5]]),
        ('"2019","2020"\n1,2\n3,4\n', ["2019", "2020"], [[1, 2], [3, 4]]),
        ('"1","2"\n"3","4"\n', ["x0", "x1"], [[1, 2], [3, 4]]),
        ("2019,2020\n1,2\n", ["x0", "x1"], [[2019, 2020], [1, 2]]),
        ('"a\nb",c\n1,2\n', ["a\nb", "c"], [[1, 2]]),
        ("a,b\n1,2\n".encode("utf-16"), ["a", "b"], [[1, 2]]),
        ("ä;b\r\n1;2\r\n".encode("utf-16-le"), ["ä", "b"], [[1, 2]]),
        ("a,b\n1,2\n".encode("utf-16-be"), ["a", "b"], [[1, 2]]),
        ("a,b\n1,2\n".encode("utf-32"), ["a", "b"], [[1, 2]]),
    ],
)
def test_csv_dialects(tmp_path, text, names, rows):
    assert read_csv(tmp_path, text) == (names, rows)


def test_csv_numbers_may_change_their_look_far_down(tmp_path):
    # More than pyarrow's block of a megabyte, from which it would guess integers.
    rows = ["1"] * 700_000 + ["0.5"]
    _, array = read_csv(tmp_path, "a\n" + "\n".join(rows))
    assert array[-1] == [0.5]


def test_csv_text_columns_do_no_harm_unless_chosen(tmp_path):
    text = b"name,a\ncaf\xe9,1\n,2\n"
    assert read_csv(tmp_path, text, ["a"]) == (["a"], [[1], [2]])
    with pytest.raises(ValueError, match=r"column 'name' holds .* which is not a number: choose columns"):
        read_csv(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,x\n", "column 'b' holds 'x', which is not a number: choose columns of numbers"),
        ("a;b\n1;2,5\n1.5;2\n", "column 'a' holds '1.5', which is not a number with a decimal comma, as others in"),
        ("a;b\n1;2,5\nx;2\n", "column 'a' holds 'x', which is not a number"),
        ("a\tb\n1,234\t2\n", "holds '1,234', with a decimal comma or one between thousands: write decimal points"),
        ('a,b\n"1,234","5,678"\n', "holds '1,234', with a decimal comma or one between thousands"),
        ("a,b\n1,2,3\n", "is not a readable CSV file (CSV parse error: Expected 2 columns, got 3"),
        ("a,b\n", "has no rows"),
        ("\n", "has no columns"),
        (",a\n1,2\n", "column 1 has no name (row numbers?)"),
        ("a,a\n1,2\n", "several columns named 'a': rename them"),
        ("a,b\n1,2\n3,\n5,nan\n", "column 'b' has 2 missing or infinite entries, the first in data row 2"),
        ("a\n1\n-inf\n", "column 'a' has 1 missing or infinite entries"),
        (b"\xff\xfe\x00", "is not a readable CSV file"),
        ("é,b\n1,2\n".encode("latin-1"), "(its first line is no utf-8 text: save it as UTF-8)"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "(it is compressed: let its name end in .csv.gz)"),
        (b"PK\x03\x04 and so on", "(it is a spreadsheet or a ZIP archive: export it as CSV)"),
        ("a  b\n1  2\n", "(several blanks part its columns: write one comma between them)"),
        ("sep=;\n\n", "has no columns"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "is not a readable CSV file"),
    ],
)
def test_csv_wrong_input(tmp_path, text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_csv(tmp_path, text)
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ARROW_ENDINGS)
def test_every_arrow_number_type(tmp_path, ending):
    table = pa.table(
        {
            "int8": pa.array([1, 2], pa.int8()),
            "uint64": pa.array([1, 2**60 + 1], pa.uint64()),
            "half": pa.array(np.array([1, 2], np.float16)),
            "single": pa.array([1, 2], pa.float32()),
            "bool": [True, False],
            "decimal": [decimal.Decimal("1.50"), decimal.Decimal("2.25")],
        }
    )
    path = tmp_path / f"data.{ending}"
    write_arrow(path, table)
    names, array = read_table(path)
    assert names == table.column_names
    # 2**60 + 1 needs more digits than float64 has: the nearest float64 is right.
    np.testing.assert_array_equal(array, [[1, 1, 1, 1, 1, 1.5], [2, 2.0**60, 2, 2, 0, 2.25]])


@pytest.mark.parametrize("ending", ARROW_ENDINGS)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["u", "v"], "column 'b' holds string values, not numbers: choose columns of numbers"),
        ([datetime.datetime(2024, 1, 1)] * 2, "column 'b' holds timestamp"),
        ([[1.0], [2.0]], "column 'b' holds list<"),
        (pa.array(["u", "v"]).dictionary_encode(), "column 'b' holds dictionary<"),
        (pa.array([None, 1.0]), "column 'b' has 1 missing or infinite entries, the first in data row 1"),
        (pa.array([None, None], pa.float64()), "column 'b' has 2 missing"),
    ],
)
def test_arrow_columns_without_numbers(tmp_path, ending, values, words):
    path = tmp_path / f"data.{ending}"
    write_arrow(path, pa.table({"a": [1.0, 2.0], "b": values}))
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_table(path)
    assert f"data.{ending}" in str(caught.value)
    assert read_table(path, ["a"])[1].tolist() == [[1], [2]]


def test_arrow_chunks_are_joined_and_columns_with_the_same_name_refused(tmp_path):
    chunked = pa.chunked_array([[1.0], [2.0, 3.0]])
    write_arrow(tmp_path / "data.arrow", pa.table({"a": chunked}))
    assert read_table(tmp_path / "data.arrow")[1].tolist() == [[1], [2], [3]]
    write_arrow(tmp_path / "data.arrow", pa.table([[1.0], [2.0], [3.0]], names=["a", "a", "b"]))
    assert read_table(tmp_path / "data.arrow", ["b"])[1].tolist() == [[3]]
    with pytest.raises(ValueError, match="several columns named 'a'"):
        read_table(tmp_path / "data.arrow")


def test_arrow_stream_format(tmp_path):
    table = pa.table({"a": [1.0, 2.0], "b": [3, 4]})
    with pa.ipc.new_stream(tmp_path / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    names, array = read_table(tmp_path / "data.arrow", ["b", "a"])
    assert (names, array.tolist()) == (["b", "a"], [[3, 1], [4, 2]])


def test_read_arrays_outlive_the_file(tmp_path):
    path = tmp_path / "data.arrow"
    write_table(path, ["a"], [[1.0], [2.0]])
    array = read_table(path)[1]
    path.unlink()
    assert array.tolist() == [[1], [2]]
    array[0, 0] = 5  # our own copy: not read-only, not mapped


@pytest.mark.parametrize("kind", ["?", "<i2", ">f8", "<f4", "<u8"])
def test_npy_number_types_and_shapes(tmp_path, kind):
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(kind)
    for stored in (values, np.asfortranarray(values), values[:, 0]):
        np.save(tmp_path / "data.npy", stored)
        names, array = read_table(tmp_path / "data.npy")
        assert names == default_names(array.shape[1])
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, stored.reshape(3, -1))


def test_npy_columns_by_their_default_names(tmp_path):
    np.save(tmp_path / "data.npy", np.arange(6.0).reshape(2, 3))
    assert read_table(tmp_path / "data.npy", ["x2", "x0"])[1].tolist() == [[2, 0], [5, 3]]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (np.float64(1), "holds an array of shape () and type float64: save one of shape (n, d) or (n,)"),
        (np.zeros((2, 2, 2)), "shape (2, 2, 2)"),
        (np.zeros(2, complex), "type complex128"),
        (np.array(["a"]), "type <U1"),
        (np.zeros(2, [("a", "f8")]), "type [('a', '<f8')]"),
        (np.zeros((0, 2)), "has no rows"),
        (np.zeros((2, 0)), "has no columns"),
        (np.array([[1.0, np.nan]]), "column 'x1' has 1 missing or infinite entries"),
        (np.array([object()]), "is not a readable NPY file"),
    ],
)
def test_npy_wrong_input(tmp_path, stored, words):
    np.save(tmp_path / "data.npy", stored)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_table(tmp_path / "data.npy")
    assert "data.npy" in str(caught.value)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_of_other_programs(tmp_path, compress):
    name = "data.csv." + {gzip.compress: "gz", bz2.compress: "bz2"}[compress]
    (tmp_path / name).write_bytes(compress(b"a;b\r\n1,5;2\r\n") + compress(b"3;4\r\n"))
    names, array = read_table(tmp_path / name)
    assert (names, array.tolist()) == (["a", "b"], [[1.5, 2], [3, 4]])


def test_csv_decimal_commas_may_begin_far_down(tmp_path):
    _, array = read_csv(tmp_path, "a;b\n" + "1;2\n" * 300_000 + "0,5;2")
    assert array[-1] == [0.5, 2]


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != ".csv"])
@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_malformed_binary_files(tmp_path, ending, damage):
    path = tmp_path / f"data{ending}"
    write_table(path, ["x0", "x1"], np.random.default_rng(0).random((50, 2)))
    path.write_bytes(path.read_bytes()[:-60] if damage == "cut" else b"something else, long enough to be one")
    with pytest.raises(ValueError, match="is not a readable") as caught:
        read_table(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
