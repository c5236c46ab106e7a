"""The software and the machine that made a result."""

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

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


def machine(device) -> dict[str, object]:
    """Return the platform, the device, the number of threads, the GPU's name, and whether shortcuts are off."""
    import torch

    from Layers import fast

    result: dict[str, object] = {"platform": platform.platform(terse=True), "device": str(device)}
    result["threads"] = torch.get_num_threads()
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
