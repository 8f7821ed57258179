"""Draw the way of X through the rooms: ``python tools/walk.py`` writes docs/figures/walk.png.

A fit is watched call by call. A stop is a room that the estimator, or the mode that it chose, calls next; what that
room asks of rooms below it belongs to the stop. The ground (array libraries, noise, polynomials) is no stop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import scoremix
from scoremix import DDPMMixture, DiffusionMixture, GaussianMixture

HOUSE = Path(scoremix.__file__).resolve().parent
PINNING = {"pinned", "single_blas_thread", "enter", "leave", "_controller", "_restore"}  # around every method
GUIDES = {None, "", "estimators", "learning.modes"}  # they lead X from stop to stop
FLOORS = (
    *("samples", "models", "learning.moments", "learning.regression", "learning.em", "learning.coordinates"),
    *("learning.search", "learning.mixtures", "learning.gkl", "learning.cks", "learning.sck"),
)
INK, COLOURS = "#767676", ("#3b7dd8", "#e8702a", "#2ca58d")


def room_of(frame: FrameType) -> str | None:
    """The room in which a call is at work; None outside the house."""
    path = Path(frame.f_code.co_filename)
    if HOUSE not in path.parents or frame.f_code.co_name in PINNING:
        return None
    folder = ".".join(path.relative_to(HOUSE).parent.parts).removesuffix(".")
    folder = folder.removesuffix(".covariance")
    return f"learning.{path.stem}" if folder == "learning" else folder


def stops(fit: Callable[[], object]) -> list[str]:
    """The rooms that X comes through, in order."""
    found: list[str] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        room = room_of(frame)
        if event != "call" or room is None or room in GUIDES:
            return
        caller = frame.f_back
        while caller is not None and room_of(caller) in GUIDES:
            caller = caller.f_back
        if caller is None and found[-1:] != [room]:
            found.append(room)

    sys.setprofile(watch)
    try:
        fit()
    finally:
        sys.setprofile(None)
    return found


def walks() -> dict[str, list[str]]:
    """The ways of two clusters through the three estimators."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-4, 1, (300, 2)), rng.normal(4, 1, (700, 2))])
    models = {
        "GaussianMixture": GaussianMixture("auto", random_state=0),
        "DiffusionMixture": DiffusionMixture("general", random_state=0),
        "DDPMMixture": DDPMMixture(n_steps=(5, 5), random_state=0),
    }
    return {name: stops(lambda model=model: model.fit(x)) for name, model in models.items()}


def main() -> None:
    """Draw all three."""
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for shift, (name, rooms), colour in zip((-0.12, 0, 0.12), walks().items(), COLOURS, strict=True):
        heights = [FLOORS.index(room) + shift for room in rooms]
        axes.plot(range(1, len(rooms) + 1), heights, "o-", color=colour, label=f"{name}: {len(rooms)} stops")
    axes.set_yticks(range(len(FLOORS)), FLOORS)
    axes.set_xlabel("stop")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=INK, alpha=0.2)
    figure.savefig(Path(__file__).resolve().parents[1] / "docs" / "figures" / "walk.png", dpi=110)


if __name__ == "__main__":
    main()
