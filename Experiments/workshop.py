"""What every recipe works with: data, model, optimizer and pruner of one run, and the steps done to them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from Experiments import checkpoint, results
from Layers import unread
from Pruners import dead
from Utils import console, corpus, generator, load, memory, metrics, pretrained, provenance, seeds, signal, store
from Utils.adam import Adam
from Utils.clock import Clock
from Utils.errors import UserError
from Utils.examples import resident
from Utils.loss import CrossEntropy
from Utils.prune import prune_loop
from Utils.train import train


class Workshop:
    """Built from the checked arguments of the command line; writes epochs and the model to `stage`.

    Each step is done once in a run: where the checkpoint of an earlier process says that it has been, it passes.
    """

    def __init__(self, args: Namespace, located: corpus.Located, stage: store.Stage) -> None:
        self.args, self.stage = args, stage
        self.clock = Clock("prepare", "prune", "train", "evaluate", "save")
        self.device = load.device(args.gpu, args.no_cuda)
        seeds.settle(self.device)
        memory.keep_freed()
        if args.threads:
            torch.set_num_threads(args.threads)
        self.made_by = provenance.bearing(self.device)
        self.done: dict[str, int] = {}  # steps, by name; of those that are epochs, how many
        self.points: dict[str, dict[str, float]] = {}
        self.signal: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self.rewind_point: dict[str, Tensor] = {}
        with self.clock("prepare"):
            print(f"Loading {args.dataset} dataset.")
            data = corpus.load(located)
            splits = {name: resident(examples, self.device) for name, examples in data.splits.items()}
            self.data = replace(data, splits=splits)
            self._build_loaders()
            print(f"Creating {args.model_class}-{args.model} model.")
            self._build_model()
        self.amp = load.precision(args.amp)
        if self.amp and self.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            console.note(
                f"this processor has no arithmetic for --amp {args.amp}: training is slower with it than without"
            )
        torch.manual_seed(seeds.derive(args.data_seed, "noise"))  # dropout
        self._resume()

    def _resume(self) -> None:
        """Go on from the checkpoint of a process that was stopped, if there is one of the same making."""
        if (found := self.stage.saved()) is None:
            return
        if reason := checkpoint.foreign(self, found[1]):
            console.note(f"a checkpoint is left, but made with {reason}: the run begins again")
            return
        checkpoint.put_back(self, *found)
        steps = ", ".join(f"{name} {count}" for name, count in self.done.items())
        print(f"Going on from a checkpoint ({steps or 'nothing done'}).")

    def _save(self) -> None:
        with self.clock("save"):
            self.stage.save(*checkpoint.take(self))

    def _build_loaders(self) -> None:
        args, data = self.args, self.data
        self.train_loader = load.dataloader(
            data, args.train_batch_size, True, args.workers, seed=seeds.derive(args.data_seed, "train")
        )
        self.prune_loader = load.dataloader(
            data,
            args.prune_batch_size,
            True,
            args.workers,
            length=args.prune_dataset_size or args.prune_dataset_ratio * data.num_classes,
            seed=seeds.derive(args.data_seed, "prune"),
            shuffle=False,
            augment=args.prune_augment,
        )
        self.evaluation = load.evaluation(data.dataset)(data, args, self.device)

    def _build_model(self) -> None:
        args, data = self.args, self.data
        torch.manual_seed(seeds.derive(args.init_seed, "init"))
        options = {} if args.init is None else {"init": args.init}
        make = load.model(args.model, args.model_class)
        self.model = make(data.shape, data.num_classes, args.dense_classifier, **options)
        if args.pretrained:
            pretrained.load(self.model, pretrained.find("--pretrained", args.pretrained))
        layout = getattr(self.model, "memory_format", None) if self.device.type == "cpu" else None
        self.model.to(self.device, memory_format=layout)
        self.loss = CrossEntropy()
        self._build_optimizer()
        options = args.prune_bias, args.prune_batchnorm, args.prune_residual, args.prune_attention
        masked = list(generator.masked_parameters(self.model, *options))
        if not masked:
            raise UserError(f"nothing of {args.model} is prunable with these settings; leave --dense-classifier out")
        pruner = load.pruner(args.pruner, args.pruner_sha256)
        self.pruner = pruner(masked, seed=seeds.derive(args.prune_seed, "prune"), ties=args.ties)
        generator.ignore_masks(self.model, args.ignore_masks)

    def _build_optimizer(self, begun: int = 0) -> None:
        """A new one, for a training of which `begun` epochs are past."""
        args = self.args
        kind, arguments = load.optimizer(args.optimizer, args)
        lr = args.lr * args.lr_drop_rate ** sum(drop <= begun for drop in args.lr_drops)
        self.optimizer = kind(generator.parameters(self.model), lr=lr, weight_decay=args.weight_decay, **arguments)
        if isinstance(self.optimizer, Adam) and self.device.type == "cpu":
            self.optimizer.attach(self.model)  # a GPU is quicker at the whole embedding than at its rows
        drops = [drop - begun for drop in args.lr_drops if drop > begun]
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, drops, args.lr_drop_rate)

    def measure(self, point: str, same_as: str | None = None) -> None:
        """Take the figures of that moment of the run; same_as: a point since which nothing has happened."""
        if point not in self.points:
            known = {} if same_as is None else self.points[same_as]
            with self.clock("evaluate"):
                self.points[point] = self.evaluation.measure(self.model, self.loss, point, known)

    def fit(self, phase: str, epochs: int, begun: int = 0) -> None:
        """Train up to epoch number `epochs`; each ends with an evaluation, a line in epochs.jsonl and a checkpoint.

        begun: the epochs that this phase has behind it as it begins.
        """

        def after_epoch(epoch: int, value: float) -> None:
            with self.clock("evaluate"):
                found = self.evaluation.after_epoch(self.model, self.loss, epoch)
            record = {"source": self.data.source, "phase": phase, "epoch": epoch, "running_loss": value}
            self.stage.epoch(record | found)
            shown = ("test_loss", "test_top1", "bleu")
            figures = ", ".join(f"{key.replace('_', ' ')} {found[key]:.4f}" for key in shown if key in found)
            print(f"  epoch {epoch}/{epochs}: running loss {value:.4f}, {figures}", flush=True)
            self.done[phase] = epoch
            self._save()

        def log(epoch: int, batch: int, value: float) -> None:
            print(f"  epoch {epoch}, batch {batch}/{len(self.train_loader)}: loss {value:.6f}")

        with self.clock("train"), memory.peak(self.device, "train", self.peaks):
            train(
                torch.compile(self.model) if self.args.compile else self.model,
                self.loss,
                self.optimizer,
                self.scheduler,
                self.train_loader,
                self.device,
                epochs,
                after_epoch,
                log if self.args.verbose else None,
                self.amp,
                done=self.done.get(phase, begun),
            )

    def prune(self, density: float, step: str = "prune") -> None:
        args = self.args
        if step in self.done:
            return
        if "before" not in self.signal:  # of several levels the first begins with the dense network
            with self.clock("evaluate"):
                self.signal["before"] = self._spread()
        with self.clock("prune"), memory.peak(self.device, "prune", self.peaks):
            prune_loop(
                self.model,
                self.loss,
                self.pruner,
                self.prune_loader,
                self.device,
                density,
                args.compression_schedule,
                args.mask_scope,
                args.prune_epochs,
                reinitialize_from=seeds.derive(args.init_seed, "reinitialize") if args.reinitialize else None,
                train_mode=args.prune_train_mode,
                shuffle=args.shuffle,
                invert=args.invert,
            )
        with self.clock("evaluate"):
            self.signal["after"] = self._spread()
        self.done[step] = 1
        self._save()

    def _spread(self) -> float:
        return signal.spread(self.model, self.evaluation.inputs(), self.device)

    def mark(self, step: str = "mark") -> None:
        """Keep the weights and running statistics of this moment for `rewind`."""
        if step not in self.done:
            state = self.model.state_dict()
            self.rewind_point = {name: value.clone() for name, value in state.items() if not name.endswith("_mask")}
            self.done[step] = 1

    def rewind(self, step: str) -> None:
        """Back to the weights, the learning rate and the order of the data at the mark; the masks stay."""
        if step not in self.done:
            self.model.load_state_dict(self.rewind_point, strict=False)
            self.pruner.apply_mask()
            self._build_optimizer(self.args.rewind_epochs)
            self.train_loader.epoch = self.args.rewind_epochs
            self.done[step] = 1

    def tell_dead(self) -> None:
        """Say what the masks have made dead, and how much accuracy is still in reach on the test split."""
        cut = dead.find(self.model, self.data.shape, self.device)
        unread.note(self.model, cut.no_way_out)
        found = cut.report()
        counts = torch.bincount(self.data.test.targets.cpu(), minlength=self.data.num_classes).tolist()
        self.cut_off = {**found, "accuracy_cap": dead.accuracy_cap(found["classes"]["alive"], counts)}
        print(results.dead_lines(self.cut_off, self.data.classes), end="")

    def result(self) -> tuple[dict[str, Any], str]:
        """(what result.json holds, what the console shows); saves the model."""
        args, data = self.args, self.data
        if args.ignore_masks == "none":
            self.pruner.apply_mask()  # momentum from before the pruning moves weights that no output reads
        table = metrics.summary(
            self.model,
            self.pruner.scores,
            metrics.flop(self.model, data.shape, self.device),
            lambda module: generator.prunable(module, args.prune_batchnorm, args.prune_residual, args.prune_attention),
        )
        parameters, flops = metrics.totals(table)
        named = ("experiment", "dataset", "model", "model_class", "pruner", "compression", "seed")
        result = {
            **{key: getattr(args, key) for key in named},
            "source": data.source,
            "data": {"files": data.files, "rows": data.rows, "notes": data.notes},
            "vocab": data.vocab,
            "parameters": parameters,
            "flops": flops,
            **self.points,
            "per_tensor": table.to_dict("records"),
            "dead": self.cut_off,
            "signal": {**self.signal, "kept": signal.share(self.signal["after"], self.signal["before"])},
            "kept_by_tie": self.pruner.by_tie / max(1, parameters["prunable_kept"]),
            "peak_memory": self.peaks,
            **self.evaluation.findings(),
            "epochs": self.stage.epochs,
            "seconds": {key: round(value, 3) for key, value in self.clock.reading().items()},
            "versions": provenance.versions(),
            "machine": provenance.machine(self.device),
            "commit": self.made_by["commit"],
        }
        self.stage.model("model.safetensors", self.model)
        return result, results.text(result, table, data.classes, self.evaluation.words())
