"""The two files of an export: the program as JSON, and the tensors as safetensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from Utils import exported
from Utils.data.corpus import Corpus
from Utils.data.loader import Loader
from Utils.errors import UserError
from Utils.export import form_timing, storage
from Utils.export.draft import Draft
from Utils.export.formats import FORMATS, GENERAL, GRAPH_ONLY
from Utils.export.trace import Unknown
from Utils.store import files

CHECKED = 64  # number of test examples on which an export is compared with its model
# Largest difference of a logit, as a share of the largest logit. What 8 bits change depends on the network.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "int8": math.inf}


def whole(model: nn.Module, exporter: Any, general: bool) -> Draft:
    """Return the draft of a model. Raises UserError if the format cannot hold such a model.

    general: the format is GENERAL, whose graph is torch's own where a part of the model is of no operation known here.
    """
    try:
        return exporter.draft(model)
    except Unknown as error:
        if not general:
            raise UserError(f"{error}; --format {GENERAL} may export it") from error
    from Utils.export.graphs import traced

    return traced.draft(model)


def reduced(whole: Draft, format: str, exporter: Any, data: Corpus | None = None) -> Draft:
    """Return the draft with the units and rows that the format keeps. exporter: see Utils.load.exporter."""
    draft = exporter.compact(whole, data) if FORMATS[format].smaller else whole
    return draft if FORMATS[format].empty_rows else storage.without_empty_rows(draft)


def package(
    draft: Draft, format: str, uses: Mapping[int, Callable[[nn.Module], Any]], values: str = "float32"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (JSON, tensors) of a draft. Raises UserError if a number is too large for the type called `values`.

    uses: {batch size: a function that runs a model on such a batch}.
    """
    tensors = storage.numbers(draft, values)
    ways, computing = FORMATS[format].ways, tuple(filter(exported.available, FORMATS[format].forms))
    images = any(value.dim() == 4 for value in draft.tensors.values())
    layout = {str(size): form_timing.layout(draft, use) for size, use in uses.items()} if images else {}
    turned = replace(draft, tensors=exported.channels_last(draft.tensors))
    laid_out = {exported.CHANNELS_FIRST: draft, exported.CHANNELS_LAST: turned}
    taken = {
        str(size): form_timing.microseconds(laid_out[layout.get(str(size), exported.CHANNELS_FIRST)], computing, use)
        for size, use in uses.items()
    }
    matrices = {}
    for name in draft.matrices:
        entry, packed = storage.pack(name, tensors.pop(name), ways)
        tensors |= packed
        measured = {size: found[name] for size, found in taken.items() if name in found}
        entry["quickest"] = {size: form_timing.quickest(found) for size, found in measured.items()}
        matrices[name] = {**entry, "microseconds": measured}
    about = {"version": exported.VERSION, "kind": draft.kind, "format": format}
    about |= {} if values == "float32" else {"values": values}
    return {**about, "program": draft.program, "matrices": matrices, "layout": layout}, tensors


def preparation(data: Corpus) -> dict[str, Any]:
    """Return how an input is made: the pixels' mean and deviation, or the tokenizer and the special words."""
    found = {name: value for name, value in data.dataset.preparation.items() if isinstance(value, (str, int, list))}
    for name in ("mean", "std"):
        if (value := getattr(data.test, name, None)) is not None:
            found[name] = [round(x, 6) for x in value.flatten().tolist()]
    if "mean" in found:
        found["formula"] = "(pixel - mean) / std by channel, pixels from 0 to 255"
    return found


def write(
    directory: Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor], words: Mapping[str, list[str]]
) -> list[Path]:
    """Write `model.<format>.json` and `.safetensors` into `directory`; return the paths.

    words: vocabularies by name; if there are any, they are in a third file, `model.<format>.words.json`.
    """
    path = directory / f"model.{about['format']}.json"
    paths = [path, path.with_suffix(".safetensors")]
    files.write_bytes(paths[1], content(tensors))
    if words:
        paths.append(path.with_suffix(".words.json"))
        files.write_json(paths[2], words)
    files.write_json(path, about)
    return paths


def content(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of the safetensors file."""
    from safetensors.torch import save

    return save({name: value.contiguous() for name, value in tensors.items()})


def parameters(tensors: Mapping[str, Tensor]) -> int:
    """Return how many real numbers are stored, not counting masks."""
    real = (value for name, value in tensors.items() if not name.endswith("_mask") and value.is_floating_point())
    return sum(value.numel() for value in real)


def checked(model: nn.Module, export: nn.Module, data: Corpus, kind: str, values: str = "float32") -> float:
    """Return the `difference`. Raises UserError if a graph by torch's exporter computes something else.

    kind: of the draft.
    """
    try:
        return difference(model, export, data, values)
    except Exception as error:  # ONNX Runtime has errors of its own
        if kind != GRAPH_ONLY:
            raise
        batch, _ = next(iter(Loader(data.test, CHECKED, length=CHECKED)))
        if not model(batch).equal(model(batch)):
            raise UserError("no graph can hold this model: its output differs from call to call") from error
        sizes = "take it from x.shape" if len(data.shape) > 1 else "for texts side by side take padded() of the batch"
        raise UserError(
            f"the graph that torch makes of this model computes something else on {CHECKED} examples. If forward makes "
            f"a size a number, by len(), int(), max() or torch.tensor([...]), that is fixed in the graph: {sizes}"
        ) from error


@torch.no_grad()
def difference(model: nn.Module, export: nn.Module, data: Corpus, values: str = "float32") -> float:
    """Return the largest difference between logits of an export and of its model, on the first test examples.

    values: the type of the stored numbers. Raises FloatingPointError if rounding to it cannot explain the difference.
    """
    batch, _ = next(iter(Loader(data.test, CHECKED, length=CHECKED)))
    wanted = model(batch)
    found = (export(batch) - wanted).abs().max().item()
    scale = max(1.0, wanted.abs().max().item())
    if not found <= TOLERANCE[values] * scale:
        raise FloatingPointError(f"the export's logits are {found:.2g} off; the largest of the model is {scale:.2g}")
    return found


def words(about: Mapping[str, Any], size: int, whole: Draft) -> str:
    """Return the result of an export as text. size: in bytes. whole: the draft that it was made from."""
    matrices, dense = about.get("matrices", {}), storage.size(whole.tensors)
    lines = [f"{about['format']}: {size:,} bytes, {100 * size / dense:.1f} % of the {dense:,} of the dense model"]
    for count in sorted({count for kept in matrices.values() for count in kept["quickest"]}, key=int):
        chosen = Counter(kept["quickest"].get(count, "whole") for kept in matrices.values())
        forms = ", ".join(f"{number} {form}" for form, number in sorted(chosen.items()))
        lines.append(f"quickest for {count} at a time: {forms} of {len(matrices)} matrices")
    lines.append(f"largest difference of a logit to the masked model: {about['largest_difference']:.1e}")
    return "".join(f"{line}\n" for line in lines)
