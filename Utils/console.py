"""Remarks to the user, on standard error, apart from results."""

from __future__ import annotations

import sys


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def alarm(*lines: str) -> None:
    """A warning no one can miss."""
    width = max(len(line) for line in lines) + 4
    inside = "\n".join(f"! {line.ljust(width - 4)} !" for line in lines)
    print("!" * width, inside, "!" * width, sep="\n", file=sys.stderr, flush=True)
