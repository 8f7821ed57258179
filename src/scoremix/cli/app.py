"""The command line: files in, files out.

This file declares the commands and their options and imports nothing that is slow to load, so that help, the version
and a wrong option answer at once. Every command imports its work, `demo`, `fit` or `using`, when it runs, and
estimators are taken from `scoremix`, which loads them when they are asked for.

Every command checks its outputs before long work, writes them beside and renames them. Without ``--seed``
every run draws its own random numbers. An option that the kind of model does not know is refused, not ignored.
How errors and warnings look is the business of `terminal`.
"""

import sys
from collections.abc import Collection, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import scoremix
from scoremix.cli.parsing import choice_or_number, noise_time, parse_list, parse_number_or_auto, split_names
from scoremix.cli.terminal import exit_status, say

_SHARED = ("data", "output", "model", "columns", "seed")
_OPTIONS = {
    "gaussian": ("components",),
    "ddpm": ("components", "symmetric", "noise_times", "n_steps", "learning_rate", "step_rule"),
}
# The option of covariances, and what it was called before for some models, which goes on working.
_COVARIANCES = ("covariance", "covariance_type", "covariance_model")

# What it may be; the first is the default.
_COVARIANCES_OF = {
    "diffusion": ("auto", "identity", "general"),
    "gaussian": ("full", "tied", "diag", "spherical"),
    "ddpm": ("identity", "diag", "full"),
}


_ModelKind = StrEnum("_ModelKind", ["diffusion", "gaussian", "ddpm"])
_StepRule = StrEnum("_StepRule", ["auto", "gradient", "scaled", "adam"])
_GateKind = StrEnum("_GateKind", ["soft", "hard"])
_Corrected = StrEnum("_Corrected", ["mixture", "nothing"])
_Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="A .csv, .csv.gz, .parquet, .arrow, .feather or .npy file.")
]
_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A file that scoremix fit wrote.")]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]
_Folder = Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")]
_Version = Annotated[bool, typer.Option("--version", help="Print the version and exit.")]
_Seed = Annotated[int | None, typer.Option(min=0, metavar="INTEGER", help="Makes the result the same in every run.")]
_Kind = Annotated[
    _ModelKind,
    typer.Option(
        help="diffusion: the score at every noise level. gaussian: a Gaussian mixture by EM. "
        "ddpm: its parameters by gradient descent on the objective of a diffusion model."
    ),
]
_Components = Annotated[
    str,
    typer.Option(
        metavar="auto|NUMBER",
        help="Gaussian and ddpm models: number of components. auto: found for a Gaussian model, 2 for ddpm.",
    ),
]
_Covariance = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|NUMBER",
        help="Diffusion model: identity (noise of --noise-scale in every column), general (learnt), or auto: identity "
        "where that explains the data. Gaussian model: full, tied (one for all), diag or spherical. ddpm model: "
        "identity or a variance where it is known; diag and "
        "full are learnt. The first is the default.",
    ),
]
_OldName = Annotated[str | None, typer.Option(hidden=True)]
_Symmetric = Annotated[bool, typer.Option("--symmetric", help="ddpm model: two components at +mu and -mu.")]
_NoiseTimes = Annotated[
    str, typer.Option(metavar="TIMES", help="ddpm model: noise time of every stage, or the word all, with commas.")
]
_NumberOfSteps = Annotated[str, typer.Option(metavar="NUMBERS", help="ddpm model: most steps of every stage.")]
_Rate = Annotated[float, typer.Option(help="ddpm model: rate of the steps.")]
_Rule = Annotated[_StepRule, typer.Option(help="ddpm model: scaled takes steps in units of the curvature.")]
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
_CorrectionOf = Annotated[
    _Corrected, typer.Option(help="What polynomials correct. nothing: cells alone, as in the papers.")
]
_Degree = Annotated[
    str, typer.Option(metavar="auto|NUMBER", help="Degree of the polynomials, with --correction-of nothing.")
]
_Gates = Annotated[_GateKind, typer.Option(help="With --correction-of nothing. hard: cells as in the papers.")]
_SigmaMin = Annotated[float | None, typer.Option(help="Lowest noise level. Chosen by default.")]
_SigmaMax = Annotated[float | None, typer.Option(help="Highest noise level. Chosen by default.")]
_Rank = Annotated[int | None, typer.Option(help="Dimension of the space that holds the centers. Chosen by default.")]
_Figure = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the fit: a .png, .pdf or .svg file.")]
_Number = Annotated[int, typer.Option("--number", "-n", min=1, help="How many samples.")]
_Method = Annotated[
    str,
    typer.Option(help="How samples are made: dpm, ancestral, reverse_sde, probability_flow (see scoremix.sampling)."),
]
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
    # Without the default typer loads pydantic, which takes longer than all else, to convert a --help that is not there.
    context_settings={"help_option_names": ["-h", "--help"], "default_map": {"help": False}},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return exit_status(partial(app, arguments, prog_name="scoremix", standalone_mode=False))


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: _Version = False) -> None:
    if version:
        say(f"scoremix {scoremix.__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())


@app.command("demo")
def _demo(out: _Folder = Path("scoremix-demo")) -> None:
    """Learn two bundled real data sets: models, samples, figures."""
    from scoremix.cli.demo import run_demo
    from scoremix.cli.screen import console, progress

    with progress("learning two data sets"):
        run_demo(out, console())


@app.command("fit")
def _fit(
    context: typer.Context,
    data: _Data,
    output: _Output,
    model: _Kind = _ModelKind.diffusion,
    components: _Components = "auto",
    covariance: _Covariance = None,
    symmetric: _Symmetric = False,
    noise_times: _NoiseTimes = "1.5,0.1",
    n_steps: _NumberOfSteps = "7000,1500",
    learning_rate: _Rate = 0.05,
    step_rule: _Rule = _StepRule.auto,
    columns: _Columns = None,
    standardize: _Standardize = False,
    correction_of: _CorrectionOf = _Corrected.mixture,
    noise_scale: _NoiseScale = "auto",
    min_weight: _MinWeight = 0.003,
    levels: _Levels = 16,
    draws: _Draws = 2,
    degree: _Degree = "auto",
    gates: _Gates = _GateKind.soft,
    sigma_min: _SigmaMin = None,
    sigma_max: _SigmaMax = None,
    rank: _Rank = None,
    seed: _Seed = None,
    figure: _Figure = None,
    covariance_type: _OldName = None,
    covariance_model: _OldName = None,
) -> None:
    """Learn a mixture from DATA and write the model.

    The rows are read into memory. --covariance, --columns and --seed are for all models, and help says which of the
    other options are for Gaussian and ddpm models; the rest is for diffusion models. Gaussian models take rows with
    missing values.
    """
    from scoremix.cli.fit import fit_diffusion, fit_parameters

    _refuse(context, _options_of_others(context, model), f"is not an option of {model} models")
    chosen, kind = split_names(columns), _covariance(context, model)
    if model is _ModelKind.diffusion:
        ladder = scoremix.DiffusionMixture(
            covariance=kind,
            correction_of=correction_of.value,
            noise_scale=parse_number_or_auto(float, noise_scale, "--noise-scale"),
            degree=parse_number_or_auto(int, degree, "--degree"),
            gates=gates.value,
            n_levels=levels,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            min_weight=min_weight,
            n_draws=draws,
            rank=rank,
            random_state=seed,
        )
        fit_diffusion(ladder, data, output, chosen, standardize=standardize, figure=figure)
        return
    number = parse_number_or_auto(int, components, "--components")
    stages = parse_list(noise_time, noise_times, "--noise-times"), parse_list(int, n_steps, "--n-steps")
    if model is _ModelKind.gaussian:
        mixture = scoremix.GaussianMixture(number, covariance_type=kind, random_state=seed)
    else:
        k, rule = 2 if number == "auto" else number, step_rule.value
        mixture = scoremix.DDPMMixture(
            k, symmetric, *stages, learning_rate, covariance=kind, step_rule=rule, random_state=seed
        )
    fit_parameters(mixture, data, output, chosen)


@app.command("sample")
def _sample(
    context: typer.Context,
    model: _Model,
    output: _Output,
    number: _Number,
    method: _Method = "dpm",
    steps: _Steps = None,
    seed: _Seed = None,
) -> None:
    """Draw samples from MODEL, in the units of its data.

    --method and --steps are for diffusion models: samples of other mixtures are exact.
    """
    from scoremix.cli.using import write_samples

    asked = _given(context, ("method", "steps"))
    write_samples(model, output, number, method=method, steps=steps, seed=seed, asked=asked)


@app.command("denoise")
def _denoise(model: _Model, data: _Data, output: _Output, sigma: _Sigma = None) -> None:
    """Take the noise away from DATA.

    Every row y becomes the mean of its center, E[mu | y]; with --sigma, which Gaussian and ddpm models need, the mean
    of the point without the noise that was added, E[x | y].
    """
    from scoremix.cli.using import write_denoised

    write_denoised(model, data, output, sigma)


@app.command("score")
def _score(model: _Model, data: _Data, output: _Densities = None) -> None:
    """Print the mean log density of the rows of DATA, with its standard error.

    Densities are in the units of the columns, also after --standardize.
    """
    from scoremix.cli.using import print_score

    print_score(model, data, output)


@app.command("info")
def _info(model: _Model) -> None:
    """Print what MODEL found."""
    from scoremix.cli.using import print_summary

    print_summary(model)


def _covariance(context: typer.Context, model: _ModelKind) -> Any:
    """The covariances that were asked for, under whichever name."""
    given = _given(context, _COVARIANCES)
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} are the same option: give one of them")
    known = _COVARIANCES_OF[model]
    text = next((context.params[name] for name in _COVARIANCES if context.params[name] is not None), known[0])
    kind = choice_or_number(text, known, is_number=model is _ModelKind.ddpm, option=given[0] if given else "")
    if kind == "general":
        _refuse(context, ("noise_scale",), "is not an option of general covariances")
    return kind


def _options_of_others(context: typer.Context, model: _ModelKind) -> set[str]:
    """Options of fit that a kind of model does not know."""
    if model is _ModelKind.diffusion:
        return {name for names in _OPTIONS.values() for name in names}
    return set(context.params).difference(_SHARED, _COVARIANCES, _OPTIONS[model])


def _refuse(context: typer.Context, names: Collection[str], reason: str) -> None:
    """Refuse options that were given, whatever their value."""
    for option in _given(context, names):
        raise ValueError(f"{option} {reason}: leave it out")


def _given(context: typer.Context, names: Collection[str]) -> list[str]:
    """Those of some options that the command line names, as it writes them."""
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in names and getattr(context.get_parameter_source(option.name), "name", None) == "COMMANDLINE"
    ]


if __name__ == "__main__":
    sys.exit(main())
