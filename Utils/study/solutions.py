"""Public solutions of assignment one, for comparison. Their figures are stored only in assignment_one.csv."""

import csv
import functools
import io
import math
from dataclasses import dataclass
from pathlib import Path

CSV = Path(__file__).with_name("assignment_one.csv")
FEW = 3  # with fewer solutions, their range says too little
INSIDE, OUTSIDE, NOT_COMPARABLE = "inside", "outside", "not comparable"

Key = tuple[str, str, float, int, int]  # task, pruner, compression, epochs before and after pruning


@dataclass(frozen=True)
class Public:
    """The test accuracy (top-1, percent) of one cell over several solutions."""

    median: float
    low: float
    high: float
    solutions: int

    @property
    def few(self) -> bool:
        """Return whether there are too few solutions to compare with."""
        return self.solutions < FEW


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison with the public solutions."""

    word: str  # INSIDE, OUTSIDE or NOT_COMPARABLE
    why: str = ""  # how far outside, or what prevents the comparison

    def __str__(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


def parse(text: str) -> dict[Key, Public]:
    """Read the lines of the CSV file. Raises ValueError that names an invalid line."""
    cells: dict[Key, Public] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            epochs = [float(row[name]) for name in ("pre_epochs", "post_epochs")]
            key = (row["task"], row["pruner"], float(row["compression"]), int(epochs[0]), int(epochs[1]))
            cell = Public(float(row["median"]), float(row["min"]), float(row["max"]), int(row["solutions"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} of the public solutions: {error}") from error
        whole = all(epoch.is_integer() and epoch >= 0 for epoch in epochs)
        if not (whole and cell.solutions > 0 and 0.0 <= cell.low <= cell.median <= cell.high <= 100.0):
            raise ValueError(f"line {number} of the public solutions is out of order")
        if key in cells:
            raise ValueError(f"line {number} of the public solutions repeats a cell")
        cells[key] = cell
    return cells


@functools.lru_cache(maxsize=1)
def read() -> dict[Key, Public]:
    """Return the cells of the CSV file of this project."""
    return parse(CSV.read_text(encoding="utf-8"))


def verdict(ours: float | None, public: Public | None, obstacle: str = "", half: float | None = None) -> Verdict:
    """Return whether our accuracy (percent) lies in the range of the public solutions at equal epochs.

    ours: None if there is no figure; it is rounded to two decimals, like theirs.
    obstacle: the reason why they cannot be compared at all, or "".
    half: half the width of our mean's 95 % interval, None if it has none. A mean outside the range counts as outside
    even if its interval reaches the range; then `why` says so.
    """
    if ours is None or math.isnan(ours):
        return Verdict(NOT_COMPARABLE, "no figure of ours")
    if obstacle:
        return Verdict(NOT_COMPARABLE, obstacle)
    if public is None:
        return Verdict(NOT_COMPARABLE, "no public solution at these epochs")
    if public.few:
        return Verdict(NOT_COMPARABLE, f"too few: {public.solutions}")
    shown = round(ours, 2)
    if round(public.low, 2) <= shown <= round(public.high, 2):
        return Verdict(INSIDE)
    beyond = ours - public.high if ours > public.high else ours - public.low
    reaches = half is not None and half >= abs(beyond)
    return Verdict(OUTSIDE, f"{beyond:+.2f}" + (", but our interval reaches the range" if reaches else ""))
