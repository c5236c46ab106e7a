"""The assignment's pruners. A pruner is a class with a method `compute` that returns scores; the highest stay."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from Layers import calling, probe
from Layers.fast import twice_differentiable
from Layers.flow import linear_flow
from Pruners.base import Pruner


def gradients(value: Tensor, parameters: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Return d value / d parameter for each parameter; zeros if the value does not depend on it."""
    if not value.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _product(gradient: list[Tensor], vector: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
    """Return the gradient of <gradient, vector> by each parameter: the Hessian times the vector.

    The sum is written out: torch 2.3 takes half a second to import what it needs for grad_outputs.
    """
    inner = [(g * v).sum() for g, v in zip(gradient, vector, strict=True)]
    return gradients(torch.stack(inner).sum(), parameters)


def at(model: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]], weights: Sequence[Tensor], data: Any) -> Tensor:
    """Return the output of the model with `weights` in place of mask * parameter of each of the pairs."""
    names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    tensors = {names[id(mask)]: torch.ones_like(mask) for mask, _ in pairs}
    tensors |= {names[id(parameter)]: weight for (_, parameter), weight in zip(pairs, weights, strict=True)}
    return calling.call(model, tensors, data)


class Rand(Pruner):
    """Random scores, the baseline that every other pruner has to beat."""

    steps = 0.0

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [torch.randn(p.shape, generator=self.generator).to(p.device) for p in self.parameters]


class Mag(Pruner):
    """Magnitude |w| (Han et al. 2015)."""

    steps = 0.0

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [parameter.detach().abs() for parameter in self.parameters]


class Saliency(Pruner):
    """Synaptic saliency w * dL/dw with its sign (Tanaka et al. 2020, eq. 2), L summed over the pruning batches."""

    steps = 1.0

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return self.sensitivity(model, self.parameters, loss, dataloader, device)

    def sensitivity(
        self, call: Callable, weights: list[Tensor], loss: Callable, dataloader: Iterable, device: torch.device
    ) -> list[Tensor]:
        """Return theta * dL/dw at `weights`, which the output call(data) depends on."""
        total = [torch.zeros_like(weight) for weight in weights]
        for data, target in dataloader:
            value = loss(call(data.to(device)), target.to(device))
            for sum_, gradient in zip(total, gradients(value, weights), strict=True):
                sum_ += gradient
        return [g * p.detach() for g, p in zip(total, self.parameters, strict=True)]


class SNIP(Saliency):
    """Connection sensitivity |dL/dm| (Lee et al. 2019, arXiv 1810.02340, eq. 5), L summed over the pruning batches.

    The forward pass reads m * w, so that dL/dm = w * dL/dw wherever m = 1; no gradient of the mask is needed.
    """

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [score.abs() for score in super().compute(model, loss, dataloader, device)]


class GraSP(Pruner):
    """Gradient signal preservation (Wang et al. 2020, arXiv 2002.07376, eq. 8): theta * (H g), the highest stay.

    The paper removes the highest of -theta * (H g), which is the same. L is the loss at logits / T with T = 200, summed
    over the pruning batches. g is the gradient of this sum in both factors. Both derivatives are by the masked
    parameters only. H g is computed as the gradient of <g, stop(g)>.
    """

    steps, temperature = 4.0, 200.0

    def cost(self, sizes: Sequence[int]) -> float | None:
        """Return the cost: a step for each gradient and two for the second derivative; one batch shares a gradient."""
        return (self.steps - (len(sizes) == 1)) * sum(sizes)

    def _loss(self, model: nn.Module, loss: Callable, batch: tuple, device: torch.device) -> Tensor:
        data, target = batch
        with twice_differentiable():
            logits = model(data.to(device))
        return loss(logits / self.temperature, target.to(device))

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        parameters = self.parameters
        batches = list(dataloader)  # once, so that both factors see the same batches also where a loader shuffles
        if len(batches) == 1:  # one graph serves both factors: a forward and a backward pass less
            gradient = gradients(self._loss(model, loss, batches[0], device), parameters, create_graph=True)
            curvature = _product(gradient, [g.detach() for g in gradient], parameters)
        else:
            total = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                for sum_, g in zip(total, gradients(self._loss(model, loss, batch, device), parameters), strict=True):
                    sum_ += g
            curvature = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                gradient = gradients(self._loss(model, loss, batch, device), parameters, create_graph=True)
                for sum_, h in zip(curvature, _product(gradient, total, parameters), strict=True):
                    sum_ += h
        return [p.detach() * h for p, h in zip(parameters, curvature, strict=True)]


class SynFlow(Pruner):
    """Synaptic flow |theta| * dR/d|theta|, R = 1^T prod |theta| 1 (Tanaka et al. 2020, arXiv 2006.05467, eq. 1 and 3).

    R is the sum of the outputs for an all-ones input, in eval mode, of the network with every parameter replaced by its
    absolute value. Biases count like any other parameter. A BatchNorm counts with its positive scale and shift, and its
    running mean taken as zero. LayerNorm and attention are computed as described in `Layers.flow`. So each query and
    key weight gets the score that a value weight in its position would get. The model itself is not changed.
    """

    steps = 1.0
    size = staticmethod(torch.abs)

    def cost(self, sizes: Sequence[int]) -> float:
        """Return the cost: a step of one example."""
        return self.steps

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        model.eval()
        data = next(iter(dataloader))[0]
        ones = probe.ones(model, data.shape[1:] if isinstance(data, Tensor) else (), device, each=True)
        for dtype in (None, torch.float64):  # deep networks overflow single precision
            scores = self._flow(model, ones, dtype)
            if all(score.isfinite().all() for score in scores):
                break
        return scores

    def _flow(self, model: nn.Module, ones, dtype: torch.dtype | None) -> list[Tensor]:
        """Return the scores, computed in the floating type `dtype`; None keeps the type of each tensor."""

        def cast(tensor: Tensor) -> Tensor:
            return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)

        linear = {name: self.size(cast(parameter.detach())) for name, parameter in model.named_parameters()}
        of_parameter = {id(parameter): name for name, parameter in model.named_parameters()}
        flow = [linear[of_parameter[id(parameter)]].requires_grad_() for parameter in self.parameters]
        for name, buffer in model.named_buffers():
            linear[name] = torch.zeros_like(cast(buffer)) if name.endswith("running_mean") else cast(buffer)
            if name.endswith("running_var"):
                linear[name] = self.size(linear[name])
        with linear_flow(model):
            output = calling.call(model, linear, cast(ones) if isinstance(ones, Tensor) else ones)
        return [f.detach() * g for f, g in zip(flow, gradients(output.sum(), flow), strict=True)]
