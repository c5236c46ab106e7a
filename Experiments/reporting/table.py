"""One table, for reading (Markdown, HTML) and for computing (CSV)."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from Utils.study.statistics import Interval

DASH = "–"
LONG = 70  # characters of a cell beyond which it may break


@dataclass(frozen=True)
class Table:
    """`header` and `rows`: as shown, words. `records`: the same as plain values, a line of the CSV each."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Sequence[Mapping[str, Any]]
    note: str = ""

    def csv(self) -> str:
        out = io.StringIO()
        columns = list(dict.fromkeys(key for record in self.records for key in record))
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return out.getvalue()

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        note = f"\n{_cell(self.note)}\n" if self.note else ""
        return f"## {_cell(self.title)}\n\n{body}\n{note}"

    def html(self) -> str:
        """The table in a box of its own that scrolls. Columns that hold nothing but numbers are set to the right."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        marks = [_mark(column) for column in columns]
        head = "".join(
            f'<th scope="col"{mark}>{html.escape(cell)}</th>' for cell, mark in zip(self.header, marks, strict=True)
        )
        body = "\n".join(
            "<tr>"
            + "".join(f"<td{mark}>{html.escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True))
            + "</tr>"
            for row in self.rows
        )
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        title = html.escape(self.title)
        return (
            f'<h3>{title}</h3>\n<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
            f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{note}"
        )


def _mark(column: Sequence[str]) -> str:
    """How a column with these cells is set: numbers to the right, long text with breaks."""
    if all(cell[:1].isdigit() or cell[:1] in ("+", "-", DASH) for cell in column):
        return ' class="number"'
    return ' class="long"' if max(map(len, column)) > LONG else ""


def _cell(text: str) -> str:
    """Safe within a line of a Markdown table."""
    flat = " ".join(text.split())
    return html.escape(flat, quote=False).replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")


def spread(found: Interval | None, decimals: int = 2) -> str:
    """Mean ± half width, and of how many seeds: "91.68 ± 0.45 (3)". No ± where all seeds agree or one is alone."""
    if found is None:
        return DASH
    half = "" if not found.half else f" ± {found.half:.{decimals}f}"
    return f"{found.mean:.{decimals}f}{half} ({found.count})"
