"""Measurement of the formats of a model: bytes, multiply-adds, and seconds by torch's benchmark timer."""

import statistics
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from Utils import exported
from Utils.data.corpus import Corpus
from Utils.errors import UserError
from Utils.export import form_timing, package
from Utils.export.draft import Draft
from Utils.export.formats import FORMATS, GENERAL, GRAPH_ONLY, MASKED, ONNX, onnx_missing
from Utils.machine import timing

SIZES = (1, 64)  # batch sizes
SECONDS = 0.2  # least time of measurement for each median

Load = Callable[[int], nn.Module]  # batch size -> the model in the forms that are quickest at that size


@torch.no_grad()
def formats(
    model: nn.Module, exporter: Any, data: Corpus, repeats: int
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return ({format: its figures}, {format that cannot be made: why}). The masked model is always measured.

    model: in eval mode on the CPU; torch keeps its present threads.
    exporter: the module that exports this kind of model (Utils.load.exporter).
    repeats: number of timings. The formats are timed in turn.
    """
    # Figures: "parameters" are the real numbers stored, "file_bytes" the size of the safetensors file, "memory_bytes"
    # the tensors of the loaded model, and "multiply_adds" those of the matrices for one example (missing if torch's own
    # exporter alone can export the model). "seconds" and "examples_per_second" are by batch size; see _add.
    uses = {size: exporter.use(data, size, torch.device("cpu")) for size in SIZES}
    once = {*dict(model.named_parameters()), *dict(model.named_buffers())}  # one name of what layers share
    state = {name: value for name, value in model.state_dict().items() if name in once}
    found: dict[str, dict[str, Any]] = {
        MASKED: {
            "parameters": package.parameters(state),
            "file_bytes": len(package.content(state)),
            "memory_bytes": _bytes(state.values()),
        }
    }
    loads: dict[str, Load] = {MASKED: lambda size: model}
    left_out: dict[str, str] = {}
    drafted = cache(partial(package.whole, model, exporter))
    for name in (*FORMATS, *ONNX):
        try:
            whole = drafted(name == GENERAL)
            if whole.kind != GRAPH_ONLY and "multiply_adds" not in found[MASKED]:
                found[MASKED]["multiply_adds"] = form_timing.multiply_adds(whole, {}, uses[1])
            draft = package.reduced(whole, ONNX.get(name, name), exporter, data)
            found[name], loads[name] = (_graphs if name in ONNX else _packed)(draft, name, data, uses)
            package.checked(model, loads[name](package.CHECKED), data, draft.kind)
        except Exception as error:
            found.pop(name, None), loads.pop(name, None)
            left_out[name] = _reason(error)
    for size, use in uses.items():
        taken = timing.medians({name: partial(use, made(size)) for name, made in loads.items()}, repeats, SECONDS)
        for name, seconds in taken.items():
            _add(found[name], str(size), seconds)
    return found, left_out


def _reason(error: Exception) -> str:
    """Return the error in one line, with its type unless it is a UserError."""
    words = " ".join(str(error).split())
    return words if isinstance(error, UserError) else f"{type(error).__name__}: {words}"


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _packed(draft: Draft, name: str, data: Corpus, uses: Mapping[int, Any]) -> tuple[dict[str, Any], Load]:
    """Return the figures of an export, without seconds, and a function that builds its model."""
    about, tensors = package.package(draft, name, uses)
    chosen = {matrix: exported.nearest(kept["quickest"], 1) for matrix, kept in about["matrices"].items()}
    figures = {
        "parameters": package.parameters(tensors),
        "file_bytes": len(package.content(tensors)),
        "memory_bytes": _bytes(exported.build(about, tensors).held),
        "multiply_adds": form_timing.multiply_adds(draft, chosen, uses[1]),
        "forms": {name: kept["quickest"] for name, kept in about["matrices"].items()},
    }
    return figures, partial(exported.build, about, tensors)


def _graphs(draft: Draft, name: str, data: Corpus, uses: Mapping[int, Any]) -> tuple[dict[str, Any], Load]:
    """Do the same with graphs, which ONNX Runtime runs. Raises UserError if it is not installed."""
    if missing := onnx_missing():
        raise UserError(missing)

    from Utils.export.graphs import package as graphs
    from Utils.export.graphs import session

    _, contents = graphs.made(draft, name, data)
    runs = session.KINDS[draft.kind](contents)
    figures = {
        "parameters": package.parameters(draft.tensors),
        "file_bytes": sum(map(len, contents.values())),
        "memory_bytes": _bytes(draft.tensors.values()),
    }
    if draft.kind != GRAPH_ONLY:
        figures["multiply_adds"] = form_timing.multiply_adds(draft, {}, uses[1])
    return figures, lambda size: runs


def _add(figures: dict[str, Any], size: str, seconds: list[float]) -> None:
    middle = statistics.median(seconds)
    taken = {"median": middle, "lowest": min(seconds), "highest": max(seconds)}
    figures.setdefault("seconds", {})[size] = taken
    figures.setdefault("examples_per_second", {})[size] = int(size) / middle
