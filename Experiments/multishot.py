"""Train, prune and rewind in levels, then train and measure: iterative pruning, lottery tickets."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from Experiments import runs
from Utils import settings
from Utils.errors import UserError
from Utils.flags import Parser, add_data, add_pruning, add_run, add_training, count, non_negative, positive_count

if TYPE_CHECKING:
    from Experiments.workshop import Workshop


def flags(top: Parser) -> None:
    add_run(top)
    add_data(top)
    add_training(top, pre_epochs=None)
    add_pruning(top, pruner="mag")
    add = top.add_argument_group("levels", "one run for each compression and number of levels").add_argument
    add(
        "--level-list",
        type=positive_count,
        nargs="+",
        default=[1],
        metavar="N",
        help="levels on the way to the compression; each trains --pre-epochs, prunes and rewinds (default: 1)",
    )
    add(
        "--compression-list",
        type=non_negative,
        nargs="+",
        metavar="C",
        help="exponents to prune to (default: --compression alone)",
    )
    add(
        "--rewind-epochs",
        type=count,
        default=0,
        metavar="N",
        help="each level goes back to the weights after N epochs of the first; 0: the initial ones (default: 0)",
    )


def check(args: Namespace) -> Namespace:
    args = settings.resolve(args)
    if args.pre_epochs is None:
        args.pre_epochs = args.post_epochs
    if args.compression_list is None:
        args.compression_list = [args.compression]
    for compression in args.compression_list:
        settings.leaves_weights(compression)
    if args.rewind_epochs > min(args.pre_epochs, args.post_epochs):
        raise UserError(f"--rewind-epochs {args.rewind_epochs} is beyond --pre-epochs or --post-epochs; choose less")
    if args.expid and len(args.compression_list) * len(args.level_list) > 1:
        raise UserError("--expid names one run; leave it out where the lists make several")
    return args


def run(args: Namespace) -> list[dict[str, Any]]:
    """The runs that `args` describe, each made or found in the store; what their result.json hold."""
    lists = ("compression_list", "level_list")
    shared = {key: value for key, value in vars(args).items() if key not in lists}
    return [
        runs.once(Namespace(**{**shared, "compression": compression, "levels": levels}), make)
        for compression in args.compression_list
        for levels in args.level_list
    ]


def make(shop: Workshop) -> tuple[dict[str, Any], str]:
    """Iterative magnitude pruning with rewinding (Frankle et al. 2020, arXiv 1912.05671, algorithm 2), any pruner.

    Level k of n prunes to density^(k / n). Levels after the first, and the training at the end, begin with the weights,
    the learning rate and the order of the data that the first had after `rewind_epochs`.
    """
    args, density = shop.args, 10.0**-shop.args.compression
    shop.measure("init")
    shop.fit("level 1", args.rewind_epochs)
    shop.mark()
    for level in range(1, args.levels + 1):
        print(f"Level {level} of {args.levels}: train to epoch {args.pre_epochs}, prune with {args.pruner}, rewind.")
        shop.fit(f"level {level}", args.pre_epochs, begun=args.rewind_epochs)
        if level == args.levels:
            shop.measure("pre_prune")
        shop.prune(density ** (level / args.levels))
        shop.rewind()
    shop.measure("post_prune")

    print(f"Post-Training to epoch {args.post_epochs}.")
    shop.fit("post", args.post_epochs, begun=args.rewind_epochs)
    shop.measure("final")
    return shop.result()
