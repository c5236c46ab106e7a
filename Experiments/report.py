"""Read the stored runs and write tables, figures and a page, the paper's figures beside ours."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from Utils.commandline.parser import Parser

# pandas and matplotlib are imported only if there are runs to report.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings("study")


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> list[Path]:
    """Write report.html, tables/ and figures/ below `args.report_dir`; return the files. The store is only read."""
    from Experiments.reporting import comparison_tables, figures, page, results_tables, study, writing
    from Utils.study import runs

    found = study.gather(args)
    place = Path(args.report_dir)
    tables, pictures = results_tables.all_tables(found), figures.all_pictures(found)
    flat = runs.table(found.runs).to_csv(index=False, lineterminator="\n")
    written = [
        *writing.tables(place, [table for group in tables.values() for table in group]),
        *writing.tables(place, comparison_tables.all_tables(found)),
        writing.text(place / "tables" / "settings.csv", flat),
        *writing.pictures(place, [picture for group in pictures.values() for picture in group]),
        writing.text(place / "report.html", page.build(found, tables, pictures)),
    ]
    print(
        f"{len(found.runs)} runs, {len(found.tasks)} tasks. Saved {len(written)} files to {place}: report.html first."
    )
    return written
