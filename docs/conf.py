"""Configuration of the documentation: MyST pages, numpydoc docstrings, the furo theme."""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from scoremix import __version__

project = "scoremix"
author = "The scoremix developers"
copyright = "2026, The scoremix developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "generated"]

autosummary_generate = False
autodoc_typehints = "none"  # the docstrings say it, in words
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"scoremix {version}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]


def escape_fitted_names(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep reStructuredText from taking the fitted names in ``shape (n_cells_, d)`` for links."""
    for i, line in enumerate(lines):
        if " of shape (" in line:
            lines[i] = re.sub(r"(\w)_(?=[,)])", r"\1\\_", line)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", escape_fitted_names, priority=100)  # before numpydoc
