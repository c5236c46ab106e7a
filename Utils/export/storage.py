"""Ways to store a matrix with many zeros; the smallest is taken. `exported.unpack` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from Utils import exported

INT16, INT32 = 1 << 16, 1 << 31


def _narrow(numbers: Tensor) -> Tensor:
    """Return whole numbers >= 0 as int32, or, if all are below 65536, as int16 (65535 is stored as -1)."""
    if numbers.numel() == 0 or int(numbers.max()) < INT16:
        return torch.where(numbers < INT16 // 2, numbers, numbers - INT16).to(torch.int16)
    return numbers.to(torch.int32)


def whole(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store every entry."""
    return {name: matrix.contiguous()}


def bits(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store the values that are not zero, and a bit for each entry, the lowest bit of a byte first."""
    flat = matrix.flatten()
    kept = torch.zeros(-(-flat.numel() // 8) * 8, dtype=torch.uint8)
    kept[: flat.numel()] = flat.ne(0)
    weights = torch.tensor([1 << k for k in range(8)], dtype=torch.uint8)
    return {name: flat[flat.ne(0)], f"{name}.bits": (kept.view(-1, 8) * weights).sum(1, dtype=torch.uint8)}


def columns(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store the values that are not zero, the column of each, and their number in each row."""
    flat = matrix.flatten(1)
    kept = flat.ne(0)
    return {
        name: flat[kept],
        f"{name}.columns": _narrow(kept.nonzero()[:, 1]),
        f"{name}.counts": _narrow(kept.sum(1)),
    }


def block(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store the rows and columns that are not all zero, and the block that they form."""
    rows, cols, part = exported.block(matrix)
    return {name: part, f"{name}.rows": rows.to(torch.int32), f"{name}.columns": cols.to(torch.int32)}


WAYS = {"whole": whole, "bits": bits, "columns": columns, "block": block}


def size(tensors: Mapping[str, Tensor]) -> int:
    """Return the size of the tensors in bytes."""
    return sum(value.numel() * value.element_size() for value in tensors.values())


def pack(name: str, matrix: Tensor, ways: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (the matrix's entry in the JSON, its tensors), in the smallest of these ways, the first if equal."""
    packed = {way: WAYS[way](name, matrix) for way in ways}
    way = min(packed, key=lambda way: size(packed[way]))
    entry = {"shape": list(matrix.shape), "stored": way, "values": int(matrix.count_nonzero())}
    return entry, packed[way]
