"""Figures of a fitted model; matplotlib is used here and nowhere else.

`fit_figure` shows what a fit did in four panels: the data, the data denoised, new samples, and below them the
tree of cells that split as the noise falls. A cell has one colour in all panels; in the tree, a cell at a
high noise level has the mixed colour of the cells that it splits into. The background is transparent and the
text grey, so that figures can be read on light and dark pages. Figures are matplotlib `Figure` objects,
without global state.

Data and samples come in the units of their columns; what the model needs is encoded here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from scoremix.arrays import Floats
from scoremix.estimators.diffusion_mixture import DiffusionMixture
from scoremix.paths import FilePath, atomic_write
from scoremix.plots.split_tree import SplitTree
from scoremix.samples.columns import Columns

FIGURE_ENDINGS = (".png", ".pdf", ".svg")

_INK = "#767676"  # equally far from white and from black
_PALETTE = ("#3b7dd8", "#e8702a", "#2ca58d", "#c8458a", "#8a63d2", "#d9a514", "#4fb3e0", "#a0623a", "#7aa83a")
_MAX_POINTS = 5000  # more make a scatter plot slower and darker, not clearer
_MAX_LABELS = 12
_NUMBER = StrMethodFormatter("{x:,g}")
_STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}


def fit_figure(model: DiffusionMixture, array: Floats, samples: Floats, columns: Columns, title: str = "") -> Figure:
    """Draw data, denoised points, samples, and the tree of cells splitting as the noise falls.

    One column is drawn as histograms, two as they are; more are projected on the first two principal
    directions of the data in the model's units.

    array (n, d), the data, in the units of the columns; at most 5,000 rows, evenly spaced, are drawn; samples (m, d),
    samples of the model, in the units of the columns; columns: names of the columns, and how the model's units differ
    from theirs.

    ValueError: If an array does not have d columns.
    """
    encoded = columns.encode(array)
    shown = _thinned(encoded)
    clouds = {
        f"Data: {len(array):,} points": shown,
        "Denoised: the center of each point": np.asarray(model.posterior_mean(shown)),
        f"Samples: {len(samples):,} new points": _thinned(columns.encode(samples)),
    }
    view, palette = _View.of(encoded, columns), _palette(model.n_cells_)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 7), layout="constrained")
        panels = figure.subplot_mosaic([["0", "1", "2"], ["tree"] * 3], height_ratios=(1, 1.1))
        _draw_clouds([panels[key] for key in "012"], clouds, model, view, palette)
        tree = SplitTree.of(model.ladder_, model.predict, model.n_cells_)
        _draw_tree(panels["tree"], tree, view, palette)
        _label_cells(panels["tree"], model, view, palette)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def save_figure(figure: Figure, path: FilePath) -> None:
    """Write a figure, beside its final place and then renamed; PNG at 200 dots per inch.

    ValueError: If the ending is another one. OSError: If the file cannot be written.
    """
    ending = figure_ending(path)
    with atomic_write(path) as partial:
        figure.savefig(partial, format=ending[1:], dpi=200, transparent=True)


def figure_ending(path: FilePath) -> str:
    """Return the ending of a figure's path in lower case.

    ValueError: If the ending is another one.
    """
    ending = Path(path).suffix.lower()
    if ending not in FIGURE_ENDINGS:
        raise ValueError(f"{path}: unknown ending {ending!r}: use one of {', '.join(FIGURE_ENDINGS)}")
    return ending


@dataclass(frozen=True)
class _View:
    """Where points of the model's space stand in the panels."""

    columns: Columns
    mean: Floats  # (d,)
    directions: Floats  # (d, min(d, 2)), principal directions of the data in the model's units
    shares: Floats  # (min(d, 2),), their shares of the variance
    width: float  # standard deviation of the data's heights

    @classmethod
    def of(cls, encoded: Floats, columns: Columns) -> Self:
        """Choose the view from the data: the largest entry of a direction is positive."""
        mean = encoded.mean(axis=0)
        _, sizes, rows = np.linalg.svd(encoded - mean, full_matrices=False)
        rows = rows[:2] * np.sign([row[np.abs(row).argmax()] for row in rows[:2]])[:, None]
        width = sizes[0] / np.sqrt(len(encoded)) * (columns.scale[0] if len(columns.names) == 1 else 1.0)
        return cls(columns, mean, rows.T, sizes[:2] ** 2 / np.sum(sizes**2), float(width))

    def points(self, encoded: Floats) -> Floats:
        """Return what the upper panels show, of shape (n, 1) or (n, 2)."""
        if len(self.columns.names) <= 2:
            return self.columns.decode(encoded)
        return np.asarray((encoded - self.mean) @ self.directions)

    def heights(self, encoded: Floats) -> Floats:
        """Return what the tree shows, of shape (n,)."""
        if len(self.columns.names) == 1:
            return self.columns.decode(encoded)[:, 0]
        return np.asarray((encoded - self.mean) @ self.directions[:, 0])

    @property
    def labels(self) -> tuple[str, str]:
        """Axis labels of the upper panels."""
        names = self.columns.names
        if len(names) <= 2:
            return names[0], (*names, "share of the points")[1]
        first, second = (f"{share:.0%} of the variance" for share in self.shares)
        return f"first principal direction ({first})", f"second ({second})"

    @property
    def height_label(self) -> str:
        """Axis label of the tree."""
        return self.columns.names[0] if len(self.columns.names) == 1 else "first principal direction"


def _thinned(points: Floats) -> Floats:
    """Return at most _MAX_POINTS rows, evenly spaced."""
    return points[:: -(-len(points) // _MAX_POINTS)]


def _palette(n_cells: int) -> Floats:
    """Return one colour per cell, (n_cells, 3)."""
    if n_cells <= len(_PALETTE):
        return np.array([to_rgb(colour) for colour in _PALETTE[:n_cells]])
    return np.asarray(matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, n_cells))[:, :3])


def _draw_clouds(
    panels: list[Axes], clouds: dict[str, Floats], model: DiffusionMixture, view: _View, palette: Floats
) -> None:
    """Draw data, denoised points and samples on the same axes, one panel each."""
    points = [view.points(cloud) for cloud in clouds.values()]
    data, _, samples = clouds.values()
    own = np.asarray(model.predict(data))
    cells = [own, own, np.asarray(model.predict(samples))]  # a denoised point stays in its point's cell
    if points[0].shape[1] == 1:
        both = np.concatenate([points[0], points[2]])
        margin = 0.02 * np.ptp(both)
        bins = np.linspace(both.min() - margin, both.max() + margin, 48)
        for axes, drawn, cell in zip(panels, points, cells, strict=True):
            _draw_histogram(axes, drawn, cell, palette, bins)
    else:
        for axes in panels[1:]:
            axes.sharex(panels[0])
            axes.sharey(panels[0])
        _draw_moves(panels[1], points[0], points[1], palette[cells[0]])
        for axes, drawn, cell in zip(panels, points, cells, strict=True):
            size = float(np.clip(4000 / len(drawn), 4, 16))
            axes.scatter(drawn[:, 0], drawn[:, 1], s=size, c=palette[cell], alpha=0.6, linewidths=0)
    for axes, title in zip(panels, clouds, strict=True):
        axes.set(title=title, xlabel=view.labels[0])
    panels[0].set_ylabel(view.labels[1])


def _draw_moves(axes: Axes, starts: Floats, ends: Floats, colours: Floats) -> None:
    """Draw a faint line from every point to where denoising moves it."""
    faintness = float(np.clip(50 / len(starts), 0.03, 0.3))
    axes.add_collection(
        LineCollection(list(np.stack([starts, ends], axis=1)), colors=colours, alpha=faintness, linewidths=0.7)
    )


def _draw_histogram(axes: Axes, points: Floats, cells: NDArray[np.intp], palette: Floats, bins: Floats) -> None:
    """Draw a histogram of points on a line, stacked by cell, and every point as a mark below it."""
    parts = [points[cells == cell, 0] for cell in range(len(palette))]
    weights = [np.full(len(part), 1 / len(points)) for part in parts]
    axes.hist(parts, bins.tolist(), weights=weights, color=[tuple(colour) for colour in palette], stacked=True)
    top = axes.get_ylim()[1]
    axes.vlines(
        points[:, 0],
        -0.06 * top,
        -0.02 * top,
        colors=[tuple(colour) for colour in palette[cells]],
        linewidths=0.7,
        alpha=0.6,
    )
    axes.set_ylim(-0.08 * top, top)
    axes.xaxis.set_major_formatter(_NUMBER)
    axes.set_xlim(bins[0], bins[-1])


def _draw_tree(axes: Axes, tree: SplitTree, view: _View, palette: Floats) -> None:
    """Draw the links between levels, as wide as the cells are heavy, and the cells as dots."""
    heights = [view.heights(cells) for cells in tree.centers]
    colours = [outcomes @ palette for outcomes in tree.outcomes]
    bend = np.linspace(0, 1, 24)
    rise = bend * bend * (3 - 2 * bend)  # flat at both ends, so that links join smoothly
    for level in range(1, len(tree.sigmas)):
        starts = heights[level - 1][tree.parents[level]]
        x = tree.sigmas[level - 1] ** (1 - bend) * tree.sigmas[level] ** bend
        y = starts[:, None] + (heights[level] - starts)[:, None] * rise
        axes.add_collection(
            LineCollection(
                [np.column_stack([x, link]) for link in y],
                linewidths=1 + 9 * tree.weights[level],
                colors=colours[level],
                capstyle="round",
            )
        )
    for sigma, height, weight, colour in zip(tree.sigmas, heights, tree.weights, colours, strict=True):
        axes.scatter(np.full(len(height), sigma), height, s=12 + 130 * weight, c=colour, zorder=3, linewidths=0)
    unit = "standard deviations" if view.columns.is_standardized else "the unit of the data"
    axes.set(
        xscale="log",
        xlabel=rf"noise level $\sigma$ added to the data, in {unit}: falling to the right",
        ylabel=view.height_label,
        title="The tree of regression cells, splitting as the noise falls, coloured by the cell they end in",
    )
    low, high = np.min(np.concatenate(heights)), np.max(np.concatenate(heights))
    room = max(view.width - (high - low) / 2, 0.08 * (high - low))  # one cell alone does not fill the panel
    axes.set_ylim(low - room, high + room)
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(_NUMBER)
    axes.yaxis.set_major_formatter(_NUMBER)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_cells(axes: Axes, model: DiffusionMixture, view: _View, palette: Floats) -> None:
    """Write number and weight of every cell at the right end of the tree, apart where they would overlap."""
    if model.n_cells_ > _MAX_LABELS:
        return
    heights = view.heights(np.asarray(model.centers_))
    low, high = axes.get_ylim()
    gap, order = 0.06 * (high - low), np.argsort(heights)
    places = heights[order]
    for _ in range(50):  # push neighbours apart, half each
        overlap = np.maximum(gap - np.diff(places), 0) / 2
        places = places + np.append(0, overlap) - np.append(overlap, 0)
    for cell, place in zip(order, places, strict=True):
        axes.annotate(
            f"cell {cell + 1}: {model.weights_[cell]:.0%}",
            (1, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            color=palette[cell],
            va="center",
            fontsize=9,
            fontweight="bold",
        )
