"""Watch the cells of a hundred clusters appear as the noise falls.

Each panel shows the data with noise of one level, where the denoiser of that level sends them, and the centres of the
level's cells. At the top there is one cell; at the bottom every cluster has been found, and nobody said how many.

    python examples/plot_levels.py [FIGURE]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from scoremix import DiffusionMixture
from scoremix.evaluation import make_gaussian_mixture

SHOWN = (0, 7, 9, 15)


def main(path: str = "levels.png", n_clusters: int = 100) -> None:
    rng = np.random.default_rng(0)
    problem = make_gaussian_mixture(n_clusters, 2, separation=5.0, random_state=0)
    x = problem.sample(200 * n_clusters, rng)
    model = DiffusionMixture(noise_scale=1.0, random_state=0).fit(x)

    figure, panels = plt.subplots(1, len(SHOWN), figsize=(14, 4), subplot_kw={"aspect": "equal"}, layout="constrained")
    for panel, level in zip(panels, SHOWN, strict=True):
        sigma = float(model.noise_levels_[level])
        noisy = x[:4000] + sigma * rng.standard_normal((4000, 2))
        clean = model.ladder_.posterior_mean(noisy, sigma)
        panel.plot(noisy[:, 0], noisy[:, 1], ".", markersize=1, color="0.75")
        panel.plot(clean[:, 0], clean[:, 1], ".", markersize=1, color="tab:blue")
        centers = model.ladder_.centers(level)
        panel.plot(centers[:, 0], centers[:, 1], "+", color="tab:red", markersize=5)
        panel.set_title(f"$\\sigma$ = {sigma:.2g}, cells: {len(centers)}")
    reach = 1.15 * np.abs(x).max()
    plt.setp(panels, xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    figure.suptitle(
        f"{n_clusters} clusters, {model.n_cells_} found. "
        "Grey: data with noise; blue: denoised; red: cells of the regression"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
