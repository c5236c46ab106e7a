"""The figures of the paper, to stand beside ours. They are kept in paper.json and nowhere else."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    of: the task that it is about, {"dataset": ...} and, where it is one of several models, {"model": ...}. figure: the
    key in Run.figures of what it shows. cells: (compression, pruner) -> the figure printed there. settings: pruner ->
    the settings in which its runs differ from the other pruners'.
    """

    name: str
    title: str
    of: Mapping[str, str]
    figure: str
    note: str
    pruners: tuple[str, ...]
    cells: Mapping[tuple[float, str], float]
    settings: Mapping[str, Mapping[str, Any]]

    def variant(self, pruner: str) -> tuple[tuple[str, str], ...]:
        """Return how a pruner's runs differ from the others', as a `tasks.Variant`."""
        return tuple((key, json.dumps(value)) for key, value in sorted(self.settings.get(pruner, {}).items()))

    @property
    def compressions(self) -> list[float]:
        return sorted({compression for compression, _ in self.cells})

    def column(self, pruner: str) -> dict[float, float]:
        return {compression: value for (compression, name), value in self.cells.items() if name == pruner}


@dataclass(frozen=True)
class Paper:
    """`classification`, `translation`: the data sets of its two text tasks."""

    name: str
    note: str
    classification: str
    translation: str
    tables: tuple[PaperTable, ...]

    @property
    def image_table(self) -> PaperTable:
        """The accuracies on images."""
        return next(table for table in self.tables if table.name == "images")

    def table(self, figure: str, **of: str) -> PaperTable:
        return next(table for table in self.tables if table.figure == figure and table.of == of)


@functools.lru_cache(maxsize=1)
def read() -> Paper:
    stored = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return Paper(**{**stored, "tables": tuple(map(_table, stored["tables"]))})


def _table(stored: Mapping[str, Any]) -> PaperTable:
    cells = {
        (float(compression), pruner): value
        for compression, values in stored["rows"].items()
        for pruner, value in zip(stored["pruners"], values, strict=True)
    }
    of = {key: stored[key] for key in ("dataset", "model") if key in stored}
    pruners = tuple(stored["pruners"])
    return PaperTable(
        stored["name"],
        stored["title"],
        of,
        stored["figure"],
        stored.get("note", ""),
        pruners,
        cells,
        stored.get("settings", {}),
    )
