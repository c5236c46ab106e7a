"""What scoring and masking cost against the size of a model: each pruner from 0.1 to 30 million weights, drawn.

    python -m benchmarks.pruner_cost [--rounds 5] [--threads 2] [--sizes 0.1 0.3 1 3 10 30]

The models are one family, four masked Linear layers as wide as the size asks for; the examples are one batch of 64. The
cost of a pruner is that of `score`, then of `mask` to compression 1 in the global scope, from masks of all ones. Beside
it stands a training step (see benchmarks/scoring_cost.py). The peak memory of a step is that of the first, which makes
the gradients and Adam's moments. An exponent is the slope of log(cost) on log(weights) over the sizes from one million
on: near 1 is near linear.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from torch import nn

from benchmarks import scaffold
from benchmarks import scoring_cost as costs
from Experiments.reporting import canvas, style, writing
from Layers.layers import Linear
from Utils import generator
from Utils.machine import memory
from Utils.study.statistics import Interval

SIZES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # million weights
LARGE = 1.0  # million weights from which on an exponent is taken
FEATURES, SQUARE, CLASSES = 64, 2, 10  # numbers of the inputs, of the layers from width to width, and of the outputs
EXAMPLES = 64
BELOW = 0.6  # of the lowest line, where the line of slope 1 is drawn


def network(weights: int) -> nn.Module:
    """Of the least width with so many: [B, FEATURES] -> [B, CLASSES]."""
    ends = FEATURES + CLASSES
    width = math.ceil((math.sqrt(ends**2 + 4 * SQUARE * weights) - ends) / (2 * SQUARE))
    between = [module for _ in range(SQUARE) for module in (Linear(width, width), nn.ReLU())]
    return nn.Sequential(Linear(FEATURES, width), nn.ReLU(), *between, Linear(width, CLASSES))


def bodies(weights: int) -> costs.Bodies:
    """Return what is timed with a model of so many weights."""
    torch.manual_seed(0)
    batch = (torch.randn(EXAMPLES, FEATURES), torch.randint(0, CLASSES, (EXAMPLES,)))
    return costs.bodies(network(weights), batch, masking=True)


def measured(size: float, args: argparse.Namespace) -> dict[str, Any]:
    """Return the costs at one size, in million weights."""
    weights = sum(mask.numel() for mask, _ in generator.masked_parameters(network(round(size * 1e6))))
    found = costs.measured("benchmarks.pruner_cost", args, f"{size:g}", bodies(round(size * 1e6)))
    return {"million": size, "weights": weights, "costs": found}


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


def panel(sizes: Sequence[dict[str, Any]], cost: str, title: str, unit: str, axes: Axes) -> None:
    """One cost against the weights: a line a pruner, one of the step, and below them all a line of slope 1."""
    million = [size["weights"] / 1e6 for size in sizes]
    for name in sizes[0]["costs"]:
        step = name == costs.STEP
        look = style.Look(name, style.INK, "P") if step else style.look(name)
        found = [Interval(size["costs"][name][cost], None, 1) for size in sizes]
        canvas.curve(axes, million, found, look.colour, look.marker, look.title, "--" if step else "-")
    ends = [million[0] if million[-1] <= LARGE else max(million[0], LARGE), million[-1]]
    large = [size for size, at in zip(sizes, million, strict=True) if at >= ends[0]]
    least = min(found[cost] / size["weights"] for size in large for found in size["costs"].values()) * 1e6
    axes.plot(ends, [BELOW * least * end for end in ends], color=style.MUTED, linestyle=":", linewidth=1)
    options: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": style.MUTED, "va": "top"}
    axes.annotate("slope 1", (ends[0], BELOW * least * ends[0]), (5, 0), **options)
    axes.set(xscale="log", yscale="log", xlabel="million weights", ylabel=unit, title=title)
    axes.set_xticks([size["million"] for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=20))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    canvas.legend(axes, columns=3)


def draw(sizes: Sequence[dict[str, Any]]) -> None:
    """Results/benchmarks/pruner_cost.svg and .png."""
    panels = [
        partial(panel, sizes, "seconds", "Scoring and masking", "seconds"),
        partial(panel, sizes, "peak_mib", "Peak memory above the start", "MiB"),
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
        bodies(1)[name]()  # loads the code
        costs.print_peak(bodies(round(float(size) * 1e6))[name])
        return
    memory.keep_freed()  # for all, as in every run
    sizes = [measured(size, args) for size in sorted(set(args.sizes))]
    common = {"examples": EXAMPLES, "compression": costs.COMPRESSION, "rounds": args.rounds, "threads": args.threads}
    scaffold.save("pruner_cost", {**common, "exponents": exponents(sizes), "sizes": sizes})
    draw(sizes)


if __name__ == "__main__":
    main()
