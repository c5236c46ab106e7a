"""The files of a report, each written to the side and renamed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import Table
from Utils.store import files


def text(path: Path, content: str) -> Path:
    files.write_bytes(path, content.encode())
    return path


def json(path: Path, content: object) -> Path:
    files.write_json(path, content)
    return path


def tables(place: Path, found: Iterable[Table]) -> list[Path]:
    """tables/<name>.csv and .md of those with something in them."""
    return [
        text(place / "tables" / f"{table.name}.{kind}", content)
        for table in found
        if table.rows
        for kind, content in (("csv", table.csv()), ("md", table.markdown()))
    ]


def pictures(place: Path, found: Iterable[Picture]) -> list[Path]:
    """figures/<name>.svg and .png."""
    return [path for made in found for path in picture(place / "figures", made)]


def picture(place: Path, made: Picture) -> list[Path]:
    """<name>.svg and .png."""
    png = place / f"{made.name}.png"
    files.write_bytes(png, made.png)
    return [text(place / f"{made.name}.svg", made.svg), png]
