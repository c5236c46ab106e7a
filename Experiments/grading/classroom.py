"""A whole class: each submission in a box, sheets and feedback for each, gradebooks and a page for all."""

import hashlib
import json
import os
import secrets
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from Experiments.grading import CHECKS, FORMULAS, box, gradebook, outputs, page, rubric, structure, submissions
from Experiments.grading.child import ROOT
from Experiments.grading.outputs import GRADED, GRADER, LATE, SHEET, STUDENT
from Experiments.grading.rubric import Rubric
from Experiments.grading.submissions import Refused, Submission
from Experiments.sweeping import pool
from Utils import console, load
from Utils.errors import UserError
from Utils.store import files, lock

LOCK = ".grading"  # in the directory of a grading, held while it is written; without it a directory is someone else's
Sources = Mapping[str, dict[str, bytes] | str]  # student -> the files, or why they cannot be read
SECRET = 32  # bytes of a course's secret


def grader_version() -> str:
    """Return the hash of the code that grades: this package, the candidate's, and what a box shows."""
    total = hashlib.sha256()
    places = [ROOT / "Experiments" / "grading", *(ROOT / name for name in box.SEEN), ROOT / "Pruners", ROOT / "Utils"]
    for path in sorted({p for place in places for p in ([place] if place.is_file() else place.rglob("*"))}):
        if path.suffix in (".py", ".toml"):
            total.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def secret(path: Path) -> bytes:
    """Return the course's secret; make it if it is absent. Raises UserError if it is too short or cannot be read."""
    try:
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_hex(SECRET).encode() + b"\n")
            print(f"Made {path}: keep it, regrades need it, and show it to no student.")
        found = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"--secret-file {path}: {error.strerror}") from error
    if len(found) < SECRET:
        raise UserError(f"--secret-file {path} has fewer than {SECRET} characters")
    return found


def run(args: Namespace) -> int:
    """Grade a class; return 0, or 1 if the grader itself has failed for someone."""
    place, out = Path(args.submissions), Path(args.grade_dir)
    marks = rubric.read(args.rubric, args.graded_class)
    known = submissions.found(place)
    students = [one.student for one in known]
    for student in ([] if args.only is None else [args.only]) + list(marks.days):
        load.known("student", student, students)
    _check_rows(marks, args)
    _check_place(place, out)
    sources = {one.student: _read(one) for one in known}
    _check_classes(marks, sources)
    isolation = box.isolation()

    def busy() -> None:
        raise UserError(f"another grading writes to {out}; let it end, or choose another --grade-dir")

    files.try_out(out / gradebook.GRADEBOOK)
    with lock.held(out / LOCK, busy):
        return _all(args, marks, known, sources, isolation)


def _all(args: Namespace, marks: Rubric, known: list[Submission], sources: Sources, isolation: str) -> int:
    """Grade whoever has no sheet yet, and write what is for all."""
    place, out = Path(args.submissions), Path(args.grade_dir)
    overrides = gradebook.kept(out / gradebook.GRADEBOOK)
    if others := submissions.left_out(place):
        console.note(f"left out, as no one's file of a kind that is read: {', '.join(others[:20])}")
    hidden = secret(Path(args.secret_file) if args.secret_file else out.with_name(f"{out.name}.secret"))
    shared = {  # by all jobs, the tasks of workers
        "submissions": str(place.resolve()),
        "out": str(out.resolve()),
        "rubric": args.rubric and str(Path(args.rubric).resolve()),
        "name": args.graded_class,  # if the rubric names none
        "secret": hidden.hex(),
        "data_dir": str(Path(args.data_dir).resolve()),
        "isolation": isolation,
        **{name: getattr(args, name) for name in ("graded_as", "checks", "limit", "total", "threads")},
    }
    places = ("submissions", "out", "rubric", "data_dir")
    matters = {name: value for name, value in shared.items() if name not in places}
    version = hashlib.sha256(json.dumps([grader_version(), marks.sha256, matters]).encode()).hexdigest()
    jobs = []
    for one in known:
        if args.only in (None, one.student):
            read = sources[one.student]
            content = submissions.sha256(read) if isinstance(read, dict) else hashlib.sha256(read.encode()).hexdigest()
            key = hashlib.sha256(f"{version} {content} {_late(one, marks):g}".encode()).hexdigest()
            sheet = _stored(out / one.student / SHEET)
            if sheet and sheet["key"] == key and sheet["state"] != GRADER:
                print(f"{one.student}: kept, nothing has changed")
                continue
            if sheet and sheet["key"] != key:
                print(f"{one.student}: to be graded again; the files, rubric, flags, secret or grader are others")
            jobs.append({**shared, "student": one.student, "key": key})
    _grade(jobs, marks, {one.student: one for one in known}, args.workers)
    sheets = [sheet for one in known if (sheet := _stored(out / one.student / SHEET))]
    flags = _flags(sheets, sources)
    rows = gradebook.write(out, sheets, overrides, flags, marks.assignment)
    for sheet, row in zip(sheets, rows, strict=False):
        if sheet["rubric"] == marks.sha256 and isinstance(row["final"], int | float):
            outputs.tell(out / sheet["student"], sheet, marks, row["final"])
    _note_unused(marks, sheets)
    files.save_text(out / page.INDEX, page.build(sheets, rows, marks))
    failed = sum(sheet["state"] == GRADER for sheet in sheets)
    print(f"{len(sheets)} of {len(known)} submissions have a sheet; see {out / page.INDEX}")
    if failed:
        print(f"The grader failed for {failed}; the same command tries them again.")
    return 1 if failed else 0


def _grade(jobs: list[dict[str, Any]], marks: Rubric, known: Mapping[str, Submission], workers: int) -> None:
    """Grade in worker processes and print a line for each student."""
    commands = [[json.dumps(job)] for job in jobs]
    for number, ended in pool.outcomes(commands, min(workers, len(jobs)), module="Experiments.grading.worker"):
        job = Namespace(**jobs[number])
        path = Path(job.out) / job.student / SHEET
        if ended.error:
            outputs.write(path.parent, _sheet(job, known[job.student], marks, GRADER, ended.error), marks)
        sheet = _stored(path)
        assert sheet is not None  # the worker or the line above has written it
        words = "" if sheet["state"] == GRADED else f" ({sheet['state']}: {sheet['reason']})"
        print(f"{job.student}: {sheet['points']:g} of {sheet['of']:g}{words}", flush=True)


def grade(job: Namespace) -> None:
    """Grade one student, as `_all` describes it, and write the three files.

    What goes wrong in the grader is a state of its own.
    """
    from Experiments.grading.remote import Candidate

    marks = rubric.read(job.rubric, job.name)
    (one,) = (one for one in submissions.found(Path(job.submissions)) if one.student == job.student)
    begun = time.monotonic()
    sheets: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    state, reason = GRADED, ""
    try:
        content = one.read()
        facts["files"], facts["sha256"] = list(content), submissions.sha256(content)
        with Candidate(lambda: box.Box(job.threads, content), job.limit, begun + job.total) as candidate:
            for name in marks.classes:
                sheet, trouble = _class(job, content, facts["sha256"], name, candidate)
                sheets.append(sheet)
                state, reason = (trouble, sheet["reason"]) if trouble and state == GRADED else (state, reason)
        facts["flags"] = list(dict.fromkeys(flag for sheet in sheets for flag in sheet.pop("flags")))
    except Refused as error:
        state, reason = STUDENT, str(error)
    made = _sheet(job, one, marks, state, reason, sheets)
    outputs.write(Path(job.out) / job.student, {**made, **facts, "seconds": round(time.monotonic() - begun, 1)}, marks)


def _class(
    job: Namespace, content: dict[str, bytes], sha256: str, name: str, candidate: Any
) -> tuple[dict[str, Any], str]:
    """Grade one class of a submission; return (its sheet, the state other than graded)."""
    from Experiments.grading import judge
    from Experiments.grading.draws import Draw
    from Experiments.grading.sheet import Sheet, one_line

    graded_as = job.graded_as or (name.lower() if name.lower() in load.PRUNERS else None)
    draw = Draw.of(bytes.fromhex(job.secret), f"{sha256} {name}")
    facts: dict[str, Any] = {"isolation": job.isolation, "draw": draw.name, "reason": "", "flags": []}
    sheet, state = Sheet("", name, "", graded_as, job.checks, facts), ""
    try:
        file, *others = submissions.defining(content, name)
        sheet.file, sheet.sha256 = file, hashlib.sha256(content[file]).hexdigest()
        facts["flags"] = structure.alone(content, name, content[file])
        if others:
            facts["flags"].append(f"{name} is defined in {', '.join(others)} too; that of {file} is graded")
        where = f"{box.SUBMISSION}/{file}"
        request = judge.Request(where, name, sheet.sha256, sheet.truth, job.checks, draw, job.data_dir, job.threads)
        sheet.rows = judge.rows(request, candidate, facts)
        if facts.pop("timed_out", False):
            state, facts["reason"] = LATE, f"not done within {job.total:g} s"
        elif not any(row["ok"] for row in sheet.rows):
            state, facts["reason"] = STUDENT, f"{name}: {sheet.rows[0]['found']}"
    except (Refused, UserError) as error:  # a syntax error, no such class
        state, facts["reason"] = STUDENT, one_line(f"{error}")
        sheet.rows = judge.unmade(job.checks, sheet.truth, facts["reason"])
    return sheet.content(), state


def _sheet(
    job: Namespace, one: Submission, marks: Rubric, state: str, reason: str, sheets: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    late = _late(one, marks)
    made = sheets or []
    return {
        "student": one.student, "id": one.ident, "state": state, "reason": reason,
        "points": marks.total(made, late), "of": marks.points, "late_days": late,
        "isolation": job.isolation, "key": job.key, "rubric": marks.sha256,
        "sha256": "", "files": [], "flags": [], "seconds": 0.0, "classes": made,
    }  # fmt: skip


def _late(one: Submission, marks: Rubric) -> float:
    return marks.days.get(one.student, marks.marked if one.late else 0.0)


def _read(one: Submission) -> dict[str, bytes] | str:
    try:
        return one.read()
    except Refused as error:
        return str(error)


def _stored(path: Path) -> dict[str, Any] | None:
    return files.read_table(path, "key", "state", "classes", "points")


def _flags(sheets: list[dict[str, Any]], sources: Sources) -> dict[str, list[str]]:
    """Return every student's flags: of the sheets, and near-copies among the class, class by class."""
    flags = {sheet["student"]: list(sheet["flags"]) for sheet in sheets}
    by_class: dict[str, dict[str, tuple[str, bytes]]] = {}
    for sheet in sheets:
        content = sources[sheet["student"]]
        for one in sheet["classes"]:
            if isinstance(content, dict) and one["file"] in content:
                by_class.setdefault(one["class"], {})[sheet["student"]] = (one["class"], content[one["file"]])
    for found in by_class.values():
        for student, more in structure.pairs(found).items():
            flags[student] += more
    return flags


def _check_rows(marks: Rubric, args: Namespace) -> None:
    """Raise UserError if the rubric weighs a row that no class has, or gives a class no row of any weight."""
    from Experiments.grading import judge

    names = set()
    for name in marks.classes:
        truth = args.graded_as or name.lower()
        planned = judge.planned(list(CHECKS), truth if truth in FORMULAS else None)
        made = ({"name": check.name, "group": group} for group, check in planned if group in args.checks)
        if not any(map(marks.weight, made)):
            raise UserError(f"--rubric {args.rubric}: no row of {name} has a weight")
        names |= {check.name for _, check in planned}
    for row in marks.rows:
        load.known("row", row, sorted(names))


def _check_place(place: Path, out: Path) -> None:
    """Raise UserError if what is written to `out` would lie among the submissions, or among files of someone else's."""
    if place.is_dir() and out.resolve().is_relative_to(place.resolve()):
        raise UserError(f"--grade-dir {out} lies among the submissions; choose a directory of its own")
    if out.is_dir() and any(out.iterdir()) and not (out / LOCK).exists():
        raise UserError(f"--grade-dir {out} holds other files than those of a grading; choose a new directory")


def _check_classes(marks: Rubric, sources: Sources) -> None:
    """Raise UserError if not one submission defines a class that is graded: then its name is misspelt."""
    names = Counter(name for found in sources.values() if isinstance(found, dict) for name in submissions.named(found))
    for name in marks.classes if names else ():
        if name not in names:
            near = ", ".join(f"{other} ({count})" for other, count in names.most_common(8))
            raise UserError(f"no submission defines a class {name}; what they define: {near}")


def _note_unused(marks: Rubric, sheets: Sequence[Mapping[str, Any]]) -> None:
    """Say which words of the rubric's partial points were found nowhere."""
    found = [row["found"] for sheet in sheets for one in sheet["classes"] for row in one["rows"] if not row["ok"]]
    for words in marks.partial:
        if not any(words in text for text in found):
            console.note(f"[partial] {words!r} was found in no row that fails")
