"""A context manager for scoring a model without changing it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from Layers.embedding import whole_tables
from Layers.modes import modes_kept


@contextmanager
def untouched(model: nn.Module, differentiable: Iterable[Tensor] = ()) -> Iterator[None]:
    """Let only `differentiable` require gradients in the body, and restore the model afterwards.

    Restored, also after an error, are every buffer (such as BatchNorm's running statistics), the train / eval mode of
    every module, every `requires_grad`, every `.grad`, and the states of the random generators (dropout uses them). In
    the body every `.grad` starts as None. The body must not write to parameters.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    tensors = [*model.parameters(), *model.buffers()]
    flags = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors]
    wanted = {id(tensor) for tensor in differentiable}
    devices = sorted({tensor.device.index or 0 for tensor in tensors if tensor.is_cuda})
    try:
        with torch.random.fork_rng(devices), modes_kept(model), whole_tables(model):
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
