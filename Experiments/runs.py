"""One run: found in the store, or made and kept there."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, load, settings
from Utils.data import corpus
from Utils.errors import UserError
from Utils.machine import memory, seeds
from Utils.store import run as store
from Utils.store import weights

if TYPE_CHECKING:
    import torch

    from Experiments.workshop import Workshop

# The workshop, and torch with it, is imported after the store has been asked: a stored result is reported at once.


def once(args: Namespace, make: Callable[[Workshop], tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Make the result that `args` describe, or report it if it is stored; returns what result.json holds.

    make: from the workshop to (result, the report in words). After a kill it is called anew, and the steps that were
    done by the last checkpoint pass.
    """
    located = corpus.locate(load.configured(args), Path(args.data_dir), args.source)
    place = find(args, located)
    if not args.force and (result := _stored(place)) is not None:
        return result
    with place.writing(replace=args.force) as stage:
        if stage is not None:
            from Experiments.workshop import Workshop

            made, text = make(Workshop(args, located, stage, set_up(args)))
            stage.json("result.json", made)
            stage.text("report.txt", text)
    if stage is None:  # another process has just made it
        if (result := _stored(place)) is None:
            raise UserError(f"another process has made {place.path}, and it is gone again; run the command once more")
        return result
    print(text, end="")
    print(f"Saved to {place.path}")
    return made


def set_up(args: Namespace) -> torch.device:
    """Set what holds for the whole process, as the run that `args` describe needs it; return the run's device.

    These are the number of threads, algorithms whose results repeat, the shortcuts of Layers/fast, the C library's way
    with freed memory, and the seed of torch's own random generators, from which dropout draws.
    """
    import torch

    from Layers import fast

    device = load.device(args.gpu, args.no_cuda)
    seeds.settle(device)
    fast.use(not args.plain)
    if not args.plain:
        memory.keep_freed()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(seeds.derive(args.data_seed, "noise"))
    return device


def find(args: Namespace, located: corpus.Located) -> store.Run:
    """The place of the run that `args` describe, on that data."""
    start = weights.fingerprint(args.pretrained)
    found = {"source": located.source, "data_key": located.key, "pretrained": start}
    config = settings.identity({**vars(args), **found})
    return store.Run(args.result_dir, args.experiment, config, args.expid)


def _stored(place: store.Run) -> dict[str, Any] | None:
    if (result := place.stored()) is not None:
        console.note(f"stored result of {place.path}; --force runs it again")
        print(place.report(), end="")
    return result
