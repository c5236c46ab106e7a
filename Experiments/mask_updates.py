"""The updates of the masks in a training: when they are due, what they change, and the record of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from Experiments import building
from Pruners import dynamic
from Utils import console

if TYPE_CHECKING:
    from torch import Tensor

    from Experiments.workshop import Workshop
    from Utils.training.train import Update


def due(
    shop: Workshop, phase: str, epochs: int, densities: tuple[float, float] | None
) -> Callable[[int, int], Update | None] | None:
    """Return due(epoch from 1, batch from 1), see `train`, for a phase of training; None if its masks stay.

    phase: its name in the record.
    epochs: of the whole phase, by which the steps are counted, like the learning rate.
    densities: the first and the last of the phase, for gradual pruning; without them, its masks stay.
    """
    way, (kept, total) = shop.args.dynamic, shop.pruner.stats()
    if way == "gradual" and densities and densities[1] < 1:
        return MaskUpdates(shop, phase, epochs, densities).due
    return MaskUpdates(shop, phase, epochs).due if way == "rigl" and kept < total else None


class MaskUpdates:
    """The updates of a phase of training: gradual pruning with `densities`, RigL without them."""

    def __init__(self, shop: Workshop, phase: str, epochs: int, densities: tuple[float, float] | None = None) -> None:
        self.shop, self.phase, self.densities = shop, phase, densities
        self.batches = len(shop.train_loader)
        self.end = max(1, round(shop.args.dynamic_end * epochs * self.batches))
        if not densities and self.end <= shop.args.dynamic_interval:
            words = f"updates end after step {self.end} of this training, so that none takes place"
            console.note(f"--dynamic {shop.args.dynamic}: {words}; choose a smaller --dynamic-interval")

    def due(self, epoch: int, batch: int) -> Update | None:
        """Return the update after a batch of an epoch, both from 1; None if there is none.

        RigL's last one is before `end`; gradual pruning's is there, wherever that lies in the interval.
        """
        step = (epoch - 1) * self.batches + batch
        regular = step < self.end and step % self.shop.args.dynamic_interval == 0
        return partial(self._update, step) if regular or (self.densities and step == self.end) else None

    def _update(self, step: int, data: Any, target: Tensor) -> None:
        """Change the masks; data, target: the latest batch, on the device."""
        shop, pruner = self.shop, self.shop.pruner
        with shop.clock("prune"):
            shop.descent.settle()
            before = [mask != 0 for mask, _ in pruner.masked_parameters]
            if self.densities:
                pruner.score(shop.model, shop.loss, (), shop.device)
                pruner.mask(dynamic.cubic(step, self.end, *self.densities), building.scope(shop.args, pruner.names))
            else:
                pairs, loss = pruner.masked_parameters, shop.train_loss
                slopes = dynamic.dense_gradients(shop.model, pairs, loss, data, target, shop.amp)
                dynamic.regrow(pruner, slopes, dynamic.cosine(step, self.end, shop.args.drop_fraction))
            after = [mask != 0 for mask, _ in pruner.masked_parameters]
            stay = [old & new for old, new in zip(before, after, strict=True)]
            shop.descent.clear(pruner.parameters, stay)
            kept, common, was = (sum(int(flags.count_nonzero()) for flags in each) for each in (after, stay, before))
            record = {"step": step, "kept": kept, "dropped": was - common, "grown": kept - common}
            columns = shop.progress.mask_updates.setdefault(self.phase, {name: [] for name in record})
            for name, value in record.items():
                columns[name].append(value)
