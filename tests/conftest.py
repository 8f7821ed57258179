"""What all tests share: the array libraries that floors 1 to 3 run on, and reproducible hypothesis runs."""

import importlib

import pytest
from hypothesis import settings

# Examples are derived from the test itself, not from a clock or a database: a run is the same everywhere.
# `pytest --hypothesis-profile thorough` tries a hundred times as many.
for profile, n_examples in {"default": 200, "thorough": 20_000}.items():
    settings.register_profile(profile, derandomize=True, deadline=None, max_examples=n_examples, database=None)
settings.load_profile("default")

pytest_plugins = ["tests.perturbations", "tests.benchmark_suites"]

LIBRARIES = {
    "numpy": "array_api_compat.numpy",
    "array_api_strict": "array_api_strict",
    "torch": "array_api_compat.torch",
}


@pytest.fixture(scope="session", params=["numpy", "array_api_strict", pytest.param("torch", marks=pytest.mark.torch)])
def xp(request):
    """The array-API namespace a test runs on; results are brought back with `scoremix.arrays.to_numpy`."""
    pytest.importorskip(request.param)
    return importlib.import_module(LIBRARIES[request.param])
