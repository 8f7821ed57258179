"""Denoise a ring hidden in fifty dimensions.

The centres lie on a circle of radius 6, the noise has size 1 in every one of 50 directions. The plane of the circle is
found from the data, the points are moved back to the circle, and new ones are drawn; nobody says "circle".

    python examples/plot_ring.py [FIGURE]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from scoremix import DiffusionMixture
from scoremix.evaluation import make_manifold, make_ring, posterior_regret


def main(path: str = "ring.png") -> None:
    ring = make_manifold(make_ring(radius=6.0), 50, random_state=0)
    x = ring.sample(10_000, np.random.default_rng(0))
    model = DiffusionMixture(noise_scale=1.0, random_state=0).fit(x)
    clouds = {
        "data": x[:2000],
        "denoised: $E[\\mu \\mid x]$": model.posterior_mean(x[:2000]),
        "samples": model.sample(2000, random_state=0),
    }
    regret = posterior_regret(model.posterior_mean, ring, rng=1)
    figure, panels = plt.subplots(
        1, 3, figsize=(10, 3.8), sharex=True, sharey=True, subplot_kw={"aspect": "equal"}, layout="constrained"
    )
    for panel, (title, cloud) in zip(panels, clouds.items(), strict=True):
        plane = np.asarray(cloud) @ ring.basis  # the true plane, for the eye only: the model has found its own
        panel.plot(plane[:, 0], plane[:, 1], ".", markersize=2, alpha=0.5)
        panel.set_title(title)
    figure.suptitle(
        f"A circle in 50 dimensions: {model.ladder_.frame.rank} dimensions found, "
        f"denoising risk {regret.value:.1%} above the best possible"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
