"""Many machines in one: the suite with other rounding, other data, another order, or a part of it.

Another BLAS, another order of summation or another compiler changes the last digits of every number, and with them
every decision that is closer than that. Such a machine is made here from this one: all floating-point numbers that
tests and library draw from NumPy are multiplied by 1 + e. The factor is a function of the number drawn, so two fits
with one seed still see the same numbers, and rows keep theirs when they are permuted or read in chunks.

* ``--rounding SEED``: factors of this seed, of ``--rounding-size`` (2e-15 is another BLAS in double precision; 1e-7,
  the default, is one in single precision, in which the search for a start works);
* ``--data-seed SEED``: data that a test draws by ``numpy.random.default_rng`` from a seed of its own, or a problem of
  `scoremix.evaluation` from its ``random_state``, come from another one; so do the examples of hypothesis. The seeds of
  estimators stay, and so does the data of a test marked ``scene``, which shows what happens there and need not
  elsewhere;
* ``--order SEED``: tests in another order;
* ``--part I/N``: one of N parts of the suite, equally long in expectation.
"""

from __future__ import annotations

import functools
import random
import sys
import zlib
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
DRAWS_DATA = (str(ROOT / "tests"), str(ROOT / "src" / "scoremix" / "evaluation"))
"""Where a generator made from a number is the seed of data."""

OF_RANGE = {"uniform": (0.0, 1.0), "random": (0.0, 1.0), "random_sample": (0.0, 1.0)}
"""Draws from [low, high), which must stay there."""

PLAIN = {name: getattr(np.random, name) for name in ("Generator", "RandomState", "default_rng")}
"""NumPy's own."""

REAL_DRAWS = {
    *OF_RANGE,
    *("normal", "standard_normal", "lognormal", "standard_t", "standard_cauchy"),
    *("exponential", "standard_exponential", "gamma", "standard_gamma", "chisquare", "noncentral_chisquare", "f"),
    *("dirichlet", "gumbel", "laplace", "logistic", "pareto", "rayleigh", "wald", "weibull"),
}
"""Methods of NumPy's generators that draw real numbers, other than those that call one of these. A choice among rows is
none: rows stay what they are."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("machines", "other machines, other data, another order")
    group.addoption("--rounding", type=seed_of, metavar="SEED", help="round all numbers drawn in another way")
    group.addoption("--rounding-size", type=size_of, default=1e-7, metavar="E", help="largest relative change (1e-7)")
    group.addoption("--data-seed", type=seed_of, metavar="SEED", help="draw what tests draw by default_rng(SEED) anew")
    group.addoption("--order", type=int, metavar="SEED", help="shuffle the tests")
    group.addoption("--part", type=part_of, metavar="I/N", help="run part I (1 to N) of N")


def seed_of(word: str) -> int:
    """A seed: a whole number, at least 0."""
    if not word.isdecimal():
        raise ArgumentTypeError(f"{word!r} is no whole number that is at least 0")
    return int(word)


def size_of(word: str) -> float:
    """A relative size, between 0 and 0.1."""
    try:
        size = float(word)
    except ValueError:
        size = -1.0
    if not 0 < size < 0.1:
        raise ArgumentTypeError(f"{word!r} is no number between 0 and 0.1")
    return size


def part_of(word: str) -> tuple[int, int]:
    """Part I of N."""
    one, _, of = word.partition("/")
    if not (one.isdecimal() and of.isdecimal() and 1 <= int(one) <= int(of)):
        raise ArgumentTypeError(f"{word!r} is no I/N with I from 1 to N")
    return int(one), int(of)


def pytest_configure(config: pytest.Config) -> None:
    seed, data_seed = config.getoption("rounding"), config.getoption("data_seed")
    if seed is not None or data_seed is not None:
        size = 0.0 if seed is None else config.getoption("rounding_size")
        install(functools.partial(rounded, size=size, seed=seed or 0), data_seed)
    if data_seed is not None:
        settings.register_profile("redrawn", settings.get_profile("default"), derandomize=False)
        settings.load_profile("redrawn")
        config.option.hypothesis_seed = str(data_seed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    Data.is_scene = item.get_closest_marker("scene") is not None


def pytest_report_header(config: pytest.Config) -> list[str]:
    names = ("rounding", "data_seed", "order", "part")
    given = [f"{name} {value}" for name in names if (value := config.getoption(name)) is not None]
    return [f"machines: {', '.join(given)} (rounding of {config.getoption('rounding_size'):g})"] if given else []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (part := config.getoption("part")) is not None:
        one, of = part
        # By name, not by position: a test stays in its part when others are added.
        kept = [item for item in items if zlib.crc32(item.nodeid.encode()) % of == (one - 1) % of]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    if (order := config.getoption("order")) is not None:
        # Files, and the tests of each: what the tests of a file share is made once, as ever.
        files = {item.path: random.Random(f"{order} {item.path.name}").random() for item in items}
        random.Random(order).shuffle(items)
        items.sort(key=lambda item: files[item.path])


class Data:
    """What is known of the test that runs."""

    is_scene = False


def rounded(values, size: float, seed: int):
    """Multiply a number, or an array in place, by 1 + e with ``|e| <= size``, where e is a function of the number."""
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64) or size == 0:
        return values
    bits = np.ascontiguousarray(array).view(f"u{array.itemsize}").astype(np.uint64).reshape(array.shape)
    with np.errstate(over="ignore"):  # SplitMix64 (Steele, Lea and Flood, 2014) of the number and the seed
        bits = bits + np.uint64((2 * seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((bits ^ (bits >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    factor = (1 + size * unit).astype(array.dtype)
    if not isinstance(values, np.ndarray):
        return type(values)(array * factor)
    values *= factor
    return values


def install(change, data_seed: int | None) -> None:
    """Put generators that change what they draw in the place of NumPy's, and other seeds in that of the tests'."""
    generator, plain = _changed(PLAIN["Generator"], change), PLAIN["default_rng"]
    np.random.Generator, np.random.RandomState = generator, _changed(PLAIN["RandomState"], change)

    @functools.wraps(plain)
    def default_rng(seed=None):
        if isinstance(seed, generator):  # one of NumPy's own or of ours
            return seed
        named = isinstance(seed, int | np.integer | list | tuple) and data_seed is not None
        if named and not Data.is_scene and sys._getframe(1).f_code.co_filename.startswith(DRAWS_DATA):
            seed = [*np.atleast_1d(seed), 2**31 + data_seed]
        return generator(plain(seed).bit_generator)

    np.random.default_rng = default_rng


def _changed(kind: type, change) -> type:
    """A subclass of a NumPy generator whose real draws are changed; any generator of that kind is an instance."""

    class Same(type):
        def __instancecheck__(cls, instance) -> bool:
            return isinstance(instance, kind)

    def reduced(self):
        _, arguments, *state = kind.__reduce__(self)
        return _restored, (kind.__name__, *arguments), *state

    # RandomState.random is random_sample.
    own = {name for name in REAL_DRAWS if hasattr(kind, name)} - ({"random"} if hasattr(kind, "rand") else set())
    draws = {name: _draw(getattr(kind, name), change) for name in own}
    return Same(kind.__name__, (kind,), {**draws, "__reduce__": reduced})


def _restored(name: str, *arguments):
    return getattr(np.random, name)(*arguments)


def _draw(method, change):
    name = method.__name__

    @functools.wraps(method)
    def draw(self, *args, **kwargs):
        drawn = change(method(self, *args, **kwargs))
        if name in OF_RANGE:
            low, high = OF_RANGE[name]
            if name == "uniform":
                low, high = (*args, *(low, high)[len(args) :])[:2]
                low, high = kwargs.get("low", low), kwargs.get("high", high)
            inside = np.clip(drawn, low, np.nextafter(np.asarray(high, np.asarray(drawn).dtype), low))
            if not isinstance(drawn, np.ndarray):
                return type(drawn)(inside)
            drawn[...] = inside
        if name == "dirichlet":
            drawn /= drawn.sum(axis=-1, keepdims=True)
        return drawn

    return draw
