"""Sharing of the training before pruning between the runs of a sweep, so that it is done once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from Experiments import pretraining
from Experiments.sweeping.plan import Run


class Sharing:
    """The runs to be made, grouped by the file of their shared state. A file is deleted after its last run.

    force: nothing is shared, because nothing stored may replace a training.
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
        """Return the runs, with those that share a training marked.

        Runs that wait for another one's training come last, so that no worker waits while there is other work.
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
        """Remove a run that is made or has failed."""
        place = self._place(run)
        if place in self.groups:
            self.groups[place].discard(run.name)
            if not self.groups[place]:
                del self.groups[place]
                pretraining.forget(place)
