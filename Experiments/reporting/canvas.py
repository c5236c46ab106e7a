"""Drawing of figures as SVG and PNG. The files have the same bytes each time, without dates or random names."""

import html
import io
import pathlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, ScaledTranslation

from Experiments.reporting import style
from Utils.study.statistics import Interval

WIDTH, HEIGHT = 4.4, 3.3  # size of a panel in inches, about that on the page
BELOW = 0.42  # inches from the axis to the legend, below numbers and label
COLOURS = {
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), style.BACK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), style.MUTED),
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color"), style.INK),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), style.INK),
    "grid.color": style.GRID,
}

Draw = Callable[[Axes], None]


@dataclass(frozen=True)
class Picture:
    """A figure in both formats."""

    name: str
    title: str  # description for those who do not see it
    svg: str
    png: bytes
    shown: bool = True  # fit for the page, as a single panel is, not only for files


def picture(
    name: str, title: str, draws: Sequence[Draw], height: float = HEIGHT, shown: bool = True, across: int = 3
) -> Picture:
    """Draw panels side by side, at most `across` in a row."""
    across = min(across, len(draws))
    down = -(-len(draws) // across)
    look: dict[Any, Any] = mpl.rc_params_from_file(
        pathlib.Path(__file__).with_name("figures.mplstyle"), use_default_template=True
    )
    with mpl.rc_context(look | COLOURS):
        figure = Figure(figsize=(WIDTH * across, height * down), layout="constrained")
        for k, draw in enumerate(draws):
            draw(figure.add_subplot(down, across, k + 1))
        figure.draw_without_rendering()  # computes the layout once for both files
        figure.set_layout_engine("none")
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(re.sub(r"[^\w.-]+", "-", name), title, svg.getvalue(), png.getvalue(), shown)


def inline(picture: Picture) -> str:
    """Return the SVG for use in a page: it uses the page's colours, has unique names, and loads nothing."""
    svg = picture.svg[picture.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", svg)
    for colour, variable in style.THEME.items():
        svg = svg.replace(colour, variable)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    opening = (
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{html.escape(picture.title)}" viewBox="0 0 {size[1]} {size[2]}">'
    )
    return re.sub(r"<svg [^>]*>", opening, svg, count=1)


def each(name: str, title: str, panels: Sequence[tuple[str, str, Draw]]) -> list[Picture]:
    """Return one picture per panel (end of its name, words, draw)."""
    return [picture(f"{name}-{part}", f"{title}: {words}", [draw]) for part, words, draw in panels]


def with_whole(name: str, title: str, panels: Sequence[tuple[str, str, Draw]], across: int = 3) -> list[Picture]:
    """Return one picture per panel for the page, and one of all panels for use elsewhere."""
    pictures = each(name, title, panels)
    if pictures:
        pictures.append(picture(name, title, [draw for _, _, draw in panels], shown=False, across=across))
    return pictures


def outline(marker: str) -> str:
    """Return a marker of style.py as the data of an SVG path, about 1 wide, with its centre at (0, 0)."""
    style_of = MarkerStyle(marker)
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    path = style_of.get_path().transformed(style_of.get_transform() + Affine2D().scale(1.0, -1.0))
    return "".join(
        "Z" if code == Path.CLOSEPOLY else letters[code] + " ".join(f"{round(number, 3) + 0.0:g}" for number in points)
        for points, code in path.iter_segments(simplify=False)
    )


def curve(
    axes: Axes, x: Sequence[float], found: Sequence[Interval], colour: str, marker: str, title: str, line="-",
    ends: Sequence[tuple[float, float]] | None = None,
):  # fmt: skip
    """Draw means joined by a line, with bars for their intervals, or between these ends."""
    means = [point.mean for point in found]
    axes.plot(x, means, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.5, label=title, zorder=3)
    halves = [(point.half, point.half) for point in found]
    arms = [(mean - low, high - mean) for mean, (low, high) in zip(means, ends, strict=True)] if ends else halves
    barred = [(at, mean, *arm) for at, mean, arm in zip(x, means, arms, strict=True) if arm[0] is not None]
    if barred:
        at, middle, *below_above = zip(*barred, strict=True)
        axes.errorbar(at, middle, below_above, fmt="none", ecolor=colour, elinewidth=1, capsize=2.5, alpha=0.75)


def limits(axes: Axes, values: Sequence[float]) -> None:
    """Set the vertical axis to include all values. A wider interval is cut off at the panel's edge."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)


def legend(axes: Axes, columns: int = 5) -> None:
    """Draw the legend below the axis, where it hides nothing, with a line for each label."""
    axes.minorticks_off()
    handles, labels = axes.get_legend_handles_labels()
    each = dict(zip(labels, handles, strict=True))
    below = axes.transAxes + ScaledTranslation(0.0, -BELOW, axes.figure.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below}
    spacing: dict[str, Any] = {"handlelength": 1.6, "columnspacing": 1.0, "handletextpad": 0.4}
    axes.legend(each.values(), each, ncols=columns, **place, **spacing)


def log(axes: Axes) -> None:
    """Use a logarithmic axis with plain numbers such as 0.01, not powers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
