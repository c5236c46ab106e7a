"""Make all tables and figures that the handout of assignment one asks for, and the runs behind them."""

from argparse import Namespace
from pathlib import Path

from Experiments import sweep
from Experiments.handout.questions import PROFILES
from Utils import console, load
from Utils.commandline.kinds import count, path
from Utils.commandline.parser import Parser, names
from Utils.errors import UserError
from Utils.study.runs import check_stores

# Modules that make runs and draw are imported in `run`, after the flags have been checked.

STUDY = "Results/study"  # the store that is read beside --result-dir if --store is not given


def flags(top: Parser) -> None:
    """Add the flags of this experiment, and those that say how its runs are made."""
    group = top.add_argument_group("assignment", "the handout's runs; all else is the assignment's default")
    add = group.add_argument
    # fmt: off
    add("--profile", default="colab", metavar=names(PROFILES),
        help="colab: 10 epochs, Mag trained for 10 before; full: 100, and 200; smoke: a minute or two, on a generated "
             "sample (default: colab)")
    add("--seed-list", nargs="+", type=count, default=[1], metavar="N",
        help="seeds of the runs (default: 1)")
    add("--amp", default="off", metavar=names(load.PRECISIONS),
        help="precision in which missing runs are trained; stored runs of the other one are taken too, and labelled "
             "(default: off)")
    add("--source", metavar=names(load.SOURCES),
        help="data: real, sample or auto (default: auto; smoke: sample)")
    add("--result-dir", type=path, default="Results/data", metavar="DIR",
        help="where runs, tables and figures are kept")
    add("--store", type=path, nargs="+", metavar="DIR",
        help=f"other result directories whose runs are taken as well (default: {STUDY}, if it is there)")
    add("--stored-only", action="store_true",
        help="make no run: tables and figures of what is stored")
    # fmt: on
    sweep.add_making(group)


def check(args: Namespace) -> Namespace:
    """Check the flags. The runs are planned later, because planning needs the data."""
    load.known("profile", args.profile, PROFILES)
    load.known("precision", args.amp, load.PRECISIONS)
    if args.source is not None:
        load.known("source", args.source, load.SOURCES)
    if args.store is None:
        args.store = [STUDY] if Path(STUDY).is_dir() else []
    check_stores(args.store)
    args.seed_list = list(dict.fromkeys(args.seed_list))
    if args.stored_only and (args.dry_run or args.force):
        raise UserError("--stored-only makes no run; leave out --dry-run and --force")
    sweep.check_making(args)
    return args


def run(args: Namespace) -> int:
    """Make missing runs, then all tables and figures; return the exit code, 1 if a run has failed now or before."""
    from Experiments.handout import sheet
    from Experiments.handout.holdings import Holdings
    from Experiments.handout.timed import Times

    profile = PROFILES[args.profile]
    if profile.reduced:
        print(profile.reduced)
    holdings = Holdings(args, profile)
    lost = sheet.without_model(holdings, Times(args, profile))
    for folder in sorted(lost):
        made = folder.parent.parent == Path(args.result_dir) and not args.stored_only
        blank = "its test time or weights are blank; --force makes the runs again, with models, in --result-dir"
        console.note(f"{folder} has no whole model: {'the run is made again' if made else blank}")
    code = 0 if args.stored_only else _make(args, holdings.wanted(profile.cells(), lost))
    if args.dry_run:
        return code
    holdings.look_again()
    for file in sheet.write(args, holdings):
        print(f"Saved {file}")
    return code


def _make(args: Namespace, wanted: list) -> int:
    """Print how long the missing runs will take and make them; return the exit code."""
    from Experiments.handout.outlook import Estimator

    outlook = Estimator(args).of(sweep.Sweep(args, wanted).to_do)
    print(outlook.text(args.workers), flush=True)
    return sweep.Sweep(args, wanted, outlook.lengths).run() if wanted else 0
