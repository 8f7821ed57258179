"""What the benchmark of Gaussian mixtures measures, aims at and compares with."""

import numpy as np
import pytest
from benchmarks.gaussian.digits import accuracy_aims, extended_em, relative_error
from benchmarks.gaussian.fits import passes_to
from benchmarks.gaussian.machine import memory_aims, threads_aims
from benchmarks.gaussian.methods import RIVAL
from benchmarks.gaussian.peers import PEERS, absence
from benchmarks.gaussian.problems import clusters
from benchmarks.gaussian.speed import iteration_aims

from scoremix.models.covariance.spherical import Spherical
from scoremix.models.mixture import Mixture

TRUTH = tuple(np.ones(shape, dtype=np.longdouble) for shape in ((1,), (1, 1), (1, 1, 1)))


@pytest.mark.slow
def test_iteration_compares_three_methods_on_the_same_rows(tiny_rows):
    rows = tiny_rows("gaussian", "iteration")
    assert {row["covariance"] for row in rows} == {"full", "tied", "diag", "spherical"}
    assert {row["method"] for row in rows} == {"scikit-learn", "scoremix", "scoremix, float32"}
    for row in rows:
        assert row["seconds_long"] > 0
        assert row["method"] == "scikit-learn" or row["floor"] > 0


@pytest.mark.slow
def test_double_precision_agrees_with_extended_precision(tiny_rows):
    rows = tiny_rows("gaussian", "accuracy")
    for row in rows:
        limit = {("benign", "scoremix"): 1e-10, ("benign", "scoremix, float32"): 1e-3}
        assert row["error"] < limit.get((row["problem"], row["method"]), np.inf)


@pytest.mark.slow
def test_whole_fits_end_at_the_same_likelihood(tiny_rows):
    rows = [row for row in tiny_rows("gaussian", "fits") if row["method"] in ("scikit-learn", "scoremix")]
    assert len({row["n_iter"] for row in rows}) == 1
    np.testing.assert_allclose([row["log_likelihood"] for row in rows], rows[0]["log_likelihood"], rtol=1e-9)


@pytest.mark.slow
def test_fits_to_categories_do_not_end_below_the_kmeans_start(tiny_rows):
    rows = {row["method"]: row["log_likelihood"] for row in tiny_rows("gaussian", "one_hot")}
    for prior in ("shared", None):
        assert rows[f"scoremix, global, prior {prior}"] >= rows[f"scoremix, kmeans, prior {prior}"]


def test_peers_that_are_not_installed_are_named():
    assert absence("peer", ("numpy", "no_such_package")) == "peer is left out: no_such_package not installed."
    assert absence("peer", ("numpy",)) is None
    assert [peer.missing for peer in PEERS if peer.missing is not None] == [
        absence(peer.name.split(",")[0], packages)
        for peer, packages in zip(PEERS, (("torch", "pomegranate"), ("jax", "gmmx")), strict=True)
        if peer.missing is not None
    ]


def held(aims):
    return [aim.holds for aim in aims]


def test_misses_are_found():
    cell = {"covariance": "full", "d": 8, "k": 64, "method": "scoremix", "share_of_floor": 0.5}
    assert held(iteration_aims([cell | {"ratio": 3.0}, cell | {"ratio": 13.0}])) == [False, True]
    slow = {"covariance": "full", "d": 8, "k": 16, "threads": 2, "speed_up": 1.5}
    assert held(threads_aims([slow, slow | {"k": 4}])) == [False, True]
    large = {"method": "scoremix", "threads": 1, "n": 1_000_000, "memory_beyond_x": 60.0}
    assert held(memory_aims([large, large | {"memory_beyond_x": 40.0}])) == [False, True]
    case = {"problem": "condition 1e6", "covariance": "full", "seed": 0}
    pair = [case | {"method": "scikit-learn", "error": 1e-12}, case | {"method": "scoremix", "error": 1e-10}]
    assert held(accuracy_aims(pair)) == [False]
    nothing = relative_error(Mixture(np.ones(1), np.full((1, 1), np.nan), Spherical(np.ones(1), 1)), TRUTH)
    assert held(accuracy_aims([pair[0], pair[1] | {"method": "scoremix, float32", "error": nothing}])) == [False]


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_extended_precision_is_expectation_maximisation(kind):
    law = clusters(3, 2)
    x, start = law.sample(300), law.start(kind)
    mixture = RIVAL.prepare(x, start)(5, 0.0).mixture
    assert relative_error(mixture, extended_em(x, start, 5)) < 1e-10
    assert relative_error(mixture, extended_em(x, start, 4)) > 1e-6


def test_passes_count_until_the_target_is_reached():
    assert passes_to([1, 2, 4, 5], [-3.0, -2.0, -1.5, -1.0], -1.6) == 4
    assert passes_to([1, 2], [-3.0, -2.0], -1.0) is None
