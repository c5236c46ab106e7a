"""The loops of adam.c, compiled for this processor, and what they take from torch."""

from __future__ import annotations

import ctypes
import functools
import warnings
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch

from Utils import console

SOURCE = Path(__file__).with_name("adam.c")
FLAGS = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")  # no rounding but that of the source
EACH = 1 << 15  # numbers that a thread has at least, or starting it costs more than it saves
INSTEAD = "torch's calls, which give the same bits, do the steps of Adam"
ARGUMENTS = {"p": c_void_p, "n": c_int64, "i": c_int, "f": c_float}
SIGNATURES = {
    "dense": "nppppffffffpi",
    "distinct": "pnnppp",
    "begin": "ppnpnnpfpppi",
    "finish": "ppnppppffnnppi",
    "bags": "pnpnpnnippi",
    "spread": "pnpnpnnpppi",
}


@functools.cache
def library() -> Any:
    """Return the loops, whose functions take numbers and addresses; None, with a note, without a compiler."""
    from Utils.exported import compiling  # of no use to a GPU

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = compiling.library([SOURCE], *FLAGS, instead=INSTEAD)
    for warning in said:
        console.note(str(warning.message))
    for name, kinds in SIGNATURES.items() if found else ():
        getattr(found, name).argtypes = [ARGUMENTS[kind] for kind in kinds]
        getattr(found, name).restype = c_int64
    return found


@functools.cache
def root() -> int | None:
    """Return the address of the square root in torch's library, if it is MKL's; None: torch uses the processor's."""
    try:
        torchs = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(torchs.vsSqrt, c_void_p).value
    except (OSError, AttributeError):
        return None


def threads(numbers: int) -> int:
    """Return how many threads share a loop over so many numbers. The results do not depend on it."""
    return max(1, min(torch.get_num_threads(), numbers // EACH))


def used(same: bool) -> bool:
    """Return whether loops are used: if they gave the bits of torch's calls. If not, say so."""
    if not same:
        console.note(f"{SOURCE.name} rounds otherwise than torch does here, so {INSTEAD} instead")
    return same
