"""Words for messages, captions and tables."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `2,000 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return the first names, `most` of them, in a sentence's form; one that has a comma is quoted."""
    shown = [repr(name) if "," in name else name for name in names[:most]]
    return ", ".join([*shown, *(["..."] if len(names) > most else [])])
