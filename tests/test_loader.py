"""Batches: every example once an epoch, in an order of seed and epoch alone, the same for any number of workers."""

import copy
import gc
import threading

import numpy as np
import pytest
import torch
from torchvision import transforms

from Layers.bags import Bags
from Utils.data.examples import Images, Texts
from Utils.data.loader import Loader

COUNT = 103


def texts(count: int = COUNT, seed: int = 5) -> Texts:
    """Texts of 0 to 6 tokens; the target of text k is k, so that a batch shows which texts it holds."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 7, (count,), generator=generator)
    ids = torch.randint(0, 1_000, (int(lengths.sum()),), generator=generator, dtype=torch.int32)
    return Texts(ids, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]), torch.arange(count))


def images(count: int = COUNT, channels: int = 3) -> Images:
    pixels = torch.randint(0, 256, (count, channels, 5, 4), generator=torch.Generator().manual_seed(6))
    tensors = {"some_pixels": pixels.to(torch.uint8), "some_targets": torch.arange(count)}
    return Images.of(tensors, "some", (0.1307, 0.5, 0.25)[:channels], (0.3081, 0.125, 1.0)[:channels])


def row(examples: Texts, k: int) -> list[int]:
    """Text k, token by token."""
    return [int(examples.ids[i]) for i in range(int(examples.offsets[k]), int(examples.offsets[k + 1]))]


def order(loader: Loader) -> list[int]:
    """The targets of one epoch, in order."""
    return [int(k) for _, target in loader for k in target]


def flat(batches) -> list:
    """Batches as a list of tensors, to compare bit for bit."""
    return [
        tensor
        for data, target in batches
        for tensor in ((data.ids, data.offsets, target) if isinstance(data, Bags) else (data, target))
    ]


@pytest.mark.parametrize("make", [texts, images])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 10, COUNT, COUNT + 1, 10**6])
def test_every_example_comes_once_an_epoch(make, workers, batch_size):
    loader = Loader(make(), batch_size, shuffle=True, seed=1, workers=workers)
    for _ in range(2):
        batches = list(loader)
        sizes = [len(target) for _, target in batches]
        assert sorted(int(k) for _, target in batches for k in target) == list(range(COUNT))
        assert all(len(data) == len(target) for data, target in batches)
        assert len(sizes) == len(loader) and set(sizes[:-1]) <= {batch_size}
        assert sizes[-1] == (COUNT - 1) % batch_size + 1


def test_without_shuffle_the_order_is_that_of_the_split_every_epoch():
    loader = Loader(texts(), 10)
    assert order(loader) == order(loader) == list(range(COUNT))


def test_each_epoch_has_another_order():
    loader = Loader(texts(), 10, shuffle=True, seed=1)
    epochs = [tuple(order(loader)) for _ in range(4)]
    assert len({*epochs, tuple(range(COUNT))}) == 5


def test_the_order_depends_on_seed_and_epoch_alone():
    """Neither on the global generator, nor the batch size, nor what was drawn before; nor does it draw from outside."""
    torch.manual_seed(1)
    loader = Loader(texts(), 10, shuffle=True, seed=1)
    epochs = [order(loader) for _ in range(3)]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = Loader(images(), 7, shuffle=True, seed=1)
    next(iter(again))  # an epoch broken off after one batch counts as one
    assert [order(again) for _ in range(2)] == epochs[1:]
    assert torch.get_rng_state().equal(state)
    assert order(Loader(texts(), 10, shuffle=True, seed=2)) != epochs[0]


def test_orders_are_uniform():
    """Over many seeds each example comes first about equally often (chi square, 9 degrees of freedom, p = 0.001)."""
    few = texts(10)
    firsts = [order(Loader(few, 10, shuffle=True, seed=seed))[0] for seed in range(1_000)]
    counts = np.bincount(firsts, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.88


@pytest.mark.parametrize("make", [texts, images])
@pytest.mark.parametrize("length", [None, 37])
def test_batches_do_not_depend_on_workers(make, length):
    runs = []
    for workers in (0, 1, 3):
        loader = Loader(make(), 8, shuffle=True, seed=3, length=length, workers=workers)
        runs.append(flat([*loader, *loader]))
    for other in runs[1:]:
        assert len(other) == len(runs[0])
        assert all(a.dtype == b.dtype and a.equal(b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_length_draws_one_subset_for_all_epochs(shuffle):
    loader = Loader(texts(), 10, shuffle=shuffle, seed=1, length=25)
    epochs = [order(loader) for _ in range(3)]
    assert len(loader) == 3
    assert len(set(epochs[0])) == 25 and {*epochs[0]} == {*epochs[1]} == {*epochs[2]}
    assert (epochs[0] == epochs[1]) is not shuffle
    assert set(epochs[0]) != set(range(25))  # drawn from all, not the first
    assert order(Loader(texts(), 10, shuffle=shuffle, seed=1, length=25)) == epochs[0]
    assert {*order(Loader(texts(), 10, shuffle=shuffle, seed=2, length=25))} != {*epochs[0]}


@pytest.mark.parametrize("length", [COUNT, COUNT + 1, 10**9, None])
def test_a_length_beyond_the_split_means_all_of_it(length):
    assert sorted(order(Loader(texts(), 10, length=length))) == list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 2])
def test_texts_arrange_is_what_python_does_row_by_row(workers):
    """Texts without a token among them: each keeps its place, and takes no room."""
    examples = texts()
    assert examples.offsets.diff().min() == 0
    for data, target in Loader(examples, 9, shuffle=True, seed=4, workers=workers):
        assert data.ids.dtype == data.offsets.dtype == torch.int64
        ids, offsets = [], []
        for k in target.tolist():
            offsets.append(len(ids))
            ids += row(examples, k)
        assert data.ids.tolist() == ids and data.offsets.tolist() == offsets


@pytest.mark.parametrize("chosen", [[], [3], [5, 5, 0], [102, 0, 7, 7]])
def test_texts_arrange_any_order(chosen):
    """Also an order that leaves out or repeats."""
    examples = texts()
    data, target = examples.arrange(torch.tensor(chosen, dtype=torch.int64))(0, len(chosen))
    assert target.tolist() == chosen and len(data) == len(chosen)
    assert data.ids.tolist() == [token for k in chosen for token in row(examples, k)]


def test_texts_that_are_all_empty_make_a_batch():
    examples = Texts(torch.zeros(0, dtype=torch.int32), torch.zeros(4, dtype=torch.int64), torch.arange(3))
    ((data, target),) = Loader(examples, 5)
    assert data.ids.numel() == 0 and data.offsets.tolist() == [0, 0, 0] and target.tolist() == [0, 1, 2]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_what_torchvision_makes_of_them(channels):
    examples = images(12, channels)
    mean, std = (0.1307, 0.5, 0.25)[:channels], (0.3081, 0.125, 1.0)[:channels]
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    for data, target in Loader(examples, 5, shuffle=True, seed=1):
        assert data.dtype == torch.float32 and data.shape == (len(target), channels, 5, 4)
        expected = torch.stack([theirs(examples.pixels[k].permute(1, 2, 0).numpy()) for k in target.tolist()])
        torch.testing.assert_close(data, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [texts, images])
def test_the_examples_stay_as_they_are(make):
    """Batches are the consumer's to write in."""
    examples = make()
    before = copy.deepcopy(examples)
    for batch in Loader(examples, 10, shuffle=True, seed=1):
        for tensor in flat([batch]):
            tensor.zero_()
    for name, tensor in vars(before).items():
        now = getattr(examples, name)
        assert now.equal(tensor) if isinstance(tensor, torch.Tensor) else now == tensor, name


@pytest.mark.parametrize("workers", [1, 3])
def test_breaking_off_in_an_epoch_leaves_no_thread(workers):
    before = set(threading.enumerate())
    loader = Loader(texts(), 1, shuffle=True, seed=1, workers=workers)
    for _ in loader:
        assert len(set(threading.enumerate()) - before) > 0  # threads are at work
        break
    gc.collect()
    assert set(threading.enumerate()) <= before
    assert sorted(order(loader)) == list(range(COUNT))  # and the next epoch is whole
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_putting_a_batch_together_reaches_the_consumer(workers):
    class Failing(Texts):
        def arrange(self, order, seed=None):
            batch = super().arrange(order)

            def fail(a, b):
                if a == 50:
                    raise RuntimeError("the disk is gone")
                return batch(a, b)

            return fail

    before = set(threading.enumerate())
    found = []
    with pytest.raises(RuntimeError, match="the disk is gone"):
        for _, target in Loader(Failing(**vars(texts())), 10, workers=workers):
            found += target.tolist()
    assert found == list(range(50))
    assert set(threading.enumerate()) <= before
