"""Densities by layer, floors and patterns, against exact fractions and plain loops."""

import math
from fractions import Fraction

import nets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Pruners import ranking
from Pruners.guest import Guest
from Pruners.layout import Scope, shares
from Pruners.pruners import Mag, Pruner
from Utils import generator, load
from Utils.training.prune import prune_loop

examples = settings(deadline=None, derandomize=True, max_examples=150)
SHAPES = {"conv": (4, 3, 3, 3), "wide": (6, 20), "thin": (5, 2), "bias": (5,)}


def _divided(total, sizes, most, least):
    """The shares as exact fractions: bounds that are met are fixed one after the other, as Evci et al.'s code does."""
    if sum(least) > total:
        least = [0] * len(sizes)
    breaks = sorted(
        {Fraction(bound) / Fraction(size) for size, *both in zip(sizes, most, least, strict=True) for bound in both}
    )

    def at(factor):
        return [
            max(Fraction(a), min(Fraction(b), factor * Fraction(s))) for s, b, a in zip(sizes, most, least, strict=True)
        ]

    below = max((f for f in [Fraction(0), *breaks] if sum(at(f)) <= total), default=Fraction(0))
    above = min((f for f in breaks if sum(at(f)) >= total), default=below)
    low, high = sum(at(below)), sum(at(above))
    factor = below if low >= total or high == low else below + (above - below) * (total - low) / (high - low)
    return at(factor)


numbers = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(0, 4)), min_size=1, max_size=6)


@examples
@given(numbers, st.data())
def test_shares_are_exact_in_sum_within_bounds_and_proportional(rows, data):
    sizes, most = [float(a) for a, _, _ in rows], [b for _, b, _ in rows]
    least = [min(b, c) for _, b, c in rows]
    total = data.draw(st.integers(0, sum(most)))
    found, exact = shares(total, sizes, most, least), _divided(total, sizes, most, least)
    assert sum(found) == total
    assert all(0 <= share <= limit for share, limit in zip(found, most, strict=True))
    if sum(least) <= total:
        assert all(share >= floor for share, floor in zip(found, least, strict=True))
    assert all(math.floor(e) <= f <= math.ceil(e) for f, e in zip(found, exact, strict=True))
    up = [e - math.floor(e) for f, e in zip(found, exact, strict=True) if f > e]
    down = [e - math.floor(e) for f, e in zip(found, exact, strict=True) if f < e]
    assert not up or not down or min(up) >= max(down)  # the largest remainders are rounded up


def _scores(seed, shapes=SHAPES):
    draw = torch.Generator().manual_seed(seed)
    scores = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return scores, {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}


def _counts(ranking_):
    return {name: int(keep.sum()) for name, keep in ranking_.keep.items()}


def test_erk_gives_each_layer_the_published_density():
    """Evci et al. 2020, section 3: density eps * (in + out + kh + kw) / (in * out * kh * kw), at most 1."""
    scores, alive = _scores(0)
    total = sum(score.numel() for score in scores.values())
    counts = _counts(ranking.rank(scores, alive, 0.25, Scope("erk")))
    assert sum(counts.values()) == total - math.floor(0.75 * total)
    raw = {"conv": (4 + 3 + 3 + 3) / 108, "wide": 26 / 120, "thin": 7 / 10, "bias": 1.0}
    factors = {name: counts[name] / scores[name].numel() / raw[name] for name in raw}
    free = {name: factor for name, factor in factors.items() if counts[name] < scores[name].numel()}
    assert len(free) > 2 and max(free.values()) - min(free.values()) < 0.2 * min(free.values())
    for name, keep in ranking.rank(scores, alive, 0.25, Scope("erk")).keep.items():
        assert keep.all() or scores[name][keep].min() > scores[name][~keep].max()
    full = _counts(ranking.rank(scores, alive, 0.7, Scope("erk")))
    assert full["bias"] == 5 and full["thin"] == 10 and sum(full.values()) == total - math.floor(0.3 * total)


@examples
@given(
    st.integers(0, 99),
    st.sampled_from(["erk", "file"]),
    st.booleans(),
    st.lists(st.integers(1, 63), min_size=1, max_size=4),
)
def test_the_total_is_exact_in_every_round_and_nothing_comes_back(seed, kind, never_empty, steps):
    scores, alive = _scores(seed)
    densities = {name: (seed * 7 + k * 13) % 50 / 50 + 0.02 for k, name in enumerate(scores)}
    scope = Scope(kind, densities, never_empty)
    total = sum(score.numel() for score in scores.values())
    for density in sorted((step / 64 for step in steps), reverse=True):
        keep = ranking.rank(scores, alive, density, scope, "seeded", seed).keep
        assert sum(int(k.sum()) for k in keep.values()) == math.ceil(density * total)
        assert not any((keep[name] & ~alive[name]).any() for name in keep)
        scores, alive = _scores(seed + 100)[0], keep


@pytest.mark.parametrize("kind", ["global", "local"])
def test_every_unit_keeps_its_best_weight_and_the_count_stays_exact(kind):
    """In plain Python: the best of each row first, then the highest of all that are left."""
    scores, alive = _scores(3)
    scores["wide"] -= 5.0  # whole rows that a plain ranking would empty
    kept = ranking.rank(scores, alive, 0.3, Scope(kind, never_empty=True)).keep
    plain = ranking.rank(scores, alive, 0.3, kind).keep
    assert kind == "local" or not plain["wide"].any()
    for names in [list(scores)] if kind == "global" else [[name] for name in scores]:
        entries = [(float(v), name, i) for name in names for i, v in enumerate(scores[name].flatten().tolist())]
        first = set()
        for name in names:
            if scores[name].dim() > 1:
                width = scores[name][0].numel()
                for row in range(len(scores[name])):
                    first.add(max(e for e in entries if e[1] == name and e[2] // width == row))
        count = math.ceil(0.3 * len(entries))
        chosen = sorted(entries, key=lambda e: (e not in first, -e[0]))[:count]
        found = {(name, i) for name in names for i in kept[name].flatten().nonzero().flatten().tolist()}
        assert found == {(name, i) for _, name, i in chosen}


def test_a_floor_that_the_budget_cannot_pay_leaves_the_count_exact():
    scores, alive = _scores(4)
    for kind in ("global", "erk"):
        kept = ranking.rank(scores, alive, 8 / 243, Scope(kind, never_empty=True)).keep
        assert sum(int(k.sum()) for k in kept.values()) == 8
        assert all((k.flatten(1).sum(1) <= 1).all() for k in kept.values() if k.dim() > 1) or kind == "erk"


@pytest.mark.parametrize("ties", ["seeded", "position"])
@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (1, 2), (3, 8)])
def test_of_every_m_inputs_the_best_n_stay(pattern, ties):
    scores, alive = _scores(5, {"conv": (3, 8, 2, 2), "line": (4, 16), "rest": (4, 7), "bias": (6,)})
    n, m = pattern
    keep = ranking.rank(scores, alive, n / m, Scope(pattern=pattern), ties).keep
    assert keep["bias"].all()
    for name in ("conv", "line", "rest"):
        score, kept = scores[name].flatten(2) if name == "conv" else scores[name].unsqueeze(2), keep[name]
        kept = kept.view_as(score)
        for out in range(score.shape[0]):
            for place in range(score.shape[2]):
                for begin in range(0, score.shape[1], m):
                    part = score[out, begin : begin + m, place].tolist()
                    wanted = sorted(part)[-math.ceil(n * len(part) / m) :]
                    assert (
                        sorted(x for x, k in zip(part, kept[out, begin : begin + m, place].tolist(), strict=True) if k)
                        == wanted
                    )


def test_equal_scores_in_a_pattern_are_drawn_and_exact():
    scores, alive = {"a": torch.zeros(50, 8)}, {"a": torch.ones(50, 8, dtype=torch.bool)}
    drawn = [ranking.rank(scores, alive, 0.5, Scope(pattern=(2, 4)), "seeded", seed).keep["a"] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert all((each.view(-1, 4).sum(1) == 2).all() for each in drawn)
    assert ranking.rank(scores, alive, 0.5, Scope(pattern=(2, 4))).by_tie == 200  # all that stay
    scores["a"][:, 0] = 1.0  # of each first group one is sure to stay
    assert ranking.rank(scores, alive, 0.5, Scope(pattern=(2, 4))).by_tie == 150
    scores["a"].fill_(0.0)
    first = ranking.rank(scores, alive, 0.5, Scope(pattern=(2, 4)), "position").keep["a"]
    assert torch.equal(first.view(-1, 4), torch.tensor([True, True, False, False]).expand(100, 4))


@pytest.mark.parametrize("scope", [Scope("erk", never_empty=True), Scope(pattern=(2, 4))], ids=["erk", "pattern"])
@pytest.mark.parametrize("name", load.PRUNERS)
def test_every_pruner_takes_them_in_many_rounds(name, scope):
    model = nets.mixed(dropout=0.0).eval()
    pruner = load.pruner(name)(generator.masked_parameters(model))
    batches = nets.image_batches((1, 6, 6), 3, [4])
    prune_loop(model, nets.CROSS_ENTROPY, pruner, batches, nets.CPU, 0.5, "exponential", scope, 4)
    for mask, _ in pruner.masked_parameters:
        assert mask.flatten(1).any(1).all()
        if scope.pattern and mask.shape[1] % 4 == 0:
            assert (mask.movedim(1, -1).reshape(-1, 4).sum(1) == 2).all()
    if not scope.pattern:
        assert pruner.stats()[0] == math.ceil(0.5 * pruner.stats()[1])


def test_a_class_of_the_users_own_is_ranked_by_its_scores():
    class Own(Mag):
        def mask(self, density, scope="global"):
            raise AssertionError("it knows no such scope")

    pairs = list(generator.masked_parameters(nets.mlp(4, 6, 3)))
    guest, ours = Guest(Own, pairs), Pruner(pairs)
    guest.score(nets.mlp(4, 6, 3), None, [], nets.CPU)
    guest.mask(0.5, Scope("erk"))
    found = [mask.clone() for mask, _ in pairs]
    for mask, _ in pairs:
        mask.fill_(1)
    ours.scores = {name: p.detach().abs() for name, (_, p) in zip(ours.names, pairs, strict=True)}
    ours.mask(0.5, Scope("erk"))
    assert all(torch.equal(a, b) for a, (b, _) in zip(found, pairs, strict=True))
