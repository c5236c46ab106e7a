"""The functions of kernel.c and decoder.c, compiled for this processor (see compiling.py)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import compiling

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "decoder.c")]
SUMS = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")  # in any order, as lanes


@functools.cache
def library(*flags: str) -> ctypes.CDLL | None:
    """Return the compiled library; None, with a warning, where it cannot be had. flags: more of the compiler's."""
    return compiling.library(SOURCES, *SUMS, *flags, instead="torch's products are used")


def lanes() -> int:
    """Return how many numbers a run has."""
    return _library().lanes()


def unroll() -> int:
    """Return how many runs are computed together."""
    return _library().unroll()


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None  # nobody asks for the product where there is none
    return found


def call(function: str, *arguments: Any, of: ctypes.CDLL | None = None) -> None:
    """Call a function of the library, or of another one.

    It gets the data of tensors, whole numbers of 64 bits, and all else as it is.
    """
    (of or _library())[function](*map(_plain, arguments))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def product(
    input: Tensor, read: Tensor, written: Tensor, output: Tensor, tiles: int, weights: Sequence[Tensor]
) -> None:
    """Write the sums to `output`, float32 [outputs, step], with torch's present threads.

    input: float32, flat; all that is read lies in it. read, written: int64 [runs], where the runs begin in the input
    less the tap, and in a plane of the output. weights: bias, ends, taps and values, as kernel.c takes them.
    """
    threads = torch.get_num_threads()
    held = output.new_empty(threads, len(output), unroll(), lanes())
    shape = output.stride(0), held, len(output), tiles
    call("scattered", input, read, written, len(read), threads, output, *shape, *weights)
