"""Grade a pruner class with the interface of assignment one."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from Experiments.grading import CHECKS, FORMULAS
from Experiments.grading.sheet import Sheet
from Utils import load, plugin
from Utils.commandline.kinds import positive
from Utils.commandline.parser import Parser, names
from Utils.errors import UserError
from Utils.store import files, provenance
from Utils.store import run as store

# Only the processes that run the checks import torch, so a missing file is refused at once.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    add = top.add_argument_group(
        "grading",
        "prints a sheet of rows that hold or fail; exit code 0 if all hold, 1 if one fails, 2 if none was made",
    ).add_argument
    add("--pruner-file", required=True, metavar="FILE:CLASS", help="the class to grade, as student.py:GraSP")
    add(
        "--as",
        dest="graded_as",
        metavar=names(load.PRUNERS),
        help="which of ours its scores are to be like (default: by the class's name; else they have no reference)",
    )
    add("--checks", metavar="NAME,NAME", help=f"groups of rows to make, of {names(CHECKS)} (default: all)")
    add(
        "--limit",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="a row that takes longer is stopped and fails (default: 60)",
    )
    add(
        "--sheet",
        metavar="FILE",
        help="where the sheet is kept as JSON (default: <result-dir>/grade/<class>-<sha256>/sheet.json)",
    )
    add("--result-dir", default="Results/data", metavar="DIR", help="where results are kept (default: Results/data)")


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults."""
    found = plugin.read("--pruner-file", args.pruner_file)
    if args.gpu:
        raise UserError("--gpu means nothing to grade, which works on the CPU; leave it out")
    if args.sheet and Path(args.sheet).is_dir():
        raise UserError(f"--sheet {args.sheet} is a directory; name a file")
    if args.sheet and Path(args.sheet).exists() and not _is_sheet(Path(args.sheet)):
        raise UserError(f"--sheet {args.sheet} is another file, not a sheet; choose another name")
    if args.graded_as is not None:
        load.known("pruner", args.graded_as, load.PRUNERS)
    elif found.attribute.lower() in load.PRUNERS:
        args.graded_as = found.attribute.lower()
    wanted = list(CHECKS) if args.checks is None else args.checks.split(",")
    args.checks = [name for name in CHECKS if name in {"interface", *(load.known("check", c, CHECKS) for c in wanted)}]
    if args.threads is None:
        args.threads = 1
    args.plugin = found
    return args


def _is_sheet(path: Path) -> bool:
    """Return whether a file is a sheet of an earlier grading, which may be replaced."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "rows" in content


def run(args: Namespace) -> int:
    """Store the sheet, print it, and return the exit code: 0 if every row holds, else 1."""
    found: plugin.Plugin = args.plugin
    file = Path(args.sheet or f"{args.result_dir}/grade/{found.attribute}-{found.sha256[:10]}/{store.SHEET}")
    files.try_out(file)
    import torch

    from Experiments.grading import judge, plain
    from Experiments.grading.judge import Request

    torch.set_num_threads(args.threads or torch.get_num_threads())
    request = Request(
        file=str(found.path.resolve()),
        name=found.attribute,
        sha256=found.sha256,
        truth=args.graded_as if args.graded_as in FORMULAS else None,
        checks=args.checks,
        limit=args.limit,
        data_dir=str(Path(args.data_dir).resolve()),
        threads=args.threads,
    )
    facts: dict[str, Any] = {
        "isolation": plain.ISOLATION,
        "draw": request.draw.name,
        "machine": provenance.machine(torch.device("cpu")),
    }
    sheet = Sheet(found.path.name, found.attribute, found.sha256, args.graded_as, args.checks, facts)
    sheet.rows = list(judge.rows(request, lambda: plain.Plain(args.threads), facts, math.inf))
    files.write_json(file, sheet.content())
    print(sheet.text())
    print(f"Saved to {file}")
    return 0 if sheet.holds else 1
