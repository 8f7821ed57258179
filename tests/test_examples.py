"""The examples run and draw, and so does the code of the README and of the documentation."""

import contextlib
import doctest
import io
import pkgutil
import re
import runpy
import shlex
from importlib.resources import files
from pathlib import Path

import matplotlib as mpl
import pytest

from scoremix.cli.app import main

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SLOW = {"plot_levels", "plot_two_stages"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in EXAMPLES],
)
def test_example_draws_a_figure(path, tmp_path):
    figure = tmp_path / "figure.png"
    with mpl.rc_context({"backend": "agg"}):
        runpy.run_path(str(path))["main"](str(figure))
    assert figure.stat().st_size > 10_000
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:.* was fitted to standardised columns")
@pytest.mark.parametrize(("page", "n_cells"), [("README.md", 3), ("docs/start.md", 2)])
def test_python_of_the_page_runs_and_finds_what_it_says(page, n_cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for code in blocks(ROOT / page, "python"):
            exec(compile(code, page, "exec"), names)
    assert names["again"].n_cells_ == names["model"].n_cells_ == n_cells


def test_numbers_of_the_start_page():
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for code in blocks(ROOT / "docs" / "start.md", "python")[:5]:
            exec(code, names)
    centers = names["columns"].decode(names["model"].centers_)
    rounded = [[round(length), round(waiting, -1)] for length, waiting in centers]
    assert sorted(rounded) == [[2, 50], [4, 80]]
    assert 0.12 < ((names["clean"] - names["X"]) ** 2).mean() < 0.28
    assert 0.56 < ((names["noisy"] - names["X"]) ** 2).mean() < 0.72


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_commands_of_the_page_run(page, tmp_path, monkeypatch, capsys):
    (tmp_path / "data.csv").write_bytes((files("scoremix") / "data" / "old_faithful.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    lines = "".join(blocks(ROOT / page, "console")).replace("\\\n", "").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("scoremix ")]
    assert len(commands) == 4
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"data.csv", "model.safetensors", "fit.png", "samples.csv", "centres.csv"}


def test_sessions_of_the_pages_show_what_they_print():
    attempted = 0
    for page in PAGES:
        result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
        assert result.failed == 0, page.name
        attempted += result.attempted
    assert attempted >= 4


def test_names_of_the_pages_exist():
    quoted = re.compile(r"`(scoremix(?:\.\w+)+)`")
    named = {(page.name, name) for page in PAGES for name in quoted.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    for page, name in sorted(named):
        assert pkgutil.resolve_name(name) is not None, page


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target).exists(), target


def test_rooms_of_the_design_page_are_those_that_are_tested():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[\w.]+`|\(ground\)) \| [^|]* \| (.*) \|$", page, re.MULTILINE)
    written = [(room.strip("`"), re.findall(r"`([\w.]+)`", files)) for room, files in rows]
    rooms = runpy.run_path(str(ROOT / "tests" / "test_floors.py"))["ROOMS"]
    assert written == [(room or "(ground)", files.split()) for room, files in rooms]
