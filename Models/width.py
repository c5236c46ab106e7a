"""The choice of a network's hidden widths by one factor."""


def scaled(size: int, factor: float) -> int:
    """Return `factor` times a number of units, rounded, at least 1."""
    return max(1, round(factor * size))
