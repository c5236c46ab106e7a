"""Messages to the user on standard error, separate from results."""

import functools
import io
import sys


def print_anything() -> None:
    """Make standard output and error print a character that they cannot encode as an escape, such as \\u2013."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def note(text: str) -> None:
    """Print a remark."""
    print(f"note: {text}", file=sys.stderr, flush=True)


note_once = functools.cache(note)  # where a command comes by several times


def warn(text: str) -> None:
    """Print a warning."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def alarm(*lines: str) -> None:
    """Print a warning in a box that no one can miss."""
    width = max(len(line) for line in lines) + 4
    inside = "\n".join(f"! {line.ljust(width - 4)} !" for line in lines)
    print("!" * width, inside, "!" * width, sep="\n", file=sys.stderr, flush=True)
