"""The grade sheet: its rows as text and as JSON."""

import math
import textwrap
from typing import Any

from Experiments.grading import FORMULAS
from Utils.store import provenance

WIDTH = 100
NAME = 37  # columns of a row's name; what was found is printed to its right


def one_line(text: str, most: int = 300) -> str:
    """Return text that the class under test may have written as one printable line of at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def finite(value: Any) -> Any:
    """Return a figure, or a dictionary or list of them, with NaN and infinities as words: JSON has no such numbers."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Sheet:
    """The rows of a grading, in the order in which they were made.

    file, name, sha256: the file's name and hash, and the class's name. facts: further entries of the JSON.
    """

    def __init__(
        self, file: str, name: str, sha256: str, graded_as: str | None, checks: list[str], facts: dict[str, Any]
    ) -> None:
        self.file, self.name, self.sha256, self.graded_as, self.checks = file, name, sha256, graded_as, checks
        self.rows: list[dict[str, Any]] = []  # {group, name, expected, found, ok, why, forgeable, figures}
        self.facts = facts
        self.reason = ""  # why the last row that failed matters

    @property
    def truth(self) -> str | None:
        """Return the pruner whose formula the scores should follow; None without one."""
        return self.graded_as if self.graded_as in FORMULAS else None

    @property
    def holds(self) -> bool:
        """Return whether there are rows and all of them hold."""
        return bool(self.rows) and all(row["ok"] for row in self.rows)

    def title(self) -> str:
        """Return the first line: the class, and the pruner that it is graded as."""
        beside = f"graded as {self.graded_as}" if self.graded_as else "none of ours by name"
        beside += "" if self.truth else ": its scores have no reference"
        return f"{self.name} of {one_line(self.file, 40)} (sha256 {self.sha256[:10]}), {beside}\n"

    def text(self) -> str:
        """Return the whole sheet for the console."""
        parts, group = [self.title()], ""
        for row in self.rows:
            if row["group"] != group:
                rests = all(other["forgeable"] for other in self.rows if other["group"] == row["group"])
                note = " (the class's own process is the witness: these rows weigh little in a grade)" if rests else ""
                parts.append(f"\n{row['group']}{note}\n")
            parts.append(self._lines(row))
            group = row["group"]
        return "".join([*parts, self.totals()])

    def _lines(self, row: dict[str, Any]) -> str:
        """Return a row's text: what was found and, if the row fails, what was expected and why it matters."""
        if row["ok"]:
            first, *more = textwrap.wrap(row["found"], WIDTH - NAME - 10) or [""]
            lines = [f"  ok    {row['name']:<{NAME}}  {first}", *(" " * (NAME + 10) + line for line in more)]
            return "\n".join(lines) + "\n"
        parts = [f"  FAIL  {row['name']}"]
        said = [("expected", row["expected"]), ("found", row["found"]), ("why", row["why"])]
        if row["why"] == self.reason:
            said.pop()  # the failing row before has printed it
        self.reason = row["why"]
        for label, text in said:
            lines = textwrap.wrap(text, WIDTH - 19) or [""]
            parts += [f"        {label if k == 0 else '':<9}  {line}" for k, line in enumerate(lines)]
        return "\n".join(parts) + "\n"

    def points(self) -> dict[str, list[int]]:
        """Return {group: [number of rows that hold, number of rows]}."""
        found: dict[str, list[int]] = {}
        for row in self.rows:
            held = found.setdefault(row["group"], [0, 0])
            held[0] += row["ok"]
            held[1] += 1
        return found

    def totals(self) -> str:
        """Return the last line: how many rows hold, in all and by group."""
        points = self.points()
        groups = ", ".join(f"{group} {held}/{count}" for group, (held, count) in points.items())
        held, count = (sum(column) for column in zip(*points.values(), strict=True))
        return f"\n{held} of {count} rows hold: {groups}"

    def content(self) -> dict[str, Any]:
        """Return what is stored as JSON."""
        return {
            "file": self.file, "class": self.name, "sha256": self.sha256,
            "graded_as": self.graded_as, "reference": FORMULAS[self.truth] if self.truth else None,
            "checks": self.checks, "holds": self.holds, "points": self.points(), "rows": self.rows,
            **self.facts, "versions": provenance.versions(), "commit": provenance.commit(),
        }  # fmt: skip
