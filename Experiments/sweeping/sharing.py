"""Sharing of the training before pruning between the runs of a sweep, so that it is done once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from Experiments import pretraining
from Experiments.sweeping.plan import PlannedRun


class Sharing:
    """The runs to be made, grouped by the file of their shared state. A file is deleted after its last run.

    force: nothing is shared, because nothing stored may replace a training.
    """

    def __init__(self, runs: Sequence[PlannedRun], force: bool) -> None:
        self.groups: dict[Path, set[str]] = {}
        for run in runs:
            if run.args.pre_epochs and not force:
                self.groups.setdefault(self._state_file(run), set()).add(run.name)
        self.groups = {file: names for file, names in self.groups.items() if len(names) > 1 or file.exists()}

    def _state_file(self, run: PlannedRun) -> Path:
        return pretraining.state_file(str(run.directory.path.parent.parent), run.directory.config)

    def arranged(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the runs, with those that share a training marked.

        Runs that wait for another one's training come last, so that no worker waits while there is other work.
        """
        first: list[PlannedRun] = []
        last: list[PlannedRun] = []
        trained: set[Path] = set()
        for run in runs:
            file = self._state_file(run)
            if run.name not in self.groups.get(file, ()):
                first.append(run)
                continue
            later = file in trained or file.exists()
            (last if later else first).append(replace(run, shares=True))
            trained.add(file)
        return first + last

    def ended(self, run: PlannedRun) -> None:
        """Remove a run that is made or has failed."""
        file = self._state_file(run)
        if file in self.groups:
            self.groups[file].discard(run.name)
            if not self.groups[file]:
                del self.groups[file]
                pretraining.forget(file)
