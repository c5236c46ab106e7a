"""The page of a class: how its points are distributed, its commonest mistakes, and a line for each student."""

import html
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from Experiments.grading.outputs import FEEDBACK, GRADED, GRADER, LATE, STUDENT
from Experiments.grading.rubric import Rubric
from Experiments.grading.structure import COMMON
from Experiments.reporting import table
from Utils.wording import counted

INDEX = "index.html"
STYLE = Path(__file__).resolve().parent.parent / "reporting" / "browser" / "page.css"
COUNTED = {GRADED: "graded", STUDENT: "that cannot be graded", GRADER: "to be graded again", LATE: "timed out"}
BINS, SHOWN, ROWS = 10, 20, 3  # bars of the distribution; mistakes in the table, and rows named of each
WIDTH, HEIGHT = 600, 160  # of the picture, in units of its own


def build(sheets: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], marks: Rubric) -> str:
    """Return the page; rows: of the gradebook."""
    states = Counter(sheet["state"] for sheet in sheets)
    finals = [row["final"] for row in rows if isinstance(row["final"], int | float)]
    words = f"{counted(len(sheets), 'submission')}: " + ", ".join(
        f"{states[s]} {words}" for s, words in COUNTED.items() if states[s]
    )
    if finals:
        words += f". Points of {marks.points:g}: median {statistics.median(finals):g}, "
        words += f"from {min(finals):g} to {max(finals):g}"
    isolation = ", ".join(sorted({sheet["isolation"] for sheet in sheets}))
    sections = {
        "Distribution": _bars(finals, marks.points),
        "Commonest mistakes": _table("Mistakes", ("students", "class", "found", "rows that fail"), mistakes(sheets)),
        "Students": _students(rows),
    }
    body = "\n".join(f"<section>\n<h2>{name}</h2>\n{content}\n</section>" for name, content in sections.items())
    notes = (
        f"Isolation: {html.escape(isolation)}. Flags are for a human to look at and are never scored. "
        f"What more than {COMMON:.0%} of a class share counts as handed out. "
        f"A second rater's points go into the column override of gradebook.csv, which a new grading keeps."
    )
    content = f'<p>{html.escape(words)}.</p>\n<p class="note">{notes}</p>\n{body}'
    return table.document(html.escape(marks.assignment), STYLE.read_text(encoding="utf-8"), content)


def mistakes(sheets: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return (students, class, what was found, rows) of what was found most often in rows that fail.

    Words that differ in their numbers alone are one mistake.
    """
    students: dict[tuple[str, str], set[str]] = {}
    words: dict[tuple[str, str], Counter[str]] = {}
    places: dict[tuple[str, str], Counter[str]] = {}
    for sheet in (sheet for sheet in sheets if sheet["state"] == GRADED):
        for one in sheet["classes"]:
            for row in one["rows"]:
                if not row["ok"]:
                    key = one["class"], re.sub(r"\d+", "#", row["found"])
                    students.setdefault(key, set()).add(sheet["student"])
                    words.setdefault(key, Counter())[row["found"]] += 1
                    places.setdefault(key, Counter())[row["name"]] += 1
    cells: list[tuple[str, ...]] = []
    for key in sorted(students, key=lambda key: (-len(students[key]), key))[:SHOWN]:
        rows = [name for name, _ in places[key].most_common()]
        more = f" and {len(rows) - ROWS} more" if len(rows) > ROWS else ""
        said = words[key].most_common(1)[0][0]
        cells.append((str(len(students[key])), key[0], said, "; ".join(rows[:ROWS]) + more))
    return cells


def _bars(finals: Sequence[float], most: float) -> str:
    """Return a picture of how many have how many points, and the same in words for readers that see none."""
    counts = [0] * BINS
    for value in finals:
        counts[min(BINS - 1, max(0, int(BINS * value / most)))] += 1
    top, width = max([1, *counts]), WIDTH / BINS
    labels = [f"{most * k / BINS:g} to {most * (k + 1) / BINS:g}" for k in range(BINS)]
    bars = "".join(
        f'<rect x="{k * width + 4:g}" y="{HEIGHT - 20 - 110 * count / top:g}" width="{width - 8:g}" '
        f'height="{110 * count / top:g}" fill="var(--link)"><title>{label}: {count}</title></rect>'
        f'<text x="{(k + 0.5) * width:g}" y="{HEIGHT - 25 - 110 * count / top:g}" text-anchor="middle" '
        f'fill="currentColor" font-size="12">{count or ""}</text>'
        f'<text x="{(k + 0.5) * width:g}" y="{HEIGHT - 5}" text-anchor="middle" fill="currentColor" '
        f'font-size="10">{label}</text>'
        for k, (count, label) in enumerate(zip(counts, labels, strict=True))
    )
    said = "; ".join(f"{label}: {count}" for count, label in zip(counts, labels, strict=True) if count)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="points and students: {said}">{bars}</svg>'
        '<figcaption class="note">Students by points, overrides included</figcaption></figure>'
    )


def _students(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        points = "" if row["final"] in (None, "") else f"{row['final']:g}"
        points += f" (made {row['points']:g})" if row["override"] and isinstance(row["points"], int | float) else ""
        lines.append((row["student"], points, row["state"], row["rows"], row["reason"], row["flags"]))
    head = ("student", "points", "state", "rows", "reason", "flags")
    return _table("Students", head, lines, {str(row["student"]): f"{row['student']}/{FEEDBACK}" for row in rows})


def _table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[Any]], links: Mapping[str, str] | None = None
) -> str:
    """Return a table without its empty columns. links: what the first cell of a row leads to, by its words."""
    used = [k for k in range(len(head)) if not rows or any(str(row[k]) for row in rows)]
    head, rows = [head[k] for k in used], [[row[k] for k in used] for row in rows]
    lines = []
    for row in rows:
        cells = [html.escape(str(cell)) for cell in row]
        if links:
            cells[0] = f'<a href="{html.escape(quote(links[str(row[0])]))}">{cells[0]}</a>'
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "\n".join(lines)
    body = f'<table class="words"><thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody></table>'
    return table.boxed(title, body)
