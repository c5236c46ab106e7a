"""How long runs will take, from finished ones of the same kind."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Experiments.sweeping.plan import spent
from Utils import settings


class Estimate:
    """From the finished runs of a result directory, and those that are added to them.

    device: "cpu" or "cuda", to go by such runs alone as were made there; None for all. A stored run that cannot be read
    is passed over.
    """

    def __init__(self, result_dir: Path, device: str | None = None) -> None:
        self.stored: dict[tuple, list[float]] = {}
        self.added: dict[tuple, list[float]] = {}
        for path in result_dir.glob("*/*/result.json"):
            try:
                config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
                result = json.loads(path.read_text(encoding="utf-8"))
                taken = spent(result)
                if device is not None and result["machine"]["device"].partition(":")[0] != device:
                    continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            _put(self.stored, config, taken)

    def add(self, config: Mapping[str, Any], seconds: float) -> None:
        """Take in a run that has just been made: here and now, so that such count before the stored ones of a kind."""
        _put(self.added, config, seconds)

    def of(self, config: Mapping[str, Any]) -> float | None:
        """Median seconds of the runs that are most like this one; None if none is."""
        for kind in _kinds(config):
            if found := self.added.get(kind) or self.stored.get(kind):
                return statistics.median(found)
        return None


def _put(known: dict[tuple, list[float]], config: Mapping[str, Any], seconds: float) -> None:
    for kind in _kinds(config):
        known.setdefault(kind, []).append(seconds)


def _kinds(config: Mapping[str, Any]) -> tuple[tuple, tuple]:
    """Return what a run costs like, the closer kind first: that of its pruner, that of any."""
    values = settings.complete(config)
    alike = tuple(repr(values.get(key)) for key in ("experiment", *settings.costing("run")))
    return (*alike, *(repr(values.get(key)) for key in settings.costing("scoring"))), alike
