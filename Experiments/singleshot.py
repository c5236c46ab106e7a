"""Train a little, prune once, train, measure: on images and on text."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from Experiments import runs
from Utils import load
from Utils.commandline import arguments
from Utils.commandline.parser import Parser

if TYPE_CHECKING:
    from Experiments.workshop import Workshop

GROUPS = ("run", "data", "translation", "training", "pruning", "dynamic masks")  # groups of settings


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings(*GROUPS, "sharing")


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults."""
    return arguments.resolve(args)


def run(args: Namespace) -> dict[str, Any]:
    """Make the result that `args` describe, or report it if it is stored; return the content of result.json."""
    return runs.once(args, make)


def make(shop: Workshop) -> tuple[dict[str, Any], str]:
    """Do the run itself; return (content of result.json, report for the console)."""
    args = shop.args
    with shop.pretraining():
        shop.measure("init")
        print(f"Pre-Train for {args.pre_epochs} epochs.")
        shop.fit("pre", args.pre_epochs)
        shop.measure("pre_prune")

    masks = f"Pruning with the masks of {args.masks}."
    whose = ", its authors' number" if load.ROUNDS.get(args.pruner) == args.prune_epochs else ""
    print(masks if args.masks else f"Pruning with {args.pruner} for {args.prune_epochs} epochs{whose}.")
    density = 10.0**-args.compression
    shop.prune(args.dynamic_start if args.dynamic == "gradual" else density)
    shop.measure("post_prune")

    print(f"Post-Training for {args.post_epochs} epochs.")
    shop.fit("post", args.post_epochs, densities=(args.dynamic_start, density))
    shop.measure("final")
    return shop.result()
