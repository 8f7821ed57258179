"""A small neural score as used in practice; needs torch.

A perceptron of three hidden layers of 128 with the preconditioning, the noise law and the loss weights of Karras,
Aittala, Aila and Laine (NeurIPS 2022), AdamW, an exponential average of the weights, and early stopping on a sixth of
the rows. Data are scaled to one standard deviation on average.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from scoremix.arrays import Floats

WIDTH, BATCH, STEPS, CHECK, PATIENCE = 128, 256, 4000, 250, 5
"""Of a layer; rows per step, most steps, steps between two looks at the held-out loss, looks without a gain."""

AVERAGE, RATE, DECAY = 0.995, 1e-3, 1e-2

NOISE_MEAN, NOISE_SPREAD = -1.2, 1.2
"""Of the logarithm of the noise level in training."""

PRESENT = find_spec("torch") is not None


def fit_denoiser(x: Floats, seed: int, steps: int = STEPS) -> Callable[[Floats, float], Floats]:
    """Train on rows (n, d) and return ``denoise(y, sigma)``."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    d, mean = x.shape[1], x.mean(axis=0)
    scale = float(np.sqrt(x.var(axis=0).mean()))
    rows = torch.as_tensor((x - mean) / scale, dtype=torch.float32)
    rows = rows[torch.randperm(len(rows))]
    held_out, rows = rows[: len(rows) // 6], rows[len(rows) // 6 :]
    layers: list[Any] = [torch.nn.Linear(d + 5, WIDTH), torch.nn.SiLU()]
    for _ in range(2):
        layers += [torch.nn.Linear(WIDTH, WIDTH), torch.nn.SiLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, d))

    def denoise(net: Any, y: Any, sigma: Any) -> Any:
        t, clock = sigma**2, torch.log(sigma) / 4
        waves = [torch.cos(clock * w) for w in (2, 4)] + [torch.sin(clock * w) for w in (2, 4)]
        inputs = torch.cat([y / torch.sqrt(t + 1), clock, *waves], dim=1)
        return y / (t + 1) + sigma / torch.sqrt(t + 1) * net(inputs)

    def loss(net: Any, batch: Any, generator: Any) -> Any:
        log_sigma = NOISE_MEAN + NOISE_SPREAD * torch.randn((len(batch), 1), generator=generator)
        sigma = torch.exp(log_sigma)
        noisy = batch + sigma * torch.randn(batch.shape, generator=generator)
        weight = (sigma**2 + 1) / sigma**2
        return torch.mean(weight * (denoise(net, noisy, sigma) - batch) ** 2)

    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    best, kept, since = np.inf, averaged.state_dict(), 0
    judges = held_out.repeat(max(1, 2048 // max(1, len(held_out))), 1)
    noise = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        batch = rows[torch.randint(len(rows), (min(BATCH, 4 * len(rows)),))]
        optimiser.zero_grad()
        loss(network, batch, noise).backward()
        optimiser.step()
        averaged.update_parameters(network)
        if step % CHECK == 0 or step == steps:
            with torch.no_grad():
                value = float(loss(averaged, judges, torch.Generator().manual_seed(0)))
            since += 1
            if value < best:
                best, since = value, 0
                kept = {name: tensor.clone() for name, tensor in averaged.state_dict().items()}
            if since == PATIENCE:
                break
    averaged.load_state_dict(kept)

    def answer(y: Floats, sigma: float) -> Floats:
        with torch.no_grad():
            points = torch.as_tensor((y - mean) / scale, dtype=torch.float32)
            level = torch.full((len(points), 1), sigma / scale)
            return np.asarray(denoise(averaged, points, level), dtype=np.float64) * scale + mean

    return answer
