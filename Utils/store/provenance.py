"""The software and the machine that made a result."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("torch", "torchvision", "torchtext", "torchmetrics", "spacy", "numpy", "safetensors", "pandas")


def versions() -> dict[str, str | None]:
    """Return the version of Python and of every package that can affect a result; None if it is not installed."""
    result: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            result[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            result[package] = None
    return result


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowance() -> dict[str, object]:
    """Return what torch's own choice of its number of threads follows: the cores, and the variables that are set."""
    return {"cores": cores(), **{name: os.environ[name] for name in VARIABLES if name in os.environ}}


def threads_unlike(made: Mapping[str, object], threads: int) -> str:
    """Return how the threads of a result differ from those that it would have here, in words; "" if they do not.

    made: the result's `machine`. threads: the number that is asked for, 0 for torch's own choice.
    """
    here = {"threads": threads} if threads else {**dict.fromkeys(VARIABLES), **allowance()}
    if made["device"] != "cpu" or "cores" not in made:  # of earlier runs the cores are not known
        return ""
    return ", ".join(f"{key} {made.get(key)}, not {value}" for key, value in here.items() if made.get(key) != value)


def machine(device) -> dict[str, object]:
    """Return the platform, the device, the threads and what they follow, the GPU's name, whether shortcuts are off."""
    import torch

    from Layers import fast

    result: dict[str, object] = {"platform": platform.platform(terse=True), "device": str(device)}
    result |= {"threads": torch.get_num_threads(), **allowance()}
    if not fast.used():
        result["plain"] = True
    if device.type == "cuda":
        result["gpu"] = torch.cuda.get_device_name(device)
    return result


def processor() -> str:
    """Return the name of the processor."""
    try:
        names = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        names = None
    return names[1] if names else platform.processor() or platform.machine()


def bearing(device) -> dict[str, object]:
    """Return everything besides its settings that the bits of a run depend on."""
    import torch

    described = machine(device)
    return {
        "commit": commit(),
        "torch": torch.__version__,
        **{key: described[key] for key in ("device", "threads", "gpu", "plain") if key in described},
    }


def commit() -> str | None:
    """Return the commit of the code, with "+changes" if tracked files differ from it; None outside a repository."""
    root = Path(__file__).resolve().parent.parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
