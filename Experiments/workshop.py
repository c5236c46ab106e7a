"""What every recipe works with: data, model, optimizer and pruner of one run, and the steps done to them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch

from Experiments import results
from Pruners import dead
from Utils import corpus, generator, load, memory, metrics, pretrained, provenance, seeds, store
from Utils.adam import Adam
from Utils.clock import Clock
from Utils.errors import UserError
from Utils.loss import CrossEntropy
from Utils.prune import prune_loop
from Utils.train import train


class Workshop:
    """Built from the checked arguments of the command line; writes epochs and the model to `stage`."""

    def __init__(self, args: Namespace, located: corpus.Located, stage: store.Stage) -> None:
        self.args, self.stage = args, stage
        self.clock = Clock("prepare", "prune", "train", "evaluate")
        self.device = load.device(args.gpu, args.no_cuda)
        seeds.settle(self.device)
        memory.keep_freed()
        if args.threads:
            torch.set_num_threads(args.threads)
        with self.clock("prepare"):
            print(f"Loading {args.dataset} dataset.")
            self.data = corpus.load(located)
            self._build_loaders()
            print(f"Creating {args.model_class}-{args.model} model.")
            self._build_model()
        torch.manual_seed(seeds.derive(args.data_seed, "noise"))  # dropout

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
        )
        self.evaluation = load.evaluation(data.dataset)(data, args, self.device)

    def _build_model(self) -> None:
        args, data = self.args, self.data
        torch.manual_seed(seeds.derive(args.init_seed, "init"))
        self.model = load.model(args.model, args.model_class)(data.shape, data.num_classes, args.dense_classifier)
        if args.pretrained:
            pretrained.load(self.model, pretrained.find("--pretrained", args.pretrained))
        layout = getattr(self.model, "memory_format", None) if self.device.type == "cpu" else None
        self.model.to(self.device, memory_format=layout)
        self.loss = CrossEntropy()
        kind, arguments = load.optimizer(args.optimizer, args)
        self.optimizer = kind(generator.parameters(self.model), lr=args.lr, weight_decay=args.weight_decay, **arguments)
        if isinstance(self.optimizer, Adam) and self.device.type == "cpu":
            self.optimizer.attach(self.model)  # a GPU is quicker at the whole embedding than at its rows
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, args.lr_drops, args.lr_drop_rate)
        options = args.prune_bias, args.prune_batchnorm, args.prune_residual, args.prune_attention
        masked = list(generator.masked_parameters(self.model, *options))
        if not masked:
            raise UserError(f"nothing of {args.model} is prunable with these settings; leave --dense-classifier out")
        self.pruner = load.pruner(args.pruner)(masked, seed=seeds.derive(args.prune_seed, "prune"))

    def measure(self, point: str) -> dict[str, float]:
        """The figures of that moment of the run, as the data set's evaluation takes them."""
        with self.clock("evaluate"):
            return self.evaluation.measure(self.model, self.loss, point)

    def fit(self, phase: str, epochs: int) -> None:
        """Train; each epoch ends with an evaluation and a line in epochs.jsonl."""
        evaluating = self.clock.seconds["evaluate"]

        def after_epoch(epoch: int, value: float) -> None:
            with self.clock("evaluate"):
                found = self.evaluation.after_epoch(self.model, self.loss, epoch)
            record = {"source": self.data.source, "phase": phase, "epoch": epoch, "running_loss": value}
            self.stage.epoch(record | found)
            shown = ("test_loss", "test_top1", "bleu")
            figures = ", ".join(f"{key.replace('_', ' ')} {found[key]:.4f}" for key in shown if key in found)
            print(f"  epoch {epoch}/{epochs}: running loss {value:.4f}, {figures}", flush=True)

        def log(epoch: int, batch: int, value: float) -> None:
            print(f"  epoch {epoch}, batch {batch}/{len(self.train_loader)}: loss {value:.6f}")

        with self.clock("train"):
            train(
                self.model,
                self.loss,
                self.optimizer,
                self.scheduler,
                self.train_loader,
                self.device,
                epochs,
                after_epoch,
                log if self.args.verbose else None,
                load.precision(self.args.amp),
            )
        self.clock.seconds["train"] -= self.clock.seconds["evaluate"] - evaluating

    def prune(self) -> None:
        args = self.args
        with self.clock("prune"):
            prune_loop(
                self.model,
                self.loss,
                self.pruner,
                self.prune_loader,
                self.device,
                10.0**-args.compression,
                args.compression_schedule,
                args.mask_scope,
                args.prune_epochs,
                reinitialize_from=seeds.derive(args.init_seed, "reinitialize") if args.reinitialize else None,
                train_mode=args.prune_train_mode,
                shuffle=args.shuffle,
                invert=args.invert,
            )

    def cut_off(self) -> dict[str, Any]:
        """What the masks have made dead, with the accuracy that is still in reach on the test split."""
        found = dead.report(self.model, self.data.shape, self.device)
        counts = torch.bincount(self.data.test.targets, minlength=self.data.num_classes).tolist()
        return {**found, "accuracy_cap": dead.accuracy_cap(found["classes"]["alive"], counts)}

    def result(self, points: dict[str, dict[str, float]], cut_off: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """(what result.json holds, what the console shows); saves the model."""
        args, data = self.args, self.data
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
            **points,
            "per_tensor": table.to_dict("records"),
            "dead": cut_off,
            **self.evaluation.findings(),
            "epochs": self.stage.epochs,
            "seconds": {key: round(value, 3) for key, value in self.clock.seconds.items()},
            "versions": provenance.versions(),
            "machine": provenance.machine(self.device),
            "commit": provenance.commit(),
        }
        self.stage.model("model.safetensors", self.model)
        return result, results.text(result, table, data.classes, self.evaluation.words())
