"""The handout's figures: curves by compression, bars by layer, histograms of weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from Experiments.handout import beside, entries, tables, weights
from Experiments.handout.entries import Absent, entry
from Experiments.handout.holdings import Found, Holdings
from Experiments.handout.questions import ARCHITECTURE_COMPRESSION, PRECISIONS, Column, Network, Profile
from Experiments.handout.timed import Times
from Experiments.handout.weights import Layer
from Experiments.reporting import canvas, style
from Experiments.reporting.canvas import Draw, Picture
from Experiments.reporting.table import DASH
from Utils.study.runs import Run

SIDE_BY_SIDE = 1.035  # the ratio of the places of two pruners beside each other, on the axis of compressions
ABOVE: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}  # of words above a bar
Extent = Callable[[Sequence[Run]], tuple[float, float]]
PLAIN, OTHER = "#5d6470", "#d55e00"  # fp32 and mixed precision


def _by_compression(axes: Axes, profile: Profile) -> None:
    """Set the horizontal axis to compressions, with a tick for each one of the handout."""
    axes.set_xscale("log")
    axes.set_xticks(list(profile.compressions), [f"{compression:g}" for compression in profile.compressions])
    axes.set_xlim(profile.compressions[0] / 1.25, profile.compressions[-1] * 1.25)
    axes.set_xlabel("compression (the fraction 10^-c is kept)")


def _empty(axes: Axes, why: str) -> None:
    """Clear a panel's axes and write the reason why there is nothing to show."""
    axes.text(0.5, 0.5, why or "no run yet", transform=axes.transAxes, ha="center", va="center", color=style.MUTED)
    axes.minorticks_off()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set(xlabel="", ylabel="")


def architectures(holdings: Holdings) -> Picture:
    """Draw question 1: one panel per network, with one bar per pruner."""
    title = f"Test accuracy at compression {ARCHITECTURE_COMPRESSION:g}"
    panels = [partial(_accuracies, holdings, network) for network in holdings.profile.networks]
    return canvas.picture("1-architectures", title, panels)


def _accuracies(holdings: Holdings, network: Network, axes: Axes) -> None:
    columns = holdings.row(network, ARCHITECTURE_COMPRESSION, untrained=True)
    for k, (column, found) in enumerate(columns):
        mean, look = entry(found, entries.top1).found, style.look(column.pruner)
        if mean is None:
            axes.annotate(DASH, (k, 0), (0, 3), fontsize=8, **ABOVE)
            continue
        half = mean.half if mean.count >= entries.SEEDS_FOR_HALF else None
        axes.bar(
            k, mean.mean, 0.7, edgecolor=look.colour, yerr=half, capsize=3, ecolor=style.INK,
            color=style.BACK if column.title.endswith("untrained") else look.colour,
        )  # fmt: skip
        axes.annotate(f"{mean.mean:.2f}", (k, mean.mean + (half or 0.0)), (0, 4 if half else 2), fontsize=7.5, **ABOVE)
    names = [column.title.replace(", ", ",\n") for column, _ in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=8)
    axes.set_ylim(0, 112)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("test accuracy (top-1), %")
    axes.set_title(network.title)


def _lines(
    axes: Axes, profile: Profile, lines: Sequence[tuple[str, str, str, Sequence[Found]]],
    figure: Callable[[Run], float], scale: float = 1.0, extent: Extent | None = None,
) -> list[float]:  # fmt: skip
    """Draw a figure of runs against compression and return all values; a line is (title, colour, marker, runs)."""
    values: list[float] = []
    for k, (title, colour, marker, founds) in enumerate(lines):
        means = [entry(found, figure, scale=scale).found for found in founds]
        cells = zip(profile.compressions, founds, means, strict=True)
        there = [(c, found.runs, mean) for c, found, mean in cells if mean is not None]
        if there:
            points = [c * (SIDE_BY_SIDE ** (k - 2) if extent else 1.0) for c, _, _ in there]
            ends = [extent(runs) for _, runs, _ in there] if extent else None
            canvas.curve(axes, points, [mean for _, _, mean in there], colour, marker, title, ends=ends)
            values += [mean.mean for _, _, mean in there] + [value for pair in ends or () for value in pair]
    if values:
        _by_compression(axes, profile)
    else:
        _empty(axes, "no run yet")
    return values


def curve(
    name: str, title: str, words: str, holdings: Holdings, figure: Callable[[Run], float], log: bool = False,
    extent: Extent | None = None,
) -> Picture:  # fmt: skip
    """Draw a figure of the runs against compression, one line per pruner.

    extent: returns the ends of the bar of a cell's runs. With it the points of the pruners are side by side, and the
    vertical axis begins at 0. Without it the bars are intervals over the seeds.
    """
    profile = holdings.profile

    def draw(axes: Axes) -> None:
        lines = []
        for column in profile.columns():
            look = style.look(column.pruner)
            founds = [holdings.of(profile.cell(profile.network, column, c)) for c in profile.compressions]
            lines.append((look.title, look.colour, look.marker, founds))
        axes.set_title(profile.network.title)
        if not (values := _lines(axes, profile, lines, figure, extent=extent)):
            return
        axes.set_ylabel(words)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        elif extent:
            axes.set_ylim(0.0, 1.08 * max(values))
        else:
            canvas.limits(axes, values)
        canvas.legend(axes)

    return canvas.picture(name, title, [draw])


def tuning(holdings: Holdings, times: Times) -> list[Picture]:
    """Draw the three curves of question 2."""
    time = "Test time against compression: median pass, with bars from the shortest to the longest"
    return [
        curve("2a-accuracy", "Test accuracy against compression", "test accuracy (top-1), %", holdings, entries.top1),
        curve("2b-test-time", time, "forward passes, s: median and range", holdings, times.seconds,
              extent=times.extent),
        curve("2c-flop", "FLOP against compression", "fraction of the FLOP that remains", holdings,
              entries.flop_fraction, log=True),
    ]  # fmt: skip


def layers(holdings: Holdings) -> list[Picture]:
    """Draw what remains of each layer: two pictures per compression, one panel per pruner."""
    pictures = []
    for compression in holdings.profile.compressions:
        sparsity, flop = tables.layer_figures(holdings, compression)
        most = max((share for column in sparsity.values() for share, _ in column.values()), default=1.0)
        where = f"{holdings.profile.network.title}, compression {compression:g}"
        for name, title, columns, draw in (
            ("3a-sparsity", "Fraction of the weights that remains, by layer", sparsity, partial(_densities, most)),
            ("3c-flop", "FLOP that remains, by layer", flop, _flops),
        ):
            panels = [
                partial(_by_layer, column, found.why, columns.get(column.title), draw)
                for column, found in holdings.row(holdings.profile.network, compression)
            ]
            pictures.append(canvas.picture(f"{name}-c{compression:g}", f"{title}: {where}", panels, height=3.0))
    return pictures


def _by_layer(
    column: Column, why: str, figures: tables.Layers | None, draw: Callable[[Axes, str, Sequence], None], axes: Axes
) -> None:
    """Draw a pruner's panel, with a bar for each layer from left to right; `why` explains an empty one."""
    axes.set_title(column.title)
    if not figures:
        _empty(axes, why)
        return
    draw(axes, style.look(column.pruner).colour, list(figures.values()))
    axes.set_xticks(range(len(figures)), [str(number) for number, _ in figures], fontsize=7.5)
    axes.set_xlabel("layer")  # the table has the names of their modules too
    axes.grid(visible=False, axis="x")


def _densities(most: float, axes: Axes, colour: str, values: Sequence[tuple[float, Any]]) -> None:
    """Draw fractions; all panels have one scale, up to `most`, the highest bar of all."""
    axes.bar(range(len(values)), [share for share, _ in values], 0.75, color=colour)
    for k, (share, _) in enumerate(values):
        if share == 0.0:
            axes.annotate("0", (k, 0.0), (0, 2), fontsize=8, **ABOVE)
    axes.set_ylim(0.0, 1.08 * most)
    axes.set_ylabel("weights that remain")


def _flops(axes: Axes, colour: str, values: Sequence[tuple[int, int]]) -> None:
    kept, dense = zip(*values, strict=True)
    scale, unit = (1e-6, "million ") if max(dense) >= 2e6 else (1e-3, "thousand ")
    axes.bar(range(len(dense)), [scale * v for v in dense], 0.75, color=style.GRID, label="dense")
    axes.bar(range(len(kept)), [scale * v for v in kept], 0.75, color=colour, label="remains")
    axes.set_ylabel(f"{unit}multiply-adds")
    canvas.legend(axes)


def histograms(holdings: Holdings, compressions: Sequence[float]) -> list[Picture]:
    """Draw the kept weights: one picture per pruner and compression, one panel per layer."""
    pictures = []
    network = holdings.profile.network
    for compression in compressions:
        for column, found in holdings.row(network, compression):
            title = f"Weights by layer: {network.title}, {column.title}, compression {compression:g}"
            colour = style.look(column.pruner).colour
            try:
                layers = weights.of_first(found)
                panels: list[Draw] = [partial(_histogram, k, layer, colour) for k, layer in enumerate(layers, 1)]
            except Absent as error:
                panels = [partial(_empty, why=str(error))]
            name = f"3b-weights-{column.pruner}-c{compression:g}"
            pictures.append(canvas.picture(name, title, panels, height=2.5))
    return pictures


def _histogram(number: int, layer: Layer, colour: str, axes: Axes) -> None:
    axes.set_title(f"layer {number} (module {layer.name})", fontsize=9, pad=17)
    share = 1.0 - layer.share_pruned
    bar: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "height": 0.045, "align": "edge"}
    axes.barh(1.03, share, color=colour, **bar)
    axes.barh(1.03, 1.0 - share, left=share, color=style.GRID, **bar)
    words = f"{layer.pruned:,} pruned ({100 * layer.share_pruned:.1f} %)"
    options: dict[str, Any] = {**ABOVE, "xycoords": "axes fraction", "ha": "right"}
    axes.annotate(words, (1.0, 1.075), (0, 4), color=style.MUTED, fontsize=7.5, **options)
    if not layer.kept:
        _empty(axes, "no weight is left")
        return
    axes.bar(layer.edges[:-1], layer.counts, layer.edges[1:] - layer.edges[:-1], align="edge", color=colour)
    axes.set_xlim(layer.edges[0], layer.edges[-1])
    axes.grid(visible=False, axis="x")
    axes.tick_params(labelsize=7.5)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"value of the {layer.kept:,} weights kept", fontsize=8)


def mixed_precision(holdings: Holdings) -> Picture:
    """Draw question 4: memory, time and accuracy of Rand in both precisions against compression."""
    panels = [partial(_precisions, holdings, *tables.PRECISION_FIGURES[k][:3]) for k in (0, 2, 3)]
    title = f"Mixed precision: {holdings.profile.network.title}, Rand"
    return canvas.picture("4-mixed-precision", title, panels)


def _precisions(holdings: Holdings, title: str, figure: Callable[[Run], float], scale: float, axes: Axes) -> None:
    lines, profile = [], holdings.profile
    for amp, look in zip(PRECISIONS, ((PLAIN, "o"), (OTHER, "D")), strict=True):
        founds = [holdings.of(profile.precision_cell(c, amp)) for c in profile.compressions]
        lines.append((entries.precision(amp), *look, founds))
    axes.set_title(title.partition(",")[0])
    if values := _lines(axes, profile, lines, figure, scale):
        axes.set_ylabel(title)
        axes.set_ylim(0.0, 1.15 * max(values))
        canvas.legend(axes)


def public(holdings: Holdings) -> Picture:
    """Draw our accuracy, the paper's and the public solutions' against compression, one panel per pruner."""
    title = f"Beside the public solutions: {holdings.profile.network.title}"
    panels = [partial(_beside, holdings, column) for column in holdings.profile.columns()]
    return canvas.picture("public-solutions", title, panels)


def _beside(holdings: Holdings, column: Column, axes: Axes) -> None:
    look, profile = style.look(column.pruner), holdings.profile
    for c in profile.compressions:
        ours, others, _ = beside.compare(holdings.of(profile.cell(profile.network, column, c)))
        own = beside.printed(profile.network, column.pruner, c)
        if others is not None and not others.few:
            bar: dict[str, Any] = {"color": style.MUTED, "linewidth": 6, "alpha": 0.4, "solid_capstyle": "butt"}
            axes.plot([c, c], [others.low, others.high], label="public range", **bar)
        if others is not None:
            axes.plot(c, others.median, "_", color=style.INK, markersize=10, label="public median")
        if own is not None:
            axes.plot(c, own, "x", color=style.INK, markersize=5, label="paper")
        if ours.mean is not None:
            marker: dict[str, Any] = {"marker": look.marker, "color": look.colour, "linestyle": "none"}
            axes.plot(c, ours.mean, markersize=5, zorder=3, label="ours", **marker)
    axes.set_title(column.title)
    if not axes.lines:
        _empty(axes, "nothing to compare")
        return
    _by_compression(axes, profile)
    axes.set_ylabel("test accuracy (top-1), %")
    axes.set_ylim(0, 100)
    canvas.legend(axes, columns=4)
