"""Load an exported model and run it. This file needs torch and safetensors alone, and nothing else of the project:
copied beside an export it serves anywhere.

    model = exported.load("model.sparse.json")  # with model.sparse.safetensors beside it
    logits = model(images)                      # float [B, C, H, W], as the data set normalises them
    logits = model(texts)                       # anything with `ids` [N] and `offsets` [B], as torch's EmbeddingBag has

An export is a list of operations in JSON and their tensors in safetensors. A matrix is stored "whole"; or as the values
that are not zero, row by row, with a bit for each place ("bits") or a column for each value ("columns"); or as the
"block" of those rows and columns that are not all zero. However it is stored, it computes in any of three forms: whole,
as torch's sparse CSR, as its block. The JSON says which was the quickest where it was exported, by examples at a time.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

VERSION = 1


def unpack(name: str, kept: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    """The whole matrix of that name from what is stored of it. kept: its entry in the JSON's "matrices"."""
    shape, stored = kept["shape"], kept["stored"]
    if stored == "whole":
        return tensors[name]
    found = torch.zeros(shape)
    if stored == "block":
        found[tensors[f"{name}.rows"].long().unsqueeze(1), tensors[f"{name}.columns"].long()] = tensors[name]
    elif stored == "bits":
        bits = tensors[f"{name}.bits"].unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
        found.view(-1)[bits.flatten()[: found.numel()].bool()] = tensors[name]
    elif stored == "columns":
        rows = torch.arange(shape[0]).repeat_interleave(_unsigned(tensors[f"{name}.counts"]))
        found.flatten(1)[rows, _unsigned(tensors[f"{name}.columns"])] = tensors[name]
    else:
        raise ValueError(f"{name} is stored as {stored!r}, which this loader does not know")
    return found


def _unsigned(numbers: Tensor) -> Tensor:
    """Whole numbers as int64; what is stored as int16 counts from 0 to 65535."""
    return numbers.long() & 0xFFFF if numbers.dtype == torch.int16 else numbers.long()


def _csr(matrix: Tensor) -> Tensor:
    """[O, I] as torch's sparse CSR with 32-bit indices, which halves what is read beside the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "sparse CSR tensor support is in beta state"
        wide = matrix.to_sparse_csr()
        narrow = wide.crow_indices().int(), wide.col_indices().int()
        return torch.sparse_csr_tensor(*narrow, wide.values(), wide.shape)


def block(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rows, columns, block): those of [O, I, ...] with any entry that is not zero, and what they hold."""
    entries = matrix.flatten(2).ne(0).any(2) if matrix.dim() > 2 else matrix.ne(0)
    rows, columns = (entries.any(dim).nonzero().flatten() for dim in (1, 0))
    return rows, columns, matrix[rows][:, columns].contiguous()


class Form:
    """A matrix [O, I] or kernel [O, I, h, w] with its bias, as it computes. `tensors` are what it holds in memory."""

    def __init__(self, weight: Tensor, bias: Tensor | None, **how: Any) -> None:
        self.bias, self.how = bias, how
        self.tensors = [] if bias is None else [bias]
        self.outputs = weight.shape[0]
        self.prepare(weight)

    def hold(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.tensors += tensors
        return tensors

    def prepare(self, weight: Tensor) -> None:
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        raise NotImplementedError


class WholeLinear(Form):
    def prepare(self, weight: Tensor) -> None:
        (self.weight,) = self.hold(weight)

    def __call__(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


class CsrLinear(Form):
    def prepare(self, weight: Tensor) -> None:
        self.weight = _csr(weight)
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        if len(rows) == 1:  # a product with a vector is several times as quick as one with a matrix of one column
            found = torch.mv(self.weight, rows[0])
            return (found if self.bias is None else found + self.bias).view(*input.shape[:-1], self.outputs)
        found = (self.weight @ rows.t()).t()
        return (found if self.bias is None else found + self.bias).view(*input.shape[:-1], self.outputs)


class _Block(Form):
    """Only the rows and columns with weights: the rest of the output is the bias alone."""

    dim: int  # of inputs and outputs

    def prepare(self, weight: Tensor) -> None:
        rows, columns, part = block(weight)
        (self.weight,) = self.hold(part)
        self.part_bias, self.rows, self.columns = self.bias, None, None
        if len(columns) < weight.shape[1]:
            (self.columns,) = self.hold(columns)
        if len(rows) < self.outputs:
            (self.rows,) = self.hold(rows)
            if self.bias is not None:
                (self.part_bias,) = self.hold(self.bias[rows])

    def product(self, input: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        found = self.product(input if self.columns is None else input.index_select(self.dim, self.columns))
        if self.rows is None:
            return found
        size = list(found.shape)
        size[self.dim] = self.outputs
        if self.bias is None:
            whole = found.new_zeros(size)
        else:
            whole = self.bias.view(-1, *[1] * (-1 - self.dim)).expand(size).clone()
        return whole.index_copy_(self.dim, self.rows, found)


class BlockLinear(_Block):
    dim = -1

    def product(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.part_bias)


class WholeConv(Form):
    def prepare(self, weight: Tensor) -> None:
        (self.weight,) = self.hold(weight)

    def __call__(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, **self.how)


class BlockConv(_Block):
    dim = -3

    def product(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.part_bias, **self.how)


class CsrConv(Form):
    """A sparse product with the patches that the kernel sees, one below the other."""

    def prepare(self, weight: Tensor) -> None:
        self.kernel = tuple(weight.shape[2:])
        self.weight = _csr(weight.flatten(1))
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        count, _, *size = input.shape
        stride, padding = self.how["stride"], self.how["padding"]
        height, width = ((size[k] + 2 * padding[k] - self.kernel[k]) // stride[k] + 1 for k in range(2))
        patches = F.unfold(input, self.kernel, padding=padding, stride=stride)
        found = self.weight @ patches.transpose(0, 1).flatten(1)
        if self.bias is not None:
            found = found + self.bias.unsqueeze(1)
        return found.view(self.outputs, count, height, width).transpose(0, 1)


LINEAR = {"whole": WholeLinear, "csr": CsrLinear, "block": BlockLinear}
CONV = {"whole": WholeConv, "csr": CsrConv, "block": BlockConv}


def spread(core: Tensor, repeat: list[list[int]]) -> Tensor:
    """A map [C, H, W] from its core. repeat: of height, then width, which row stands how often for itself."""
    for dim, (place, times) in enumerate(repeat, 1):
        counts = torch.ones(core.shape[dim], dtype=torch.long)
        counts[place] = times
        core = core.repeat_interleave(counts, dim)
    return core


class Network(nn.Module):
    """The operations in their order: `data` -> logits [B, classes].

    program: for each operation its "op", the values it reads ("inputs") and the one it makes ("output"), its tensors by
    role ("tensors") and what else it needs. forms: by the matrix's name the form to compute in, a key of LINEAR and
    CONV or something to call like their values; those left out are whole. `held`: the tensors in memory.
    """

    def __init__(
        self, program: list[dict[str, Any]], tensors: Mapping[str, Tensor], forms: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.steps: list[tuple[Callable, list[str], str]] = []
        self.held: list[Tensor] = []
        self.result = program[-1]["output"]
        for step in program:
            own = {role: tensors[name] for role, name in step.get("tensors", {}).items()}
            form = (forms or {}).get(step.get("tensors", {}).get("weight", ""), "whole")
            if step["op"] not in OPERATIONS:
                raise ValueError(f"this loader knows no operation {step['op']!r}")
            body, held = OPERATIONS[step["op"]](own, step, form)
            self.steps.append((body, step["inputs"], step["output"]))
            self.held += held

    def forward(self, data: Any) -> Tensor:
        return self.values(data)[self.result]

    def values(self, data: Any) -> dict[str, Any]:
        """Every value on the way, by name."""
        found = {"data": data}
        for body, inputs, output in self.steps:
            found[output] = body(*(found[name] for name in inputs))
        return found


# An operation: (its tensors, its entry, the form of its matrix) -> (what computes it, the tensors held in memory).


def _linear(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = LINEAR.get(form, form)(own["weight"], own.get("bias"))
    return made, made.tensors


def _conv(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = CONV.get(form, form)(own["weight"], own.get("bias"), stride=step["stride"], padding=step["padding"])
    if "offset" not in own:
        return made, made.tensors
    offset = spread(own["offset"], step["repeat"])
    return lambda input: made(input) + offset, [*made.tensors, offset]


def _affine(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    shape = -1, *[1] * step["trailing"]
    scale = own["weight"].view(shape)
    if "bias" not in own:
        return lambda input: input * scale, [scale]
    shift = own["bias"].view(shape)
    return lambda input: torch.addcmul(shift, input, scale), [scale, shift]


def _bag(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    table = own["weight"]
    return lambda texts: F.embedding_bag(texts.ids, table, texts.offsets, mode="mean"), [table]


def _without(body: Callable[[dict[str, Any]], Callable]) -> Callable:
    """An operation that has no tensors."""
    return lambda own, step, form: (body(step), [])


OPERATIONS = {
    "linear": _linear,
    "conv": _conv,
    "affine": _affine,
    "bag": _bag,
    "relu": _without(lambda step: F.relu),
    "add": _without(lambda step: torch.add),
    "flatten": _without(lambda step: lambda input: input.flatten(1)),
    "max_pool": _without(lambda step: lambda input: F.max_pool2d(input, step["size"])),
    "mean": _without(lambda step: lambda input: input.mean((2, 3), keepdim=True)),
}


KINDS = {"network": Network}


def load(path: str | Path, batch_size: int = 1, device: torch.device | str = "cpu") -> nn.Module:
    """The model of an export, in eval mode. path: its JSON, with the safetensors file beside it.

    batch_size: examples at a time to be quick at; each matrix takes the form that was the quickest at the nearest size
    measured. On another device than the CPU all are whole. Raises ValueError where the files are not such an export.
    """
    path = Path(path)
    about = json.loads(path.read_text())
    if about.get("version") != VERSION:
        raise ValueError(f"{path} is version {about.get('version')} of an export; this loader reads {VERSION}")
    return build(about, load_file(path.with_suffix(".safetensors")), batch_size, device)


def build(
    about: Mapping[str, Any], stored: Mapping[str, Tensor], batch_size: int = 1, device: torch.device | str = "cpu"
) -> nn.Module:
    """As `load`, from what the two files hold."""
    parts = {f"{name}.{part}" for name in about["matrices"] for part in ("rows", "columns", "bits", "counts")}
    tensors = {name: value for name, value in stored.items() if name not in parts}
    tensors |= {name: unpack(name, kept, stored) for name, kept in about["matrices"].items()}
    tensors = {name: value.to(device) for name, value in tensors.items()}
    forms = {}
    if torch.device(device).type == "cpu":
        forms = {name: nearest(kept["quickest"], batch_size) for name, kept in about["matrices"].items()}
    return KINDS[about["kind"]](about["program"], tensors, forms).eval()


def nearest(quickest: Mapping[str, str], batch_size: int) -> str:
    """The form measured at the size, of those measured, that is nearest in proportion; whole if none was."""
    if not quickest:
        return "whole"
    return quickest[min(quickest, key=lambda size: abs(math.log(int(size) / batch_size)))]
