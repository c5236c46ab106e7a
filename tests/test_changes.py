"""Changed test inputs against lists of words and tiles, one example at a time."""

import pytest
import torch

from Layers.pairs import BOS, EOS
from Utils.data import changes
from Utils.data.examples import Images, Sentences, Texts, framed
from Utils.data.photographs import Photographs
from Utils.errors import UserError

LENGTHS = [3, 1, 7, 2, 5]


def _texts():
    ids = torch.arange(10, 10 + sum(LENGTHS), dtype=torch.int32)
    return Texts(ids, torch.tensor([0, *LENGTHS]).cumsum(0), torch.arange(len(LENGTHS)))


def _sentences():
    texts = _texts()
    return Sentences(*framed(texts.ids, texts.offsets), *framed(texts.ids + 100, texts.offsets))


def _images(channels=2, height=10, width=7, count=5):
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, channels, height, width), generator=draw, dtype=torch.uint8)
    mean = torch.tensor([33.2, 101.7])[:channels].view(-1, 1, 1)
    return Images(pixels, torch.arange(count), mean, torch.ones(channels, 1, 1))


def _words(examples):
    """Each example's units as a list; every tile as a tuple of its pixels inside the image."""
    if isinstance(examples, Texts):
        return [examples.ids[a:b].tolist() for a, b in zip(examples.offsets, examples.offsets[1:], strict=False)]
    if isinstance(examples, Sentences):
        rows = [examples.source(k).tolist() for k in range(len(examples))]
        assert all(row[0] == BOS and row[-1] == EOS for row in rows)
        return [row[1:-1] for row in rows]
    down, right = (range(0, size, changes.TILE) for size in examples.pixels.shape[2:])
    size = changes.TILE
    return [
        [tuple(image[:, y : y + size, x : x + size].flatten().tolist()) for y in down for x in right]
        for image in examples.pixels
    ]


# Of images whose sides are multiples of a tile every tile is whole.
KINDS = [_texts, _sentences, lambda: _images(2, 8, 12)]


def _changed(name, examples, seed=0):
    return changes.CHANGES[name](examples, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", KINDS)
def test_rows_and_back_again(make):
    examples = make()
    found = changes.rows(examples)
    assert _words(found.back(found.units, found.offsets)) == _words(examples)


def test_an_image_is_filled_up_to_whole_tiles_and_cut_off_again():
    examples = _images()
    found = changes.rows(examples)
    assert found.units.shape == (5 * 3 * 2, 2, 4, 4)
    assert torch.equal(found.back(found.units, found.offsets).pixels, examples.pixels)


@pytest.mark.parametrize("make", KINDS)
def test_shuffled_has_the_same_units_in_any_order(make):
    before, orders = _words(make()), set()
    for seed in range(30):
        after = _words(_changed("shuffled", make(), seed))
        for one, other in zip(before, after, strict=True):
            assert sorted(one) == sorted(other)
        orders.add(tuple(after[0]))
    assert len(orders) >= min(6, 30)  # all orders of three words; almost as many orders of six tiles as seeds


@pytest.mark.parametrize("make", KINDS)
def test_swapped_exchanges_two_neighbours(make):
    before, places = _words(make()), set()
    for seed in range(60):
        for one, other in zip(before, _words(_changed("swapped", make(), seed)), strict=True):
            differing = [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
            if len(one) == 1:
                assert one == other
            else:
                first, second = differing
                assert second == first + 1 and one[first] == other[second] and one[second] == other[first]
                places.add((len(one), first))
    lengths = {len(row) for row in before} - {1}
    assert places == {(length, k) for length in lengths for k in range(length - 1)}


@pytest.mark.parametrize("make", KINDS[:2])
def test_dropped_lacks_one_word(make):
    before, places = _words(make()), set()
    for seed in range(60):
        for one, other in zip(before, _words(_changed("dropped", make(), seed)), strict=True):
            if len(one) == 1:
                assert one == other
            else:
                (gone,) = set(one) - set(other)
                assert [word for word in one if word != gone] == other
                places.add((len(one), one.index(gone)))
    assert places == {(length, k) for length in set(LENGTHS) - {1} for k in range(length)}


def test_dropped_blanks_one_tile_of_an_image():
    examples = _images(2, 8, 12)
    blank = (*[33] * 16, *[102] * 16)
    for seed in range(10):
        for one, other in zip(_words(examples), _words(_changed("dropped", examples, seed)), strict=True):
            (place,) = [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
            assert other[place] == blank


@pytest.mark.parametrize("make", KINDS)
def test_exchanged_gives_every_example_the_input_of_another(make):
    before = _words(make())
    for seed in range(20):
        after = _words(_changed("exchanged", make(), seed))
        assert sorted(map(tuple, after)) == sorted(map(tuple, before))
        assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("name", changes.CHANGES)
@pytest.mark.parametrize("make", [*KINDS, _images])
def test_targets_stay_and_a_seed_repeats(name, make):
    one, other = (_changed(name, make(), 3) for _ in range(2))
    assert torch.equal(one.targets, make().targets) and _words(one) == _words(other)
    assert len(one) == len(make())


@pytest.mark.parametrize("name", changes.CHANGES)
def test_inputs_that_stay_in_their_files_are_one_clear_line(name, tmp_path):
    one = Photographs(["a.JPEG"], tmp_path, torch.zeros(1, dtype=torch.int64), torch.zeros(1), torch.ones(1))
    with pytest.raises(UserError, match="stay in their files cannot be changed"):
        _changed(name, one, 1)


def test_rarity_is_the_logarithm_of_ranks():
    texts, sentences = _texts(), _sentences()
    expected = [sum(torch.tensor(row).double().log1p().tolist()) / len(row) for row in _words(texts)]
    assert changes.rarity(texts).tolist() == pytest.approx(expected)
    assert changes.rarity(sentences).tolist() == pytest.approx(sentences.targets.double().log1p().tolist())
    assert changes.rarity(_images()) is None
