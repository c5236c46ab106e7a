"""The optimizer of a training, its learning rate and the limit of its gradients."""

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from Layers import fast
from Utils import generator, load
from Utils.training.adam import Adam


class Descent:
    """The `optimizer` of a model's parameters and the `scheduler` of the learning rate over all epochs.

    args: the settings `optimizer`, `lr`, `lr_drops` (epochs), `lr_drop_rate`, `weight_decay`, and those of the
    optimizer; for `preparation` also `lr_scheduler`, `warmup_steps` and `clip_grad_norm`.
    """

    def __init__(self, model: nn.Module, args: Namespace) -> None:
        self.model, self.args = model, args
        self.begin()

    def begin(self, epoch: int = 0) -> None:
        """Build a new optimizer and scheduler, without state, for a training in which `epoch` epochs are done."""
        self.begun, args = epoch, self.args
        parameters = list(generator.parameters(self.model))
        kind, arguments = load.optimizer(args.optimizer, args)
        lr = args.lr * args.lr_drop_rate ** sum(drop <= epoch for drop in args.lr_drops)
        self.optimizer = kind(parameters, lr=lr, weight_decay=args.weight_decay, **arguments)
        if fast.used() and isinstance(self.optimizer, Adam) and parameters[0].device.type == "cpu":
            self.optimizer.attach(self.model)  # a GPU updates the whole embedding quicker than its rows
        drops = [drop - epoch for drop in args.lr_drops if drop > epoch]
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, drops, args.lr_drop_rate)

    def preparation(self, epochs: int, batches: int) -> Callable[[int, int], None] | None:
        """Return prepare(epoch from 1, batch from 0), to be called before each step of a training; None if it is idle.

        It sets the learning rate to that of the scheduler times two factors: the cosine's, by epoch, as of torch's
        CosineAnnealingLR(T_max=epochs), and the warm-up's, by batch. Then it clips the gradients as clip_grad_norm_.
        epochs: of the whole training, each of so many `batches`.
        """
        args = self.args
        cosine, warm, most = args.lr_scheduler == "cosine", args.warmup_steps, args.clip_grad_norm

        @torch.no_grad()
        def prepare(epoch: int, batch: int) -> None:
            factor = (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2 if cosine else 1.0
            if (step := (epoch - 1) * batches + batch + 1) < warm:
                factor *= step / warm
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate * factor
            if most:
                more = self.optimizer.gradients() if isinstance(self.optimizer, Adam) else []
                moved = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
                nn.utils.clip_grad_norm_([*moved, *more], most)

        return prepare if cosine or warm or most else None

    def settle(self) -> None:
        """Bring weights and state that are updated late to the present step, before others read or write them."""
        if isinstance(self.optimizer, Adam):
            self.optimizer.catch_up()

    @torch.no_grad()
    def clear(self, parameters: Sequence[Tensor], stay: Sequence[Tensor]) -> None:
        """Set to zero the numbers that do not `stay`, of each parameter and of all that the optimizer remembers of it.

        stay: boolean, shaped like the parameters, which must be settled.
        """
        for parameter, flags in zip(parameters, stay, strict=True):
            memory = self.optimizer.state.get(parameter, {}).values()
            averages = [value for value in memory if isinstance(value, Tensor) and value.shape == parameter.shape]
            for tensor in (parameter, *averages):
                tensor.masked_fill_(~flags, 0.0)

    def step(self) -> None:
        """End an epoch: the scheduler's step, from the rate that it has given."""
        for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """Return the optimizer's state of each parameter (by number), the learning rates and the scheduler's state."""
        memory = self.optimizer.state_dict()["state"]
        return {
            "begun": self.begun,
            "parameters": {str(number): dict(values) for number, values in memory.items()},
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "scheduler": {key: getattr(self.scheduler, key) for key in ("last_epoch", "_step_count", "_last_lr")},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same model and settings."""
        self.begin(state["begun"])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        memory = {
            int(number): {key: _placed(value, parameters[int(number)]) for key, value in values.items()}
            for number, values in state["parameters"].items()
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": memory})
        for group, rate in zip(self.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate
        self.scheduler.load_state_dict(state["scheduler"])


def _placed(value: Any, parameter: Tensor) -> Any:
    """Copy a tensor of the parameter's shape to the parameter's layout and device; return other values unchanged."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter).copy_(value)
    return value
