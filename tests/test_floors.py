"""The house has floors: a file imports only from lower ones, never from its own.

A package's ``__init__`` has a floor too, above whatever it re-exports; those that re-export nothing are on floor 0.
Importing ``scoremix.a.b`` runs ``scoremix/__init__`` first, of course: what counts is what a file asks for.
"""

import ast
from pathlib import Path

import pytest

import scoremix

ROOT = Path(scoremix.__file__).parent

FLOORS = (
    "arrays paths terminal screen words learning models samples estimators.learnt estimators.schema estimators.whole"
    " samples.csv_dialect",
    "noise features learning.shrinkage samples.source samples.formats",
    "samples.reduce samples.files learning.moments models.cells models.subspace models.covariance evaluation.truth",
    "samples.columns models.piecewise models.joint learning.warm_starts learning.selection"
    " learning.noise_scale evaluation.estimate evaluation.gaussian_truth",
    "models.ladder models.mixture evaluation.continuous_truth evaluation.certificate sampling.reverse",
    "learning.score_regression learning.acceleration learning.student sampling.draw sampling.density"
    " storage models.corrected estimators.inputs evaluation.problems evaluation.metrics evaluation.total_variation",
    "learning.clusters learning.em learning.residual_regression models.likelihood_ratio models.split_tree sampling"
    " estimators.diffusion_density evaluation",
    "learning.seeding learning.posterior learning.ddpm learning.alignment"
    " learning.ddpm_covariances learning.step_rules learning.missing learning.stepwise estimators.model_file",
    "learning.merges learning.coordinates learning.spectral learning.two_components learning.covariance_candidates"
    " estimators.mixture_inputs",
    "learning.splits learning.descent learning.descent_starts learning.atoms learning.crude_estimates"
    " estimators.mixture_file estimators.parameters",
    "learning.moves learning.likelihood_ratio_regression estimators.ddpm_file estimators.ddpm_inputs",
    "learning.global_start",
    "learning.component_number learning.cell_gates",
    "learning.general_mixture estimators.gaussian_mixture",
    "learning.mixture_ladder estimators.ddpm_mixture",
    "learning.cell_candidates learning.cell_ladder",
    "estimators.diffusion_mixture",
    "estimators plots summary",
    "demo fitting using scoremix",
    "cli",
)
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules.split()}


def modules():
    """Every module by its name without the leading ``scoremix.`` (``scoremix`` itself for the top)."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__") or "scoremix"] = path
    return found


MODULES = modules()


def imports(source, module, is_package):
    """Names of modules of the house that a source text imports: absolute, relative, and inside functions."""
    here = [] if module == "scoremix" else module.split(".")
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
                yield inner if inner in MODULES else ".".join(name[1:-1]) or "scoremix"


def violations(source, module, is_package=False):
    """Imports that do not lead downstairs."""
    return [asked for asked in imports(source, module, is_package) if FLOOR[asked] >= FLOOR[module]]


def test_every_module_has_a_floor_and_every_floor_only_modules():
    assert set(FLOOR) == set(MODULES)
    assert len(FLOOR) == sum(len(floor.split()) for floor in FLOORS)  # none twice


@pytest.mark.parametrize("module", MODULES)
def test_imports_lead_downstairs(module):
    path = MODULES[module]
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("models.cells", "from scoremix.models.ladder import Ladder"),
        ("models.cells", "import scoremix.models.ladder as ladder"),
        ("models.cells", "from scoremix.models import ladder"),
        ("models.cells", "from .ladder import Ladder"),
        ("models.cells", "from . import ladder"),
        ("models.cells", "from ..estimators import DiffusionMixture"),
        ("models.cells", "from .. import cli"),
        ("models.cells", "def f():\n    from scoremix import load"),
        ("models.cells", "if True:\n    from scoremix.models.subspace import Subspace"),
        ("plots", "import scoremix.summary"),
    ],
)
def test_forbidden_imports_are_seen(module, source):
    assert len(violations(source, module)) == 1


def test_allowed_imports_are_not_mistaken():
    source = "import numpy\nfrom scoremix.arrays import like\nfrom ..features import Hermite\nfrom . import cells"
    assert violations(source, "models.piecewise") == []
    assert list(imports(source, "models.piecewise", False)) == ["arrays", "features", "models.cells"]
    assert list(imports("from .reverse import dpm", "sampling", True)) == ["sampling.reverse"]
