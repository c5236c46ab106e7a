"""Generated digits like those of MNIST, white strokes on black: the sample that replaces the real images.

A digit is a few strokes, each a smooth curve through control points in a unit square. For every image the control
points are jittered, a random affine transform is applied, and the strokes are drawn with a random width. They are
anti-aliased by the distance to them. Sloppy writing, stray strokes, bars that hide a part, and pixel noise make the
task harder.
"""

import tomllib
from pathlib import Path

import numpy as np

VERSION = 1  # goes into the name of the cached corpus: raise it with any change that alters a pixel

TRAIN_IMAGES, TEST_IMAGES = 6_000, 1_000
SIDE = 28  # pixels
SEED = 19_981_101

# Knobs of the difficulty.
BOX = 20.0  # side of the digit's square in pixels, before the transform
POINT_JITTER = 0.036  # standard deviation of a control point, as a share of that side
SLOPPY = (0.12, 2.8)  # share of the images with a larger jitter, and how many times larger: some are unreadable
ROTATION = 0.10  # radians, standard deviation
SHEAR = (0.12, 0.14)  # mean (writing leans to the right) and standard deviation
SCALE = (0.85, 1.06)
ASPECT = 0.10  # standard deviation of the logarithm of width : height
SHIFT = 0.4  # pixels, standard deviation
WIDTH = (0.85, 1.75)  # half the stroke width in pixels
BAR_SHARE = 0.33  # share of the images in which a black bar hides a part of the digit
STROKE_SHARE = 0.30  # share of the images in which a stray stroke crosses the square
NOISE = 0.10  # standard deviation at white = 1

STEPS = 4  # straight pieces between two control points
BATCH = 100  # images drawn at once: the arrays of a batch fit into the processor's cache

# (digit, share of the digit's samples, strokes); a stroke is a list of (x, y), y downwards.
SHAPES: list[tuple[int, float, list[list[tuple[float, float]]]]] = [
    (shape["digit"], shape["share"], [[(x, y) for x, y in stroke] for stroke in shape["strokes"]])
    for shape in tomllib.loads(Path(__file__).with_name("digits.toml").read_text(encoding="utf-8"))["shape"]
]


def _spline(points: int) -> np.ndarray:
    """Return a matrix [(points - 1) * STEPS + 1, points] from control points to points on their Catmull-Rom curve."""
    # A point before the first and after the last, by reflection: the curve runs through both ends.
    padded = np.zeros((points + 2, points))
    padded[1:-1] = np.eye(points)
    padded[0, :2] = 2, -1
    padded[-1, -2:] = -1, 2
    t = np.arange(STEPS)[:, None] / STEPS
    basis = 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])
    rows = [basis @ padded[i : i + 4] for i in range(points - 1)]
    return np.vstack([*rows, np.eye(points)[-1:]])


def _pieces(rng: np.random.Generator, strokes: list[list[tuple[float, float]]], count: int) -> np.ndarray:
    """Return straight pieces of `count` jittered copies of a digit, in a unit square.

    The shape is float64 [count, pieces, 2 ends, 2 (x, y)].
    """
    pieces = []
    jitter = POINT_JITTER * np.where(rng.random(count) < SLOPPY[0], SLOPPY[1], 1.0)[:, None]
    moved: dict[tuple[float, float], np.ndarray] = {}  # strokes that share a point must stay joined
    for stroke in strokes:
        for point in stroke:
            if point not in moved:
                moved[point] = np.array(point) + jitter * rng.standard_normal((count, 2))
        control = np.stack([moved[point] for point in stroke], axis=1)
        curve = np.einsum("sp,npd->nsd", _spline(len(stroke)), control)
        pieces.append(np.stack([curve[:, :-1], curve[:, 1:]], axis=2))
    return np.concatenate(pieces, axis=1)


def _transform(rng: np.random.Generator, pieces: np.ndarray) -> np.ndarray:
    """Return the pieces in pixels, each image with its own random rotation, shear, scale and shift; same shape."""
    count = len(pieces)
    angle = ROTATION * rng.standard_normal(count)
    shear = SHEAR[0] + SHEAR[1] * rng.standard_normal(count)
    scale = BOX * rng.uniform(*SCALE, count)
    stretch = np.exp(ASPECT * rng.standard_normal(count))
    cos, sin = np.cos(angle), np.sin(angle)
    # rotation @ [[stretch, -shear], [0, 1]]; the shear is minus because y points downwards
    matrix = np.array([[cos * stretch, -cos * shear - sin], [sin * stretch, -sin * shear + cos]]) * scale
    shift = SIDE / 2 + SHIFT * rng.standard_normal((count, 1, 1, 2))
    return np.einsum("abn,npeb->npea", matrix, pieces - 0.5) + shift


def _distance(pieces: np.ndarray) -> np.ndarray:
    """Return the distance in pixels of every pixel's centre to the nearest piece, float32 [count, SIDE, SIDE]."""
    # On a grid, the last bit of a sine or an exponential (which differs between machines) cannot reach a pixel.
    pieces = np.rint(pieces * 1_024) / 1_024
    start = pieces[:, :, 0]
    span = pieces[:, :, 1] - start
    length = np.sqrt((span**2).sum(axis=2))
    unit = span / np.maximum(length, 1e-6)[:, :, None]
    centre = np.arange(SIDE) + 0.5
    # In a piece's own frame (along it from its middle, across it) both coordinates are a term of x plus a term of y.
    middle = start + span / 2
    ux, uy = unit[:, :, :1], unit[:, :, 1:]
    dx, dy = centre - middle[:, :, :1], centre - middle[:, :, 1:]
    along_x, along_y, across_x, across_y = (a.astype(np.float32) for a in (ux * dx, uy * dy, -uy * dx, ux * dy))
    half = (length / 2).astype(np.float32)
    nearest = np.full((len(pieces), SIDE, SIDE), np.inf, dtype=np.float32)
    for k in range(pieces.shape[1]):
        along = np.abs(along_y[:, k, :, None] + along_x[:, k, None, :]) - half[:, k, None, None]
        across = across_y[:, k, :, None] + across_x[:, k, None, :]
        nearest = np.minimum(nearest, np.maximum(along, 0) ** 2 + across**2)
    return np.sqrt(nearest)


def _ink(pieces: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Return the ink in [0, 1] of strokes with the given half widths (pixels, [count]), float32 [count, SIDE, SIDE]."""
    return np.clip(half_width.astype(np.float32)[:, None, None] + 0.5 - _distance(pieces), 0, 1)


def _random_line(rng: np.random.Generator, count: int, length: tuple[float, float]) -> np.ndarray:
    """Return one straight piece per image with its middle near the centre, [count, 1, 2, 2] in pixels."""
    middle = rng.uniform(SIDE * 0.2, SIDE * 0.8, (count, 2))
    angle = rng.uniform(0, np.pi, count)
    reach = rng.uniform(*length, count)[:, None] / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.stack([middle - reach, middle + reach], axis=1)[:, None]


def _draw(rng: np.random.Generator, strokes: list[list[tuple[float, float]]], count: int) -> np.ndarray:
    """Return `count` images of one shape, uint8 [count, SIDE, SIDE]."""
    image = _ink(_transform(rng, _pieces(rng, strokes, count)), rng.uniform(*WIDTH, count))
    stray = (rng.random(count) < STROKE_SHARE) * rng.uniform(0.5, 1.0, count)
    line = _ink(_random_line(rng, count, (5, 14)), rng.uniform(0.3, 1.0, count))
    image = np.maximum(image, stray[:, None, None] * line)
    bar = rng.random(count) < BAR_SHARE
    image *= 1 - bar[:, None, None] * _ink(_random_line(rng, count, (10, 24)), rng.uniform(1.5, 3.5, count))
    image *= rng.uniform(0.75, 1.0, count)[:, None, None]
    image += NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _part(rng: np.random.Generator, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 [total, SIDE, SIDE], labels uint8 [total]), all ten digits equally often, shuffled."""
    images, labels = [], []
    for digit in range(10):
        shapes = [(share, strokes) for label, share, strokes in SHAPES if label == digit]
        counts = rng.multinomial(total // 10, [share for share, _ in shapes])
        for count, (_, strokes) in zip(counts.tolist(), shapes, strict=True):
            images += [_draw(rng, strokes, min(BATCH, count - i)) for i in range(0, count, BATCH)]
        labels.append(np.full(total // 10, digit, dtype=np.uint8))
    order = rng.permutation(total)
    return np.concatenate(images)[order], np.concatenate(labels)[order]


def generate() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {"train": 6,000 images, "test": 1,000 images} as (uint8 [n, 28, 28], labels 0..9 uint8 [n])."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    return {"train": _part(rng, TRAIN_IMAGES), "test": _part(rng, TEST_IMAGES)}
