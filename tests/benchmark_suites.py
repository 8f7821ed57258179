"""Every suite of benchmarks by name, and its tables at the tiny size, which are run once."""

import importlib
import json
import warnings
from functools import cache

import pytest

SUITES = {
    "score": "benchmarks.run",
    **{name: f"benchmarks.{name}.run" for name in ("gaussian", "global_start", "general", "ddpm")},
}


def suite_of(name):
    return importlib.import_module(SUITES[name]).SUITE


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Folder of all tables of a suite."""

    @cache
    def run(name):
        folder = tmp_path_factory.mktemp(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what optional rivals import
            suite_of(name).run(["--size", "tiny", "--output", str(folder)])
        return folder

    return run


@pytest.fixture
def tiny_rows(tiny_run):
    """Rows of one table of a suite."""

    def rows(name, table):
        path = tiny_run(name) / f"{suite_of(name).prefix}{table}.json"
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    return rows
