"""Generated coloured shapes, 32 x 32 pixels: the sample that replaces photographs of ten or of a hundred classes.

With ten classes, only the shape decides the label and its colour is random. With a hundred, both decide it. Size,
position, rotation and proportions vary. Backgrounds fade between two dull colours, and noise and strokes are added.
Every shape has an axis of symmetry and is rotated to both sides equally often, so a mirror image keeps its label.
"""

import tomllib
from pathlib import Path

import numpy as np

VERSION = 1  # goes into the name of the cached corpus: raise it with any change that alters a pixel

SIZES = {10: {"train": 5_000, "test": 1_000}, 100: {"train": 10_000, "test": 2_000}}  # images by number of classes
SIDE = 32  # pixels
SEED = 20_090_408

# Knobs of the difficulty.
RADIUS = (6.5, 12.0)  # pixels from the middle of a shape to the edge of the square that it is drawn in
SHIFT = 5.0  # pixels, at most, from the middle of the image; that square stays inside, before it turns
ROTATION = 0.35  # radians, at most
STRETCH = 0.15  # at most, of the logarithm of width : height
TINT = 0.05  # standard deviation of each part of a colour, between images
BRIGHTNESS = (0.85, 1.0)
CONTRAST = 0.45  # from a shape's colour to both ends of its background, at least, as a distance in the cube of colours
STROKES = 3  # at most, of a random colour across the image; each is there in one image of two
WIDTH = (0.4, 1.6)  # half that of a stroke, in pixels
NOISE = 0.06  # standard deviation, of one colour's part of a pixel

COLOURS = tomllib.loads(Path(__file__).with_name("shapes.toml").read_text(encoding="utf-8"))  # in [0, 1]

GRID = 2 * SIDE  # cells from the middle of a shape to the edge of its table of distances
REACH = 1.5  # half the width of that table, in radii

Outline = np.ndarray  # the corners of a polygon, [n, 2 (x, y)], y downwards, in radii around the middle


def _star(corners: int, inner: float = 1.0) -> Outline:
    """Return a regular polygon with a corner at the top; with inner < 1, a star with that many points."""
    angles = np.arange(2 * corners) * np.pi / corners
    radii = np.where(np.arange(2 * corners) % 2, inner, 1.0)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _circle(radius: float = 1.0) -> Outline:
    return radius * _star(32)


def _box(width: float, height: float, x: float = 0.0) -> Outline:
    return np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2 + (x, 0)


def _mirrored(right: list[tuple[float, float]]) -> Outline:
    """Return the outline whose right half goes from the top to the bottom through these corners."""
    return np.array(right + [(-x, y) for x, y in reversed(right)])


def _heart() -> Outline:
    t = np.arange(48) * np.pi / 24
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16 - 0.1
    return np.stack([x, y], axis=1)


def _crescent() -> Outline:
    """Return a bowl: the lower part of a disc, from which a smaller disc is cut at the top."""
    outer, inner = (np.linspace(-angle, angle, 24) for angle in (2.2, 1.9))
    return np.concatenate(
        [
            np.stack([np.sin(outer), np.cos(outer)], axis=1),
            np.stack([0.85 * np.sin(inner[::-1]), 0.75 * np.cos(inner[::-1]) - 0.34], axis=1),
        ]
    )


# A shape is what lies inside an odd number of its outlines.
SHAPES: dict[str, list[Outline]] = {
    "disc": [_circle()],
    "ring": [_circle(), _circle(0.55)],
    "square": [_box(1.75, 1.75)],
    "triangle": [_mirrored([(0, -1), (1, 0.8)])],
    "cross": [_mirrored([(0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1)])],
    "star": [_star(5, 0.42)],
    "heart": [_heart()],
    "crescent": [_crescent()],
    "arrow": [_mirrored([(0, -1), (0.9, 0), (0.33, 0), (0.33, 1)])],
    "bars": [_box(0.4, 1.9, -0.75), _box(0.4, 1.9), _box(0.4, 1.9, 0.75)],
}


def names(classes: int) -> list[str]:
    """Return the meanings of the 10 or 100 labels, in order."""
    if classes == len(SHAPES):
        return list(SHAPES)
    return [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]


def _distances(outlines: list[Outline]) -> np.ndarray:
    """Return the distance to the edge, in radii and negative inside, of the cells around the middle.

    Its shape is float32 [2 GRID, 2 GRID].
    """
    cells = (np.arange(2 * GRID) + 0.5) / GRID * REACH - REACH
    x, y = cells[None, :, None], cells[:, None, None]
    nearest, inside = np.full((2 * GRID, 2 * GRID), np.inf), np.zeros((2 * GRID, 2 * GRID), dtype=bool)
    for outline in outlines:
        # On a grid, the last bit of a sine (which differs between machines) cannot reach a pixel.
        ax, ay = (np.rint(outline * 1_024) / 1_024).T
        bx, by = np.roll(ax, -1), np.roll(ay, -1)
        dx, dy = bx - ax, by - ay
        along = ((x - ax) * dx + (y - ay) * dy) / np.maximum(dx * dx + dy * dy, 1e-9)
        along = np.clip(along, 0, 1)
        nearest = np.minimum(nearest, ((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2).min(axis=2))
        # A ray to the right crosses the edge an odd number of times from inside.
        steep = np.where(dy == 0, 1, dy)
        crossed = ((ay > y) != (by > y)) & (x < ax + (y - ay) / steep * dx)
        inside ^= crossed.sum(axis=2) % 2 == 1
    return (np.sqrt(nearest) * np.where(inside, -1, 1)).astype(np.float32)


def _cover(rng: np.random.Generator, tables: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return how far a randomly transformed shape covers each pixel, in [0, 1], float32 [n, SIDE, SIDE]."""
    count = len(shapes)
    radius = rng.uniform(*RADIUS, count)
    angle = rng.uniform(-ROTATION, ROTATION, count)
    stretch = np.exp(rng.uniform(-STRETCH, STRETCH, count) / 2)
    free = np.minimum(SHIFT, SIDE / 2 - radius)[:, None]
    middle = SIDE / 2 + free * rng.uniform(-1, 1, (count, 2))
    # From pixels to cells of the table: shift back, turn back, stretch back. On a grid, for the reason above.
    cos, sin = np.cos(angle), np.sin(angle)
    scale = GRID / REACH / radius
    rows = [[cos / stretch, sin / stretch], [-sin * stretch, cos * stretch]]
    (xx, xy), (yx, yy) = np.rint(np.array(rows) * scale * 1_024) / 1_024
    centre = np.arange(SIDE) + 0.5
    x, y = (centre - np.rint(middle[:, k, None] * 1_024) / 1_024 for k in (0, 1))
    column = xx[:, None, None] * x[:, None, :] + xy[:, None, None] * y[:, :, None] + GRID
    row = yx[:, None, None] * x[:, None, :] + yy[:, None, None] * y[:, :, None] + GRID
    row, column = (np.clip(np.floor(part), 0, 2 * GRID - 1).astype(np.intp) for part in (row, column))
    distance = tables[shapes[:, None, None], row, column]
    return np.clip(0.5 - distance * radius[:, None, None].astype(np.float32), 0, 1)


def _stroke(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return how far a random straight stroke covers each pixel, in [0, 1], float32 [count, SIDE, SIDE]."""
    angle = rng.uniform(0, np.pi, count)
    across, offset = np.stack([np.cos(angle), np.sin(angle)]), rng.uniform(-0.45, 0.45, count) * SIDE
    across, offset, half = (np.rint(part * 1_024) / 1_024 for part in (across, offset, rng.uniform(*WIDTH, count)))
    centre = np.arange(SIDE) + 0.5 - SIDE / 2
    x, y = across[0][:, None] * centre, across[1][:, None] * centre
    distance = np.abs(x[:, None, :] + y[:, :, None] - offset[:, None, None]) - half[:, None, None]
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


def _background(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Return a fade between two dull colours that differ from `colour` [n, 3], float32 [n, 3, SIDE, SIDE]."""
    count = len(colour)
    tries = rng.uniform(0.15, 0.85, (count, 32, 2, 1)) + 0.10 * rng.standard_normal((count, 32, 2, 3))
    apart = ((tries - colour[:, None, None]) ** 2).sum(axis=3).min(axis=2)
    first = (apart > CONTRAST**2).argmax(axis=1)
    ends = tries[np.arange(count), first].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi, count)
    cos, sin = (np.rint(part * 1_024) / 1_024 for part in (np.cos(angle), np.sin(angle)))
    centre = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    share = 0.5 + 0.7 * (cos[:, None, None] * centre + sin[:, None, None] * centre[:, None])
    share = np.clip(share, 0, 1).astype(np.float32)[:, None]
    return ends[:, 0, :, None, None] * (1 - share) + ends[:, 1, :, None, None] * share


def _draw(rng: np.random.Generator, tables: np.ndarray, shapes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return one image for each of these shapes and colours, uint8 [n, 3, SIDE, SIDE]."""
    count = len(shapes)
    palette = np.array(list(COLOURS.values()))
    tint = palette[colours] * rng.uniform(*BRIGHTNESS, (count, 1)) + TINT * rng.standard_normal((count, 3))
    image = _background(rng, tint)
    layers = [(_cover(rng, tables, shapes), tint)]
    for _ in range(STROKES):
        there = rng.random(count) < 0.5
        layers.append((_stroke(rng, count) * there[:, None, None], rng.uniform(0, 1, (count, 3))))
    for cover, paint in layers:
        image += cover[:, None] * (paint.astype(np.float32)[:, :, None, None] - image)
    image += NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def generate(classes: int, sizes: dict[str, int] | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the splits "train" and "test" for 10 or 100 classes: (uint8 [n, 3, 32, 32], labels uint8 [n]).

    All labels are equally frequent, in random order. sizes: other numbers of images by split.
    """
    rng = np.random.Generator(np.random.PCG64([SEED, classes]))
    tables = np.stack([_distances(outlines) for outlines in SHAPES.values()])
    parts = {}
    for part, total in (sizes or SIZES[classes]).items():
        labels = rng.permutation(np.arange(total) % classes)
        if classes == len(SHAPES):
            shapes, colours = labels, rng.integers(len(COLOURS), size=total)
        else:
            shapes, colours = np.divmod(labels, len(COLOURS))
        blocks = [slice(k, k + 500) for k in range(0, total, 500)]
        images = np.concatenate([_draw(rng, tables, shapes[block], colours[block]) for block in blocks])
        parts[part] = images, labels.astype(np.uint8)
    return parts
