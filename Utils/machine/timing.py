"""torch's benchmark timer: warms up, chooses how often to run, counts its own cost out."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import torch

with contextlib.redirect_stderr(io.StringIO()):  # its import remarks on a CUDA toolkit without a GPU
    from torch.utils.benchmark import Timer


def timer(body: Callable[[], Any]) -> Timer:
    """Of one call of `body`, with torch's present number of threads."""
    return Timer("body()", globals={"body": body}, num_threads=torch.get_num_threads())


def medians(bodies: Mapping[str, Callable[[], Any]], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of one call of each, `repeats` medians over `seconds` or more, all in turn so that drift favours none."""
    found: dict[str, list[float]] = {name: [] for name in bodies}
    timers = {name: timer(body) for name, body in bodies.items()}
    for repeat in range(repeats):
        for name in bodies if repeat % 2 == 0 else reversed(list(bodies)):
            found[name].append(timers[name].blocked_autorange(min_run_time=seconds).median)
    return found
