"""A room in which a model can be scored without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from Layers.modes import modes_kept


@contextmanager
def untouched(model: nn.Module, differentiable: Iterable[Tensor] = ()) -> Iterator[None]:
    """Inside, only `differentiable` require gradients and no gradient is stored; afterwards all is as it was.

    Put back, also when the body raises: every buffer (running statistics of BatchNorm), the train / eval mode of every
    module, every `requires_grad`, every `.grad`, and the state of the random generators (dropout draws from them).
    The body must not write into parameters.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    tensors = [*model.parameters(), *model.buffers()]
    flags = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors]
    wanted = {id(tensor) for tensor in differentiable}
    devices = sorted({tensor.device.index or 0 for tensor in tensors if tensor.is_cuda})
    try:
        with torch.random.fork_rng(devices), modes_kept(model):
            for tensor, _, _ in flags:
                tensor.requires_grad_(id(tensor) in wanted)
                tensor.grad = None
            yield
    finally:
        for tensor, flag, gradient in flags:
            tensor.requires_grad_(flag)
            tensor.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
