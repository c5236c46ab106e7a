"""Batches of sentence pairs: like lengths together, every pair once an epoch, and each batch by plain Python."""

import itertools

import numpy as np
import pytest
import torch

from Layers.pairs import BOS, EOS, PAD, Pairs
from Utils.data.examples import Sentences
from Utils.data.loader import Loader

COUNT = 103


def rows(count=COUNT, seed=5, longest=12):
    """(sources, targets): rows of words; those of a pair are about equally long. The first word tells which pair."""
    random = np.random.default_rng(seed)
    sources, targets = [], []
    for k in range(count):
        source = int(random.integers(1, longest + 1))
        target = max(1, source + int(random.integers(-2, 3)))
        for side, length in ((sources, source), (targets, target)):
            side.append([1_000 + k, *random.integers(4, 900, length - 1).tolist()])
    return sources, targets


def examples(sources, targets, split="some"):
    """The same as a data set keeps them: token numbers in one row, int32, and offsets."""
    tensors = {}
    for side, lists in (("source", sources), ("target", targets)):
        tensors[f"{split}_{side}_ids"] = torch.tensor(list(itertools.chain(*lists)), dtype=torch.int32)
        tensors[f"{split}_{side}_offsets"] = torch.tensor([0, *itertools.accumulate(map(len, lists))])
    return Sentences.of(tensors, split)


def loader(count=COUNT, batch_size=10, shuffle=True, seed=1, longest=12, **more):
    return Loader(examples(*rows(count, longest=longest)), batch_size, shuffle, seed, **more)


def numbers(batch):
    """Which pairs a batch holds, in order, by its sources; its targets hold the same."""
    data, _ = batch
    assert torch.equal(data.source[:, 1], data.target[:, 1])
    return [int(k) - 1_000 for k in data.source[:, 1]]


def epoch(loader):
    return [numbers(batch) for batch in loader]


def flat(batches):
    return [tensor for data, target in batches for tensor in (data.source, data.target, target)]


def test_a_batch_is_what_plain_python_makes_of_its_pairs():
    """<bos> words <eos> on the source side; <bos> words go in on the target side and words <eos> are to come out."""
    sources, targets = rows()
    for batch in loader():
        data, wanted = batch
        chosen, known = numbers(batch), []
        assert isinstance(data, Pairs) and len(data) == len(chosen)
        assert data.source.dtype == data.target.dtype == wanted.dtype == torch.int64
        width = [max(len(side[k]) for k in chosen) for side in (sources, targets)]
        for k, source, target in zip(chosen, data.source.tolist(), data.target.tolist(), strict=True):
            assert source == [BOS, *sources[k], EOS] + [PAD] * (width[0] - len(sources[k]))
            assert target == [BOS, *targets[k]] + [PAD] * (width[1] - len(targets[k]))
            known += [*targets[k], EOS]
        assert wanted.tolist() == known


def test_a_target_is_what_follows_the_position_it_is_asked_for():
    """One for each position that is not padding, row by row, as the model gives its rows."""
    for data, wanted in loader():
        positions = (data.target != PAD).nonzero()
        assert len(positions) == len(wanted)
        for (b, t), word in zip(positions.tolist(), wanted.tolist(), strict=True):
            last = t + 1 == data.target.shape[1] or data.target[b, t + 1] == PAD
            assert word == (EOS if last else data.target[b, t + 1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 10, COUNT, 10**6])
def test_every_pair_comes_once_an_epoch(workers, batch_size):
    batches = loader(batch_size=batch_size, workers=workers)
    for _ in range(2):
        found = epoch(batches)
        assert sorted(itertools.chain(*found)) == list(range(COUNT))
        assert len(found) == len(batches)
        assert sorted(map(len, found), reverse=True)[:-1] == [batch_size] * (len(found) - 1)


def test_each_epoch_has_other_batches_in_another_order():
    """Not only the batches' order changes, but also who is with whom."""
    batches = loader(1_000)
    epochs = [epoch(batches) for _ in range(4)]
    assert len({tuple(map(tuple, found)) for found in epochs}) == 4
    company = [{frozenset(batch) for batch in found} for found in epochs]
    assert all(len(one & other) < 10 for one, other in itertools.combinations(company, 2))
    lengths = [[int((data.source != PAD).sum(1).max()) for data, _ in batches] for _ in range(2)]
    assert lengths[0] != lengths[1] and all(found != sorted(found) for found in lengths)


def test_the_epochs_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = [epoch(batches) for batches in [loader(seed=3)] for _ in range(3)]
    torch.manual_seed(2)
    state, again = torch.get_rng_state(), loader(seed=3)
    next(iter(again))  # an epoch broken off counts as one
    assert [epoch(again) for _ in range(2)] == one[1:]
    assert torch.equal(torch.get_rng_state(), state)
    assert epoch(loader(seed=4)) != one[0]


@pytest.mark.parametrize("length", [None, 37])
def test_batches_do_not_depend_on_workers(length):
    runs = []
    for workers in (0, 1, 3):
        batches = loader(batch_size=8, workers=workers, length=length)
        runs.append(flat([*batches, *batches]))
    for other in runs[1:]:
        assert len(other) == len(runs[0])
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_holds_pairs_of_like_lengths(shuffle):
    """Put in order of length, one batch's pairs come after the other's: by the source, then by the target."""
    sources, targets = rows()
    found = epoch(loader(shuffle=shuffle))
    spans = sorted(sorted((len(sources[k]), len(targets[k])) for k in batch) for batch in found)
    assert all(one[-1] <= other[0] for one, other in itertools.pairwise(spans))
    if not shuffle:
        every = list(itertools.chain(*found))
        assert every == sorted(range(COUNT), key=lambda k: (len(sources[k]), len(targets[k]), k))
        assert epoch(loader(shuffle=False, seed=9)) == found


def test_chance_decides_among_pairs_of_equal_lengths():
    """Each of six alike is in the first of two batches in about half of 300 epochs (five standard deviations)."""
    batches = Loader(examples([[1_000 + k, 5] for k in range(6)], [[1_000 + k] for k in range(6)]), 3, True, 1)
    counts = np.zeros(6)
    for _ in range(300):
        counts[numbers(next(iter(batches)))] += 1
    assert counts.sum() == 900 and np.abs(counts - 150).max() < 5 * np.sqrt(300 / 4)


def test_little_is_padding():
    """Of lengths as unlike as of real sentences, at most a third of what random batches have."""

    def share(batches):
        tensors = [tensor for data, _ in batches for tensor in (data.source, data.target)]
        return sum(int((t == PAD).sum()) for t in tensors) / sum(t.numel() for t in tensors)

    alike = loader(2_000, 64, longest=30)
    batch = alike.examples.arrange(torch.randperm(2_000, generator=torch.Generator().manual_seed(0)))
    random = share(batch(a, min(a + 64, 2_000)) for a in range(0, 2_000, 64))
    assert random > 0.3 and share(alike) < random / 3


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_length_draws_one_subset_for_all_epochs(shuffle):
    batches = loader(length=25, shuffle=shuffle)
    epochs = [epoch(batches) for _ in range(3)]
    subsets = [set(itertools.chain(*found)) for found in epochs]
    assert len(batches) == 3 and len(subsets[0]) == 25 and subsets[0] == subsets[1] == subsets[2] != set(range(25))
    assert (epochs[0] == epochs[1]) is not shuffle
    assert epoch(loader(length=10**6, batch_size=10**6))[0] != []


def test_what_all_examples_tell():
    """Their number, lengths, targets in one row, and each source; the ids may be kept in a smaller type."""
    sources, targets = rows(9)
    pairs = examples(sources, targets)
    assert len(pairs) == 9
    assert pairs.lengths.tolist() == [[len(a) + 2, len(b) + 2] for a, b in zip(sources, targets, strict=True)]
    assert pairs.targets.tolist() == [word for row in targets for word in [*row, EOS]]
    assert pairs.targets.dtype == torch.int64 and pairs.source_ids.dtype == torch.int32
    for k, row in enumerate(sources):
        assert pairs.source(k).tolist() == [BOS, *row, EOS] and pairs.source(k).dtype == torch.int64
    wanted = torch.cat([wanted for _, wanted in Loader(pairs, 4)])
    assert sorted(wanted.tolist()) == sorted(pairs.targets.tolist())


def test_a_batch_can_be_had_twice_and_moved():
    """What one batch is does not depend on those before it; moving keeps its kind."""
    batch = examples(*rows(9)).arrange(torch.arange(9))
    first = batch(2, 5)
    batch(0, 9)
    assert all(torch.equal(a, b) for a, b in zip(flat([first]), flat([batch(2, 5)]), strict=True))
    moved = first[0].to(torch.device("cpu"))
    assert isinstance(moved, Pairs) and torch.equal(moved.source, first[0].source)
    assert torch.equal(moved.target, first[0].target) and len(moved) == 3
