"""Two ways of doing one thing, timed in turn within one run, so that a machine whose speed drifts favours neither."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from Utils.store import files, provenance

Found = TypeVar("Found")


def timed(body: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    body()
    return time.perf_counter() - begun


def in_turn(bodies: dict[str, Callable[[], Found]], rounds: int, warm_up: int = 1) -> dict[str, list[Found]]:
    """All in turn, `rounds` times, every other time the last one first: what each returned, by name."""
    for _ in range(warm_up):
        for body in bodies.values():
            body()
    found: dict[str, list[Found]] = {name: [] for name in bodies}
    for k in range(rounds):
        for name in bodies if k % 2 == 0 else reversed(bodies):
            found[name].append(bodies[name]())
    return found


def compare(plain: Callable[[], Any], ours: Callable[[], Any], rounds: int, warm_up: int = 2) -> dict[str, Any]:
    """Both in turn, `rounds` times; which goes first alternates. Seconds of each and the ratio plain / ours."""
    seconds = in_turn({"plain": partial(timed, plain), "ours": partial(timed, ours)}, rounds, warm_up)
    return summary(seconds["plain"], seconds["ours"])


def summary(plain: list[float], ours: list[float]) -> dict[str, Any]:
    """Medians, and median, lowest and highest of the pairs' ratios."""
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    return {
        "rounds": len(ratios),
        "plain_seconds": statistics.median(plain),
        "ours_seconds": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Keep the figures, with versions and machine, as Results/benchmarks/<name>.json, and print them."""
    import torch

    figures = {
        **figures,
        "versions": provenance.versions(),
        "machine": provenance.machine(torch.device("cpu")),
        "commit": provenance.commit(),
    }
    path = Path("Results/benchmarks") / f"{name}.json"
    files.write_json(path, figures)
    print(json.dumps({key: value for key, value in figures.items() if key != "versions"}, indent=1))
    print(f"Saved to {path}")
