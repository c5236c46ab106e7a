"""What a body costs: seconds beside those of a training step, and peak memory in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

from Utils.machine import memory

STEP = "training step"


def in_steps(seconds: Sequence[float], steps: Sequence[float]) -> dict[str, float]:
    """The median, and median, lowest and highest as multiples of the step in the same round."""
    ratios = [time / step for time, step in zip(seconds, steps, strict=True)]
    return {
        "seconds": statistics.median(seconds),
        "steps": statistics.median(ratios),
        "steps_lowest": min(ratios),
        "steps_highest": max(ratios),
    }


def peak(module: str, threads: int, *words: str) -> float:
    """MiB that a body adds at its peak, as the benchmark `module` prints it when called with `--peak` and the words."""
    command = [sys.executable, "-m", module, "--threads", str(threads), "--peak", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)


def added_mib(body: Callable[[], object]) -> float:
    """The same, measured in this process."""
    return memory.added(body) / 2**20
