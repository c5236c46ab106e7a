"""An estimate of the hours that the missing runs will take."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from Experiments import pretraining
from Experiments.sweeping import plan
from Experiments.sweeping.estimate import Estimate
from Utils import load
from Utils.data import corpus
from Utils.wording import counted

STEPS = 2  # training steps that a probe times, after a warm-up step


@dataclass(frozen=True)
class Outlook:
    """The estimated time of all runs that are to be made."""

    lengths: Mapping[str, float]  # seconds of each run, by name
    probed: bool  # whether part of it comes from timed steps

    def text(self, workers: int) -> str:
        """Return a sentence with the hours that this number of workers takes."""
        runs = len(self.lengths)
        if not runs:
            return "Nothing is to be made."
        hours = sum(self.lengths.values()) / 3600 / min(workers, runs)
        source = "timed steps and finished runs" if self.probed else "finished runs"
        length = f"about {hours:.2g} hours ({plan.duration(hours * 3600)})"
        return f"{counted(runs, 'run')} to make, {length} for {workers} at a time, as estimated from {source}."


class Estimator:
    """An estimate from finished runs of the same kind or, if there are none, from a few timed training steps."""

    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.estimate = Estimate(Path(args.result_dir))
        self.probes: dict[tuple, float] = {}

    def of(self, runs: Sequence[plan.PlannedRun]) -> Outlook:
        """Estimate the time of all these runs."""
        lengths, trained = {}, set()
        for run in runs:
            pre, post = run.args.pre_epochs, run.args.post_epochs
            known = self.estimate.of(run.directory.config)
            seconds = known if known is not None else self._epoch(run) * (pre + post)
            start = pretraining.state_file(self.args.result_dir, run.directory.config)
            if pre and (start in trained or start.exists()) and not self.args.force:
                seconds *= post / (pre + post)  # another run has done the training before pruning
            trained.add(start)
            lengths[run.name] = seconds
        return Outlook(lengths, bool(self.probes))

    def _epoch(self, run: plan.PlannedRun) -> float:
        """Return the seconds of a training epoch, estimated from a few steps."""
        args = run.args
        key = args.dataset, args.model_class, args.model, args.amp
        if key not in self.probes:
            print(f"Timing {STEPS} steps of {args.model} on {run.located.dataset.title} ({args.amp}).", flush=True)
            self.probes[key] = self._probe(run)
        return self.probes[key]

    def _probe(self, run: plan.PlannedRun) -> float:
        from Experiments import building
        from Utils import testtime
        from Utils.training.loss import CrossEntropy
        from Utils.training.train import train_epoch

        args, data = run.args, corpus.load(run.located)
        device = load.device(self.args.gpu, self.args.no_cuda)
        model, _ = building.model_and_pruner(data, args, device)
        loader = building.train_loader(data, args)
        batches = list(islice(loader, STEPS + 1))
        kind, arguments = load.optimizer(args.optimizer, args)
        optimizer = kind(model.parameters(), lr=args.lr, **arguments)

        def steps(chosen: Sequence) -> None:
            train_epoch(model, CrossEntropy(), optimizer, chosen, device, amp=load.precision(args.amp))

        steps(batches[:1])
        taken = testtime.seconds(lambda: steps(batches[1:]), device)
        return taken / max(1, len(batches) - 1) * len(loader)
