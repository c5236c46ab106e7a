"""Compare what flows into each hidden unit with what flows out of it, as pruners score: conservation by unit.

A figure after figure 3 of Tanaka et al. (2020, arXiv 2006.05467). Their theorem 1 is about scores w * dR/dw of one
function R: the saliency, whose R is the loss, and SynFlow. In a Transformer's linear flow it holds for each hidden unit
of a feed-forward net and for each value, and around a residual sum for all that flows in and out together. For a query
and its key SynFlow stands in scores of its own. Of the loss it holds for these, whose scores are then equal, and not
around sums that a LayerNorm normalises.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments.theory import shared
from Experiments.theory.shared import check  # noqa: F401
from Experiments.theory.shared import flags_of_scores as flags  # noqa: F401

if TYPE_CHECKING:
    from torch import Tensor

DRAWN = 64  # units of a junction in the figure, at most
HEADER = ("writers and readers", "kind", "units")
WAYS = {"units": "every parameter", "units-pruned": "what is prunable alone"}


def run(args: Namespace) -> list[Path]:
    """Score every parameter with each pruner; write sums and figures; return the files."""
    data, device, folder, config = shared.begin(args)

    from Experiments import building
    from Experiments.reporting.table import Table
    from Experiments.theory import units
    from Utils import generator
    from Utils.study.tasks import pruner_title

    rows: dict[tuple[str, str], list[str]] = {}
    records: list[dict[str, Any]] = []
    figures: dict[str, list] = {way: [] for way in WAYS}
    for name in [shared.SALIENCY, *args.pruner_list]:
        model, scores = shared.scored(args, data, device, name)
        kinds = building.prunable_kinds(args)
        prunable = {pair.name for pair in generator.masked_parameters(model, args.prune_bias, *kinds)}
        for way, counted in zip(WAYS, (scores, {key: scores[key] for key in scores if key in prunable}), strict=True):
            points: dict[str, list] = {}
            for junction in units.junctions(model, data.shape, counted):
                into, out = junction.sums(counted)
                if not into.dim() or not out.dim():  # nothing of one side counts
                    continue
                apart = gap(into, out)
                record = {"pruner": name, "counted": WAYS[way], "kind": junction.kind}
                record |= {"junction": junction.name, "units": len(apart), "into": into.sum().item()}
                records.append(record | {"out": out.sum().item(), "largest_gap": apart.max().item()})
                if way == "units":
                    rows.setdefault((junction.name, junction.kind), [str(len(apart))]).append(f"{apart.max():.1e}")
                few = slice(None, None, -(-len(apart) // DRAWN))
                points.setdefault(junction.kind, []).extend(
                    zip(into[few].abs().tolist(), out[few].abs().tolist(), strict=True)
                )
            figures[way].append(partial(_panel, f"{pruner_title(name)}: {WAYS[way]}", points))
    header = [*HEADER, *map(pruner_title, [shared.SALIENCY, *args.pruner_list])]
    note = (
        "The largest difference, over the units, between the sum of scores that lead in and that of scores that lead "
        "out, as a share of the larger. Every parameter counts. Of a query and its key both sums lead in. Figures: "
        f"at most {DRAWN} units of each line, by size without sign."
    )
    title = f"Conservation by unit: {data.dataset.title}, {args.model} ({data.source} data)"
    table = Table(folder.name, title, header, [[*key, *row] for key, row in rows.items()], records, note)
    return shared.write(folder, config, table, figures, across=3)


def gap(into: Tensor, out: Tensor) -> Tensor:
    """Return |into - out| of each unit as a share of the larger; 0 where both are 0."""
    larger = into.abs().maximum(out.abs())
    return (into - out).abs() / larger.where(larger > 0, 1.0)


def _panel(title: str, points: dict[str, list], axes: Any) -> None:
    from Experiments.reporting import canvas, style

    for kind, colour, marker in zip(sorted(points), style.COLOURS[1:4], style.MARKERS[1:4], strict=False):
        shared.dots(axes, points[kind], color=colour, marker=marker, markersize=2.5, alpha=0.5, label=kind)
    shared.straight(axes, lambda x: x, "equal")
    axes.set(xlabel="sum of scores into a unit", ylabel="sum of scores out of it", title=title)
    canvas.legend(axes, columns=2)
