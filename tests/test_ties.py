"""Equal scores at the threshold: a seeded draw decides, not the position, and a result says how many it decided."""

import math
from collections import Counter

import nets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from Layers import layers
from Pruners import TIES, ranking
from Pruners.pruners import SNIP, Pruner
from Utils import load
from Utils.machine import seeds

INF = math.inf
few = st.sampled_from([0.0, -0.0, 1.0, -1.0, INF, -INF])  # many ties
rows = st.lists(few, min_size=1, max_size=12)


@st.composite
def tensors(draw):
    """Scores by name, and which entries are alive."""
    scores = {f"t{k}": torch.tensor(row) for k, row in enumerate(draw(st.lists(rows, min_size=1, max_size=4)))}
    alive = {
        name: torch.tensor(draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score))))
        for name, score in scores.items()
    }
    return scores, alive


def groups(scores, alive, scope):
    """(scores, alive flags, names and sizes) of what is ranked together, as plain lists."""
    one_each = [([name], scores[name].tolist(), alive[name].tolist()) for name in scores]
    if scope == "local":
        return one_each
    return [tuple([item for group in one_each for item in group[k]] for k in range(3))]


def flags(keep, names):
    return [flag for name in names for flag in keep[name].tolist()]


@given(tensors(), st.integers(1, 64).map(lambda k: k / 64), st.sampled_from(ranking.SCOPES), st.integers(0, 9))
def test_seeded_ties_keep_the_same_scores_as_a_sort_and_as_many(made, density, scope, seed):
    """Counted in plain Python: the kept scores are the highest of those alive, whichever of equal ones they are."""
    scores, alive = made
    found = ranking.rank(scores, alive, density, scope, "seeded", seed)
    by_position = ranking.rank(scores, alive, density, scope, "position")
    decided = 0
    for names, values, live in groups(scores, alive, scope):
        kept = flags(found.keep, names)
        assert not any(k and not a for k, a in zip(kept, live, strict=True))  # what was pruned stays pruned
        ranked = sorted((v for v, a in zip(values, live, strict=True) if a), reverse=True)
        wanted = ranked[: math.ceil(len(values) * density)]
        assert sorted((v for v, k in zip(values, kept, strict=True) if k), reverse=True) == wanted
        last = Counter(v + 0.0 for v in ranked)[wanted[-1] + 0.0] if wanted else 0  # -0.0 + 0.0 is 0.0
        room = Counter(v + 0.0 for v in wanted)[wanted[-1] + 0.0] if wanted else 0
        decided += room if room < last else 0
        if room == last:  # no tie: the draw has nothing to say
            assert kept == flags(by_position.keep, names)
    assert found.by_tie == by_position.by_tie == decided


@given(st.lists(few, min_size=1, max_size=20), st.data())
def test_choose_counts_what_it_decided(values, data):
    """Brute force: entries that stay and equal one that is alive and goes."""
    alive = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    kept = data.draw(st.integers(0, len(values) + 1))
    for draw in (None, torch.Generator().manual_seed(5)):
        choice = ranking.choose(torch.tensor(values), torch.tensor(alive), kept, draw)
        stay = choice.chosen.tolist()
        gone = {v for v, a, s in zip(values, alive, stay, strict=True) if a and not s}
        stays = [v for v, s in zip(values, stay, strict=True) if s]
        assert len(stays) == min(kept, sum(alive))
        assert choice.by_tie == sum(v in gone for v in stays)


@pytest.mark.parametrize("scope", ranking.SCOPES)
def test_the_draw_is_that_of_the_seed(scope):
    scores = {name: torch.zeros(500) for name in "ab"}
    alive = {name: torch.ones(500, dtype=torch.bool) for name in "ab"}
    state = torch.get_rng_state()
    one, same, other = (ranking.rank(scores, alive, 0.1, scope, "seeded", seed).keep for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws move
    assert all(torch.equal(one[name], same[name]) for name in "ab")
    assert not any(torch.equal(one[name], other[name]) for name in "ab")
    assert not torch.equal(one["a"], one["b"])  # nor is one tensor's draw that of the next


def test_equal_scores_stay_all_over_the_network():
    """Each layer keeps about the density; by position the first takes all and the last go empty."""
    sizes = {"first": 4_000, "second": 10_000, "third": 6_000, "last": 5_000}
    scores = {name: torch.zeros(size) for name, size in sizes.items()}
    alive = {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
    seeded = ranking.rank(scores, alive, 0.2, "global", "seeded", 3)
    for name, size in sizes.items():  # four standard deviations of the hypergeometric draw
        assert abs(seeded.keep[name].sum().item() / size - 0.2) < 4 * math.sqrt(0.2 * 0.8 / size)
    ordered = ranking.rank(scores, alive, 0.2, "global", "position")
    assert [int(keep.sum()) for keep in ordered.keep.values()] == [4_000, 1_000, 0, 0]
    assert seeded.by_tie == ordered.by_tie == 5_000


def test_each_of_equal_entries_is_as_likely():
    """Three of ten over 3,000 seeds: each stays 900 times, give or take five deviations."""
    score, alive = torch.zeros(10), torch.ones(10, dtype=torch.bool)
    draws = (torch.Generator().manual_seed(seed) for seed in range(3_000))
    counts = sum(ranking.choose(score, alive, 3, draw).chosen.int() for draw in draws)
    assert (counts - 900).abs().max() < 5 * math.sqrt(3_000 * 0.3 * 0.7) and counts.sum() == 9_000


def test_unknown_ties_write_no_mask():
    pruner = Pruner([(torch.ones(3), torch.ones(3))], ties="first")
    pruner.scores = {"tensor 0": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"ties.*seeded, position"):
        pruner.mask(0.5)
    assert pruner.masked_parameters[0][0].all()


@pytest.mark.parametrize("ties", TIES)
def test_snip_counts_the_zero_scores_that_a_tie_kept(ties):
    """A hidden layer whose second half is dead: its weights score exactly zero, in both layers, biases left out."""
    model = nets.mlp(6, 20, 4)
    with torch.no_grad():
        model[0].weight[10:] = 0
        model[0].bias[10:] = -1.0  # so that the unit is off for any input
    pairs = [(m.weight_mask, m.weight) for m in model.modules() if isinstance(m, layers.Linear)]
    pruner = SNIP(pairs, seed=4, ties=ties)
    pruner.score(model, F.cross_entropy, nets.image_batches((6,), 4, (30,)), nets.CPU)
    above = sum(int((score > 0).sum()) for score in pruner.scores.values())
    assert above <= 10 * 10 and sum(int((s == 0).sum()) for s in pruner.scores.values()) == 200 - above >= 100
    pruner.mask(0.75)
    assert pruner.by_tie == 150 - above
    zeros_kept = [int(mask[score == 0].sum()) for (mask, _), score in zip(pairs, pruner.scores.values(), strict=True)]
    assert sum(zeros_kept) == 150 - above
    zeros = [int((score == 0).sum()) for score in pruner.scores.values()]
    if ties == "position":
        assert zeros_kept == [min(zeros[0], 150 - above), max(0, 150 - above - zeros[0])]
    else:
        assert all(0 < stay < there for stay, there in zip(zeros_kept, zeros, strict=True))


@pytest.mark.parametrize("ties", TIES)
def test_the_result_says_which_share_a_tie_decided(ran, ties):
    """Mag takes the text model's four biases, all zero, first; two of them stay."""
    run = ran(f"--dataset agnews --pruner mag --compression 0.0037 --prune-bias --ties {ties}")
    assert run.result["parameters"]["prunable_kept"] == 258 and run.result["kept_by_tie"] == 2 / 258
    assert run.masks["fc.weight_mask"].all() and run.masks["fc.bias_mask"].sum() == 2
    assert ties == "seeded" or run.masks["fc.bias_mask"].tolist() == [1, 1, 0, 0]
    assert ran("--dataset agnews --pruner mag --compression 0.5").result["kept_by_tie"] == 0.0


def test_snips_zero_scores_in_a_result(ran, sample_data):
    """Units that are off for all ten images score zero: |theta dL/dtheta| written out with autograd."""
    corpus = load.corpus("mnist", str(sample_data), "sample")
    model = nets.drawn(seeds.derive(1, "init"), load.model("fc"), corpus.shape, corpus.num_classes)
    loader = load.dataloader(corpus, 256, True, length=10, seed=seeds.derive(1, "prune"), shuffle=False)
    for data, target in loader:
        F.cross_entropy(model(data), target).backward()
    scores = [m.weight.detach() * m.weight.grad for m in model.modules() if isinstance(m, layers.Linear)]
    above, total = sum(int((s != 0).sum()) for s in scores), sum(s.numel() for s in scores)
    kept = total - math.floor((1 - 10**-0.002) * total)
    assert above < kept  # or this test would see no tie
    command = "--dataset mnist --pruner snip --compression 0.002 --prune-dataset-ratio 1"
    one, other = ran(command), ran(f"{command} --ties position")
    for run in (one, other):
        assert run.result["parameters"]["prunable_kept"] == kept
        assert run.result["kept_by_tie"] == pytest.approx((kept - above) / kept, rel=1e-12)
    masks = [[run.masks[f"{name}.weight_mask"] for name in (1, 3, 5, 7, 9, 11)] for run in (one, other)]
    for score, seeded, ordered in zip(scores, *masks, strict=True):
        assert seeded[score != 0].all() and ordered[score != 0].all()
    assert any((a != b).any() for a, b in zip(*masks, strict=True))
