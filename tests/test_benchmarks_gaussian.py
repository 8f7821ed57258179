"""The benchmark of Gaussian mixtures runs at its tiny size; figures and tables come from stored JSON alone."""

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_FIGURE = {"rows", "blas", "missing", "one_hot"}
TABLES = {"iteration", "threads", "memory", "accuracy", "acceleration", "fits", *WITHOUT_FIGURE}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """All tables at the tiny size."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks.gaussian import run

        run.main(["--size", "tiny", "--output", str(folder)])
    return folder


def _read(folder, name):
    return json.loads((folder / f"gaussian_{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_table_is_stored_with_its_provenance(stored):
    assert {path.stem for path in stored.iterdir()} == {f"gaussian_{name}" for name in TABLES}
    for name in TABLES:
        source = _read(stored, name)["provenance"]
        assert source["size"] == "tiny"
        assert source["command"].startswith("python -m benchmarks.gaussian.run")
        assert {"date", "seeds", "commit", "python", "versions", "cpu", "cores", "system"} <= set(source)


@pytest.mark.slow
def test_iteration_compares_three_methods_on_the_same_rows(stored):
    rows = _read(stored, "iteration")["rows"]
    assert {row["covariance"] for row in rows} == {"full", "tied", "diag", "spherical"}
    assert {row["method"] for row in rows} == {"scikit-learn", "scoremix", "scoremix, float32"}
    for row in rows:
        assert row["seconds_long"] > 0
        assert row["method"] == "scikit-learn" or row["floor"] > 0


@pytest.mark.slow
def test_double_precision_agrees_with_extended_precision(stored):
    rows = _read(stored, "accuracy")["rows"]
    for row in rows:
        limit = {("benign", "scoremix"): 1e-10, ("benign", "scoremix, float32"): 1e-3}
        assert row["error"] < limit.get((row["problem"], row["method"]), np.inf)


@pytest.mark.slow
def test_whole_fits_end_at_the_same_likelihood(stored):
    rows = [row for row in _read(stored, "fits")["rows"] if row["method"] in ("scikit-learn", "scoremix")]
    assert len({row["n_iter"] for row in rows}) == 1
    np.testing.assert_allclose([row["log_likelihood"] for row in rows], rows[0]["log_likelihood"], rtol=1e-9)


@pytest.mark.slow
def test_fits_to_categories_do_not_end_below_the_kmeans_start(stored):
    rows = {row["method"]: row["log_likelihood"] for row in _read(stored, "one_hot")["rows"]}
    for prior in ("shared", None):
        assert rows[f"scoremix, global, prior {prior}"] >= rows[f"scoremix, kmeans, prior {prior}"]


@pytest.mark.slow
def test_memory_is_measured_in_its_own_process(stored):
    for row in _read(stored, "memory")["rows"]:
        assert row["fit_wall"] > 0
        assert row["memory_beyond_x"] >= 0


def test_peers_that_are_not_installed_are_named():
    from benchmarks.gaussian.peers import PEERS, absence

    assert absence("peer", ("numpy", "no_such_package")) == "peer is left out: no_such_package not installed."
    assert absence("peer", ("numpy",)) is None
    assert [peer.missing for peer in PEERS if peer.missing is not None] == [
        absence(peer.name.split(",")[0], packages)
        for peer, packages in zip(PEERS, (("torch", "pomegranate"), ("jax", "gmmx")), strict=True)
        if peer.missing is not None
    ]


@pytest.mark.slow
def test_figures_and_tables_come_from_the_stored_results(stored, tmp_path):
    from benchmarks.gaussian import draw

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n", encoding="utf-8")
    for _ in range(2):
        draw.main(["--results", str(stored), "--output", str(tmp_path), "--page", str(page)])
    text = page.read_text(encoding="utf-8")
    figures = list(tmp_path.glob("gaussian_*.png"))
    assert {figure.stem for figure in figures} == {f"gaussian_{name}" for name in (*TABLES - WITHOUT_FIGURE, "floor")}
    assert all(figure.stat().st_size > 5000 for figure in figures)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("<!-- benchmark -->") == 1
    for figure in figures:
        assert f"(figures/{figure.name})" in text


def test_page_has_a_place_for_the_tables():
    text = (ROOT / "docs" / "gaussian_benchmarks.md").read_text(encoding="utf-8")
    assert text.count("<!-- benchmark -->") == text.count("<!-- /benchmark -->") == 1


def test_misses_are_found():
    from benchmarks.gaussian import targets

    cell = {"covariance": "full", "d": 8, "k": 64, "method": "scoremix", "share_of_floor": 0.5}
    assert len(list(targets.iteration_misses([cell | {"ratio": 3.0}]))) == 1
    assert not list(targets.iteration_misses([cell | {"ratio": 13.0}]))
    slow = {"covariance": "full", "d": 8, "k": 16, "threads": 2, "speed_up": 1.5}
    assert len(list(targets.thread_misses([slow]))) == 1
    large = {"method": "scoremix", "threads": 1, "n": 1_000_000, "memory_beyond_x": 60.0}
    assert len(list(targets.memory_misses([large]))) == 1
    assert not list(targets.memory_misses([large | {"memory_beyond_x": 40.0}]))
    case = {"problem": "condition 1e6", "covariance": "full", "seed": 0}
    pair = [case | {"method": "scikit-learn", "error": 1e-12}, case | {"method": "scoremix", "error": 1e-10}]
    assert len(list(targets.accuracy_misses(pair))) == 1


@pytest.mark.slow
def test_targets_reads_stored_results(stored, capsys):
    from benchmarks.gaussian import targets

    targets.main(["--results", str(stored)])
    assert "accuracy: " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_extended_precision_is_expectation_maximisation(kind):
    from benchmarks.gaussian.methods import RIVAL
    from benchmarks.gaussian.problems import clusters
    from benchmarks.gaussian.reference import extended_em, relative_error

    law = clusters(3, 2)
    x, start = law.sample(300), law.start(kind)
    mixture = RIVAL.prepare(x, start)(5, 0.0).mixture
    assert relative_error(mixture, extended_em(x, start, 5)) < 1e-10
    assert relative_error(mixture, extended_em(x, start, 4)) > 1e-6


def test_passes_count_until_the_target_is_reached():
    from benchmarks.gaussian.run import passes_to

    assert passes_to([1, 2, 4, 5], [-3.0, -2.0, -1.5, -1.0], -1.6) == 4
    assert passes_to([1, 2], [-3.0, -2.0], -1.0) is None
