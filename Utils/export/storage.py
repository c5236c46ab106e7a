"""Ways to store a matrix with many zeros; the smallest is taken. `exported.unpack` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from Utils import exported
from Utils.errors import UserError
from Utils.export.draft import Draft
from Utils.export.formats import INT8


def _gaps(positions: Tensor) -> Tensor:
    """Return the gaps between increasing positions, one byte or two for each; `exported.positions` reads them."""
    steps = positions.diff(prepend=positions.new_zeros(1))
    return min((_split(steps, dtype) for dtype in (torch.uint8, torch.int16)), key=lambda found: found.nbytes)


def _split(steps: Tensor, dtype: torch.dtype) -> Tensor:
    """Return whole numbers as sums: the highest number of the type as often as it fits, and then the rest."""
    highest = 2 ** torch.iinfo(dtype).bits - 1
    ends = (steps // highest + 1).cumsum(0)
    found = steps.new_full((int(ends[-1:].sum()),), highest)
    found[ends - 1] = steps % highest
    return (found - (highest + 1) * (found > torch.iinfo(dtype).max)).to(dtype)


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


def gaps(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store the values that are not zero, and the gaps between their positions in the flattened matrix."""
    flat = matrix.flatten()
    return {name: flat[flat.ne(0)], f"{name}.gaps": _gaps(flat.nonzero().flatten())}


def block(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Store the rows and columns that are not all zero, and the block that they form."""
    rows, cols, part = exported.block(matrix)
    return {name: part, f"{name}.rows": rows.to(torch.int32), f"{name}.columns": cols.to(torch.int32)}


WAYS = {"whole": whole, "bits": bits, "gaps": gaps, "block": block}


def without_empty_rows(draft: Draft) -> Draft:
    """Return the draft without the rows of embeddings that are all zero, and with the others as sparse matrices."""
    tensors, matrices = dict(draft.tensors), list(draft.matrices)
    for name in draft.tables:
        rows = tensors[name].ne(0).any(1)
        if not rows.all():
            words = torch.cat([rows.nonzero().flatten(), torch.tensor([len(rows)])])
            tensors |= {name: tensors[name][rows], f"{name}.words": _gaps(words)}
        if not tensors[name].all():
            matrices.append(name)
    return replace(draft, tensors=tensors, matrices=matrices)


def numbers(draft: Draft, values: str) -> dict[str, Tensor]:
    """Return the tensors of a draft in the type called `values`.

    As int8 a matrix or table has whole numbers and, as `<name>.scale`, a scale of each row; all else stays in float32.
    Raises UserError if a number is too large for that type.
    """
    if values != INT8:
        return {name: rounded(name, tensor, values) for name, tensor in draft.tensors.items()}
    tensors = dict(draft.tensors)
    for name in {*draft.matrices, *draft.tables}:
        tensors[name], tensors[f"{name}.scale"] = exported.split(tensors[name])
    return tensors


def rounded(name: str, tensor: Tensor, values: str) -> Tensor:
    """Return a tensor with its numbers in the type called `values`, positions as they are.

    Raises UserError if a number is too large for that type.
    """
    if not tensor.is_floating_point():
        return tensor
    found = tensor.to(getattr(torch, values))
    if found.isinf().ne(tensor.isinf()).any():
        most, largest = torch.finfo(found.dtype).max, tensor.abs().max()
        raise UserError(
            f"--values {values}: {name} holds {largest:,.0f}, and {values} ends at {most:,.0f}; take float32"
        )
    return found


def size(tensors: Mapping[str, Tensor]) -> int:
    """Return the size of the tensors in bytes."""
    return sum(value.numel() * value.element_size() for value in tensors.values())


def pack(name: str, matrix: Tensor, ways: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (the matrix's entry in the JSON, its tensors), in the smallest of these ways, the first if equal."""
    packed = {way: WAYS[way](name, matrix) for way in ways}
    way = min(packed, key=lambda way: size(packed[way]))
    entry = {"shape": list(matrix.shape), "stored": way, "values": int(matrix.count_nonzero())}
    return entry, packed[way]
