"""Masked layers, and masks for layers of others. This package imports nothing else of the project."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return `attach` (Layers/attached.py), which is imported when it is used."""
    if name == "attach":
        from Layers.attached import attach

        return attach
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
