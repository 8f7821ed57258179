"""Use a fitted model that a file holds: draw samples, denoise rows, score them, say what was found.

What the command line does for ``sample``, ``denoise``, ``score`` and ``info``; outputs are checked before the model is
read, and all tables are in the units of its data.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from scoremix.arrays import Array, Floats, to_numpy
from scoremix.cli.screen import console, progress
from scoremix.cli.summary import mean_line, summary
from scoremix.cli.terminal import plural, say
from scoremix.estimators import DDPMMixture, DiffusionMixture, GaussianMixture, load
from scoremix.paths import separate_output
from scoremix.samples.columns import Columns
from scoremix.samples.formats import default_names
from scoremix.samples.tables import table_ending, write_table
from scoremix.sampling.reverse import SAMPLERS


def write_samples(
    model: Path, output: Path, number: int, *, method: str, steps: int | None, seed: int | None, asked: Sequence[str]
) -> None:
    """Draw samples and write them."""
    if method not in SAMPLERS:
        raise ValueError(f"--method={method!r} is not known: choose {', '.join(SAMPLERS)}.")
    fitted, columns = _prepare(model, output)
    if not isinstance(fitted, DiffusionMixture) and asked:
        holds = f"{model}, which holds a {type(fitted).__name__}"
        raise ValueError(f"{asked[0]} is not an option for {holds}: leave it out")
    with progress(f"drawing {plural(number, 'sample')}"):
        if isinstance(fitted, DiffusionMixture):
            drawn = fitted.sample(number, method=method, n_steps=steps, random_state=seed)
        else:
            drawn = fitted.sample(number, random_state=seed)[0]
    write_table(output, columns.names, columns.decode(drawn))
    say(f"{output}: {plural(number, 'sample')}")


def write_denoised(model: Path, data: Path, output: Path, sigma: float | None) -> None:
    """Take the noise away from the rows of a table and write them."""
    fitted, columns = _prepare(model, output, data)
    if sigma is not None:
        denoised: Callable[[Floats], Array] = partial(fitted.denoise, sigma=sigma)
    elif isinstance(fitted, DiffusionMixture):
        denoised = fitted.posterior_mean
    else:
        kind = type(fitted).__name__
        raise ValueError(f"{model} holds a {kind}: say with --sigma how large the added noise is")
    rows = columns.encode(columns.read(data))
    with progress(f"denoising {plural(len(rows), 'row')}"):
        clean = denoised(rows)
    write_table(output, columns.names, columns.decode(clean))
    say(f"{output}: {plural(len(rows), 'row')}, denoised")


def print_score(model: Path, data: Path, output: Path | None) -> None:
    """Print the mean log density of the rows of a table, and write those of all rows.

    output: where to write the log densities; nowhere by default.
    """
    fitted, columns = _prepare(model, output, data)
    rows = columns.encode(columns.read(data))
    with progress(f"scoring {plural(len(rows), 'row')}"):
        log_density = to_numpy(fitted.score_samples(rows)) - np.log(columns.scale).sum()
    if output is not None:
        write_table(output, ["log_density"], log_density[:, None])
    say(f"{data}: {mean_line(log_density)}")


def print_summary(model: Path) -> None:
    """Print what a model found."""
    fitted, columns = load_with_columns(model)
    console().print(summary(fitted, columns, str(model)))


def load_with_columns(path: Path) -> tuple[DiffusionMixture | GaussianMixture | DDPMMixture, Columns]:
    """Load a model and its columns, which are the units that a plain load warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = load(path)
    columns: Columns | None = getattr(model, "columns_", None)
    if columns is None:
        names = getattr(model, "feature_names_in_", default_names(model.n_features_in_))
        columns = Columns.plain([str(name) for name in names])
    return model, columns


def _prepare(
    model: Path, output: Path | None, *inputs: Path
) -> tuple[DiffusionMixture | GaussianMixture | DDPMMixture, Columns]:
    """Check the table to write, if any, and then load the model."""
    if output is not None:
        table_ending(output)
        separate_output(output, model, *inputs)
    return load_with_columns(model)
