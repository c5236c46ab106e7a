"""How pruners look, the same in every figure, and the colours that follow the reader's light or dark page."""

from __future__ import annotations

from dataclasses import dataclass

from Utils import load
from Utils.study.tasks import pruner_title

# Of figures as files; within the page they stand for the variables of its style sheet.
INK, MUTED, GRID, BACK = "#1b1e23", "#5d6470", "#d8dce2", "#ffffff"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", BACK: "var(--card)"}


@dataclass(frozen=True)
class Look:
    title: str
    colour: str
    marker: str


# After Okabe and Ito: told apart with any colour vision, by marker without colours; contrast above 3 on both pages.
LOOKS = (("#7a7f87", "o"), ("#2c7fb8", "s"), ("#b35fa0", "^"), ("#d55e00", "D"), ("#009e73", "v"))
OTHERS = "#8c6d31"  # pruners that came later, told apart by their markers
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def look(pruner: str) -> Look:
    names = list(load.PRUNERS)
    place = names.index(pruner) if pruner in names else len(LOOKS)
    colour, marker = LOOKS[place] if place < len(LOOKS) else (OTHERS, MARKERS[place % len(MARKERS)])
    return Look(pruner_title(pruner), colour, marker)
