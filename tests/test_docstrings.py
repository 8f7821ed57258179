"""Docstrings of public names: complete, matching the signatures, and their examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from numpydoc.validate import validate

import scoremix

PACKAGES = ("scoremix", "scoremix.sampling", "scoremix.evaluation")

NOT_ASKED = {
    "ES01",  # the summary may say it all
    "SA01",  # the package is small enough to be seen
    "EX01",  # not every function has an example of its own
}
"""All other checks of numpydoc count: above all, Parameters (PR) and Returns (RT) match the signature."""


def public_names():
    """Public functions and classes, and the public members that they have from this library."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            yield f"{package}.{name}"
            if inspect.isclass(value):
                ours = [vars(base) for base in value.__mro__ if base.__module__.startswith("scoremix")]
                for member in sorted(set().union(*ours)):
                    if not member.startswith(("_", "set_")):  # scikit-learn adds the setters
                        yield f"{package}.{name}.{member}"


@pytest.mark.parametrize("name", list(public_names()))
def test_numpydoc(name):
    assert [error for error in validate(name)["errors"] if error[0] not in NOT_ASKED] == []


def modules():
    return ["scoremix", *(m.name for m in pkgutil.walk_packages(scoremix.__path__, "scoremix."))]


@pytest.mark.parametrize("name", modules())
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_estimator_has_an_example():
    examples = [e for t in doctest.DocTestFinder().find(scoremix.DiffusionMixture) for e in t.examples]
    assert len(examples) >= 5
    assert any(e.want for e in examples)


def test_missing_sections_are_seen():
    # `inspect.getmembers` is documented in prose only: the checks above do fail on such docstrings.
    codes = {code for code, _ in validate("inspect.getmembers")["errors"]}
    assert codes >= {"PR01", "RT01"}


def test_words_are_those_of_the_glossary():
    page = (Path(scoremix.__file__).parents[2] / "docs" / "notation.md").read_text(encoding="utf-8")
    table = page.partition("## Words")[2].partition("## Shapes")[0]
    shunned = [
        word for line in re.findall(r"\|([^|]*)\|$", table, re.MULTILINE)[2:] for word in line.strip().split(", ")
    ]
    assert "law" in shunned
    assert len(shunned) > 12
    used = re.compile(rf"\b({'|'.join(shunned)})s?\b", re.IGNORECASE)
    for path in Path(scoremix.__file__).parent.rglob("*.py"):
        assert not used.findall(path.read_text(encoding="utf-8")), path
