"""All suites run at their tiny size, pages and figures come from stored JSON alone; the closed forms are right."""

import json
import re
import shutil
from importlib import import_module

import numpy as np
import pytest
from benchmarks import ROOT
from benchmarks.frame import MARKED, Benchmark, Size, Suite, grid
from benchmarks.methods import closed_form, kernel_score, tweedie
from benchmarks.score import SUITE, compare, summaries
from benchmarks.score_methods import BIC, DEFAULT, SOFT
from benchmarks.tables import across, groups, markdown, table
from benchmarks.targets import Aim, at_least, at_most
from sklearn.mixture import GaussianMixture
from tests.benchmark_suites import SUITES, suite_of

from scoremix.evaluation import make_gaussian_mixture, score_error
from scoremix.evaluation.gaussian_truth import GaussianMixtureTruth

PROVENANCE = {"date", "size", "seeds", "command", "commit", "python", "versions", "cpu", "cores", "system"}


@pytest.fixture(params=SUITES)
def name(request):
    return request.param


@pytest.mark.slow
def test_every_table_is_stored_with_its_provenance(name, tiny_run):
    suite, folder = suite_of(name), tiny_run(name)
    assert {path.name for path in folder.iterdir()} == {f"{suite.prefix}{b.name}.json" for b in suite.benchmarks}
    for table_name, content in suite.read(folder).items():
        source = content["provenance"]
        assert content["table"] == table_name
        assert content["rows"]
        more = {"seed_offset": suite.movable, "rivals": bool(suite.rivals)}
        assert set(source) == PROVENANCE | {field for field, is_there in more.items() if is_there}
        assert source["command"] == f"python -m {suite.package}.run --size tiny --only {table_name}"
        assert all(count > 0 for count in source["seeds"].values())


@pytest.mark.slow
def test_figures_and_tables_come_from_what_is_stored(name, tiny_run, tmp_path):
    suite, folder = suite_of(name), tiny_run(name)
    copies = [tmp_path / page.name for page in suite.pages]
    for page, copy in zip(suite.pages, copies, strict=True):
        shutil.copy(page, copy)
    words = [word for copy in copies for word in ("--page", str(copy))]
    for _ in range(2):
        suite.draw(["--results", str(folder), "--output", str(tmp_path), *words])
    figures = {figure for benchmark in suite.benchmarks for figure in benchmark.figures}
    assert {path.name for path in tmp_path.glob("*.png")} == {f"{suite.figures}{figure}.png" for figure in figures}
    assert all(path.stat().st_size > 5000 for path in tmp_path.glob("*.png"))
    contents = suite.read(folder)
    for page, copy in zip(suite.pages, copies, strict=True):
        before, filled = page.read_text(encoding="utf-8"), copy.read_text(encoding="utf-8")
        assert MARKED.sub("", filled) == MARKED.sub("", before)
        shown = {found[2] for found in MARKED.finditer(filled)}
        for benchmark in suite.benchmarks:
            if shown & {"", f" {benchmark.name}"}:
                assert suite.section(benchmark, contents[benchmark.name]) in filled


def test_stored_results_are_those_of_the_page(name):
    suite = suite_of(name)
    contents = suite.read()
    assert set(contents) == {benchmark.name for benchmark in suite.benchmarks}
    places = []
    for page in suite.pages:
        text = page.read_text(encoding="utf-8")
        places += [found[2] for found in MARKED.finditer(text)]
        assert suite.filled(text, contents) == text
    assert places == [""] or {f" {table_name}" for table_name in contents} == set(places)


def test_what_is_stored_was_declared(name):
    suite = suite_of(name)
    for benchmark in suite.benchmarks:
        fields = [field for field in benchmark.full.cases[0] if field != "n"]  # what is learnt from differs by method
        declared = {tuple(getattr(case[f], "name", case[f]) for f in fields) for case in benchmark.full.cases}
        assert {tuple(row[f] for f in fields) for row in suite.read()[benchmark.name]["rows"]} <= declared


@pytest.mark.parametrize("program", ["run", "draw"])
def test_suites_have_their_programs(name, program):
    suite = suite_of(name)
    assert import_module(f"{suite.package}.{program}").SUITE is suite


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "global_start"])
def test_targets_reads_stored_results(name, tiny_run, capsys):
    suite = suite_of(name)
    assert import_module(f"{suite.package}.targets").SUITE is suite
    suite.targets(["--results", str(tiny_run(name))])
    printed = capsys.readouterr().out
    for benchmark in suite.benchmarks:
        assert (f"{benchmark.name}: " in printed) == (benchmark.aims is not None)


ROWS = [
    {"law": law, "n": n, "method": method, "loss": loss, "right": loss is not None}
    for law, n, method, loss in (
        ("a", 10, "ours", 0.1),
        ("a", 10, "ours", 0.3),
        ("a", 10, "EM", 0.25),
        ("b", 9, "ours", None),
    )
]


def losses_table(rows):
    """Losses."""
    heads, cells = across("method", ("ours", "EM"), "{loss.e3.mean:.0f}")
    return table(rows, "law", f"law | rows | {heads} | right", f"{{law}} | {{n:,}} | {cells} | {{right.count}}", "-")


def test_lines_are_made_of_rows_that_belong_together():
    assert [len(group) for group in groups(ROWS, "law", "method")] == [2, 1, 1]
    head, lines = losses_table(ROWS)
    assert head == ("law", "rows", "ours", "EM", "right")
    assert lines == [("a", "10", "200", "250", "3 of 3"), ("b", "9", "-", "-", "0 of 1")]
    assert table(ROWS, None, "loss", "{loss}")[1] == [("0.1",), ("0.3",), ("0.25",), ("",)]
    assert table(ROWS, "n", "losses", "{loss.percent.each:.0f}")[1] == [("10, 30, 25",), ("",)]
    assert markdown((("a",), [])) == "None."
    with pytest.raises(KeyError):
        table(ROWS, "law", "", "{lose}")


def test_a_benchmark_is_one_declaration(tmp_path, capsys):
    """The worked task of the guide for contributors."""
    guide, names = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), {"__name__": "predicting"}
    exec(re.search(r"```python\n(from functools.*?)```", guide, re.DOTALL)[1], names)
    page = tmp_path / "page.md"
    old = "<!-- benchmark predicting --> old <!-- /benchmark predicting --> <!-- benchmark other --> kept"
    page.write_text(f"before {old}", encoding="utf-8")
    suite = Suite("benchmarks.mine", (names["PREDICTING"],), (page,))
    for command in (suite.run, suite.draw):
        command(["--output", str(tmp_path)] + ["--results", str(tmp_path)] * (command == suite.draw))
    rows = json.loads((tmp_path / "mine_predicting.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["method"], row["k"], row["n"]) for row in rows] == [("labels", 4, 500), ("densities", 4, 500)]
    times = " | ".join(f"{1e3 * row['seconds']:.1f}" for row in rows)
    section = f"-->\n\n**Milliseconds of .*\n\n| k | d | labels | densities |\n|---.*\n| 4 | 2 | {times} |\n\n<!--"
    assert re.search(section.replace("|", r"\|").replace("**", r"\*\*"), page.read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8").endswith("<!-- benchmark other --> kept")
    capsys.readouterr()
    suite.targets(["--results", str(tmp_path)])
    assert capsys.readouterr().out.startswith(
        "predicting: 2 of 2 hold\n  holds   labels, k = 4, d = 2: at most a second: "
    )


def test_seeds_can_be_moved():
    declared = Benchmark(
        lambda law, seed, n: [{"loss": seed + n}], Size(grid(law=["a"], seed=range(2)), n=7), Size([]), []
    )
    expected = [{"law": "a", "seed": seed, "loss": seed + 7} for seed in (5, 6)]
    assert list(declared.rows("full", 5)) == expected


def test_numbers_that_are_not_there_do_not_hold():
    assert not at_most("", float("nan"), 1.0).holds
    assert not at_least("", float("nan"), 1.0).holds
    assert at_least("a share", 0.98, 0.98, ".0%") == Aim("a share", "98%", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table_name", "methods", "metrics"),
    [
        ("rows", 5, {"kl", "kl_standard_error", "tv_excess", "tv_floor"}),
        ("accuracy", 5, {"kl", "tv_excess"}),
        ("cells", 2, {"n_cells", "n_cells_true"}),
        ("regret", 4, {"regret", "regret_standard_error"}),
    ],
)
def test_rows_hold_the_metrics_of_every_method(tiny_rows, table_name, methods, metrics):
    rows = tiny_rows("score", table_name)
    assert len({row["method"] for row in rows}) == methods
    assert rows[0]["method"] == "scoremix"
    for row in rows:
        assert metrics <= set(row)
        assert row["fit_cpu"] > 0
        assert np.all(np.isfinite([value for value in row.values() if isinstance(value, float)]))


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "table_name"), [("score", "threads"), ("gaussian", "memory")])
def test_large_fit_is_measured_in_its_own_process(tiny_rows, suite, table_name):
    (row,) = tiny_rows(suite, table_name)
    assert row.get("axis", row.get("threads")) == 2
    assert row["fit_wall"] > 0
    assert row["memory_beyond_x"] >= 0


def test_first_method_is_the_default(monkeypatch):
    firsts = [b.full.settings["methods"][0] for b in SUITE.benchmarks if "methods" in b.full.settings]
    assert firsts == [DEFAULT] * (len(SUITE.benchmarks) - 1)
    used = []
    monkeypatch.setattr("benchmarks.score_methods.DiffusionMixture", lambda **settings: used.append(settings))
    DEFAULT.prepare(np.zeros((3, 2)), 1.5, 7)
    assert used == [{"noise_scale": 1.5, "random_state": 7}]


def test_exactness_is_a_share_of_seeds():
    rows = [
        {"method": "scoremix", "axis": 3, "seed": seed, "n_cells": cells, "n_cells_true": 3, "fit_cpu": cells}
        for seed, cells in enumerate((3, 3, 4, 3))
    ]
    assert summaries(rows, "exact") == {"scoremix": {3: 0.75}}
    assert summaries(rows, "fit_cpu") == {"scoremix": {3: 3.0}}


def test_medians_are_over_the_seeds_that_all_methods_share():
    rows = [{"method": "scoremix", "axis": 3, "seed": seed, "kl": kl} for seed, kl in enumerate((0.02, 0.04, 9.0))]
    rows += [{"method": "soft cells", "axis": 3, "seed": seed, "kl": 0.03} for seed in (0, 1)]
    assert summaries(rows, "kl") == {"scoremix": {3: 0.03}, "soft cells": {3: 0.03}}
    head, lines = compare(rows, "k", kl=(DEFAULT, SOFT))
    assert head == ("k", "KL bound, 10⁻⁴ nats: scoremix", "soft cells")
    assert lines == [("3", "**300**", "**300**")]


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_closed_form_of_scikit_learn(kind):
    x = np.random.default_rng(0).standard_normal((200, 3)) * [1, 2, 3]
    model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(x)
    np.testing.assert_allclose(closed_form(model).log_density(x), model.score_samples(x), rtol=1e-9)


def test_kernel_density_score_is_that_of_a_mixture_of_its_atoms():
    rng = np.random.default_rng(0)
    atoms, y = rng.standard_normal((50, 3)) + 5, rng.standard_normal((20, 3)) + 5
    mixture = GaussianMixtureTruth(np.full(50, 1 / 50), atoms, np.full((50, 3), 0.09), None, 0.3)
    score = kernel_score(atoms, 0.3)
    np.testing.assert_allclose(score(y, 0.4), mixture.score(y, 0.4), atol=1e-9)
    np.testing.assert_allclose(tweedie(score, 1.0)(y), y + mixture.score(y), atol=1e-9)


def test_chosen_mixture_has_the_score_of_its_density():
    truth = make_gaussian_mixture(3, 2, 6.0, random_state=0)
    fitted = BIC.prepare(truth.sample(3000, np.random.default_rng(0)), 1.0, 0)()
    assert fitted.n_cells == 3
    # A parametric fit with 11 parameters errs by about 11 / 3000; a wrong formula by order one.
    assert score_error(fitted.score, truth, 0.5, 1000, 0).value < 0.03
