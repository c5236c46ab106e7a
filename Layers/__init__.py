"""Masked layers, and masks for layers of others. This package imports nothing else of the project."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return `attach` or `release` (Layers/attached.py), which are imported when they are used."""
    if name in ("attach", "release"):
        from Layers import attached

        return getattr(attached, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
