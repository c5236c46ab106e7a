"""Which weights stay: exact counts and exact positions, against a sort in plain Python; ties by position."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Pruners import ranking
from Pruners.pruners import Pruner

examples = settings(deadline=None, derandomize=True, max_examples=150)
INF = math.inf


def _by_hand(scores, alive, kept):
    """Positions that stay: the alive ones sorted by score, the highest first, equal ones by position."""
    order = sorted((i for i in range(len(scores)) if alive[i]), key=lambda i: (-scores[i], i))
    return set(order[:kept])


def _count(total, density):
    """The least whole number that is no less than density * total, in exact arithmetic."""
    return math.ceil(Fraction(density) * total)


def _expected(scores, alive, density, scope):
    """Keep flags of every tensor, as lists."""
    if scope == "local":
        return [
            [i in kept for i in range(len(s))]
            for s, a in zip(scores, alive, strict=True)
            for kept in [_by_hand(s, a, _count(len(s), density))]
        ]
    flat, live = [x for s in scores for x in s], [x for a in alive for x in a]
    kept = _by_hand(flat, live, _count(len(flat), density))
    bounds = [sum(map(len, scores[:k])) for k in range(len(scores))]
    return [[first + i in kept for i in range(len(s))] for first, s in zip(bounds, scores, strict=True)]


few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, INF, -INF])  # many ties
any_number = st.floats(allow_nan=False, width=32)
values = st.one_of(
    st.lists(few, min_size=1, max_size=14),
    st.lists(any_number, min_size=1, max_size=14),
    st.builds(lambda x, n: [x] * n, few, st.integers(1, 14)),  # all equal
)
# Multiples of 1/64 are exact in binary, so that the count in floating point is the count.
densities = st.integers(1, 64).map(lambda k: k / 64)


@st.composite
def tensors(draw):
    """(scores, alive flags), each a list of lists, and one dtype a tensor."""
    scores = draw(st.lists(values, min_size=1, max_size=4))
    alive = [draw(st.lists(st.booleans(), min_size=len(s), max_size=len(s))) for s in scores]
    dtypes = draw(st.lists(st.sampled_from([torch.float32, torch.float64]), min_size=len(scores), max_size=len(scores)))
    return scores, alive, dtypes


@examples
@given(tensors(), densities, st.sampled_from(ranking.SCOPES))
def test_rank_is_a_sort_with_ties_by_position(made, density, scope):
    scores, alive, dtypes = made
    given_scores = {f"t{k}": torch.tensor(s, dtype=d) for k, (s, d) in enumerate(zip(scores, dtypes, strict=True))}
    live = {f"t{k}": torch.tensor(a) for k, a in enumerate(alive)}
    kept = ranking.rank(given_scores, live, density, scope, "position").keep
    assert [keep.tolist() for keep in kept.values()] == _expected(scores, alive, density, scope)
    assert list(kept) == list(given_scores)
    assert all(keep.dtype == torch.bool for keep in kept.values())


@examples
@given(values, st.data())
def test_choose_is_a_sort_with_ties_by_position(scores, data):
    alive = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    kept = data.draw(st.integers(0, len(scores) + 1))
    chosen = ranking.choose(torch.tensor(scores, dtype=torch.float64), torch.tensor(alive), kept)
    assert set(chosen.chosen.nonzero().flatten().tolist()) == _by_hand(scores, alive, kept)


@examples
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.lists(densities, min_size=2, max_size=5),
    st.sampled_from(ranking.SCOPES),
    st.data(),
)
def test_what_is_pruned_never_comes_back(sizes, steps, scope, data):
    """Over several densities in any order, with new scores each time and +inf on all that is already pruned."""
    pruner = Pruner([(torch.ones(n), torch.ones(n)) for n in sizes], ties="position")
    masks = [mask for mask, _ in pruner.masked_parameters]
    for density in steps:
        before = [mask.bool().tolist() for mask in masks]
        scores = [[INF if not a else data.draw(few) for a in alive] for alive in before]
        pruner.scores = {name: torch.tensor(s) for name, s in zip(pruner.names, scores, strict=True)}
        pruner.mask(density, scope)
        after = [mask.bool().tolist() for mask in masks]
        assert after == _expected(scores, before, density, scope)
        assert not any(b and not a for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True))
        assert {float(x) for mask in masks for x in mask} <= {0.0, 1.0}


@pytest.mark.parametrize("ties", ranking.TIES)
@pytest.mark.parametrize("scope", ranking.SCOPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_counts_are_exact_on_many_tied_scores(scope, dtype, ties):
    """A thousand weights and few distinct scores, where a threshold alone cuts off far too many or too few."""
    draw = torch.Generator().manual_seed(0)
    sizes = [(20, 30), (401,), (3, 3, 4, 5)]
    scores = {f"t{k}": torch.randint(3, size, generator=draw).to(dtype) for k, size in enumerate(sizes)}
    alive = {name: torch.ones(score.shape, dtype=torch.bool) for name, score in scores.items()}
    numbers = [math.prod(size) for size in sizes]
    for k in range(1, 64, 7):
        kept = ranking.rank(scores, alive, k / 64, scope, ties, k).keep
        assert [kept[name].shape for name in scores] == [score.shape for score in scores.values()]
        counts = [int(keep.sum()) for keep in kept.values()]
        if scope == "local":
            assert counts == [_count(n, k / 64) for n in numbers]
        else:
            assert sum(counts) == _count(sum(numbers), k / 64)


def test_scope_decides_between_one_ranking_and_one_each():
    scores = {"low": torch.tensor([1.0, 2.0]), "high": torch.tensor([3.0, 4.0])}
    alive = {name: torch.tensor([True, True]) for name in scores}
    assert {n: k.tolist() for n, k in ranking.rank(scores, alive, 0.5, "global").keep.items()} == {
        "low": [False, False],
        "high": [True, True],
    }
    assert {n: k.tolist() for n, k in ranking.rank(scores, alive, 0.5, "local").keep.items()} == {
        "low": [False, True],
        "high": [False, True],
    }


@pytest.mark.parametrize(
    ("total", "density", "kept"),
    [
        (256, 1.0, 256),
        (256, 0.1, 26),  # 256 - floor(230.4)
        (256, 0.01, 3),  # 256 - floor(253.44)
        (256, 10**-0.5, 81),  # 256 - floor(175.04)
        (256, 10**-1.5, 9),  # 256 - floor(247.9)
        (256, 1e-3, 1),
        (1000, 0.01, 10),
        (10, 0.1, 1),
        (119400, 1e-3, 120),  # 119400 - floor(119280.6)
        (1, 0.001, 1),
        (0, 0.5, 0),
    ],
)
def test_kept_count_by_hand(total, density, kept):
    assert ranking.kept_count(total, density) == kept


@examples
@given(st.integers(0, 10**6), densities)
def test_kept_count_is_total_minus_floor(total, density):
    assert ranking.kept_count(total, density) == total - math.floor((1 - Fraction(density)) * total)


@pytest.mark.parametrize("compression", [1, 2, 3])
def test_kept_count_of_whole_compressions_is_that_of_decimal_arithmetic(compression):
    """Rounding in 1 - density and its product never moves the floor of a density such as 0.01."""
    exact = Decimal(10) ** -compression
    for total in range(1, 5000):
        expected = total - math.floor((1 - exact) * total)
        assert ranking.kept_count(total, 10.0**-compression) == expected


@examples
@given(st.integers(1, 10**6), st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_kept_count_is_near_the_density_monotone_and_never_none(total, one, other):
    low, high = sorted((one, other))
    assert 1 <= ranking.kept_count(total, low) <= ranking.kept_count(total, high) <= total
    assert abs(ranking.kept_count(total, low) - low * total) <= 1 + 1e-6


def _pruner():
    """Two tensors that already have a mask each, and scores."""
    pruner = Pruner([(torch.tensor([1.0, 0.0, 1.0]), torch.ones(3)), (torch.tensor([[1.0, 1.0]]), torch.ones(1, 2))])
    pruner.scores = {"tensor 0": torch.tensor([1.0, 2.0, 3.0]), "tensor 1": torch.tensor([[4.0, 5.0]])}
    return pruner


def _assert_untouched(pruner):
    assert [mask.tolist() for mask, _ in pruner.masked_parameters] == [[1.0, 0.0, 1.0], [[1.0, 1.0]]]


@pytest.mark.parametrize("scope", ranking.SCOPES)
@pytest.mark.parametrize("density", [0.0, -0.1, 1.0000001, 2.0, math.nan, INF, -INF, 1e-18])
def test_an_unusable_density_writes_no_mask(density, scope):
    """1e-18 is positive, yet 1 - 1e-18 rounds to 1: no weight would stay."""
    pruner = _pruner()
    with pytest.raises(ValueError, match="density"):
        pruner.mask(density, scope)
    _assert_untouched(pruner)


@pytest.mark.parametrize("scope", ["Global", "", "layer", None])
def test_an_unknown_scope_writes_no_mask(scope):
    pruner = _pruner()
    with pytest.raises(ValueError, match=r"scope.*global, local"):
        pruner.mask(0.5, scope)
    _assert_untouched(pruner)


@pytest.mark.parametrize("scope", ranking.SCOPES)
def test_a_nan_score_is_named_and_writes_no_mask(scope):
    pruner = _pruner()
    pruner.scores["tensor 1"][0, 1] = math.nan
    with pytest.raises(FloatingPointError, match="1 of 2 scores of tensor 1"):
        pruner.mask(0.5, scope)
    _assert_untouched(pruner)


def test_check_lets_infinities_pass():
    ranking.check({"a": torch.tensor([INF, -INF, 0.0])})
    with pytest.raises(FloatingPointError, match=r"2 of 3 scores of fc\.weight"):
        ranking.check({"a": torch.zeros(2), "fc.weight": torch.tensor([math.nan, 0.0, math.nan])})


@pytest.mark.parametrize("scope", ranking.SCOPES)
def test_masks_are_written_into_the_given_tensors(scope):
    pruner = _pruner()
    first, second = (mask for mask, _ in pruner.masked_parameters)
    pruner.mask(0.5, scope)
    # Half of five is three, of three two, of two one; position 1 of the first is pruned and stays so.
    assert first.tolist() == ([0.0, 0.0, 1.0] if scope == "global" else [1.0, 0.0, 1.0])
    assert second.tolist() == ([[1.0, 1.0]] if scope == "global" else [[0.0, 1.0]])


@pytest.mark.parametrize("scope", ranking.SCOPES)
def test_where_nothing_is_prunable_nothing_is_kept(scope):
    """The text model with a dense classifier holds no mask at all."""
    assert ranking.rank({}, {}, 0.5, scope) == ranking.Ranking({})
    pruner = Pruner([])
    pruner.mask(0.5, scope)
    assert pruner.stats() == (0, 0)
