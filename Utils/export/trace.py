"""Translation of a network into operations of `exported.Network`, by tracing it with torch.fx.

Masks are multiplied in, and each BatchNorm is folded into the layer before it. To support a new layer or function, add
an entry to `LAYERS` or `FUNCTIONS`.
"""

from __future__ import annotations

import copy
import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from Layers import layers
from Utils.errors import UserError, first_line
from Utils.export.draft import Draft

NORMALISED = ("linear", "conv")  # operations into which a scale and shift right behind them can be folded


class _Tracer(fx.Tracer):
    """A tracer for which a module with parameters of its own, or from torch.nn, is one step."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return any(True for _ in module.parameters(recurse=False)) or super().is_leaf_module(module, path)


class Unknown(UserError):
    """Error for a part of a model that export does not support."""

    def __init__(self, what: Any) -> None:
        kinds = ", ".join(kind.__name__.strip("_") for kind in LAYERS if kind.__module__.startswith("torch"))
        super().__init__(
            f"export does not know {what}; it knows the layers {kinds}, sums, relu, flatten and pooling to 1"
        )


def draft(model: nn.Module) -> Draft:
    """Return the draft of a network in eval mode, [B, ...] -> [B, classes]. Raises Unknown if it is not supported."""
    root = copy.copy(model)  # what forward reads itself becomes an attribute
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        reason = first_line(error).split(". ")[0]
        if isinstance(error, TypeError) and (called := re.match(r"\w+\(\)", reason)):  # a function that gets no tensor
            reason = f"{called[0]} of a part of it"
        raise Unknown(f"what {type(model).__name__} does with its input ({reason})") from error
    found = Draft("network", [], {})
    named: dict[fx.Node, str] = {}  # the value that a node gives
    read: dict[fx.Node, Tensor] = {}  # what forward reads itself: a weight, or what it makes of one
    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "output":
                if not isinstance(node.args[0], fx.Node) or node.args[0] in read:
                    raise Unknown(f"what {type(model).__name__} returns")
                found.program.append({"output": named[node.args[0]]})
            elif node.op == "get_attr":
                read[node] = operator.attrgetter(str(node.target))(root)
            else:
                named[node] = _lower(found, node, named, read, model)
    result = _fold_scales(found, found.program.pop()["output"])
    if not found.program or found.program[-1]["output"] != result:
        raise Unknown(f"a {type(model).__name__} that computes what it does not return")
    return found


def _lower(
    found: Draft, node: fx.Node, named: dict[fx.Node, str], read: dict[fx.Node, Tensor], model: nn.Module
) -> str:
    """Add the operation of a node to the program and return the name of its value."""
    sources = [named[arg] for arg in node.args if isinstance(arg, fx.Node) and arg in named]
    given = any(arg in read for arg in node.all_input_nodes)
    if node.op == "placeholder":
        return "data"
    if node.op == "call_function" and node.target is getattr:
        return sources[0]  # a part of the batch; operations get the whole batch
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        kind = next((known for known in LAYERS if isinstance(module, known)), None)
        made = module._forward_pre_hooks or hasattr(module, "parametrizations")  # a weight that is no parameter
        step = None if kind is None or made or given else LAYERS[kind](module)
    else:
        try:
            others = (*node.args[len(sources) :], *node.kwargs.values())
            known = (read.get(arg, arg) if isinstance(arg, fx.Node) else arg for arg in others)
            step = FUNCTIONS.get(node.target, lambda *_: None)(*known)
        except TypeError:  # a known function with arguments that its entry does not take
            step = None
    if step is None:
        what = getattr(node.target, "__name__", node.target)
        if node.op == "call_module":
            what = f"{node.target}, a {getattr(module, '_stock', type(module)).__name__} of this kind"
        if given:
            what = f"{what} with a tensor that forward reads itself, such as the weight of a layer"
        raise Unknown(f"the step {what}")
    if not step:
        return sources[0]
    name = str(node.target) if node.op == "call_module" else node.name
    if any(known["output"] == name for known in found.program):
        if step.get("tensors"):
            raise Unknown(f"the layer {name}, which is used twice")
        name = node.name  # a layer without tensors
    tensors = {role: value.detach().cpu().float().contiguous() for role, value in step.pop("tensors", {}).items()}
    found.tensors |= {f"{name}.{role}": value for role, value in tensors.items()}
    if step["op"] == "bag":
        sources = sources[:1]
        found.tables.append(f"{name}.weight")
    if step["op"] in NORMALISED:
        found.matrices.append(f"{name}.weight")
    entry = {**step, "inputs": sources, "output": name}
    found.program.append(entry | ({"tensors": {role: f"{name}.{role}" for role in tensors}} if tensors else {}))
    return name


def _given(**tensors: Tensor | None) -> dict[str, Tensor]:
    return {role: value for role, value in tensors.items() if value is not None}


def _linear(module: nn.Linear | nn.Conv2d) -> dict[str, Any]:
    return {"op": "linear", "tensors": _given(**{name: layers.masked(module, name) for name in ("weight", "bias")})}


def _read(weight: Tensor, bias: Tensor | None = None) -> dict[str, Any] | None:
    """Return the product with a weight that forward reads itself."""
    tensors = _given(weight=weight, bias=bias)
    known = all(isinstance(tensor, Tensor) for tensor in tensors.values()) and weight.dim() == 2
    return {"op": "linear", "tensors": tensors} if known else None


def _conv(module: nn.Conv2d) -> dict[str, Any] | None:
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        return None
    return {**_linear(module), "op": "conv", "stride": list(module.stride), "padding": list(module.padding)}


def _norm(module: _BatchNorm) -> dict[str, Any] | None:
    """Return a scale and a shift for each channel, from the running statistics."""
    if module.running_mean is None or module.running_var is None:
        return None
    weight, bias = (layers.masked(module, name) for name in ("weight", "bias"))
    scale = (module.running_var.double() + module.eps).rsqrt() * (1.0 if weight is None else weight.double())
    shift = -module.running_mean.double() * scale + (0.0 if bias is None else bias.double())
    tensors = {"weight": scale, "bias": shift}
    return {"op": "affine", "trailing": 2 * isinstance(module, nn.BatchNorm2d), "tensors": tensors}


def _identity(module: layers._Identity) -> dict[str, Any]:
    tensors = _given(weight=layers.masked(module, "weight"))
    return {"op": "affine", "trailing": module.extra_dims, "tensors": tensors}


def _bag(module: nn.EmbeddingBag) -> dict[str, Any] | None:
    return {"op": "bag", "tensors": {"weight": layers.masked(module, "weight")}} if module.mode == "mean" else None


def _pool(module: nn.MaxPool2d) -> dict[str, Any] | None:
    size, stride, padding = module.kernel_size, module.stride, module.padding
    numbers = all(isinstance(value, int) for value in (size, stride, padding))
    if not numbers or module.dilation != 1 or module.ceil_mode:
        return None
    step = {"op": "max_pool", "size": size}
    return step if (stride, padding) == (size, 0) else {**step, "stride": stride, "padding": padding}


def _mean(module: nn.AdaptiveAvgPool2d) -> dict[str, Any] | None:
    return {"op": "mean"} if module.output_size in (1, (1, 1)) else None


def _flat(first: int = 1, last: int = -1) -> dict[str, Any] | None:
    return {"op": "flatten"} if (first, last) == (1, -1) else None


LAYERS: dict[type[nn.Module], Callable[[Any], dict[str, Any] | None]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    layers._Identity: _identity,
    nn.EmbeddingBag: _bag,
    nn.ReLU: lambda module: {"op": "relu"},
    nn.MaxPool2d: _pool,
    nn.AdaptiveAvgPool2d: _mean,
    nn.Flatten: lambda module: _flat(module.start_dim, module.end_dim),
    nn.Identity: lambda module: {},
    nn.Dropout: lambda module: {},
}
"""Type of layer: function that returns the operation with its tensors, {} for the identity, None if unsupported."""

FUNCTIONS: dict[Any, Callable[..., dict[str, Any] | None]] = {
    F.linear: _read,
    F.relu: lambda inplace=False: {"op": "relu"},
    torch.relu: lambda: {"op": "relu"},
    "relu": lambda: {"op": "relu"},
    operator.add: lambda: {"op": "add"},
    operator.iadd: lambda: {"op": "add"},
    torch.add: lambda: {"op": "add"},
    F.adaptive_avg_pool2d: lambda size: {"op": "mean"} if size in (1, (1, 1)) else None,
    torch.flatten: _flat,
    "flatten": _flat,
}
"""Function, or name of a tensor's method: function of the arguments that are not tensors, like those of LAYERS."""


def _fold_scales(found: Draft, result: str) -> str:
    """Fold every affine step right behind a matrix, whose output nothing else reads, into that matrix.

    result: the value that the network returns. Return its name afterwards: a matrix keeps its own.
    """
    readers = Counter(name for step in found.program for name in step["inputs"]) + Counter([result])
    makers = {step["output"]: step for step in found.program}
    kept: list[dict[str, Any]] = []
    renamed: dict[str, str] = {}
    for step in found.program:
        first = step["inputs"][0]  # counted under this name, also where its maker has been folded
        step["inputs"] = [renamed.get(name, name) for name in step["inputs"]]
        source = makers.get(step["inputs"][0])
        foldable = step["op"] == "affine" and readers[first] <= 1
        if source is None or source["op"] not in NORMALISED or not foldable:
            kept.append(step)
            continue
        scale = found.tensors.pop(step["tensors"]["weight"]).double()
        shift = found.tensors.pop(step["tensors"]["bias"]).double() if "bias" in step["tensors"] else 0.0
        weight, bias = source["tensors"]["weight"], f"{source['output']}.bias"
        old = found.tensors[bias].double() if bias in found.tensors else 0.0
        matrix = found.tensors[weight]
        found.tensors[weight] = (matrix.double() * scale.view(-1, *[1] * (matrix.dim() - 1))).float()
        found.tensors[bias] = (old * scale + shift).float()
        source["tensors"]["bias"] = bias
        renamed[step["output"]] = source["output"]
    found.program = kept
    return renamed.get(result, result)
