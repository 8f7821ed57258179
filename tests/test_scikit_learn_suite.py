"""The mixture tests that the installed scikit-learn ships, run on `scoremix.GaussianMixture`.

Nothing is copied: the files are executed where they are, with the class exchanged, and what they define becomes ordinary
tests here. A test fails unless it passes or is an exception, and an exception that passes fails too. So the share that
passes is known from the exceptions alone; ``python tests/test_scikit_learn_suite.py`` prints it.

SciPy decides when it is first imported whether it takes arrays of other libraries, so the array-API tests run in a
process of their own, with ``SCIPY_ARRAY_API=1``; where that is set already, they are ordinary tests as well.
"""

import importlib.util
import os
import subprocess
import sys
from types import CodeType, FunctionType
from unittest import mock

import numpy as np
import pytest
import sklearn.mixture
from sklearn.mixture import _gaussian_mixture

import scoremix

FILES = ("test_gaussian_mixture", "test_mixture")
HAS_ARRAY_API = os.environ.get("SCIPY_ARRAY_API") == "1"

EXCEPTIONS = {}
"""Tests of public behaviour that fail, and why that is meant."""


def executed(name):
    """Names that a file of scikit-learn's tests defines when `GaussianMixture` is ours; none where it is not shipped."""
    try:
        spec = importlib.util.find_spec(f"sklearn.mixture.tests.{name}")
    except ModuleNotFoundError:
        return {}
    if spec is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sklearn.mixture, "GaussianMixture", scoremix.GaussianMixture):
        spec.loader.exec_module(module)
    return vars(module)


def is_private(function):
    """Tell whether a test, or a helper that it calls, needs a private function of scikit-learn's module by its name."""
    codes, seen = [function.__code__], set()
    while codes:
        code = codes.pop()
        for name in (*code.co_names, *code.co_consts):
            if isinstance(name, CodeType):
                codes.append(name)
            elif isinstance(name, str) and name not in seen:
                seen.add(name)
                if name.startswith("_") and callable(vars(_gaussian_mixture).get(name)):
                    if vars(_gaussian_mixture)[name].__module__ == _gaussian_mixture.__name__:
                        return True
                helper = function.__globals__.get(name)
                if isinstance(helper, FunctionType) and helper.__module__ == function.__module__:
                    codes.append(helper.__code__)
    return False


def arranged(function):
    """Leave out cases of other classes, and mark those that need PyTorch."""

    def kept(mark):
        if mark.name != "parametrize":
            return mark
        names, values = mark.args
        values = [value for value in values if not isinstance(value, sklearn.mixture.BayesianGaussianMixture)]
        if "array_namespace" in names:
            values = [pytest.param(*value, marks=[pytest.mark.torch] * (value[0] == "torch")) for value in values]
        return pytest.mark.parametrize(names, values).mark

    function.pytestmark = [kept(mark) for mark in getattr(function, "pytestmark", [])]
    return pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")(function)


def needs_array_api(function):
    return "array_namespace" in function.__code__.co_varnames


SHIPPED = {
    name: arranged(value)
    for file in FILES
    for name, value in executed(file).items()
    if name.startswith("test_") and (os.environ.get("ALL") or not is_private(value))
}
globals().update({name: test for name, test in SHIPPED.items() if HAS_ARRAY_API or not needs_array_api(test)})


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param


@pytest.fixture
def global_random_seed():
    return 42
