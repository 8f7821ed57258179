"""The command line: files in, files out.

Every command checks its outputs before long work, writes them beside and renames them. Without ``--seed``
every run draws its own random numbers. An option that the kind of model does not know is refused, not ignored.
How errors, warnings and progress look is the business of `terminal`.
"""

import csv
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import typer

from scoremix import __version__
from scoremix.arrays import Array, Floats, to_numpy
from scoremix.demo import run_demo
from scoremix.estimators import DiffusionMixture, GaussianMixture, load
from scoremix.paths import existing_file, writable_file
from scoremix.plots import figure_ending, fit_figure, save_figure
from scoremix.samples.files import Columns, _positions, read_table, table_ending, write_table
from scoremix.samples.formats import FORMATS, default_names
from scoremix.summary import mean_line, summary
from scoremix.terminal import console, exit_status, plural, progress, say

_N = TypeVar("_N", int, float)

_DEFAULTS = DiffusionMixture()
_FIGURE_SAMPLES = 1000
_SHARED = ("data", "output", "model", "columns", "seed")
_GAUSSIAN = ("components", "covariance_type")


class _ModelKind(StrEnum):
    """What is learnt."""

    diffusion = "diffusion"
    gaussian = "gaussian"


class _CovarianceKind(StrEnum):
    """What the components of a Gaussian mixture share."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


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
_Kind = Annotated[
    _ModelKind, typer.Option(help="diffusion: the score at every noise level. gaussian: a Gaussian mixture by EM.")
]
_Components = Annotated[
    str, typer.Option(metavar="auto|NUMBER", help="Gaussian model: number of components; auto finds it.")
]
_Covariance = Annotated[
    _CovarianceKind, typer.Option(help="Gaussian model: covariances. tied: one for all; spherical: one number each.")
]
_Columns = Annotated[
    list[str] | None, typer.Option(metavar="NAMES", help="Columns to use, such as a,b. All by default.")
]
_Standardize = Annotated[
    bool, typer.Option("--standardize", help="Give every column mean 0 and deviation 1; undone on the way out.")
]
_NoiseScale = Annotated[
    str, typer.Option(metavar="auto|NUMBER", help="Deviation of the noise within a cell, after --standardize.")
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
        "By default the data's own noise is taken away; a Gaussian model needs the number."
    ),
]
_Densities = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write every row's log density.")
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
    context: typer.Context,
    data: _Data,
    output: _Output,
    model: _Kind = _ModelKind.diffusion,
    components: _Components = "auto",
    covariance_type: _Covariance = _CovarianceKind.full,
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
    """Learn a mixture from DATA and write the model.

    The rows are read into memory. Gaussian models know --components, --covariance-type, --columns and --seed, and
    take rows with missing values; all other options, and complete rows, are for diffusion models.
    """
    others = _GAUSSIAN if model is _ModelKind.diffusion else set(context.params).difference(_SHARED, _GAUSSIAN)
    _refuse(context, others, f"is not an option of {model} models")
    if model is _ModelKind.gaussian:
        number = _auto_or(int, components, "--components")
        mixture = GaussianMixture(number, covariance_type=covariance_type.value, random_state=seed)
        _fit_gaussian(mixture, data, output, _split(columns))
        return
    ladder = DiffusionMixture(
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
    _fit_diffusion(ladder, data, output, _split(columns), standardize, figure)


def _fit_diffusion(
    model: DiffusionMixture, data: Path, output: Path, chosen: list[str] | None, standardize: bool, figure: Path | None
) -> None:
    """Fit, write the model and the figure, and print what was found."""
    _check_output(output, data)
    if figure is not None:
        figure_ending(figure)
        _check_output(figure, data, output)
    names, array = read_table(data, chosen)
    units = Columns.standardizing(names, array) if standardize else Columns.plain(names)
    with progress(f"learning {plural(len(array), 'row')}"):
        model.fit(units.encode(array))
    model.save(output, columns=units)
    if figure is not None:
        samples = units.decode(model.sample(_FIGURE_SAMPLES, random_state=model.random_state))
        save_figure(fit_figure(model, array, samples, units, data.name), figure)
    console().print(summary(model, units, f"{data}: {plural(len(array), 'row')}"))


def _fit_gaussian(model: GaussianMixture, data: Path, output: Path, chosen: list[str] | None) -> None:
    """Fit, write the model, and print what was found."""
    _check_output(output, data)
    names, array = _read_with_holes(data, chosen)
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


@app.command("sample")
def _sample(
    context: typer.Context,
    model: _Model,
    output: _Output,
    number: _Number,
    method: _Method = _Sampler.dpm,
    steps: _Steps = None,
    seed: _Seed = None,
) -> None:
    """Draw samples from MODEL, in the units of its data.

    --method and --steps are for diffusion models: samples of a Gaussian mixture are exact.
    """
    table_ending(output)
    _check_output(output, model)
    fitted, columns = _load(model)
    if isinstance(fitted, GaussianMixture):
        _refuse(context, ("method", "steps"), f"is not an option for {model}, which holds a GaussianMixture")
    with progress(f"drawing {plural(number, 'sample')}"):
        if isinstance(fitted, GaussianMixture):
            drawn = fitted.sample(number, random_state=seed)[0]
        else:
            drawn = fitted.sample(number, method=method.value, n_steps=steps, random_state=seed)
    write_table(output, columns.names, columns.decode(drawn))
    say(f"{output}: {plural(number, 'sample')}")


@app.command("denoise")
def _denoise(model: _Model, data: _Data, output: _Output, sigma: _Sigma = None) -> None:
    """Take the noise away from DATA.

    Every row y becomes the mean of its centre, E[mu | y]; with --sigma, which Gaussian models need, the mean of the
    point without the noise that was added, E[x | y].
    """
    table_ending(output)
    _check_output(output, model, data)
    fitted, columns = _load(model)
    if sigma is not None:
        denoised: Callable[[Floats], Array] = partial(fitted.denoise, sigma=sigma)
    elif isinstance(fitted, DiffusionMixture):
        denoised = fitted.posterior_mean
    else:
        raise ValueError(f"{model} holds a GaussianMixture: say with --sigma how large the added noise is")
    rows = columns.encode(columns.read(data))
    with progress(f"denoising {plural(len(rows), 'row')}"):
        clean = denoised(rows)
    write_table(output, columns.names, columns.decode(clean))
    say(f"{output}: {plural(len(rows), 'row')}, denoised")


@app.command("score")
def _score(model: _Model, data: _Data, output: _Densities = None) -> None:
    """Print the mean log density of the rows of DATA, with its standard error.

    MODEL must be Gaussian: a diffusion model knows the gradient of the log density, not its value.
    """
    if output is not None:
        table_ending(output)
        _check_output(output, model, data)
    fitted, columns = _load(model)
    if isinstance(fitted, DiffusionMixture):
        raise ValueError(f"{model} holds a DiffusionMixture, which has no density: fit with --model gaussian")
    rows = columns.encode(columns.read(data))
    with progress(f"scoring {plural(len(rows), 'row')}"):
        log_density = to_numpy(fitted.score_samples(rows))
    if output is not None:
        write_table(output, ["log_density"], log_density[:, None])
    say(f"{data}: {mean_line(log_density)}")


@app.command("info")
def _info(model: _Model) -> None:
    """Print what MODEL found."""
    fitted, columns = _load(model)
    console().print(summary(fitted, columns, str(model)))


def _refuse(context: typer.Context, names: Collection[str], reason: str) -> None:
    """Refuse options that were given, whatever their value."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise ValueError(f"{parameter.opts[0]} {reason}: leave it out")


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


def _read_with_holes(path: Path, chosen: list[str] | None) -> tuple[list[str], Floats]:
    """Read a table in which entries may be missing, as NaN; everything else is refused as `read_table` does."""
    source = existing_file(path)
    form = FORMATS[table_ending(source)]
    found = form.names(source)
    positions = _positions(source, found, chosen)
    names, array = [found[position] for position in positions], form.load(source, positions)
    bad = np.flatnonzero(np.isinf(array).any(axis=0) | np.isnan(array).all(axis=0))
    if len(bad):  # also without any rows
        return read_table(source, [names[column] for column in bad])
    return names, array


def _load(path: Path) -> tuple[DiffusionMixture | GaussianMixture, Columns]:
    """Load a model and its columns, which are the units that a plain load warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = load(path)
    columns: Columns | None = getattr(model, "columns_", None)
    if columns is None:
        names = getattr(model, "feature_names_in_", default_names(model.n_features_in_))
        columns = Columns.plain([str(name) for name in names])
    return model, columns


if __name__ == "__main__":
    sys.exit(main())
