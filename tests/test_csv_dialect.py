"""What the beginning of a CSV file tells; whole files are in test_formats."""

import pytest

from scoremix.samples.csv_dialect import ROWS, SAMPLE, dialect_of


@pytest.mark.parametrize(
    ("sample", "encoding", "delimiter", "first", "has_names", "skip"),
    [
        (b"a,b\n1,2\n", "utf-8", ",", ["a", "b"], True, 1),
        (b"\r\rsep=;\r\ra;b\r1;2\r", "utf-8", ";", ["a", "b"], True, 5),
        ("ä\tb\r\n1\t2".encode("utf-8-sig"), "utf-8-sig", "\t", ["ä", "b"], True, 1),
        ("1|2".encode("utf-16"), "utf-16", "|", ["1", "2"], False, 0),
        (b"1,5;2,5\n", "utf-8", ";", ["1,5", "2,5"], False, 0),
        (b'"1","2"\n3,4\n', "utf-8", ",", ["1", "2"], True, 1),
        (b'"a\nb",c\n1,2\n', "utf-8", ",", ["a\nb", "c"], True, 2),
        (b"first name,b\nx y,1\n", "utf-8", ",", ["first name", "b"], True, 1),
        (b"a,b\n1,\n,2\n", "utf-8", ",", ["a", "b"], True, 1),
        (b"", "utf-8", ",", [], False, 0),
    ],
)
def test_beginnings(sample, encoding, delimiter, first, has_names, skip):
    found = dialect_of(sample)
    assert (found.encoding, found.delimiter, found.first) == (encoding, delimiter, first)
    assert (found.has_names, found.skip) == (has_names, skip)


def test_what_was_cut_off_is_no_row():
    rows = b"a;b\n" + b"1;2\n" * (SAMPLE // 4 - 2)
    assert dialect_of(rows + b"1,22").delimiter == ";"
    assert len(rows + b"1,22") == SAMPLE
    assert dialect_of(b"a;b\n" + b"1;2\n" * ROWS + b"1,2,3,4,5\n" * 500).delimiter == ";"
