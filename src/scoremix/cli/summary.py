"""What a fitted model found, as tables for the terminal: its cells or components, in the data's units, and its fit.

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
from scoremix.cli.terminal import plural
from scoremix.estimators.ddpm_mixture import DDPMMixture
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.estimators.gaussian_mixture import GaussianMixture
from scoremix.evaluation.estimate import Estimate
from scoremix.samples.columns import Columns

_MAX_CELLS = 20
_MAX_COLUMNS = 8


def summary(model: DiffusionMixture | GaussianMixture | DDPMMixture, columns: Columns, title: str) -> Group:
    """Describe a fitted model.

    columns: names of its columns, and how its units differ from theirs.
    """
    heading = Text(title, style="bold")
    if isinstance(model, GaussianMixture | DDPMMixture):
        said = _on_mixture(model, columns) if isinstance(model, GaussianMixture) else _on_descent(model, columns)
        lines = map(Text, said)
        return Group(heading, *lines, _clusters("component", model.weights_, model.means_, columns))
    cells = _clusters("cell", model.weights_, model.centers_, columns)
    return Group(heading, Text(_one_line(model, columns)), cells, _levels(model))


def mean_line(log_density: Floats) -> str:
    """Say how well a model fits some rows.

    log_density (n,), log density of every row, in nats.
    """
    rows = plural(len(log_density), "row")
    if len(log_density) == 1:
        return f"{rows}, log density {log_density[0]:.6g} nats"
    mean, error = Estimate.of(log_density)
    return f"{rows}, mean log density {mean:.6g} nats per row, standard error {error:.2g}"


def _one_line(model: DiffusionMixture, columns: Columns) -> str:
    found = f"{plural(model.n_cells_, 'cell')} in {plural(len(columns.names), 'column')}"
    chosen = "chosen from the data" if model.noise_scale == "auto" else "as given"
    if model.covariance_ == "general":
        end = (
            f"; nothing below sigma {model.noise_floor_:.3g}: no width in some direction" if model.noise_floor_ else ""
        )
        why = "; no single noise scale explains the data" if model.covariance == "auto" and not end else ""
        return f"{found}; covariances learnt{why}{end}"
    unit = "standard deviations of the columns" if columns.is_standardized else "the units of the data"
    return f"{found}; noise scale {model.noise_scale_:.5g} in {unit} ({chosen})"


def _on_mixture(model: GaussianMixture, columns: Columns) -> list[str]:
    """What was found, how likely it makes the data, whether EM came to an end, and whether a move would improve it."""
    k = model._mixture.n_components  # asked first: parameters that were set by hand have no likelihood
    chosen = "chosen from the data" if model.n_components == "auto" else "as given"
    likelihood, gain, cost = model.lower_bound_, model.split_gain_, model.merge_cost_
    merging = "no two components to merge" if np.isinf(cost) else f"smallest merge cost {cost:.3g}"
    return [
        f"{plural(k, 'component')} in {plural(len(columns.names), 'column')} ({chosen}); "
        f"covariances: {model.covariance_type}",
        f"mean log likelihood {likelihood:.6g} nats per row" if np.isfinite(likelihood) else "likelihood not known",
        f"{'converged' if model.converged_ else 'not converged'} after {plural(model.n_iter_, 'EM step')}",
        "optimality not checked"
        if np.isnan([gain, cost]).any()
        else f"optimality check: largest split gain {gain:.3g} nats per row, {merging}",
    ]


def _on_descent(model: DDPMMixture, columns: Columns) -> list[str]:
    """What was learnt, and where every stage ended."""
    lines = [
        f"{plural(model.n_components, 'component')} in {plural(len(columns.names), 'column')}; "
        f"covariances: {model.covariance_type_}, {_origin(model)}"
    ]
    ends = {record.stage: record for record in model.history_}
    for stage, record in ends.items():
        times = np.atleast_1d(record.noise_time)
        noise = f"noise time {times[0]:.4g}" if len(times) == 1 else f"{len(times)} noise levels"
        lines.append(
            f"stage {stage + 1}: {noise}, {plural(record.step, 'step')}, loss {record.loss:.6g}, "
            f"gradient {record.gradient_norm:.2g}"
        )
    return lines


def _origin(model: DDPMMixture) -> str:
    return "learnt" if isinstance(model.covariance, str) and model.covariance != "identity" else "known"


def _clusters(noun: str, weights: Floats, centers: Floats, columns: Columns) -> Group:
    """Weights and centers of cells or components, in the columns' own units."""
    names = columns.names[:_MAX_COLUMNS]
    shown = columns.decode(centers)[:_MAX_CELLS, : len(names)]
    shares = [f"{weight:.1%}" for weight in weights[: len(shown)]]
    numbers = [str(index + 1) for index in range(len(shown))]
    table = _table([(noun, numbers), ("weight", shares), *zip(names, map(_aligned, shown.T), strict=True)])
    hidden = {noun: len(weights) - len(shown), "column": len(columns.names) - len(names)}
    more = " and ".join(plural(count, what) for what, count in hidden.items() if count)
    heading = _heading(f"{noun.capitalize()}s: weights and centers")
    return Group(heading, table, *([f"  and {more} more"] if more else []))


def _levels(model: DiffusionMixture) -> Group:
    """Components or regression cells, which may be more than the cells found, degrees and the loss."""
    is_mixture = model.correction_of == "mixture"  # which has seen all rows; only its polynomials are held out
    cells, loss = ("components", "loss") if is_mixture else ("regression cells", "held-out loss")
    table = _table(
        [
            ("sigma", [f"{sigma:.5g}" for sigma in model.noise_levels_]),
            (cells, [str(count) for count in model.n_cells_per_level_]),
            ("degrees", [_range(degrees) for degrees in model.degrees_]),
            (loss, [f"{value:.4g}" for value in model.denoising_loss_]),
        ]
    )
    explained = f"  {loss}: mean squared error per column of taking noise sigma away"
    explained += "" if is_mixture else ", on rows held out"
    return Group(_heading("Noise levels, from the highest down"), table, explained)


def _table(columns: list[tuple[str, list[str]]]) -> Table:
    """A table of columns, which may be named alike: the data's names are anyone's."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading, _ in columns:
        table.add_column(escape(heading), justify="right")
    for row in zip(*(cells for _, cells in columns), strict=True):
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
    if low < 0:
        return "none" if high < 0 else f"up to {high}"
    return str(low) if low == high else f"{low} to {high}"
