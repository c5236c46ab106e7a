"""Means over seeds and how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
ENUMERATED = 20  # signs up to which a permutation test goes through all 2^n; beyond, it draws DRAWN of them
DRAWN = 100_000


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # where the fraction converges slowly, its mirror image is quick
        return 1.0 - incomplete_beta(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1.0 - (a + b) * x / (a + 1.0), tiny)
    value = d
    for m in range(1, 1000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1.0 + term * d, 1.0 + term / c
            d, c = 1.0 / (d if abs(d) > tiny else tiny), c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return front * value / a


def t_quantile(probability: float, freedom: float) -> float:
    """The number that Student's t with `freedom` > 0 degrees stays below with `probability`, in (0, 1)."""
    if probability < 0.5:
        return -t_quantile(1.0 - probability, freedom)

    def below(t: float) -> float:
        return 1.0 - 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)

    low, high = 0.0, 1.0
    while below(high) < probability:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return high


@dataclass(frozen=True)
class Interval:
    """A mean of `count` values and half the width of its 95 % interval; one value alone has none (`half` is None)."""

    mean: float
    half: float | None
    count: int

    def scaled(self, factor: float) -> Interval:
        return Interval(factor * self.mean, None if self.half is None else factor * self.half, self.count)

    @property
    def low(self) -> float:
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        return math.inf if self.half is None else self.mean + self.half


def interval(values: Iterable[float]) -> Interval | None:
    """Student's t interval of the mean; None of no values."""
    values = list(values)
    if not values:
        return None
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Interval(mean, t_quantile(0.5 + CONFIDENCE / 2, count - 1) * spread / math.sqrt(count), count)


def difference(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Mean of `first` less that of `second`, not paired: Welch's interval. `count` is the smaller one's."""
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


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """`first` less `second` by seed, for the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def sign_flip(differences: Iterable[float]) -> float:
    """Two-sided p of a permutation test: how often random signs give a sum at least as far from 0 as the one seen.

    Exact, through all 2^n signs, up to ENUMERATED differences; beyond, from DRAWN signs of a fixed seed.
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


def smallest_p(count: int) -> float:
    """The least that `sign_flip` can give for `count` differences: all of one sign, and its mirror image."""
    return min(1.0, 2.0 ** (1 - count)) if count <= ENUMERATED else 1.0 / (1 + DRAWN)
