"""Which runs of a sweep begin with the same training before pruning, so that it is done once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from Experiments import pretraining
from Experiments.sweeping.plan import Run


class Sharing:
    """The runs to be made, by the file of the state that they share; a file goes when the last of its runs has ended.

    force: each run trains by itself, for nothing that is kept may stand in for it.
    """

    def __init__(self, runs: Sequence[Run], force: bool) -> None:
        self.groups: dict[Path, set[str]] = {}
        for run in runs:
            if run.args.pre_epochs and not force:
                self.groups.setdefault(self._place(run), set()).add(run.name)
        self.groups = {place: names for place, names in self.groups.items() if len(names) > 1 or place.exists()}

    def _place(self, run: Run) -> Path:
        return pretraining.place(str(run.place.path.parent.parent), run.place.config)

    def arranged(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs, those that share a training marked so.

        Those that wait for another to train come last, so that no worker waits as long as there is other work.
        """
        first: list[Run] = []
        last: list[Run] = []
        trained: set[Path] = set()
        for run in runs:
            place = self._place(run)
            if run.name not in self.groups.get(place, ()):
                first.append(run)
                continue
            later = place in trained or place.exists()
            (last if later else first).append(replace(run, shares=True))
            trained.add(place)
        return first + last

    def ended(self, run: Run) -> None:
        """Take out a run that is made or has failed."""
        place = self._place(run)
        if place in self.groups:
            self.groups[place].discard(run.name)
            if not self.groups[place]:
                del self.groups[place]
                pretraining.forget(place)
