"""Figures of fitted models; Matplotlib is used here and nowhere else.

1. `split_tree`: the tree of cells that split as the noise falls.
2. `figure`: data, denoised data, samples and that tree in four panels.

In: a fitted `DiffusionMixture` and tables with their `Columns`. Out: a Matplotlib `Figure`, or a file of one.
"""

from scoremix.plots.figure import figure_ending, fit_figure, save_figure

__all__ = ["figure_ending", "fit_figure", "save_figure"]
