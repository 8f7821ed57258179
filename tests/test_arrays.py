"""Arrays: what crosses between NumPy and the library of the data, and what must not."""

import numpy as np
import pytest

from scoremix.arrays import (
    as_floating,
    at_least_in_place,
    exp_in_place,
    indices_like,
    is_foreign,
    like,
    multiply_into,
    namespace,
    product,
    to_numpy,
)


def test_namespace_is_that_of_the_array(xp):
    x = xp.asarray([1.0, 2.0])
    assert type(namespace(x).ones(3)) is type(x)
    for name in ("argmax", "argsort", "take", "clip", "concat", "astype"):
        assert hasattr(namespace(x), name)


def test_only_other_libraries_are_foreign(xp):
    assert is_foreign(xp.asarray([1.0])) == (type(xp.asarray([1.0])) is not np.ndarray)
    for x in ([1.0], 1.0, None, np.float64(1.0), "text"):
        assert not is_foreign(x)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_like_takes_library_and_precision(xp, precision):
    x = xp.asarray([1.0], dtype=getattr(xp, precision))
    values = np.arange(6.0).reshape(2, 3)
    out = like(values, x)
    assert type(out) is type(x)
    assert out.dtype == x.dtype
    np.testing.assert_array_equal(to_numpy(out), values)


def test_like_takes_the_device():
    xp = pytest.importorskip("array_api_strict")
    device = xp.Device("device1")
    x = xp.asarray([1.0], device=device)
    assert like(np.ones(2), x).device == device
    assert indices_like(np.arange(2), x).device == device


def test_indices_select(xp):
    x = xp.asarray([10.0, 20.0, 30.0])
    index = indices_like(np.array([2, 0], dtype=np.intp), x)
    np.testing.assert_array_equal(to_numpy(namespace(x).take(x, index)), [30.0, 10.0])


@pytest.mark.parametrize("precision", ["float32", "float64", "int64"])
def test_to_numpy_keeps_values_and_precision(xp, precision):
    out = to_numpy(xp.asarray([[1, 2], [3, 4]], dtype=getattr(xp, precision)))
    assert type(out) is np.ndarray
    assert out.dtype == np.dtype(precision)
    np.testing.assert_array_equal(out, [[1, 2], [3, 4]])


@pytest.mark.torch
def test_to_numpy_leaves_gradients_behind():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(to_numpy(torch.ones(2, requires_grad=True)), [1, 1])


def test_as_floating_copies_only_what_is_not(xp):
    for precision in ("float32", "float64"):
        x = xp.asarray([1.0, 2.0], dtype=getattr(xp, precision))
        assert as_floating(x) is x
    for given in ([1, 2], [True, False]):
        out = as_floating(xp.asarray(given))
        assert out.dtype == xp.float64
        np.testing.assert_array_equal(to_numpy(out), given)


def test_in_place_functions_have_the_right_values(xp):
    values = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(to_numpy(exp_in_place(xp.asarray(values.copy()))), np.exp(values), rtol=1e-15)
    np.testing.assert_array_equal(to_numpy(at_least_in_place(xp.asarray(values.copy()), 0.5)), [0.5, 0.5, 2.0])
    out = xp.zeros((2, 3))
    multiply_into(xp.asarray(values), xp.asarray([2.0, 3.0, 4.0]), out[1, :])
    np.testing.assert_array_equal(to_numpy(out), [[0, 0, 0], [-2, 0, 8]])


def test_numpy_really_works_in_place():
    x = np.array([-1.0, 2.0])
    assert at_least_in_place(x, 0.0) is x
    assert exp_in_place(x) is x


@pytest.mark.parametrize("shapes", [((4, 5), (5, 3)), ((4, 5), (5,)), ((5,), (5,)), ((2, 4, 5), (2, 5, 1))])
def test_products_are_those_of_the_library(xp, shapes):
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal(shape) for shape in shapes)
    np.testing.assert_allclose(to_numpy(product(xp.asarray(a), xp.asarray(b))), a @ b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_products_say_nothing_of_flags_and_hide_no_result(shape):
    a = np.zeros(shape, dtype=np.float32)
    b = np.full((*shape[:-2], 5, 1), np.inf, dtype=np.float32)
    assert np.isnan(product(a, b)).all()  # 0 times infinity, without a warning


def test_what_cannot_be_written_to_is_copied(xp):
    values = np.broadcast_to(np.arange(3.0), (2, 3))
    np.testing.assert_array_equal(to_numpy(like(values, xp.zeros((1, 1)))), values)
