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
    """From the finished runs of a result directory; one that cannot be read is passed over."""

    def __init__(self, result_dir: Path) -> None:
        self.seconds: dict[tuple, list[float]] = {}
        for path in result_dir.glob("*/*/result.json"):
            try:
                config = json.loads((path.parent / "config.json").read_text())
                taken = spent(json.loads(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            for kind in _kinds(config):
                self.seconds.setdefault(kind, []).append(taken)

    def of(self, config: Mapping[str, Any]) -> float | None:
        """Median seconds of the runs that are most like this one; None if none is."""
        found = next((self.seconds[kind] for kind in _kinds(config) if kind in self.seconds), None)
        return found and statistics.median(found)


def _kinds(config: Mapping[str, Any]) -> tuple[tuple, tuple]:
    """Return what a run costs like, the closer kind first: that of its pruner, that of any."""
    values = settings.complete(config)
    alike = tuple(repr(values.get(key)) for key in ("experiment", *settings.costing("run")))
    return (*alike, *(repr(values.get(key)) for key in settings.costing("scoring"))), alike
