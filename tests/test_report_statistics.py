"""Intervals and tests against printed tables, integration and enumeration."""

import itertools
import math
import statistics as standard

import numpy as np
import pytest

from Utils.study import statistics

# Two-sided 95 % and 99 % points of Student's t as printed in statistics books.
PRINTED = {1: (12.706, 63.657), 2: (4.303, 9.925), 3: (3.182, 5.841), 4: (2.776, 4.604), 9: (2.262, 3.250),
           29: (2.045, 2.756), 120: (1.980, 2.617)}  # fmt: skip


@pytest.mark.parametrize("freedom", PRINTED)
def test_quantiles_are_those_of_the_books(freedom):
    for probability, printed in zip((0.975, 0.995), PRINTED[freedom], strict=True):
        assert statistics.t_quantile(probability, freedom) == pytest.approx(printed, abs=6e-4)
        assert statistics.t_quantile(1.0 - probability, freedom) == pytest.approx(-printed, abs=6e-4)


def test_quantiles_have_their_closed_forms():
    for p in (0.51, 0.6, 0.9, 0.975, 0.9999):
        assert statistics.t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9)
        spread = 2.0 * p - 1.0
        assert statistics.t_quantile(p, 2) == pytest.approx(spread * math.sqrt(2.0 / (1.0 - spread**2)), rel=1e-9)
        assert statistics.t_quantile(p, 1e7) == pytest.approx(standard.NormalDist().inv_cdf(p), abs=1e-5)
    assert statistics.t_quantile(0.5, 3.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("freedom", [1.7, 2.5, 6.0, 13.3])
def test_the_density_below_a_quantile_integrates_to_its_probability(freedom):
    """Also between whole numbers, as Welch's interval needs."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    for p in (0.7, 0.975):
        x = np.linspace(0.0, statistics.t_quantile(p, freedom), 200_001)
        density = scale * (1.0 + x**2 / freedom) ** (-(freedom + 1) / 2)
        assert 0.5 + np.trapezoid(density, x) == pytest.approx(p, abs=1e-8)


def test_an_interval_by_hand():
    found = statistics.interval([90.0, 91.0, 92.5])
    half = 4.302652729749 * standard.stdev([90.0, 91.0, 92.5]) / math.sqrt(3)
    assert (found.mean, found.count) == (pytest.approx(273.5 / 3), 3)
    assert found.half == pytest.approx(half) and found.low == pytest.approx(found.mean - half)


def test_one_value_has_no_interval_and_none_nothing():
    alone = statistics.interval([5.0])
    assert (alone.mean, alone.half, alone.count) == (5.0, None, 1)
    assert (alone.low, alone.high) == (-math.inf, math.inf)
    assert statistics.interval([]) is None


def test_about_95_of_100_intervals_hold_the_mean():
    rng = np.random.default_rng(0)
    held = sum(
        found.low < 3.0 < found.high for found in map(statistics.interval, rng.normal(3.0, 2.0, (2_000, 4)).tolist())
    )
    assert 0.935 < held / 2_000 < 0.965


def test_welch_by_hand():
    """Degrees of freedom after Welch and Satterthwaite, in their own words: variances over counts."""
    first, second = [27.5, 21.0, 19.0, 23.6, 17.0], [27.1, 22.0, 20.8]
    a, b = (standard.variance(side) / len(side) for side in (first, second))
    freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 2)
    found = statistics.difference(first, second)
    assert found.mean == pytest.approx(standard.mean(first) - standard.mean(second))
    assert found.half == pytest.approx(statistics.t_quantile(0.975, freedom) * math.sqrt(a + b))
    assert found.count == 3
    assert statistics.difference([1.0], [2.0, 3.0]).half is None and statistics.difference([], [1.0]) is None
    assert statistics.difference([1.0, 1.0], [3.0, 3.0]).half == 0.0


def test_pairs_are_of_common_seeds():
    assert statistics.paired({"1": 5.0, "2": 7.0, "9": 1.0}, {"2": 4.0, "1": 6.0, "8": 0.0}) == {"1": -1.0, "2": 3.0}


@pytest.mark.parametrize(
    "values",
    [[0.3, -0.1, 0.7], [1.0, 1.0, 1.0, 1.0], [0.1, 0.2, 0.3, -0.3, 0.6, 0.05], [2.0], [0.0, 0.0], [-1.5, 0.5, 1.0]],
)
def test_the_permutation_test_is_that_of_all_signs(values):
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in
            itertools.product((1, -1), repeat=len(values))]  # fmt: skip
    expected = sum(total >= abs(sum(values)) - 1e-12 for total in sums) / len(sums)
    assert statistics.sign_flip(values) == pytest.approx(expected)
    assert statistics.sign_flip(values) >= statistics.smallest_p(len(values))


def test_the_smallest_p_is_reached_by_differences_of_one_sign():
    for count in range(1, 8):
        assert statistics.sign_flip([1.0] * count) == statistics.smallest_p(count) == min(1.0, 2.0 / 2**count)


def test_many_differences_are_drawn_and_come_near_the_exact_p():
    rng = np.random.default_rng(1)
    values = rng.normal(0.1, 1.0, 21).tolist()
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = np.mean(np.abs(sums) >= abs(sum(values)) - 1e-9)
    assert 0.01 < exact < 0.9 and statistics.sign_flip(values) == pytest.approx(exact, abs=0.006)
