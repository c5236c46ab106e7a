"""Writing of a report's files, each under a temporary name and then renamed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import Table
from Utils.store import files


def text(path: Path, content: str) -> Path:
    """Write a text file; return its path."""
    files.write_bytes(path, content.encode())
    return path


def tables(place: Path, found: Iterable[Table]) -> list[Path]:
    """Write tables/<name>.csv and .md for each table that has rows; return the paths."""
    return [
        text(place / "tables" / f"{table.name}.{kind}", content)
        for table in found
        if table.rows
        for kind, content in (("csv", table.csv()), ("md", table.markdown()))
    ]


def pictures(place: Path, found: Iterable[Picture]) -> list[Path]:
    """Write figures/<name>.svg and .png for each picture; return the paths."""
    return [path for made in found for path in picture(place / "figures", made)]


def picture(place: Path, made: Picture) -> list[Path]:
    """Write <name>.svg and .png; return the paths."""
    png = place / f"{made.name}.png"
    files.write_bytes(png, made.png)
    return [text(place / f"{made.name}.svg", made.svg), png]
