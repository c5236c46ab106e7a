"""Writing of a report's files, each under a temporary name and then renamed, and removal of those no longer made."""

from collections.abc import Iterable
from pathlib import Path

from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import Table
from Utils import console
from Utils.store import files

MADE = "report.sha256"  # the report's own files with their checksums, as `sha256sum --check` reads them


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


def settle(folder: Path, written: Iterable[Path]) -> Path:
    """List the report's files in MADE and return its path; remove tables and figures of an earlier one not written now.

    A file that MADE does not list is the user's. One that has changed since it was listed stays, with a warning.
    """
    now = {path.relative_to(folder).as_posix(): files.sha256(path) for path in written}
    made = folder / MADE
    lines = made.read_text(encoding="utf-8", errors="replace").splitlines() if made.is_file() else []
    for sum_, _, name in (line.partition("  ") for line in lines):
        path = folder / name
        if name in now or path.parent not in (folder / "tables", folder / "figures") or not path.is_file():
            continue
        if files.sha256(path) == sum_:
            path.unlink()
        else:
            console.warn(f"{path} was of an earlier report and has changed since; it is left, and no longer up to date")
    return files.save_text(made, "".join(f"{now[name]}  {name}\n" for name in sorted(now)))
