"""The training loop, the same for every task whose loader yields (data, target)."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from Layers.fast import fixed_masks

Update = Callable[[Any, Tensor], None]  # changes the masks, given the latest batch (data, target) on the device
CHECK_EVERY = 64  # batches between two checks of the loss; on a GPU each check waits for it


class Steps(Protocol):
    """A learning rate scheduler, or what steps one."""

    def step(self) -> None: ...


def _finite(losses: list[Tensor], first: int) -> None:
    bad = ~torch.isfinite(torch.stack(losses))
    if bad.any():
        index = int(bad.nonzero()[0])
        raise FloatingPointError(f"the loss is {losses[index].item()} at batch {first + index + 1}")


def train_epoch(
    model: nn.Module,
    loss: Callable,
    optimizer: Optimizer,
    dataloader: Iterable,
    device: torch.device,
    log: Callable[[int, float], None] | None = None,
    amp: torch.dtype | None = None,
    prepare: Callable[[int], None] | None = None,
    due: Callable[[int], Update | None] | None = None,
) -> float:
    """Train for one pass over the loader; return the mean loss of its batches, weighted by their numbers of targets.

    log(batch, loss): called every 64 batches.
    amp: the number type of matrix products (torch.autocast); parameters and sums between layers keep theirs.
    prepare(batch from 0): called before each of the optimizer's steps, when the gradients are there.
    due(batch from 1): called after each step; returns what changes the masks then, or None.
    Masks must not change in any other way. Raises FloatingPointError, naming the batch, if a loss is not finite.
    """
    model.train()
    losses: list[Tensor] = []
    sizes: list[int] = []
    with ExitStack() as fixed:
        fixed.enter_context(fixed_masks(model))
        for data, target in dataloader:
            optimizer.zero_grad(set_to_none=True)
            data, target = data.to(device), target.to(device)
            if amp is None:
                logits = model(data)
            else:
                with torch.autocast(device.type, amp):
                    logits = model(data)
            value = loss(logits, target)
            value.backward()
            if prepare is not None:
                prepare(len(losses))
            optimizer.step()
            losses.append(value.detach())
            sizes.append(target.numel())
            if len(losses) % CHECK_EVERY == 0:
                _finite(losses[-CHECK_EVERY:], len(losses) - CHECK_EVERY)
                if log:
                    log(len(losses), losses[-1].item())
            if due is not None and (update := due(len(losses))) is not None:
                fixed.close()
                update(data, target)
                fixed.enter_context(fixed_masks(model))
    if hasattr(optimizer, "catch_up"):  # rows of embeddings that this epoch's last batches did not need
        optimizer.catch_up()
    if rest := len(losses) % CHECK_EVERY:
        _finite(losses[-rest:], len(losses) - rest)
    weights = torch.tensor(sizes, dtype=torch.float64)
    return float((torch.stack(losses).double().cpu() * weights).sum() / weights.sum())


def train(
    model: nn.Module,
    loss: Callable,
    optimizer: Optimizer,
    scheduler: Steps,
    dataloader: Iterable,
    device: torch.device,
    epochs: int,
    after_epoch: Callable[[int, float], bool | None],
    log: Callable[[int, int, float], None] | None = None,
    amp: torch.dtype | None = None,
    done: int = 0,
    prepare: Callable[[int, int], None] | None = None,
    due: Callable[[int, int], Update | None] | None = None,
) -> None:
    """Train up to epoch number `epochs`, of which `done` have been done before.

    after_epoch(epoch from 1, mean train loss): called after each epoch, to evaluate, log or save.
    If it returns true, the training ends.
    log(epoch, batch, loss): called every 64 batches.
    prepare(epoch from 1, batch from 0): called before each of the optimizer's steps.
    due(epoch from 1, batch from 1): called after each step; returns what changes the masks then, or None.
    Raises FloatingPointError, naming the batch and the epoch, if a loss is not finite.
    """
    for epoch in range(done + 1, epochs + 1):
        watch = None if log is None else lambda batch, value, epoch=epoch: log(epoch, batch, value)
        before = None if prepare is None else partial(prepare, epoch)
        after = None if due is None else partial(due, epoch)
        try:
            value = train_epoch(model, loss, optimizer, dataloader, device, watch, amp, before, after)
        except FloatingPointError as error:
            advice = "a lower --lr may help, unless an example of it alone is the cause, such as an empty one"
            raise FloatingPointError(f"{error} of epoch {epoch}; {advice}") from error
        scheduler.step()
        if after_epoch(epoch, value):
            return
