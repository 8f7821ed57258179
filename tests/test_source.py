"""Sources: chunks cover the rows, memory maps stay on disk, draws follow the weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoremix.arrays import to_numpy
from scoremix.samples.source import ArraySource, Chunk


@given(st.integers(1, 60), st.integers(1, 70), st.booleans())
def test_chunks_cover_the_rows_once_in_order(n, rows, weighted):
    x = np.arange(2.0 * n).reshape(n, 2)
    weight = np.arange(n) + 1.0 if weighted else None
    chunks = list(ArraySource(x, weight).chunks(rows))
    assert [c.start for c in chunks] == list(range(0, n, rows))
    assert [c.stop for c in chunks[:-1]] == [c.start for c in chunks[1:]]
    assert chunks[-1].stop == n
    np.testing.assert_array_equal(np.concatenate([c.x for c in chunks]), x)
    if weighted:
        np.testing.assert_array_equal(np.concatenate([c.weight for c in chunks]), weight)
    else:
        assert all(c.weight is None for c in chunks)


@pytest.mark.parametrize("rows", [1, 3, 10, 100])
def test_chunks_of_every_library(xp, rows):
    x, weight = np.arange(20.0).reshape(10, 2), np.arange(10.0)
    source = ArraySource(xp.asarray(x, dtype=xp.float32), xp.asarray(weight))
    assert (source.n_rows, source.n_features) == (10, 2)
    chunks = list(source.chunks(rows))
    assert all(c.x.dtype == xp.float32 and c.weight.dtype == xp.float32 for c in chunks)
    np.testing.assert_array_equal(np.concatenate([to_numpy(c.x) for c in chunks]), x)
    np.testing.assert_array_equal(np.concatenate([to_numpy(c.weight) for c in chunks]), weight)


def test_chunks_of_a_source_can_be_walked_again():
    source = ArraySource(np.ones((5, 1)))
    assert [c.start for c in source.chunks(2)] == [c.start for c in source.chunks(2)] == [0, 2, 4]


def test_arrays_in_memory_are_not_copied():
    x = np.ones((100, 3))
    assert all(np.shares_memory(c.x, x) for c in ArraySource(x).chunks(7))


def test_integers_become_floating_chunk_by_chunk():
    chunk = next(iter(ArraySource(np.arange(6).reshape(3, 2)).chunks(2)))
    assert chunk.x.dtype == np.float64
    np.testing.assert_array_equal(chunk.x, [[0, 1], [2, 3]])


def test_memory_map_is_never_copied_whole(tmp_path):
    x = np.memmap(tmp_path / "x.dat", dtype=np.float64, mode="w+", shape=(1000, 3))
    x[:] = np.arange(3000).reshape(1000, 3)
    source = ArraySource(x)
    for chunk in source.chunks(300):
        assert type(chunk.x) is np.ndarray  # none of the overhead of the subclass
        assert np.shares_memory(chunk.x, x)
        assert len(chunk.x) <= 300
    drawn = source.draw(5, np.random.default_rng(0))
    assert drawn.base is None or drawn.base.size <= 15
    np.testing.assert_array_equal(np.concatenate([c.x for c in source.chunks(300)]), x)


def test_memory_map_of_integers_is_converted_by_chunks(tmp_path, monkeypatch):
    x = np.memmap(tmp_path / "x.dat", dtype=np.int32, mode="w+", shape=(1000, 3))
    sizes, floating = [], ArraySource._floating
    monkeypatch.setattr(ArraySource, "_floating", staticmethod(lambda part: sizes.append(len(part)) or floating(part)))
    assert sum(len(c.x) for c in ArraySource(x).chunks(300)) == 1000
    assert sizes == [300, 300, 300, 100]


def test_draw_gives_distinct_rows_in_order(xp):
    x = np.arange(50.0)[:, None] * [1, 10]
    drawn = to_numpy(ArraySource(xp.asarray(x)).draw(20, np.random.default_rng(0)))
    assert drawn.shape == (20, 2)
    assert np.all(np.diff(drawn[:, 0]) > 0)
    np.testing.assert_array_equal(drawn[:, 1], 10 * drawn[:, 0])


def test_draw_gives_all_rows_where_there_are_fewer(xp):
    x = np.arange(8.0)[:, None]
    np.testing.assert_array_equal(to_numpy(ArraySource(xp.asarray(x)).draw(20, np.random.default_rng(0))), x)
    weight = np.array([0, 1, 0, 2, 0, 0, 3, 0.0])
    drawn = ArraySource(xp.asarray(x), xp.asarray(weight)).draw(20, np.random.default_rng(0))
    assert set(to_numpy(drawn)[:, 0]) <= {1, 3, 6}  # rows of weight 0 are not there
    assert drawn.shape[0] == 20  # unequal weights: heavy rows are drawn again
    even = ArraySource(xp.asarray(x), xp.asarray(np.array([0, 2, 0, 2, 0, 0, 2, 0.0]))).draw(
        20, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(to_numpy(even)[:, 0], [1, 3, 6])


def test_many_draws_follow_unequal_weights():
    weight = np.array([1.0, 2, 3, 4])
    drawn = ArraySource(np.arange(4.0)[:, None], weight).draw(40_000, np.random.default_rng(0))[:, 0].astype(int)
    # Binomial: standard deviation at most 0.5 / sqrt(40000) = 0.0025, four times.
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 40_000, weight / 10, atol=0.01)


@pytest.mark.parametrize("weight", [None, [1.0, 1, 1, 1], [1.0, 2, 3, 4]])
def test_draw_follows_the_weights(weight):
    source = ArraySource(np.arange(4.0)[:, None], None if weight is None else np.array(weight))
    rng, n = np.random.default_rng(0), 4000
    counts = np.bincount([int(source.draw(1, rng)[0, 0]) for _ in range(n)], minlength=4) / n
    p = np.array(weight or [1.0] * 4) / sum(weight or [1.0] * 4)
    # Binomial: standard deviation at most 0.5 / sqrt(4000) = 0.008, four times.
    np.testing.assert_allclose(counts, p, atol=0.032)


def test_the_generator_decides_the_draw():
    source = ArraySource(np.arange(100.0)[:, None])
    first, again, other = (source.draw(10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2), ()])
def test_samples_must_be_a_table(xp, shape):
    with pytest.raises(ValueError, match=rf"X has {len(shape)} dimension.*reshape it to \(n, d\)"):
        ArraySource(xp.ones(shape))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 1.0], r"shape \(2,\), but X has 3 rows"),
        ([[1.0, 1.0, 1.0]], r"shape \(1, 3\), but X has 3 rows"),
        ([1.0, -1.0, 1.0], "negative or non-finite"),
        ([1.0, np.nan, 1.0], "negative or non-finite"),
        ([1.0, np.inf, 1.0], "negative or non-finite"),
        ([0.0, 0.0, 0.0], "zero everywhere"),
    ],
)
def test_weights_that_make_no_sense_are_refused(xp, weight, message):
    with pytest.raises(ValueError, match=f"sample_weight .*{message}"):
        ArraySource(xp.ones((3, 2)), xp.asarray(weight))


def test_complex_weights_are_refused():
    with pytest.raises(ValueError, match="complex"):
        ArraySource(np.ones((3, 2)), np.ones(3, dtype=complex))


def test_weights_may_be_a_list_of_integers():
    assert next(iter(ArraySource(np.ones((3, 1)), [1, 2, 3]).chunks(3))).weight.tolist() == [1.0, 2.0, 3.0]


def test_rows_that_are_taken_and_mapped_keep_their_weights():
    x, weight = np.arange(10).reshape(5, 2), np.array([1.0, 0.0, 2.0, 3.0, 0.0])
    source = ArraySource(x, weight)
    taken = source.taking(weight > 0, weight[weight > 0] / 2)
    assert (source.n_rows, taken.n_rows) == (5, 3)
    for few, factor in ((taken, 1), (taken.mapped(lambda rows: 10 * rows), 10)):
        chunks = list(few.chunks(2))
        np.testing.assert_array_equal(np.concatenate([chunk.x for chunk in chunks]), factor * x[[0, 2, 3]])
        np.testing.assert_array_equal(np.concatenate([chunk.weight for chunk in chunks]), [0.5, 1.0, 1.5])
    for kept in ([True, True, True], [False, True, True]):
        (chunk,) = taken.taking(np.array(kept), None).chunks(5)
        assert chunk.weight is None
        np.testing.assert_array_equal(chunk.x, x[[0, 2, 3]][kept])


def test_stop_of_a_chunk():
    assert Chunk(7, np.ones((4, 2)), None).stop == 11
