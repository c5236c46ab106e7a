"""Compare what one round of pruning removes with what a whole layer holds, by number of rounds and schedule.

A figure after figure 5 of Tanaka et al. (2020, arXiv 2006.05467). No layer is emptied early where scores are positive
and conserved by layer, and a round removes less than a layer holds (their theorem 3). The largest share that a round
removes falls with the number of rounds, sooner where the density falls exponentially than where it falls linearly.
"""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Experiments.theory import shared
from Experiments.theory.shared import check  # noqa: F401
from Utils import load
from Utils.commandline.parser import Parser

if TYPE_CHECKING:
    import torch
    from torch import nn

HEADER = ("schedule", "compression", "rounds", "largest share of a round", "emptied tensors")


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    lists: dict[str, list] = {"prune_epoch_list": [1, 3, 10, 30], "compression_list": [1.0, 2.0]}
    idle = ("compression", "compression_schedule", "prune_epochs", "masks", "reinitialize", "shuffle", "invert")
    shared.flags(top, lists, (*shared.TRAINING, *idle))


def run(args: Namespace) -> list[Path]:
    """Prune by each schedule, compression and number of rounds; write shares and figures; return the files."""
    data, device, folder, config = shared.begin(args)

    from Experiments import building
    from Experiments.reporting.table import Table
    from Utils.study.tasks import pruner_title

    records = []
    for schedule in load.SCHEDULES:
        for compression in args.compression_list:
            for rounds in args.prune_epoch_list:
                model, pruner = building.model_and_pruner(data, args, device)
                loader = building.prune_loader(data, args)
                share = largest(model, pruner, loader, device, 10.0**-compression, schedule, args, rounds)
                emptied = sum(not mask.any() for mask, _ in pruner.masked_parameters)
                record = {"schedule": schedule, "compression": compression, "rounds": rounds}
                records.append(record | {"largest_share": share, "emptied": emptied})
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in r.values()] for r in records]
    note = (
        "The scores that a round removes, in all, as a share of those of the tensor that holds least, of the tensors "
        "that hold any: below 1, no round can empty a tensor. Figures: hollow if a tensor was emptied."
    )
    title = f"Pruning in rounds with {pruner_title(args.pruner)}: {data.dataset.title}, {args.model}"
    table = Table(folder.name, f"{title} ({data.source} data)", HEADER, rows, records, note)
    panels = [_panel(schedule, [r for r in records if r["schedule"] == schedule]) for schedule in load.SCHEDULES]
    return shared.write(folder, config, table, {"schedules": panels}, across=2)


def largest(
    model: nn.Module, pruner: Any, loader: Any, device: torch.device, density: float, schedule: str, args: Namespace,
    rounds: int,
) -> float:  # fmt: skip
    """Prune in rounds; return the largest ratio of the scores that one removed to those of the tensor with the least.

    Scores count by size. Rounds after one that emptied a tensor do not count: nothing flows any more but biases.
    """
    from Utils.training.loss import CrossEntropy
    from Utils.training.prune import density_after

    model.train(args.prune_train_mode)
    ratios, whole = [0.0], True
    for k in range(1, rounds + 1):
        pruner.score(model, CrossEntropy(), loader, device)
        before = [mask.clone() for mask, _ in pruner.masked_parameters]
        sizes = [score.double().abs() * mask for score, mask in zip(pruner.scores.values(), before, strict=True)]
        pruner.mask(density_after(density, schedule, k, rounds), args.mask_scope)
        masks = [mask for mask, _ in pruner.masked_parameters]
        removed = math.fsum(float((size * (1 - mask)).sum()) for size, mask in zip(sizes, masks, strict=True))
        held = [total for size in sizes if (total := float(size.sum())) > 0.0]
        if whole and held:
            ratios.append(removed / min(held))
        whole = whole and all(mask.any() for mask in masks)
    return max(ratios)


def _panel(schedule: str, records: list[dict[str, Any]]) -> Any:
    def draw(axes: Any) -> None:
        from Experiments.reporting import canvas, style

        for k, compression in enumerate(dict.fromkeys(record["compression"] for record in records)):
            own = [record for record in records if record["compression"] == compression]
            colour, marker = style.COLOURS[(k + 1) % len(style.COLOURS)], style.MARKERS[(k + 1) % len(style.COLOURS)]
            axes.plot([r["rounds"] for r in own], [r["largest_share"] for r in own], color=colour, linewidth=1.2)
            for emptied in (False, True):
                points = [(r["rounds"], r["largest_share"]) for r in own if bool(r["emptied"]) == emptied]
                fill = style.BACK if emptied else colour
                label = None if emptied else f"compression {compression:g}"
                shared.dots(axes, points, color=colour, marker=marker, markerfacecolor=fill, markersize=5)
                if label:
                    axes.plot([], [], color=colour, marker=marker, markersize=5, label=label)
        canvas.log(axes)
        shared.straight(axes, lambda _: 1.0, "a whole layer")
        axes.set(xlabel="rounds", ylabel="largest share that a round removes", title=f"{schedule} schedule")
        canvas.legend(axes, columns=2)

    return draw
