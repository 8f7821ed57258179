"""Draw samples from a ladder, in blocks of rows that each have a random stream of their own.

A sampler walks only the coordinates of the frame's subspace; the complement is exactly Gaussian and is added at the
end. Blocks are independent, so threads share them without changing a single number.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import ceil, log

import numpy as np

from scoremix.arrays import Array, Floats
from scoremix.models.ladder import Ladder
from scoremix.noise import geometric_levels
from scoremix.samples.reduce import available_threads, single_blas_thread
from scoremix.sampling.reverse import Sampler

BLOCK_ROWS = 8192  # Samples that share one random stream.

# Where the noise of the data is not known, the finest scale of their distribution is so many times the lowest level.
LOCAL = 5.0


def levels_of(sampler: Sampler, learnt: Floats, n_steps: int | None) -> Floats:
    """Levels of a walk between the highest and the lowest one that were learnt: so many, or else these, or more."""
    if n_steps is None:
        n_steps = 1 + ceil(log(learnt[0] / learnt[-1]) / sampler.step)
        if n_steps <= len(learnt):
            return learnt
    return geometric_levels(learnt[0], learnt[-1], n_steps)


def draw(ladder: Ladder, n_samples: int, walk: Callable[..., Array], sigmas: Floats, seed: int) -> Floats:
    """Draw samples (n, d) of the data's distribution, from the moment-matched Gaussian at the first level down."""
    out = np.empty((n_samples, ladder.frame.n_features))
    inside = ladder.inside()
    # A walk in the clock of the finest scale ends without taking away the width of the data: half a Tweedie step.
    clock = ladder.noise_scale or LOCAL * float(ladder.sigmas[-1])

    def fill(block: int) -> None:
        rows = out[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
        rng = np.random.default_rng(np.random.SeedSequence((seed, block)))
        start = rng.standard_normal((len(rows), ladder.frame.rank)) * np.sqrt(ladder.frame.variances + sigmas[0] ** 2)
        coordinates = walk(inside.denoise, start, sigmas, rng, noise_scale=clock)
        rows[:] = ladder.frame.embed(coordinates.T)
        if not ladder.frame.is_whole:
            noise = ladder.noise_scale * rng.standard_normal(rows.shape)
            rows += noise - (noise @ ladder.frame.basis) @ ladder.frame.basis.T

    blocks = range(-(-n_samples // BLOCK_ROWS))
    with single_blas_thread(), ThreadPoolExecutor(min(available_threads(), len(blocks))) as pool:
        list(pool.map(fill, blocks))
    return out
