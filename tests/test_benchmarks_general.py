"""The benchmark of the default mode runs at its tiny size; its rivals and what it measures are checked by hand."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "general_benchmarks.md"
TABLES = {"real", "known", "random", "overlap", "flat", "identity", "regret", "equidistant"}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """All tables at the tiny size."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks.general import run

        run.main(["--size", "tiny", "--output", str(folder)])
    return folder


@pytest.mark.slow
def test_every_table_is_stored_with_its_provenance(stored):
    assert {path.stem for path in stored.iterdir()} == {f"general_{name}" for name in TABLES}
    for path in stored.iterdir():
        source = json.loads(path.read_text(encoding="utf-8"))["provenance"]
        assert source["size"] == "tiny"
        assert source["command"].startswith("python -m benchmarks.general.run")
        assert "/" not in source["command"]
        assert {"date", "seeds", "commit", "python", "versions", "cpu", "cores", "system", "rivals"} <= set(source)


@pytest.mark.slow
def test_figures_and_tables_of_the_page(stored, tmp_path):
    from benchmarks.general import draw

    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    draw.main(["--results", str(stored), "--output", str(tmp_path), "--page", str(page)])
    assert {path.name for path in tmp_path.glob("*.png")} == {f"general_{name}.png" for name in draw.FIGURES}
    filled = page.read_text(encoding="utf-8")
    for name in TABLES:
        section = re.search(rf"<!-- benchmark {name} -->(.*)<!-- /benchmark {name} -->", filled, re.DOTALL).group(1)
        assert section.count("\n|---") == len(draw.PLANS[name])
        assert all(title in section for title, _ in draw.PLANS[name])
    marked = r"<!-- benchmark (\w+) -->.*<!-- /benchmark \1 -->"
    before = PAGE.read_text(encoding="utf-8")
    assert re.sub(marked, "", filled, flags=re.DOTALL) == re.sub(marked, "", before, flags=re.DOTALL)


def test_stored_results_are_those_of_the_page():
    from benchmarks.general import draw

    page = PAGE.read_text(encoding="utf-8")
    paths = {name: ROOT / "benchmarks" / "results" / f"general_{name}.json" for name in TABLES}
    contents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    for _, section in draw.sections(contents):
        assert section in page


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_closed_form_of_scikit_learn(kind):
    from benchmarks.general.rivals import closed_form
    from sklearn.mixture import GaussianMixture

    x = np.random.default_rng(0).standard_normal((200, 3)) * [1, 2, 3]
    model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(x)
    np.testing.assert_allclose(closed_form(model).log_density(x), model.score_samples(x), rtol=1e-9)


def test_grid_chooses_by_bic():
    from benchmarks.general.rivals import best_of_grid

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-6, 1, (300, 2)), rng.normal(6, 1, (300, 2))])
    model, closed = best_of_grid(x, 4, 0)
    assert model.n_components == len(closed.weights) == 2
    assert model.covariance_type in ("spherical", "tied")


def test_errors_are_those_of_the_bound():
    from benchmarks.general.known import Case, errors

    from scoremix.evaluation import score_error

    truth = Case(2, 2, 3, 10).truth(0)
    sigmas = np.array([2.0, 1.0])

    def wrong(y, sigma):
        return truth.score(y, sigma) + 0.1 / sigma

    right, off = errors([truth.score, wrong], truth, sigmas, 400, 0)
    assert not right.any()
    expected = sum(score_error(wrong, truth, s, 10).value * step / 2 for s, step in ((2.0, 3.0), (1.0, 1.0)))
    np.testing.assert_allclose(off, expected)


def test_problems():
    from benchmarks.general.known import Case
    from benchmarks.general.real import flow_like, split, tables

    together = Case(3, 2, 0, 10).truth(0)
    assert not together.means.any()
    assert Case(2, 3, 1, 1).parameters == 17
    x = flow_like(3000)
    assert x.shape == (3000, 8)
    assert np.isfinite(x).all()
    for name in ("iris", "digits, 20 axes"):
        learnt, held_out = split(tables()[name], 0)
        assert len(learnt) == pytest.approx(4 * len(held_out), rel=0.05)
        np.testing.assert_allclose(learnt.mean(axis=0), 0, atol=1e-9)
        assert learnt.var(axis=0).mean() == pytest.approx(1)


def test_limit_is_maximum_likelihood():
    from benchmarks.general.identity import limit
    from benchmarks.general.known import from_truth

    from scoremix.evaluation import make_gaussian_mixture

    truth = make_gaussian_mixture(2, 2, 4.0, random_state=0)
    x = truth.sample(2000, np.random.default_rng(0))
    centres, everything = limit(truth, x), from_truth(truth, x)
    assert truth.log_density(x).mean() < centres.log_density(x).mean() < everything.score(x)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_neural_score():
    from benchmarks.general.neural import fit_denoiser

    x = np.random.default_rng(0).standard_normal((500, 2)) * 3 + 5
    denoise = fit_denoiser(x, 0, 400)
    y = x[:100] + np.random.default_rng(1).standard_normal((100, 2))
    best = 5 + (y - 5) * 0.9
    assert np.mean((denoise(y, 1.0) - best) ** 2) < 0.1
