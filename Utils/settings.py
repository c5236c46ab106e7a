"""From the command line to checked, complete settings, before anything is loaded."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from Utils import flags, load, pretrained
from Utils.corpus import SOURCES
from Utils.errors import UserError
from Utils.seeds import STREAMS

# Flags that a data set has only if its defaults name them.
OF_SOME_DATA = ("src", "tgt", "test_set", "beam", "bleu_every", "bleu_weights", "prune_dataset_ratio", "prune_augment")


def parser(experiment: str = "singleshot") -> flags.Parser:
    """All flags of an experiment. Defaults of None are filled in by the data set (see `resolve`)."""
    recipe = load.recipe(experiment)
    top = flags.new_parser(recipe.__doc__.partition("\n")[0])
    flags.add_experiment(top)
    recipe.flags(top)
    return top


def resolve(args: argparse.Namespace) -> argparse.Namespace:
    """Check names against the registry and fill in what the data set decides. Raises UserError in one line."""
    data = load.dataset(args.dataset)
    args.model_class, args.model = load.model_names(data, args.model_class, args.model)
    args.optimizer = load.known("optimizer", args.optimizer or data.defaults["optimizer"], load.OPTIMIZERS)
    others = load.optimizer_flags() - load.optimizer_flags(args.optimizer)
    idle = {flag: data.title for flag in OF_SOME_DATA if flag not in data.defaults}
    idle |= dict.fromkeys(sorted(others), args.optimizer)
    inits = load.INITS.get(args.model_class, ())
    if not inits:
        idle["init"] = f"the {args.model_class} model {args.model}"
    for flag, taker in idle.items():
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag.replace('_', '-')} means nothing to {taker}; leave it out")
    for key, value in data.defaults.items():
        if getattr(args, key) is None and key not in others:
            setattr(args, key, value)
    if inits:
        args.init = load.known("kind of initial weights", args.init or inits[0], inits)
    for stream in STREAMS:
        if getattr(args, f"{stream}_seed") is None:
            setattr(args, f"{stream}_seed", args.seed)
    args.pretrained = pretrained.named(args.pretrained)
    args.pruner_sha256 = load.pruner_sha256(args.pruner)
    load.known("source", args.source, SOURCES)
    load.known("compression schedule", args.compression_schedule, load.SCHEDULES)
    load.known("mask scope", args.mask_scope, load.SCOPES)
    load.known("way with ties", args.ties, load.TIES)
    load.known("attention to prune", args.prune_attention, load.ATTENTION)
    load.known("masks to ignore", args.ignore_masks, load.IGNORED)
    load.known("precision", args.amp, load.PRECISIONS)
    load.configured(args)
    if args.bleu_weights is not None and not any(args.bleu_weights):
        raise UserError("--bleu-weights are all zero; one at least must be above")
    limit("workers", args.workers, 16)
    if args.compile and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError("--compile needs a C++ compiler (g++, or what CXX names); install one or leave it out")
    leaves_weights(args.compression)
    return args


def leaves_weights(compression: float) -> None:
    """Raise UserError if a compression is beyond any model."""
    if 1.0 - 10.0**-compression == 1.0:
        raise UserError(f"--compression {compression:g} leaves no weight; choose a smaller one")


def limit(flag: str, value: int, a_core: int) -> None:
    """Raise UserError if `value` is more than `a_core` for each core of this machine."""
    cores = os.cpu_count() or 1
    if value > a_core * cores:
        raise UserError(f"--{flag} {value}: this machine has {cores} cores; choose at most {a_core * cores}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked and complete."""
    given = sys.argv[1:] if arguments is None else arguments
    first = flags.Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--experiment", default="singleshot")
    args = parser(first.parse_known_args(given)[0].experiment).parse_args(given)
    limit("threads", args.threads or 0, 1)
    return load.recipe(args.experiment).check(args)
