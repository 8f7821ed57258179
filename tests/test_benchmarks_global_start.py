"""What the benchmark of one start counts, draws and aims at is checked on hand-made rows."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from benchmarks.global_start.chosen import designed_aims, large_aims, overfit_aims
from benchmarks.global_start.comparison import Problem, compare, succeeds
from benchmarks.global_start.components import components_aims, drawn
from benchmarks.global_start.designed import DESIGNS
from benchmarks.global_start.laws import Law, nearest
from benchmarks.global_start.methods import ONE as ONE_START
from benchmarks.global_start.methods import SCALED, Fitted
from benchmarks.global_start.noise import found_centres
from benchmarks.global_start.random_suite import (
    FIRST,
    SECOND,
    configuration,
    law_of,
    losses_table,
    random_aims,
    random_table,
)
from benchmarks.global_start.robust import with_background
from benchmarks.global_start.run import SUITE

TABLES = {"random", "designed", "separation", "large", "overfit", "components", "robust"}

GLOBAL, DIFFUSION, AUTO = "scoremix, global", "scoremix, diffusion", "scoremix, auto"
ONE, TEN, GRID = "scikit-learn", "scikit-learn, 10 starts", "scikit-learn, BIC grid"
PEERS = {"pomegranate, float32", "gmmx, float32"}

LAW = {"seed", "layout", "covariance", "k", "d", "n", "separation", "zipf", "condition"}
OUTCOME = {"method", "seconds", "held_out", "oracle", "success", "truth", "error"}


@pytest.mark.slow
def test_fits_of_all_tables_end(tiny_rows):
    for name in TABLES:
        for row in tiny_rows("global_start", name):
            assert row["method"] in PEERS or row["error"] is None
            assert row["method"] in PEERS or row["seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "fields", "methods"),
    [
        ("random", LAW | OUTCOME | {"suite"}, {GLOBAL, ONE, TEN, "scikit-learn, k-means++", "scikit-learn, scaled"}),
        ("designed", OUTCOME | {"problem", "seed", "covariance", "k", "d", "n"}, {GLOBAL, DIFFUSION, ONE, TEN}),
        ("separation", LAW | OUTCOME, {GLOBAL, ONE, TEN}),
        ("large", LAW | OUTCOME, {GLOBAL, ONE}),
        ("overfit", LAW | OUTCOME, {GLOBAL, ONE, TEN}),
        (
            "noise",
            {"layout", "k", "d", "n", "seed", "method", "found", "success", "seconds"},
            {"fresh noise", "temperature", "k-means++"},
        ),
        (
            "components",
            {"problem", "seed", "covariance", "d", "n", "separation", "zipf", "k_true", "method", "k_found", "exact"}
            | {"held_out", "seconds", "error"},
            {AUTO, GRID},
        ),
        (
            "robust",
            {"problem", "covariance", "k", "d", "n", "seed", "method", "seconds", "held_out", "rand_index", "error"},
            {GLOBAL, ONE, "scikit-learn, 10 starts, scaled"},
        ),
    ],
)
def test_rows_have_their_fields(tiny_rows, table, fields, methods):
    rows = tiny_rows("global_start", table)
    assert {row["method"] for row in rows} - PEERS == methods
    assert all(set(row) == fields for row in rows)


@pytest.mark.slow
def test_both_suites_are_drawn(tiny_rows):
    assert {(row["suite"], row["seed"]) for row in tiny_rows("global_start", "random")} == {
        ("first", 0),
        ("first", 1),
        ("second", 1000),
        ("second", 1001),
    }


def test_the_seeds_can_be_moved(tmp_path):
    SUITE.run(["--size", "tiny", "--only", "noise", "--seed-offset", "50", "--output", str(tmp_path)])
    content = json.loads((tmp_path / "global_start_noise_50.json").read_text(encoding="utf-8"))
    assert {row["seed"] for row in content["rows"]} == {50}


def test_the_random_suite_is_the_same_everywhere():
    assert len(FIRST) == len(SECOND) == 300
    chosen = configuration(0)
    assert chosen == configuration(0)
    assert (chosen.layout, chosen.covariance, chosen.zipf) == ("hierarchical", "diag", True)
    assert {name: asdict(chosen)[name] for name in ("k", "d", "n")} == {"k": 37, "d": 17, "n": 1019}
    law = law_of(chosen)
    x = law.sample(20, 0)
    np.testing.assert_array_equal(x, law_of(configuration(0)).sample(20, 0))
    np.testing.assert_allclose(x[0, :2], [0.86495606, -11.47539292], rtol=1e-5)  # sums round differently
    assert not np.array_equal(x, law.sample(20, 1))


def test_means_are_as_far_apart_as_they_are_said_to_be():
    for seed in range(12):
        chosen = configuration(seed)
        np.testing.assert_allclose(np.median(nearest(law_of(chosen).means)), chosen.separation)
        law, _, n, separation = drawn(seed, 5.0, 7.0)
        assert nearest(law.means).min() > separation - 1e-9
        assert np.linalg.eigvalsh(law.covariances).max() <= 1 + 1e-9
        assert n * law.weights.min() >= 60 - 1e-9


def test_every_designed_problem_can_be_drawn():
    assert len({design.name for design in DESIGNS}) == len(DESIGNS) >= 42
    for design in DESIGNS:
        law = design.law(0)
        np.testing.assert_allclose(law.weights.sum(), 1)
        assert np.isfinite(law.sample(50, 0)).all()
        assert law.mixture(design.kind).n_components == law.k


def test_dependent_columns_depend_without_rounding_and_lone_rows_are_there_once():
    from benchmarks.global_start import designed
    from benchmarks.global_start.laws import REG

    clusters = designed.scattered(np.random.default_rng(0), 4, 3, condition=3.0)
    x = designed.twice(clusters).sample(200, 0)
    np.testing.assert_array_equal(x[:, 3], x[:, 0])
    x = designed.summed(clusters).sample(200, 0)
    np.testing.assert_allclose(x[:, 3], x[:, :3].sum(axis=1), atol=1e-13 * np.abs(x).max())
    np.testing.assert_array_equal(designed.with_constant(clusters).sample(200, 0)[:, 3], 7.0)
    x, labels = designed.one_hot(clusters).draw(200, 0)
    np.testing.assert_array_equal(x[:, 3:], np.eye(2)[labels % 2])

    law = designed.far_rows(clusters)
    x, labels = law.draw(200, 0)
    np.testing.assert_array_equal(np.bincount(labels, minlength=6)[4:], 1)
    np.testing.assert_array_equal(x[labels == 4], [[1e6, 0, 0]])
    x, labels = designed.sentinel(clusters, share=0.5).draw(2000, 0)
    np.testing.assert_array_equal(x[:, 0] == 99_999, labels == 4)
    _, labels = designed.wide_background(clusters, share=0.5).draw(2000, 0)
    assert abs(np.mean(labels == 4) - 0.5) < 6 * 0.5 / np.sqrt(2000)

    # Where a row has no width, the truth has that which every method adds.
    least = np.linalg.eigvalsh(designed.twice(clusters).mixture("full").covariances)[:, 0]
    np.testing.assert_allclose(least, REG, rtol=1e-6)
    scaled = designed.twice(clusters).scaled(np.array([1.0, 10.0, 100.0, 2.0])).sample(200, 0)
    np.testing.assert_allclose(scaled[:, 3], 2 * scaled[:, 0], rtol=1e-12)


def test_success_is_to_be_as_good_as_em_from_the_truth():
    assert succeeds(-1.0049, -1.0)
    assert succeeds(-0.9, -1.0)
    assert not succeeds(-1.0051, -1.0)
    assert not succeeds(None, -1.0)

    law = Law(np.full(2, 0.5), np.array([[-4.0], [4.0]]), np.ones((2, 1, 1)))

    class Known:
        """Returns a law whatever the rows are."""

        kinds, missing = ("full",), None

        def __init__(self, name, known):
            self.name, self.known = name, known

        def prepare(self, x, k, kind, seed):
            return lambda: Fitted(self.known.mixture(kind))

    class Broken(Known):
        def prepare(self, x, k, kind, seed):
            raise ValueError("collapsed")

    one = Law(np.ones(1), np.zeros((1, 1)), np.full((1, 1, 1), 17.0))
    problem = Problem(law, "full", 2_000, 0, 2_000)
    good, bad, none = compare(problem, [Known("good", law), Known("bad", one), Broken("none", law)])
    assert good["success"]
    assert good["held_out"] == good["truth"]
    assert not bad["success"]
    assert bad["held_out"] < bad["oracle"] - 0.1
    assert not none["success"]
    assert (none["held_out"], none["error"]) == (None, "ValueError: collapsed")


def test_densities_behind_a_scaler_are_in_the_units_of_the_rows():
    x = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 100.0] + 7.0
    fits = [method.prepare(x, 1, "full", 0)() for method in (ONE_START, SCALED)]
    np.testing.assert_allclose(*(fit.log_density(x) for fit in fits), rtol=1e-4)
    assert (fits[1].predict(x) == 0).all()


def test_centres_are_found_within_the_radius():
    truth = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    assert found_centres(np.array([[0.9, 0.0], [0.8, 0.0], [0.0, 6.1]]), truth, 1.0) == 1


def test_background_has_no_component():
    x, labels = np.random.default_rng(0).normal(size=(200, 3)), np.zeros(200, dtype=np.intp)
    spoilt, marked = with_background(0.05)(x, labels, 0)
    assert (marked == -1).sum() == 10
    np.testing.assert_array_equal(spoilt[marked == 0], x[marked == 0])
    assert (labels == 0).all()


def _fit(method, seconds, held_out, seed=0, success=True, **fields):
    row = {"suite": "first", "seed": seed, "layout": "random", "covariance": "full", "k": 3, "d": 2, "n": 100}
    row |= {"separation": 4.0, "zipf": False, "condition": 2.0, "oracle": -1.0, "truth": -1.0, "error": None}
    return row | {"method": method, "seconds": seconds, "held_out": held_out, "success": success} | fields


def test_losses_are_listed_as_well_as_wins():
    rows = [_fit(GLOBAL, 1.0, value, seed) for seed, value in enumerate((-1.0, -1.003, -1.001))]
    rows += [_fit(GLOBAL, None, None, 3, success=False)]
    rows += [_fit(method, seconds, -1.0, seed) for seed in range(4) for method, seconds in ((ONE, 2.0), (TEN, 20.0))]
    _, lines = losses_table(rows)
    assert [line[1] for line in lines] == ["1", "3"]
    assert lines[0][-4:] == ("-0.0030", "-0.0030", "yes", "yes")
    line = next(line for line in random_table(rows)[1] if line[1] == GLOBAL)
    assert line == ("first", GLOBAL, "4", "75.0 %", "0", "2", "3.0", "0.50")


def _held(aims):
    return [aim.holds for aim in aims]


def test_misses_of_the_random_suite_are_found():
    rivals = [_fit(ONE, 1.0, -1.0), _fit(TEN, 10.0, -1.0)]
    assert _held(random_aims([_fit(GLOBAL, 1.2, -1.0), *rivals])) == [True] * 4
    assert _held(random_aims([_fit(GLOBAL, 1.6, -1.0), *rivals])) == [True, True, True, False]
    assert _held(random_aims([_fit(GLOBAL, 2.1, -1.003), *rivals])) == [True, False, False, False]
    failed = _fit(GLOBAL, None, None, success=False)
    assert _held(random_aims([failed, *rivals])) == [False] * 4


def test_misses_of_the_other_tables_are_found():
    pair = [_fit(GLOBAL, 1.1, -1.0), _fit(ONE, 1.0, -1.0)]
    assert _held(large_aims(pair)) == [False]
    assert _held(overfit_aims([*pair, _fit(TEN, 9.0, -0.9)])) == [False, True]
    assert _held(overfit_aims([*pair, _fit(TEN, 9.0, -1.1)])) == [True, True]
    both = [_fit(GLOBAL, 1.0, -1.0), _fit(DIFFUSION, 3.5, -2.0, success=False)]
    assert _held(designed_aims(both)) == [False, False]


def test_misses_of_the_numbers_of_components_are_found():
    def rows(found, faithful, held_out, seconds):
        cases = (("separated", AUTO, found), ("separated", GRID, 3), ("Old Faithful", AUTO, faithful))
        return [
            _fit(method, seconds if method == AUTO else 5.0, held_out if method == AUTO else -1.0, problem=problem)
            | {"k_found": count, "exact": count == 3}
            for problem, method, count in (*cases, ("Old Faithful", GRID, 2))
        ]

    assert _held(components_aims(rows(3, 2, -1.0, 1.0))) == [True] * 4
    assert _held(components_aims(rows(4, 3, -1.02, 6.0))) == [False] * 4
