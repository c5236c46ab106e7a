"""Shortcuts that compute less than a plain masked layer, with the same results up to rounding.

`use(False)`, or `--plain` on the command line, switches all of them off. Then every layer multiplies its weight by its
mask and computes the whole product. A shortcut is imported when it is first used.
"""

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from torch import nn

_used = True


def use(wanted: bool) -> None:
    """Switch all shortcuts in this folder on or off, for the whole process."""
    global _used
    _used = wanted


def used() -> bool:
    """Return whether the shortcuts are switched on."""
    return _used


def fixed_masks(model: nn.Module) -> AbstractContextManager:
    """Return a context in which layers compute only what their masks leave (see Layers/fast/fixed.py)."""
    return _context("fixed", "fixed_masks", model)


def products_kept(model: nn.Module) -> AbstractContextManager:
    """Return a context in which each `mask * parameter` is computed once (see Layers/fast/products.py)."""
    return _context("products", "products_kept", model)


def twice_differentiable() -> AbstractContextManager:
    """Return a context in which second derivatives exist, and are cheap unless the shortcuts are switched off."""
    from Layers.fast import twice  # of use only to pruners that differentiate twice

    return twice.TwiceDifferentiable(twice.NEEDED | twice.CHEAPER if _used else twice.NEEDED)


def _context(module: str, name: str, *arguments: Any) -> AbstractContextManager:
    """Return the context that this folder's module defines, or an empty one if the shortcuts are switched off."""
    return getattr(import_module(f"{__name__}.{module}"), name)(*arguments) if _used else nullcontext()
