"""Read the stored runs and write tables, figures and a page, the paper's figures beside ours.

The comparison is a part of it, which `--experiment compare` makes alone: text with images, pruner with pruner, and
the paper's claims put to the runs.
"""

from argparse import SUPPRESS, Namespace
from pathlib import Path

from Utils import console
from Utils.commandline.kinds import path
from Utils.commandline.parser import Parser
from Utils.store import files, seal
from Utils.wording import counted

# pandas and matplotlib are imported only if there are runs to report.

COMPARE = "compare"  # the name in the registry of that part


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    top.add_settings("study")
    words = "the same as --store, as it is called for runs"
    add = top._action_groups[-1].add_argument
    add("--result-dir", dest="store", type=path, nargs="+", metavar="DIR", default=SUPPRESS, help=words)


def check(args: Namespace) -> Namespace:
    """Return the arguments unchanged."""
    return args


def run(args: Namespace) -> list[Path]:
    """Write the report below `args.report_dir` and return its files. The store is only read.

    The comparison is compare.md, compare.json and figures/retained.svg; the rest is report.html, tables/ and figures/.
    Tables and figures of an earlier report that this one does not make are removed (Experiments/reporting/writing.py).
    """
    from Experiments.reporting import study

    found = study.gather(args)

    from Experiments.reporting import comparison_tables, figures, page, results_tables, writing
    from Utils.study import runs

    if bare := sum(not (run.path / seal.FILE).exists() for run in found.runs):
        console.note(
            f"{counted(bare, 'run')} without checksums, as made by earlier versions, whose damage would not be seen; "
            "--experiment seal adds them"
        )
    out = Path(args.report_dir)
    comparison = comparison_tables.compare(found)
    written = [
        files.save_text(out / "compare.md", comparison.markdown(runs=True)),
        files.write_json(out / "compare.json", comparison.as_json()),
    ]
    if args.experiment == COMPARE:
        written += writing.pictures(out, figures.retained_pictures(found))
        print(comparison.markdown())
        print(f"Saved to {out}: compare.md, compare.json, figures/retained.svg")
        return written
    tables, pictures = results_tables.all_tables(found), figures.all_pictures(found)
    flat = runs.table(found.runs).to_csv(index=False, lineterminator="\n")
    written += [
        *writing.tables(out, [table for group in tables.values() for table in group]),
        *writing.tables(out, comparison.tables),
        files.save_text(out / "tables" / "settings.csv", flat),
        *writing.pictures(out, [picture for group in pictures.values() for picture in group]),
        files.save_text(out / "report.html", page.build(found, tables, comparison, pictures)),
    ]
    written.append(writing.settle(out, written))
    left_out = f", {len(found.left_out)} left out" if found.left_out else ""
    print(
        f"{counted(len(found.runs), 'run')}{left_out}, {counted(len(found.tasks), 'task')}. "
        f"Saved {len(written)} files to {out}: report.html first."
    )
    return written
