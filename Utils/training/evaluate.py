"""Loss and accuracy over a loader, and the figures that a run reports."""

import math
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from Layers.fast import fixed_masks
from Layers.modes import modes_kept
from Utils import load
from Utils.data.corpus import Corpus
from Utils.data.loader import Loader
from Utils.training import signal

TOP = (1, 2, 5)


@torch.no_grad()
def evaluate(model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> dict[str, float]:
    """Return {loss, top1, top2, top5} in eval mode: mean loss per example, accuracies in percent.

    top-k is left out if there are fewer than k classes. Beside them are the means of `Utils.load.measures`, by name.
    The train / eval modes are restored. Raises FloatingPointError if the loss or one of these is not finite.
    """
    count, of_each = 0, load.measures()
    correct: dict[int, Tensor] = {}
    totals = {name: torch.zeros((), dtype=torch.float64, device=device) for name in ("loss", *of_each)}
    with modes_kept(model), fixed_masks(model):
        model.eval()
        for data, target in dataloader:
            data, target = data.to(device), target.to(device)
            logits = model(data)
            count += target.numel()
            totals["loss"] += loss(logits, target).double() * target.numel()
            for name, measure in of_each.items():
                totals[name] += measure(logits, target).double().sum()
            ranks = [k for k in TOP if k <= logits.shape[1]]
            hits = logits.topk(ranks[-1], dim=1).indices == target.unsqueeze(1)
            for k in ranks:
                correct[k] = correct.get(k, 0) + hits[:, :k].sum()
    means = {name: total.item() / count for name, total in totals.items()}
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise FloatingPointError(f"the {name} over {count} examples is {mean} in evaluation; a lower --lr may help")
    return {"loss": means.pop("loss"), **{f"top{k}": 100.0 * int(n) / count for k, n in correct.items()}, **means}


class Accuracy:
    """The evaluation of a run by loss and accuracy. A data set with other figures names a class with these methods.

    data: the loaded data set.
    args: settings of the command line.
    """

    splits: tuple[str, ...] = ("train", "validation", "val", "test")  # "val" is published, "validation" drawn

    def __init__(self, data: Corpus, args: Namespace, device: torch.device) -> None:
        self.device = device
        self.loaders = {
            split: Loader(data.splits[split], args.test_batch_size, workers=args.workers)
            for split in self.splits
            if split in data.splits
        }

    def measure(
        self, model: nn.Module, loss: Callable, point: str, known: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, float]:
        """Evaluate on whole splits; return {<split>_loss, <split>_top1, ...}.

        The training split takes longest and is evaluated only at the point "final".
        point: the name of this moment, a key of result.json.
        known: figures measured earlier on the same weights, which are reused.
        """
        result = dict(known)
        for split, loader in self.loaders.items():
            if f"{split}_loss" not in known and (split != "train" or point == "final"):
                figures = evaluate(model, loss, loader, self.device)
                result |= {f"{split}_{key}": value for key, value in figures.items()}
        return result

    def after_epoch(self, model: nn.Module, loss: Callable, epoch: int) -> dict[str, float]:
        """Evaluate all splits but the training split after an epoch (from 1) of training."""
        loaders = {split: loader for split, loader in self.loaders.items() if split != "train"}
        found = {split: evaluate(model, loss, loader, self.device) for split, loader in loaders.items()}
        return {f"{split}_{key}": value for split, figures in found.items() for key, value in figures.items()}

    def inputs(self) -> Iterable[Any]:
        """Return batches of 1,000 test inputs for `signal.spread`, the same ones in every run."""
        loader = self.loaders["test"]
        return (data for data, _ in Loader(loader.examples, loader.batch_size, length=signal.INPUTS))

    def state(self) -> dict[str, Any]:
        """Return the findings so far as JSON values, for `restore` in another process."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the findings in `state`."""

    def findings(self) -> dict[str, Any]:
        """Return further entries of result.json."""
        return {}

    def words(self) -> str:
        """Return further lines of the report, each with its line break."""
        return ""
