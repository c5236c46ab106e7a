"""The files of an export as graphs: `.onnx`, which say in themselves what goes in and out, and a JSON file beside them.

The JSON holds the names of the classes and the vocabularies, in order, and how an input is prepared. So nothing of this
project is needed to use the graphs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from Utils.data.corpus import Corpus
from Utils.errors import UserError
from Utils.export import package, storage
from Utils.export.draft import Draft
from Utils.export.formats import GRAPH_ONLY, graph_file
from Utils.export.graphs import network, traced, translator
from Utils.export.graphs.builder import OPSET, Graph
from Utils.store import files

VERSION = 1
MAKERS: dict[str, Callable[..., Any]] = {
    "network": network.graphs,
    "translator": translator.graphs,
    GRAPH_ONLY: traced.graphs,
}
NETWORK = 'session = onnxruntime.InferenceSession("{}"); (logits,) = session.run(None, {{name: array, ...}})'
USE = {
    "network": NETWORK,
    GRAPH_ONLY: NETWORK,
    "translator": "state = the encoder's outputs by name; then, each time, found = the decoder's outputs by name, of "
    "tokens and state; the next tokens are found['logits'].argmax(1); found['next.x'] takes the place of state['x']",
}


def made(draft: Draft, format: str, data: Corpus, values: str = "float32") -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return (JSON, {part: content of its .onnx file}) of a draft.

    Raises UserError if a number is too large for the type called `values`, or torch cannot export the model.
    """
    if draft.kind == GRAPH_ONLY and values != "float32":
        raise UserError(f"--values {values}: torch exports this model in float32 alone")
    tensors = storage.numbers(draft, values)
    rounded = Draft(draft.kind, draft.program, tensors, draft.matrices, draft.tables)
    built: dict[str, Graph | traced.Traced] = MAKERS[draft.kind](rounded, data.shape, data.num_classes)
    names = {part: graph_file(format, part) for part in built}
    use = USE[draft.kind].format(names.get("network"))
    about: dict[str, Any] = {"version": VERSION, "kind": draft.kind, "format": format, "values": values}
    about |= {"graphs": names, "opset": OPSET, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    about |= {"use": use, "inputs": {}, "outputs": {}, "preparation": package.preparation(data), "words": data.words}
    contents = {}
    for part, graph in built.items():
        ends = {side: _described(getattr(graph, side)) for side in ("inputs", "outputs")}
        for side, described in ends.items():
            about[side][names[part]] = described
        properties = {"use": use, "data set": data.dataset.title, "beside": f"model.{format}.json"}
        properties |= {f"{side[:-1]} {name}": text for side, found in ends.items() for name, text in found.items()}
        properties["preparation"] = json.dumps(about["preparation"], ensure_ascii=False)
        if list(data.classes) not in data.words.values():  # a vocabulary is long: it is in the JSON alone
            properties["classes"] = json.dumps(list(data.classes), ensure_ascii=False)
        contents[part] = graph.model(part, properties).SerializeToString(deterministic=True)
    return about, contents


def _described(values: list[onnx.ValueInfoProto]) -> dict[str, str]:
    """Return a line for each input or output: type, shape, meaning."""
    found = {}
    for value in values:
        kind = value.type.tensor_type
        shape = ", ".join(dim.dim_param or str(dim.dim_value) for dim in kind.shape.dim)
        found[value.name] = f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()} [{shape}]: {value.doc_string}"
    return found


def write(directory: Path, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> list[Path]:
    """Write the graphs and then `model.<format>.json` into `directory`; return the paths, the JSON last."""
    paths = [directory / name for name in about["graphs"].values()]
    for path, content in zip(paths, contents.values(), strict=True):
        files.write_bytes(path, content)
    paths.append(directory / f"model.{about['format']}.json")
    files.write_json(paths[-1], about)
    return paths
