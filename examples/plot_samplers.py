"""Compare the samplers by the number of denoiser calls they need.

The denoiser is the exact one of a known mixture, so all that is measured is the sampler: how far its samples are from
the truth, above the distance that two samples of the truth itself have. Any callable ``denoiser(y, sigma)`` can be put
in its place.

    python examples/plot_samplers.py [FIGURE]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from scoremix.evaluation import histogram_total_variation, make_gaussian_mixture
from scoremix.sampling import ancestral, dpm, probability_flow

STEPS = (6, 10, 16, 25, 40)


def main(path: str = "samplers.png", n_samples: int = 20_000) -> None:
    rng = np.random.default_rng(0)
    problem = make_gaussian_mixture(6, 2, separation=4.0, random_state=0)
    truth = problem.sample(n_samples, rng)
    top = 2.5 * float(np.sqrt(np.linalg.eigvalsh(problem.cov)[-1]))
    factor = np.linalg.cholesky(problem.cov + top**2 * np.eye(2))

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for sampler, calls in ((dpm, 1), (probability_flow, 2), (ancestral, 1)):
        distances = []
        for steps in STEPS:
            sigmas = np.append(np.geomspace(top, 0.2, steps // calls), 0.0)
            start = problem.mean + rng.standard_normal((n_samples, 2)) @ factor.T
            samples = sampler(problem.denoise, start, sigmas, rng, noise_scale=1.0)
            distances.append(histogram_total_variation(samples, truth).excess)
        axes.plot(STEPS, distances, "o-", label=sampler.__name__)
    axes.axhline(0, color="0.7", zorder=0)
    axes.set(xlabel="calls of the denoiser", ylabel="total variation above the floor", xscale="log")
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.set_title("Samplers with an exact denoiser: six clusters in the plane")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
