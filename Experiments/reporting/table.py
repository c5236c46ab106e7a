"""A table in Markdown and HTML for readers, and in CSV for programs."""

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from Utils.study.statistics import Interval

DASH = "–"
LONG = 70  # a longer cell, in characters, may have line breaks


@dataclass(frozen=True)
class Table:
    """A table and its contents as plain values."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # words, as shown
    records: Sequence[Mapping[str, Any]]  # plain values, one per line of the CSV
    note: str = ""

    def csv(self) -> str:
        """Return the records as CSV."""
        out = io.StringIO()
        columns = list(dict.fromkeys(key for record in self.records for key in record))
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return out.getvalue()

    def markdown(self) -> str:
        """Return the table in Markdown, below its title."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        note = f"\n{_cell(self.note)}\n" if self.note else ""
        return f"## {_cell(self.title)}\n\n{body}\n{note}"

    def html(self) -> str:
        """Return the table in HTML, folded away below its title, in a box that scrolls.

        Columns with nothing but numbers are aligned to the right.
        """
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
        body = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
        return folded(f"table-{self.name}", self.title, boxed(self.title, body) + note)


def document(title: str, style: str, content: str, head: str = "", scripts: str = "") -> str:
    """Return a whole page. head: further lines of its head; scripts: what follows the content."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{content}\n</main>\n"
        f"{scripts}</body>\n</html>\n"
    )


def folded(name: str, title: str, content: str, data: str = "") -> str:
    """Return content in HTML that is folded away below its title; data: what the page's script draws into it."""
    drawn = f" data-{data}" if data else ""
    return f'<details id="{html.escape(name)}"{drawn}><summary>{html.escape(title)}</summary>\n{content}</details>'


def boxed(title: str, content: str) -> str:
    """Return content in HTML in a box that scrolls, by keys as well."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(title)}">{content}</div>'


def _mark(column: Sequence[str]) -> str:
    """Return the HTML class of a column with these cells: numbers on the right, long text with line breaks."""
    if all(cell[:1].isdigit() or cell[:1] in ("+", "-", DASH) for cell in column):
        return ' class="number"'
    return ' class="long"' if max(map(len, column)) > LONG else ""


def _cell(text: str) -> str:
    """Escape text for a line of a Markdown table."""
    flat = " ".join(text.split())
    return html.escape(flat, quote=False).replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")


def spread(mean: Interval | None, form: str = ".2f") -> str:
    """Return mean ± half width and the number of seeds: "91.68 ± 0.45 (3)". ± is left out if it is zero or unknown."""
    if mean is None:
        return DASH
    half = "" if not mean.half else f" ± {mean.half:{form}}"
    return f"{mean.mean:{form}}{half} ({mean.count})"
