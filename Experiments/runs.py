"""Execution of one run: its result is read from the store, or made and stored."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, load, settings
from Utils.data import corpus
from Utils.errors import UserError
from Utils.machine import memory, seeds
from Utils.store import provenance, seal
from Utils.store import run as store

if TYPE_CHECKING:
    import torch

    from Experiments.workshop import Workshop

# The workshop imports torch, so it is imported only if the store has no result: a stored one is reported at once.


def once(args: Namespace, make: Callable[[Workshop], tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Make the result that `args` describe, or report it if it is stored; return the content of result.json.

    make: does the run; takes a workshop and returns (result, report). If an interrupted run continues from a
    checkpoint, `make` is called from its beginning, and the workshop skips the steps that the checkpoint contains.
    """
    located = corpus.locate(load.configured(args), Path(args.data_dir), args.source)
    run = find(args, located)
    if not args.force and (result := _stored(run, args.threads)) is not None:
        if args.plain:
            console.note("--plain changes nothing of what is stored")
        return result
    with run.writing(replace=args.force) as stage:
        if stage is not None:
            from Experiments.workshop import Workshop

            made, text = make(Workshop(args, located, stage, set_up(args)))
            stage.json("result.json", made)
            stage.text("report.txt", text)
    if stage is None:  # another process has just made it
        if (result := _stored(run, args.threads)) is None:
            raise UserError(f"another process has made {run.path}, and it is gone again; run the command once more")
        return result
    print(text, end="")
    print(f"Saved to {run.path}")
    return made


def set_up(args: Namespace) -> torch.device:
    """Set the process-wide state that the run needs; return the run's device.

    This sets the number of threads, deterministic algorithms, the shortcuts of Layers/fast, how the C library treats
    freed memory, and the seed of torch's global random generators, which dropout uses.
    """
    import torch

    from Layers import fast

    device = load.device(args.gpu, args.no_cuda)
    if args.gpu and device.type == "cpu" and not args.no_cuda:
        console.note(f"--gpu {args.gpu}: there is no GPU here, so the CPU is used")
    seeds.settle(device)
    fast.use(not args.plain, _convolution(args, device))
    if not args.plain:
        memory.keep_freed()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(seeds.derive(args.data_seed, "noise"))
    return device


def _convolution(args: Namespace, device: torch.device) -> Callable | None:
    """Return the shortcut for convolutions that the run asks for, or None. Raises UserError if it has none here."""
    if not args.sparse_convolutions:
        return None
    without = {"--plain": args.plain, "--compile": args.compile, f"--amp {args.amp}": args.amp != "off"}
    without["a GPU"] = device.type != "cpu"
    for words, there in without.items():
        if there:
            raise UserError(f"--sparse-convolutions does not go with {words}; leave one of them out")
    from Utils.training import convolution

    convolution.check()
    return convolution.part


def find(args: Namespace, located: corpus.Located) -> store.RunDirectory:
    """Return the directory of the run that `args` describe on this data."""
    data = {"source": located.source, "data_key": located.key}
    for name in ("pretrained", "masks"):
        if location := getattr(args, name):
            from Utils.store import weights  # not needed by other runs

            data[name] = weights.fingerprint(f"--{name}", location)
    config = settings.identity({**vars(args), **data})
    return store.RunDirectory(args.result_dir, args.experiment, config, args.expid)


def _stored(run: store.RunDirectory, threads: int) -> dict[str, Any] | None:
    if (result := run.stored()) is not None:
        seal.check(run.path, "model.safetensors")
        console.note(f"stored result of {run.path}; --force runs it again")
        if unlike := provenance.threads_unlike(result["machine"], threads):
            console.note(f"it was made with {unlike}; made here, its last digits may differ")
        print(run.report(), end="")
    return result
