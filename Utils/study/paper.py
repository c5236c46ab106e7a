"""The paper's figures, for comparison with this project's. They are stored only in paper.json."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Utils.store import files


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    name: str
    title: str
    of: Mapping[str, str]  # its task: {"dataset": ...}, and {"model": ...} if the data set has several
    figure: str  # a key of Run.figures
    pruners: Sequence[str]
    rows: Mapping[str, Sequence[float]]  # compression -> printed value of each pruner
    note: str = ""
    # pruner -> settings in which its runs differ from the others'
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @functools.cached_property
    def cells(self) -> dict[tuple[float, str], float]:
        """Return the printed values by (compression, pruner)."""
        return {
            (float(compression), pruner): value
            for compression, values in self.rows.items()
            for pruner, value in zip(self.pruners, values, strict=True)
        }

    def variant(self, pruner: str) -> tuple[tuple[str, str], ...]:
        """Return how a pruner's runs differ from the others', as a `tasks.Variant`."""
        return tuple((key, json.dumps(value)) for key, value in sorted(self.settings.get(pruner, {}).items()))

    @property
    def compressions(self) -> list[float]:
        """Return the compressions of its rows."""
        return sorted({compression for compression, _ in self.cells})

    def column(self, pruner: str) -> dict[float, float]:
        """Return the printed values of a pruner, by compression."""
        return {compression: value for (compression, name), value in self.cells.items() if name == pruner}


@dataclass(frozen=True)
class Paper:
    """The paper's tables."""

    name: str
    note: str
    classification: str  # data set of its text classification
    translation: str  # data set of its translation
    tables: tuple[PaperTable, ...]

    @property
    def image_table(self) -> PaperTable:
        """Return the table of the accuracies on images."""
        return next(table for table in self.tables if table.name == "images")

    def table(self, figure: str, **of: str) -> PaperTable:
        """Return the table of this figure about these tasks."""
        return next(table for table in self.tables if table.figure == figure and table.of == of)


@functools.lru_cache(maxsize=1)
def read() -> Paper:
    """Read paper.json."""
    stored = files.read_json(Path(__file__).with_name("paper.json"))
    return Paper(**{**stored, "tables": tuple(PaperTable(**table) for table in stored["tables"])})
