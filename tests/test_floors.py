"""The house has rooms: a room imports only from those below it, a file only from files before it in its room.

The packages' pages (``__init__``) that re-export nothing stand outside: they hold text. Importing ``scoremix.a.b`` runs
``scoremix/__init__`` first, of course: what counts is what a file asks for.
"""

import ast
from pathlib import Path

import pytest

import scoremix

ROOT = Path(scoremix.__file__).parent

# From the ground to the roof, each with its files in the order to read. A name of two rooms is both of one floor.
ROOMS = (
    ("", "arrays paths noise features storage"),
    ("samples", "source reduce csv_dialect formats tables columns"),
    ("models.covariance", "interface full tied diagonal spherical types"),
    ("models", "gates by_component log_joint mixture whitening likelihood_ratio score_model subspace ladder"),
    ("learning", "moments"),
    ("learning.regression", "normal_equations degrees scores corrections"),
    (
        "learning.em",
        "acceleration expected by_component candidates em shrinkage missing stepwise posterior incomplete seeding",
    ),
    ("learning", "coordinates"),
    ("learning.search", "merges directions splits moves projection global_start component_number"),
    ("learning.mixtures", "full_covariances npmle noise_scale mean_subspace levels"),
    ("learning.gkl", "warm_starts posterior_mean ladder clusters"),
    ("learning.cks", "covariances means cells gates candidates ladder"),
    ("learning.sck", "student objective two_components covariances optimizers tensor_power starts descent"),
    ("learning", "modes"),
    ("sampling", "reverse density draw ladder_density __init__"),
    (
        "evaluation",
        "truth estimate gaussian_truth continuous_truth problems metrics total_variation certificate __init__",
    ),
    (
        "estimators",
        "schema parameters checks mixture_inputs attributes model_files fitted_mixture known_mixture progress"
        " gaussian_mixture ddpm_mixture diffusion_mixture __init__",
    ),
    ("plots", "split_tree figure __init__"),
    ("cli", "parsing terminal screen summary fit using demo app"),
)
PAPERS = {"learning.mixtures", "learning.gkl", "learning.cks", "learning.sck"}  # none imports another
ROOM = {f"{room}.{name}".strip(".").removesuffix(".__init__"): room for room, names in ROOMS for name in names.split()}
ORDER = list(ROOM)


def modules():
    """Every module by its name without the leading ``scoremix.``, but for pages: packages that import nothing."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__")
        is_page = path.name == "__init__.py" and not any(
            isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
        if name and not is_page:
            found[name] = path
    return found


MODULES = modules()


def imports(source, module, is_package):
    """Names of modules of the house that a source text imports: absolute, relative, and inside functions."""
    here = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                up = node.level - is_package
                base = ["scoremix", *here[: len(here) - up], *base]
            # "from package import name": the name may be a module.
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "scoremix":
                inner = ".".join(name[1:])
                yield inner if inner in MODULES else ".".join(name[1:-1])


def is_below(asked, module):
    """Whether a file may ask another one."""
    if asked not in ROOM:  # the public names, where no file below the command line looks, or none at all
        return asked == "" and ROOM[module] == "cli"
    if {ROOM[asked], ROOM[module]} <= PAPERS and ROOM[asked] != ROOM[module]:
        return False
    return ORDER.index(asked) < ORDER.index(module)


def violations(source, module, is_package=False):
    """Imports that do not lead downstairs."""
    return [asked for asked in imports(source, module, is_package) if not is_below(asked, module)]


def test_every_module_has_a_place_in_a_room():
    assert set(ORDER) == set(MODULES)
    assert len(ORDER) == sum(len(names.split()) for _, names in ROOMS)  # none twice


def test_rooms_are_not_crowded():
    for folder in (ROOT, *(path for path in ROOT.rglob("*") if path.is_dir())):
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 14


@pytest.mark.parametrize("module", MODULES)
def test_imports_lead_downstairs(module):
    path = MODULES[module]
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("models.gates", "from scoremix.models.ladder import Ladder"),
        ("models.gates", "import scoremix.models.ladder as ladder"),
        ("models.gates", "from scoremix.models import ladder"),
        ("models.gates", "from .ladder import Ladder"),
        ("models.gates", "from . import ladder"),
        ("models.gates", "from ..estimators import DiffusionMixture"),
        ("models.gates", "from ..cli import app"),
        ("models.gates", "def f():\n    from scoremix import load"),
        ("models.gates", "if True:\n    from scoremix.models.subspace import Subspace"),
        ("learning.cks.ladder", "from scoremix.learning.gkl.warm_starts import greedy_cover"),
        ("plots.figure", "import scoremix.cli.summary"),
    ],
)
def test_forbidden_imports_are_seen(module, source):
    assert len(violations(source, module)) == 1


def test_allowed_imports_are_not_mistaken():
    source = "import numpy\nfrom scoremix.arrays import like\nfrom ..features import Hermite\nfrom . import gates"
    assert violations(source, "models.score_model") == []
    assert list(imports(source, "models.score_model", False)) == ["arrays", "features", "models.gates"]
    assert list(imports("from .reverse import dpm", "sampling", True)) == ["sampling.reverse"]
