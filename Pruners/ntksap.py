"""Pruning that preserves the spectrum of the neural tangent kernel."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from Layers.initial import redraw
from Pruners.base import Pruner
from Pruners.pruners import at, gradients


class NTKSAP(Pruner):
    """Sensitivity |d/dm E ||f(theta * m) - f((theta + delta) * m)||^2| (Wang et al. 2023, arXiv 2304.02840).

    To first order, the expectation is proportional to the trace of the tangent kernel. Each scoring batch gets initial
    weights theta and a perturbation delta ~ N(0, epsilon^2) of its own ("new input, new weight"). The norm is summed
    over outputs and averaged over examples. Only the inputs are used, no target. The paper's are images of Gaussian
    noise, which texts have no counterpart of. A score costs two training steps on the scoring examples.
    """

    steps, epsilon = 2.0, 0.01

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        twin, pairs = copy.deepcopy((model, [(mask, p) for mask, p in self.masked_parameters]))
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        for data, _ in dataloader:
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
            redraw(twin)
            theta = [parameter.detach() for _, parameter in pairs]
            noise = [torch.randn(t.shape, generator=self.generator).to(t) for t in theta]
            ends = [*theta, *(t + self.epsilon * n for t, n in zip(theta, noise, strict=True))]
            sparse = [(mask * end).requires_grad_() for (mask, _), end in zip([*pairs, *pairs], ends, strict=True)]
            outputs = [at(twin, pairs, part, data.to(device)) for part in (sparse[: len(pairs)], sparse[len(pairs) :])]
            value = (outputs[0] - outputs[1]).square().sum(-1).mean()
            for sum_, end, gradient in zip([*total, *total], ends, gradients(value, sparse), strict=True):
                sum_ += end * gradient
        return [score.abs() for score in total]
