"""The graph of a network that maps a batch to one row of logits for each example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from Utils import exported
from Utils.export.draft import Draft
from Utils.export.graphs.builder import DOUBLE, FLOAT, INTEGER, Graph

IDS = "the token numbers of all texts, one text after another; numbers are places in the vocabulary"
OFFSETS = "the place in ids at which each text starts, the first at 0"
DATA = "the images"
LOGITS = "the logit of each class; the highest is the answer"


def graphs(draft: Draft, shape: Sequence[int], classes: int) -> dict[str, Graph]:
    """Return {"network": the graph} of a draft of `exported.Network`. shape: of one input, without the batch."""
    graph = Graph({"ids": IDS, "offsets": OFFSETS, "data": DATA, "logits": LOGITS})
    if any(step["op"] == "bag" for step in draft.program):
        graph.input("ids", INTEGER, ["tokens"])
        graph.input("offsets", INTEGER, ["batch"])
    else:
        graph.input("data", FLOAT, ["batch", *shape])
    named = {"data": "data"}
    for step in draft.program:
        own = {role: draft.tensors[name] for role, name in step.get("tensors", {}).items()}
        inputs = [named[name] for name in step["inputs"]]
        if step["op"] == "bag":
            named[step["output"]] = _bag(graph, exported.Lookup(step["tensors"]["weight"], draft.tensors))
        else:
            named[step["output"]] = OPERATIONS[step["op"]](graph, step, own, *inputs)
    graph.output("logits", named[draft.program[-1]["output"]], FLOAT, ["batch", classes])
    return {"network": graph}


def rows(graph: Graph, lookup: exported.Lookup, ids: str) -> str:
    """Look up the rows of words: [...] -> [..., d]."""
    if lookup.rows is not None:
        ids = graph("Gather", lookup.rows.int(), ids)
    return graph("Gather", lookup.table, ids)


def _bag(graph: Graph, lookup: exported.Lookup) -> str:
    """Add the mean of each text's rows, 0 of an empty text: differences of running sums, in float64."""
    found = graph("Cast", rows(graph, lookup, "ids"), to=DOUBLE)
    start = torch.zeros(1, lookup.table.shape[1], dtype=torch.float64)
    sums = graph("CumSum", graph("Concat", start, found, axis=0), torch.tensor(0))
    after = graph("Slice", "offsets", torch.tensor([1]), torch.tensor([torch.iinfo(torch.int64).max]))
    ends = graph("Concat", after, graph("Shape", "ids"), axis=0)
    sum_ = graph("Sub", graph("Gather", sums, ends), graph("Gather", sums, "offsets"))
    count = graph("Max", graph("Sub", ends, "offsets"), torch.tensor(1))
    count = graph("Unsqueeze", graph("Cast", count, to=DOUBLE), torch.tensor([1]))
    return graph("Cast", graph("Div", sum_, count), to=FLOAT)


def _linear(graph: Graph, step: Mapping[str, Any], own: Mapping[str, Tensor], value: str) -> str:
    return graph.linear(value, own["weight"], own.get("bias"))


def _conv(graph: Graph, step: Mapping[str, Any], own: Mapping[str, Tensor], value: str) -> str:
    bias = [own["bias"]] if "bias" in own else []
    found = graph("Conv", value, own["weight"], *bias, strides=step["stride"], pads=step["padding"] * 2)
    return graph("Add", found, exported.spread(own["offset"], step["repeat"])) if "offset" in own else found


def _affine(graph: Graph, step: Mapping[str, Any], own: Mapping[str, Tensor], value: str) -> str:
    shape = -1, *[1] * step["trailing"]
    found = graph("Mul", value, own["weight"].view(shape))
    return graph("Add", found, own["bias"].view(shape)) if "bias" in own else found


def _plain(op: str, attributes: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda step: {}) -> Callable[..., str]:
    """Return an operation without tensors. attributes(entry): returns those of the node."""
    return lambda graph, step, own, *inputs: graph(op, *inputs, **attributes(step))


OPERATIONS: dict[str, Callable[..., str]] = {
    "linear": _linear,
    "conv": _conv,
    "affine": _affine,
    "relu": _plain("Relu"),
    "add": _plain("Add"),
    "flatten": _plain("Flatten"),
    "max_pool": _plain(
        "MaxPool",
        lambda step: {
            "kernel_shape": [step["size"]] * 2,
            "strides": [step.get("stride", step["size"])] * 2,
            "pads": [step.get("padding", 0)] * 4,
        },
    ),
    "mean": _plain("GlobalAveragePool"),
}
"""Operation of `exported.Network`, but "bag": function (graph, its entry, its tensors, inputs) -> name of its value."""
