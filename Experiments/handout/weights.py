"""Histograms of a trained network's weights by layer: of the kept weights, with the share of pruned ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from Experiments.handout.entries import Absent
from Experiments.handout.holdings import Found
from Experiments.handout.timed import NO_MODEL
from Utils.errors import UserError
from Utils.store import seal
from Utils.study.runs import Run

BINS = 40


@dataclass(frozen=True)
class Layer:
    """A histogram of one layer's kept weights."""

    name: str  # of its module
    kept: int
    pruned: int
    counts: np.ndarray  # number of kept weights in each bin, [BINS]
    edges: np.ndarray  # edges of the bins, [BINS + 1]; empty if no weight is kept
    deviation: float  # standard deviation of the kept weights

    @property
    def share_pruned(self) -> float:
        """Return the fraction of the weights that is pruned."""
        return self.pruned / (self.kept + self.pruned)


def read(run: Run) -> list[Layer]:
    """Read the prunable layers of a run, in the network's order. Raises Absent if there is no whole model."""
    from safetensors import SafetensorError, safe_open

    layers = []
    try:
        seal.check(run.path, "model.safetensors")
        with safe_open(run.path / "model.safetensors", "np") as file:
            for row in run.result["per_tensor"]:
                if row["prunable"]:
                    name = ".".join(filter(None, (row["module"], row["param"])))
                    layers.append(_layer(name, file.get_tensor(name), file.get_tensor(f"{name}_mask")))
    except FileNotFoundError:
        raise Absent(NO_MODEL) from None
    except (OSError, SafetensorError, UserError) as error:
        raise Absent(f"the model's file is damaged ({error})") from None
    return layers


def of_first(found: Found) -> list[Layer]:
    """Read the layers of the first run, like `read`. Raises Absent, with the reason, if there is no run."""
    if not found.runs:
        raise Absent(found.why)
    return read(found.runs[0])


def _layer(name: str, weight: np.ndarray, mask: np.ndarray) -> Layer:
    """Count the weights where the mask is 1.

    Pruned weights are zero and would hide the others, so they are counted apart.
    """
    values = weight[mask != 0].astype(np.float64)
    pruned = int(weight.size - values.size)
    if not values.size:
        return Layer(name.removesuffix(".weight"), 0, pruned, np.zeros(0, dtype=int), np.zeros(0), 0.0)
    reach = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, BINS, (-reach, reach))
    return Layer(name.removesuffix(".weight"), values.size, pruned, counts, edges, float(values.std()))


def records(pruner: str, compression: float, layers: list[Layer]) -> list[dict[str, Any]]:
    """Return one CSV line per bin: the number of kept weights between two values.

    Pruned ones have a line of their own.
    """
    lines = []
    for number, layer in enumerate(layers, start=1):
        common = {"compression": compression, "pruner": pruner, "layer": number, "module": layer.name}
        lines.append({**common, "from": "pruned", "to": "pruned", "count": layer.pruned})
        for k, number in enumerate(layer.counts.tolist()):
            lines.append({**common, "from": layer.edges[k], "to": layer.edges[k + 1], "count": number})
    return lines
