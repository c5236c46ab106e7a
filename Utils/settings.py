"""Flags and their meaning: what may be said on the command line, checked before anything is loaded."""

from __future__ import annotations

import argparse
import os
import sys

from Utils import load
from Utils.corpus import SOURCES
from Utils.errors import UserError
from Utils.seeds import STREAMS


class Parser(argparse.ArgumentParser):
    """argparse, but an error is a UserError: one line instead of the whole usage."""

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the flags")


def switch(text: str) -> bool:
    """The word after a flag such as --prune-bias: assignment-one wrote True and False there."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def _number(kind: type, low: float, strict: bool, what: str, high: float = 1e36):
    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not low <= value <= high or (strict and value == low):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return convert


count = _number(int, 0, False, "a whole number from 0")
positive_count = _number(int, 1, False, "a whole number from 1")
non_negative = _number(float, 0.0, False, "a number from 0 to 1e36")
positive = _number(float, 0.0, True, "a number above 0, at most 1e36")


def parser() -> Parser:
    """All flags. Defaults of None are filled in by the data set (see `resolve`)."""
    top = Parser(
        prog="main.py",
        description="Prune a neural network once, train it, measure it: on images and on text.",
        epilog="The printed 'Parameter Sparsity' and 'FLOP Sparsity' are the fractions that REMAIN, "
        "as in the Synaptic Flow code.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
        allow_abbrev=False,
    )

    def flag(group: argparse._ArgumentGroup, name: str, text: str) -> None:
        group.add_argument(name, nargs="?", const=True, default=False, type=switch, metavar="BOOL", help=text)

    def names(options) -> str:
        return "{" + ",".join(options) + "}"

    what = top.add_argument_group("experiment")
    add = what.add_argument
    add("--experiment", default="singleshot", metavar=names(load.EXPERIMENTS), help="the recipe (default: singleshot)")
    add("--expid", default="", metavar="NAME", help="name of the result's directory (default: made from all settings)")
    add("--result-dir", default="Results/data", metavar="DIR", help="where results are kept (default: Results/data)")
    flag(what, "--force", "run again and replace the stored result of the same settings")
    add("--gpu", type=count, default=0, metavar="N", help="number of the GPU to use where there is one (default: 0)")
    flag(what, "--no-cuda", "use the CPU even if there is a GPU")
    add(
        "--workers",
        type=count,
        default=0,
        metavar="N",
        help="threads that put batches together ahead of use (default: 0)",
    )
    add("--threads", type=count, metavar="N", help="threads of torch's arithmetic; 0: torch's own choice (default: *)")
    add("--seed", type=count, default=1, metavar="N", help="random seed of everything (default: 1)")
    for stream, text in zip(STREAMS, ("initial weights", "data order", "pruner's random draws"), strict=True):
        add(f"--{stream}-seed", type=count, metavar="N", help=f"seed of the {text} (default: --seed)")
    flag(what, "--verbose", "print the loss every 64 batches")

    data = top.add_argument_group("data")
    data.add_argument("--dataset", default="mnist", metavar=names(load.DATASETS), help="data set (default: mnist)")
    data.add_argument("--data-dir", default="Data", metavar="DIR", help="where data is kept (default: Data)")
    data.add_argument(
        "--source",
        default="auto",
        metavar=names(SOURCES),
        help="real: the corpus or an error; sample: a small generated stand-in; auto: the corpus if it is there or "
        "can be fetched, else the sample, with a warning (default: auto)",
    )

    training = top.add_argument_group("training", "defaults marked * are the data set's own, those of the paper")
    add = training.add_argument
    classes = " ".join(f"{cls}: {names(models)}" for cls, models in load.MODELS.items())
    add("--model-class", metavar=names(load.MODELS), help="family of models (default: *)")
    add("--model", metavar="NAME", help=f"{classes} (default: *)")
    add("--pretrained", metavar="RUN", help="start from the weights of a finished run (its directory)")
    flag(training, "--dense-classifier", "leave the last layer out of pruning")
    add("--optimizer", metavar=names(load.OPTIMIZERS), help="optimizer (default: *)")
    add("--train-batch-size", type=positive_count, metavar="N", help="examples a batch in training (default: *)")
    add("--test-batch-size", type=positive_count, metavar="N", help="examples a batch in evaluation (default: *)")
    add("--pre-epochs", type=count, default=0, metavar="N", help="epochs to train before pruning (default: 0)")
    add("--post-epochs", type=count, metavar="N", help="epochs to train after pruning (default: *)")
    add("--lr", type=positive, metavar="X", help="learning rate (default: *)")
    add(
        "--lr-drops",
        type=positive_count,
        nargs="*",
        default=[],
        metavar="N",
        help="epochs after which the learning rate drops (default: none)",
    )
    add("--lr-drop-rate", type=positive, default=0.1, metavar="X", help="factor of such a drop (default: 0.1)")
    add("--weight-decay", type=non_negative, default=0.0, metavar="X", help="L2 penalty (default: 0)")

    pruning = top.add_argument_group("pruning")
    add = pruning.add_argument
    add("--pruner", default="rand", metavar=names(load.PRUNERS), help="how weights are scored (default: rand)")
    add(
        "--compression",
        type=non_negative,
        default=0.0,
        metavar="C",
        help="power-of-ten exponent: the fraction 10^-C of the prunable weights is kept (default: 0, dense)",
    )
    add(
        "--prune-epochs",
        type=positive_count,
        default=1,
        metavar="N",
        help="rounds of scoring and pruning on the way there (default: 1)",
    )
    add(
        "--compression-schedule",
        default="exponential",
        metavar="{exponential,linear}",
        help="density over those rounds (default: exponential)",
    )
    add(
        "--mask-scope",
        default="global",
        metavar="{global,local}",
        help="rank all weights together, or each tensor by itself (default: global)",
    )
    add(
        "--prune-dataset-ratio",
        type=positive_count,
        default=10,
        metavar="N",
        help="examples for scoring, a class (default: 10)",
    )
    add(
        "--prune-batch-size",
        type=positive_count,
        default=256,
        metavar="N",
        help="examples a batch in scoring (default: 256)",
    )
    flag(pruning, "--prune-bias", "prune biases too")
    flag(pruning, "--prune-batchnorm", "prune BatchNorm scales too")
    flag(pruning, "--prune-residual", "prune residual connections too")
    flag(pruning, "--prune-train-mode", "score in train mode: batch statistics, dropout")
    flag(pruning, "--reinitialize", "draw new initial weights after pruning")
    flag(pruning, "--shuffle", "permute each mask within its tensor after pruning")
    flag(pruning, "--invert", "reverse the order of the scores")
    return top


def resolve(args: argparse.Namespace) -> argparse.Namespace:
    """Check names against the registry and fill in what the data set decides. Raises UserError in one line."""
    data = load.dataset(args.dataset)
    args.model_class, args.model = load.model_names(data, args.model_class, args.model)
    for key, value in data.defaults.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    for stream in STREAMS:
        if getattr(args, f"{stream}_seed") is None:
            setattr(args, f"{stream}_seed", args.seed)
    load.known("experiment", args.experiment, load.EXPERIMENTS)
    load.known("pruner", args.pruner, load.PRUNERS)
    load.known("optimizer", args.optimizer, load.OPTIMIZERS)
    load.known("source", args.source, SOURCES)
    load.known("compression schedule", args.compression_schedule, ("exponential", "linear"))
    load.known("mask scope", args.mask_scope, ("global", "local"))
    cores = os.cpu_count() or 1
    for flag, most in (("threads", cores), ("workers", 16 * cores)):
        if getattr(args, flag) > most:
            raise UserError(f"--{flag} {getattr(args, flag)}: this machine has {cores} cores; choose at most {most}")
    if 1.0 - 10.0**-args.compression == 1.0:
        raise UserError(f"--compression {args.compression:g} leaves no weight; choose a smaller one")
    return args


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked and complete."""
    return resolve(parser().parse_args(sys.argv[1:] if arguments is None else arguments))
