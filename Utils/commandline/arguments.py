"""Reading of the command line: it returns checked, complete settings before anything is loaded."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from Utils import console, load, settings
from Utils.commandline import acting, dynamic, layout
from Utils.commandline.parser import Parser, flag
from Utils.errors import UserError
from Utils.machine.seeds import STREAMS
from Utils.wording import counted


def parser(experiment: str = "singleshot") -> Parser:
    """Return the parser of an experiment. A run's setting that is not given has the value None (see `resolve`)."""
    recipe = load.recipe(experiment)
    top = Parser(recipe.__doc__.partition("\n")[0])
    recipe.flags(top)
    top.add_settings("experiment")
    required = [f"{action.option_strings[0]} {action.metavar}" for action in top._actions if action.required]
    top.usage = " ".join(["%(prog)s", f"--experiment {experiment}", *required, "[flags]"])
    return top


def parse(arguments: list[str] | None = None) -> Namespace:
    """Read the command line. Every setting is checked and has a value afterwards."""
    given = sys.argv[1:] if arguments is None else arguments
    first = Parser(add_help=False)
    first.add_argument("--experiment", default=settings.by_name()["experiment"].default)
    experiment = first.parse_known_args(given)[0].experiment
    args = parser(experiment).parse_args(given)
    args.experiment = experiment
    limit("threads", args.threads or 0, 1)
    return load.recipe(args.experiment).check(args)


def resolve(args: Namespace, note: Callable[[str], object] = console.note, pruners: Sequence[str] = ()) -> Namespace:
    """Fill in the defaults and check every value against its registry. Raises UserError.

    A setting that has no effect gets its default, so that the same run has one name.
    note: is told of such settings.
    pruners: those that the experiment compares, if it is not one alone.
    """
    if args.dataset is None:
        args.dataset = settings.by_name()["dataset"].default
    args.dataset, args.data_path = load.own_data(args.dataset)
    data = load.dataset(args.dataset) if args.data_path is None else load.configured(args)
    args.model_class, args.model = load.model_names(data, args.model_class, args.model)
    args.model, args.model_path, args.model_sha256 = load.own_model(args.model)
    defaults = settings.defaults(data.defaults)
    optimizer = defaults["optimizer"] if args.optimizer is None else args.optimizer
    args.optimizer = load.known("optimizer", optimizer, load.OPTIMIZERS)
    inits = [name for name, classes in load.INITS.items() if args.model_class in classes]
    defaults["init"] = inits[0] if inits else None
    if getattr(args, "dynamic", None) == "gradual":
        defaults["pruner"] = load.GRADUAL
    defaults["prune_epochs"] = load.ROUNDS.get(args.pruner, defaults["prune_epochs"])
    defaults["weight_decay"] = load.DECAYS.get(args.optimizer, defaults["weight_decay"])
    takers = {row.name: row.optimizer[0].split() for row in settings.ROWS if row.optimizer}
    idle = {name: args.optimizer for name, names in takers.items() if args.optimizer not in names}
    _refuse(args, idle, note)
    _refuse(args, {row.name: data.title for row in settings.ROWS if row.own and row.name not in data.defaults}, note)
    theirs = {"init": inits, "width": args.model in load.WIDE}
    model = f"the {args.model_class} model {args.model}"
    _refuse(args, {name: model for name, taken in theirs.items() if not taken}, note)
    _borrow(args, note)
    layout.read(args)
    args.compression = layout.compression(args.pattern or "none", args.compression)
    for row in settings.ROWS:
        if row.kind and row.name not in idle and getattr(args, row.name, ...) is None:
            setattr(args, row.name, defaults[row.name])
    for stream in STREAMS:
        if getattr(args, f"{stream}_seed") is None:
            setattr(args, f"{stream}_seed", args.seed)
    args.pretrained = args.pretrained or None
    if not args.masks:
        args.pruner_sha256 = load.pruner_sha256(args.pruner)
    for row in settings.ROWS:
        free = ("pruner", "dataset", "model_class", "mask_scope")  # checked above
        if row.choices and row.name not in free and getattr(args, row.name, None) is not None:
            load.known(row.choices[0], getattr(args, row.name), getattr(load, row.choices[1]))
    load.configured(args)
    _reset(args, {**defaults, "prune_seed": args.seed}, note, pruners)
    if args.bleu_weights is not None and not any(args.bleu_weights):
        raise UserError("--bleu-weights are all zero; one at least must be above")
    limit("workers", args.workers, 16)
    if args.compile and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError("--compile needs a C++ compiler (g++, or what CXX names); install one or leave it out")
    leaves_weights(args.compression)
    loose = [flag(name) for name in ("never_empty", "pattern") if getattr(args, name) not in (False, "none")]
    if args.shuffle and loose:
        raise UserError(f"--shuffle would undo {loose[0]}; leave out one of the two")
    dynamic.check(args)
    return args


def _refuse(args: Namespace, idle: Mapping[str, str], note: Callable[[str], object]) -> None:
    """Raise UserError if a setting is given that has no effect on idle[setting]; leave out one of the assignment's."""
    for name, taker in idle.items():
        if getattr(args, name, None) is None:
            continue
        if not settings.by_name()[name].original:
            raise UserError(f"{flag(name)} means nothing to {taker}; leave it out")
        note(f"{flag(name)} means nothing to {taker} and is left out")
        setattr(args, name, None)


def _borrow(args: Namespace, note: Callable[[str], object]) -> None:
    """Set what made the masks of --masks to the values of their run, with one note on what was given of it."""
    if not args.masks:
        return
    from Utils.store import weights  # not needed by other runs

    theirs = weights.configuration("--masks", args.masks)
    own = ("masks", "ignore_masks", "reinitialize")
    names = sorted(row.name for row in settings.ROWS if row.group == "pruning" and row.name not in own)
    given = [flag(name) for name in names if getattr(args, name, None) not in (None, theirs.get(name))]
    if given:
        note(f"{', '.join(given)}: without effect, the masks are those of {args.masks}")
    for name in names:
        setattr(args, name, theirs.get(name))


def _reset(args: Namespace, usual: Mapping[str, Any], note: Callable[[str], object], pruners: Sequence[str]) -> None:
    """Set each setting that has no effect to its default, with one note."""
    if idle := acting.idle(vars(args), usual, pruners):
        for name in idle:
            setattr(args, name, usual[name])
        flags = ", ".join(map(flag, idle))
        what = f"{args.model}, {'these pruners' if pruners else args.pruner} and the other settings"
        note(f"{flags}: without effect with {what}; this is the run that has the default{'s' * (len(idle) > 1)}")


def leaves_weights(compression: float) -> None:
    """Raise UserError if a compression leaves no weight of any model."""
    if 1.0 - 10.0**-compression == 1.0:
        raise UserError(f"--compression {compression:g} leaves no weight; choose a smaller one")


def limit(name: str, value: int, a_core: int) -> None:
    """Raise UserError if `value` exceeds `a_core` per core of this machine."""
    cores = os.cpu_count() or 1
    if value > a_core * cores:
        most = a_core * cores
        raise UserError(f"{flag(name)} {value}: this machine has {counted(cores, 'core')}; choose at most {most}")
