"""Settings that masks which change in training do not go together with."""

from argparse import Namespace

from Utils import load
from Utils.commandline.parser import flag
from Utils.errors import UserError

# way of changing masks -> setting -> why it does not go together with it
AGAINST = {
    "gradual": {
        "masks": "it makes masks of its own",
        "prune_epochs": "it has a schedule of its own",
        "shuffle": "it ranks by magnitude",
        "invert": "it ranks by magnitude",
    },
    "rigl": {
        "pattern": "it moves weights anywhere within a tensor",
        "never_empty": "it moves weights anywhere within a tensor",
    },
}
EITHER = {
    "ignore_masks": "layers without masks have none that change",
    "patience": "the weights of an earlier epoch have other masks",
}


def check(args: Namespace) -> None:
    """Raise UserError if masks cannot change in training as these settings say."""
    way = getattr(args, "dynamic", "none")
    if way == "none":
        return
    off = {"prune_epochs": 1, "pattern": "none", "ignore_masks": "none"}
    for name, why in {**AGAINST[way], **EITHER}.items():
        if getattr(args, name) not in (off.get(name, False), None):
            raise UserError(f"--dynamic {way} does not go together with {flag(name)}: {why}")
    if way != "gradual":
        return
    if args.pruner != load.GRADUAL:
        raise UserError(
            f"--dynamic gradual is of --pruner {load.GRADUAL}, not of {args.pruner}; leave out one of the two"
        )
    if not args.post_epochs:
        raise UserError("--dynamic gradual prunes in the training after --pre-epochs; --post-epochs 0 leaves none")
    if args.dynamic_start < 10.0**-args.compression:
        raise UserError(
            f"--dynamic-start {args.dynamic_start:g} is less than --compression {args.compression:g} keeps, "
            f"{10.0**-args.compression:.4g}"
        )
