"""The benchmark runs at its tiny size, its closed forms are right, figures and tables come from stored JSON alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from scoremix import DiffusionMixture

ROOT = Path(__file__).resolve().parent.parent
TABLES = {"rows", "components", "dimension", "accuracy", "cells", "regret", "threads"}
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
MARKED = re.compile(r"<!-- benchmark (\w+) -->.*?<!-- /benchmark \1 -->", re.DOTALL)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """All tables at the tiny size."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import run

        run.main(["--size", "tiny", "--output", str(folder)])
    return folder


def _read(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_table_is_stored_with_its_provenance(stored):
    assert {path.stem for path in stored.iterdir()} == TABLES
    for name in TABLES:
        source = _read(stored, name)["provenance"]
        assert source["size"] == "tiny"
        assert source["command"].startswith("python -m benchmarks.run")
        assert set(source) == {
            *("date", "size", "seeds", "command", "commit", "python", "versions", "cpu", "cores", "system")
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "methods", "metrics"),
    [
        ("rows", 5, {"kl", "kl_standard_error", "tv_excess", "tv_floor"}),
        ("accuracy", 5, {"kl", "tv_excess"}),
        ("cells", 2, {"n_cells", "n_cells_true"}),
        ("regret", 4, {"regret", "regret_standard_error"}),
    ],
)
def test_rows_hold_the_metrics_of_every_method(stored, name, methods, metrics):
    rows = _read(stored, name)["rows"]
    assert len({row["method"] for row in rows}) == methods
    assert rows[0]["method"] == "scoremix"
    for row in rows:
        assert metrics <= set(row)
        assert row["fit_cpu"] > 0
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert np.all(np.isfinite(numbers))


@pytest.mark.slow
def test_large_fit_is_measured_in_its_own_process(stored):
    rows = _read(stored, "threads")["rows"]
    assert [row["axis"] for row in rows] == [2]
    for row in rows:
        assert row["fit_wall"] > 0
        assert row["memory_beyond_x"] >= 0


@pytest.mark.slow
def test_same_rows_for_every_method(stored):
    seen = {}
    for row in _read(stored, "rows")["rows"]:
        seen.setdefault((row["problem"], row["axis"], row["seed"]), set()).add(row["n_rows"])
    assert all(len(sizes) == 1 for sizes in seen.values())


def test_first_method_is_the_default():
    from benchmarks.tables import FULL

    x = np.random.default_rng(0).standard_normal((300, 2))
    for table in FULL:
        fitted = table.methods[0].fit(x, 1.5, 7)
        default = DiffusionMixture(noise_scale=1.5, random_state=7)
        assert fitted.model.get_params() == default.get_params()


@pytest.mark.slow
def test_figures_and_tables_come_from_what_is_stored(stored, tmp_path):
    from benchmarks import draw

    copies = [tmp_path / page.name for page in PAGES]
    for page, copy in zip(PAGES, copies, strict=True):
        shutil.copy(page, copy)
    pages = [argument for copy in copies for argument in ("--page", str(copy))]
    draw.main(["--results", str(stored), "--output", str(tmp_path), *pages])
    figures = list(tmp_path.glob("benchmark_*.png"))
    assert len(figures) == len(TABLES)
    assert all(figure.stat().st_size > 5000 for figure in figures)
    sections = dict(draw.sections({name: _read(stored, name) for name in TABLES}))
    for page, copy in zip(PAGES, copies, strict=True):
        filled = copy.read_text(encoding="utf-8")
        assert MARKED.sub("", filled) == MARKED.sub("", page.read_text(encoding="utf-8"))
        assert all(sections[found[1]] in found[0] for found in MARKED.finditer(filled))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_stored_results_are_those_of_the_page(page):
    from benchmarks import draw

    sections = dict(draw.sections({name: _read(ROOT / "benchmarks" / "results", name) for name in TABLES}))
    found = {match[1]: match[0] for match in MARKED.finditer(page.read_text(encoding="utf-8"))}
    assert {"accuracy", "cells", "regret"} <= set(found)
    for name, text in found.items():
        assert f"\n\n{sections[name]}\n\n" in text


def test_exactness_is_a_share_of_seeds():
    from benchmarks.draw import exactness, medians

    rows = [
        {"method": "scoremix", "axis": 3, "seed": seed, "n_cells": cells, "n_cells_true": 3, "fit_cpu": cells}
        for seed, cells in enumerate((3, 3, 4, 3))
    ]
    assert exactness(rows, "exact") == {"scoremix": {3: 0.75}}
    assert medians(rows, "fit_cpu") == {"scoremix": {3: 3.0}}


def test_medians_are_over_the_seeds_that_all_methods_share():
    from benchmarks.draw import compare, medians

    rows = [{"method": "scoremix", "axis": 3, "seed": seed, "kl": kl} for seed, kl in enumerate((0.02, 0.04, 9.0))]
    rows += [{"method": "soft cells", "axis": 3, "seed": seed, "kl": 0.03} for seed in (0, 1)]
    assert medians(rows, "kl") == {"scoremix": {3: 0.03}, "soft cells": {3: 0.03}}
    head, lines = compare(rows, "k", (("kl", ("scoremix", "soft cells")),))
    assert head == ("k", "KL bound, 10⁻⁴ nats: scoremix", "soft cells")
    assert lines == [("3", "**300**", "**300**")]


def test_kernel_density_score_is_that_of_a_mixture_of_its_atoms():
    from benchmarks.methods.kernels import FittedKernels

    from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth

    rng = np.random.default_rng(0)
    atoms, y = rng.standard_normal((50, 3)) + 5, rng.standard_normal((20, 3)) + 5
    mixture = GaussianMixtureTruth(np.full(50, 1 / 50), atoms, np.full((50, 3), 0.09), None, 0.3)
    kernels = FittedKernels(atoms, 0.3, 1.0, mixture.sample)
    np.testing.assert_allclose(kernels.score(y, 0.4), mixture.score(y, 0.4), atol=1e-9)
    np.testing.assert_allclose(kernels.posterior_mean(y), y + mixture.score(y), atol=1e-9)


def test_chosen_mixture_has_the_score_of_its_density():
    from benchmarks.methods.sklearn_bic import SklearnBIC

    from scoremix.evaluation import make_gaussian_mixture, score_error

    truth = make_gaussian_mixture(3, 2, 6.0, random_state=0)
    fitted = SklearnBIC().fit(truth.sample(3000, np.random.default_rng(0)), 1.0, 0)
    assert fitted.n_cells == 3
    # A parametric fit with 11 parameters errs by about 11 / 3000; a wrong formula by order one.
    assert score_error(fitted.score, truth, 0.5, 1000, 0).value < 0.03
