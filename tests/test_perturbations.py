"""The plugin that makes other machines of this one: what it changes, by how much, and what stays."""

import copy
import functools
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import perturbations
from tests.perturbations import PLAIN, REAL_DRAWS, rounded

ROOT = Path(__file__).parents[1]


@pytest.fixture
def generators(monkeypatch):
    """NumPy with its generators exchanged for those that round by 1e-3, with other seeds of data."""
    monkeypatch.setattr(perturbations.Data, "is_scene", False)
    for name, plain in PLAIN.items():
        monkeypatch.setattr(np.random, name, plain)
    return functools.partial(perturbations.install, functools.partial(rounded, size=1e-3, seed=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_change_by_as_much_as_is_said_and_always_alike(dtype):
    plain = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    once, again, other = (rounded(plain.copy(), 1e-3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    change = once / plain.astype(np.float64) - 1
    assert 9e-4 < np.abs(change).max() < 1e-3 + np.finfo(dtype).eps
    # Uniform on both sides: a mean of 1000 has the standard deviation 1e-3 / sqrt(3000); six of these.
    assert abs(change.mean()) < 1.1e-4
    assert np.count_nonzero(once == other) < 10
    # Of the number, not of its place.
    np.testing.assert_array_equal(rounded(plain[::-1].copy(), 1e-3, 1), once[::-1])
    np.testing.assert_array_equal(rounded(plain.reshape(10, 100).T.copy(), 1e-3, 1), once.reshape(10, 100).T)


def test_what_is_no_real_number_stays():
    whole = np.arange(5)
    assert rounded(whole, 1e-3, 1) is whole
    assert rounded(3, 1e-3, 1) == 3
    assert type(rounded(0.5, 1e-3, 1)) is float


@pytest.mark.parametrize("kind", ["default_rng", "RandomState"])
def test_all_real_draws_are_rounded_and_no_others(generators, kind):
    plain = getattr(np.random, kind)
    arguments = {
        "chisquare": (3,),
        "dirichlet": ([1.0, 2.0],),
        "f": (3, 9),
        "gamma": (2,),
        "multivariate_normal": ([0.0, 1.0], np.diag([1.0, 4.0])),
        "noncentral_chisquare": (3, 1),
        "pareto": (3,),
        "standard_gamma": (2,),
        "standard_t": (5,),
        "wald": (1, 1),
        "weibull": (2,),
    }
    names = [name for name in [*REAL_DRAWS, "multivariate_normal"] if hasattr(plain(3), name)]
    draw = {name: arguments.get(name, ()) for name in names}
    expected = {name: getattr(plain(3), name)(*given, size=50) for name, given in draw.items()}
    generators(None)
    for name, given in draw.items():
        drawn = getattr(getattr(np.random, kind)(3), name)(*given, size=50)
        assert not np.array_equal(drawn, expected[name]), name
        mean = 1.0 if name == "multivariate_normal" else 0.0  # what is added after the draw
        np.testing.assert_allclose(drawn, expected[name], rtol=3e-3, atol=2e-3 * mean + 1e-12, err_msg=name)
    ours = getattr(np.random, kind)
    np.testing.assert_array_equal(ours(3).permutation(20), plain(3).permutation(20))
    np.testing.assert_array_equal(ours(3).choice(20, 5), plain(3).choice(20, 5))


def test_uniform_draws_stay_in_their_range_and_shares_add_up(generators):
    generators(None)
    rng = np.random.default_rng(0)
    assert rng.random(100_000).max() < 1
    assert rng.random() < 1
    inside = rng.uniform(-3, 5, 100_000)
    assert inside.min() >= -3
    assert inside.max() < 5
    np.testing.assert_allclose(rng.dirichlet(np.ones(4), 100).sum(axis=1), 1, rtol=1e-15)


def test_generators_are_generators_still(generators):
    plain = np.random.default_rng(0)
    generators(None)
    assert isinstance(plain, np.random.Generator)
    assert np.random.default_rng(plain) is plain
    rng = np.random.default_rng(0)
    (child,) = rng.spawn(1)
    twin, thawed = copy.deepcopy(rng), copy.copy(rng)
    same = rng.standard_normal(3)
    np.testing.assert_array_equal(twin.standard_normal(3), same)
    assert type(child) is type(thawed) is type(rng)
    out = np.empty(3)
    assert np.random.default_rng(0).standard_normal(out=out) is out
    np.testing.assert_array_equal(np.random.default_rng(0).standard_normal(3), out)


def test_states_are_kept_when_pickled(generators):
    generators(None)
    assert type(pickle.loads(pickle.dumps(np.random.RandomState(0)))) is np.random.RandomState
    assert pickle.loads(pickle.dumps(np.random.default_rng(0))).random() == np.random.default_rng(0).random()


def test_data_of_tests_come_from_other_seeds_and_those_of_scenes_do_not(generators, monkeypatch):
    plain = np.random.default_rng(7).integers(1000, size=9)
    generators(5)
    redrawn = np.random.default_rng(7).integers(1000, size=9)
    assert not np.array_equal(redrawn, plain)
    np.testing.assert_array_equal(np.random.default_rng(7).integers(1000, size=9), redrawn)
    monkeypatch.setattr(perturbations.Data, "is_scene", True)
    np.testing.assert_array_equal(np.random.default_rng(7).integers(1000, size=9), plain)


@pytest.mark.slow
def test_orders_shuffle_and_parts_are_disjoint():
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/test_words.py"]
    plain, *parts = (
        [line for line in out.splitlines() if "::" in line]
        for out in (
            subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for options in ([], ["--part", "1/2", "--order", "3"], ["--part", "2/2"])
        )
    )
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(plain)
    assert parts[0] != [name for name in plain if name in parts[0]]
    assert parts[1] == [name for name in plain if name in parts[1]]
