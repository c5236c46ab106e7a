"""Measurement of the formats of a model: bytes, multiply-adds, and seconds by torch's benchmark timer."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from Utils import exported
from Utils.data.corpus import Corpus
from Utils.errors import UserError
from Utils.export import form_timing, package
from Utils.export.formats import FORMATS, MASKED
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
    # the tensors of the loaded model, and "multiply_adds" those of the matrices for one example (missing for a masked
    # model that cannot be exported). "seconds" and "examples_per_second" are by batch size; see _add.
    uses = {size: exporter.use(data, size, torch.device("cpu")) for size in SIZES}
    state = model.state_dict()
    found: dict[str, dict[str, Any]] = {
        MASKED: {
            "parameters": package.parameters(state),
            "file_bytes": len(package.content(state)),
            "memory_bytes": _bytes(state.values()),
        }
    }
    loads: dict[str, Load] = {MASKED: lambda size: model}
    left_out: dict[str, str] = {}
    try:
        whole = exporter.draft(model)
        found[MASKED]["multiply_adds"] = form_timing.multiply_adds(whole, {}, uses[1])
    except Exception as error:  # an unusual model may raise anything
        left_out = dict.fromkeys(FORMATS, _reason(error))
    for name in FORMATS if not left_out else ():
        try:
            draft = package.reduced(whole, name, exporter, data)
            about, tensors = package.package(draft, name, uses)
            package.difference(model, about, tensors, data)
            found[name] = _sizes(draft, about, tensors, uses[1])
            loads[name] = partial(exported.build, about, tensors)
        except Exception as error:
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


def _sizes(draft: Any, about: dict[str, Any], tensors: dict[str, torch.Tensor], use: Any) -> dict[str, Any]:
    chosen = {matrix: exported.nearest(kept["quickest"], 1) for matrix, kept in about["matrices"].items()}
    return {
        "parameters": package.parameters(tensors),
        "file_bytes": len(package.content(tensors)),
        "memory_bytes": _bytes(exported.build(about, tensors).held),
        "multiply_adds": form_timing.multiply_adds(draft, chosen, use),
        "forms": {name: kept["quickest"] for name, kept in about["matrices"].items()},
    }


def _add(figures: dict[str, Any], size: str, seconds: list[float]) -> None:
    middle = statistics.median(seconds)
    taken = {"median": middle, "lowest": min(seconds), "highest": max(seconds)}
    figures.setdefault("seconds", {})[size] = taken
    figures.setdefault("examples_per_second", {})[size] = int(size) / middle
