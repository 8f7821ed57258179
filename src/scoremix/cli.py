"""The command line: files in, files out.

Every command checks its outputs before long work, writes them beside and renames them. Without ``--seed``
every run draws its own random numbers. How errors, warnings and progress look is the business of `terminal`.
"""

import csv
import sys
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from scoremix import __version__
from scoremix.demo import run_demo
from scoremix.estimators import load
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.paths import writable_file
from scoremix.plots import figure_ending, fit_figure, save_figure
from scoremix.samples.files import Columns, read_table, table_ending, write_table
from scoremix.samples.formats import default_names
from scoremix.summary import summary
from scoremix.terminal import console, exit_status, plural, progress, say

_N = TypeVar("_N", int, float)

_DEFAULTS = DiffusionMixture()
_FIGURE_SAMPLES = 1000


class _GateKind(StrEnum):
    """How cells share a point."""

    soft = "soft"
    hard = "hard"


class _Sampler(StrEnum):
    """How samples are made."""

    dpm = "dpm"
    ancestral = "ancestral"
    reverse_sde = "reverse_sde"
    probability_flow = "probability_flow"


_Data = Annotated[Path, typer.Argument(metavar="DATA", help="A .csv, .parquet, .arrow, .feather or .npy file.")]
_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A file that scoremix fit wrote.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]
_Folder = Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")]
_Version = Annotated[bool, typer.Option("--version", help="Print the version and exit.")]
_Seed = Annotated[int | None, typer.Option(min=0, metavar="INTEGER", help="Makes the result the same in every run.")]
_Columns = Annotated[
    list[str] | None, typer.Option(metavar="NAMES", help="Columns to use, such as a,b. All by default.")
]
_Standardize = Annotated[
    bool,
    typer.Option("--standardize", help="Give every column mean 0 and deviation 1; undone on the way out."),
]
_NoiseScale = Annotated[
    str,
    typer.Option(metavar="auto|NUMBER", help="Deviation of the noise within a cell, after --standardize."),
]
_MinWeight = Annotated[float, typer.Option(help="The smallest share of the points that can be a cell.")]
_Levels = Annotated[int, typer.Option(help="Number of noise levels.")]
_Draws = Annotated[int, typer.Option(help="Noise draws per point and level.")]
_Degree = Annotated[str, typer.Option(metavar="auto|NUMBER", help="Degree of the polynomials.")]
_Gates = Annotated[_GateKind, typer.Option(help="hard: Voronoi cells, as in the paper.")]
_SigmaMin = Annotated[float | None, typer.Option(help="Lowest noise level. Chosen by default.")]
_SigmaMax = Annotated[float | None, typer.Option(help="Highest noise level. Chosen by default.")]
_Rank = Annotated[int | None, typer.Option(help="Dimension of the space that holds the centres. Chosen by default.")]
_Figure = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the fit: a .png, .pdf or .svg file.")]
_Number = Annotated[int, typer.Option("--number", "-n", min=1, help="How many samples.")]
_Method = Annotated[_Sampler, typer.Option(help="How samples are made.")]
_Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the method. Chosen by default.")]
_Sigma = Annotated[
    float | None,
    typer.Option(
        help="Take away noise of this deviation that was added to the data, in the model's units. "
        "By default the data's own noise is taken away."
    ),
]

app = typer.Typer(
    help="Learn mixtures of Gaussians with diffusion models: cells, denoiser, sampler.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; those of the process by default.

    Returns
    -------
    int
        Exit status: 0, 2 after wrong input, 130 after an interrupt.
    """
    return exit_status(partial(app, arguments, prog_name="scoremix", standalone_mode=False))


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: _Version = False) -> None:
    if version:
        say(f"scoremix {__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


@app.command("demo")
def _demo(out: _Folder = Path("scoremix-demo")) -> None:
    """Learn two bundled real data sets: models, samples, figures."""
    with progress("learning two data sets"):
        run_demo(out, console())


@app.command("fit")
def _fit(
    data: _Data,
    output: _Output,
    columns: _Columns = None,
    standardize: _Standardize = False,
    noise_scale: _NoiseScale = "auto",
    min_weight: _MinWeight = _DEFAULTS.min_weight,
    levels: _Levels = _DEFAULTS.n_levels,
    draws: _Draws = _DEFAULTS.n_draws,
    degree: _Degree = "auto",
    gates: _Gates = _GateKind.soft,
    sigma_min: _SigmaMin = None,
    sigma_max: _SigmaMax = None,
    rank: _Rank = None,
    seed: _Seed = None,
    figure: _Figure = None,
) -> None:
    """Learn a mixture from DATA and write the model."""
    model = DiffusionMixture(
        noise_scale=_auto_or(float, noise_scale, "--noise-scale"),
        degree=_auto_or(int, degree, "--degree"),
        gates=gates.value,
        n_levels=levels,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        min_weight=min_weight,
        n_draws=draws,
        rank=rank,
        random_state=seed,
    )
    _check_output(output, data)
    if figure is not None:
        figure_ending(figure)
        _check_output(figure, data, output)
    names, array = read_table(data, _split(columns))
    units = Columns.standardizing(names, array) if standardize else Columns.plain(names)
    with progress(f"learning {plural(len(array), 'row')}"):
        model.fit(units.encode(array))
    model.save(output, columns=units)
    if figure is not None:
        samples = units.decode(model.sample(_FIGURE_SAMPLES, random_state=seed))
        save_figure(fit_figure(model, array, samples, units, data.name), figure)
    console().print(summary(model, units, f"{data}: {plural(len(array), 'row')}"))


@app.command("sample")
def _sample(
    model: _Model,
    output: _Output,
    number: _Number,
    method: _Method = _Sampler.dpm,
    steps: _Steps = None,
    seed: _Seed = None,
) -> None:
    """Draw samples from MODEL, in the units of its data."""
    table_ending(output)
    _check_output(output, model)
    fitted, columns = _load(model)
    with progress(f"drawing {plural(number, 'sample')}"):
        drawn = fitted.sample(number, method=method.value, n_steps=steps, random_state=seed)
    write_table(output, columns.names, columns.decode(drawn))
    say(f"{output}: {plural(number, 'sample')}")


@app.command("denoise")
def _denoise(model: _Model, data: _Data, output: _Output, sigma: _Sigma = None) -> None:
    """Take the noise away from DATA.

    Every row y becomes the mean of its centre, E[mu | y]; with --sigma, the mean of the point without the
    noise that was added, E[x | y].
    """
    table_ending(output)
    _check_output(output, model, data)
    fitted, columns = _load(model)
    rows = columns.encode(columns.read(data))
    with progress(f"denoising {plural(len(rows), 'row')}"):
        clean = fitted.posterior_mean(rows) if sigma is None else fitted.denoise(rows, sigma)
    write_table(output, columns.names, columns.decode(clean))
    say(f"{output}: {plural(len(rows), 'row')}, denoised")


@app.command("info")
def _info(model: _Model) -> None:
    """Print what MODEL found."""
    fitted, columns = _load(model)
    console().print(summary(fitted, columns, str(model)))


def _auto_or(number: Callable[[str], _N], text: str, option: str) -> _N | Literal["auto"]:
    """Read "auto" or a number."""
    if text == "auto":
        return "auto"
    try:
        return number(text)
    except ValueError:
        kind = "a whole number" if number is int else "a number"
        raise typer.BadParameter(f"{text!r} is neither 'auto' nor {kind}", param_hint=option) from None


def _split(columns: list[str] | None) -> list[str] | None:
    """Split names at commas; quotes protect a comma, as in CSV files."""
    if not columns:
        return None
    return [name.strip() for row in csv.reader(columns, skipinitialspace=True) for name in row]


def _check_output(output: Path, *others: Path) -> None:
    """Refuse an output that cannot be written, or that is also another file of the command."""
    target = writable_file(output)
    for path in others:
        if target == path.resolve():
            raise ValueError(f"{output} is named twice: give another path for the output")


def _load(path: Path) -> tuple[DiffusionMixture, Columns]:
    """Load a model and its columns, which are the units that a plain load warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = load(path)
    if not isinstance(model, DiffusionMixture):
        raise ValueError(f"{path} holds a {type(model).__name__}: this command needs a DiffusionMixture")
    columns: Columns | None = model.columns_
    if columns is None:
        names = getattr(model, "feature_names_in_", default_names(model.n_features_in_))
        columns = Columns.plain([str(name) for name in names])
    return model, columns


if __name__ == "__main__":
    sys.exit(main())
