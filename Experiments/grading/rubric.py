"""The rubric of a class: what is graded, what each row is worth, and what lateness costs."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Experiments.grading import CHECKS
from Utils import load
from Utils.errors import UserError

USUAL = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Rubric:
    """The weights of a grading."""

    points: float = USUAL["points"]  # of a submission in which every row holds
    assignment: str = USUAL["assignment"]  # the column's title in gradebooks
    classes: Mapping[str, float] = field(default_factory=dict)  # class -> weight
    # group -> weight of each of its rows
    weights: Mapping[str, float] = field(default_factory=lambda: USUAL["weights"])
    rows: Mapping[str, float] = field(default_factory=dict)  # row -> weight; 0 switches it off
    partial: Mapping[str, float] = field(default_factory=dict)  # words in what was found -> share of the row's points
    per_day: float = 0.0  # percent of the points that a day of lateness costs
    most: float = 100.0  # percent that lateness costs at most
    marked: float = 1.0  # days that a file is late whose platform only says that it is
    days: Mapping[str, float] = field(default_factory=dict)  # student -> days
    sha256: str = ""

    def weight(self, row: Mapping[str, Any]) -> float:
        """Return the weight of a row."""
        return self.rows.get(row["name"], self.weights[row["group"]])

    def share(self, row: Mapping[str, Any]) -> float:
        """Return which share of its weight a row earns."""
        if row["ok"]:
            return 1.0
        return max((share for words, share in self.partial.items() if words in row["found"]), default=0.0)

    def earned(self, sheet: Mapping[str, Any]) -> float:
        """Return which share of its points a class earns, from 0 to 1."""
        weights = [self.weight(row) for row in sheet["rows"]]
        earned = sum(w * self.share(row) for w, row in zip(weights, sheet["rows"], strict=True))
        return earned / sum(weights) if sum(weights) else 0.0

    def total(self, sheets: list[dict[str, Any]], late: float) -> float:
        """Return the points of a submission, whose sheets are those of its classes; late: days."""
        weights = [self.classes.get(sheet["class"], 1.0) for sheet in sheets]
        whole = sum(w * self.earned(sheet) for w, sheet in zip(weights, sheets, strict=True)) / (sum(weights) or 1.0)
        return round(self.points * whole * (1.0 - min(self.most, self.per_day * late) / 100.0), 2)


def read(path: str | None, name: str | None) -> Rubric:
    """Read a rubric; `name` is the class that is graded if it names none. Raises UserError for what it cannot mean."""
    content = b""
    try:
        content = Path(path).read_bytes() if path else b""
        given = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"--rubric {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--rubric {path} is not saved as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--rubric {path}: {error}") from error
    late = _table(path, given, "late")
    found = Rubric(
        points=_number(path, "points", given.pop("points", USUAL["points"]), low=0.01),
        assignment=str(given.pop("assignment", USUAL["assignment"])),
        classes=_numbers(path, given, "classes") or ({name: 1.0} if name else {}),
        weights=USUAL["weights"] | _numbers(path, given, "weights"),
        rows=_numbers(path, given, "rows"),
        partial=_numbers(path, given, "partial", 1.0),
        per_day=_number(path, "late.per_day", late.pop("per_day", 0.0), 100.0),
        most=_number(path, "late.most", late.pop("most", 100.0), 100.0),
        marked=_number(path, "late.marked", late.pop("marked", 1.0)),
        days=_numbers(path, late, "days"),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    for key in (*given, *(f"late.{key}" for key in late)):
        raise UserError(f"--rubric {path}: {key!r} is no entry of a rubric")
    for group in found.weights:
        load.known("group of rows", group, CHECKS)
    if not found.classes:
        raise UserError("--class NAME says which class is graded, or a table [classes] of --rubric")
    if bad := [one for one in found.classes if not one.isidentifier()]:
        raise UserError(f"{bad[0]!r} is no name of a class")
    return found


def _table(path: str | None, given: dict[str, Any], key: str) -> dict[str, Any]:
    value = given.pop(key, {})
    if not isinstance(value, dict):
        raise UserError(f"--rubric {path}: [{key}] has to be a table")
    return value


def _number(path: str | None, key: str, value: Any, high: float = 1e6, low: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"--rubric {path}: {key} = {value!r} is not a number from {low:g} to {high:g}")
    return float(value)


def _numbers(path: str | None, given: dict[str, Any], key: str, high: float = 1e6) -> dict[str, float]:
    return {name: _number(path, f"{key}.{name}", value, high) for name, value in _table(path, given, key).items()}
