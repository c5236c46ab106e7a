"""The points of a class as tables: gradebook.csv for the course, canvas.csv and moodle.csv for the platforms."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from Experiments.grading.outputs import GRADER
from Utils.errors import UserError
from Utils.store import files

GRADEBOOK, CANVAS, MOODLE = "gradebook.csv", "canvas.csv", "moodle.csv"
COLUMNS = (
    "student", "id", "state", "points", "override", "final", "of", "late days", "rows", "reason", "flags", "note",
)  # fmt: skip
OWN = ("override", "note")  # columns of a second rater, which a new grading keeps


def harmless(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def kept(path: Path) -> dict[str, dict[str, str]]:
    """Return {student: the second rater's cells} of an earlier gradebook. Raises UserError if it cannot be read."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ","))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not saved as UTF-8; in a spreadsheet, save it as CSV UTF-8") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read, and its column override would be lost: {error}") from error
    if rows and not {"student", "override"} <= set(rows[0]):
        raise UserError(f"{path} has no columns student and override; move it away, or put them back")
    if twice := [name for name, count in Counter(row["student"] for row in rows).items() if count > 1]:
        raise UserError(f"{path} has {twice[0]} in two rows; leave one")
    found = {row["student"]: {name: row.get(name) or "" for name in OWN} for row in rows}
    for student, cells in found.items():
        if cells["override"].strip():
            points(path, student, cells["override"])
    return found


def points(path: Path, student: str, text: str) -> float:
    """Return the points of an override. Raises UserError if it is no number, or below 0."""
    try:
        value = float(text.strip().lstrip("'").replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{path}: the override {text!r} of {student} is no number of points")
    return value


def write(
    directory: Path,
    sheets: Sequence[Mapping[str, Any]],
    overrides: Mapping[str, Mapping[str, str]],
    flags: Mapping[str, Sequence[str]],
    assignment: str,
) -> list[dict[str, Any]]:
    """Write the three tables; return the gradebook's rows. A grader error has no points: it is nobody's loss."""
    rows = []
    for sheet in sheets:
        name = harmless(sheet["student"])
        own = overrides.get(name, {})
        made = None if sheet["state"] == GRADER else sheet["points"]
        override = own.get("override", "")
        final = points(directory / GRADEBOOK, name, override) if override.strip() else made
        held = [row["ok"] for one in sheet["classes"] for row in one["rows"]]
        rows.append(
            {key: sheet[key] for key in ("student", "id", "state", "of", "reason")}
            | {"points": made, "override": override, "final": final, "late days": sheet["late_days"]}
            | {"rows": f"{sum(held)} of {len(held)}", "flags": "; ".join(flags.get(sheet["student"], ()))}
            | {"note": own.get("note", "")}
        )
    there = {harmless(row["student"]) for row in rows}
    for name, own in overrides.items():
        if name not in there and any(cell.strip() for cell in own.values()):  # the submission is gone, the words stay
            final = points(directory / GRADEBOOK, name, own["override"]) if own["override"].strip() else None
            rows.append(dict.fromkeys(COLUMNS, "") | {"student": name, "state": "no submission", "final": final, **own})
    _table(directory / GRADEBOOK, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    of = sheets[0]["of"] if sheets else 0
    head = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment)
    body: list[list[Any]] = [["    Points Possible", "", "", "", "", of]]
    body += [[row["student"], row["id"], "", "", "", row["final"]] for row in rows]
    _table(directory / CANVAS, head, body)
    head = ("Identifier", "Full name", "Status", "Grade", "Maximum grade", "Feedback comments")
    cells = [
        [f"Participant {row['id']}" if row["id"] else "", row["student"], "", row["final"], row["of"], row["reason"]]
        for row in rows
    ]
    _table(directory / MOODLE, head, cells)
    return rows


def _table(path: Path, head: Sequence[str], body: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in body)
    files.save_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    """Return a number as it is, however it begins, and text without a formula."""
    if isinstance(value, int | float):
        return int(value) if float(value).is_integer() else value
    return value if value == "    Points Possible" else harmless(value)
