"""The object that a recipe works with: data, model, optimizer and pruner of one run, and the steps of an experiment."""

from argparse import Namespace
from collections import Counter
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, cast

import torch

from Experiments import building, checkpoint, finished, mask_updates, networks, results
from Experiments.parts import Generators, Network, Progress
from Layers.fast import unread
from Pruners import dead
from Utils import console, generator, load, metrics
from Utils.data import corpus
from Utils.machine import memory
from Utils.machine.clock import Clock
from Utils.store import files, provenance
from Utils.store import run as store
from Utils.training import signal
from Utils.training.descent import Descent
from Utils.training.early import EarlyStopping
from Utils.training.loss import CrossEntropy
from Utils.training.train import train
from Utils.wording import counted


class Workshop:
    """The state of one run, with a method for each step of an experiment.

    A recipe calls `measure`, `fit`, `prune`, `mark` and `rewind` in any order and returns `result()`. Each call is
    executed once per run. If the run was interrupted and continues from a checkpoint, the recipe is called from its
    beginning, and the calls that the checkpoint contains are skipped.
    """

    def __init__(self, args: Namespace, located: corpus.Located, stage: store.Stage, device: torch.device) -> None:
        self.args, self.stage, self.device = args, stage, device
        self.clock = Clock("prepare", "prune", "train", "evaluate", "save")
        self.calls: Counter[str] = Counter()  # number of calls of each kind of step, in this process
        self.progress = Progress()
        self.made_by = provenance.bearing(device)
        with self.clock("prepare"):
            self._build(located)
        self._resume()

    def _build(self, located: corpus.Located) -> None:
        args, device = self.args, self.device
        print(f"Loading {args.dataset} dataset.")
        self.data = building.data(located, args, device)
        self.train_loader = building.train_loader(self.data, args)
        self.prune_loader = building.prune_loader(self.data, args)
        self.evaluation = load.evaluation(self.data.dataset)(self.data, args, device)
        print(f"Creating {args.model_class}-{args.model} model.")
        self.model, self.pruner = building.model_and_pruner(self.data, args, device)
        if args.pre_epochs or args.post_epochs:
            building.no_lone_example(self.model, self.train_loader, "--train-batch-size", device)
        if args.prune_train_mode:
            building.no_lone_example(self.model, self.prune_loader, "--prune-batch-size", device)
        self.descent = Descent(self.model, args)
        self.loss, self.train_loss = CrossEntropy(), CrossEntropy(args.label_smoothing)
        self.early = EarlyStopping(self.model, args.patience, self.data.splits)
        self.amp = building.precision(args, device)

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """Return every object whose state the rest of the run depends on, by name."""
        return {
            "model": Network(self.model),
            "descent": self.descent,
            "early": self.early,
            "pruner": self.pruner,
            "train_loader": self.train_loader,
            "prune_loader": self.prune_loader,
            "evaluation": self.evaluation,
            "generators": Generators(self.device),
            "clock": self.clock,
            "epochs": self.stage,
            "progress": self.progress,
        }

    def state(self) -> checkpoint.State:
        """Return the state of all parts and the versions that made it; `checkpoint.write` saves it to a file."""
        return {"made_by": self.made_by, **checkpoint.take(self.parts)}

    def restore(self, state: checkpoint.State) -> None:
        """Restore the state of another workshop with the same settings. This workshop must be new."""
        checkpoint.restore(self.parts, state)

    def _resume(self) -> None:
        """Continue from the checkpoint of an interrupted process if it is intact and made under the same conditions."""
        if state := checkpoint.left(self.stage.checkpoint, self.made_by):
            self.restore(state)
            steps = ", ".join(f"{name} {count}" for name, count in self.progress.done.items())
            print(f"Going on from a checkpoint ({steps or 'nothing done'}).")

    def _save(self) -> None:
        with self.clock("save"):
            self.stage.save(checkpoint.frozen(self.state()))

    def _passes(self, step: str) -> bool:
        """Count a call of this kind of step; return True if the checkpoint that the run continues from contains it."""
        self.calls[step] += 1
        return self.calls[step] <= self.progress.done.get(step, 0)

    def _did(self, step: str, count: int) -> None:
        self.progress.done[step] = count
        self.progress.latest = None

    def pretraining(self) -> AbstractContextManager[None]:
        """Return a context for the steps before pruning, whose outcome is shared if --share-pretraining is set.

        Nothing is shared with --force.
        """
        args = self.args
        if not (args.share_pretraining and args.pre_epochs) or args.force:
            return nullcontext()
        from Experiments import pretraining  # not needed by other runs

        return pretraining.shared(self)

    def measure(self, point: str) -> None:
        """Evaluate the model and store the figures under the key `point` of result.json.

        If the model has not changed since another point, the figures of that point are reused.
        """
        progress = self.progress
        if point not in progress.points:
            known = {} if progress.latest is None else progress.points.get(progress.latest, {})
            try:
                with self.clock("evaluate"):
                    progress.points[point] = self.evaluation.measure(self.model, self.loss, point, known)
            except FloatingPointError as error:
                if self.stage.epochs:
                    raise
                bad = [name for name, parameter in self.model.named_parameters() if not parameter.isfinite().all()]
                why = f"{bad[0]} is not finite" if bad else "an example makes it, such as an empty one"
                raise FloatingPointError(f"the model gives no finite loss before any training: {why}") from error
            progress.latest = point

    def fit(
        self, phase: str, epochs: int, begun: int = 0, of: int = 0, densities: tuple[float, float] | None = None
    ) -> None:
        """Train up to epoch number `epochs` of this phase.

        After every epoch the model is evaluated, one line is printed and a checkpoint is saved. With `patience`, the
        phase may end earlier, and it ends with the weights of its best epoch.
        begun: the number of epochs that count as done when the phase starts.
        of: the number of epochs of the whole phase, if it is called again for the rest.
        densities: the first and the last of the phase, if gradual pruning is to take place in it.
        """

        whole = of or epochs

        def after_epoch(epoch: int, value: float) -> bool:
            with self.clock("evaluate"):
                figures = self.evaluation.after_epoch(self.model, self.loss, epoch)
            record = {"source": self.data.source, "phase": phase, "epoch": epoch, "running_loss": value}
            self.stage.epoch(record | figures)
            print(f"  epoch {epoch}/{epochs}: {results.epoch_words(value, figures, self.early.figure)}", flush=True)
            ends = self.early.ends(phase, epoch, whole, figures)
            self._did(phase, whole if ends else epoch)
            self._save()
            return ends

        def log(epoch: int, batch: int, value: float) -> None:
            print(f"  epoch {epoch}, batch {batch}/{len(self.train_loader)}: loss {value:.6f}")

        with self.clock("train"), memory.peak(self.device, "train", self.progress.peaks):
            train(
                cast(torch.nn.Module, torch.compile(self.model)) if self.args.compile else self.model,
                self.train_loss,
                self.descent.optimizer,
                self.descent,
                self.train_loader,
                self.device,
                epochs,
                after_epoch,
                log if self.args.verbose else None,
                self.amp,
                done=self.progress.done.get(phase, begun),
                prepare=self.descent.preparation(whole, len(self.train_loader)),
                due=mask_updates.due(self, phase, whole, densities),
            )

    def prune(self, density: float) -> None:
        """Score the weights and keep the fraction `density` of the prunable ones.

        Afterwards dead units are searched for and a checkpoint is saved.
        """
        args, progress = self.args, self.progress
        if self._passes("prune"):
            return
        if (before := progress.signal.get("before")) is None:  # only the first of several levels has a dense network
            with self.clock("evaluate"):
                before = self._spread()
        with self.clock("prune"), memory.peak(self.device, "prune", progress.peaks):
            building.prune(self.model, self.loss, self.pruner, self.prune_loader, self.device, args, density)
        with self.clock("evaluate"):
            progress.signal = {"before": before, "after": self._spread()}
            progress.dead = self._find_dead()
        print(results.dead_lines(progress.dead, self.data.classes), end="")
        masks = [mask.flatten(1) for mask, _ in self.pruner.masked_parameters if mask.dim() > 1]
        if args.never_empty and (bare := sum(len(mask) - int(mask.any(1).sum()) for mask in masks)):
            console.note(f"--never-empty: the compression cannot serve all: {counted(bare, 'unit')} without a weight")
        self._did("prune", self.calls["prune"])
        self._save()

    def _spread(self) -> float:
        return signal.spread(self.model, self.evaluation.inputs(), self.device)

    def _signals(self) -> dict[str, float | None]:
        end = None
        with self.clock("evaluate"), suppress(FloatingPointError):  # the run is over: nothing is lost
            end = self._spread()
        return signal.report(**self.progress.signal, end=end)

    def _find_dead(self) -> dict[str, Any]:
        """Report the dead units of the pruned model and the highest test accuracy that it can still reach.

        Layers then skip the units that no output depends on.
        """
        counts = torch.bincount(self.data.test.targets.cpu(), minlength=self.data.num_classes).tolist()
        report, no_way_out = dead.searched(lambda: dead.find(self.model, self.data.shape, self.device), counts)
        unread.note(self.model, no_way_out)
        if "not_searched" in report:
            console.note_once(f"dead units are not searched for, as {report['not_searched']}")
        return report

    def _scoring(self) -> dict[str, float]:
        """Return the cost of all scores, in training steps of this run; nothing if the pruner does not say it."""
        args = self.args
        cost = None if args.masks else self.pruner.cost(self.prune_loader.sizes)
        rounds = args.prune_epochs * self.calls["prune"]
        changes = sum(len(columns["step"]) for columns in self.progress.mask_updates.values())
        steps = changes * (args.dynamic == "rigl")  # a gradient each, of a training batch
        return {} if cost is None else {"scoring_steps": rounds * cost / args.train_batch_size + steps}

    def mark(self) -> None:
        """Remember the weights, the running statistics and the number of epochs, for `rewind`."""
        if not self._passes("mark"):
            tensors = {k: v.clone() for k, v in self.model.state_dict().items() if not k.endswith("_mask")}
            self.progress.mark = {"tensors": tensors, "epoch": self.train_loader.epoch}
            self.progress.done["mark"] = self.calls["mark"]

    def rewind(self) -> None:
        """Restore the weights, the learning rate and the data order of the mark. The masks stay.

        Raises ValueError if `mark` has not been called.
        """
        if self._passes("rewind"):
            return
        if not self.progress.mark:
            raise ValueError("mark() comes before rewind()")
        self.model.load_state_dict(self.progress.mark["tensors"], strict=False)
        self.pruner.apply_mask()
        self.train_loader.epoch = self.progress.mark["epoch"]
        self.descent.begin(self.train_loader.epoch)
        self._did("rewind", self.calls["rewind"])

    def result(self) -> tuple[dict[str, Any], str]:
        """Save the model; return (content of result.json, report for the console).

        In a run that never prunes, `dead` reports the units that are dead from the start, and `signal` is absent, as it
        is of gradual pruning, which has no signal right after. `mask_updates` has the updates of each phase: their
        steps, the weights kept after them, and the weights that they dropped and grew.
        """
        args, data, progress = self.args, self.data, self.progress
        changed = progress.mask_updates
        if args.ignore_masks == "none":
            self.pruner.apply_mask()  # momentum from before pruning still moves masked weights
        costs = metrics.flop(self.model, data.shape, self.device)
        table = metrics.summary(
            self.model,
            self.pruner.scores,
            costs,
            lambda module: generator.prunable(module, *building.prunable_kinds(args)),
        )
        parameters, flops = metrics.totals(table)
        unknown = metrics.uncounted(self.model, costs)
        result = {
            **results.described(args, data),
            "parameters": parameters,
            "flops": {**flops, **({"not_counted": unknown} if unknown else {})},
            **progress.points,
            "per_tensor": table.to_dict("records"),
            "dead": (not changed and progress.dead) or self._find_dead(),
            **({"signal": self._signals()} if progress.signal and args.dynamic != "gradual" else {}),
            **({"mask_updates": changed} if changed else {}),
            **self._scoring(),
            "kept_by_tie": self.pruner.by_tie / max(1, parameters["prunable_kept"]),
            "peak_memory": progress.peaks,
            **self.evaluation.findings(),
            "epochs": self.stage.epochs,
            "seconds": {key: round(value, 3) for key, value in self.clock.reading().items()},
            "versions": provenance.versions(),
            "machine": provenance.machine(self.device),
            "commit": self.made_by["commit"],
        }
        self.stage.model("model.safetensors", self.model)
        if args.model_path:  # so that the run can be loaded wherever it lies
            files.write_bytes(self.stage.path / finished.CODE, networks.code(args))
        return result, results.text(result, progress.points, table, data.classes, self.evaluation.words())
