"""A student's written results: the handout's page, filled in, read cell by cell for what cannot be or is unlikely.

The fractions of the FLOP that remain of VGG16 when an untrained network is pruned once (flop.csv) were measured with
two seeds, which differ by less than 0.0006: no network of another seed is far from them.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from Experiments.handout.questions import ARCHITECTURE_COMPRESSION as AT_ONE
from Experiments.handout.questions import FC, PROFILES, PRUNERS, TRAINED_FIRST, VGG16, Network, Profile
from Experiments.reporting.table import DASH
from Utils.errors import UserError
from Utils.study import solutions
from Utils.study.tasks import pruner_title
from Utils.wording import counted

UNREADABLE, IMPOSSIBLE = "no number", "cannot be"
UNLIKELY, OUTSIDE = "unlikely", "outside the public range"
KINDS = (UNREADABLE, IMPOSSIBLE, UNLIKELY, OUTSIDE)
ACCURACIES, TUNED, FLOP = "Question 1: test accuracy", "Question 2a: test accuracy", "Question 2c: fraction of the FLOP"
FLOP_CSV = Path(__file__).with_name("flop.csv")
NEAR = 0.002  # how far a fraction may lie from those that were measured
BALANCED = 10.0  # accuracy of guessing one class of ten that are equally frequent
# Accuracy of guessing one class of a network's test data, where that is not BALANCED.
GUESSES = {FC.name: (9.80, 11.35, 10.32, 10.10, 9.82, 8.92, 9.58, 10.28, 9.74, 10.09)}
# Accuracies of VGG16 after ten epochs, and the compression up to which a hundred epochs give more, by pruner.
SHORT, UP_TO = (78.0, 81.0), {"rand": 0.5, "snip": 1.0, "synflow": 1.0, "mag": 1.0}
LONG = 100  # epochs


@dataclass(frozen=True)
class Cell:
    """A cell of the page that is filled in, and where it stands."""

    table: str
    network: Network
    pruner: str
    trained_first: bool
    compression: float
    text: str
    value: float  # no number (NaN) if the text is none

    @property
    def where(self) -> str:
        """Return the cell's place in words."""
        untrained = ", untrained" if self.pruner in TRAINED_FIRST and not self.trained_first else ""
        pruner = pruner_title(self.pruner) + untrained
        question = self.table.partition(":")[0].lower()
        return f"{question}, {self.network.title}, {pruner}, compression {self.compression:g}"


@dataclass(frozen=True)
class Finding:
    """A remark about a cell."""

    cell: Cell
    kind: str  # of KINDS
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.cell.where}: {self.cell.text}: {self.why}"


def read(path: Path) -> list[Cell]:
    """Return the filled cells of the page's tables of accuracy and FLOP. Raises UserError if it has no such tables."""
    return _filled(path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--results {path}: {getattr(error, 'strerror', None) or error}") from error


def _filled(path: Path, text: str) -> list[Cell]:
    found: list[Cell] = []
    tables = 0
    for section in re.split(r"^#+ +", text, flags=re.MULTILINE):
        title = next((name for name in (ACCURACIES, TUNED, FLOP) if section.startswith(name)), None)
        if title is not None:
            tables += 1
            found += _cells(title, section)
    if not tables:
        raise UserError(f"--results {path} has no table of question 1, 2a or 2c; --experiment assignment writes them")
    return found


def _cells(title: str, section: str) -> Iterator[Cell]:
    lines = [line.strip().strip("|") for line in section.splitlines() if line.strip().startswith("|")]
    rows = [[word.strip() for word in line.split("|")] for line in lines if not re.fullmatch(r"[\s|:-]+", line)]
    by_title = {pruner_title(pruner): pruner for pruner in PRUNERS}
    networks = {network.title: network for network in (VGG16, FC)}
    for row in rows[1:]:
        number = re.match(r"\d+(\.\d+)?", row[0])
        if title == ACCURACIES:
            network, compression = networks.get(row[0]), AT_ONE
        else:
            network, compression = VGG16, float(number[0]) if number else -1.0
        for name, cell in zip(rows[0][1:], row[1:], strict=False):
            pruner, value = name.partition(",")[0], re.match(r"[-+]?\d+([.,]\d+)?", cell)
            filled = cell.strip("-" + DASH) and not cell.startswith(f"{DASH} (")
            if network is not None and compression >= 0 and pruner in by_title and filled:
                first = by_title[pruner] in TRAINED_FIRST and "," not in name
                figure = float(value[0].replace(",", ".")) if value else math.nan
                yield Cell(title, network, by_title[pruner], first, compression, cell, figure)


def findings(cells: list[Cell], profile: Profile, public: Mapping[solutions.Key, solutions.Public]) -> list[Finding]:
    """Return the remarks about the cells, in their order."""
    flop = fractions()
    found = []
    for cell in cells:
        if math.isnan(cell.value):
            remarks: Iterable[tuple[str, str]] = [(UNREADABLE, "write a number, or leave the cell blank")]
        else:
            remarks = _of_flop(cell, flop) if cell.table == FLOP else _of_accuracy(cell, profile, public)
        found += [Finding(cell, kind, why) for kind, why in remarks]
    return found


def fractions() -> dict[tuple[str, float], tuple[float, float]]:
    """Return {(pruner, compression): lowest and highest fraction of the FLOP that was measured}."""
    with FLOP_CSV.open(encoding="utf-8", newline="") as file:
        return {
            (row["pruner"], float(row["compression"])): (float(row["low"]), float(row["high"]))
            for row in csv.DictReader(file)
        }


def _of_flop(cell: Cell, known: Mapping[tuple[str, float], tuple[float, float]]) -> Iterator[tuple[str, str]]:
    if not 0.0 <= cell.value <= 1.0:
        yield IMPOSSIBLE, "a fraction lies between 0 and 1"
    elif measured := known.get((cell.pruner, cell.compression)):
        near = measured[0] - NEAR <= cell.value <= measured[1] + NEAR
        if cell.pruner not in TRAINED_FIRST and not near:
            yield IMPOSSIBLE, f"pruned once at the start it is {measured[0]:.3f} with any seed"
        elif cell.pruner in TRAINED_FIRST and near:
            yield UNLIKELY, f"{measured[0]:.3f} is what an untrained network gives: was it trained first?"


def _of_accuracy(
    cell: Cell, profile: Profile, public: Mapping[solutions.Key, solutions.Public]
) -> Iterator[tuple[str, str]]:
    guesses = GUESSES.get(cell.network.name)
    if not 0.0 <= cell.value <= 100.0:
        yield IMPOSSIBLE, "a percentage lies between 0 and 100"
        return
    if guesses and cell.value == BALANCED and cell.value not in guesses:
        yield IMPOSSIBLE, "it is what guessing gives where all classes are equally frequent: these are other data"
        return
    short = SHORT[0] <= cell.value <= SHORT[1] and cell.compression <= UP_TO.get(cell.pruner, -1.0)
    if cell.network == VGG16 and profile.post_epochs == LONG and short:
        yield UNLIKELY, f"{SHORT[0]:g} to {SHORT[1]:g} is what ten epochs give, not {LONG}"
    pre = profile.pre_epochs if cell.trained_first else 0
    key = (cell.network.name, cell.pruner, cell.compression, pre, profile.post_epochs)
    verdict = solutions.verdict(cell.value, public.get(key))
    if verdict.word == solutions.OUTSIDE:
        beside = public[key]
        yield OUTSIDE, f"{beside.solutions} solutions lie from {beside.low:.2f} to {beside.high:.2f}"


def report(path: Path, name: str | None) -> tuple[str, bool]:
    """Return (the report on a page, whether all its cells are numbers that can be).

    name: of the profile that it is of; None: the one that its title names, or "full".
    Raises UserError if it has no cell that is filled in.
    """
    text = _text(path)
    cells = _filled(path, text)
    if not cells:
        raise UserError(f"--results {path}: no cell of its tables is filled in")
    title = re.match(rf"#.*\bprofile ({'|'.join(PROFILES)})\b", text)
    profile = PROFILES[name or (title[1] if title else "full")]
    remarks = findings(cells, profile, solutions.read())
    counts = {kind: sum(one.kind == kind for one in remarks) for kind in KINDS}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count or kind != UNREADABLE)
    epochs = f"{profile.post_epochs} epochs, {profile.pre_epochs} before for {pruner_title(TRAINED_FIRST[0])}"
    last = f"{counted(len(cells), 'cell')} read, taken to be of {epochs} (profile {profile.name}): {said}"
    return "\n".join([*map(str, remarks), last]), not counts[IMPOSSIBLE] + counts[UNREADABLE]
