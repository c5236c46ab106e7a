"""Histograms of a trained network's weights, layer by layer: those that are kept, and the share that is pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from Experiments.handout.entries import Absent
from Experiments.handout.timed import NO_MODEL
from Utils.study.runs import Run

BINS = 40


@dataclass(frozen=True)
class Layer:
    """`counts` of the kept weights between `edges`, [BINS] and [BINS + 1]; no edges where none is kept."""

    name: str
    kept: int
    pruned: int
    counts: np.ndarray
    edges: np.ndarray
    deviation: float  # standard deviation of the kept weights

    @property
    def share_pruned(self) -> float:
        return self.pruned / (self.kept + self.pruned)


def read(run: Run) -> list[Layer]:
    """Read the prunable layers of a run, in the network's order. Raises Absent where the model is not there."""
    from safetensors import SafetensorError, safe_open

    found = []
    try:
        with safe_open(run.path / "model.safetensors", "np") as file:
            for row in run.result["per_tensor"]:
                if row["prunable"]:
                    name = ".".join(filter(None, (row["module"], row["param"])))
                    found.append(_layer(name, file.get_tensor(name), file.get_tensor(f"{name}_mask")))
    except FileNotFoundError:
        raise Absent(NO_MODEL) from None
    except (OSError, SafetensorError) as error:
        raise Absent(f"the model's file is damaged ({error})") from None
    return found


def _layer(name: str, weight: np.ndarray, mask: np.ndarray) -> Layer:
    """Count the weights where the mask is 1. What is pruned is zero and would hide them, so it is counted apart."""
    values = weight[mask != 0].astype(np.float64)
    pruned = int(weight.size - values.size)
    if not values.size:
        return Layer(name.removesuffix(".weight"), 0, pruned, np.zeros(0, dtype=int), np.zeros(0), 0.0)
    reach = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, BINS, (-reach, reach))
    return Layer(name.removesuffix(".weight"), values.size, pruned, counts, edges, float(values.std()))


def records(pruner: str, compression: float, layers: list[Layer]) -> list[dict[str, Any]]:
    """Return a line of CSV a bin: how many kept weights lie between two values; of each layer the pruned apart."""
    found = []
    for layer in layers:
        common = {"compression": compression, "pruner": pruner, "layer": layer.name}
        found.append({**common, "from": "pruned", "to": "pruned", "count": layer.pruned})
        for k, number in enumerate(layer.counts.tolist()):
            found.append({**common, "from": layer.edges[k], "to": layer.edges[k + 1], "count": number})
    return found
