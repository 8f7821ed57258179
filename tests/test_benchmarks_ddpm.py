"""The benchmark of gradient descent runs at its tiny size; its rivals and what it counts are checked by hand."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLES = {"poster", "symmetric", "separation", "basin", "efficiency", "warm", "cost"}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """All tables at the tiny size."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks.ddpm import run

        run.main(["--size", "tiny", "--output", str(folder)])
    return folder


@pytest.mark.slow
def test_every_table_is_stored_with_its_provenance(stored):
    assert {path.stem for path in stored.iterdir()} == {f"ddpm_{name}" for name in TABLES}
    for path in stored.iterdir():
        source = json.loads(path.read_text(encoding="utf-8"))["provenance"]
        assert source["size"] == "tiny"
        assert source["command"].startswith("python -m benchmarks.ddpm.run")
        assert "/" not in source["command"]
        assert {"date", "seeds", "commit", "python", "versions", "cpu", "cores", "system"} <= set(source)


@pytest.mark.slow
def test_figures_and_tables_of_the_page(stored, tmp_path):
    from benchmarks.ddpm import draw

    page = tmp_path / "sck.md"
    shutil.copy(ROOT / "docs" / "sck.md", page)
    draw.main(["--results", str(stored), "--output", str(tmp_path), "--page", str(page)])
    assert {path.name for path in tmp_path.glob("*.png")} == {f"ddpm_{name}.png" for name in draw.FIGURES}
    filled = page.read_text(encoding="utf-8")
    for name in TABLES:
        section = re.search(rf"<!-- benchmark {name} -->(.*)<!-- /benchmark {name} -->", filled, re.DOTALL).group(1)
        assert section.count("|---") >= 1
        assert draw.TABLES[name][0] in section
    outside = re.sub(r"<!-- benchmark (\w+) -->.*<!-- /benchmark \1 -->", "", filled, flags=re.DOTALL)
    before = (ROOT / "docs" / "sck.md").read_text(encoding="utf-8")
    assert outside == re.sub(r"<!-- benchmark (\w+) -->.*<!-- /benchmark \1 -->", "", before, flags=re.DOTALL)


def test_stored_results_are_those_of_the_page():
    from benchmarks.ddpm import draw

    page = (ROOT / "docs" / "sck.md").read_text(encoding="utf-8")
    paths = {name: ROOT / "benchmarks" / "results" / f"ddpm_{name}.json" for name in TABLES}
    contents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    for _, section in draw.sections(contents):
        assert section in page


def test_rivals():
    from benchmarks.ddpm.rivals import em, gradient_em, largest_error, mean_error, symmetric_em

    rng = np.random.default_rng(0)
    mu = np.array([2.0, 1.0])
    x = rng.choice([-1.0, 1.0], 3000)[:, None] * mu + rng.standard_normal((3000, 2))
    start = np.array([[1.0, 0.0], [-1.0, 0.5]])
    best = em(x, start)
    np.testing.assert_allclose(gradient_em(x, start), best, atol=1e-5)
    np.testing.assert_allclose(symmetric_em(x, start[0]), (best[0] - best[1]) / 2, atol=0.02)
    truth = np.stack([-mu, mu])
    assert largest_error(best, truth) < mean_error(best, truth) < 0.15
    moved = truth[::-1] + np.array([3.0, 4.0])
    assert mean_error(moved, truth[::-1]) <= np.sqrt(50)
    assert largest_error(truth[::-1], truth) == mean_error(truth[::-1], truth) == 0
    assert largest_error(np.array([[-2.0, -1.0], [5.0, 5.0]]), truth) == pytest.approx(5)
