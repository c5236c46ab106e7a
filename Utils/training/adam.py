"""Adam in a form that is quick on a CPU, also for embeddings of which a batch needs few rows."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from Utils.training import dense

if TYPE_CHECKING:
    from Utils.training.rows import Rows

TOGETHER = 1 << 17  # most numbers that one call of an operation updates, so that they stay in the cache


class _Uncompiled(torch.optim.Optimizer):
    """A torch.optim.Optimizer whose methods do not ask torch's compiler to skip them: importing it takes a second."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)


class Adam(torch.optim.Adam, _Uncompiled):
    """A torch.optim.Adam in which the cost of attached embeddings is that of the rows in a batch.

    The parameters are those of dense Adam up to rounding. Until another `attach`, only this optimizer trains an
    attached weight, and the weight's own `.grad` stays None. Between steps, a row of an attached weight may hold an
    older value. Call `catch_up()` before reading or writing such a weight other than through its module. The training
    loop does so after every epoch.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay=0.0):
        params = list(params)
        on_gpu = all(isinstance(parameter, Tensor) and parameter.is_cuda for parameter in params)
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=on_gpu or None)
        self._rows: dict[Tensor, Rows] = {}

    def attach(self, model: nn.Module) -> None:
        """Update the embeddings of `model` by rows, where that is exact.

        It is not exact with weight decay, which gives every row a gradient, nor for a weight that another module
        shares.
        """
        if any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in model.modules()):
            from Utils.training import rows  # not needed by other models

            self._rows |= rows.attach(self, model)

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row of every attached weight, and its state, to the present step."""
        for rows in self._rows.values():
            rows.catch_up()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear all gradients, as torch's method does but with less work for `set_to_none`."""
        if not set_to_none:
            super().zero_grad(set_to_none)
        for group in self.param_groups if set_to_none else ():
            for parameter in group["params"]:
                parameter.grad = None
        for rows in self._rows.values():
            rows.forget()

    def step(self, closure=None):
        """Do one step of algorithm 1. A GPU uses torch's own step, one kernel for many parameters."""
        value, here = None, all(parameter.is_cpu for group in self.param_groups for parameter in group["params"])
        if not here:
            value = super().step(closure)
        elif closure is not None:
            with torch.enable_grad():
                value = closure()
        with torch.no_grad():
            if here:  # all weights that are not attached
                for group in self.param_groups:
                    for parameters in self._together(group["params"]):
                        self._move(parameters, group)
            for rows in self._rows.values():
                rows.update()
        return value

    def _together(self, parameters: list[Tensor]) -> Iterator[list[Tensor]]:
        """Yield lists of parameters with a gradient and initialised state, of one type and one number of steps.

        Each list is small or holds one parameter.
        """
        together: list[Tensor] = []
        size, kind = 0, None
        for parameter in parameters:
            if parameter.grad is None:  # for example, an attached weight
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            size, before, kind = size + parameter.numel(), kind, (state["step"].item(), parameter.dtype)
            if together and (size > TOGETHER or kind != before):
                yield together
                together, size = [], parameter.numel()
            together.append(parameter)
        if together:
            yield together

    def _move(self, parameters: list[Tensor], group: dict) -> None:
        """Update these parameters."""
        states = [self.state[parameter] for parameter in parameters]
        averages, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        gradients: list[Any] = [parameter.grad for parameter in parameters]  # each has one, see _together
        step = states[0]["step"].item() + 1
        for state in states:
            state["step"].fill_(step)
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        dense.move(parameters, gradients, averages, squares, step, group["betas"], group["eps"], group["lr"])

    def gradients(self) -> list[Tensor]:
        """Return tensors whose `.grad`, with those of the parameters, are all gradients of the next step, each once."""
        return [leaf for rows in self._rows.values() if (leaf := rows.gathered()) is not None]

    def state_dict(self) -> dict:
        """Return the same as torch.optim.Adam, with all rows caught up."""
        self.catch_up()
        for parameter, rows in self._rows.items():
            self.state[parameter]["step"] = torch.tensor(float(rows.step))
        return super().state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state of torch.optim.Adam."""
        self.catch_up()
        super().load_state_dict(state_dict)
        groups = {id(parameter): group for group in self.param_groups for parameter in group["params"]}
        for parameter, rows in self._rows.items():
            rows.begin_at(self.state[parameter], groups[id(parameter)])


class AdamW(Adam):
    """A torch.optim.AdamW (Loshchilov and Hutter 2019, algorithm 2).

    Each step first multiplies the weights by 1 - lr * decay.
    Every row of an embedding decays in every step. So none is attached, unless the decay is 0.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps)
        for group in self.param_groups:
            group["decay"] = weight_decay  # under torch's name, Adam would take it for an L2 penalty

    def attach(self, model: nn.Module) -> None:
        """Update the embeddings of `model` by rows if there is no decay."""
        if not any(group["decay"] for group in self.param_groups):
            super().attach(model)

    def step(self, closure=None):
        """Do one step."""
        with torch.no_grad():
            for group in self.param_groups:
                moved = [parameter for parameter in group["params"] if parameter.grad is not None]
                if moved and group["decay"]:
                    torch._foreach_mul_(moved, 1 - group["lr"] * group["decay"])
        return super().step(closure)
