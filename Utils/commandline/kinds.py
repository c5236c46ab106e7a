"""Types of values on the command line: each converts a word to a value or raises an error."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def switch(text: str) -> bool:
    """Convert the word after a flag such as --prune-bias to a bool. Assignment one wrote True and False there."""
    if text.lower() not in TRUE + FALSE:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in TRUE


def path(text: str) -> str:
    """Read a path, ~ is the home directory. An empty one, as an unset variable gives, would be the working one."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return str(Path(text).expanduser()) if text.startswith("~") else text


def run_or_switch(text: str) -> str | None:
    """Convert the word after --pretrained: a run, or assignment one's False, which becomes "".

    Assignment one's True is an error, because no weights are published.
    """
    if text.lower() in TRUE:
        raise argparse.ArgumentTypeError("no weights are published; name the directory of a finished run")
    return "" if text.lower() in FALSE or not text else path(text)


def _number(kind: type, low: float, strict: bool, what: str, high: float = 1e36) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not low <= value <= high or (strict and value == low):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return convert


def pattern(text: str) -> str:
    """Read N:M, the number of weights that stay of every M."""
    kept, _, group = text.partition(":")
    if text == "none" or (kept.isdecimal() and group.isdecimal() and 0 < int(kept) < int(group)):
        return text if text == "none" else f"{int(kept)}:{int(group)}"
    raise argparse.ArgumentTypeError(f"{text!r} is neither N:M with 0 < N < M, as 2:4, nor none")


count = _number(int, 0, False, "a whole number from 0")
positive_count = _number(int, 1, False, "a whole number from 1")
non_negative = _number(float, 0.0, False, "a number from 0 to 1e36")
fraction = _number(float, 0.0, False, "a number from 0 to below 1", 1.0 - 1e-12)
share = _number(float, 0.0, True, "a number above 0, at most 1", 1.0)
positive = _number(float, 0.0, True, "a number above 0, at most 1e36")

# The kinds that rows of Utils/settings.py name.
KINDS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "path": path,
    "pattern": pattern,
    "switch": switch,
    "run or switch": run_or_switch,
    "count": count,
    "positive count": positive_count,
    "number": non_negative,
    "fraction": fraction,
    "share": share,
    "positive": positive,
}
