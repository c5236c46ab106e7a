"""Ranks of several ways over several tasks (Demsar 2006, JMLR 7): Friedman's test, Spearman's correlation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Utils.study.statistics import CONFIDENCE

DRAWN = 20_000  # permutations


def ranked(values: np.ndarray) -> np.ndarray:
    """Return the ranks along the last axis: 1 is the highest value, and equal values share the mean of their ranks."""
    above, equal = (np.sum(order(values[..., None, :], values[..., None]), -1) for order in (np.greater, np.equal))
    return 0.5 + above + 0.5 * equal


def standard(values: np.ndarray) -> np.ndarray:
    """Return ranks along the last axis, centred, of length 1: the product of two is Spearman's correlation.

    They are 0 where all values are equal.
    """
    ranks = ranked(values) - 0.5 * (1 + values.shape[-1])
    length = np.sqrt(np.sum(ranks**2, -1, keepdims=True))
    return ranks / np.maximum(length, 1e-12)


def agreement_p(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the two-sided p-value of the mean rank correlation of some pairs, [k] each.

    The ways of all first sides are exchanged, in the same manner, in DRAWN permutations with a fixed seed.
    """
    ways = len(pairs[0][0])
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(ways), (DRAWN, 1)), axis=1)
    sides = [(standard(first), standard(second)) for first, second in pairs]
    seen = abs(sum(float(first @ second) for first, second in sides))
    drawn = abs(sum(first[orders] @ second for first, second in sides))
    return float((1 + np.count_nonzero(drawn >= seen - 1e-9)) / (1 + DRAWN))


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of k ways, and the difference of mean ranks above which two of them differ."""

    statistic: float  # with the correction for ties
    p: float
    critical: float  # the critical difference, at 5 % for all pairs of ways together

    def groups(self, means: Sequence[float]) -> list[list[int]]:
        """Return the largest groups of ways, best first, whose mean ranks differ by no more than that."""
        order = sorted(range(len(means)), key=means.__getitem__)
        reach = [[j for j in order[i:] if means[j] - means[order[i]] <= self.critical] for i in range(len(order))]
        return [each for i, each in enumerate(reach) if len(each) > 1 and not (i and each[-1] == reach[i - 1][-1])]


def friedman(tasks: Sequence[np.ndarray]) -> Friedman:
    """Test whether all ways are alike. tasks: the ranks of each, [cells, k], such as its compressions.

    Cells of one task are not independent of each other. So in place of the chi-squared distribution and of Nemenyi's
    critical difference, which take them as independent, both come from DRAWN permutations with a fixed seed: the ways
    are exchanged anew in each task, in all of its cells alike. With one cell a task they are the exact test and, for
    many tasks, Nemenyi's difference. One task alone shows nothing (p = 1).
    """
    sums = np.array([ranks.sum(axis=0) for ranks in tasks])
    cells, ways = sum(map(len, tasks)), sums.shape[1]
    middle = 0.5 * (1 + ways)
    spread = max(float(np.sum((np.concatenate(tasks) - middle) ** 2)), 1e-12)

    def statistic(of: np.ndarray) -> np.ndarray:
        return (ways - 1) * np.sum((of - cells * middle) ** 2, axis=-1) / spread

    drawn = np.random.default_rng(0).permuted(np.broadcast_to(sums, (DRAWN, *sums.shape)), axis=-1).sum(axis=1)
    seen = float(statistic(sums.sum(axis=0)))
    p = (1 + np.count_nonzero(statistic(drawn) >= seen - 1e-9)) / (1 + DRAWN)
    critical = np.quantile(np.ptp(drawn, axis=-1) / cells, CONFIDENCE, method="higher")
    return Friedman(seen, float(p), float(critical))
