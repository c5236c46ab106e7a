"""The product of kernel.c, compiled for this processor (see compiling.py)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import compiling

SOURCE = Path(__file__).with_suffix(".c")


@functools.cache
def library(*flags: str) -> ctypes.CDLL | None:
    """Return the compiled library; None, with a warning, where it cannot be had. flags: more of the compiler's."""
    return compiling.library(SOURCE, *flags, instead="csr is used")


def lanes() -> int:
    """Return how many numbers a run has."""
    return _library().lanes()


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None  # nobody asks for the product where there is none
    return found


def product(input: Tensor, runs: Tensor, output: Tensor, tiles: int, weights: Sequence[Tensor]) -> None:
    """Write the sums to `output`, float32 [outputs, step], with torch's present threads.

    input: float32, flat; all that is read lies in it. runs: int64 [runs], where they begin in a plane of the output,
    and in the input less the tap. weights: bias, ends, taps and values, as kernel.c takes them.
    """
    x, at, y, *rest = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (input, runs, output, *weights))
    amounts = ctypes.c_int64(len(runs)), ctypes.c_int(torch.get_num_threads())
    shape = ctypes.c_int64(output.stride(0)), ctypes.c_int(len(output)), ctypes.c_int(tiles)
    _library().scattered(x, at, *amounts, y, *shape, *rest)
