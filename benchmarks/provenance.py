"""Where a result comes from: date, versions, machine, commit, command."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import ROOT

PACKAGES = ("numpy", "scipy", "scikit-learn")


def provenance(command: str, size: str, seeds: dict[str, int], rivals: tuple[str, ...] = ()) -> dict[str, object]:
    """What is needed to judge and repeat a run; `seeds` counts them."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": size,
        "seeds": seeds,
        "command": command,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    } | ({"rivals": {name: _installed(name) for name in rivals}} if rivals else {})


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit of the working tree, marked when files differ from it; "unknown" outside of git."""
    answers = [
        subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True, check=False)
        for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    if answers[0].returncode != 0:
        return "unknown"
    return answers[0].stdout.strip() + (", modified" if answers[1].stdout.strip() else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
