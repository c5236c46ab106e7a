"""The state of a run after its training before pruning, kept for other runs that begin with the same training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, settings
from Utils.store import lock
from Utils.store import run as store

if TYPE_CHECKING:
    from Experiments.workshop import Workshop

FOLDER = ".pretrained"  # below --result-dir
LATER = {"pruner", "prune_loader"}  # parts of a run that its training does not touch: each run has its own


def place(result_dir: str, config: Mapping[str, Any]) -> Path:
    """Return the file for the state of a run with these settings: equal for runs that train alike before pruning."""
    return Path(result_dir) / FOLDER / f"{store.digest(settings.acting_before_pruning(config))}.safetensors"


def forget(path: Path) -> None:
    """Remove a kept state that no run needs any more."""
    for one in (path, _lock(path)):
        with contextlib.suppress(OSError):
            one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are still there
        path.parent.rmdir()


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


@contextlib.contextmanager
def shared(shop: Workshop) -> Iterator[None]:
    """Begin from the kept state of another run, so that the steps of the body pass; else keep the state after them.

    The body is all that a run does before it prunes. It is done as if alone where --share-pretraining is not set, and
    with --force. The bits are those of a run that trains by itself: the state holds weights, the optimizer's state,
    the random generators and the place in the data, and is taken only if it was made by the same code on the same kind
    of device. Of several processes one trains; the others wait for it. A run's seconds count that training too.
    """
    args = shop.args
    if not (args.share_pretraining and args.pre_epochs) or args.force:
        yield
        return
    from Experiments import checkpoint

    path = place(args.result_dir, shop.stage.config)
    parts = {name: part for name, part in shop.parts.items() if name not in LATER}
    with lock.held(_lock(path), lambda: console.note("another run does the same training; waiting for it")):
        begun = shop.progress.done.get("pre", 0) >= args.pre_epochs  # this run was stopped after that training
        state = checkpoint.left(path if path.exists() and not begun else None, shop.made_by)
        if state:
            checkpoint.restore(parts, state)
            print(f"Going on from the training of another run ({args.pre_epochs} epochs before pruning).")
        yield
        if not state and not begun:
            with shop.clock("save"):
                checkpoint.write(path, {"made_by": shop.made_by, **checkpoint.take(parts)})
