"""What scoring and masking cost against the size of a model: each pruner from 0.1 to 30 million weights, drawn.

    python -m benchmarks.pruner_cost [--rounds 5] [--threads 2] [--sizes 0.1 0.3 1 3 10 30]

The models are one family, four masked Linear layers as wide as the size asks for; the examples are one batch of 64. The
cost of a pruner is that of `score`, then of `mask` to compression 1 in the global scope, from masks of all ones. Beside
it stands a training step: forward, backward and Adam. All are timed in turn within a process. Peak memory is what a
process of its own has resident at most, above what it has before it begins, the code it needs being loaded by then; of
a step that is the first, which makes the gradients and Adam's moments. An exponent is the slope of log(cost) on
log(weights) over the sizes from one million on: near 1 is near linear.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks import scaffold
from Layers.layers import Linear
from Utils import generator, load
from Utils.machine import memory
from Utils.training.adam import Adam
from Utils.training.loss import CrossEntropy
from Utils.training.train import train_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from Experiments.reporting.canvas import Draw

SIZES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # million weights
LARGE = 1.0  # million weights from which on an exponent is taken
FEATURES, SQUARE, CLASSES = 64, 2, 10  # numbers of the inputs, of the layers from width to width, and of the outputs
EXAMPLES, COMPRESSION = 64, 1.0
BELOW = 0.6  # of the lowest line, where the line of slope 1 is drawn


def network(weights: int) -> nn.Module:
    """Of the least width with so many: [B, FEATURES] -> [B, CLASSES]."""
    ends = FEATURES + CLASSES
    width = math.ceil((math.sqrt(ends**2 + 4 * SQUARE * weights) - ends) / (2 * SQUARE))
    between = [module for _ in range(SQUARE) for module in (Linear(width, width), nn.ReLU())]
    return nn.Sequential(Linear(FEATURES, width), nn.ReLU(), *between, Linear(width, CLASSES))


def bodies(weights: int) -> tuple[int, dict[str, Callable[[], dict[str, float]]]]:
    """How many weights the model has, and by name what is timed; each returns its seconds, a pruner's by part too."""
    torch.manual_seed(0)
    model = network(weights)
    batch = (torch.randn(EXAMPLES, FEATURES), torch.randint(0, CLASSES, (EXAMPLES,)))
    optimizer = Adam(generator.parameters(model), lr=1e-12)  # so that all are measured at the same weights
    masked = list(generator.masked_parameters(model))

    def step() -> dict[str, float]:
        return {"seconds": scaffold.timed(lambda: train_epoch(model, CrossEntropy(), optimizer, [batch], scaffold.CPU))}

    def pruning(name: str) -> Callable[[], dict[str, float]]:
        pruner = load.pruner(name)(masked)

        def body() -> dict[str, float]:
            model.eval()
            score = scaffold.timed(lambda: pruner.score(model, CrossEntropy(), [batch], scaffold.CPU))
            mask = scaffold.timed(lambda: pruner.mask(10.0**-COMPRESSION, "global"))
            for ones, _ in masked:
                ones.fill_(1.0)
            return {"score_seconds": score, "mask_seconds": mask, "seconds": score + mask}

        return body

    count = sum(parameter.numel() for _, parameter in masked)
    return count, {scaffold.STEP: step, **{name: pruning(name) for name in load.PRUNERS}}


def measured(size: float, args: argparse.Namespace) -> dict[str, Any]:
    """Return the costs at one size, in million weights."""
    weights, found = bodies(round(size * 1e6))
    return {
        "million": size,
        "weights": weights,
        "costs": scaffold.costs("benchmarks.pruner_cost", args, f"{size:g}", found),
    }


def exponents(sizes: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By name, of each of its costs; none where fewer than two sizes are large."""
    large = [size for size in sizes if size["million"] >= LARGE]
    if len(large) < 2:
        return {}
    across = [math.log(size["weights"]) for size in large]

    def slope(name: str, cost: str) -> float:
        return statistics.linear_regression(across, [math.log(size["costs"][name][cost]) for size in large]).slope

    wanted = ("seconds", "score_seconds", "mask_seconds", "peak_mib")
    return {
        name: {cost: slope(name, cost) for cost in wanted if cost in found} for name, found in large[0]["costs"].items()
    }


def panel(sizes: Sequence[dict[str, Any]], cost: str, title: str, unit: str) -> Draw:
    """One cost against the weights: a line a pruner, one of the step, and below them all a line of slope 1."""
    from matplotlib.ticker import LogLocator

    from Experiments.reporting import canvas, style
    from Utils.study.statistics import Interval

    def draw(axes: Axes) -> None:
        million = [size["weights"] / 1e6 for size in sizes]
        for name in sizes[0]["costs"]:
            step = name == scaffold.STEP
            look = style.Look(name, style.INK, "P") if step else style.look(name)
            found = [Interval(size["costs"][name][cost], None, 1) for size in sizes]
            canvas.curve(axes, million, found, look.colour, look.marker, look.title, "--" if step else "-")
        ends = [million[0] if million[-1] <= LARGE else max(million[0], LARGE), million[-1]]
        large = [size for size, at in zip(sizes, million, strict=True) if at >= ends[0]]
        least = min(found[cost] / size["weights"] for size in large for found in size["costs"].values()) * 1e6
        axes.plot(ends, [BELOW * least * end for end in ends], color=style.MUTED, linestyle=":", linewidth=1)
        place: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": style.MUTED, "va": "top"}
        axes.annotate("slope 1", (ends[0], BELOW * least * ends[0]), (5, 0), **place)
        axes.set(xscale="log", yscale="log", xlabel="million weights", ylabel=unit, title=title)
        axes.set_xticks([size["million"] for size in sizes])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=20))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        canvas.legend(axes, columns=3)

    return draw


def draw(sizes: Sequence[dict[str, Any]]) -> None:
    """Results/benchmarks/pruner_cost.svg and .png."""
    from Experiments.reporting import canvas, writing

    panels = [
        panel(sizes, "seconds", "Scoring and masking", "seconds"),
        panel(sizes, "peak_mib", "Peak memory above the start", "MiB"),
    ]
    made = canvas.picture("pruner_cost", "Cost of a pruner against the size of the model", panels)
    for path in writing.picture(scaffold.FOLDER, made):
        print(f"Saved to {path}")


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=5, threads=2)
    flags.add_argument("--sizes", type=float, nargs="+", default=SIZES, metavar="MILLION")
    args = flags.begin()
    if args.peak:
        size, name = args.peak
        bodies(1)[1][name]()  # loads the code
        print(json.dumps(scaffold.added_mib(bodies(round(float(size) * 1e6))[1][name])))
        return
    memory.keep_freed()  # for all, as in every run
    sizes = [measured(size, args) for size in sorted(set(args.sizes))]
    common = {"examples": EXAMPLES, "compression": COMPRESSION, "rounds": args.rounds, "threads": args.threads}
    scaffold.save("pruner_cost", {**common, "exponents": exponents(sizes), "sizes": sizes})
    draw(sizes)


if __name__ == "__main__":
    main()
