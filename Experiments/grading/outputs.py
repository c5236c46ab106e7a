"""The files of one student: the sheet as JSON, the feedback to read, and the results as Gradescope reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Experiments.grading.rubric import Rubric
from Utils.store import files

SHEET, FEEDBACK, RESULTS = "sheet.json", "feedback.md", "results.json"
GRADED, STUDENT, GRADER, LATE = "graded", "student error", "grader error", "timed out"
UNRUN = "not run: "  # how what was found in a row begins that was not made


def write(directory: Path, sheet: Mapping[str, Any], rubric: Rubric) -> None:
    """Write the three files, each completely or not at all; the sheet comes last, for it says that all are there."""
    tell(directory, sheet, rubric, sheet["points"])
    files.write_json(directory / SHEET, sheet)


def tell(directory: Path, sheet: Mapping[str, Any], rubric: Rubric, final: float) -> None:
    """Write what the student reads and what Gradescope reads. final: the points, which a second rater may have set."""
    told = {**sheet, "points": final, "made": sheet["points"]}
    files.save_text(directory / FEEDBACK, feedback(told, rubric))
    files.write_json(directory / RESULTS, gradescope(told, rubric))


def fenced(text: str) -> str:
    """Return text as a code block of Markdown that it cannot end by itself."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def feedback(sheet: Mapping[str, Any], rubric: Rubric) -> str:
    """Return what the student reads: the points, what failed and why, tracebacks, and the beginning of the output."""
    late = f" ({sheet['late_days']:g} days late)" if sheet["late_days"] else ""
    parts = [f"# {sheet['student']}: {sheet['points']:g} of {sheet['of']:g} points{late}\n"]
    if sheet["made"] != sheet["points"]:
        parts.append(f"The points were set by hand; the rows below make {sheet['made']:g}.\n")
    if sheet["state"] != GRADED:
        parts.append(f"**{sheet['state']}**: {escaped(sheet['reason'])}\n")
    for one in sheet["classes"]:
        rows = one["rows"]
        held = sum(row["ok"] for row in rows)
        parts.append(f"## {one['class']} of {escaped(one['file'])}: {held} of {len(rows)} rows hold\n")
        reason = ""
        unrun = [row for row in rows if row["found"].startswith(UNRUN)]
        for row in rows:
            if row["ok"] or row in unrun:
                continue
            share = rubric.share(row)
            earned = f", earns {share:.0%} of its points" if share else ""
            off = " (not counted here)" if rubric.weight(row) == 0 else earned
            parts.append(f"### {escaped(row['name'])}{off}\n")
            lines = [f"- expected: {escaped(row['expected'])}", f"- found: {escaped(row['found'])}"]
            if row["why"] != reason:
                lines.append(f"- why: {escaped(row['why'])}")
            reason = row["why"]
            parts.append("\n".join(lines) + "\n")
            if row.get("trace"):
                parts.append(fenced(row["trace"]))
        if unrun:
            parts.append(f"{len(unrun)} rows were {escaped(unrun[0]['found'])}.\n")
        passed = "".join(f"- {escaped(row['name'])}: {escaped(row['found'])}\n" for row in rows if row["ok"])
        parts.append(f"### What holds\n\n{passed}" if passed else "Nothing holds.\n")
        if one.get("output"):
            parts.append(f"What it printed, at most its beginning:\n\n{fenced(one['output'])}")
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, without HTML or links of its author's."""
    for character in "\\`*_[]<>#|":
        text = text.replace(character, f"\\{character}")
    return text


def gradescope(sheet: Mapping[str, Any], rubric: Rubric) -> dict[str, Any]:
    """Return the content of results.json, in Gradescope's format for autograders."""
    tests = []
    for one in sheet["classes"]:
        for row in one["rows"]:
            if weight := rubric.weight(row):
                words = "" if row["ok"] else f"expected: {row['expected']}\nwhy: {row['why']}\n"
                tests.append(
                    {"name": f"{one['class']}: {row['group']}: {row['name']}"}
                    | {"score": round(weight * rubric.share(row), 4), "max_score": weight}
                    | {"status": "passed" if row["ok"] else "failed"}
                    | {"output": f"{words}found: {row['found']}", "output_format": "text"}
                )
    reason = f"{sheet['state']}: {sheet['reason']}" if sheet["reason"] else sheet["state"]
    return {
        "score": sheet["points"], "max_score": sheet["of"], "execution_time": max(0, round(sheet["seconds"])),
        "output": reason, "output_format": "text", "visibility": "visible", "tests": tests,
    }  # fmt: skip
