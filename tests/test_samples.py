"""The stand-in corpora: deterministic, of the stated shape and balance, with no test row out of the training part."""

import re
from collections import Counter

import numpy as np
import pytest

from Utils.data.samples import digits, news
from Utils.data.sets import agnews, mnist


@pytest.fixture(scope="module")
def rows():
    """The text corpus."""
    return news.generate()


@pytest.fixture(scope="module")
def images():
    """The image corpus."""
    return digits.generate()


@pytest.fixture(scope="module")
def frequencies(rows):
    """How often each token of the training part occurs, most frequent first, float64 [vocabulary]."""
    counts = Counter(token for _, text in rows["train"] for token in _tokens(text))
    return np.array(sorted(counts.values(), reverse=True), dtype=float)


def _tokens(text: str) -> list[str]:
    """Lower-cased words and punctuation marks; quotes removed."""
    return re.sub(r"([.,()!?'])", r" \1 ", text.lower()).replace('"', "").split()


def _digest_rows(array: np.ndarray) -> set[bytes]:
    """The rows of an array as bytes, to compare them by value."""
    return {row.tobytes() for row in array}


def test_versions_are_stated():
    assert isinstance(news.VERSION, int) and isinstance(digits.VERSION, int)
    assert (agnews.DATASET.sample_version, mnist.DATASET.sample_version) == (news.VERSION, digits.VERSION)


def test_news_is_deterministic(rows):
    assert news.generate() == rows


@pytest.mark.parametrize(("part", "count"), [("train", 8_000), ("test", 1_600)])
def test_news_is_balanced_and_shuffled(rows, part, count):
    labels = [label for label, _ in rows[part]]
    assert Counter(labels) == dict.fromkeys((1, 2, 3, 4), count // 4)
    # In a shuffled list every quarter holds every label about equally often.
    for quarter in np.array_split(labels, 4):
        assert min(Counter(quarter.tolist()).values()) > count // 16 * 0.7


def test_news_rows_differ(rows):
    texts = [text for part in ("train", "test") for _, text in rows[part]]
    assert len(set(texts)) == len(texts)
    # Nor do they differ in case or punctuation only.
    train = {" ".join(re.findall(r"\w+", text.lower())) for _, text in rows["train"]}
    assert not any(" ".join(re.findall(r"\w+", text.lower())) in train for _, text in rows["test"])


def test_news_rows_are_whole(rows):
    for part in ("train", "test"):
        for _, text in rows[part]:
            assert 15 <= len(_tokens(text)) <= 45
            assert not re.search(r"[{}|\n]|  ", text), text  # an unfilled slot, or a join gone wrong
            assert text[-1] in ".?!", text


def test_news_has_the_punctuation_of_news(rows):
    text = " ".join(text for _, text in rows["train"])
    assert all(mark in text for mark in ".,()?'\"-$:")


def test_news_vocabulary_size(frequencies):
    assert 8_000 <= len(frequencies) <= 12_000


@pytest.mark.parametrize(("first", "last"), [(1, 100), (1, 1_000), (10, 1_000)])
def test_news_frequencies_are_zipfian(frequencies, first, last):
    ranks = np.arange(first, last + 1)
    slope = np.polyfit(np.log(ranks), np.log(frequencies[first - 1 : last]), 1)[0]
    assert -1.4 < slope < -0.6


def test_news_topics_overlap(rows):
    """The frequent words of one topic occur under the other labels too."""
    counts = {label: Counter() for label in (1, 2, 3, 4)}
    for label, text in rows["train"]:
        counts[label].update(_tokens(text))
    for label, words in counts.items():
        frequent = [word for word, count in words.items() if count >= 100]
        for other in counts.keys() - {label}:
            assert np.mean([word in counts[other] for word in frequent]) > 0.95


def test_digits_are_deterministic(images):
    again = digits.generate()
    for part, arrays in images.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, again[part], strict=True))


@pytest.mark.parametrize(("part", "count"), [("train", 6_000), ("test", 1_000)])
def test_digits_shape_and_balance(images, part, count):
    pixels, labels = images[part]
    assert pixels.shape == (count, 28, 28) and pixels.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [count // 10] * 10
    for quarter in np.array_split(labels, 4):
        assert np.bincount(quarter, minlength=10).min() > count // 40 * 0.5


def test_digits_pixel_range(images):
    for pixels, _ in images.values():
        assert pixels.min() == 0 and pixels.max() == 255
        # White strokes on black: dark on average, never an empty or a washed-out image.
        mean = pixels.mean(axis=(1, 2))
        assert 8 < mean.min() and mean.max() < 130
        assert pixels.reshape(len(pixels), -1).max(axis=1).min() > 120
        # The digit is in the middle; the rim is next to nothing but noise.
        rim = np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=1)
        assert rim.mean() < pixels[:, 8:20, 8:20].mean() / 4


def test_digits_images_differ(images):
    train, test = (_digest_rows(images[part][0]) for part in ("train", "test"))
    assert len(train) == 6_000 and len(test) == 1_000 and not train & test


def test_digits_look_like_their_label(images):
    """The nearest class mean is right far more often than chance, yet far from always."""
    (train, train_labels), (test, test_labels) = ((x.reshape(len(x), -1) / 255, y) for x, y in images.values())
    means = np.stack([train[train_labels == digit].mean(axis=0) for digit in range(10)])
    nearest = ((means**2).sum(axis=1) - 2 * test @ means.T).argmin(axis=1)
    assert 0.4 < (nearest == test_labels).mean() < 0.95
