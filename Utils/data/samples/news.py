"""Generated news-like texts on four topics, written from templates: the sample that replaces the real news.

Every row has one label (1 World, 2 Sports, 3 Business, 4 Sci/Tech). Its words come from a mixture of the label's own
topic, a neighbouring topic (the business of sports, the politics of science) and all four. In some rows two topics
weigh nearly the same. No model reads these rows reliably, so the task is not trivial. Invented names with Zipf weights
give the vocabulary the long tail of real news.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1  # goes into the name of the cached corpus: raise it with any change that alters a row

TRAIN_ROWS, TEST_ROWS = 8_000, 1_600
LABELS = (1, 2, 3, 4)
MIN_TOKENS, MAX_TOKENS = 15, 45  # length of a row, with punctuation marks as tokens
SEED = 20_040_817

# Knobs of the difficulty.
AMBIGUOUS_SHARE = 0.08  # share of the rows
AMBIGUOUS_OWN = (0.30, 0.55)  # range of the own topic's weight in an ambiguous row
PLAIN_OWN = (0.72, 0.94)  # and in a plain one
UNIFORM_SHARE = 0.06  # weight of "any topic at all", in every row
GENERIC_FRAMES = 0.62  # share of the sentences whose fixed words tell nothing about the topic
SHARED_NAMES = 0.45  # share of the persons that are equally likely in every topic

# How likely each other topic is to be the second topic of a row (rows and columns: World, Sports, Business, Sci/Tech).
NEIGHBOURS = np.array([[0, 2, 4, 3], [4, 0, 4, 1], [3, 2, 0, 5], [3, 1, 5, 0]], dtype=float)


WORDS = tomllib.loads(Path(__file__).with_name("news.toml").read_text(encoding="utf-8"))


def _by_topic(name: str) -> dict[Any, Any]:
    """Return a table of news.toml; numbers are topics."""
    return {int(key) if key.isdigit() else key: value for key, value in WORDS[name].items()}


THINGS, ROLES, VERBS, ADJECTIVES, ACTORS, HEADS, SENTENCES, ENDINGS, ORG_TAILS = map(
    _by_topic, "things roles verbs adjectives actors heads sentences endings org_tails".split()
)


POOL_SIZES = {"surname": 2_000, "topic surname": 1_200, "place": 1_200, "odd": 2_000, "org": 800}

BLOCK = 2_048  # random items that are drawn at once
Draw = Callable[[], Any]  # returns the next random item of a list


def _zipf(count: int, offset: float = 1.5, power: float = 1.0) -> np.ndarray:
    """Return Zipf-Mandelbrot weights of ranks 1..count, float64 [count], summing to 1."""
    weights = (np.arange(1, count + 1) + offset) ** -power
    return weights / weights.sum()


def _stream(rng: np.random.Generator, items: list, weights: np.ndarray | None = None) -> Draw:
    """Return a function that returns the next random item.

    Items are drawn in blocks, because single numpy draws are slow.
    """

    def blocks() -> Iterator[Any]:
        while True:
            yield from (items[i] for i in rng.choice(len(items), size=BLOCK, p=weights).tolist())

    return blocks().__next__


def _ranked(rng: np.random.Generator, words: str, separator: str | None = None) -> Draw:
    """Return a stream over a word list (split at blanks, or at `separator`), weighted by rank."""
    items = [" ".join(item.split()) for item in words.split(separator)]
    return _stream(rng, items, _zipf(len(items)))


def _past(verb: str) -> str:
    """Return the past tense of a regular verb."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _plural(noun: str) -> str:
    """Return the plural of a regular noun, or of one that ends in -man."""
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _names(rng: np.random.Generator, kind: str | int, count: int, taken: set[str]) -> list[str]:
    """Return `count` invented names of one kind that are not in `taken`, and add them to it."""
    onset, vowel = _stream(rng, WORDS["onsets"].split()), _stream(rng, WORDS["vowels"].split())
    coda = _stream(rng, WORDS["codas"].split() + [""] * 10)
    ending = _stream(rng, ENDINGS[kind].split())
    longer = _stream(rng, [False, True])
    names: list[str] = []
    while len(names) < count:
        stem = onset() + vowel() + coda() + (onset() + vowel() if longer() else "")
        end = ending()
        # "kaia" + "ia": two vowels meet, so a consonant goes between
        name = (stem + ("r" if stem[-1] in "aeiou" and end[0] in "aeiou" else "") + end).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def _either(coin: Draw) -> Draw:
    """A stream of what the streams give that `coin` draws."""
    return lambda: coin()()


def _joined(first: Draw, second: Draw) -> Draw:
    return lambda: first() + second()


def _name_stream(rng: np.random.Generator, names: list[str]) -> Draw:
    """Return a stream of names. The low power gives the flat head and the long tail of real names."""
    return _stream(rng, names, _zipf(len(names), 3.0, 0.7))


def _number_stream(rng: np.random.Generator, end: int) -> Draw:
    """Return a stream of the numbers 2..end-1 in digits, small ones most often."""
    return _stream(rng, [str(n) for n in range(2, end)], _zipf(end - 2, 2.0))


def _slots(rng: np.random.Generator) -> tuple[dict[str, Draw], dict[str, dict[int, Draw]]]:
    """Return the streams that fill the slots of a frame: (streams for every topic, streams by topic)."""
    taken: set[str] = set()
    shared_surnames = _names(rng, "surname", POOL_SIZES["surname"], taken)
    places = _names(rng, "place", POOL_SIZES["place"], taken)
    odd = _names(rng, "odd", POOL_SIZES["odd"], taken)
    scores = [f"{a}-{b}" for a in range(1, 8) for b in range(a)] + [f"{a}-{a - 9}" for a in range(60, 120)]
    anyone = _name_stream(rng, shared_surnames)
    plain = {
        "place": _name_stream(rng, places),
        "odd": _name_stream(rng, odd),
        "given": _ranked(rng, WORDS["given"]),
        "num": _number_stream(rng, 1_000),
        "few": _number_stream(rng, 60),
        "score": _stream(rng, scores),
        "day": _stream(rng, WORDS["days"].split()),
        "month": _ranked(rng, WORDS["months"]),
        "time": _ranked(rng, WORDS["times"], "|"),
        "ordinal": _ranked(rng, WORDS["ordinals"]),
        "gnoun": _ranked(rng, WORDS["generic_nouns"]),
        "gsaid": _ranked(rng, WORDS["generic_said"]),
        "gadj": _ranked(rng, WORDS["generic_adjectives"]),
        "agency": _ranked(rng, WORDS["agencies"], "|"),
    }
    words = {"noun": THINGS, "role": ROLES, "verb": VERBS, "adj": ADJECTIVES}
    topical = {key: {label: _ranked(rng, table[label]) for label in LABELS} for key, table in words.items()}
    topical["actor"] = {label: _ranked(rng, ACTORS[label], "|") for label in LABELS}
    topical |= {"surname": {}, "org": {}}
    for label in LABELS:
        own = _name_stream(rng, _names(rng, "surname", POOL_SIZES["topic surname"], taken))
        coin = _stream(rng, [anyone, own], np.array([SHARED_NAMES, 1 - SHARED_NAMES]))
        topical["surname"][label] = _either(coin)
        company = _name_stream(rng, _names(rng, label, POOL_SIZES["org"], taken))
        tail = _stream(rng, [""] * 5 + [" " + end for end in ORG_TAILS[label]])
        topical["org"][label] = _joined(company, tail)
    return plain, topical


class _Writer:
    """A writer of rows. It holds the random streams, so one object writes one corpus."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.plain, self.topical = _slots(self.rng)
        self.heads = {label: _ranked(self.rng, frames, "|") for label, frames in HEADS.items()}
        self.sentences = {label: _ranked(self.rng, frames, "|") for label, frames in SENTENCES.items()}
        self.uniform = _stream(self.rng, np.linspace(0.0, 1.0, 4_096, endpoint=False).tolist())
        cumulative = np.cumsum(NEIGHBOURS / NEIGHBOURS.sum(axis=1, keepdims=True), axis=1)
        self.neighbours = {label: cumulative[label - 1].tolist() for label in LABELS}
        self.bounds: list[tuple[float, int]] = []  # (cumulative weight, topic) of the present row

    def _topic(self) -> int:
        """Draw a topic from the mixture of the present row."""
        draw = self.uniform()
        for bound, topic in self.bounds:
            if draw < bound:
                return topic
        return LABELS[int(self.uniform() * len(LABELS))]

    def _fill(self, match: re.Match) -> str:
        """Return the text of one slot, capitalised if the slot's name is."""
        slot = match.group(1)
        key = slot.lower()
        if key == "person":
            text = f"{self.plain['given']()} {self.topical['surname'][self._topic()]()}"
        elif key in ("nouns", "roles"):
            text = _plural(self.topical[key[:-1]][self._topic()]())
        elif key == "verbed":
            text = _past(self.topical["verb"][self._topic()]())
        elif key == "time":
            text = self.plain["time"]().replace("{day}", self.plain["day"]()).replace("{month}", self.plain["month"]())
        elif key in self.plain:
            text = self.plain[key]()
        else:
            text = self.topical[key][self._topic()]()
        return text[0].upper() + text[1:] if slot[0].isupper() else text

    def _write(self, frames: dict[int, Draw]) -> str:
        """Return one filled frame."""
        frame = frames[0 if self.uniform() < GENERIC_FRAMES else self._topic()]()
        text = re.sub(r"{(\w+)}", self._fill, frame)
        return re.sub(r"\b(a) (?=[aeio]|u(?!s|ni))", r"\1n ", text, flags=re.IGNORECASE)

    def row(self, label: int) -> str:
        """Return the text of one row."""
        draw = self.uniform()
        side = next(topic for topic, bound in zip(LABELS, self.neighbours[label], strict=True) if draw < bound)
        low, high = AMBIGUOUS_OWN if self.uniform() < AMBIGUOUS_SHARE else PLAIN_OWN
        own = low + (high - low) * self.uniform()
        self.bounds = [(own, label), (1 - UNIFORM_SHARE, side)]
        head = " ".join(word[0].upper() + word[1:] for word in self._write(self.heads).split())
        agency = self.plain["agency"]()
        form = self.uniform()
        if form < 0.35:
            start = f"{head} ({agency}) {agency} - "
        elif form < 0.6:
            start = f"{head} {self.plain['place']().upper()} ({agency}) - "
        elif form < 0.75:
            start = f"{head} ({agency}) "
        else:
            start = f"{head} "
        text = start + self._write(self.sentences)
        while _length(text) < MIN_TOKENS or self.uniform() < 0.3:
            longer = f"{text} {self._write(self.sentences)}"
            if _length(longer) > MAX_TOKENS:
                break
            text = longer
        return text


def _length(text: str) -> int:
    """Count the tokens: words and the punctuation marks . , ( ) ! ? ' (quotes are not counted)."""
    return len(re.findall(r"[.,()!?']|[^\s.,()!?'\"]+", text))


def generate() -> dict[str, list[tuple[int, str]]]:
    """Return {"train": 8,000 rows, "test": 1,600 rows} of (label 1..4, text), balanced, shuffled, no row twice."""
    writer = _Writer(SEED)
    seen: set[str] = set()
    corpus = {}
    for part, count in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        labels = np.repeat(LABELS, count // len(LABELS))
        rows = []
        for label in writer.rng.permutation(labels).tolist():
            text = writer.row(label)
            while text in seen or not MIN_TOKENS <= _length(text) <= MAX_TOKENS:
                text = writer.row(label)
            seen.add(text)
            rows.append((label, text))
        corpus[part] = rows
    return corpus
