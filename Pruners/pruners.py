"""The five pruners. A new pruner is a class with a method `compute` that returns scores; the highest scores stay."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from Layers import probe
from Layers.fast import twice_differentiable
from Layers.flow import linear_flow
from Pruners import ranking
from Pruners.untouched import untouched


class Pruner:
    """A method of pruning in three steps: `score` the weights, rank them and write the `mask`, and `apply_mask`.

    masked_parameters: (mask, parameter) pairs of equal shape, as from `Utils.generator.masked_parameters`. If a pair
    has an attribute `name`, it is the tensor's name in errors and in `scores`.
    seed: for this pruner's own random draws (Rand's scores, `shuffle`, ties), independent of all other generators.
    ties: how equal scores at the threshold are decided, one of `Pruners.TIES`. `by_tie` counts the weights that the
    latest `mask` kept by such a decision.
    """

    def __init__(self, masked_parameters: Iterable[tuple[Tensor, Tensor]], seed: int = 0, ties: str = "seeded") -> None:
        pairs = list(masked_parameters)
        self.masked_parameters: list[tuple[Tensor, Tensor]] = pairs
        self.names = [getattr(pair, "name", f"tensor {k}") for k, pair in enumerate(pairs)]
        self.scores: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.ties, self.by_tie = seed, ties, 0

    @property
    def parameters(self) -> list[Tensor]:
        """Return the parameter tensors, in order."""
        return [parameter for _, parameter in self.masked_parameters]

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        """Return one score tensor per parameter, in the same order and shapes.

        Use `torch.autograd.grad` for gradients.
        """
        raise TypeError(f"{type(self).__name__} defines no compute()")

    def score(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> None:
        """Fill `self.scores`, {name: tensor shaped like the parameter}, in the model's present train / eval mode.

        Weights, gradients, buffers, modes, `requires_grad` and random generators are left as they were, also after an
        error. Raises FloatingPointError, naming the tensor, if a score is NaN.
        """
        # The math kernel: the fused attention kernels have no second derivative, which GraSP needs.
        with untouched(model, self.parameters), sdpa_kernel(SDPBackend.MATH):
            tensors = self.compute(model, loss, dataloader, device)
        scores = {name: tensor.detach() for name, tensor in zip(self.names, tensors, strict=True)}
        ranking.check(scores)
        self.scores = scores

    @torch.no_grad()
    def mask(self, density: float, scope: str = "global") -> None:
        """Write masks that keep the highest scores. A weight that is already pruned stays pruned.

        Raises ValueError for an impossible density or scope, and RuntimeError if `score` has not been called. In both
        cases no mask is changed.
        """
        if not self.scores and self.names:
            raise RuntimeError("score() comes before mask()")
        if missing := [name for name in self.names if name not in self.scores]:
            raise RuntimeError(
                f"score() has left no scores[{missing[0]!r}]: the keys are the tensors' names (self.names)"
            )
        alive = {name: mask != 0 for name, (mask, _) in zip(self.names, self.masked_parameters, strict=True)}
        result = ranking.rank(self.scores, alive, density, scope, self.ties, self.seed)
        for name, (mask, _) in zip(self.names, self.masked_parameters, strict=True):
            mask.copy_(result.keep[name])
        self.by_tie = result.by_tie

    @torch.no_grad()
    def apply_mask(self) -> None:
        """Set every pruned weight to zero."""
        for mask, parameter in self.masked_parameters:
            parameter.mul_(mask)

    @torch.no_grad()
    def shuffle(self) -> None:
        """Permute each mask within its tensor, so each tensor keeps its count (Frankle et al. 2020, section 5)."""
        for mask, _ in self.masked_parameters:
            order = torch.randperm(mask.numel(), generator=self.generator).to(mask.device)
            mask.copy_(mask.flatten()[order].view_as(mask))

    def invert(self) -> None:
        """Reverse the order of the scores (Frankle et al. 2020, section 5)."""
        self.scores = {name: -score for name, score in self.scores.items()}

    def state(self) -> dict[str, Any]:
        """Return the latest scores, the random generator's state and `by_tie`, for `restore`.

        Masks belong to the model.
        """
        return {"scores": self.scores, "generator": self.generator.get_state(), "by_tie": self.by_tie}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of a pruner of the same tensors."""
        devices = dict(zip(self.names, (parameter.device for parameter in self.parameters), strict=True))
        self.scores = {name: score.to(devices[name]) for name, score in state["scores"].items()}
        self.generator.set_state(state["generator"])
        self.by_tie = state["by_tie"]

    def stats(self) -> tuple[int, int]:
        """Return (kept, total), the numbers of weights that stay and of all prunable weights."""
        kept = sum(int(mask.count_nonzero()) for mask, _ in self.masked_parameters)
        return kept, sum(mask.numel() for mask, _ in self.masked_parameters)


def _gradients(value: Tensor, parameters: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Return d value / d parameter for each parameter; zeros if the value does not depend on it."""
    return _product([value], None, parameters, create_graph)


def _product(
    values: list[Tensor], vector: list[Tensor] | None, parameters: list[Tensor], create_graph: bool = False
) -> list[Tensor]:
    """Return the gradient of <values, vector> by each parameter (vector-Jacobian product); vector None means ones."""
    indices = [k for k, value in enumerate(values) if value.requires_grad]
    if not indices:
        return [torch.zeros_like(parameter) for parameter in parameters]
    gradients = torch.autograd.grad(
        [values[k] for k in indices],
        parameters,
        None if vector is None else [vector[k] for k in indices],
        create_graph=create_graph,
        allow_unused=True,
    )
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]


class Rand(Pruner):
    """Random scores, the baseline that every other pruner has to beat."""

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [torch.randn(p.shape, generator=self.generator).to(p.device) for p in self.parameters]


class Mag(Pruner):
    """Magnitude |w| (Han et al. 2015)."""

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        return [parameter.detach().abs() for parameter in self.parameters]


class SNIP(Pruner):
    """Connection sensitivity |dL/dm| (Lee et al. 2019, arXiv 1810.02340, eq. 5), L summed over the pruning batches.

    The forward pass reads m * w, so that dL/dm = w * dL/dw wherever m = 1; no gradient of the mask is needed.
    """

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        for data, target in dataloader:
            value = loss(model(data.to(device)), target.to(device))
            for sum_, gradient in zip(total, _gradients(value, self.parameters), strict=True):
                sum_ += gradient
        return [(g * p.detach()).abs() for g, p in zip(total, self.parameters, strict=True)]


class GraSP(Pruner):
    """Gradient signal preservation (Wang et al. 2020, arXiv 2002.07376, eq. 8): theta * (H g), the highest stay.

    The paper removes the highest of -theta * (H g), which is the same. L is the loss at logits / T with T = 200, summed
    over the pruning batches. g is the gradient of this sum in both factors. Both derivatives are by the masked
    parameters only. H g is computed as the gradient of <g, stop(g)>.
    """

    temperature = 200.0

    def _loss(self, model: nn.Module, loss: Callable, batch: tuple, device: torch.device) -> Tensor:
        data, target = batch
        with twice_differentiable():
            logits = model(data.to(device))
        return loss(logits / self.temperature, target.to(device))

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        parameters = self.parameters
        batches = list(dataloader)  # once, so that both factors see the same batches also where a loader shuffles
        if len(batches) == 1:  # one graph serves both factors: a forward and a backward pass less
            gradient = _gradients(self._loss(model, loss, batches[0], device), parameters, create_graph=True)
            curvature = _product(gradient, [g.detach() for g in gradient], parameters)
        else:
            total = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                for sum_, g in zip(total, _gradients(self._loss(model, loss, batch, device), parameters), strict=True):
                    sum_ += g
            curvature = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                gradient = _gradients(self._loss(model, loss, batch, device), parameters, create_graph=True)
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

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        model.eval()
        data = next(iter(dataloader))[0]
        ones = probe.ones(model, data.shape[1:] if isinstance(data, Tensor) else (), device)
        for dtype in (None, torch.float64):  # deep networks overflow single precision
            scores = self._flow(model, ones, dtype)
            if all(score.isfinite().all() for score in scores):
                break
        return scores

    def _flow(self, model: nn.Module, ones, dtype: torch.dtype | None) -> list[Tensor]:
        """Return the scores, computed in the floating type `dtype`; None keeps the type of each tensor."""

        def cast(tensor: Tensor) -> Tensor:
            return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)

        linear = {name: cast(parameter.detach().abs()) for name, parameter in model.named_parameters()}
        of_parameter = {id(parameter): name for name, parameter in model.named_parameters()}
        flow = [linear[of_parameter[id(parameter)]].requires_grad_() for parameter in self.parameters]
        for name, buffer in model.named_buffers():
            linear[name] = torch.zeros_like(cast(buffer)) if name.endswith("running_mean") else cast(buffer)
        with linear_flow(model):
            output = functional_call(model, linear, (cast(ones) if isinstance(ones, Tensor) else ones,))
        return [f.detach() * g for f, g in zip(flow, _gradients(output.sum(), flow), strict=True)]
