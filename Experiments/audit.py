"""Try the masks of a model, of anyone's: which change nothing, which layers are empty, which units are dead."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments import finished, networks
from Utils import console, load, settings
from Utils.commandline import arguments
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import files, provenance
from Utils.store import run as store
from Utils.wording import counted

if TYPE_CHECKING:
    from torch import nn

    from Experiments.reporting.table import Table
    from Pruners.audit import Entry
    from Utils.data.corpus import Corpus

# torch is imported only after the command line has been checked.

# Settings that a network depends on before it is trained or pruned, and how it is computed.
OWN = (
    "seed", "init_seed", "dataset", "source", "label_column", "text_columns", "image_size", "split_seed", "src", "tgt",
    "model_class", "model", "width", "init", "dense_classifier", "prune_embedding",
)  # fmt: skip
EXAMPLES = 4  # in the batch
LONG = 40  # a longer table shows on the console only what is remarkable; the files have all
HEADER = ("masked", "kept", "of", "train", "eval", "inference")
NOTE = (
    "A mask acts if the output changes with it. It leaks if weights under its zeros reach the output, it is ignored if "
    "the output changes with the weight alone, and it is not reached if it changes with neither. In inference there "
    "are no gradients, and torch.nn takes fused paths."
)


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    idle = [row.name for row in settings.ROWS if not row.operational and row.name not in OWN]
    where = ("expid", "result_dir", "force", "workers", "verbose")
    add = top.add_argument_group(
        "audit", "the model: a finished run, or a new network; exit code 1 if a mask does not hold, else 0"
    ).add_argument
    add("--run", type=path, metavar="DIR", help="a finished run's directory (default: the network of the flags below)")
    add(
        "--report-dir", type=path, default="Results/data", metavar="DIR",
        help="where to write, in its folder audit (default: Results/data)",
    )  # fmt: skip
    top.add_settings("run", "data", "translation", "training", "pruning", without=(*idle, *where))
    top.set_defaults(**dict.fromkeys((*idle, *where)))  # `check` gives them their usual values


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults. Raises UserError if --run and other settings are given."""
    if args.run is None:
        return arguments.resolve(args)
    given = [name for name in OWN if getattr(args, name) not in (None, False) and name not in ("dataset", "model")]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} means nothing to a finished --run; leave it out")
    args.data_path, args.model_path = args.dataset, args.model
    return args


def run(args: Namespace) -> int:
    """Try the masks, print a table, write it as audit/<name>.md and .json; return 1 if a mask does not hold, else 0."""
    config, data, model = finished.take_up(args) if args.run else fresh(args)

    import torch

    from Pruners import audit

    call = _call(data)
    try:
        entries = audit.audit(model, call)
    except ValueError as error:
        raise UserError(f"{config.model} cannot be tried: {error}") from error
    if not entries:
        raise UserError(f"{config.model} has no masks, and no layer that could have one")
    dead, lines = units(model, data, call)
    name = Path(args.run).resolve().name if args.run else name_of(args, data)
    title = f"Masks of {f'run {name}' if args.run else f'{args.model} for {data.dataset.title}, as it is built'}"
    table = of(name, title, entries)
    found = {"model": config.model, "dataset": config.dataset, "source": data.source, "masks": table.records}
    found |= {"dead": dead, "machine": provenance.machine(torch.device("cpu")), "versions": provenance.versions()}
    out = Path(args.report_dir) / "audit"
    written = [
        files.save_text(out / f"{name}.md", f"{table.markdown()}\n{lines}"),
        files.write_json(out / f"{name}.json", {**found, "commit": provenance.commit()}),
    ]
    print(words(table, entries) + lines, end="")
    print(f"Saved to {out}: {', '.join(file.name for file in written)}")
    return int(any(entry.fault for entry in entries))


def fresh(args: Namespace) -> tuple[Namespace, Corpus, nn.Module]:
    """Return (settings, data, model) of a new network, with its own masks if it has some, else with those of a run."""
    data = corpus.load(corpus.locate(load.configured(args), Path(args.data_dir), args.source))

    import torch

    from Pruners import audit
    from Utils.machine import seeds

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(seeds.derive(args.init_seed, "init"))
    if load.guest(args.model):
        model = networks.stranger(args, data.shape, data.num_classes)
        if any(audit.masks(model, _call(data))):
            return args, data, model
        console.note(f"{args.model} has no masks of its own: those are tried that it gets here")
    options = {} if args.init is None else {"init": args.init}
    return args, data, networks.network(args, data.shape, data.num_classes, **options)


def _call(data: Corpus) -> Callable[[nn.Module], Any]:
    """Return the call of a model on a few test examples."""
    from Utils.data.loader import Loader

    batch = next(iter(Loader(data.test, EXAMPLES, length=EXAMPLES)))[0]
    return lambda model: model(batch)


def name_of(args: Namespace, data: Corpus) -> str:
    """Return the name of the files about a new network."""
    own = {name: value for name, value in settings.identity(vars(args)).items() if name in (*OWN, "model_sha256")}
    model = re.sub(r"[^\w.+-]", "-", args.model)
    return f"{args.dataset}{'' if data.source == 'real' else '-sample'}-{model}-{store.digest(own)}"


def units(model: nn.Module, data: Corpus, call: Callable[[nn.Module], Any]) -> tuple[dict[str, Any], str]:
    """Return the report of the units that the masks cut off, and the same in words."""
    import torch

    from Experiments import results
    from Pruners import audit, dead

    counts = torch.bincount(data.test.targets.cpu(), minlength=data.num_classes).tolist()
    found, _ = dead.searched(lambda: audit.disconnected(model, data.shape, call), counts)
    return found, results.dead_lines(found, data.classes)


def of(name: str, title: str, entries: Sequence[Entry]) -> Table:
    """Return the table of what was found of each mask."""
    from Experiments.reporting.table import Table

    rows = [[each.name, f"{each.kept:,}", f"{each.size:,}", *each.verdicts.values()] for each in entries]
    records = [{"masked": each.name, "kept": each.kept, "size": each.size, **each.verdicts} for each in entries]
    return Table(name, title, HEADER, rows, records, NOTE)


def words(table: Table, entries: Sequence[Entry]) -> str:
    """Return the table for the console, of a long one only the lines that are remarkable, and its sum."""
    shown = [
        row
        for row, entry in zip(table.rows, entries, strict=True)
        if len(entries) <= LONG or entry.fault or not entry.kept or "acts" not in entry.verdicts.values()
    ]
    lines = [table.title + ":"]
    if shown:
        widths = [max(map(len, column)) for column in zip(table.header, *shown, strict=True)]
        for first, *others in (table.header, *shown):
            cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
            lines.append(f"  {first:<{widths[0]}}  {'  '.join(cells)}")
    faults = sum(entry.fault for entry in entries)
    empty = sum(not entry.kept for entry in entries)
    lines.append(f"{counted(len(entries), 'mask')}: {faults or 'none'} that do not hold, {empty or 'none'} empty.")
    return "".join(f"{line}\n" for line in lines)
