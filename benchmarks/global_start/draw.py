"""Draw the figures and fill the tables of the page from the stored JSON.

python -m benchmarks.global_start.draw
python -m benchmarks.global_start.draw --results DIR --output docs/figures --page docs/global_start_benchmarks.md
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks import FIGURES as FOLDER
from benchmarks import RESULTS, ROOT
from benchmarks.gaussian.draw import BEGIN, END, markdown
from benchmarks.global_start import PREFIX
from benchmarks.global_start.figures import CAPTIONS, FIGURES, Content
from benchmarks.global_start.tables import PLANS

PAGE = ROOT / "docs" / "global_start_benchmarks.md"


def sections(contents: dict[str, Content]) -> Iterator[str]:
    """Tables and figures, in the order of the page."""
    for name, content in contents.items():
        source = content["provenance"]
        when = f"{source['date'][:10]}, {source['cpu']}, scikit-learn {source['versions']['scikit-learn']}."
        for title, table in PLANS[name]:
            head, lines = table(content["rows"])
            yield f"**{title}** {when}"
            yield markdown((head, lines)) if lines else "None."
        yield from content["left_out"]
        yield from (f"![{CAPTIONS[figure]}](figures/{PREFIX}{figure}.png)" for figure in FIGURES.get(name, {}))


def fill(page: Path, contents: dict[str, Content]) -> None:
    """Replace what stands between the markers."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(before + "\n\n".join([BEGIN, *sections(contents), END]) + after, encoding="utf-8")


def draw(contents: dict[str, Content], folder: Path) -> None:
    """Draw every figure of the stored tables."""
    for name, content in contents.items():
        source = content["provenance"]
        for figure_name, make in FIGURES.get(name, {}).items():
            figure = make(content)
            figure.supxlabel(f"{source['date'][:10]}, {source['cpu']}", fontsize=7, color="0.4")
            figure.savefig(folder / f"{PREFIX}{figure_name}.png", dpi=120)
            plt.close(figure)


def stored(folder: Path) -> dict[str, Content]:
    """Tables that have been run."""
    paths = {name: folder / f"{PREFIX}{name}.json" for name in PLANS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every stored table and fill the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.global_start.draw", description="Draw what is stored.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose tables are filled")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    contents = stored(options.results)
    draw(contents, options.output)
    fill(options.page, contents)


if __name__ == "__main__":
    main()
