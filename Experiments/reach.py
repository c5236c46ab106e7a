"""Draw the masks of many seeds without training: what they reach, and the signal that is left.

Where few weights are left, the mask decides what training can reach. A network costs a second, not minutes, so hundreds
of seeds show what a mask does on average.
"""

from __future__ import annotations

import contextlib
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, load, settings
from Utils.commandline import arguments, layout
from Utils.commandline.kinds import non_negative, path, positive_count
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.store import files, provenance
from Utils.store import run as store
from Utils.wording import counted

if TYPE_CHECKING:
    import torch

    from Experiments.reporting.table import Table
    from Utils.data.corpus import Corpus

# torch, pandas and matplotlib are imported only after the command line has been checked.

# Settings of a training, and of a run's directory: nothing is trained, and there is no run.
IDLE = (
    "expid", "result_dir", "force", "verbose", "pre_epochs", "post_epochs", "optimizer", "lr", "lr_drops",
    "lr_drop_rate", "lr_scheduler", "warmup_steps", "clip_grad_norm", "label_smoothing", "patience", "weight_decay",
    "adam_betas", "adam_eps", "amp", "sparse_convolutions", "compile", "reinitialize", "ignore_masks", "pruner",
    "compression", "masks",
)  # fmt: skip
WHERE = ("experiment", "report_dir")  # of the command, not of the masks
HEADER = (
    "pruner", "compression", "seeds", "classes in reach: share of seeds", "emptied tensors", "FLOP sparsity",
    "signal kept", "ties",
)  # fmt: skip


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = top.add_argument_group("reach", "which masks are drawn").add_argument
    top.add_settings("run", "data", "translation", "training", "pruning", without=IDLE)
    top.set_defaults(**dict.fromkeys(IDLE))  # `check` gives them their usual values
    add("--seeds", type=positive_count, default=100, metavar="N", help="seeds, from --seed on (default: 100)")
    add("--pruner-list", nargs="+", metavar="P", help="pruners to compare (default: all)")
    add("--compression-list", nargs="+", type=non_negative, metavar="C", help="compressions (default: 1 1.5 2)")
    words = "where to write (default: Results/report)"
    add("--report-dir", type=path, default="Results/report", metavar="DIR", help=words)


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults."""
    args.pruner_list = list(dict.fromkeys(args.pruner_list or load.PRUNERS))
    rounds = {name: args.prune_epochs or load.ROUNDS[name] for name in args.pruner_list if name in load.ROUNDS}
    args = arguments.resolve(args, pruners=args.pruner_list)
    if rounds:
        args.rounds = rounds  # that differ from --prune-epochs
    usual = [1.0, 1.5, 2.0] if args.pattern == "none" else [args.compression]
    args.compression_list = list(
        dict.fromkeys(layout.compression(args.pattern, c) for c in args.compression_list or usual)
    )
    for pruner in args.pruner_list:
        load.pruner_sha256(pruner)
    for compression in args.compression_list:
        arguments.leaves_weights(compression)
    return args


def run(args: Namespace) -> list[Path]:
    """Draw the masks, print a summary and write it as reach/<task>.md, .csv, .svg and .png; return the files."""
    from Experiments import runs
    from Experiments.reporting import canvas, writing

    located = corpus.locate(load.configured(args), Path(args.data_dir), args.source)
    device = runs.set_up(args)
    data = corpus.load(located)
    name = f"{args.dataset}{'' if data.source == 'real' else '-sample'}-{args.model}-{store.digest(_drawn_by(args))}"
    out = Path(args.report_dir) / "reach"
    with _kept(out / f".{name}.jsonl", {**provenance.bearing(device), "data": located.key}) as kept:
        records = list(_records(args, data, device, kept))
    table = summary(name, f"{data.dataset.title}, {args.model} ({data.source} data){_unlike_default(args)}", records)
    title = "Share of seeds by classes in reach, and the signal that is left"
    panels = [partial(_classes, records, data.num_classes), partial(_signal, records)]
    written = [
        files.save_text(out / f"{name}.md", table.markdown()),
        files.save_text(out / f"{name}.csv", table.csv()),
        *writing.picture(out, canvas.picture(name, title, panels)),
    ]
    print(table.markdown())
    print(f"Saved to {out}: {', '.join(path.name for path in written)}")
    return written


def _drawn_by(args: Namespace) -> dict[str, Any]:
    """Return the settings that the masks depend on, by name."""
    return {name: value for name, value in settings.identity(vars(args)).items() if name not in WHERE}


def _unlike_default(args: Namespace) -> str:
    """Return the settings that differ from the data set's defaults, in words."""
    usual = settings.defaults(load.dataset(args.dataset).defaults)
    own = settings.of_pruning()
    unlike = [name for name, value in _drawn_by(args).items() if name in own and value != usual[name]]
    return "".join(f", {name.replace('_', ' ')} {vars(args)[name]}" for name in unlike)


@contextlib.contextmanager
def _kept(path: Path, made_by: Mapping[str, Any]) -> Iterator[Callable]:
    """Yield kept(seed, pruner, draw), which returns the records of an earlier call that was stopped, or draws them.

    They are kept in a file, one line a seed and pruner with a checksum, until the body has ended well.
    made_by: what the records depend on beside the settings, from which the file has its name; others do not count.
    """
    known: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, TypeError):  # a line that is cut off or damaged
            check, entry = json.loads(line)
            if check == store.digest(entry) and entry["made_by"] == made_by:
                known[entry["seed"], entry["pruner"]] = entry["records"]
    if known:
        console.note(f"going on from {counted(len(known), 'network')} of a call that was stopped")

    def kept(seed: int, pruner: str, draw: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        if (seed, pruner) not in known:
            known[seed, pruner] = draw()
            entry = {"made_by": made_by, "seed": seed, "pruner": pruner, "records": known[seed, pruner]}
            with files.writing(path):
                file.write(f"\n{json.dumps([store.digest(entry), entry])}")
                file.flush()
        return known[seed, pruner]

    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    with file:
        yield kept
    path.unlink(missing_ok=True)


def _records(args: Namespace, data: Corpus, device: torch.device, kept: Callable) -> Iterator[dict[str, Any]]:
    """Yield one record per seed, pruner and compression."""
    from tqdm import tqdm

    from Experiments import building
    from Utils.machine.seeds import STREAMS

    for seed in tqdm(range(args.seed, args.seed + args.seeds), desc="seeds", leave=False, disable=None):
        own = Namespace(**{**vars(args), "seed": seed, **{f"{stream}_seed": seed for stream in STREAMS}})
        evaluation = load.evaluation(data.dataset)(data, own, device)
        for name in args.pruner_list:
            own.pruner, own.pruner_sha256 = name, load.pruner_sha256(name)
            own.prune_epochs = getattr(args, "rounds", {}).get(name, args.prune_epochs)

            def draw(own: Namespace = own, evaluation: Any = evaluation) -> list[dict[str, Any]]:
                model, pruner = building.model_and_pruner(data, own, device)
                loader = building.prune_loader(data, own)
                return list(drawn(model, pruner, loader, evaluation.inputs, data, own, device))

            for record in kept(seed, own.pruner_sha256 or name, draw):
                yield {"seed": seed, "pruner": name, **record}


def drawn(
    model: torch.nn.Module, pruner: Any, loader: Any, inputs: Any, data: Corpus, args: Namespace, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield one record per compression of `args.compression_list` for a fresh model, which is dense in between.

    inputs: a function that returns the test inputs of `Utils.training.signal.spread`.
    """
    import torch

    from Experiments import building
    from Pruners import dead
    from Utils import metrics
    from Utils.training import signal
    from Utils.training.loss import CrossEntropy

    before = [parameter.detach().clone() for parameter in pruner.parameters]
    fresh, dense = pruner.state(), signal.spread(model, inputs(), device)
    flops = metrics.flop(model, data.shape, device)
    for compression in args.compression_list:
        pruner.restore(fresh)  # the draws of a run of this compression alone
        with torch.no_grad():
            for (mask, parameter), value in zip(pruner.masked_parameters, before, strict=True):
                mask.fill_(1)
                parameter.copy_(value)
        building.prune(model, CrossEntropy(), pruner, loader, device, args, 10.0**-compression)
        with load.errors_of("--model", args.model, "in the search for dead units, which runs it in float64"):
            cut = dead.find(model, data.shape, device)
        left = metrics.totals(metrics.summary(model, {}, flops, lambda module: False))[1]
        yield {
            "compression": compression, "classes": len(cut.alive), "emptied": len(cut.tensors),
            "flop_sparsity": left["kept"] / max(1, left["total"]),
            "signal": signal.share(signal.spread(model, inputs(), device), dense),
            "kept_by_tie": pruner.by_tie / max(1, pruner.stats()[0]),
        }  # fmt: skip


def _cells(records: Sequence[dict[str, Any]]) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Return the records by (pruner, compression), in order."""
    cells: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for record in records:
        cells.setdefault((record["pruner"], record["compression"]), []).append(record)
    return cells


def _shares(cell: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Return the fraction of seeds by number of classes in reach, ascending."""
    counts = Counter(record["classes"] for record in cell)
    return {classes: counts[classes] / len(cell) for classes in sorted(counts)}


def summary(name: str, title: str, records: Sequence[dict[str, Any]]) -> Table:
    """Return the table of these records, one line per pruner and compression; its CSV has every record."""
    from Experiments.reporting.table import DASH, Table
    from Utils.study.tasks import pruner_title

    rows = []
    for (pruner, compression), cell in _cells(records).items():
        shares = ", ".join(f"{classes}: {100 * share:.0f} %" for classes, share in _shares(cell).items())
        emptied, flops = (sum(record[key] for record in cell) / len(cell) for key in ("emptied", "flop_sparsity"))
        signals = sorted(record["signal"] for record in cell if record["signal"] is not None)
        middle = f"{signals[len(signals) // 2]:.3g}" if signals else DASH
        ties = sum(record["kept_by_tie"] for record in cell) / len(cell)
        rows.append([pruner_title(pruner), f"{compression:g}", str(len(cell)), shares, f"{emptied:.2f}"])
        rows[-1] += [f"{flops:.3g}", middle, f"{100 * ties:.2g} %"]
    note = (
        "Masks without training. A class is in reach if a path of kept weights leads to it. Emptied tensors: mean "
        "number without a weight left. FLOP sparsity: the fraction of multiply-adds that remains, mean. Signal kept: "
        "median of the spread of the outputs over test inputs, the dense network's being 1. Ties: share of the kept "
        "weights that a tie decided."
    )
    return Table(name, f"What masks reach: {title}", HEADER, rows, records, note)


def _classes(records: Sequence[dict[str, Any]], total: int, axes: Any) -> None:
    """Draw a bar per pruner and compression, divided by the number of classes in reach, the darker the more."""
    from Experiments.reporting import style
    from Utils.study.tasks import pruner_title

    labels = []
    for k, ((pruner, compression), cell) in enumerate(_cells(records).items()):
        left = 0.0
        for classes, share in _shares(cell).items():
            shade = 0.12 + 0.88 * classes / total
            axes.barh(k, share, left=left, color=style.look(pruner).colour, alpha=shade, edgecolor=style.BACK)
            if share > 0.06:
                axes.text(left + share / 2, k, str(classes), ha="center", va="center", fontsize=7, color=style.INK)
            left += share
        labels.append(f"{pruner_title(pruner)} {compression:g}")
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="share of seeds", title=f"Classes in reach, of {total}", xlim=(0, 1))


def _signal(records: Sequence[dict[str, Any]], axes: Any) -> None:
    """Draw the signal of each seed, with the median, by pruner and compression."""
    from Experiments.reporting import canvas, style

    for k, ((pruner, _), cell) in enumerate(_cells(records).items()):
        values = sorted(record["signal"] for record in cell if record["signal"])
        look = style.look(pruner)
        axes.plot(values, [k] * len(values), look.marker, color=look.colour, alpha=0.3, markersize=3)
        if values:
            axes.plot(values[len(values) // 2], k, "|", color=style.INK, markersize=11)
    canvas.log(axes)
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set(xlabel="signal (1 is dense); line: median; without seeds of no signal", title="Signal that is left")
