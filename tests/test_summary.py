from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from scoremix.samples.files import Columns
from scoremix.summary import summary


def fitted(n_cells=2, n_columns=2, noise_scale="auto"):
    """What a summary reads of a fitted model."""
    return SimpleNamespace(
        noise_scale=noise_scale,
        noise_scale_=0.25,
        n_cells_=n_cells,
        centers_=np.arange(n_cells * n_columns, dtype=float).reshape(n_cells, n_columns),
        weights_=np.full(n_cells, 1 / n_cells),
        noise_levels_=np.array([4.0, 0.125]),
        n_cells_per_level_=np.array([1, 3]),
        degrees_=(np.array([3]), np.array([1, 2, 1])),
        denoising_loss_=np.array([0.5, 0.0625]),
    )


def words(model, columns):
    """Print a summary, and return its lines as lists of words."""
    wide = Console(width=200)
    with wide.capture() as captured:
        wide.print(summary(model, columns, "data.csv: 9 rows"))
    return [line.split() for line in captured.get().splitlines()]


def test_centres_come_in_the_columns_own_units():
    lines = words(fitted(), Columns(["a [min]", "b"], [10.0, 100.0], [2.0, 10.0]))
    assert ["cell", "weight", "a", "[min]", "b"] in lines
    assert ["1", "50.0%", "10.000", "110.00"] in lines
    assert ["2", "50.0%", "14.000", "130.00"] in lines
    assert lines[0] == ["data.csv:", "9", "rows"]


@pytest.mark.parametrize(
    ("noise_scale", "scale", "end"),
    [
        ("auto", 1.0, "in the units of the data (chosen from the data)"),
        (0.25, 2.0, "in standard deviations of the columns (as given)"),
    ],
)
def test_the_noise_scale_and_where_it_is_from(noise_scale, scale, end):
    lines = words(fitted(noise_scale=noise_scale), Columns(["a", "b"], [0.0, 0.0], [scale, scale]))
    assert " ".join(lines[1]) == f"2 cells in 2 columns; noise scale 0.25 {end}"


def test_levels_with_cells_degrees_and_losses():
    lines = words(fitted(), Columns.plain(["a", "b"]))
    assert ["sigma", "regression", "cells", "degrees", "held-out", "loss"] in lines
    assert ["4", "1", "3", "0.5"] in lines
    assert ["0.125", "3", "1", "to", "2", "0.0625"] in lines


def test_long_tables_are_cut_and_say_so():
    lines = words(fitted(25, 11), Columns.plain([f"c{index}" for index in range(11)]))
    assert ["and", "5", "cells", "and", "3", "columns", "more"] in lines
    assert ["cell", "weight", *(f"c{index}" for index in range(8))] in lines
    assert lines[1][:5] == ["25", "cells", "in", "11", "columns;"]
    assert not any("more" in line for line in words(fitted(20, 8), Columns.plain([*"abcdefgh"])))


@pytest.mark.parametrize(
    ("scale", "written"),
    [(1.0, ["0.0000", "2.0000"]), (1e4, ["0", "20000"]), (1e9, ["0", "2e+09"]), (1e-9, ["0", "2e-09"])],
)
def test_numbers_of_a_column_are_written_alike(scale, written):
    model = fitted(2, 2)
    lines = words(model, Columns(["a", "b"], [0.0, 0.0], [scale, 1.0]))
    assert [line[2] for line in lines if len(line) == 4 and line[1] == "50.0%"] == written
