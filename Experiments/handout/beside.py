"""Our accuracies compared with those of public solutions and the paper, with a verdict for each cell."""

from collections.abc import Iterator, Mapping
from typing import Any

from Experiments.handout.entries import Entry, caption, entry, top1
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import (
    ARCHITECTURE_COMPRESSION,
    FC,
    PRECISION_PRUNER,
    VGG16,
    Column,
    Network,
    Profile,
)
from Experiments.reporting.table import DASH, Table
from Utils.study import paper, solutions
from Utils.study.solutions import Key, Public, Verdict


def accuracies(profile: Profile) -> Iterator[tuple[str, Network, Column, float]]:
    """Yield (question, network, column, compression) of each accuracy of questions 1 and 2, in their order."""
    for network in profile.networks:
        for column in profile.columns(untrained=True):
            yield "1", network, column, ARCHITECTURE_COMPRESSION
    for compression in profile.compressions:
        for column in profile.columns():
            yield "2a", profile.network, column, compression


def compare(found: Found, cells: Mapping[Key, Public]) -> tuple[Entry, Public | None, Verdict]:
    """Return our entry, the public solutions' at equal epochs (None if there is none), and the verdict."""
    ours, cell = entry(found, top1), found.cell
    pruner = f"{cell.pruner}+amp" if cell.pruner == PRECISION_PRUNER and cell.amp not in (None, "off") else cell.pruner
    public = cells.get((cell.network.name, pruner, cell.compression, cell.pre_epochs, cell.post_epochs))
    obstacle = ""
    if cell.network not in (VGG16, FC):
        obstacle = "another network"
    elif any(run.result["source"] != "real" for run in found.runs):
        obstacle = "sample data"
    return ours, public, solutions.verdict(ours.mean, public, obstacle, ours.record()["half_width"])


def printed(network: Network, pruner: str, compression: float) -> float | None:
    """Return the paper's accuracy of VGG16 after ten epochs; None for other networks."""
    cells = paper.read().image_table.cells
    return cells.get((compression, pruner)) if network == VGG16 else None


def table(profile: Profile, holdings: Holdings) -> Table:
    """Return the table: for each cell our accuracy, the paper's, the public median, range and number, the verdict."""
    cells = solutions.read()
    rows, records, founds = [], [], []
    for question, network, column, compression in accuracies(profile):
        found = holdings.of(profile.cell(network, column, compression))
        founds.append(found)
        ours, public, verdict = compare(found, cells)
        own = None if column.title.endswith("untrained") else printed(network, column.pruner, compression)
        epochs = f"{found.cell.pre_epochs} + {found.cell.post_epochs}"
        rows.append(
            [question, network.title, column.title, f"{compression:g}", epochs, ours.text]
            + [DASH if own is None else f"{own:.2f}", *_shown(public), str(verdict)]
        )
        record: dict[str, Any] = {
            "question": question,
            "network": network.name,
            "pruner": column.pruner,
            "compression": compression,
            "pre_epochs": found.cell.pre_epochs,
            "post_epochs": found.cell.post_epochs,
            "ours": ours.mean,
            "precision": ours.record()["precision"],
            "paper": own,
        }
        for key in ("median", "low", "high", "solutions"):
            record[f"public_{key}"] = None if public is None else getattr(public, key)
        records.append(record | {"verdict": verdict.word, "why": verdict.why})
    header = ["question", "network", "pruner", "compression", "epochs", "ours", "paper", "public median"]
    header += ["public range", "solutions", "verdict"]
    note = caption(
        profile, founds,
        "Public solutions at equal epochs before and after pruning; inside: our mean lies within their range, of "
        f"{solutions.FEW} solutions or more. They mostly share seed 1, so that the range shows hardware and versions "
        "more than seeds. The paper's images are after ten epochs, Mag's after ten before them too.",
    )  # fmt: skip
    return Table("public-solutions", "Beside the public solutions: test accuracy (top-1, %)", header, rows, records,
                 note)  # fmt: skip


def _shown(public: Public | None) -> list[str]:
    """Return the public median, range and number in words."""
    if public is None:
        return [DASH, DASH, "0"]
    if public.few:
        return [f"{public.median:.2f}", DASH, f"{public.solutions} (too few)"]
    return [f"{public.median:.2f}", f"{public.low:.2f} to {public.high:.2f}", f"{public.solutions}"]
