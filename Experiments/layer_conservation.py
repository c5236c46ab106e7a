"""Compare the mean score of each layer with its size, as pruners score: conservation by layer.

A figure after figure 2 of Tanaka et al. (2020, arXiv 2006.05467). Where all scores of a layer add up to the same for
each layer of a chain (their theorem 2), the mean score is inverse to the size, and the largest layers are pruned first
by one-shot ranking. Beside a residual sum a layer gets only the share of the flow that does not pass by.
"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from Experiments.theory import shared
from Experiments.theory.shared import check  # noqa: F401
from Experiments.theory.shared import flags_of_scores as flags  # noqa: F401


def run(args: Namespace) -> list[Path]:
    """Score every parameter with each pruner; write means, sums and figures; return the files."""
    data, device, folder, config = shared.begin(args)

    from Experiments.reporting.figures import short
    from Experiments.reporting.table import Table
    from Experiments.theory import units
    from Utils.study.tasks import pruner_title

    cells: dict[str, list[str]] = {}
    records, panels = [], []
    for name in [shared.SALIENCY, *args.pruner_list]:
        model, scores = shared.scored(args, data, device, name)
        found = {part.name: (part.size(scores), part.total(scores)) for part in units.matrices(model)}
        most = max(abs(total) for _, total in found.values()) or 1.0
        for part, (size, total) in found.items():
            record = {"pruner": name, "layer": part, "size": size, "sum": total, "mean": total / size}
            records.append(record | {"share_of_largest": abs(total) / most})
            cells.setdefault(part, [short(part), f"{size:,}"]).append(f"{abs(total) / most:.3g}")
        panels.append(partial(_panel, pruner_title(name), list(found.values()), most))
    title = f"Conservation by layer: {data.dataset.title}, {args.model} ({data.source} data)"
    header = ("layer", "weights", *map(pruner_title, [shared.SALIENCY, *args.pruner_list]))
    note = (
        "The sum of a layer's scores, with its bias, as a share of the largest such sum: 1 everywhere is conservation. "
        "Figures: the mean score, without sign, against the inverse size. On the dotted line all layers have one sum."
    )
    table = Table(folder.name, title, header, list(cells.values()), records, note)
    return shared.write(folder, config, table, {"layers": panels}, across=3)


def _panel(title: str, found: list[tuple[int, float]], most: float, axes: Any) -> None:
    from Experiments.reporting import canvas, style

    points = [(1.0 / size, abs(total) / size) for size, total in found]
    shared.dots(axes, points, color=style.COLOURS[1], marker="o", markersize=4, alpha=0.7, label="a layer")
    shared.straight(axes, lambda x: most * x, "one sum for all")
    axes.set(xlabel="1 / number of weights of the layer", ylabel="mean score", title=title)
    canvas.legend(axes)
