"""The graph of any classifier by torch's own exporter: for networks that `Utils.export.trace` does not know."""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from Layers.attached import release
from Layers.bags import Bags
from Utils.errors import UserError
from Utils.export.draft import Draft
from Utils.export.formats import GRAPH_ONLY
from Utils.export.graphs.builder import OPSET
from Utils.export.graphs.network import DATA, IDS, LOGITS, OFFSETS


class _OfTexts(nn.Module):
    """A model of bags of words with two tensors for input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """Return the logits: ids [N], offsets [B] -> [B, classes]."""
        return self.model(Bags(ids, offsets))


class Traced:
    """A finished graph, with what `builder.Graph` says of itself."""

    def __init__(self, made: onnx.ModelProto) -> None:
        self.made, self.inputs, self.outputs = made, list(made.graph.input), list(made.graph.output)
        for value in (*self.inputs, *self.outputs):
            value.doc_string = {"ids": IDS, "offsets": OFFSETS, "data": DATA, "logits": LOGITS}[value.name]

    def model(self, name: str, properties: Mapping[str, str]) -> onnx.ModelProto:
        """Return the model. Raises onnx.checker.ValidationError if it is not valid."""
        self.made.graph.name = name
        helper.set_model_props(self.made, dict(properties))
        onnx.checker.check_model(self.made, full_check=True)
        return self.made


def _values_apart(_: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
    """Give attention values of their own: where they are the keys' tensor too, torch fixes a text's length."""
    inputs, named = (*inputs[:2], *(values.view_as(values) for values in inputs[2:3]), *inputs[3:]), dict(named)
    if "value" in named:
        named["value"] = named["value"].view_as(named["value"])
    return inputs, named


def draft(model: nn.Module) -> Draft:
    """Return a draft that only `graphs` reads: its program is a copy of the model, masks multiplied in."""
    plain = release(copy.deepcopy(model)).eval()
    for part in plain.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.register_forward_pre_hook(_values_apart, with_kwargs=True)
    return Draft(GRAPH_ONLY, plain, {name: value.detach() for name, value in plain.state_dict().items()})


def graphs(draft: Draft, shape: Sequence[int], classes: int) -> dict[str, Traced]:
    """Return {"network": the graph} of such a draft. Raises UserError if torch cannot export the model.

    shape: of one input, without the batch: (C, H, W), or (V,) for texts.
    """
    if len(shape) > 1:
        model, given = draft.program, {"data": torch.zeros(2, *shape)}
        varying = {"data": {0: "batch"}}
    else:
        model, given = _OfTexts(draft.program), {"ids": torch.arange(8) % shape[0], "offsets": torch.tensor([0, 4])}
        varying = {"ids": {0: "tokens"}, "offsets": {0: "batch"}}
    options: dict[str, Any] = {"input_names": list(given), "output_names": ["logits"], "opset_version": OPSET}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # the newer exporter needs one more package
        options["dynamo"] = False
    content, fused = io.BytesIO(), torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole block, which no graph has
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model, tuple(given.values()), content, dynamic_axes={**varying, "logits": {0: "batch"}}, **options
            )
    except Exception as error:  # exporting runs the model's own code, which may raise anything
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"torch cannot export this model as a graph ({type(error).__name__}: {reason})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return {"network": Traced(onnx.load_from_string(content.getvalue()))}
