"""Shortcuts that compute less than a plain masked layer, with the same results up to rounding.

`use(False)`, or `--plain` on the command line, switches all of them off. Then every layer multiplies its weight by its
mask and computes the whole product.
"""

_used = True


def use(wanted: bool) -> None:
    """Switch all shortcuts in this folder on or off, for the whole process."""
    global _used
    _used = wanted


def used() -> bool:
    """Return whether the shortcuts are switched on."""
    return _used
