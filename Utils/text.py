"""Text preparation: tokens, vocabularies, token numbers. The one place that knows of torchtext.

torchtext is retired and loads with no newer torch. Where it does not load, the equivalents below take over; they give
the same tokens and the same vocabularies.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

import numpy as np

UNKNOWN = "<unk>"

# In this order: a quote inside `<br />` is gone before that is looked for.
_SET_OFF = (("'", " '  "), ('"', ""), (".", " . "), ("<br />", " "), (",", " , "), ("(", " ( "), (")", " ) "))
_SET_OFF += (("!", " ! "), ("?", " ? "), (";", " "), (":", " "))


def basic_english(line: str) -> list[str]:
    """Lower case; . , ( ) ! ? ' are tokens of their own, \" ; : and `<br />` vanish, white space separates."""
    line = line.lower()
    for mark, replacement in _SET_OFF:
        line = line.replace(mark, replacement)
    return line.split()


def build_vocabulary(tokens: Iterable[Sequence[str]], specials: Sequence[str], min_freq: int = 1) -> list[str]:
    """`specials`, then every token seen at least `min_freq` times, the frequent first, equals in code point order."""
    counts = Counter()
    for row in tokens:
        counts.update(row)
    for special in specials:
        counts.pop(special, None)
    kept = [item for item in counts.items() if item[1] >= min_freq]
    return [*specials, *(word for word, _ in sorted(kept, key=lambda item: (-item[1], item[0])))]


@functools.cache
def torchtext() -> ModuleType | None:
    """The package, or None where it is not installed or was built for another torch."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchtext as package

            package.disable_torchtext_deprecation_warning()
            import torchtext.data.utils
            import torchtext.vocab
    except (ImportError, OSError, AttributeError):
        return None
    return package


def tokenizer(name: str) -> Callable[[str], list[str]]:
    """The tokenizer called `name`: "basic_english"."""
    if name != "basic_english":
        raise ValueError(f"no tokenizer is called {name!r}")
    package = torchtext()
    return package.data.utils.get_tokenizer(name) if package else basic_english


def vocabulary(tokens: Iterable[Sequence[str]], specials: Sequence[str], min_freq: int = 1) -> list[str]:
    """The words by number, as `build_vocabulary` says."""
    package = torchtext()
    if package is None:
        return build_vocabulary(tokens, specials, min_freq)
    built = package.vocab.build_vocab_from_iterator(tokens, min_freq=min_freq, specials=list(specials))
    return built.get_itos()


def encode(tokens: Sequence[Sequence[str]], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers of all rows in one, int32 [N], and int64 [rows + 1] offsets: row k is ids[offsets[k]:offsets[k+1]].

    A token that is not in `words` becomes `<unk>`.
    """
    number = {word: k for k, word in enumerate(words)}
    unknown = number[UNKNOWN]
    offsets = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in tokens], out=offsets[1:])
    ids = np.fromiter((number.get(token, unknown) for row in tokens for token in row), np.int32, count=int(offsets[-1]))
    return ids, offsets
