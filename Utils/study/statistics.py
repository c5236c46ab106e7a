"""Means over seeds and their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

CONFIDENCE = 0.95
ENUMERATED = 20  # a permutation test uses all 2^n signs up to this n; above, it draws DRAWN of them
DRAWN = 100_000
DRAWS = 2_000  # samples of a bootstrap
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)  # of an integral
FLIPPED = 12  # from so many pairs on, the interval of their mean is that of `sign_flip`, with fewer Student's t


def t_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t with `freedom` > 0 degrees at `probability` in (0, 1)."""
    if probability < 0.5:
        return -t_quantile(1.0 - probability, freedom)

    scale = math.exp(math.lgamma((freedom + 1.0) / 2.0) - math.lgamma(freedom / 2.0)) / math.sqrt(math.pi)

    def below(t: float) -> float:  # with t = sqrt(freedom) * tan(angle) the density is a power of the cosine
        half = 0.5 * math.atan(t / math.sqrt(freedom))
        return 0.5 + scale * half * float(WEIGHTS @ np.cos(half * (NODES + 1.0)) ** (freedom - 1.0))

    low, high = 0.0, 1.0
    while below(high) < probability:
        low, high = high, 2.0 * high
    return _border(low, high, lambda t: below(t) < probability)


def _border(inside: float, outside: float, holds: Callable[[float], bool]) -> float:
    """Return where `holds` ends between a place where it is true and one where it is not, by halving."""
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


@dataclass(frozen=True)
class Interval:
    """A mean of `count` values and half the width of its 95 % interval.

    A single value has no interval (`half` is None).
    """

    mean: float
    half: float | None
    count: int
    flip: tuple[float, float] | None = None  # ends of another interval than `half` gives: that of `sign_flip`

    def scaled(self, factor: float) -> Interval:
        """Return Student's interval multiplied by a factor."""
        return Interval(factor * self.mean, None if self.half is None else factor * self.half, self.count)

    @property
    def record(self) -> dict[str, float | None]:
        """Return the entries of a table's line of plain values."""
        return {"mean": self.mean, "half_width": self.half, "seeds": self.count}

    def ends(self) -> str:
        """Return both ends with their signs, in words."""
        return "one seed: no interval" if self.half is None else f"{self.low:+.2f} to {self.high:+.2f}"

    @property
    def low(self) -> float:
        """Return the lower end, or minus infinity without an interval."""
        if self.flip is not None:
            return self.flip[0]
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        """Return the upper end, or infinity without an interval."""
        if self.flip is not None:
            return self.flip[1]
        return math.inf if self.half is None else self.mean + self.half


def interval(values: Iterable[float]) -> Interval | None:
    """Return the mean with Student's t interval; None if there are no values."""
    values = list(values)
    if not values:
        return None
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Interval(mean, t_quantile(0.5 + CONFIDENCE / 2, count - 1) * spread / math.sqrt(count), count)


def difference(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Return the mean of `first` minus that of `second`, unpaired, with Welch's interval.

    `count` is the smaller of the two numbers of values.
    """
    a, b = interval(first), interval(second)
    if a is None or b is None:
        return None
    count = min(a.count, b.count)
    if count == 1:
        return Interval(a.mean - b.mean, None, 1)
    parts = [
        math.fsum((value - side.mean) ** 2 for value in values) / (side.count - 1) / side.count
        for side, values in ((a, first), (b, second))
    ]
    if sum(parts) == 0.0:
        return Interval(a.mean - b.mean, 0.0, count)
    freedom = sum(parts) ** 2 / sum(part**2 / (side.count - 1) for side, part in zip((a, b), parts, strict=True))
    return Interval(a.mean - b.mean, t_quantile(0.5 + CONFIDENCE / 2, freedom) * math.sqrt(sum(parts)), count)


@dataclass(frozen=True)
class Differences:
    """Differences between two settings, by seed; there is at least one."""

    by_seed: Mapping[str, float]

    @cached_property
    def interval(self) -> Interval:
        """Return the mean difference with its 95 % interval: that of `sign_flip` from FLIPPED seeds on."""
        values = [*self.by_seed.values()]
        result = interval(values)
        assert result is not None  # there is a seed
        return result if len(values) < FLIPPED else replace(result, flip=flip_interval(values))

    @property
    def p(self) -> float:
        """Return the two-sided p-value of the sign-flip test, not adjusted."""
        return sign_flip(self.by_seed.values())


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Return `first` minus `second` by seed, for the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def sign_flip(differences: Iterable[float]) -> float:
    """Return the two-sided p-value of a permutation test.

    It is the fraction of random sign changes that give a sum at least as far from 0 as the observed one. Up to
    ENUMERATED differences it is exact, over all 2^n signs. For more, DRAWN signs are drawn with a fixed seed.
    """
    values = np.array(list(differences), dtype=np.float64)
    seen = abs(values.sum()) - 1e-9 * np.abs(values).sum()  # sums in another order round differently
    if len(values) <= ENUMERATED:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= seen))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWN, len(values)))
    return float((1 + np.count_nonzero(np.abs(signs @ values) >= seen)) / (1 + DRAWN))


def flip_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the centre of `values` that belongs to `sign_flip`: all centres it does not reject.

    None if there are so few values that it rejects none.
    """
    level = 1.0 - CONFIDENCE
    if smallest_p(len(values)) >= level:
        return None
    mean = math.fsum(values) / len(values)  # not rejected; the extremes are, for all others lie on one side of them
    low, high = (
        _border(mean, outside, lambda centre: sign_flip(value - centre for value in values) >= level)
        for outside in (min(values), max(values))
    )
    return low, high


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the same order (Holm 1979).

    A test is significant at a level if its adjusted value is below it. Then the chance of any false one is below the
    level, however the tests depend on each other.
    """
    order = sorted(range(len(values)), key=lambda k: values[k])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[k]))
        adjusted[k] = highest
    return adjusted


def smallest_p(count: int) -> float:
    """Return the smallest value of `sign_flip` for `count` differences, which occurs when all have one sign."""
    return min(1.0, 2.0 ** (1 - count)) if count <= ENUMERATED else 1.0 / (1 + DRAWN)


def resampled(table: np.ndarray) -> np.ndarray:
    """Return column means over rows drawn with replacement, [DRAWS, columns], the same rows for every column.

    table: [rows, columns], NaN where there is no value. A column without any drawn value keeps the mean of all.
    """
    there, values = ~np.isnan(table), np.nan_to_num(table)
    picked = np.random.default_rng(0).integers(len(table), size=(DRAWS, len(table)))
    counts = there[picked].sum(axis=1)
    return np.where(counts, values[picked].sum(axis=1) / np.maximum(counts, 1), values.sum(axis=0) / there.sum(axis=0))
