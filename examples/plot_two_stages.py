"""Two free means in 100 dimensions: gradient descent on the DDPM objective needs large noise first.

The distance of the learnt means from the true ones along the descent, from four random starts. Small noise alone
leaves a mean without rows, so its gradient is zero; at large noise every mean feels every row.

    python examples/plot_two_stages.py [FIGURE]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from scoremix import DDPMMixture

SCHEDULES = {
    "small noise only": {"noise_times": (0.1,), "n_steps": (4000,)},
    "large, then small noise": {"noise_times": (1.5, 0.1), "n_steps": (3000, 1000)},
}


def distance(means: np.ndarray, truth: np.ndarray) -> float:
    """Larger of the two distances, the better way round."""
    return min(np.linalg.norm(means - pair, axis=1).max() for pair in (truth, truth[::-1]))


def main(path: str = "two_stages.png", d: int = 100, n: int = 1000, n_starts: int = 4) -> None:
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    for seed in range(n_starts):
        rng = np.random.default_rng(seed)
        mu = rng.standard_normal(d)
        mu *= 6 / np.linalg.norm(mu)
        x = rng.choice([-1.0, 1.0], n)[:, None] * mu + rng.standard_normal((n, d))
        for (name, schedule), colour in zip(SCHEDULES.items(), ("tab:red", "tab:blue"), strict=True):
            history = DDPMMixture(random_state=seed, **schedule).fit(x).history_
            first = max(record.step for record in history if record.stage == 0)
            steps = [record.step + (first if record.stage else 0) for record in history]
            errors = [distance(record.means, np.stack([mu, -mu])) for record in history]
            panel.plot(steps, errors, color=colour, label=name if seed == 0 else None)
    panel.set(xlabel="step", ylabel="distance of learnt and true means", xscale="symlog", xlim=0, ylim=0)
    panel.set_title(f"Two Gaussians in {d} dimensions, means 6 from the origin")
    panel.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
