"""The same suite on other machines: one command for each of them.

    .venv/bin/nox --list                        after `make test`, which installs nox
    .venv/bin/nox -s simd_off                   the fast suite
    .venv/bin/nox -s rounding -- --rounding 7 --part 2/5 tests/test_moves.py

What stands after ``--`` goes to pytest. Sessions that change how the suite runs do so in the environment that nox
itself is in; those that change what it runs on make one of their own. `.ci/run` runs them on a part of the suite.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

HERE = sys.executable
PINS = ("--constraint", "tools/constraints.txt")
WORKERS = int(os.environ.get("WORKERS", "2"))

FEATURES = """
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
print(*(name for name in __cpu_dispatch__ if __cpu_features__[name]))
"""
"""The instruction sets that NumPy was built for and found; to name others in its variable is a warning."""

INSTALLED = """
import sys
from pathlib import Path
import scoremix
assert Path(scoremix.__file__).is_relative_to(sys.prefix), scoremix.__file__
for name in ("galaxies", "old_faithful"):
    model = scoremix.load(f"demo/{name}.safetensors")
    assert model.n_cells_ > 1
    for ending in ("_samples.csv", ".png"):
        assert Path(f"demo/{name}{ending}").stat().st_size > 1000
"""
"""What must be true after `scoremix demo --out demo` of a scoremix that is installed and not a checkout."""


def suite(session: nox.Session, *words: str, python: str = "python", workers: int = WORKERS, **variables: str) -> None:
    """Run the fast tests."""
    marked = ("-m", "not slow and not torch")
    command = (python, "-m", "pytest", "-n", str(workers), *marked, *words, *session.posargs)
    session.run(*command, env={"OMP_NUM_THREADS": "1"} | variables, external=python == HERE)


def interpreter(version: str) -> str:
    """An interpreter that runs: of the path or, where that has a shim that does not, of pyenv; else its bare name."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*/bin/{name}")
    for found in (shutil.which(name), *map(str, pyenv)):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return name


@nox.session(python=False)
def simd_off(session: nox.Session) -> None:
    """NumPy without the instructions that only some processors have."""
    features = str(session.run(HERE, "-c", FEATURES, silent=True, external=True)).strip()
    session.log(f"switched off: {features}")
    suite(session, python=HERE, NPY_DISABLE_CPU_FEATURES=features)


@nox.session(python=False)
@nox.parametrize("number", [1, 2], ids=["1", "2"])
def threads(session: nox.Session, number: int) -> None:
    """One BLAS thread, or two."""
    suite(session, python=HERE, workers=max(1, WORKERS // number), OMP_NUM_THREADS=str(number))


@nox.session(python=False)
def rounding(session: nox.Session) -> None:
    """Other last digits in all numbers drawn: -- --rounding SEED."""
    suite(session, "--rounding", "1", python=HERE)


@nox.session(python=False)
def order(session: nox.Session) -> None:
    """The tests in another order: -- --order SEED."""
    suite(session, "--order", "1", python=HERE)


@nox.session(python=False)
def data_seed(session: nox.Session) -> None:
    """All data drawn anew: -- --data-seed SEED."""
    suite(session, "--data-seed", "1", python=HERE)


@nox.session(python=HERE)
def lowest(session: nox.Session) -> None:
    """The lowest versions of the dependencies that pyproject.toml allows, with the Python that nox runs in."""
    versions = Path(session.create_tmp()) / "lowest.txt"
    compiled = ("--quiet", "--resolution", "lowest-direct", "--output-file", str(versions), "pyproject.toml")
    session.run("uv", "pip", "compile", "--python", HERE, *compiled, silent=True, external=True)
    session.install(*PINS, "--constraint", str(versions), "--editable", ".[test]")
    # Old releases of a dependency may use what newer ones of its own dependencies call deprecated.
    suite(session, "-W", "ignore::DeprecationWarning")


def _tests(session: nox.Session) -> None:
    """Another Python; skipped where there is none."""
    session.install(*PINS, "--editable", ".[test]")
    suite(session)


for version in ("3.12", "3.13"):
    nox.session(name=f"tests-{version}", python=interpreter(version))(_tests)


@nox.session(python=HERE, reuse_venv=False)
@nox.parametrize("kind", ["wheel", "sdist"], ids=["wheel", "sdist"])
def wheel(session: nox.Session, kind: str) -> None:
    """What a user gets: built, installed with nothing else, and asked for its demonstration."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    home = folder / "home"
    home.mkdir(parents=True)
    session.run("uv", "build", "--quiet", f"--{kind}", "--out-dir", str(folder), external=True)
    (built,) = folder.glob("scoremix-*")
    session.install("--reinstall-package", "scoremix", str(built))
    session.chdir(folder)
    clean = {"HOME": str(home), "PYTHONPATH": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}
    session.run("scoremix", "demo", "--out", "demo", env=clean)
    session.run("scoremix", "info", "demo/galaxies.safetensors", env=clean)
    session.run("python", "-c", INSTALLED, env=clean)


@nox.session(python=HERE, default=False)
def no_blas(session: nox.Session) -> None:
    """A NumPy without BLAS, whose compilation takes about a quarter of an hour."""
    setup = ("allow-noblas=true", "blas=none", "lapack=none")
    session.install("--no-binary", "numpy", "numpy", *(f"-Csetup-args=-D{value}" for value in setup))
    session.install(*PINS, "--editable", ".[test]")
    session.run(
        "python", "-c", "import numpy; assert numpy.__config__.CONFIG['Build Dependencies']['blas']['name'] == 'none'"
    )
    suite(session)
