import io
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import scoremix
from scoremix.cli.demo import run_demo
from scoremix.cli.using import load_with_columns
from scoremix.samples.tables import read_table

DATA = Path(scoremix.__file__).parent / "data"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demonstration wrote, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    printed = io.StringIO()
    run_demo(folder, Console(file=printed, width=100))
    return folder, printed.getvalue()


def test_it_writes_models_samples_and_figures(demo):
    folder, _ = demo
    names = [
        f"{name}{end}" for name in ("galaxies", "old_faithful") for end in (".png", ".safetensors", "_samples.csv")
    ]
    assert sorted(os.listdir(folder)) == names
    for name in ("galaxies", "old_faithful"):
        assert imread(folder / f"{name}.png").shape == (1400, 2000, 4)


def test_old_faithful_has_two_cells_in_the_right_places(demo):
    model, columns = load_with_columns(demo[0] / "old_faithful.safetensors")
    assert model.n_cells_ == 2
    order = np.argsort(model.centers_[:, 0])
    centers = columns.decode(model.centers_)[order]
    # The two groups that everybody finds, for example with a mixture of two Gaussians: within a tenth of the
    # distance between them.
    assert np.all(np.abs(centers - [[2.04, 54.5], [4.29, 80.0]]) < 0.1 * np.array([2.25, 25.5]))
    np.testing.assert_allclose(model.weights_[order], [0.36, 0.64], atol=0.03)


def test_samples_have_the_units_and_the_spread_of_the_data(demo):
    names, samples = read_table(demo[0] / "old_faithful_samples.csv")
    assert names == ["eruptions [min]", "waiting [min]"]
    assert samples.shape == (1000, 2)
    # Means and deviations of the data; the standard error of a mean of 1,000 is 0.03 deviations, five times.
    np.testing.assert_allclose((samples.mean(axis=0) - [3.4878, 70.897]) / [1.139, 13.57], 0, atol=0.15)
    np.testing.assert_allclose(samples.std(axis=0) / [1.139, 13.57], 1, atol=0.15)


def test_the_galaxies_samples_lie_where_the_data_lie(demo):
    names, samples = read_table(demo[0] / "galaxies_samples.csv")
    assert names == ["velocity [km/s]"]
    assert abs(samples.mean() - 20831) < 0.15 * 4550
    assert samples.min() > 0
    assert samples.max() < 45000


def test_it_prints_tables_and_ends_with_what_was_found(demo):
    folder, printed = demo
    assert "Old Faithful: 272 eruptions of a geyser" in printed
    assert "mean squared error per column" in printed
    last = printed.splitlines()[-1]
    assert last.startswith("Old Faithful's eruptions (length and waiting time, min) fall into 2 cells around (2")
    assert last.endswith(f"Models, samples and figures are in {folder}.")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file: give the path of a folder"):
        run_demo(tmp_path / "file", Console(file=io.StringIO()))


def test_bundled_old_faithful():
    names, array = read_table(DATA / "old_faithful.csv")
    assert names == ["eruptions [min]", "waiting [min]"]
    assert array.shape == (272, 2)
    # Published means, to the digits that are published.
    assert [f"{mean:.5g}" for mean in array.mean(axis=0)] == ["3.4878", "70.897"]


def test_bundled_galaxies_without_the_typing_error():
    names, array = read_table(DATA / "galaxies.csv")
    assert names == ["velocity [km/s]"]
    velocities = array[:, 0]
    assert len(velocities) == 82
    assert velocities[77] == 26960
    assert np.all(np.diff(velocities) >= 0)
    # The published mean belongs to the common copies, in which the 78th value is 26690.
    assert np.mean(np.where(np.arange(82) == 77, 26690, velocities)) == pytest.approx(20828.17, abs=0.005)
