"""Fit a model to a file: read it, learn, write the model, print what was found.

What the command line does for ``fit``; outputs are checked before anything is read.
"""

from pathlib import Path

import numpy as np

from scoremix.cli.screen import console, progress
from scoremix.cli.summary import summary
from scoremix.cli.terminal import plural
from scoremix.estimators import DDPMMixture, DiffusionMixture, GaussianMixture
from scoremix.paths import separate_output
from scoremix.plots.figure import figure_ending, fit_figure, save_figure
from scoremix.samples.columns import Columns
from scoremix.samples.formats import default_names
from scoremix.samples.tables import read_table
from scoremix.storage import model_path

FIGURE_SAMPLES = 1000


def fit_diffusion(
    model: DiffusionMixture,
    data: Path,
    output: Path,
    columns: list[str] | None,
    *,
    standardize: bool = False,
    figure: Path | None = None,
) -> None:
    """Fit a diffusion model, write it and a figure of it.

    standardize: give every column mean 0 and deviation 1; the file remembers how to undo it.
    """
    separate_output(output, data)
    model_path(output)
    if figure is not None:
        figure_ending(figure)
        separate_output(figure, data, output)
    names, array = read_table(data, columns)
    units = Columns.standardizing(names, array) if standardize else Columns.plain(names)
    with progress(f"learning {plural(len(array), 'row')}"):
        model.fit(units.encode(array))
    model.save(output, columns=units)
    if figure is not None:
        samples = units.decode(model.sample(FIGURE_SAMPLES, random_state=model.random_state))
        save_figure(fit_figure(model, array, samples, units, data.name), figure)
    console().print(summary(model, units, f"{data}: {plural(len(array), 'row')}"))


def fit_parameters(model: GaussianMixture | DDPMMixture, data: Path, output: Path, columns: list[str] | None) -> None:
    """Fit the parameters of a mixture and write the model; EM takes rows with missing values."""
    separate_output(output, data)
    model_path(output)
    names, array = read_table(data, columns, allow_missing=isinstance(model, GaussianMixture))
    title = f"{data}: {plural(len(array), 'row')}"
    if with_holes := int(np.isnan(array).any(axis=1).sum()):
        model.set_params(missing_values=np.nan)
        title += f", {with_holes:,} of them with missing values"
    with progress(f"learning {plural(len(array), 'row')}"):
        model.fit(array)
    if names != default_names(len(names)):
        model.feature_names_in_ = np.array(names, dtype=object)
    model.save(output)
    console().print(summary(model, Columns.plain(names), title))
