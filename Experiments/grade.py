"""Grade a pruner class with the interface of assignment one, or a whole class of students, each in a box."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from Experiments.grading import CHECKS
from Experiments.grading.sheet import Sheet
from Utils import console, load, plugin
from Utils.commandline.kinds import path, positive, positive_count
from Utils.commandline.parser import Parser, names
from Utils.errors import UserError
from Utils.store import files, provenance
from Utils.store import run as store

# Modules that import torch are imported in `run`, so a missing file is refused at once.

# Flags that mean nothing without a class:
OF_A_CLASS = ("grade_dir", "graded_class", "rubric", "only", "secret_file", "workers")


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    # fmt: off
    add = top.add_argument_group(
        "grading one file",
        "prints a sheet of rows that hold or fail; exit code 0 if all hold, 1 if one fails, 2 if none was made",
    ).add_argument
    add("--pruner-file", metavar="FILE:CLASS",
        help="check a class of your own, as student.py:GraSP; it runs unboxed")
    add("--sheet", type=path, metavar="FILE",
        help="where the sheet is kept as JSON (default: <result-dir>/grade/<class>-<sha256>/sheet.json)")
    add("--result-dir", type=path, default="Results/data", metavar="DIR",
        help="where results are kept (default: Results/data)")
    add = top.add_argument_group(
        "grading a class of students",
        "each in a box of bubblewrap; exit code 0, 1 if the grader failed for someone, 2 if nothing was graded",
    ).add_argument
    add("--submissions", type=path, metavar="DIR",
        help="a folder or zip with a file, folder or zip for each student, also as Moodle or Canvas pack it")
    add("--class", dest="graded_class", metavar="CLASS",
        help="the class to grade, if --rubric names none")
    add("--rubric", type=path, metavar="FILE",
        help="classes, weights, partial points and late days, in a copy of Experiments/grading/rubric.toml")
    add("--grade-dir", type=path, metavar="OUT",
        help="where sheets, feedback, gradebooks and index.html are kept")
    add("--workers", type=positive_count, metavar="N",
        help="students graded side by side (default: 1)")
    add("--only", metavar="STUDENT",
        help="grade this one, and leave the others' sheets as they are")
    add("--total", type=positive, default=900.0, metavar="SECONDS",
        help="a submission that takes longer is stopped there and keeps its rows (default: 900)")
    add("--secret-file", type=path, metavar="FILE",
        help="what the numbers of networks and batches are drawn from (default: OUT.secret, made if it is absent)")
    add = top.add_argument_group("grading of either kind").add_argument
    add("--as", dest="graded_as", metavar=names(load.PRUNERS),
        help="which of ours its scores are to be like (default: by the class's name; else they have no reference)")
    add("--checks", metavar="NAME,NAME",
        help=f"groups of rows to make, of {names(CHECKS)} (default: all)")
    add("--limit", type=positive, default=60.0, metavar="SECONDS",
        help="a row that takes longer is stopped and fails (default: 60)")
    add = top.add_argument_group("checking written results").add_argument
    add("--results", type=path, metavar="FILE",
        help="the page of --experiment assignment, filled in: says which cells are no number, cannot be or are "
             "unlikely (exit code 1 if one is no number or cannot be)")
    add("--profile", metavar="NAME",
        help="the epochs that the results are of, a profile of --experiment assignment (default: the one that the page "
             "names, else full)")
    # fmt: on


def check(args: Namespace) -> Namespace:
    """Check the arguments and fill in their defaults."""
    if [args.pruner_file, args.submissions, args.results].count(None) != 2:
        raise UserError("give one of --pruner-file FILE:CLASS, --submissions DIR of a class and --results FILE")
    for name in OF_A_CLASS if args.submissions is None else ():
        if getattr(args, name) is not None:
            flag = "--class" if name == "graded_class" else f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is of --submissions, which is not given")
    if args.pruner_file is None and args.sheet is not None:
        raise UserError("--sheet is of --pruner-file, which is not given")
    if args.results is not None:
        from Experiments.handout.questions import PROFILES

        if args.profile is not None:
            load.known("profile", args.profile, PROFILES)
        return args
    if args.gpu:
        raise UserError("--gpu means nothing to grade, which works on the CPU; leave it out")
    if args.graded_as is not None:
        load.known("pruner", args.graded_as, load.PRUNERS)
    wanted = list(CHECKS) if args.checks is None else args.checks.split(",")
    args.checks = [name for name in CHECKS if name in {"interface", *(load.known("check", c, CHECKS) for c in wanted)}]
    if args.threads is None:
        args.threads = 1
    if args.submissions is not None:
        if args.grade_dir is None:
            raise UserError("--submissions needs --grade-dir OUT, where sheets and gradebooks are kept")
        args.workers = args.workers or 1
        return args
    found = plugin.read("--pruner-file", _code(args.pruner_file, Path(args.result_dir)))
    if args.sheet and Path(args.sheet).is_dir():
        raise UserError(f"--sheet {args.sheet} is a directory; name a file")
    if args.sheet and Path(args.sheet).exists() and files.read_table(Path(args.sheet), "rows") is None:
        raise UserError(f"--sheet {args.sheet} is another file, not a sheet; choose another name")
    if args.graded_as is None and found.attribute.lower() in load.PRUNERS:
        args.graded_as = found.attribute.lower()
    args.plugin = found
    return args


def _code(text: str, results: Path) -> str:
    """Return FILE:CLASS, for a notebook with the file that its definitions are written to. Raises UserError."""
    name, _, attribute = text.rpartition(":")
    path = Path(name).expanduser()
    if name and (path.is_dir() or path.suffix == ".zip"):
        raise UserError(f"--pruner-file {text}: name a .py or .ipynb file; --submissions takes folders and zips")
    if path.suffix != ".ipynb":
        return text
    from Experiments.grading import submissions

    try:
        code = submissions.notebook(name, path.read_bytes())
    except OSError as error:
        raise UserError(f"--pruner-file {text}: cannot read {path}: {error.strerror}") from error
    except submissions.Refused as error:
        raise UserError(f"--pruner-file {text}: {error}") from error
    made = results / "grade" / f"{path.stem}_ipynb.py"
    files.write_bytes(made, code)
    console.note(f"{made} has what the cells of {path.name} define; that is checked")
    return f"{made}:{attribute}"


def run(args: Namespace) -> int:
    """Grade, and return the exit code."""
    if args.results is not None:
        from Experiments.handout import filled

        text, possible = filled.report(Path(args.results), args.profile)
        print(text)
        return 0 if possible else 1
    if args.submissions is None:
        return _one(args)
    from Experiments.grading import classroom

    return classroom.run(args)


def _one(args: Namespace) -> int:
    """Store the sheet, print it, and return the exit code: 0 if every row holds, else 1."""
    found: plugin.Plugin = args.plugin
    file = Path(args.sheet or f"{args.result_dir}/grade/{found.attribute}-{found.sha256[:10]}/{store.SHEET}")
    files.try_out(file)
    import torch

    from Experiments.grading import judge, plain, structure
    from Experiments.grading.draws import Draw
    from Experiments.grading.remote import Candidate, Fault

    torch.set_num_threads(args.threads or torch.get_num_threads())
    draw, machine = Draw(), provenance.machine(torch.device("cpu"))
    facts: dict[str, Any] = {"isolation": plain.ISOLATION, "draw": draw.name, "machine": machine}
    facts["flags"] = structure.alone({found.path.name: found.content}, found.attribute, found.content)
    sheet = Sheet(found.path.name, found.attribute, found.sha256, args.graded_as, args.checks, facts)
    request = judge.Request(
        str(found.path.resolve()), sheet.name, sheet.sha256, sheet.truth, args.checks, draw,
        str(Path(args.data_dir).resolve()), args.threads,
    )  # fmt: skip
    try:
        with Candidate(lambda: plain.Plain(args.threads), args.limit) as candidate:
            sheet.rows = judge.rows(request, candidate, facts)
    except Fault as error:
        raise UserError(f"the checks could not start: {error}") from None
    files.write_json(file, sheet.content())
    print(sheet.text())
    for flag in facts["flags"]:
        print(f"A human who grades would see: {flag}")
    print(f"Saved to {file}")
    return 0 if sheet.holds else 1
