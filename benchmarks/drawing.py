"""What the figures of all suites are made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, LIGHT_BLUE, RED, SAND, GREY, MUSTARD = "#0b6e99", "#7fb8d0", "#c8553d", "#e8a87c", "#8a8a8a", "#b8a13a"


def panels(n: int, width: float, height: float, lines: bool = True, **options: Any) -> tuple[Figure, Any]:
    """A figure, in inches, and its panels beside each other, with light lines behind."""
    options = {"layout": "constrained", "squeeze": False} | options
    figure, axes = plt.subplots(1, n, figsize=(width, height), **options)
    for panel in axes[0] if lines else ():
        panel.grid(alpha=0.3)
    return figure, axes[0]


def legend(
    figure: Figure, panel: Axes | None = None, ncols: int | None = None, name: str = "{}", **options: Any
) -> None:
    """One legend above all panels, of what is drawn in one."""
    if panel is not None:
        handles, labels = panel.get_legend_handles_labels()
        options |= {"handles": handles, "labels": [name.format(label) for label in labels]}
    figure.legend(loc="outside upper center", ncols=ncols or len(options["handles"]), frameon=False, **options)


def names_down(panel: Axes, names: Sequence[Any]) -> None:
    """A line for every name, the first on top."""
    panel.set_yticks(range(len(names)), [str(name) for name in names])
    panel.set_ylim(len(names) - 0.5, -0.5)


def ticks(panel: Axes, places: Sequence[Any], names: Iterable[str] | None = None) -> None:
    """Ticks of a logarithmic axis where there are points."""
    panel.set_xscale("log")
    panel.set_xticks(places, [str(place) for place in places] if names is None else list(names))
    panel.minorticks_off()


def bars(
    axes: Axes, names: Sequence[str], groups: Mapping[str, Sequence[float | None]], colours: Mapping[str, str]
) -> None:
    """Horizontal bars from zero, a group of them for every name; None leaves a gap."""
    height = 0.8 / len(groups)
    for at, (label, lengths) in enumerate(groups.items()):
        places = [i + (at - (len(groups) - 1) / 2) * height for i, length in enumerate(lengths) if length is not None]
        axes.barh(places, [v for v in lengths if v is not None], height * 0.92, color=colours[label], label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    bar_grid(axes)


def bar_grid(axes: Axes) -> None:
    """Lines across bars, behind them."""
    axes.grid(visible=False, axis="y")
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
