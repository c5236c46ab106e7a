"""The flags, the scores and the files of the experiments on conservation."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import load, settings
from Utils.commandline import arguments
from Utils.commandline.kinds import non_negative, positive_count
from Utils.commandline.parser import Parser
from Utils.data import corpus
from Utils.errors import UserError
from Utils.store import files
from Utils.store import run as store

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from Experiments.reporting.canvas import Draw
    from Experiments.reporting.table import Table
    from Utils.data.corpus import Corpus

# torch and matplotlib are imported only after the command line has been checked.

# Settings of a training: where only scores are looked at, nothing is trained.
TRAINING = (
    "pre_epochs", "post_epochs", "optimizer", "lr", "lr_drops", "lr_drop_rate", "lr_scheduler", "warmup_steps",
    "clip_grad_norm", "label_smoothing", "patience", "weight_decay", "adam_betas", "adam_eps", "amp", "compile",
    "ignore_masks",
)  # fmt: skip
EXAMPLES = 32  # for scoring, if their number is not given: the law holds for any, and all is computed in float64
LISTS: dict[str, dict[str, Any]] = {
    "pruner_list": {"metavar": "P", "help": "pruners to compare"},
    "prune_epoch_list": {"type": positive_count, "metavar": "N", "help": "numbers of rounds of scoring and pruning"},
    "compression_list": {"type": non_negative, "metavar": "C", "help": "exponents to prune to"},
}


def flags(top: Parser, lists: dict[str, list], without: Sequence[str]) -> None:
    """Add the flags of these lists, with their defaults, and those of a run but for some settings."""
    for name, usual in lists.items():
        words = f"{LISTS[name]['help']} (default: {' '.join(map(str, usual))})"
        top.add_argument(f"--{name.replace('_', '-')}", nargs="+", default=usual, **{**LISTS[name], "help": words})
    top.add_settings("run", "data", "translation", "training", "pruning", without=without)
    top.set_defaults(**dict.fromkeys(without))  # `check` gives them their usual values


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults. Raises UserError for a network of someone else's."""
    given = vars(args)
    for name in LISTS.keys() & given.keys():
        given[name] = list(dict.fromkeys(given[name]))
    pruners = given.get("pruner_list", [])
    if pruners and not given["prune_dataset_size"] and not given["prune_dataset_ratio"]:
        given["prune_dataset_size"] = EXAMPLES
    for pruner in pruners:
        load.pruner_sha256(pruner)
    args = arguments.resolve(args, pruners=pruners)
    if load.guest(args.model):
        raise UserError(f"--model {args.model}: {args.experiment} knows the units of this project's networks alone")
    for compression in [args.compression, *given.get("compression_list", [])]:
        arguments.leaves_weights(compression)
    return args


def begin(args: Namespace) -> tuple[Corpus, torch.device, Path, dict[str, Any]]:
    """Return (data, device, directory of the result, its settings).

    The directory is `<result_dir>/<experiment>/<name>`. Raises UserError if it holds a result of other settings.
    """
    from Experiments import building, runs

    located = corpus.locate(load.configured(args), Path(args.data_dir), args.source)
    named = {"pruner": "+".join(args.pruner_list)} if "pruner_list" in args else {}
    config = settings.identity({**vars(args), **named, "source": located.source, "data_key": located.key})
    folder = store.RunDirectory(args.result_dir, args.experiment, config, args.expid).path
    file = folder / "settings.json"
    if file.exists() and files.read_json(file) != config and not args.force:
        raise UserError(f"{folder} holds a result of other settings; choose another --expid, or give --force")
    device = runs.set_up(args)
    return building.data(located, args, device), device, folder, config


def scored(args: Namespace, data: Corpus, device: torch.device, name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build the network, prune it to --compression with a pruner, and score every parameter; return both, in float64.

    name: of the pruner, or "" for the saliency, which prunes nothing.
    """
    import torch

    from Experiments import building
    from Pruners.pruners import Saliency
    from Utils.generator import MaskedParameter
    from Utils.training.loss import CrossEntropy

    code = load.pruner_sha256(name) if name else None
    own = Namespace(**{**vars(args), "pruner": name or args.pruner, "pruner_sha256": code})
    (model, pruner), loader = building.model_and_pruner(data, own, device), building.prune_loader(data, own)
    if args.compression and name:
        building.prune(model, CrossEntropy(), pruner, loader, device, own, 10.0**-args.compression)
    model.double().train(args.prune_train_mode)
    batches = [(one.double() if isinstance(one, torch.Tensor) else one, target) for one, target in loader]
    every = [MaskedParameter(torch.ones_like(p), p, path) for path, p in model.named_parameters()]
    every_pruner = (load.pruner(name, code) if name else Saliency)(every, seed=args.prune_seed)
    every_pruner.score(model, CrossEntropy(), batches, device)
    return model, every_pruner.scores


def title_of(pruner: str) -> str:
    """Return the title of a pruner's panel; "" is the saliency."""
    from Utils.study.tasks import pruner_title

    return pruner_title(pruner) if pruner else "saliency, w dL/dw"


def write(folder: Path, config: dict[str, Any], table: Table, figures: dict[str, Sequence[Draw]], across: int) -> list:
    """Print the table; write it as table.md and numbers.csv, each figure as .svg and .png, and the settings."""
    from Experiments.reporting import canvas, writing

    written = [
        writing.text(folder / "table.md", table.markdown()),
        writing.text(folder / "numbers.csv", table.csv()),
        *(
            path
            for name, draws in figures.items()
            for path in writing.picture(folder, canvas.picture(name, table.title, draws, across=across))
        ),
        writing.json(folder / "settings.json", config),
    ]
    print(table.markdown())
    print(f"Saved to {folder}: {', '.join(path.name for path in written)}")
    return written


def dots(axes: Any, points: Iterable[tuple[float, float]], **look: Any) -> None:
    """Draw points, of which both numbers must be above zero, on logarithmic axes."""
    from matplotlib.ticker import LogLocator

    if shown := [(x, y) for x, y in points if x > 0.0 and y > 0.0]:
        axes.loglog(*zip(*shown, strict=True), linestyle="none", **look)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=5))
            axis.set_major_formatter("{x:.0e}")


def straight(axes: Any, slope: Callable[[float], float], label: str) -> None:
    """Draw a dotted line through the panel; slope: y of an x."""
    from Experiments.reporting import style

    low, high = axes.get_xlim()
    axes.plot([low, high], [slope(low), slope(high)], ":", color=style.MUTED, linewidth=1, label=label)
    axes.set_xlim(low, high)
