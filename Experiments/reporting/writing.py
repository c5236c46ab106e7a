"""Writing of a report's files, each under a temporary name and then renamed."""

from collections.abc import Iterable
from pathlib import Path

from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import Table
from Utils.store import files


def tables(folder: Path, written: Iterable[Table]) -> list[Path]:
    """Write tables/<name>.csv and .md for each table that has rows; return the paths."""
    return [
        files.save_text(folder / "tables" / f"{table.name}.{kind}", content)
        for table in written
        if table.rows
        for kind, content in (("csv", table.csv()), ("md", table.markdown()))
    ]


def pictures(folder: Path, drawn: Iterable[Picture]) -> list[Path]:
    """Write figures/<name>.svg and .png for each picture; return the paths."""
    return [path for made in drawn for path in picture(folder / "figures", made)]


def picture(folder: Path, made: Picture) -> list[Path]:
    """Write <name>.svg and .png; return the paths."""
    drawn = files.save_text(folder / f"{made.name}.svg", made.svg)
    return [drawn, files.write_bytes(folder / f"{made.name}.png", made.png)]
