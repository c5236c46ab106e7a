"""The time that a model takes on a split of the data, and that of making the batches."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from Layers.modes import modes_kept
from Utils.data.loader import Loader

WARM_UP = 2  # batches that go through the model before anything is timed
MOST = 10_000  # examples that are held ready for the forward passes, at most


def spread(seconds: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Return the median, the lowest and the highest of repeated timings, each times `scale`."""
    found = {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
    return {name: scale * value for name, value in found.items()}


@torch.no_grad()
def measure(model: nn.Module, loader: Loader, device: torch.device, repeats: int, budget: float) -> dict[str, Any]:
    """Time one pass over the loader's examples, `repeats` times after a warm-up, in eval mode.

    Every layer multiplies its weight by its mask and computes the whole product.
    budget: approximate seconds for all forward passes. If the whole split needs more, only as many batches as fit are
    timed, and the time of these `timed` examples is scaled up to all `examples`.
    The result has the median, lowest and highest of two times. `forward` is the seconds of the forward passes alone,
    over batches that are ready on the device. `loader` is the seconds of making the batches and moving them there.
    """
    with modes_kept(model):
        model.eval()
        warm = _ready(loader, WARM_UP, device)
        one = min(seconds(lambda: _forward(model, warm), device) for _ in range(2)) / len(warm)
        most = -(-MOST // loader.batch_size)
        number = max(1, min(len(loader), most, int(budget / repeats / max(one, 1e-9))))
        timed = min(number * loader.batch_size, len(loader.indices))
        forward = _repeated(model, _ready(loader, number, device), device, repeats)
        making = [seconds(lambda: _ready(loader, number, device, keep=False), device) for _ in range(repeats)]
    scale = len(loader.indices) / timed
    found = {"forward": spread(forward, scale), "loader": spread(making, scale)}
    counts = {"examples": len(loader.indices), "timed": timed, "batch_size": loader.batch_size, "repeats": repeats}
    return {**found, **counts}


def _ready(loader: Loader, number: int, device: torch.device, keep: bool = True) -> list[Any]:
    """Return the first batches of an epoch on the device; with `keep` False each of them is dropped."""
    batches = (data.to(device) for data, _ in islice(loader, number))
    return list(batches) if keep else [None for _ in batches]


def _repeated(model: nn.Module, batches: Sequence[Any], device: torch.device, repeats: int) -> list[float]:
    return [seconds(lambda: _forward(model, batches), device) for _ in range(repeats)]


def _forward(model: nn.Module, batches: Sequence[Any]) -> None:
    for batch in batches:
        model(batch)


def seconds(body: Callable[[], object], device: torch.device) -> float:
    """Return how long the body takes until the device has finished."""
    _wait(device)
    begun = time.perf_counter()
    body()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
