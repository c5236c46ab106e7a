"""For tests of runs in other processes: waiting for them to be in the middle of something."""

import time
from collections.abc import Callable
from pathlib import Path

# So long that it can be met in the middle.
LONG = "--dataset agnews --pruner snip --compression 1 --post-epochs 12 --train-batch-size 64"
LIMIT = 120  # seconds after which something that was waited for has not come


def until(true: Callable[[], object]) -> None:
    """Wait for true() to be so."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def finished(results: Path) -> list[Path]:
    """result.json of each finished run."""
    return sorted(results.glob("singleshot/*/result.json"))


def begun(results: Path) -> list[Path]:
    """Runs in the making that have written an epoch."""
    return [path for path in results.rglob("epochs.jsonl") if not (path.parent / "result.json").exists()]
