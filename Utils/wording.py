"""Words for messages, captions and tables."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `2,000 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
