"""What a result was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "torchtext", "torchmetrics", "spacy", "numpy", "safetensors", "pandas")


def versions() -> dict[str, str | None]:
    """The version of Python and of every package that can bear on a result; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine(device) -> dict[str, object]:
    import torch

    from Layers import fast

    found: dict[str, object] = {"platform": platform.platform(terse=True), "device": str(device)}
    found["threads"] = torch.get_num_threads()
    if not fast.used():
        found["plain"] = True
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def bearing(device) -> dict[str, object]:
    """What else than its settings bears on the bits of a run."""
    import torch

    found = machine(device)
    return {
        "commit": commit(),
        "torch": torch.__version__,
        **{key: found[key] for key in ("device", "threads", "gpu", "plain") if key in found},
    }


def commit() -> str | None:
    """The commit of the code, with "+changes" if tracked files differ from it; None outside a repository."""
    root = Path(__file__).resolve().parent.parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
