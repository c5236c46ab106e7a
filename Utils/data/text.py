"""Text preparation: tokens, token numbers, and back. Only this module imports torchtext and spaCy.

torchtext is no longer maintained and does not load with newer torch. Then `basic_english` below replaces its
tokenizer, and gives the same tokens.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

UNKNOWN = "<unk>"

# The order matters: a quote inside `<br />` is removed before `<br />` is searched for.
_SET_OFF: tuple[tuple[str, str], ...]
_SET_OFF = (("'", " '  "), ('"', ""), (".", " . "), ("<br />", " "), (",", " , "), ("(", " ( "), (")", " ) "))
_SET_OFF += (("!", " ! "), ("?", " ? "), (";", " "), (":", " "))


def basic_english(line: str) -> list[str]:
    """Split a line into lower-case tokens: . , ( ) ! ? ' are tokens, double quotes ; : and `<br />` are removed."""
    line = line.lower()
    for mark, replacement in _SET_OFF:
        line = line.replace(mark, replacement)
    return line.split()


@functools.cache
def torchtext() -> ModuleType | None:
    """Return the package torchtext, or None if it is not installed or was built for another torch."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchtext as package

            package.disable_torchtext_deprecation_warning()
            import torchtext.data.utils
    except (ImportError, OSError, AttributeError):
        return None
    return package


def tokenizer(name: str) -> Callable[[str], list[str]]:
    """Return the tokenizer called `name`: "basic_english", or "spacy:de" for spaCy's German rules, and so on.

    A language for which spaCy has no rules has general ones. Raises ValueError for an unknown name.
    """
    family, _, language = name.partition(":")
    if family == "spacy" and language:
        return _spacy(language if has_rules(language) else "xx")
    if name != "basic_english":
        raise ValueError(f"no tokenizer is called {name!r}")
    package = torchtext()
    return package.data.utils.get_tokenizer(name) if package else basic_english


def has_rules(language: str) -> bool:
    """Tell whether spaCy has rules for the words of this language, and needs no further package for them."""
    import spacy

    try:
        spacy.blank(language)
    except ImportError:
        return False
    return True


@functools.cache  # the rules of some languages take seconds to compile
def _spacy(language: str) -> Callable[[str], list[str]]:
    """Return spaCy's rule tokenizer. It is the tokenizer of spaCy's trained models too, but needs no model."""
    import spacy

    rules = spacy.blank(language).tokenizer
    return lambda line: [token.text for token in rules(line)]


def encode(tokens: Sequence[Sequence[str]], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the token numbers of all rows, int32 [N], and offsets int64 [rows + 1].

    Row k is ids[offsets[k]:offsets[k+1]]. A token that is not in `words` becomes `<unk>`.
    """
    number = {word: k for k, word in enumerate(words)}
    unknown = number[UNKNOWN]
    offsets = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in tokens], out=offsets[1:])
    ids = np.fromiter((number.get(token, unknown) for row in tokens for token in row), np.int32, count=int(offsets[-1]))
    return ids, offsets


@dataclass(frozen=True)
class Spacing:
    """The spacing rules of a language: where no space is written around a token of spaCy's."""

    close: str  # marks without a space before them
    open: str  # marks without a space after them
    clitics: frozenset[str] = frozenset()  # words without a space before them
    joint: str = "-/"  # marks without a space on either side between two words
    pairs: frozenset[tuple[str, str]] = frozenset()  # words that spaCy splits
    elision: bool = False  # l' d' qu' join the next word, -nous -vous the previous one
    possessive: bool = False  # an apostrophe after s ends the word: the boys' dog


SPACING = {
    "de": Spacing(".,;:!?)]}…“”‘", "([{#„‚", joint="/", possessive=True),  # hyphens are inside spaCy's German tokens
    "en": Spacing(
        ".,;:!?)]}…%”’",
        "([{#“‘",
        frozenset(("'s", "'re", "'ll", "'ve", "'d", "'m", "n't", "’s", "’re", "’ll", "’ve", "’d", "’m", "n’t")),
        pairs=frozenset((("can", "not"), ("gon", "na"), ("got", "ta"), ("wan", "na"), ("&", "amp"))),
        possessive=True,
    ),
    "fr": Spacing(".,)]}…”»", "([{#“«", elision=True),  # a space goes before the tall marks ; : ! ?
    "cs": Spacing(".,;:!?)]}…%“‘", "([{#„‚", frozenset(("'s",))),
}

USUAL = Spacing(".,;:!?)]}…%”»", "([{#“«")


def detokenize(tokens: Sequence[str], language: str) -> str:
    """Join tokens of "spacy:`language`" to running text, spaced as usual in that language, for scores and for readers.

    It undoes the tokenizer, except where tokens are ambiguous ("can not" or "cannot", an odd quote). A language that is
    not in `SPACING` is spaced as most are.
    """
    rules = SPACING.get(language, USUAL)
    text, tight = "", True  # tight: the next token follows without a space
    quoted: set[str] = set()  # quotation marks that are open
    for k, token in enumerate(tokens):
        last = tokens[k - 1] if k else ""
        after = tokens[k + 1] if k + 1 < len(tokens) else ""
        before = follow = False  # no space before it, no space after it
        if token in ('"', "'"):
            alone = token == "'" and token not in quoted and token not in tokens[k + 1 :]
            if alone and rules.possessive and last[-1:] in ("s", "S"):
                before = True
            else:
                before = token in quoted
                follow = not before
                quoted ^= {token}
        elif token.isspace():  # spaCy makes tokens of unusual spaces, and of all but the first of several
            before, follow = not token.startswith(" "), True
        elif token in rules.joint:
            before = follow = last[-1:].isalnum() and after[:1].isalnum()
        else:
            before = token in rules.close or not token.strip(".") or token.lower() in rules.clitics
            before = before or (last.lower(), token) in rules.pairs or (rules.elision and token[0] == "-")
            follow = token in rules.open or (rules.elision and token[-1] in "'’")
        text += token if tight or before else f" {token}"
        tight = follow
    return text
