"""The demonstration: two small real data sets, learnt from end to end.

Old Faithful has two columns of very different spread, so it is standardised; the galaxies have one column,
which keeps its unit. Each gives tables on the terminal, a model file, samples and a figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from rich.console import Console

from scoremix.arrays import Floats
from scoremix.cli.summary import summary
from scoremix.cli.terminal import plural
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.paths import FilePath
from scoremix.plots.figure import fit_figure, save_figure
from scoremix.samples.columns import Columns
from scoremix.samples.tables import read_table, write_table

_N_SAMPLES = 1000
_MIN_WEIGHT = 0.02  # of 82 points, fewer than two do not make a cell


@dataclass(frozen=True)
class _Example:
    name: str
    title: str
    columns: Callable[..., Columns]  # of names and array
    subject: str  # of the closing sentence


_EXAMPLES = (
    _Example(
        name="old_faithful",
        title="Old Faithful: 272 eruptions of a geyser",
        columns=Columns.standardizing,
        subject="Old Faithful's eruptions (length and waiting time, min)",
    ),
    _Example(
        name="galaxies",
        title="Galaxies: 82 velocities in the Corona Borealis region",
        columns=lambda names, array: Columns.plain(names),
        subject="The galaxies' velocities (km/s)",
    ),
)


def run_demo(folder: FilePath, console: Console) -> None:
    """Learn the bundled data sets; write models, samples and figures.

    OSError: If the folder cannot be made or written to.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file: give the path of a folder")
    target.mkdir(parents=True, exist_ok=True)
    findings = [_learn(example, target, console) for example in _EXAMPLES]
    closing = f"{' '.join(findings)} Models, samples and figures are in {target}."
    console.print(closing, markup=False, highlight=False, soft_wrap=True)


def _learn(example: _Example, target: Path, console: Console) -> str:
    """Learn one data set, write its files, and return what was found."""
    with as_file(files("scoremix") / "data" / f"{example.name}.csv") as path:
        names, array = read_table(path)
    columns = example.columns(names, array)
    # Cells alone: they split as the noise falls, which is what the figure shows.
    model = DiffusionMixture("identity", correction_of="nothing", min_weight=_MIN_WEIGHT, random_state=0)
    model.fit(columns.encode(array))
    samples = columns.decode(model.sample(_N_SAMPLES, random_state=0))
    model.save(target / f"{example.name}.safetensors", columns=columns)
    write_table(target / f"{example.name}_samples.csv", names, samples)
    figure = fit_figure(model, array, samples, columns, example.title)
    save_figure(figure, target / f"{example.name}.png")
    console.print(summary(model, columns, example.title))
    cells, around = plural(model.n_cells_, "cell"), _listed(columns.decode(model.centers_))
    return f"{example.subject} fall into {cells} around {around}."


def _listed(centers: Floats) -> str:
    """Write centers in increasing order, such as "1, 2 and 3" or "(1, 5) and (2, 6)"."""
    words = [", ".join(f"{value:,.5g}" for value in center) for center in centers[np.lexsort(centers.T[::-1])]]
    if centers.shape[1] > 1:
        words = [f"({word})" for word in words]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
