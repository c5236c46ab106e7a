"""Ways to compute less than a plain masked layer does, with the same results up to rounding.

All of this can be switched off: `use(False)`, on the command line `--plain`. Then every layer multiplies its mask with
its weight and computes the whole product.
"""

_used = True


def use(wanted: bool) -> None:
    """Switch everything in this folder on or off, for the whole process."""
    global _used
    _used = wanted


def used() -> bool:
    """Return whether it is on."""
    return _used
