"""The sheet: rows as they are shown and kept."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from Experiments.grading import FORMULAS
from Utils.plugin import Plugin
from Utils.store import files, provenance

WIDTH = 100
NAME = 37  # columns of a row's name; what was found stands beside it


def one_line(text: str, most: int = 300) -> str:
    """What a class under test may have written, as one printable line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


class Sheet:
    """Rows {group, name, expected, found, ok, why, figures} in the order in which they were made."""

    def __init__(self, graded: Plugin, graded_as: str | None, checks: list[str]) -> None:
        self.graded, self.graded_as, self.checks = graded, graded_as, checks
        self.rows: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.reasons: list[str] = []  # of the rows that fail

    @property
    def holds(self) -> bool:
        return bool(self.rows) and all(row["ok"] for row in self.rows)

    def title(self) -> str:
        beside = f"graded as {self.graded_as}" if self.graded_as else "none of ours by name"
        beside += "" if self.graded_as in FORMULAS else ": its scores have no reference"
        file = one_line(self.graded.path.name, 40)
        return f"{self.graded.attribute} of {file} (sha256 {self.graded.sha256[:10]}), {beside}\n"

    def add(self, row: dict[str, Any]) -> str:
        """Keep the row; how it is shown: what was found if it holds, else what was expected and why it matters too."""
        heading = "" if self.rows else self.title()
        if not self.rows or self.rows[-1]["group"] != row["group"]:
            heading += f"\n{row['group']}\n"
        self.rows.append(row)
        if row["ok"]:
            first, *more = textwrap.wrap(row["found"], WIDTH - NAME - 10) or [""]
            lines = [f"  ok    {row['name']:<{NAME}}  {first}", *(" " * (NAME + 10) + line for line in more)]
            return heading + "\n".join(lines) + "\n"
        parts = [f"  FAIL  {row['name']}"]
        said = [("expected", row["expected"]), ("found", row["found"]), ("why", row["why"])]
        if row["why"] == (self.reasons[-1] if self.reasons else None):
            said.pop()  # as just above
        self.reasons.append(row["why"])
        for label, text in said:
            lines = textwrap.wrap(text, WIDTH - 19) or [""]
            parts += [f"        {label if k == 0 else '':<9}  {line}" for k, line in enumerate(lines)]
        return heading + "\n".join(parts) + "\n"

    def points(self) -> dict[str, list[int]]:
        """{group: [rows that hold, rows]}."""
        found: dict[str, list[int]] = {}
        for row in self.rows:
            held = found.setdefault(row["group"], [0, 0])
            held[0] += row["ok"]
            held[1] += 1
        return found

    def totals(self) -> str:
        points = self.points()
        groups = ", ".join(f"{group} {held}/{count}" for group, (held, count) in points.items())
        held, count = (sum(column) for column in zip(*points.values(), strict=True))
        return f"\n{held} of {count} rows hold: {groups}"

    def write(self, path: Path) -> None:
        """Keep the sheet as JSON, in one step."""
        files.write_json(
            path,
            {
                "file": self.graded.path.name,
                "class": self.graded.attribute,
                "sha256": self.graded.sha256,
                "graded_as": self.graded_as,
                "reference": None if self.graded_as is None else FORMULAS.get(self.graded_as),
                "checks": self.checks,
                "holds": self.holds,
                "points": self.points(),
                "rows": self.rows,
                **self.facts,
                "versions": provenance.versions(),
                "commit": provenance.commit(),
            },
        )
