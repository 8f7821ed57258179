import os
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from scoremix import DiffusionMixture
from scoremix.plots.figure import figure_ending, fit_figure, save_figure
from scoremix.samples.columns import Columns

CENTRES = {1: [[-4.0], [4.0]], 2: [[-4.0, 0.0], [4.0, 1.0]], 4: [[-4.0, 0, 0, 0], [4.0, 1.0, 0, 0]]}
SCALE = 10.0


def learn(centres, n=300):
    """Two separated clusters, learnt in units of SCALE, and everything that a figure needs."""
    rng = np.random.default_rng(0)
    centres = np.array(centres)
    model_units = centres[rng.integers(len(centres), size=n)] + rng.standard_normal((n, centres.shape[1]))
    names = [f"c{index} [m]" for index in range(centres.shape[1])]
    columns = Columns(names, [100.0] * len(names), [SCALE] * len(names))
    model = DiffusionMixture(n_levels=6, n_draws=1, degree=1, correction_of="nothing", random_state=0).fit(model_units)
    samples = columns.decode(model.sample(50, random_state=0))
    return model, columns.decode(model_units), samples, columns


@pytest.fixture(scope="module", params=CENTRES)
def learnt(request):
    return learn(CENTRES[request.param])


def panels(figure):
    """Return the panels of data, denoised points, samples and tree."""
    return figure.axes


def test_panels_say_what_they_show(learnt):
    model, array, samples, columns = learnt
    figure = fit_figure(model, array, samples, columns, title="Two clusters")
    assert [axes.get_title(loc="left") for axes in panels(figure)] == [
        "Data: 300 points",
        "Denoised: the center of each point",
        "Samples: 50 new points",
        "The tree of regression cells, splitting as the noise falls, coloured by the cell they end in",
    ]
    assert figure.get_suptitle() == "Two clusters"


def test_axes_are_labelled_in_the_columns_own_names(learnt):
    model, array, samples, columns = learnt
    data, _, _, tree = panels(fit_figure(model, array, samples, columns))
    labels = (data.get_xlabel(), data.get_ylabel(), tree.get_ylabel())
    if len(columns.names) == 1:
        assert labels == ("c0 [m]", "share of the points", "c0 [m]")
    elif len(columns.names) == 2:
        assert labels == ("c0 [m]", "c1 [m]", "first principal direction")
    else:
        assert re.fullmatch(r"first principal direction \(\d+% of the variance\)", labels[0])
    assert "in standard deviations" in tree.get_xlabel()


def test_points_are_drawn_in_the_columns_own_units():
    model, array, samples, columns = learn(CENTRES[2])
    data, _, drawn_samples, _ = panels(fit_figure(model, array, samples, columns))
    np.testing.assert_allclose(data.collections[0].get_offsets(), array)
    np.testing.assert_allclose(drawn_samples.collections[0].get_offsets(), samples)


def test_no_point_is_cut_off():
    model, array, samples, columns = learn(CENTRES[2])
    figure = fit_figure(model, array, samples, columns)
    for axes in panels(figure)[:3]:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        for points in (array, samples):
            assert np.all((points > [left, bottom]) & (points < [right, top]))


def test_histograms_hold_all_points():
    model, array, samples, columns = learn(CENTRES[1])
    for axes in panels(fit_figure(model, array, samples, columns))[:3]:
        # Bars are stacked by cell, and each has its share of the points as height.
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)


def test_points_and_labels_of_a_cell_have_one_colour():
    model, array, samples, columns = learn(CENTRES[2])
    data, _, _, tree = panels(fit_figure(model, array, samples, columns))
    cells = model.predict(columns.encode(array))
    drawn = data.collections[0].get_facecolors()[:, :3]
    labels = {text.get_text(): text.get_color() for text in tree.texts}
    assert len(labels) == model.n_cells_ == 2
    for cell in range(2):
        colours = np.unique(drawn[cells == cell], axis=0)
        assert len(colours) == 1
        np.testing.assert_allclose(colours[0], labels[f"cell {cell + 1}: {model.weights_[cell]:.0%}"])


def test_the_tree_runs_from_high_to_low_noise_and_links_every_cell(learnt):
    model, array, samples, columns = learnt
    tree = panels(fit_figure(model, array, samples, columns))[3]
    left, right = tree.get_xlim()
    assert left > right
    assert tree.get_xscale() == "log"
    links = sum(len(lines.get_segments()) for lines in tree.collections if hasattr(lines, "get_segments"))
    assert links == sum(len(model.ladder_.centers(level)) for level in range(1, 6))


def test_one_cell_lies_in_the_middle_of_the_tree_and_not_in_its_own_rounding_errors():
    model, array, samples, columns = learn([[0.0, 0.0]])
    low, high = panels(fit_figure(model, array, samples, columns))[3].get_ylim()
    # Heights are in the model's units, in which the data have deviation one.
    assert low < -0.8
    assert high > 0.8


def test_many_rows_are_thinned():
    model, array, samples, columns = learn(CENTRES[2])
    many = np.tile(array, (40, 1))
    data = panels(fit_figure(model, many, samples, columns))[0]
    assert data.get_title(loc="left") == "Data: 12,000 points"
    assert len(data.collections[0].get_offsets()) <= 5000


def test_many_cells_have_different_colours_and_no_labels():
    corners = 8.0 * np.stack(np.meshgrid(range(4), range(4)), axis=-1).reshape(-1, 2)
    model, array, samples, columns = learn(corners, n=1600)
    assert model.n_cells_ == 16
    data, _, _, tree = panels(fit_figure(model, array, samples, columns))
    assert len(np.unique(data.collections[0].get_facecolors(), axis=0)) == 16
    assert not tree.texts


def test_wrong_number_of_columns():
    model, array, samples, columns = learn(CENTRES[2])
    with pytest.raises(ValueError, match="does not fit the 2 columns"):
        fit_figure(model, array[:, :1], samples, columns)


def test_no_global_state_changes():
    before = dict(matplotlib.rcParams)
    fit_figure(*learn(CENTRES[1]))
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_needed():
    code = "import sys, scoremix.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a.png", "a.PDF", "a.svg"])
def test_figures_are_written_in_every_format(tmp_path, name):
    figure = Figure(figsize=(2, 1))
    save_figure(figure, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    if name == "a.png":
        assert imread(tmp_path / name).shape == (200, 400, 4)  # 200 dots per inch, with transparency


@pytest.mark.parametrize("name", ["a", "a.jpg", "a.csv"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"unknown ending .*: use one of \.png, \.pdf, \.svg"):
        figure_ending(name)
    with pytest.raises(ValueError, match="unknown ending"):
        save_figure(Figure(), tmp_path / name)
    assert not os.listdir(tmp_path)
