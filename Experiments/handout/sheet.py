"""The files to hand in: tables, figures, and one page that shows them in the handout's order."""

import contextlib
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from Experiments.handout import beside, pictures, tables, weights
from Experiments.handout.entries import Absent, caption, data
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import Profile
from Experiments.handout.timed import Times
from Experiments.reporting import writing
from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import DASH, Table
from Utils import console
from Utils.store import files
from Utils.study.runs import Run
from Utils.wording import counted

EXPORTED = (("synflow", 1.0), ("synflow", 2.0), ("rand", 1.0))  # pruner, compression: the first stored one is used
PAGE = "handout.md"
# The page's sentence about its runs.
MADE = re.compile(r"^Made of ([\d,]+) runs?(?: \((\d+) without a model\))?: (.+)\.$", re.MULTILINE)
# Question, what it asks for, prefixes of the names of the tables and figures that answer it.
QUESTIONS = (
    ("1", "Architectures: accuracy of each pruner on both networks", ("1-",)),
    ("2a", "Tuning compression: test accuracy, its table and curve", ("2a-",)),
    ("2b", "Tuning compression: test time, its table and curve", ("2b-",)),
    ("2c", "Tuning compression: FLOP, its table and curve", ("2c-",)),
    ("3a", "The compressed models: sparsity of each layer", ("3a-",)),
    ("3b", "The compressed models: weights of each layer", ("3b-",)),
    ("3c", "The compressed models: FLOP of each layer", ("3c-",)),
    ("4", "Mixed precision: memory and time", ("4-",)),
    ("–", "Beside the public solutions and the paper", ("public-",)),
)


def without_model(holdings: Holdings, times: Times) -> set[Path]:
    """Return the directories of the runs without a whole model, where a test time or a histogram needs it."""
    founds = tuning(holdings)
    drawn = [found.runs[0] for found in founds if found.runs and found.cell.compression == holdings.profile.shown]
    needed = [run for found in founds for run in found.runs if run in drawn or times.absence(run)]
    return {run.path for run in needed if not run.has_model()}


def tuning(holdings: Holdings) -> list[Found]:
    """Return the runs of each cell of question 2."""
    profile = holdings.profile
    return [found for c in profile.compressions for _, found in holdings.row(profile.network, c)]


def write(args: Namespace, holdings: Holdings) -> list[Path]:
    """Measure what has not been measured and write all files; return the page and the folders of tables and figures.

    If there is a page that was made of real data instead of samples, of more runs or of more models, all files stay,
    and nothing is returned.
    """
    profile = holdings.profile
    folder = Path(args.result_dir) / "assignment" / profile.name
    runs = {run.path: run for cell in profile.cells() for run in holdings.of(cell).runs}.values()
    times = Times(args, profile)
    lost = without_model(holdings, times)
    left_out = f" ({len(lost)} without a model)" if lost else ""
    made = f"Made of {counted(len(runs), 'run')}{left_out}: {data(list(runs)) if runs else 'no data'}."
    with contextlib.suppress(OSError):
        before = MADE.search((folder / PAGE).read_text(encoding="utf-8"))
        now = MADE.fullmatch(made)
        if before and now and _fullness(before) > _fullness(now):
            console.warn(f"{folder} stays as it is. {before[0]} Now it would be: {made} Delete it to have that")
            return []
    times.take(run for found in tuning(holdings) for run in found.runs)
    export = _export(holdings, times)
    made_tables = [
        tables.architectures(holdings),
        *tables.tuning(holdings, times),
        tables.exports(*export),
        *tables.layers(holdings),
        histogram_table(holdings),
        tables.mixed_precision(holdings),
        beside.table(holdings),
    ]
    made_tables = [table for table in made_tables if table.rows]  # the others are not written
    made_pictures = [
        pictures.architectures(holdings),
        *pictures.tuning(holdings, times),
        *pictures.layers(holdings),
        *pictures.histograms(holdings, (profile.shown,)),
        pictures.mixed_precision(holdings),
        pictures.public(holdings),
    ]
    writing.tables(folder, made_tables)
    writing.pictures(folder, made_pictures)
    page = files.save_text(folder / PAGE, text(profile, made, made_tables, made_pictures))
    return [page, folder / "tables", folder / "figures"]


def _export(holdings: Holdings, times: Times) -> tuple[Run | None, object]:
    """Return the first run of EXPORTED whose model is stored, and the measurements of its exports."""
    for pruner, compression in EXPORTED:
        held = {column.pruner: found for column, found in holdings.row(holdings.profile.network, compression)}
        for run in held[pruner].runs[:1]:
            if formats := times.exported(run):
                return run, formats
    return None, None


def histogram_table(holdings: Holdings) -> Table:
    """Return question 3's table of the kept weights of each layer; its CSV has the histograms."""
    profile = holdings.profile
    held = holdings.row(profile.network, profile.shown)
    rows, records = [], []
    for column, found in held:
        try:
            layers = weights.of_first(found)
        except Absent as error:
            rows.append([column.title, *[DASH] * 6, str(error)])
            records.append({"compression": profile.shown, "pruner": column.pruner, "why": str(error)})
            continue
        records += weights.records(column.pruner, profile.shown, layers)
        for number, layer in enumerate(layers, start=1):
            reach = f"{-layer.edges[0]:.4f}" if layer.kept else DASH
            share = f"{100 * layer.share_pruned:.2f}"
            numbers = [f"{layer.kept:,}", f"{layer.pruned:,}", share, f"{layer.deviation:.4f}", reach]
            rows.append([column.title, f"{number}", layer.name, *numbers])
    header = ["pruner", "layer", "module", "kept", "pruned", "pruned, %", "deviation of the kept", "largest magnitude"]
    note = "Kept weights after training, with their standard deviation; what is pruned is zero and is counted apart."
    title = f"Question 3b: weights by layer: {profile.network.title} at compression {profile.shown:g}"
    note = caption(profile, [found for _, found in held], note, "Of the first seed.")
    return Table("3b-weights", title, header, rows, records, note)


def _fullness(made: re.Match[str]) -> tuple[bool, int, int]:
    """Return what a page is made of, a fuller one higher: (whether real data are in it, runs, minus lost models)."""
    return made[3].startswith("real"), int(made[1].replace(",", "")), -int(made[2] or 0)


def text(profile: Profile, made: str, made_tables: Sequence[Table], made_pictures: Sequence[Picture]) -> str:
    """Return the page in Markdown: what to hand in, then the tables and figures of each question.

    made: a sentence about its runs, of the form `MADE`.
    """
    lines = [f"# Assignment one, profile {profile.name}", "", made, ""]
    if profile.reduced:
        lines += [f"**{profile.reduced}**", ""]
    lines += ["## What to hand in", "", "| question | asks for | tables | figures |", "| --- | --- | --- | --- |"]
    for question, asks, beginnings in QUESTIONS:
        named = [f"[{t.name}](tables/{t.name}.md)" for t in made_tables if t.name.startswith(beginnings)]
        shown = [f"[{p.name}](figures/{p.name}.png)" for p in made_pictures if p.name.startswith(beginnings)]
        lines.append(f"| {question} | {asks} | {', '.join(named)} | {', '.join(shown)} |")
    lines.append("")
    for _, _, beginnings in QUESTIONS:
        lines += [table.markdown() for table in made_tables if table.name.startswith(beginnings)]
        for drawn in made_pictures:
            if drawn.name.startswith(beginnings):
                lines += [f"![{drawn.title}](figures/{drawn.name}.png)", "", f"*{drawn.title}*", ""]
    return "\n".join(lines) + "\n"
