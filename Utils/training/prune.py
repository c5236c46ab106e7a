"""The pruning loop, the same for every pruner and task."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from Layers.initial import redraw
from Layers.modes import modes_kept
from Utils.load import SCHEDULES


def density_after(density: float, schedule: str, epoch: int, epochs: int) -> float:
    """Return the density to prune to in round `epoch` (from 1) of `epochs`; in the last round it is `density` itself.

    "exponential" gives density^(epoch / epochs) (Tanaka et al. 2020, algorithm 1). "linear" removes an equal number of
    weights in each round. Raises ValueError for another schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    if epoch == epochs:
        return density
    return density ** (epoch / epochs) if schedule == "exponential" else 1.0 - (1.0 - density) * (epoch / epochs)


def reinitialize(model: nn.Module, seed: int) -> None:
    """Draw new initial weights from `seed`. Masks stay."""
    devices = [p.device.index for p in model.parameters() if p.is_cuda][:1]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        redraw(model)


def prune_loop(
    model: nn.Module,
    loss: Callable,
    pruner: Any,
    dataloader: Iterable,
    device: torch.device,
    density: float,
    schedule: str,
    scope: Any,
    epochs: int,
    reinitialize_from: int | None = None,
    train_mode: bool = False,
    shuffle: bool = False,
    invert: bool = False,
) -> None:
    """Score and mask the weights `epochs` times, down to `density`, then set the pruned weights to zero.

    reinitialize_from: a seed to draw new weights from at the end.
    train_mode: score with batch statistics and dropout.
    shuffle: permute each mask within its tensor at the end.
    invert: keep the lowest scores instead of the highest.
    The train / eval modes of the model are restored afterwards. Raises FloatingPointError for a NaN score and
    ValueError for an unusable density or schedule.
    """
    with modes_kept(model):
        model.train(train_mode)
        for epoch in tqdm(range(1, epochs + 1), desc="pruning", leave=False, disable=None):
            pruner.score(model, loss, dataloader, device)
            if invert:
                pruner.invert()
            pruner.mask(density_after(density, schedule, epoch, epochs), scope)
    if reinitialize_from is not None:
        reinitialize(model, reinitialize_from)
    if shuffle:
        pruner.shuffle()
    pruner.apply_mask()
