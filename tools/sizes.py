"""Print how large the house is: lines of code, of docstrings, files and functions that are longer than they should be.

A line of code has a token that is neither a comment nor part of a docstring. ``python tools/sizes.py``
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
LONGEST_FILE, LONGEST_ESTIMATOR, LONGEST_FUNCTION, MOST_FILES = 400, 600, 60, 14


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines that docstrings take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            lines.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(text))


def long_functions(text: str) -> list[tuple[str, int]]:
    """Names and lengths, without docstrings, of functions that are too long."""
    tree, found = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[0]
            length = (node.end_lineno or 0) - node.lineno + 1
            length -= (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            if length > LONGEST_FUNCTION:
                found.append((node.name, length))
    return found


def main() -> None:
    """Measure, and print."""
    totals: Counter[str] = Counter()
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name, n_lines = path.relative_to(ROOT / "src" / "scoremix"), len(text.splitlines())
        totals["code"] += len(code_lines(text))
        totals["docstrings"] += len(docstring_lines(ast.parse(text)))
        totals["src"] += n_lines
        totals["learning"] += n_lines if name.parts[0] == "learning" else 0
        if n_lines > (LONGEST_ESTIMATOR if name.parts[0] == "estimators" else LONGEST_FILE):
            print(f"long file: {name}, {n_lines} lines")
        for function, length in long_functions(text):
            print(f"long function: {name}, {function}, {length} lines")
    for folder in sorted({path.parent for path in (ROOT / "src").rglob("*.py")}):
        n_files = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        if n_files > MOST_FILES:
            print(f"crowded folder: {folder.relative_to(ROOT)}, {n_files} files")
    for name in ("tests", "benchmarks"):
        totals[name] = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / name).rglob("*.py"))
    print("lines:", ", ".join(f"{name} {count:,}" for name, count in totals.items()))


if __name__ == "__main__":
    main()
