"""Claims as statements on numbers with intervals. RULE says when a claim holds."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from Utils.study.retained import MIN_SEEDS
from Utils.study.runs import Run
from Utils.study.statistics import FLIPPED, Differences, Interval, interval
from Utils.study.tasks import Side, Task
from Utils.wording import counted

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
RULE = (
    "A claim is one or more statements, each on a number with a 95 % interval over seeds (paired where two settings "
    f"are compared; Student's t, from {FLIPPED} pairs on that of the sign-flip test). A statement holds where its "
    "whole interval lies on the claimed side of the border, does not hold where all of it lies on the other side, and "
    f"is undecided where the interval includes the border or there are fewer than {MIN_SEEDS} (paired) seeds. A claim "
    "holds if all its statements do; it does not hold if one does not."
)


@dataclass(frozen=True)
class Statement:
    """A number that is claimed to lie between `low` and `high`."""

    label: str
    found: Interval  # the measured number
    runs: tuple[Run, ...]  # on which it is based
    low: float = -math.inf
    high: float = math.inf
    signed: bool = True  # a difference, shown with its sign

    @property
    def verdict(self) -> str:
        """Return whether the interval lies inside the bounds, outside, or across one of them (undecided)."""
        if self.found.count < MIN_SEEDS:
            return UNDECIDED
        if self.low < self.found.low and self.found.high < self.high:
            return HOLDS
        if self.found.high < self.low or self.found.low > self.high:
            return FAILS
        return UNDECIDED

    def text(self) -> str:
        """Return the statement's label and number in words."""
        sign = "+" if self.signed else ""
        numbers = [f"{value:{sign}.2f}" for value in (self.found.mean, self.found.low, self.found.high)]
        spread = "" if self.found.half is None else f" ({numbers[1]} to {numbers[2]})"
        return f"{self.label}: {numbers[0]}{spread}, {counted(self.found.count, 'seed')}"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about one task, with its statements."""

    name: str
    where: str  # the task, or the kind of task if there is none
    border: str  # the bounds of each number, in words
    statements: tuple[Statement, ...]
    price: str = ""  # of a claim without runs: what they would take

    @property
    def verdict(self) -> str:
        """Return the verdict: a claim fails if one statement fails, and holds if all hold."""
        verdicts = {statement.verdict for statement in self.statements}
        if FAILS in verdicts:
            return FAILS
        return HOLDS if verdicts == {HOLDS} else UNDECIDED

    @property
    def deciding(self) -> list[Statement]:
        """Return the statements that have the claim's own verdict."""
        return [statement for statement in self.statements if statement.verdict == self.verdict]

    @property
    def runs(self) -> list[Run]:
        """Return the runs behind all statements, each once."""
        return list({run.path: run for statement in self.statements for run in statement.runs}.values())


Statements = Callable[[Task], Iterable[Statement]]


@dataclass(frozen=True)
class Question:
    """A claim that has not been applied to tasks yet. Each task that it is about gets its own claim."""

    name: str
    where: str
    border: str
    of: Callable[[Task], bool]  # whether it is about a task
    statements: Statements
    price: str = ""
    sparse: bool = False  # a task without statements gets no claim


def stated(
    label: str, values: Iterable[float], runs: Iterable[Run], low: float = -math.inf, high: float = math.inf
) -> list[Statement]:
    """Return one statement, or none if there are no values."""
    mean = interval(values)
    return [] if mean is None else [Statement(label, mean, tuple(runs), low, high)]


def compared(
    task: Task, sides: Iterable[tuple[str, Side, Side]], low: float, high: float = math.inf
) -> list[Statement]:
    """Return a statement on each (label, first, second): the metric of `first` minus that of `second`, by seed."""
    statements = []
    for label, first, second in sides:
        by_seed, runs = task.paired(first, second)
        if by_seed:
            statements.append(Statement(label, Differences(by_seed).interval, tuple(runs), low, high))
    return statements
