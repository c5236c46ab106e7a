"""Random windows and mirror images: what can come out, how often, and on what it depends."""

from collections import Counter

import pytest
import torch
from torchvision.transforms import functional as vision

from Utils.data.examples import Images
from Utils.data.loader import Loader

SIZE, CROP = (6, 7), 2


def images(count=1, crop=CROP, flip=True, seed=0):
    pixels = torch.randint(1, 256, (count, 3, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Images.of({"x_pixels": pixels, "x_targets": torch.arange(count)}, "x", (0.0,) * 3, (1.0,) * 3, crop, flip)


def variants(image: torch.Tensor) -> dict[bytes, tuple]:
    """Every window of the padded image and of its mirror image, by torchvision: pixels -> (row, column, mirrored)."""
    found = {}
    for mirrored in (False, True):
        padded = vision.pad(vision.hflip(image) if mirrored else image, [CROP] * 4)
        for row in range(2 * CROP + 1):
            for column in range(2 * CROP + 1):
                found[vision.crop(padded, row, column, *SIZE).contiguous().numpy().tobytes()] = row, column, mirrored
    return found


def drawn(examples, epochs, **settings):
    """(target, pixels uint8) of every example of so many epochs."""
    loader = Loader(examples, 16, shuffle=True, seed=1, **settings)
    for _ in range(epochs):
        for data, target in loader:
            yield from zip(target.tolist(), (data * 255).round().to(torch.uint8), strict=True)


def test_each_image_is_one_of_its_own_windows_each_as_likely():
    """Fifty windows, 4,000 draws: all come, none far more often than the others, and those of an image only."""
    examples = images(40)
    known = [variants(pixels) for pixels in examples.pixels]
    assert all(len(found) == 2 * (2 * CROP + 1) ** 2 for found in known)
    seen = Counter(known[k][pixels.contiguous().numpy().tobytes()] for k, pixels in drawn(examples, 100))
    assert len(seen) == 50 and 40 < min(seen.values()) and max(seen.values()) < 125  # 80 expected, deviation 9
    assert abs(sum(count for (*_, mirrored), count in seen.items() if mirrored) - 2000) < 130


@pytest.mark.parametrize(("crop", "flip", "count"), [(0, True, 2), (CROP, False, 25), (0, False, 1)])
def test_windows_and_mirror_images_are_had_apart(crop, flip, count):
    examples = images(8, crop, flip)
    seen = {(k, pixels.contiguous().numpy().tobytes()) for k, pixels in drawn(examples, 300)}
    assert len(seen) == 8 * count
    known = [variants(pixels) for pixels in examples.pixels]
    places = {known[k][pixels] for k, pixels in seen}
    assert {mirrored for *_, mirrored in places} == ({False, True} if flip else {False})
    assert {place[:2] for place in places} == (
        {(CROP, CROP)} if not crop else {(a, b) for a in range(5) for b in range(5)}
    )


def test_images_are_varied_one_by_one():
    """Not a whole batch alike."""
    examples = images(64)
    examples.pixels[:] = examples.pixels[0]
    assert len({pixels.contiguous().numpy().tobytes() for _, pixels in drawn(examples, 1)}) > 20


@pytest.mark.parametrize("workers", [1, 3])
def test_the_seed_and_the_epoch_decide_alone(workers):
    """The same for any number of threads; another epoch, another draw."""
    plain, threaded = (list(drawn(images(40), 2, workers=n)) for n in (0, workers))
    assert all(a == b and p.equal(q) for (a, p), (b, q) in zip(plain, threaded, strict=True))
    first, second = dict(plain[:40]), dict(plain[40:])
    assert sum(not first[k].equal(second[k]) for k in first) > 30


def test_without_shuffling_images_are_as_they_are():
    """Evaluation and scoring see the images themselves."""
    examples = images(20)
    for data, target in Loader(examples, 7):
        assert (data * 255).round().to(torch.uint8).equal(examples.pixels[target])


def test_pixels_are_normalised_after_the_window_is_cut():
    """Padding is black: what a black pixel is after normalisation, not zero."""
    examples = images(30)
    examples.pixels.zero_()
    examples.mean, examples.std = torch.full((3, 1, 1), 51.0), torch.full((3, 1, 1), 102.0)
    for data, _ in Loader(examples, 10, shuffle=True, seed=1):
        assert (data == -0.5).all()
