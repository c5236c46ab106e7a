"""Compare text with images and pruner with pruner, and put the paper's claims to the stored runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from Utils.commandline.parser import Parser

# pandas and matplotlib are imported only if there are runs to compare.


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings("study")


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> str:
    """Print the comparison; write it, and its figures, below `args.report_dir`. The store is only read."""
    from Experiments.reporting import comparison_tables, figures, page, study, writing
    from Utils.store import files

    found = study.gather(args)
    place = Path(args.report_dir)
    tables = comparison_tables.all_tables(found)
    banner = [f"**{page.SAMPLES}**"] if found.on_samples else []
    behind = [
        f"- {claim}:\n" + "".join(f"  - `{run}`\n" for run in runs)
        for claim, runs in comparison_tables.runs_behind(found.claims)
    ]
    text = "\n".join(["# The comparison\n", *banner, *(table.markdown() for table in tables)])
    writing.text(place / "compare.md", "\n".join([text, "## Runs behind the claims\n", *behind]))
    files.write_json(place / "compare.json", comparison_tables.as_json(found))
    writing.pictures(place, figures.retained_pictures(found))
    print(text)
    print(f"Saved to {place}: compare.md, compare.json, figures/retained.svg")
    return text
