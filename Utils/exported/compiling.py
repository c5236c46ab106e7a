"""C sources compiled for this processor when they are first asked for, if there is a C compiler.

The libraries are kept in the user's cache, each under the hash of all that decides what it is.
"""

from __future__ import annotations

import ctypes
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

FOLDER = Path(__file__).parent  # of the headers
FLAGS = ("-O3", "-march=native", "-fPIC")


def library(sources: Sequence[Path], *flags: str, instead: str) -> ctypes.CDLL | None:
    """Return the compiled library; None, with a warning, where it cannot be had.

    flags: more of the compiler's. instead: what the warning says is used then.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        warnings.warn(f"there is no C compiler, so {instead} instead", stacklevel=3)
        return None
    try:
        pool = _threads_of_torch()
        made = _compiled(sources, compiler, (*FLAGS, *flags, *(["-fopenmp"] if pool else [])))
        if pool:
            ctypes.CDLL(str(pool), mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(made))
    except (OSError, subprocess.CalledProcessError) as error:
        warnings.warn(
            f"{compiler} makes no library of {sources[0].name} here ({error}), so {instead} instead", stacklevel=3
        )
        return None


def _threads_of_torch() -> Path | None:
    """Return the OpenMP library that torch has brought; None if it brings none, which leaves our loops one thread.

    With another one, the threads of both would wait for work by spinning, each on the processor of the others.
    """
    places = (Path(torch.__file__).parent / "lib", Path(torch.__file__).parent.parent / "torch.libs")
    return next((path for place in places for path in sorted(place.glob("libgomp*.so*"))), None)


def _compiled(sources: Sequence[Path], compiler: str, flags: Sequence[str]) -> Path:
    """Return the library's path. Raises OSError or CalledProcessError if it can be made nowhere."""
    made_by = str(Path(compiler).resolve().stat().st_mtime_ns)
    decides = "\0".join([compiler, made_by, *flags, _processor()]).encode()
    code = b"\0".join(source.read_bytes() for source in (*sources, *sorted(FOLDER.glob("*.h"))))
    name = f"{hashlib.sha256(code + decides).hexdigest()[:32]}.so"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pruned-networks"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (cache / name).exists():
        with tempfile.TemporaryDirectory(dir=cache) as place:
            made, parts = Path(place) / name, [str(Path(place) / f"{source.stem}.o") for source in sources]
            pairs = zip(sources, parts, strict=True)
            compiling = [[compiler, *flags, f"-I{FOLDER}", "-c", "-o", part, str(source)] for source, part in pairs]
            # OpenMP's functions are not linked: they are found in torch's library.
            linking = [compiler, "-shared", "-o", str(made), *parts]
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
