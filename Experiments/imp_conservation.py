"""Compare the mean squared weight of each layer with its size, epoch by epoch: how iterative pruning works.

A figure after figure 4 of Tanaka et al. (2020, arXiv 2006.05467). Gradient flow keeps the difference between the sums
of squares that lead into a unit and out of it. So, as weights grow in a long training, the sums of layers come nearer
one another, relative to their size, and what magnitude pruning ranks comes nearer a score that layers conserve.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from Experiments.theory import shared
from Experiments.theory.shared import check  # noqa: F401
from Utils import settings
from Utils.commandline.kinds import positive_count
from Utils.commandline.parser import Parser


def flags(top: Parser) -> None:
    """Add the flags of this experiment to the parser."""
    words = "epochs of --post-epochs from one look at the weights to the next (default: 1)"
    top.add_argument_group("epochs").add_argument("--every", type=positive_count, default=1, metavar="N", help=words)
    idle = [row.name for row in settings.of("pruning") if row.name != "prune_embedding"]
    shared.flags(top, {}, ("pre_epochs", "patience", *idle))
    top.set_defaults(pruner="mag")


def run(args: Namespace) -> list[Path]:
    """Train, look at the weights every few epochs, write means and figures; return the files."""
    data, device, folder, config = shared.begin(args)

    from Experiments import building
    from Experiments.reporting.figures import short
    from Experiments.reporting.table import Table
    from Experiments.theory import units
    from Utils.training.descent import Descent
    from Utils.training.loss import CrossEntropy
    from Utils.training.train import train

    model, _ = building.model_and_pruner(data, args, device)
    loader, descent = building.train_loader(data, args), Descent(model, args)
    looks: dict[int, dict[str, tuple[int, float]]] = {}

    def look(epoch: int, loss: float = 0.0) -> None:
        if epoch % args.every == 0 or epoch == args.post_epochs:
            squares = {name: value.detach().double().square() for name, value in model.named_parameters()}
            found = units.matrices(model)
            looks[epoch] = {part.name: (part.size(squares), part.total(squares)) for part in found}
        if epoch:
            print(f"  epoch {epoch}/{args.post_epochs}: running loss {loss:.4f}", flush=True)

    look(0)
    prepare = descent.preparation(args.post_epochs, len(loader))
    loss, amp = CrossEntropy(args.label_smoothing), building.precision(args, device)
    train(model, loss, descent.optimizer, descent, loader, device, args.post_epochs, look, amp=amp, prepare=prepare)
    layers = list(looks[0])
    records = [
        {"epoch": epoch, "layer": part, "size": size, "sum": total, "mean": total / size}
        for epoch, found in looks.items()
        for part, (size, total) in found.items()
    ]
    header = ("layer", "weights", *(f"epoch {epoch}" for epoch in looks))
    rows = [[short(k), f"{looks[0][k][0]:,}", *(f"{found[k][1]:.4g}" for found in looks.values())] for k in layers]
    rows.append(["spread", "", *(f"{spread(found):.3f}" for found in looks.values())])
    note = (
        "The sum of a layer's squared weights, with its bias. Spread: standard deviation of its decimal logarithm "
        "over the layers, 0 if all have one sum. Figures: the mean against the inverse size."
    )
    title = f"Squared weights by layer in training: {data.dataset.title}, {args.model} ({data.source} data)"
    table = Table(folder.name, title, header, rows, records, note)
    return shared.write(folder, config, table, {"magnitudes": [_means(looks), _spreads(looks)]}, across=2)


def spread(found: dict[str, tuple[int, float]]) -> float:
    """Return the standard deviation of the decimal logarithms of the layers' sums; layers of zeros are left out."""
    import numpy as np

    return float(np.std([np.log10(total) for _, total in found.values() if total > 0.0]))


def _means(looks: dict[int, dict[str, tuple[int, float]]]) -> Any:
    def draw(axes: Any) -> None:
        from matplotlib import colormaps

        from Experiments.reporting import canvas

        shown = sorted({0, max(looks), *sorted(looks)[:: -(-len(looks) // 4)]})  # a few epochs, in the legend too
        for epoch in shown:
            points = [(1.0 / size, total / size) for size, total in looks[epoch].values()]
            colour = colormaps["plasma"](0.85 * epoch / max(1, *looks))
            shared.dots(axes, points, color=colour, marker="o", markersize=4, alpha=0.8, label=f"epoch {epoch}")
        total = max(total for _, total in looks[max(looks)].values())
        shared.straight(axes, lambda x: total * x, "one sum for all")
        axes.set(xlabel="1 / number of weights of the layer", ylabel="mean squared weight", title="Layers")
        canvas.legend(axes, columns=3)

    return draw


def _spreads(looks: dict[int, dict[str, tuple[int, float]]]) -> Any:
    def draw(axes: Any) -> None:
        from Experiments.reporting import style

        spreads = [spread(found) for found in looks.values()]
        axes.plot(list(looks), spreads, "o-", color=style.COLOURS[1], markersize=4)
        axes.set_ylim(0.0, 1.1 * max(spreads) or 1.0)
        axes.set(xlabel="epoch", ylabel="spread, in powers of ten", title="Spread of the layers' sums")

    return draw
