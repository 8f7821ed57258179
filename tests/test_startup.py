"""What is loaded when: the command line answers at once, and names are loaded when they are first asked for."""

import copy
import inspect
import pickle
import subprocess
import sys

import pytest

import scoremix
from scoremix.cli import app as cli

SLOW = {"numpy", "scipy", "sklearn", "pandas", "matplotlib", "pyarrow", "safetensors", "rich", "pydantic"}
"""Packages of which each takes longer to load than the interpreter to start."""


def loaded(code, *arguments):
    """Modules that a fresh interpreter holds after some code, whatever its exit status.

    Data frames are hidden: scikit-learn loads pandas where it is there, and pandas PyArrow.
    """
    hidden = "import atexit, sys; sys.modules.update(pandas=None, polars=None)"
    told = "atexit.register(lambda: print('', *(m for m, v in sys.modules.items() if v), file=sys.stderr))"
    words = [sys.executable, "-c", f"{hidden}; {told}; {code}", *arguments]
    return set(subprocess.run(words, capture_output=True, text=True, check=False).stderr.splitlines()[-1].split())


def packages(modules):
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["--version"], [], ["--wrong"], ["wrong"], ["fit", "--wrong"], ["fit", "data.csv"]),
        *([command, "--help"] for command in ("demo", "fit", "sample", "denoise", "score", "info")),
    ],
    ids=" ".join,
)
def test_what_needs_no_work_loads_nothing_slow(words):
    modules = loaded("from scoremix.cli.app import main; sys.exit(main())", *words)
    assert "scoremix.cli.app" in modules
    assert packages(modules) & SLOW <= ({"pydantic"} if words == ["fit", "data.csv"] else set())


def test_a_command_loads_its_work():
    modules = loaded("from scoremix.cli.app import main; sys.exit(main())", "info", "missing")
    assert modules >= {"scoremix.cli.using", "numpy", "rich"}


def test_the_package_loads_nothing_by_itself():
    bare = loaded("import importlib, typing")
    assert loaded("import scoremix") - bare == {"scoremix"}
    subprocess.run([sys.executable, "-W", "error", "-c", "import scoremix"], check=True)


def test_the_public_names_need_what_scikit_learns_mixtures_need():
    more = loaded("from scoremix import *") - loaded("import sklearn.mixture")
    assert packages(more) - sys.stdlib_module_names <= {"scoremix", "array_api_compat", "safetensors"}
    assert "scoremix.estimators.gaussian_mixture" in more


def test_subpackages_are_loaded_when_asked_for():
    names = ("scoremix.evaluation", "scoremix.plots", "scoremix.sampling")
    assert loaded(f"import scoremix; {', '.join(names)}").issuperset(names)
    for name in names:
        assert getattr(scoremix, name.partition(".")[2]) is sys.modules[name]


def test_the_names_are_listed_before_they_are_loaded():
    assert "scoremix.estimators" not in loaded("import scoremix; dir(scoremix)")
    assert set(dir(scoremix)) == {*scoremix.__all__, "__version__", "evaluation", "plots", "sampling"}
    assert all(hasattr(scoremix, name) for name in dir(scoremix))


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="module 'scoremix' has no attribute 'Mixture'"):
        scoremix.Mixture  # noqa: B018
    with pytest.raises(ImportError, match="Mixture"):
        exec("from scoremix import Mixture")


def test_lazy_names_are_pickled_copied_and_documented():
    for name in scoremix.__all__:
        value = getattr(scoremix, name)
        assert pickle.loads(pickle.dumps(value)) is value
        assert copy.deepcopy(value) is value
    code = "import pickle; pickle.loads(sys.argv[1].encode('latin-1'))"
    estimator = pickle.dumps(scoremix.GaussianMixture(3), protocol=0).decode("latin-1")
    assert "scoremix.estimators.gaussian_mixture" in loaded(code, estimator)
    text = subprocess.run([sys.executable, "-m", "pydoc", "scoremix"], capture_output=True, text=True, check=True)
    assert "class GaussianMixture" in text.stdout


def test_defaults_of_the_command_line_are_those_of_the_estimators():
    defaults = {name: p.default for name, p in inspect.signature(cli._fit).parameters.items()}
    diffusion, gaussian, ddpm = scoremix.DiffusionMixture(), scoremix.GaussianMixture(), scoremix.DDPMMixture()
    shared = [
        *(("min_weight", diffusion.min_weight), ("levels", diffusion.n_levels), ("draws", diffusion.n_draws)),
        *(("gates", diffusion.gates), ("correction_of", diffusion.correction_of), ("degree", diffusion.degree)),
        *(("learning_rate", ddpm.learning_rate), ("step_rule", ddpm.step_rule)),
    ]
    assert {name: defaults[name] for name, _ in shared} == dict(shared)
    covariances = {"diffusion": diffusion.covariance, "gaussian": gaussian.covariance_type, "ddpm": ddpm.covariance}
    assert {kind: choices[0] for kind, choices in cli._COVARIANCES_OF.items()} == covariances
