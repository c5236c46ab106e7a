"""Timing with torch's benchmark timer, which warms up, chooses the number of calls and subtracts its own cost."""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import torch

with contextlib.redirect_stderr(io.StringIO()):  # its import prints a remark if there is a CUDA toolkit but no GPU
    from torch.utils.benchmark import Timer


def timer(body: Callable[[], Any]) -> Timer:
    """Return a timer of one call of `body`, with torch's present number of threads."""
    return Timer("body()", globals={"body": body}, num_threads=torch.get_num_threads())


def medians(bodies: Mapping[str, Callable[[], Any]], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of one call of each body: `repeats` medians, each over at least `seconds`.

    The bodies are timed in turn, so that drift favours none. A call that does not count goes before each median: the
    body before it has left the processor's cache and the freed memory as it needs them.
    """
    result: dict[str, list[float]] = {name: [] for name in bodies}
    timers = {name: timer(body) for name, body in bodies.items()}
    for repeat in range(repeats):
        for name in bodies if repeat % 2 == 0 else reversed(list(bodies)):
            bodies[name]()
            result[name].append(timers[name].blocked_autorange(min_run_time=seconds).median)
    return result
