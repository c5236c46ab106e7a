"""The flags, the scores and the files of the experiments on conservation."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments import reach
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
TRAINING = tuple(set(reach.IDLE) - {"expid", "result_dir", "force", "reinitialize", "pruner", "compression", "masks"})
FEW = 500  # dots that an SVG draws one by one; more are a picture within it
SALIENCY = "saliency"  # is compared with all pruners
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


def flags_of_scores(top: Parser) -> None:
    """Add the flags of an experiment that scores with several pruners and trains nothing."""
    flags(top, {"pruner_list": ["mag", "snip", "grasp", "synflow"]}, (*TRAINING, "pruner"))


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults. Raises UserError for a network of someone else's."""
    given = vars(args)
    for name in LISTS.keys() & given.keys():
        given[name] = list(dict.fromkeys(given[name]))
    pruners = given.get("pruner_list", [])
    for pruner in pruners:
        load.pruner_sha256(pruner)
    few = pruners and not (args.prune_dataset_size or args.prune_dataset_ratio)
    args = arguments.resolve(args, pruners=[*pruners, SALIENCY] if pruners else [])
    if few:
        args.prune_dataset_size = EXAMPLES
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

    name: of the pruner, or SALIENCY, which prunes nothing.
    """
    import torch

    from Experiments import building
    from Pruners.pruners import Saliency
    from Utils.generator import MaskedParameter
    from Utils.training.loss import CrossEntropy

    real = name != SALIENCY
    chosen = {"pruner": name, "pruner_sha256": load.pruner_sha256(name)} if real else {}
    own = Namespace(**{**vars(args), **chosen})
    (model, pruner), loader = building.model_and_pruner(data, own, device), building.prune_loader(data, own)
    if args.compression and real:
        building.prune(model, CrossEntropy(), pruner, loader, device, own, 10.0**-args.compression)
    model.double().train(args.prune_train_mode)
    batches = [(one.double() if isinstance(one, torch.Tensor) else one, target) for one, target in loader]
    every = [MaskedParameter(torch.ones_like(p), p, path) for path, p in model.named_parameters()]
    scorer = (load.pruner(name, own.pruner_sha256) if real else Saliency)(every, seed=args.prune_seed)
    scorer.score(model, CrossEntropy(), batches, device)
    return model, scorer.scores


def write(
    folder: Path, config: dict[str, Any], table: Table, figures: Mapping[str, Sequence[Draw]], across: int
) -> list:
    """Print the table; write it as table.md and numbers.csv, each figure as .svg and .png, and the settings."""
    from Experiments.reporting import canvas, writing

    written = [
        files.save_text(folder / "table.md", table.markdown()),
        files.save_text(folder / "numbers.csv", table.csv()),
        *(
            path
            for name, draws in figures.items()
            for path in writing.picture(folder, canvas.picture(name, table.title, draws, across=across))
        ),
        files.write_json(folder / "settings.json", config),
    ]
    print(table.markdown())
    print(f"Saved to {folder}: {', '.join(path.name for path in written)}")
    return written


def dots(axes: Any, points: Iterable[tuple[float, float]], **look: Any) -> None:
    """Draw points, of which both numbers must be above zero, on logarithmic axes."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if shown := [(x, y) for x, y in points if x > 0.0 and y > 0.0]:
        axes.loglog(*zip(*shown, strict=True), linestyle="none", rasterized=len(shown) > FEW, **look)
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            by_decade = LogLocator(subs=(1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0), numticks=5)
            axis.set_major_locator(MaxNLocator(4) if high < 5.0 * low else by_decade)
            axis.set_major_formatter("{x:g}")


def straight(axes: Any, slope: Callable[[float], float], label: str) -> None:
    """Draw a dotted line through the panel; slope: y of an x."""
    from Experiments.reporting import style

    low, high = axes.get_xlim()
    axes.plot([low, high], [slope(low), slope(high)], ":", color=style.MUTED, linewidth=1, label=label)
    axes.set_xlim(low, high)
