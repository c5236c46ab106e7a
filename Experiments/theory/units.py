"""The units of a network: which weights write into them and which read from them, found by derivatives.

A junction is a set of units between weights: what some layers write, others read, with nothing weighted between. In a
chain of layers it has one writer and one reader. Around a residual sum it has several, and only together are they all
that flows in and all that flows out. With R the output, S = theta * dR/dtheta, and every layer between them homogeneous
(ReLU, pooling, sums), the scores of what writes into a unit add up to those of what reads from it (Tanaka et al. 2020,
arXiv 2006.05467, theorem 1). Biases, scales and shifts of normalisations, embeddings and residual Identities count as
weights.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from Experiments.reporting.figures import short
from Layers import probe
from Layers.attention import MultiheadAttention
from Layers.flow import linear_flow
from Layers.modes import modes_kept
from Layers.reading import Over, Reading, of, replaced

PROJECTIONS = ("query", "key", "value")  # the thirds of in_proj_weight
CHAIN, SUM, PAIR = "between two layers", "around a sum", "query and key"


@dataclass(frozen=True)
class Part:
    """A weight with its bias, or one of the three projections of an attention."""

    name: str
    weight: str
    bias: str
    rows: slice
    table: bool  # an embedding: its columns are the units that it writes

    def _of(self, values: Mapping[str, Tensor], name: str) -> Tensor | None:
        return values[name][self.rows] if name in values else None

    def size(self, values: Mapping[str, Tensor]) -> int:
        """Return how many of the values are this part's."""
        found = (self._of(values, name) for name in (self.weight, self.bias))
        return sum(tensor.numel() for tensor in found if tensor is not None)

    def total(self, scores: Mapping[str, Tensor]) -> float:
        """Return the sum of all scores."""
        return float(torch.as_tensor(self.into(scores)).sum())

    def into(self, scores: Mapping[str, Tensor]) -> Tensor | float:
        """Return the sum of the scores that lead into each unit, [units], the bias' among them; 0 if none counts."""
        weight, bias = self._of(scores, self.weight), self._of(scores, self.bias)
        sums = 0.0 if weight is None else weight.sum(0) if self.table else weight.reshape(len(weight), -1).sum(1)
        return sums if bias is None else sums + bias

    def out(self, scores: Mapping[str, Tensor], units: int) -> Tensor | float:
        """Return the sum of the scores that lead out of each unit, [units]; 0 if none counts.

        A Linear behind convolutions reads each channel at several positions, which lie side by side.
        """
        weight = self._of(scores, self.weight)
        if weight is None:
            return 0.0
        sums = weight if weight.dim() == 1 else weight.transpose(0, 1).flatten(1).sum(1)
        return sums.reshape(units, -1).sum(1)


@dataclass(frozen=True)
class Junction:
    """Units, and the parts that write into them and read from them."""

    kind: str  # CHAIN, SUM or PAIR
    writers: Sequence[Part]
    readers: Sequence[Part]

    @property
    def name(self) -> str:
        """Return its writers and readers in words."""
        sides = (self.writers, self.readers)
        return " to ".join(" + ".join(short(part.name) for part in side) for side in sides)

    def sums(self, scores: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sums of what leads into each unit and of what leads out of it, [units] each.

        Of queries and keys both sides lead in: those of the query, and those of the key that it is multiplied by.
        """
        into: Any = sum(part.into(scores) for part in self.writers)
        units = len(into) if isinstance(into, Tensor) else 1
        out: Any = sum(part.into(scores) if self.kind == PAIR else part.out(scores, units) for part in self.readers)
        return torch.as_tensor(into), torch.as_tensor(out)


class _Projection(Over):
    """The way of reading of an attention whose value projection is noted: note(input, output) -> output."""

    def __init__(self, before: Reading, note: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(before)
        self.note = note

    def output(self, module: Any, *inputs: Any) -> Tensor:
        output, value = self.before.output(module, *inputs), inputs[1].start == 2 * module.embed_dim
        return self.note(inputs[0], output) if value else output.detach()  # queries and keys add nothing to a flow


def parts(model: nn.Module) -> Iterator[tuple[nn.Module, list[Part]]]:
    """Yield each layer that has weights of its own, with its part, of an attention with its three."""
    for path, module in model.named_modules():
        if isinstance(module, MultiheadAttention):
            size = module.embed_dim
            rows = [slice(k * size, (k + 1) * size) for k in range(3)]
            weight, bias, three = f"{path}.in_proj_weight", f"{path}.in_proj_bias", zip(PROJECTIONS, rows, strict=True)
            yield module, [Part(f"{path}.{what}", weight, bias, at, False) for what, at in three]
        elif any(True for _ in module.parameters(recurse=False)):
            table = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
            yield module, [Part(path, f"{path}.weight", f"{path}.bias", slice(None), table)]


def matrices(model: nn.Module) -> list[Part]:
    """Return the parts that are more than a factor for each unit, in the model's order."""
    return [part for _, found in parts(model) for part in found if model.get_parameter(part.weight).dim() > 1]


def junctions(model: nn.Module, shape: Sequence[int], counted: Container[str]) -> list[Junction]:
    """Return the junctions of a network of this project, in the order of their readers, and its query-key pairs.

    shape: of one input. counted: names of the parameters that count. A normalisation or Identity that does not count is
    no writer and reader of its own: what passes it is passed on.
    """
    leaves: list[tuple[str, Tensor]] = []
    read: list[tuple[str, Tensor]] = []

    def note(part: Part, input: Any, output: Tensor) -> Tensor:
        """Note what a part reads, and give what it writes as a leaf, so that no derivative passes it."""
        if isinstance(input, Tensor) and input.requires_grad:
            read.append((part.name, input))
        leaves.append((part.name, output.detach().requires_grad_()))
        return leaves[-1][1]

    all_parts, projections = list(parts(model)), {}
    with ExitStack() as stack:
        stack.enter_context(modes_kept(model))
        stack.enter_context(linear_flow(model.eval()))
        for module, found in all_parts:
            if len(found) > 1:
                projections[module] = _Projection(of(module), partial(note, found[2]))
            elif found[0].weight in counted or model.get_parameter(found[0].weight).dim() > 1:
                hook = module.register_forward_hook(lambda _, inputs, out, part=found[0]: note(part, inputs[0], out))
                stack.callback(hook.remove)
        stack.enter_context(replaced(projections))
        model(probe.ones(model, shape, next(model.parameters()).device))
    groups: list[tuple[set[str], set[str]]] = []
    for reader, input in read:
        slopes = torch.autograd.grad(input.sum(), [leaf for _, leaf in leaves], allow_unused=True, retain_graph=True)
        writers = {name for (name, _), slope in zip(leaves, slopes, strict=True) if slope is not None}
        met = [group for group in groups if group[0] & writers]
        groups = [group for group in groups if group not in met]
        groups.append((writers.union(*(group[0] for group in met)), {reader}.union(*(group[1] for group in met))))
    result = []
    for names in groups:
        writing, reading = ([part for _, each in all_parts for part in each if part.name in side] for side in names)
        result.append(Junction(CHAIN if len(writing) == len(reading) == 1 else SUM, writing, reading))
    return result + [Junction(PAIR, found[:1], found[1:2]) for _, found in all_parts if len(found) > 1]
