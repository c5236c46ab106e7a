"""Loading of the two files of an export as a model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .network import Network
from .rounded import Rounded, joined
from .translator import Translator
from .unpacking import unpack

VERSION = 5  # of the files; they are as those of 3, but may name the form "scattered" and hold int8
READ = (2, 3, 4, 5)  # versions that this loader reads; files of 2 never state the type of their numbers
CHANNELS_FIRST, CHANNELS_LAST = "planes", "places"  # how images lie in memory: [B, C, H, W] or [B, H, W, C]
KINDS = {"network": Network, "translator": Translator}


def load(path: str | Path, batch_size: int = 1, device: torch.device | str = "cpu") -> nn.Module:
    """Return the model of an export, in eval mode. Raises ValueError if the files are no export of this version.

    path: the JSON file; the safetensors file is in the same directory.
    batch_size: each matrix takes the form that was the quickest at the measured batch size nearest to this one. On a
    GPU all matrices are whole.
    """
    path = Path(path)
    about = json.loads(path.read_text(encoding="utf-8"))
    if about.get("version") not in READ:
        raise ValueError(
            f"{path} is version {about.get('version')} of an export; this loader reads {READ[0]} to {READ[-1]}"
        )
    return build(about, load_file(path.with_suffix(".safetensors")), batch_size, device)


def build(
    about: Mapping[str, Any], stored: Mapping[str, Tensor], batch_size: int = 1, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return the model, like `load`, from the contents of the two files."""
    stored = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    scales = {name: stored.pop(f"{name}.scale") for name in list(stored) if f"{name}.scale" in stored}
    stored |= {name: joined(stored[name], scale) for name, scale in scales.items()}
    parts = {f"{name}.{part}" for name in about["matrices"] for part in ("rows", "columns", "bits", "gaps")}
    tensors = {name: value for name, value in stored.items() if name not in parts}
    tensors |= {name: unpack(name, kept, stored) for name, kept in about["matrices"].items()}
    tensors = {name: value.to(device) for name, value in tensors.items()}
    forms: dict[str, Any] = {}
    if torch.device(device).type == "cpu":
        forms = {name: nearest(kept["quickest"], batch_size) for name, kept in about["matrices"].items()}
        forms |= {name: Rounded for name in scales if name in forms and tensors[name].dim() == 2}
        if nearest(about["layout"], batch_size, CHANNELS_FIRST) == CHANNELS_LAST:
            tensors = channels_last(tensors)
    return KINDS[about["kind"]](about["program"], tensors, forms).eval()


def channels_last(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with all kernels in torch's channels-last layout, which their outputs then have as well."""
    return {
        name: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in tensors.items()
    }


def nearest(quickest: Mapping[str, str], batch_size: int, otherwise: str = "whole") -> str:
    """Return the entry of the measured batch size that is nearest to `batch_size` by ratio; `otherwise` if none is."""
    if not quickest:
        return otherwise
    return quickest[min(quickest, key=lambda size: abs(math.log(int(size) / batch_size)))]
