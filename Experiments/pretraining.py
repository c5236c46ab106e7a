"""Sharing of the training before pruning between runs that differ only in how they prune."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from Utils import console, settings
from Utils.store import lock
from Utils.store import run as store
from Utils.wording import counted

FOLDER = ".pretrained"  # below --result-dir
LATER = {"pruner", "prune_loader"}  # parts that the training does not change; they are not shared


def state_file(result_dir: str, config: Mapping[str, Any]) -> Path:
    """Return the file of the shared state. Runs that train alike before pruning have the same file."""
    return Path(result_dir) / FOLDER / f"{store.digest(settings.acting_before_pruning(config))}.safetensors"


def forget(path: Path) -> None:
    """Delete a shared state that no run needs any more."""
    for one in (path, _lock(path)):
        with contextlib.suppress(OSError):
            one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are still there
        path.parent.rmdir()


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


@contextlib.contextmanager
def shared(shop: Any) -> Iterator[None]:
    """Start from the shared state of another run and skip the steps of the body, or save the state after them.

    shop: the Workshop of the run, which calls this.
    The body is everything that a run does before it prunes. The result has the same bits as without sharing: the state
    contains the weights, the optimizer's state, the random generators and the position in the data. It is used only if
    the same code made it on the same kind of device. If several processes need the state, one trains and the others
    wait. The reported seconds of a run include that training.
    """
    from Experiments import checkpoint

    args = shop.args
    path = state_file(args.result_dir, shop.stage.config)
    parts = {name: part for name, part in shop.parts.items() if name not in LATER}
    with lock.held(_lock(path), lambda: console.note("another run does the same training; waiting for it")):
        begun = shop.progress.done.get("pre", 0) >= args.pre_epochs  # this run was stopped after that training
        state = checkpoint.left(path if path.exists() and not begun else None, shop.made_by)
        if state:
            checkpoint.restore(parts, state)
            print(f"Going on from the training of another run ({counted(args.pre_epochs, 'epoch')} before pruning).")
        yield
        if not state and not begun:
            with shop.clock("save"):
                checkpoint.write(path, {"made_by": shop.made_by, **checkpoint.take(parts)})
