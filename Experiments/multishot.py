"""Train, prune and rewind in levels, then train and measure: iterative pruning, lottery tickets."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from Experiments import runs
from Experiments.singleshot import GROUPS
from Utils.commandline import arguments, layout
from Utils.commandline.kinds import non_negative, positive_count
from Utils.commandline.parser import Parser
from Utils.errors import UserError

if TYPE_CHECKING:
    from Experiments.workshop import Workshop


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings("levels")
    add = top.add_argument_group("lists", "one run for each compression and number of levels").add_argument
    add(
        "--level-list", type=positive_count, nargs="+", default=[1], metavar="N",
        help="levels on the way to the compression; each trains --pre-epochs (default: --post-epochs), prunes and "
        "rewinds (default: 1)",
    )  # fmt: skip
    words = "exponents to prune to (default: --compression alone)"
    add("--compression-list", type=non_negative, nargs="+", metavar="C", help=words)
    top.add_settings(*GROUPS, defaults={"pruner": "mag"})


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults.

    Raises UserError if --rewind-epochs lies beyond a training, if --expid would name more than one run, and for
    --masks.
    """
    own_epochs = args.pre_epochs is not None
    args = arguments.resolve(args)
    if not own_epochs:
        args.pre_epochs = args.post_epochs
    if args.compression_list is None:
        args.compression_list = [args.compression]
    args.compression_list = [layout.compression(args.pattern, compression) for compression in args.compression_list]
    for compression in args.compression_list:
        arguments.leaves_weights(compression)
    if args.rewind_epochs > min(args.pre_epochs, args.post_epochs):
        raise UserError(f"--rewind-epochs {args.rewind_epochs} is beyond --pre-epochs or --post-epochs; choose less")
    if args.dynamic_start < 1:
        raise UserError("--dynamic-start is of a single shot; levels begin dense")
    if args.masks:
        raise UserError("--masks prunes at once, not in levels; leave it out")
    if args.expid and len(args.compression_list) * len(args.level_list) > 1:
        raise UserError("--expid names one run; leave it out where the lists make several")
    return args


def run(args: Namespace) -> list[dict[str, Any]]:
    """Make each run that `args` describe, or take it from the store; return the contents of their result.json files."""
    lists = ("compression_list", "level_list")
    shared = {key: value for key, value in vars(args).items() if key not in lists}
    return [
        runs.once(Namespace(**{**shared, "compression": compression, "levels": levels}), make)
        for compression in args.compression_list
        for levels in args.level_list
    ]


def make(shop: Workshop) -> tuple[dict[str, Any], str]:
    """Prune iteratively, with rewinding after each level; return (content of result.json, report for the console).

    This is algorithm 2 of Frankle et al. (2020, arXiv 1912.05671) with any pruner in place of magnitude. Level k of n
    prunes to density^(k / n). Every level after the first, and the training at the end, starts from the weights, the
    learning rate and the data order that the first level had after `rewind_epochs`.
    Gradual pruning (--dynamic) reaches a level's density in its training. RigL changes the masks in each training after
    the first pruning.
    """
    args, density = shop.args, 10.0**-shop.args.compression
    shop.measure("init")
    densities = [density ** (level / args.levels) for level in range(args.levels + 1)]
    shop.fit("level 1", args.rewind_epochs, of=args.pre_epochs, densities=(1.0, densities[1]))
    shop.mark()
    for level in range(1, args.levels + 1):
        print(f"Level {level} of {args.levels}: train to epoch {args.pre_epochs}, prune with {args.pruner}, rewind.")
        ends = densities[level - 1], densities[level]
        shop.fit(f"level {level}", args.pre_epochs, begun=args.rewind_epochs, densities=ends)
        if level == args.levels:
            shop.measure("pre_prune")
        shop.prune(densities[level])
        shop.rewind()
    shop.measure("post_prune")

    print(f"Post-Training to epoch {args.post_epochs}.")
    shop.fit("post", args.post_epochs, begun=args.rewind_epochs)
    shop.measure("final")
    return shop.result()
