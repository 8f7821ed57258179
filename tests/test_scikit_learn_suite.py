"""The mixture tests that the installed scikit-learn ships, run on `scoremix.GaussianMixture`.

Nothing is copied: the files are executed where they are, with the class exchanged, and the tests that they define
become ordinary ones here. Each passes or is an exception, and an exception that passes fails; so how many pass follows
from the exceptions alone. ``python tests/test_scikit_learn_suite.py`` prints it.

Tests that call private functions of scikit-learn's module by name are left out: those functions are not the class's.

SciPy decides when it is first imported whether it takes arrays of other libraries, so array-API tests run in a process
of their own, with ``SCIPY_ARRAY_API=1``; where that is set already they are ordinary tests too.
"""

import importlib.util
import inspect
import os
import subprocess
import sys
from types import CodeType, FunctionType
from unittest import mock

import numpy as np
import pytest
import sklearn.mixture
from sklearn.mixture import _gaussian_mixture
from sklearn.utils.fixes import parse_version

import scoremix

FILES = ("test_gaussian_mixture", "test_mixture")
HAS_ARRAY_API = os.environ.get("SCIPY_ARRAY_API") == "1"

EXCEPTIONS = {
    "test_gaussian_mixture_raises_where_array_api_not_implemented": "these starts take arrays of any library here",
}
"""Tests of public behaviour that fail as a whole, and why that is meant."""

if "or scale the input data" not in inspect.getsource(_gaussian_mixture):
    EXCEPTIONS["test_regularisation"] = "the words of the error are those of a later release of scikit-learn"

NOT_ASKED = {
    "test_score[float32]": "compares a mean in double precision with one in single precision, to seven decimals",
}
"""Cases in single precision, which scikit-learn itself leaves out unless it is told not to, that say nothing."""

SLOW = ("test_init", "test_monotonic_likelihood")

NO_TEST_SELECTED = 5
"""Exit status of pytest."""


def executed(name):
    """Names that a file of scikit-learn's tests defines when `GaussianMixture` is ours; none if it is not shipped."""
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
    """Tell whether a test, or a helper of its file that it calls, names a private function of scikit-learn's module."""
    codes, seen = [function.__code__], set()
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        words = {*code.co_names, *(constant for constant in code.co_consts if isinstance(constant, str))} - seen
        seen |= words
        for word in words:
            theirs, helper = vars(_gaussian_mixture).get(word), function.__globals__.get(word)
            if word.startswith("_") and getattr(theirs, "__module__", "") == _gaussian_mixture.__name__:
                return True
            if isinstance(helper, FunctionType) and helper.__module__ == function.__module__:
                codes.append(helper.__code__)
    return False


def arranged(function):
    """A test with the marks of this suite, without the cases of another class; it may warn, as it may at home."""

    def kept(mark):
        if mark.name != "parametrize":
            return mark
        names, values = mark.args
        values = [value for value in values if not isinstance(value, sklearn.mixture.BayesianGaussianMixture)]
        if "array_namespace" in names:
            values = [pytest.param(*value, marks=[pytest.mark.torch] * (value[0] == "torch")) for value in values]
        return pytest.mark.parametrize(names, values).mark

    function.pytestmark = [kept(mark) for mark in getattr(function, "pytestmark", [])]
    if function.__name__ in SLOW:
        function = pytest.mark.slow(function)
    return pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")(function)


PUBLIC = {
    name: arranged(value)
    for file in FILES
    for name, value in executed(file).items()
    if name.startswith("test_") and not is_private(value)
}
ARRAY_API = {name: test for name, test in PUBLIC.items() if "array_namespace" in test.__code__.co_varnames}
globals().update({name: test for name, test in PUBLIC.items() if HAS_ARRAY_API or name not in ARRAY_API})


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(autouse=True)
def exceptions(request):
    """Exceptions must fail."""
    if request.node.name in NOT_ASKED:
        pytest.skip(NOT_ASKED[request.node.name])
    if request.function.__name__ in EXCEPTIONS:
        request.applymarker(pytest.mark.xfail(reason=EXCEPTIONS[request.function.__name__], strict=True))


def share():
    """Number of public tests, and the share that passes."""
    return len(PUBLIC), 1 - len(EXCEPTIONS.keys() & PUBLIC.keys()) / max(1, len(PUBLIC))


def test_nearly_all_of_them_pass():
    number, passing = share()
    if number == 0:
        pytest.skip(f"scikit-learn {sklearn.__version__} is installed without its tests")
    assert number > 20
    is_new = parse_version(sklearn.__version__) >= parse_version("1.9")
    assert passing >= (0.97 if is_new else 0.95)
    assert not is_new or EXCEPTIONS.keys() <= PUBLIC.keys()


def of_another_process(marks):
    """Run the array-API tests where SciPy takes arrays of other libraries."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", "array_api", "-m", marks, __file__]
    done = subprocess.run(command, env=os.environ | {"SCIPY_ARRAY_API": "1"}, capture_output=True, text=True)
    if done.returncode == NO_TEST_SELECTED:
        pytest.skip(f"scikit-learn {sklearn.__version__} has no array-API tests of its mixtures")
    assert done.returncode == 0, done.stdout


if not HAS_ARRAY_API:

    @pytest.mark.slow
    def test_those_of_other_arrays():
        of_another_process("not torch")

    @pytest.mark.torch
    def test_those_of_torch():
        pytest.importorskip("torch")
        of_another_process("torch")


if __name__ == "__main__":
    number, passing = share()
    print(f"scikit-learn {sklearn.__version__}: {number} public tests of mixtures, of which {passing:.1%} pass")
    for name in EXCEPTIONS.keys() & PUBLIC.keys():
        print(f"{name}: {EXCEPTIONS[name]}")
