"""The product of kernel.c, compiled for this processor when it is first asked for, if there is a C compiler.

The library is kept in the user's cache, under the hash of all that decides what it is.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-fPIC")


@functools.cache
def library(*flags: str) -> ctypes.CDLL | None:
    """Return the compiled library; None, with a warning, where it cannot be had. flags: more of the compiler's."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        warnings.warn("there is no C compiler, so the form that costs what is left is replaced by csr", stacklevel=2)
        return None
    try:
        pool = _threads_of_torch()
        made = _compiled(compiler, (*flags, *(["-fopenmp"] if pool else [])))
        if pool:
            ctypes.CDLL(str(pool), mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(made))
    except (OSError, subprocess.CalledProcessError) as error:
        warnings.warn(f"{compiler} makes no kernel here ({error}), so csr is used instead", stacklevel=2)
        return None


def _threads_of_torch() -> Path | None:
    """Return the OpenMP library that torch has brought; None if it brings none, which leaves the kernel one thread.

    With another one, the threads of both would wait for work by spinning, each on the processor of the others.
    """
    places = (Path(torch.__file__).parent / "lib", Path(torch.__file__).parent.parent / "torch.libs")
    return next((path for place in places for path in sorted(place.glob("libgomp*.so*"))), None)


def _compiled(compiler: str, flags: Sequence[str]) -> Path:
    """Return the library's path. Raises OSError or CalledProcessError if it can be made nowhere."""
    made_by = str(Path(compiler).resolve().stat().st_mtime_ns)
    decides = "\0".join([compiler, made_by, *FLAGS, *flags, _processor()]).encode()
    name = f"{hashlib.sha256(SOURCE.read_bytes() + decides).hexdigest()[:32]}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pruned-networks"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (cache / name).exists():
        with tempfile.TemporaryDirectory(dir=cache) as place:
            made, part = Path(place) / name, Path(place) / "kernel.o"
            compiling = [compiler, *FLAGS, *flags, "-c", "-o", str(part), str(SOURCE)]
            # OpenMP's functions are not linked: they are found in torch's library.
            linking = [compiler, "-shared", "-o", str(made), str(part)]
            for words in (compiling, linking):
                subprocess.run(words, check=True, capture_output=True)
            made.replace(cache / name)  # whole, whoever else makes the same one
    return cache / name


def _processor() -> str:
    """Return what tells this processor from others, whose libraries may lie in the same home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


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
