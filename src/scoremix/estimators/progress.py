"""What `verbose` tells of a fit: EM prints, as in scikit-learn; the other learners log to the logger ``scoremix``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from scoremix.arrays import Floats
from scoremix.learning.regression.scores import FittedLevel
from scoremix.learning.sck.descent import Record, Stage

logger = logging.getLogger("scoremix")


class Passes:
    """Lines about EM from one start; a `verbose` of 2 adds times and likelihoods."""

    def __init__(self, number: int, verbose: int, interval: int) -> None:
        self.verbose, self.interval = verbose, interval
        self.began = self.last = perf_counter()
        print(f"Initialization {number}")

    def report(self, n_pass: int, change: float) -> None:
        """Tell of one pass in `interval`."""
        if n_pass % self.interval == 0:
            now = perf_counter()
            more = f"\t time lapse {now - self.last:.5f}s\t ll change {change:.5f}" if self.verbose >= 2 else ""
            print(f"  Iteration {n_pass}{more}")
            self.last = now

    def end(self, converged: bool, bound: float) -> None:
        """Tell how it ended."""
        seconds = perf_counter() - self.began
        more = f" time lapse {seconds:.5f}s\t lower bound {bound:.5f}." if self.verbose >= 2 else ""
        print(f"Initialization {'converged' if converged else 'did not converge'}.{more}")


def level_lines(sigmas: Floats) -> Callable[[int, FittedLevel[Any]], None]:
    """What logs a line for every noise level that is finished."""

    def report(level: int, fit: FittedLevel[Any]) -> None:
        degrees = fit.model.degrees
        highest = f"degree <= {degrees.max()}" if degrees.max() >= 0 else "no polynomials"
        logger.info(
            "level %d/%d: sigma=%.4g, %d cells, %s, denoising loss %.5g",
            level + 1, len(sigmas), sigmas[level], len(degrees), highest, fit.denoising_loss,
        )  # fmt: skip

    return report


def stage_lines(stages: Sequence[Stage]) -> Callable[[Record], None]:
    """What logs about ten lines for every stage of a descent."""

    def report(record: Record) -> None:
        every = max(1, stages[record.stage].n_steps // 10)
        if record.step % every == 0:
            logger.info(
                "stage %d, step %d: loss %.6g, gradient %.3g",
                record.stage, record.step, record.loss, record.gradient_norm,
            )  # fmt: skip

    return report
