"""Retained performance, (metric - chance) / (dense - chance) of the same seed, and up to where a level is retained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Utils.study.statistics import CONFIDENCE, resampled
from Utils.study.tasks import MAIN, Task, Variant
from Utils.wording import counted

LEVELS = (0.95, 0.90, 0.50)
MIN_SEEDS = 3  # with fewer there is no interval and no verdict


def retained(task: Task, pruner: str, compression: float, variant: Variant = MAIN) -> dict[str, float]:
    """Return the retained performance by seed, relative to the dense run of the same seed.

    A seed without a dense run that does better than chance is left out.
    """
    reach = {seed: value - task.chance for seed, value in task.values(pruner, 0.0, variant).items()}
    values = task.values(pruner, compression, variant)
    return {seed: (value - task.chance) / reach[seed] for seed, value in values.items() if reach.get(seed, 0.0) > 0.0}


def crossing(compressions: Sequence[float], values: Sequence[float], level: float) -> float:
    """Return where `values` first fall below `level`, linear between the points; infinity if they never do.

    compressions: ascending. The first value is at least `level` in any curve that starts dense (where it is 1).
    """
    if values[0] < level:
        return compressions[0]
    for k in range(1, len(values)):
        if values[k] < level:
            share = (values[k - 1] - level) / (values[k - 1] - values[k])
            return compressions[k - 1] + share * (compressions[k] - compressions[k - 1])
    return math.inf


@dataclass(frozen=True)
class Threshold:
    """The compression up to which `level` is retained."""

    level: float
    value: float  # infinite if it lies above `highest`
    # The ends of the 95 % interval, by bootstrap over seeds; None with fewer than MIN_SEEDS or without width
    low: float | None
    high: float | None
    highest: float  # highest measured compression
    seeds: int

    def _shown(self, value: float) -> str:
        return f"above {self.highest:g}" if math.isinf(value) else f"{value:.2f}"

    def text(self) -> str:
        """Return the threshold and its interval in words."""
        if self.low is None or self.high is None:
            why = "the seeds agree" if self.seeds >= MIN_SEEDS else counted(self.seeds, "seed")
            return f"{self._shown(self.value)} (no interval: {why})"
        if math.isinf(self.low):
            return f"{self._shown(self.value)} (all of the interval)"
        return f"{self._shown(self.value)} ({self._shown(self.low)} to {self._shown(self.high)})"


def thresholds(task: Task, pruner: str, variant: Variant = MAIN) -> list[Threshold]:
    """Return one threshold per level of LEVELS.

    There are none without pruned runs, or without dense runs that do better than chance.
    """
    compressions = [0.0, *task.compressions(variant, pruner)]
    by_compression = [task.values(pruner, compression, variant) for compression in compressions]
    if len(compressions) < 2 or not retained(task, pruner, 0.0, variant):
        return []
    means = np.array([sum(values.values()) / len(values) for values in by_compression])
    curve = (means - task.chance) / (means[0] - task.chance)
    every = sorted({seed for values in by_compression for seed in values})
    table = np.array([[values.get(seed, np.nan) for values in by_compression] for seed in every])
    drawn = resampled(table) - task.chance
    curves = drawn[drawn[:, 0] > 0.0] / drawn[drawn[:, :1].ravel() > 0.0, :1]
    seeds = min(map(len, by_compression))
    result = []
    for level in LEVELS:
        low = high = None
        if seeds >= MIN_SEEDS:
            values = sorted(crossing(compressions, row, level) for row in curves.tolist())
            edge = round(len(values) * (1.0 - CONFIDENCE) / 2.0)
            low, high = values[edge], values[-1 - edge]
            if math.isfinite(low) and f"{low:.2f}" == f"{high:.2f}":
                low = high = None  # what is uncertain is the line between two compressions, which no seed knows
        value = crossing(compressions, curve.tolist(), level)
        result.append(Threshold(level, value, low, high, compressions[-1], seeds))
    return result
