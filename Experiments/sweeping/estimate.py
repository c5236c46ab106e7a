"""How long runs will take, from finished ones of the same kind."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Experiments.sweeping.plan import spent

# Settings by which runs cost alike; those of the pruner where such a run is there.
ALIKE = (
    *("source", "dataset", "model_class", "model", "train_batch_size", "pre_epochs", "post_epochs"),
    *("amp", "compile", "beam", "bleu_every"),
)
OF_PRUNER = ("pruner", "prune_epochs", "prune_dataset_ratio", "prune_dataset_size")


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
    """What a run costs like, the closer kind first."""
    alike = tuple(repr(config.get(key)) for key in ("experiment", *ALIKE))
    return (*alike, *(repr(config.get(key)) for key in OF_PRUNER)), alike
