"""Read the stored runs and write tables, figures and a page, the paper's figures beside ours.

The comparison is a part of it, which `--experiment compare` makes alone: text with images, pruner with pruner, and
the paper's claims put to the runs.
"""

from argparse import Namespace
from pathlib import Path

from Utils.commandline.parser import Parser

# pandas and matplotlib are imported only if there are runs to report.

COMPARE = "compare"  # the name in the registry of that part


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings("study")


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> list[Path]:
    """Write the report below `args.report_dir` and return its files. The store is only read.

    The comparison is compare.md, compare.json and figures/retained.svg; the rest is report.html, tables/ and figures/.
    """
    from Experiments.reporting import study

    found = study.gather(args)

    from Experiments.reporting import comparison_tables, figures, page, results_tables, writing
    from Utils.study import runs

    place = Path(args.report_dir)
    comparison = comparison_tables.compare(found)
    written = [
        writing.text(place / "compare.md", comparison.markdown(runs=True)),
        writing.json(place / "compare.json", comparison.as_json()),
    ]
    if args.experiment == COMPARE:
        written += writing.pictures(place, figures.retained_pictures(found))
        print(comparison.markdown())
        print(f"Saved to {place}: compare.md, compare.json, figures/retained.svg")
        return written
    tables, pictures = results_tables.all_tables(found), figures.all_pictures(found)
    flat = runs.table(found.runs).to_csv(index=False, lineterminator="\n")
    written += [
        *writing.tables(place, [table for group in tables.values() for table in group]),
        *writing.tables(place, comparison.tables),
        writing.text(place / "tables" / "settings.csv", flat),
        *writing.pictures(place, [picture for group in pictures.values() for picture in group]),
        writing.text(place / "report.html", page.build(found, tables, comparison, pictures)),
    ]
    print(
        f"{len(found.runs)} runs, {len(found.tasks)} tasks. Saved {len(written)} files to {place}: report.html first."
    )
    return written
