from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from scoremix.cli.summary import mean_line, summary
from scoremix.estimators import GaussianMixture
from scoremix.samples.columns import Columns


def fitted(n_cells=2, n_columns=2, noise_scale="auto"):
    """What a summary reads of a fitted model."""
    return SimpleNamespace(
        covariance="identity",
        covariance_="identity",
        correction_of="nothing",
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


def test_levels_of_a_mixture_and_where_they_are_corrected():
    model = fitted()
    model.correction_of, model.degrees_ = "mixture", (np.array([-1, -1]), np.array([-1, 3]))
    lines = words(model, Columns.plain(["a", "b"]))
    assert ["sigma", "components", "degrees", "loss"] in lines
    assert ["4", "1", "none", "0.5"] in lines
    assert ["0.125", "3", "up", "to", "3", "0.0625"] in lines


@pytest.mark.parametrize(
    ("floor", "end"), [(0.0, ""), (0.125, "; nothing below sigma 0.125: no width in some direction")]
)
def test_learnt_covariances_and_where_they_end(floor, end):
    model = fitted()
    model.covariance = model.covariance_ = "general"
    model.noise_floor_ = floor
    lines = words(model, Columns.plain(["a", "b"]))
    assert " ".join(lines[1]) == f"2 cells in 2 columns; covariances learnt{end}"


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


def mixture(n_components=2, n_columns=2):
    """A known mixture."""
    means = np.arange(n_components * n_columns, dtype=float).reshape(n_components, n_columns)
    return GaussianMixture.from_parameters(
        np.full(n_components, 1 / n_components), means, np.ones(n_components), "spherical"
    )


def test_a_mixture_says_how_its_fit_ended():
    model = mixture()
    model.lower_bound_, model.split_gain_, model.merge_cost_, model.n_iter_ = -3.25, 0.001, 0.5, 7
    lines = [" ".join(line) for line in words(model, Columns.plain(["a", "b"]))]
    assert lines[:5] == [
        "data.csv: 9 rows",
        "2 components in 2 columns (as given); covariances: spherical",
        "mean log likelihood -3.25 nats per row",
        "converged after 7 EM steps",
        "optimality check: largest split gain 0.001 nats per row, smallest merge cost 0.5",
    ]
    assert "component weight a b" in lines
    assert "2 50.0% 2.0000 3.0000" in lines


def test_a_mixture_that_was_found_and_did_not_converge():
    model = mixture(1).set_params(n_components="auto")
    model.converged_, model.n_iter_, model.split_gain_, model.merge_cost_ = False, 1, 0.001, np.inf
    lines = [" ".join(line) for line in words(model, Columns.plain(["a", "b"]))]
    assert lines[1] == "1 component in 2 columns (chosen from the data); covariances: spherical"
    assert lines[3] == "not converged after 1 EM step"
    assert lines[4] == "optimality check: largest split gain 0.001 nats per row, no two components to merge"


def test_a_mixture_that_was_not_fitted():
    lines = words(mixture(), Columns.plain(["a", "b"]))
    assert ["likelihood", "not", "known"] in lines
    assert ["optimality", "not", "checked"] in lines


def test_long_tables_of_components_are_cut():
    lines = words(mixture(25, 11), Columns.plain([f"c{index}" for index in range(11)]))
    assert ["and", "5", "components", "and", "3", "columns", "more"] in lines


def test_mean_line():
    # Deviation of (1, 2, 3): 1; standard error of the mean: 1 / sqrt(3).
    assert mean_line(np.array([1.0, 2.0, 3.0])) == ("3 rows, mean log density 2 nats per row, standard error 0.58")
    assert mean_line(np.array([-1.5])) == "1 row, log density -1.5 nats"
