"""The look of each pruner, the same in every figure, and colours that follow the page's light or dark theme."""

from dataclasses import dataclass

from Utils import load
from Utils.study.tasks import pruner_title

# Colours of figures in files; in the page they are replaced by variables of its style sheet.
INK, MUTED, GRID, BACK = "#1b1e23", "#5d6470", "#d8dce2", "#ffffff"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", BACK: "var(--card)"}


@dataclass(frozen=True)
class Look:
    """The title, colour and marker of a pruner."""

    title: str
    colour: str
    marker: str


# After Okabe and Ito: distinct with any colour vision, and by marker without colours; contrast above 3 on both pages.
COLOURS = ("#7a7f87", "#2c7fb8", "#b35fa0", "#d55e00", "#009e73", "#8c6d31", "#7d6ee7")
OTHERS = "#c2475f"  # all other pruners, distinct by their markers
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def look(pruner: str) -> Look:
    """Return the look of a pruner."""
    names = list(load.PRUNERS)
    index = names.index(pruner) if pruner in names else len(COLOURS)
    colour = COLOURS[index] if index < len(COLOURS) else OTHERS
    return Look(pruner_title(pruner), colour, MARKERS[index % len(MARKERS)])
