"""Our accuracies compared with those of public solutions and the paper, with a verdict for each cell."""

from collections.abc import Iterator

from Experiments.handout.entries import Entry, caption, entry, top1
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import ARCHITECTURE_COMPRESSION, FC, PRECISION_PRUNER, VGG16, Column, Network
from Experiments.reporting.table import DASH, Table
from Utils.study import paper, solutions
from Utils.study.solutions import Public, Verdict


def accuracies(holdings: Holdings) -> Iterator[tuple[str, Column, Found]]:
    """Yield (question, column, runs) of each accuracy of questions 1 and 2, in their order."""
    profile = holdings.profile
    for network in profile.networks:
        for held in holdings.row(network, ARCHITECTURE_COMPRESSION, untrained=True):
            yield "1", *held
    for compression in profile.compressions:
        for held in holdings.row(profile.network, compression):
            yield "2a", *held


def compare(found: Found) -> tuple[Entry, Public | None, Verdict]:
    """Return our entry, the public solutions' at equal epochs (None if there is none), and the verdict."""
    ours, cell = entry(found, top1), found.cell
    pruner = f"{cell.pruner}+amp" if cell.pruner == PRECISION_PRUNER and cell.amp not in (None, "off") else cell.pruner
    key = cell.network.name, pruner, cell.compression, cell.pre_epochs, cell.post_epochs
    public = solutions.read().get(key)
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


def table(holdings: Holdings) -> Table:
    """Return the table: for each cell our accuracy, the paper's, the public median, range and number, the verdict."""
    rows, records, founds = [], [], []
    for question, column, found in accuracies(holdings):
        founds.append(found)
        cell, (ours, public, verdict) = found.cell, compare(found)
        own = None if column.title.endswith("untrained") else printed(cell.network, column.pruner, cell.compression)
        epochs = f"{cell.pre_epochs} + {cell.post_epochs}"
        rows.append(
            [question, cell.network.title, column.title, f"{cell.compression:g}", epochs, ours.text]
            + [DASH if own is None else f"{own:.2f}", *_shown(public), str(verdict)]
        )
        records.append(
            {"question": question, "network": cell.network.name, "pruner": column.pruner}
            | {key: getattr(cell, key) for key in ("compression", "pre_epochs", "post_epochs")}
            | {"ours": ours.mean, "precision": ours.record()["precision"], "paper": own}
            | {f"public_{key}": getattr(public, key, None) for key in ("median", "low", "high", "solutions")}
            | {"verdict": verdict.word, "why": verdict.why}
        )
    header = ["question", "network", "pruner", "compression", "epochs", "ours", "paper", "public median"]
    header += ["public range", "solutions", "verdict"]
    note = (
        "Public solutions at equal epochs before and after pruning; inside: our mean lies within their range, of "
        f"{solutions.FEW} solutions or more. They mostly share seed 1, so that the range shows hardware and versions "
        "more than seeds. The paper's images are after ten epochs, Mag's after ten before them too."
    )
    title = "Beside the public solutions: test accuracy (top-1, %)"
    return Table("public-solutions", title, header, rows, records, caption(holdings.profile, founds, note))


def _shown(public: Public | None) -> list[str]:
    """Return the public median, range and number in words."""
    if public is None:
        return [DASH, DASH, "0"]
    if public.few:
        return [f"{public.median:.2f}", DASH, f"{public.solutions} (too few)"]
    return [f"{public.median:.2f}", f"{public.low:.2f} to {public.high:.2f}", f"{public.solutions}"]
