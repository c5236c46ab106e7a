"""Building of a graph, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

OPSET, IR = 17, 8  # the first with LayerNormalization; every ONNX Runtime since 1.13 reads it
FLOAT, INTEGER, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.DOUBLE


class Graph:
    """A graph that grows by calls: `graph("Add", x, y)` adds a node and returns the name of its value.

    Inputs of a node are names of values, or tensors, which become constants. Constants in float16 are read as float32.
    """

    def __init__(self, about: Mapping[str, str]) -> None:
        """Begin an empty graph. about: a sentence for each input and output by name."""
        self.about = about
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Add an input and return its name. shape: a word stands for a size that may vary."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape, self.about[name]))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[int | str]) -> None:
        """Make a value an output of that name."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape, self.about[name]))

    def hold(self, value: Tensor) -> str:
        """Add a constant and return its name."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        return self("Cast", name, to=FLOAT) if value.dtype == torch.float16 else name

    def __call__(self, op: str, *inputs: str | Tensor, **attributes: Any) -> str:
        return self.several(op, 1, *inputs, **attributes)[0]

    def several(self, op: str, count: int, *inputs: str | Tensor, **attributes: Any) -> list[str]:
        """Add a node with `count` outputs and return the names of their values."""
        names = [self.hold(value) if isinstance(value, Tensor) else value for value in inputs]
        found = [f"{op.lower()}{len(self.nodes)}{f'.{k}' if k else ''}" for k in range(count)]
        self.nodes.append(helper.make_node(op, names, found, **attributes))
        return found

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Split a value into parts of these sizes."""
        return self.several("Split", len(sizes), value, torch.tensor(sizes), axis=axis)

    def shaped(self, value: str, *shape: int) -> str:
        """Reshape a value. shape: 0 keeps the size at that place, -1 is what is left."""
        return self("Reshape", value, torch.tensor(shape))

    def zeros(self, shape: str, kind: int) -> str:
        """Make zeros. shape: the value that holds it."""
        return self("ConstantOfShape", shape, value=helper.make_tensor("zero", kind, [1], [0]))

    def linear(self, value: str, weight: Tensor, bias: Tensor | None) -> str:
        """Multiply by a matrix [O, I] and add the bias: [..., I] -> [..., O]."""
        found = self("MatMul", value, weight.t())
        return found if bias is None else self("Add", found, bias)

    def model(self, name: str, properties: Mapping[str, str]) -> onnx.ModelProto:
        """Return the finished model. Raises onnx.checker.ValidationError if it is not valid."""
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="pruning-text-and-images")
        helper.set_model_props(made, dict(properties))
        onnx.checker.check_model(made, full_check=True)
        return made
