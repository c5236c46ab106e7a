"""The judge: it makes the rows of a sheet, one after the other, whatever the class under test does."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from Experiments.grading import CHECKS
from Experiments.grading.bench import Bench, Check
from Experiments.grading.draws import Draw
from Experiments.grading.remote import Candidate, Lost, Raised
from Experiments.grading.sheet import finite, one_line
from Utils.errors import UserError

GIVE_UP = 3  # number of rows that end their process, after which the remaining rows fail without being run


@dataclass(frozen=True)
class Request:
    """A class to be graded, and how."""

    file: str  # as the candidate's process sees it
    name: str  # of the class
    sha256: str  # of the file
    truth: str | None  # the pruner whose formula the scores should follow
    checks: list[str]  # groups of rows
    draw: Draw = field(default_factory=Draw)
    data_dir: str = "Data"
    threads: int = 1


def planned(groups: Collection[str], truth: str | None) -> list[tuple[str, Check]]:
    """Return (group, check) of every row, in order."""
    return [(g, check) for g, module in CHECKS.items() if g in groups for check in import_module(module).rows(truth)]


def unmade(groups: Collection[str], truth: str | None, why: str) -> list[dict[str, Any]]:
    """Return every row as one that fails, because there is no class."""
    every = planned(groups, truth)
    found = [why, *(["not run: there is no class to check"] * (len(every) - 1))]
    return [_row(group, check, False, words) for (group, check), words in zip(every, found, strict=True)]


def rows(request: Request, candidate: Candidate, facts: dict[str, Any], only: str = "") -> list[dict[str, Any]]:
    """Make every row of the sheet and return them; `facts` gets the seconds, the output, and whether time ran out.

    A row whose process ends fails, and a new process continues with the next one.
    only: the beginning of the names of the rows that are made.
    Raises UserError if the file has no such class, and Fault for what is not the class's fault.
    """
    begun, printed = time.monotonic(), len(candidate.output())
    bench = Bench(candidate, request.truth, request.draw, request.data_dir, request.threads)
    made: list[dict[str, Any]] = []
    loaded, reason, lost = "", "", 0  # the group that is open; why the rows that are left are not run
    for group, check in (row for row in planned(request.checks, request.truth) if row[1].name.startswith(only)):
        if not reason and candidate.over:
            reason, facts["timed_out"] = "the time for the whole submission is over", True
        if reason:
            made.append(_row(group, check, False, f"not run: {reason}"))
            continue
        candidate.begin()
        content: dict[str, Any]
        try:
            if group != loaded:
                candidate.shut()
            if not candidate.open:
                loaded = ""
                bench.name = candidate.load(request.file, request.name, request.sha256)
                loaded = group
            candidate.ask("row", {})
            verdict = check.body(bench)
            candidate.settled()
            content = {"ok": verdict.ok, "found": verdict.found, "figures": finite(verdict.figures)}
        except Raised as error:
            if error.refused and not made:
                raise UserError(one_line(error.text)) from None
            content = {"ok": False, "found": error.text, "trace": error.trace}
        except Lost as error:
            lost += 1
            facts["timed_out"] = candidate.over
            content = {"ok": False, "found": str(error)}
        if not bench.name:
            reason = "there is no class to check"
        elif lost >= GIVE_UP:
            reason = f"{lost} rows before it did not come to an end"
        made.append(_row(group, check, **content))
    candidate.shut()
    facts["seconds"] = round(time.monotonic() - begun, 1)
    facts["output"] = candidate.output()[printed:]
    return made


def _row(
    group: str, check: Check, ok: bool, found: str, figures: dict[str, Any] | None = None, trace: str = ""
) -> dict[str, Any]:
    row = {
        "group": group, "name": check.name, "expected": check.expected, "found": one_line(found), "ok": ok,
        "why": "" if ok else check.why, "forgeable": check.forgeable, "figures": figures or {},
    }  # fmt: skip
    return row | ({"trace": trace} if trace else {})
