"""Estimates of how long runs will take, from finished runs of the same kind."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Experiments.sweeping.plan import spent
from Utils import settings
from Utils.store import files


class Estimate:
    """An estimate from the finished runs of a result directory and from runs that are added.

    device: "cpu" or "cuda", to use only runs made there; None for all.
    A stored run that cannot be read is ignored.
    """

    def __init__(self, result_dir: Path, device: str | None = None) -> None:
        self.stored: dict[tuple, list[float]] = {}
        self.added: dict[tuple, list[float]] = {}
        for path in result_dir.glob("*/*/result.json"):
            try:
                config = files.read_json(path.parent / "config.json")
                result = files.read_json(path)
                taken = spent(result)
                if device is not None and result["machine"]["device"].partition(":")[0] != device:
                    continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            _put(self.stored, config, taken)

    def add(self, config: Mapping[str, Any], seconds: float) -> None:
        """Add a run that has just been made. Such runs are used in preference to stored ones of the same kind."""
        _put(self.added, config, seconds)

    def of(self, config: Mapping[str, Any]) -> float | None:
        """Return the median seconds of the most similar runs; None if there are none."""
        for kind in _kinds(config):
            if seconds := self.added.get(kind) or self.stored.get(kind):
                return statistics.median(seconds)
        return None


def _put(known: dict[tuple, list[float]], config: Mapping[str, Any], seconds: float) -> None:
    for kind in _kinds(config):
        known.setdefault(kind, []).append(seconds)


def _kinds(config: Mapping[str, Any]) -> tuple[tuple, tuple]:
    """Return the kinds of a run by cost, the closer one first: with its pruner, and with any pruner."""
    values = settings.complete(config)
    alike = tuple(repr(values.get(key)) for key in ("experiment", *settings.costing("run")))
    return (*alike, *(repr(values.get(key)) for key in settings.costing("scoring"))), alike
