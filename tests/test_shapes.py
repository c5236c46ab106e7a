"""The drawn shapes: what a label says can be seen in its image, by pictures and hues that are the tests' own."""

import colorsys

import numpy as np
import pytest

from Utils.data.samples import shapes

# What each shape looks like, upright.
PICTURES = {
    "disc": """
        ....#####....
        ..#########..
        .###########.
        .###########.
        #############
        #############
        #############
        #############
        #############
        .###########.
        .###########.
        ..#########..
        ....#####....""",
    "ring": """
        ....#####....
        ..#########..
        .###########.
        .####...####.
        ####.....####
        ###.......###
        ###.......###
        ###.......###
        ####.....####
        .####...####.
        .###########.
        ..#########..
        ....#####....""",
    "square": "#############\n" * 13,
    "triangle": """
        ......#......
        .....###.....
        .....###.....
        ....#####....
        ....#####....
        ...#######...
        ...#######...
        ..#########..
        ..#########..
        .###########.
        .###########.
        #############""",
    "cross": """
        ....#####....
        ....#####....
        ....#####....
        ....#####....
        #############
        #############
        #############
        #############
        #############
        ....#####....
        ....#####....
        ....#####....
        ....#####....""",
    "star": """
        ......#......
        ......#......
        .....###.....
        .....###.....
        #############
        .###########.
        ..#########..
        ...#######...
        ...#######...
        ..####.####..
        ..##.....##..
        .#.........#.""",
    "heart": """
        ..###...###..
        .#####.#####.
        #############
        #############
        #############
        #############
        .###########.
        ..#########..
        ...#######...
        ....#####....
        .....###.....
        ......#......""",
    "crescent": """
        #...........#
        #...........#
        ##.........##
        ##.........##
        ##.........##
        ###.......###
        ####.....####
        #############
        .###########.
        ...#######...""",
    "arrow": """
        ......#......
        ....#####....
        ...#######...
        ..#########..
        .###########.
        #############
        ....#####....
        ....#####....
        ....#####....
        ....#####....
        ....#####....
        ....#####....
        ....#####....""",
    "bars": "####...####...####\n" * 18,
}
# Hue in degrees, or what has none.
HUES = {"red": 0, "orange": 33, "yellow": 56, "green": 131, "cyan": 184, "blue": 232, "purple": 284, "pink": 330}
COUNTS = {10: {"train": 5_000, "test": 1_000}, 100: {"train": 10_000, "test": 2_000}}
TURNS = np.deg2rad([-18, -9, 0, 9, 18])
parts = pytest.mark.parametrize(
    ("classes", "part"), [(classes, part) for classes in COUNTS for part in COUNTS[classes]]
)


@pytest.fixture(scope="module")
def corpora():
    """Both corpora, by the number of classes."""
    return {classes: shapes.generate(classes) for classes in COUNTS}


@pytest.mark.parametrize("classes", COUNTS)
def test_it_is_the_same_each_time(corpora, classes):
    again = shapes.generate(classes)
    for part, arrays in corpora[classes].items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, again[part], strict=True))


@parts
def test_shape_balance_and_order(corpora, classes, part):
    pixels, labels = corpora[classes][part]
    count = COUNTS[classes][part]
    assert pixels.shape == (count, 3, 32, 32) and pixels.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [count // classes] * classes
    for half in np.array_split(labels, 2):
        assert np.bincount(half, minlength=classes).min() > count // classes * 0.1


def test_no_image_comes_twice(corpora):
    every = [image.tobytes() for corpus in corpora.values() for pixels, _ in corpus.values() for image in pixels]
    assert len(set(every)) == len(every) == 18_000


@parts
def test_brightness_is_that_of_photographs(corpora, classes, part):
    """Near the mean and deviation by which pictures of this size are normalised, and no image is empty."""
    pixels = corpora[classes][part][0][:1_000]
    mean, std = pixels.mean(axis=(0, 2, 3)) / 255, pixels.std(axis=(0, 2, 3)) / 255
    assert np.all(np.abs(mean - 0.48) < 0.05) and np.all(np.abs(std - 0.25) < 0.05)
    assert pixels.std(axis=(2, 3)).max(axis=1).min() > 15


def test_names():
    assert shapes.names(10) == list(PICTURES)
    assert shapes.names(100) == [f"{colour} {shape}" for shape in PICTURES for colour in [*HUES, "white", "black"]]


def test_in_the_smaller_corpus_colour_tells_nothing(corpora):
    """Each shape comes in all colours: its mean image is as grey as the others'."""
    pixels, labels = corpora[10]["train"]
    middles = pixels[:, :, 12:20, 12:20].mean(axis=(2, 3))
    means = np.stack([middles[labels == k].mean(axis=0) for k in range(10)])
    errors = middles.std(axis=0) / 500**0.5
    assert np.ptp(means - means.mean(axis=1, keepdims=True), axis=0).max() < 6 * errors.max()


# ---- a reader of images ----------------------------------------------------------------------------------------------

PURE = {name: colorsys.hsv_to_rgb(hue / 360, 0.85, 0.85) for name, hue in HUES.items()}
PURE |= {"pink": (0.93, 0.5, 0.72), "white": (0.93, 0.93, 0.93), "black": (0.05, 0.05, 0.05)}


def distances(pixels: np.ndarray) -> np.ndarray:
    """Squared, from every pixel to each of the pure colours, [n, 10, 32 * 32]."""
    flat = pixels.reshape(len(pixels), 1, 3, -1).astype(np.float32) / 255
    return np.stack([((flat[:, 0] - np.array(pure)[:, None]) ** 2).sum(axis=1) for pure in PURE.values()], axis=1)


def masks(pixels: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each image has its colour, one of the pure ones: (boolean [n, 32, 32], that colour as found, [n, 3])."""
    flat = pixels.reshape(len(pixels), 3, -1) / 255
    nearest = np.argsort(distances(pixels)[np.arange(len(pixels)), colours], axis=1)[:, :40]
    found = np.take_along_axis(flat, nearest[:, None], axis=2).mean(axis=2)
    near = ((flat - found[:, :, None]) ** 2).sum(axis=1) < 0.25**2
    return near.reshape(len(pixels), 32, 32), found


def centred(mask: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """The picture in a mask, turned, at a size and a place that do not depend on its own: floats [25, 25], mean 0."""
    y, x = np.nonzero(mask)
    size = ((x - x.mean()) ** 2 + (y - y.mean()) ** 2).mean() ** 0.5
    steps = np.linspace(-2, 2, 25) * size
    across = x.mean() + steps * np.cos(turn) - steps[:, None] * np.sin(turn)
    down = y.mean() + steps * np.sin(turn) + steps[:, None] * np.cos(turn)
    column, row = np.rint(across).astype(int), np.rint(down).astype(int)
    there = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    picture = np.where(there, mask[np.clip(row, 0, mask.shape[0] - 1), np.clip(column, 0, mask.shape[1] - 1)], False)
    return (picture - picture.mean()) / picture.std()


def read_shapes(where: np.ndarray) -> np.ndarray:
    """The number of the drawing above that each mask is most like."""
    drawings = [np.array([[mark == "#" for mark in line] for line in text.split()]) for text in PICTURES.values()]
    likeness = np.stack([centred(np.pad(np.kron(drawing, np.ones((5, 5))), 70) > 0) for drawing in drawings])
    turned = np.stack([[centred(mask, turn) for turn in TURNS] for mask in where])
    return np.einsum("ntyx,kyx->nkt", turned, likeness).max(axis=2).argmax(axis=1)


@pytest.fixture(scope="module")
def seen(corpora):
    """(labels, masks, colours as found) of the larger corpus's test part."""
    pixels, labels = corpora[100]["test"]
    return labels, *masks(pixels, labels % 10)


def test_a_label_says_what_shape_is_seen(seen):
    """Strokes hide some, but no shape is taken for another more than now and then."""
    labels, where, _ = seen
    right = read_shapes(where) == labels // 10
    assert right.mean() > 0.85
    assert all(right[labels // 10 == k].mean() > 0.7 for k in range(10))


def test_a_label_of_the_smaller_corpus_says_what_shape_is_seen(corpora):
    """Its colour is taken to be the one that comes closest, and that can be a stroke's."""
    pixels, labels = corpora[10]["test"]
    colours = np.sort(distances(pixels), axis=2)[:, :, :60].mean(axis=2).argmin(axis=1)
    right = read_shapes(masks(pixels, colours)[0]) == labels
    assert right.mean() > 0.75
    assert all(right[labels == k].mean() > 0.5 for k in range(10))


def test_a_label_says_what_colour_is_seen(seen):
    labels, _, found = seen
    for k, name in enumerate([*HUES, "white", "black"]):
        hue, saturation, value = np.array([colorsys.rgb_to_hsv(*colour) for colour in found[labels % 10 == k]]).T
        if name in HUES:
            off = np.abs((hue * 360 - HUES[name] + 180) % 360 - 180)
            assert np.mean(off < 15) > 0.9 and np.median(saturation) > 0.3 and np.median(value) > 0.5
        else:
            assert (np.median(value) > 0.85) == (name == "white") and (np.median(value) < 0.15) == (name == "black")


def test_no_shape_flows_into_its_background(seen):
    """The largest covers 43 %; where the background had its colour too, more would be taken for the shape."""
    _, where, _ = seen
    assert where.mean(axis=(1, 2)).max() < 0.5


def test_size_and_place_vary_around_the_middle(seen):
    labels, where, _ = seen
    area = where.sum(axis=(1, 2))[labels // 10 == 2]  # squares
    assert np.quantile(area, 0.9) > 2 * np.quantile(area, 0.1) and np.quantile(area, 0.05) > 100
    for axis in (1, 2):
        mean = (where.any(axis=axis) * np.arange(32)).sum(axis=1) / where.any(axis=axis).sum(axis=1)
        assert 1 < mean.std() < 5 and abs(mean.mean() - 15.5) < 0.3


# ---- mirror images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", PICTURES)
def test_every_shape_has_an_upright_axis_of_symmetry(shape):
    corners = np.concatenate(shapes.SHAPES[shape])
    there = {tuple(np.round(corner, 6) + 0.0) for corner in corners}
    assert {tuple(np.round((-x, y), 6) + 0.0) for x, y in there} == there
    assert 0.85 <= np.abs(corners).max() <= 1.1


def test_shapes_turn_as_often_to_the_left_as_to_the_right(corpora):
    """By the arrow, which is the longest: its pixels' covariance of x and y changes sign with the turn."""
    pixels, labels = corpora[100]["train"]
    arrows = labels // 10 == list(PICTURES).index("arrow")
    where, _ = masks(pixels[arrows], labels[arrows] % 10)
    slopes = []
    for mask in where:
        y, x = np.nonzero(mask)
        slopes.append(np.mean((x - x.mean()) * (y - y.mean())) / len(x) * 100)
    slopes = np.clip(slopes, *np.quantile(slopes, (0.02, 0.98)))
    assert abs(slopes.mean()) < 4 * slopes.std() / len(slopes) ** 0.5 < np.abs(slopes).mean() / 4


# ---- difficulty ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", COUNTS)
def test_adding_up_pixels_does_not_tell_the_classes_apart(corpora, classes):
    """The nearest class mean is wrong most of the time: it sees some colour, no shape."""
    (train, train_labels), (test, test_labels) = (
        (pixels.reshape(len(pixels), -1).astype(np.float32) / 255, labels)
        for pixels, labels in corpora[classes].values()
    )
    means = np.stack([train[train_labels == k].mean(axis=0) for k in range(classes)])
    nearest = ((means**2).sum(axis=1) - 2 * test @ means.T).argmin(axis=1)
    assert (nearest == test_labels).mean() < 0.25
