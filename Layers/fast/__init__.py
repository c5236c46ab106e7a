"""Shortcuts that compute less than a plain masked layer, with the same results up to rounding.

`use(False)`, or `--plain` on the command line, switches all of them off. Then every layer multiplies its weight by its
mask and computes the whole product. A shortcut is imported when it is first used.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from torch import Tensor, nn

# (convolution, its mask) -> the computation that takes its place, or None
Convolution = Callable[[Any, Tensor], Callable | None]

_used = True
_convolution: Convolution | None = None


def use(wanted: bool, convolution: Convolution | None = None) -> None:
    """Switch all shortcuts in this folder on or off, for the whole process.

    convolution: one for convolutions from elsewhere, which goes before those of this folder.
    """
    global _used, _convolution
    _used, _convolution = wanted, convolution


def used() -> bool:
    """Return whether the shortcuts are switched on."""
    return _used


def convolution(module: nn.Module, mask: Tensor) -> Callable | None:
    """Return what the shortcut from elsewhere gives for this convolution."""
    return None if _convolution is None else _convolution(module, mask)


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
