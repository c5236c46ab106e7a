"""The functions of kernel.c and decoder.c, compiled for this processor when first asked for, if there is a C compiler.

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
from typing import Any

import torch
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "decoder.c")]
SUMS = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")  # in any order, as lanes
FLAGS = ("-O3", "-march=native", "-fPIC", *SUMS)


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
    code = b"\0".join(source.read_bytes() for source in SOURCES)
    name = f"{hashlib.sha256(code + decides).hexdigest()[:32]}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pruned-networks"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (cache / name).exists():
        with tempfile.TemporaryDirectory(dir=cache) as place:
            made, parts = Path(place) / name, [Path(place) / f"{source.stem}.o" for source in SOURCES]
            pairs = zip(SOURCES, parts, strict=True)
            compiling = [[compiler, *FLAGS, *flags, "-c", "-o", str(part), str(source)] for source, part in pairs]
            # OpenMP's functions are not linked: they are found in torch's library.
            linking = [compiler, "-shared", "-o", str(made), *map(str, parts)]
            for words in (*compiling, linking):
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


def call(function: str, *arguments: Any) -> None:
    """Call a function of the library. It gets the data of tensors, whole numbers of 64 bits, and all else as it is."""
    _library()[function](*map(_plain, arguments))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def product(input: Tensor, runs: Tensor, output: Tensor, tiles: int, weights: Sequence[Tensor]) -> None:
    """Write the sums to `output`, float32 [outputs, step], with torch's present threads.

    input: float32, flat; all that is read lies in it. runs: int64 [runs], where they begin in a plane of the output,
    and in the input less the tap. weights: bias, ends, taps and values, as kernel.c takes them.
    """
    shape = output.stride(0), len(output), tiles
    call("scattered", input, runs, len(runs), torch.get_num_threads(), output, *shape, *weights)
