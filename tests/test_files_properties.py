"""What may be in a file: whatever is done to a model file, it is refused in one sentence or answers; tables come back.

`pytest --hypothesis-profile thorough` tries 20,000 examples of each.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import struct
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import save
from tests.test_schema import ANSWERS, MODELS, POINTS, contents

from scoremix import load
from scoremix.cli.summary import summary
from scoremix.cli.using import load_with_columns
from scoremix.samples.formats import FORMATS
from scoremix.samples.tables import read_table, write_table

NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(
        [0.0, -1.0, 1e-320, 1e-100, 1e-75, 1e74, 1e75, 1e149, 1e150, -1e75, np.nan, np.inf, -np.inf, 1e308]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
DTYPES = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "u8", "u1", "?"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def answer(function, *args, **options):
    """What a function returns, or else the sentence that it refuses with."""
    try:
        return function(*args, **options), None
    except ValueError as error:
        refusal = str(error)
    assert refusal
    assert "\n" not in refusal
    assert len(refusal) < 600
    return None, refusal


def ask(path):
    """Load a model that a file holds and ask it everything; what is not refused must be whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model, refusal = answer(load, path)
    if refusal:
        return
    points = np.zeros((4, model.n_features_in_))
    points[:, : min(2, model.n_features_in_)] = POINTS[:, : min(2, model.n_features_in_)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        densities = model.score_samples(points)
        drawn = model.sample(3, random_state=0)
        whole = {
            "labels": model.predict(points),
            "score": model.score_function(points, 0.5),
            "denoised": model.denoise(points, 0.5),
            "drawn": drawn[0] if isinstance(drawn, tuple) else drawn,
        }
        summary(*load_with_columns(path), "title")
        repr(model)
    assert not np.isnan(densities).any()
    assert np.all(densities < np.inf)
    for name, value in whole.items():
        assert np.all(np.isfinite(value)), name


# Model files ------------------------------------------------------------------------------------------------


@given(name=st.sampled_from(sorted(ANSWERS)), data=st.data())
def test_models_whose_bytes_were_changed(folder, name, data):
    whole = bytearray((MODELS / f"{name}.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(whole) - 1)))
        until = at + data.draw(st.sampled_from([0, 1, 2, 8, len(whole)]))
        whole[at:until] = data.draw(st.binary(max_size=8))
    (folder / "bytes").write_bytes(whole)
    ask(folder / "bytes")


def changed_array(data, array, others):
    """Another array in the place of one: other numbers, another shape or type, or that of another name."""
    how = data.draw(st.sampled_from(["number", "number", "number", "type", "shape", "swap", "order", "any"]))
    if how == "number" and array.size:
        array = array.copy()
        value = data.draw(NUMBERS)
        with np.errstate(all="ignore"):
            as_is = np.array(value).astype(array.dtype)
            array.flat[data.draw(st.integers(0, array.size - 1))] = as_is
    elif how == "type":
        with np.errstate(all="ignore"):
            array = array.astype(data.draw(DTYPES))
    elif how == "shape":
        array = np.resize(array, data.draw(arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    elif how == "swap":
        array = others[data.draw(st.sampled_from(sorted(others)))]
    elif how == "order":
        array = np.flip(array)
    elif how == "any":
        shape = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
        array = data.draw(arrays_of.arrays(DTYPES, shape))
    return array


@given(name=st.sampled_from(sorted(ANSWERS)), data=st.data())
def test_models_whose_arrays_were_changed(folder, name, data):
    metadata, _, arrays = contents(name)
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.sampled_from(sorted(arrays)))
        if data.draw(st.integers(0, 15)):
            arrays[which] = np.asarray(changed_array(data, arrays[which], arrays), order="C")
        elif len(arrays) > 1:
            del arrays[which]
    (folder / "arrays").write_bytes(save(arrays, metadata))
    ask(folder / "arrays")


def places(value, path=()):
    """Paths to everything in a JSON value."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


@given(name=st.sampled_from(sorted(ANSWERS)), data=st.data())
def test_models_whose_header_was_changed(folder, name, data):
    metadata, header, arrays = contents(name)
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(st.sampled_from([place for place in places(header) if place]))
        inner = header
        for key in above:
            inner = inner[key]
        how = data.draw(st.sampled_from(["number", "value", "value", "delete", "add"]))
        if how == "delete":
            del inner[last]
        elif how == "add" and isinstance(inner, dict):
            inner[data.draw(st.text(max_size=5))] = data.draw(JSON)
        else:
            inner[last] = data.draw(NUMBERS if how == "number" else JSON)
    metadata["header"] = json.dumps(header)
    (folder / "header").write_bytes(save(arrays, metadata))
    ask(folder / "header")


@given(name=st.sampled_from(sorted(ANSWERS)), data=st.data())
def test_models_whose_tables_of_arrays_were_changed(folder, name, data):
    whole = (MODELS / f"{name}.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    table = json.loads(whole[8 : 8 + size])
    entry = table[data.draw(st.sampled_from(sorted(table)))]
    field = data.draw(st.sampled_from(sorted(entry)))
    kinds = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F4", "C64"]
    sizes = st.lists(st.integers(0, 2**64), max_size=4)
    entry[field] = data.draw(st.sampled_from(kinds) if field == "dtype" else sizes | JSON)
    text = json.dumps(table).encode()
    (folder / "table").write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
    ask(folder / "table")


# Tables -----------------------------------------------------------------------------------------------------

NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=6)
    .map(str.strip)
    .filter(lambda name: any(letter.isalpha() for letter in name)),
    min_size=1,
    max_size=4,
    unique=True,
)
ENTRIES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2000, 2000).map(float)


def tables(names):
    """Rows for some names."""
    shape = st.tuples(st.integers(1, 5), st.just(len(names)))
    return arrays_of.arrays(np.float64, shape, elements=ENTRIES)


@given(ending=st.sampled_from(sorted(FORMATS)), data=st.data())
def test_what_is_written_comes_back(folder, ending, data):
    names = data.draw(NAMES)
    assume(not all(map(is_number, names)))
    rows = data.draw(tables(names))
    write_table(folder / f"table{ending}", names, rows)
    found, array = read_table(folder / f"table{ending}")
    assert found == names or ending == ".npy"
    np.testing.assert_array_equal(array, rows)


def is_number(text):
    try:
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True


MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
COMPRESS = {
    ".csv": bytes,
    ".csv.gz": gzip.compress,
    ".csv.bz2": bz2.compress,
    ".csv.zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def written(names, rows, *, delimiter, decimal, quoting, line_end, says_delimiter, has_names):
    """A CSV file of another program, as text."""
    text = io.StringIO(newline="")
    if says_delimiter:
        text.write(f"sep={delimiter}{line_end}")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    if has_names:
        writer.writerow(names)
    number = "{!r}".format if quoting != csv.QUOTE_NONNUMERIC else float
    for row in rows.tolist():
        entries = [number(value) for value in row]
        if quoting == csv.QUOTE_NONNUMERIC:  # Python leaves floats unquoted, with a point
            writer.writerow(entries)
        else:
            writer.writerow([entry.replace(".", decimal) for entry in entries])
    return text.getvalue()


@given(data=st.data())
def test_tables_of_other_programs_come_back_or_are_refused_in_a_line(folder, data):
    names = data.draw(NAMES)
    rows = data.draw(tables(names))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    decimal = data.draw(st.sampled_from(".,")) if quoting != csv.QUOTE_NONNUMERIC else "."
    delimiter = data.draw(st.sampled_from(",;\t|"))
    has_names, says_delimiter = data.draw(st.booleans()), data.draw(st.booleans())
    assume(not has_names or quoting == csv.QUOTE_NONNUMERIC or not all(map(is_number, names)))
    assume(has_names or len(names) > 1 or says_delimiter or decimal == ".")  # else 1,5 are two columns
    text = written(
        names,
        rows,
        delimiter=delimiter,
        decimal=decimal,
        quoting=quoting,
        line_end=data.draw(st.sampled_from(["\n", "\r\n", "\r"])),
        says_delimiter=says_delimiter,
        has_names=has_names,
    )
    encoding, has_mark = data.draw(st.sampled_from(sorted(MARKS))), data.draw(st.booleans())
    content = (MARKS[encoding] if has_mark else b"") + text.encode(encoding)
    ending = data.draw(st.sampled_from(sorted(COMPRESS)))
    (folder / f"other{ending}").write_bytes(COMPRESS[ending](content))
    table, refusal = answer(read_table, folder / f"other{ending}")
    # UTF-16 without a mark is recognised by Latin letters or digits, a decimal comma beside a semicolon.
    is_clear = has_mark or encoding == "utf-8" or text.isascii()
    if refusal:
        assert not (is_clear and (decimal == "." or delimiter == ";")), refusal
        return
    np.testing.assert_array_equal(table[1], rows)
    if has_names:
        assert table[0] == names


@given(content=st.binary(max_size=60) | st.text("0123456789.,;\t|\"'e-+ab\n\r \ufeff", max_size=60).map(str.encode))
def test_any_content_is_a_table_or_refused_in_a_line(folder, content):
    for ending in (".csv", ".csv.gz", ".npy", ".parquet", ".arrow"):
        (folder / f"any{ending}").write_bytes(content)
        table, refusal = answer(read_table, folder / f"any{ending}", allow_missing=True)
        assert refusal or table[1].shape[1] == len(table[0])
