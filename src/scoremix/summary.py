"""What a fitted model found, as tables for the terminal: its cells in the data's units, and its noise levels.

Long tables are cut, and say so; the model has the rest.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scoremix.arrays import Floats
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.samples.files import Columns
from scoremix.terminal import plural

_MAX_CELLS = 20
_MAX_COLUMNS = 8


def summary(model: DiffusionMixture, columns: Columns, title: str) -> Group:
    """Describe a fitted model.

    Parameters
    ----------
    model : DiffusionMixture
        A fitted model.
    columns : Columns
        Names of its columns, and how its units differ from theirs.
    title : str
        What was fitted.

    Returns
    -------
    rich.console.Group
        A line on the fit, a table of cells and a table of noise levels.
    """
    return Group(Text(title, style="bold"), Text(_one_line(model, columns)), _cells(model, columns), _levels(model))


def _one_line(model: DiffusionMixture, columns: Columns) -> str:
    chosen = "chosen from the data" if model.noise_scale == "auto" else "as given"
    unit = "standard deviations of the columns" if columns.is_standardized else "the units of the data"
    return (
        f"{plural(model.n_cells_, 'cell')} in {plural(len(columns.names), 'column')}; "
        f"noise scale {model.noise_scale_:.5g} in {unit} ({chosen})"
    )


def _cells(model: DiffusionMixture, columns: Columns) -> Group:
    """Weights and centres, in the columns' own units."""
    names = columns.names[:_MAX_COLUMNS]
    centers = columns.decode(model.centers_)[:_MAX_CELLS, : len(names)]
    weights = [f"{weight:.1%}" for weight in model.weights_[: len(centers)]]
    numbers = [str(index + 1) for index in range(len(centers))]
    table = _table({"cell": numbers, "weight": weights} | dict(zip(names, map(_aligned, centers.T), strict=True)))
    hidden = {"cell": model.n_cells_ - len(centers), "column": len(columns.names) - len(names)}
    more = " and ".join(plural(count, noun) for noun, count in hidden.items() if count)
    return Group(_heading("Cells: weights and centres"), table, *([f"  and {more} more"] if more else []))


def _levels(model: DiffusionMixture) -> Group:
    """Regression cells, which may be more than the cells found, their degrees and the held-out loss."""
    table = _table(
        {
            "sigma": [f"{sigma:.5g}" for sigma in model.noise_levels_],
            "regression cells": [str(count) for count in model.n_cells_per_level_],
            "degrees": [_range(degrees) for degrees in model.degrees_],
            "held-out loss": [f"{loss:.4g}" for loss in model.denoising_loss_],
        }
    )
    explained = "  held-out loss: mean squared error per column of taking noise sigma away, on rows held out"
    return Group(_heading("Noise levels, from the highest down"), table, explained)


def _table(columns: dict[str, list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in columns:
        table.add_column(escape(heading), justify="right")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="italic")


def _aligned(values: Floats) -> list[str]:
    """Write the numbers of one column with five digits for the largest, and as many decimals for all."""
    largest = float(np.abs(values).max())
    if not 1e-4 <= largest < 1e7:
        return [f"{value:.5g}" for value in values]
    decimals = max(0, 4 - int(np.floor(np.log10(largest))))
    return [f"{value:.{decimals}f}" for value in values]


def _range(degrees: NDArray[np.integer[Any]]) -> str:
    low, high = int(degrees.min()), int(degrees.max())
    return str(low) if low == high else f"{low} to {high}"
