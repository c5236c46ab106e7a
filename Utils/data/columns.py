"""Recognition of the columns of a table that are labels, texts and splits, by what the header calls them."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from Utils.data.reading import composed
from Utils.errors import UserError, guess
from Utils.wording import listed

# What such columns are called, the likeliest first; lower case, "_" and "-" as blanks.
LABELS = (
    "label", "class", "category", "sentiment", "target", "class index", "class name", "label text", "topic", "intent",
    "emotion", "polarity", "rating", "stars", "score", "labels", "y", "airline sentiment", "v1",
)  # fmt: skip
TEXTS = (
    "text", "review", "sentence", "review text", "content", "comment", "tweet", "message", "document", "body",
    "description", "short description", "comment text", "article", "question", "utterance", "abstract", "email",
    "question text",
)  # fmt: skip
HEADS = ("title", "headline", "subject", "heading", "summary")  # what goes before a text
SPLITS = ("split", "fold", "partition", "subset")
NAMELESS = re.compile(r"(Unnamed: \d+)?")  # as pandas calls them


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read."""

    label: str
    texts: tuple[str, ...]
    split: str | None = None


def _plain(name: str) -> str:
    return " ".join(composed(name).lower().replace("_", " ").replace("-", " ").split())


def _first(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the column with the likeliest name, or no column."""
    found = sorted((known.index(_plain(name)), place) for place, name in enumerate(header) if _plain(name) in known)
    return [header[found[0][1]]] if found else []


def find(
    where: str,
    header: Sequence[str],
    label: str | None = None,
    texts: Sequence[str] | None = None,
    like: str = "",
    keys: bool = False,
) -> Columns:
    """Return the columns to read; label, texts: those that the user, or the file `like`, names; None: to be found.

    In a table of two columns, one that is known tells the other; of more, those without a name do not count. `where`
    begins what a UserError says. keys: the header is no row, but the keys of the first object.
    """

    def named(name: str) -> str:
        same = [name] if name in header else [other for other in header if _plain(other) == _plain(name)]
        if len(same) == 1:
            return same[0]
        hint = f", which {like} has" if like else guess(name, header)
        raise UserError(f"{where}: no column is called {name!r}{hint}; there are: {', '.join(header)}")

    for mark, words in ((";", "semicolons; save it with commas"), ("\t", "tabs; call it .tsv")):
        if len(header) == 1 and mark in header[0]:
            raise UserError(f"{where}: its columns are separated by {words}")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f"{where}: two columns are called {twice[0]!r}; rename one of them")
    labels = [named(label)] if label is not None else _first(header, LABELS)
    wanted = [named(name) for name in texts or ()]
    rest = [name for name in header if name not in labels]
    if not wanted:
        wanted = [*_first(rest, HEADS), *_first(rest, TEXTS)]
    bare = header if len(header) == 2 else [name for name in header if not NAMELESS.fullmatch(name)]
    if len(bare) == 2:
        labels = labels or [name for name in bare if name not in wanted][:1] * len(wanted[:1])
        wanted = wanted or [name for name in bare if name not in labels][:1] * len(labels)
    if missing := [what for what, found in (("label", labels), ("text", wanted)) if not found]:
        cells = listed([name[:40] for name in header], 20)
        words = f"{where}: no {'key' if keys else 'column'} is known as {' or '.join(missing)}; "
        words += f"the first object has {cells}; " if keys else f"the first row was taken for the header ({cells}); "
        words += f"name {'keys' if keys else 'columns'} with --label-column NAME and --text-columns NAME ..."
        raise UserError(words + ("" if keys else ", or put a header above it"))
    if labels[0] in wanted:
        raise UserError(f"{where}: column {labels[0]!r} cannot be both label and text")
    found = (*(labels if label is None else ()), *(() if texts else wanted))
    for name, other in itertools.product(found, header):
        if other not in (*labels, *wanted) and _plain(other) == _plain(name):
            raise UserError(
                f"{where}: columns {name!r} and {other!r} have one name in two spellings; rename one, or choose with "
                f"--label-column or --text-columns"
            )
    split = _first([name for name in header if name not in (*labels, *wanted)], SPLITS)
    return Columns(labels[0], tuple(wanted), split[0] if split else None)
