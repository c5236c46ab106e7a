"""Train a little, prune once, train, measure."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from Utils import console, corpus, load, seeds, store
from Utils.clock import Clock

# torch and what needs it is imported by the functions below, after the store has been asked: a stored result is
# reported at once.


def run(args: Namespace) -> dict[str, Any]:
    """Make the result that `args` describe, or report it if it is stored; returns what result.json holds."""
    located = corpus.locate(load.dataset(args.dataset), Path(args.data_dir), args.source)
    config = store.settings(args, source=located.source, data_key=located.key)
    place = store.Run(args.result_dir, args.experiment, config, args.expid)
    if not args.force and (result := place.stored()) is not None:
        console.note(f"stored result of {place.path}; --force runs it again")
        print(place.report(), end="")
        return result
    with place.writing(replace=args.force) as stage:
        result, text = _make(args, located, stage)
        stage.json("result.json", result)
        stage.text("report.txt", text)
    print(text, end="")
    print(f"Saved to {place.path}")
    return result


def _make(args: Namespace, located: corpus.Located, stage: store.Stage) -> tuple[dict[str, Any], str]:
    import torch
    from torch import nn

    from Experiments import results
    from Pruners import dead
    from Utils import generator, metrics, provenance
    from Utils.adam import Adam
    from Utils.evaluate import evaluate
    from Utils.prune import prune_loop
    from Utils.train import train

    clock = Clock("prepare", "prune", "train", "evaluate")
    device = load.device(args.gpu, args.no_cuda)
    seeds.settle(device)

    with clock("prepare"):
        print(f"Loading {args.dataset} dataset.")
        data = corpus.load(located)
        order = {name: seeds.derive(args.data_seed, name) for name in ("prune", "train")}
        prune_length = args.prune_dataset_ratio * data.num_classes
        prune_loader = load.dataloader(
            data, args.prune_batch_size, True, args.workers, prune_length, order["prune"], shuffle=False
        )
        train_loader = load.dataloader(data, args.train_batch_size, True, args.workers, seed=order["train"])
        loaders = {
            "train": load.dataloader(data, args.test_batch_size, True, args.workers, shuffle=False),
            "test": load.dataloader(data, args.test_batch_size, False, args.workers),
        }

        print(f"Creating {args.model_class}-{args.model} model.")
        torch.manual_seed(seeds.derive(args.init_seed, "init"))
        model = load.model(args.model, args.model_class)(data.shape, data.num_classes, args.dense_classifier).to(device)
        loss = nn.CrossEntropyLoss()
        kind, arguments = load.optimizer(args.optimizer)
        optimizer = kind(generator.parameters(model), lr=args.lr, weight_decay=args.weight_decay, **arguments)
        if isinstance(optimizer, Adam) and device.type == "cpu":  # a GPU is quicker at the whole embedding than at rows
            optimizer.attach(model)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=args.lr_drops, gamma=args.lr_drop_rate)
        masked = list(generator.masked_parameters(model, args.prune_bias, args.prune_batchnorm, args.prune_residual))
        pruner = load.pruner(args.pruner)(masked, seed=seeds.derive(args.prune_seed, "prune"))
    torch.manual_seed(seeds.derive(args.data_seed, "noise"))  # dropout

    def measure() -> dict[str, float]:
        """Both splits whole, in eval mode: {train_loss, train_top1, ..., test_loss, test_top1, ...}."""
        with clock("evaluate"):
            return {
                f"{split}_{key}": value
                for split, loader in loaders.items()
                for key, value in evaluate(model, loss, loader, device).items()
            }

    def fit(phase: str, epochs: int) -> None:
        def after_epoch(epoch: int, value: float) -> None:
            with clock("evaluate"):
                test = evaluate(model, loss, loaders["test"], device)
            record = {"phase": phase, "epoch": epoch, "running_loss": value}
            record |= {f"test_{key}": figure for key, figure in test.items()}
            stage.epoch(record)
            figures = f"test loss {test['loss']:.4f}, top-1 {test['top1']:.2f} %"
            print(f"  epoch {epoch}/{epochs}: running loss {value:.4f}, {figures}", flush=True)

        def log(epoch: int, batch: int, value: float) -> None:
            print(f"  epoch {epoch}, batch {batch}/{len(train_loader)}: loss {value:.6f}")

        before = clock.seconds["evaluate"]
        with clock("train"):
            watch = log if args.verbose else None
            train(model, loss, optimizer, scheduler, train_loader, device, epochs, after_epoch, watch)
        clock.seconds["train"] -= clock.seconds["evaluate"] - before

    points = {"init": measure()}
    print(f"Pre-Train for {args.pre_epochs} epochs.")
    fit("pre", args.pre_epochs)
    points["pre_prune"] = measure() if args.pre_epochs else points["init"]

    print(f"Pruning with {args.pruner} for {args.prune_epochs} epochs.")
    with clock("prune"):
        prune_loop(
            model,
            loss,
            pruner,
            prune_loader,
            device,
            10.0**-args.compression,
            args.compression_schedule,
            args.mask_scope,
            args.prune_epochs,
            reinitialize_from=seeds.derive(args.init_seed, "reinitialize") if args.reinitialize else None,
            train_mode=args.prune_train_mode,
            shuffle=args.shuffle,
            invert=args.invert,
        )
    points["post_prune"] = measure()
    cut_off = dead.report(model, data.shape, device)
    cut_off["accuracy_cap"] = dead.accuracy_cap(
        cut_off["classes"]["alive"], torch.bincount(loaders["test"].targets, minlength=data.num_classes).tolist()
    )
    print(results.dead_lines(cut_off, data.dataset.classes), end="")

    print(f"Post-Training for {args.post_epochs} epochs.")
    fit("post", args.post_epochs)
    points["final"] = measure() if args.post_epochs else points["post_prune"]

    table = metrics.summary(
        model,
        pruner.scores,
        metrics.flop(model, data.shape, device),
        lambda module: generator.prunable(module, args.prune_batchnorm, args.prune_residual),
    )
    parameters, flops = metrics.totals(table)
    result = {
        "experiment": args.experiment,
        "dataset": args.dataset,
        "model": args.model,
        "model_class": args.model_class,
        "pruner": args.pruner,
        "compression": args.compression,
        "seed": args.seed,
        "source": data.source,
        "data": {"files": data.files, "rows": data.rows, "notes": data.notes},
        "vocab": data.vocab,
        "parameters": parameters,
        "flops": flops,
        **points,
        "per_tensor": table.to_dict("records"),
        "dead": cut_off,
        "seconds": {key: round(value, 3) for key, value in clock.seconds.items()},
        "versions": provenance.versions(),
        "machine": provenance.machine(device),
        "commit": provenance.commit(),
    }
    stage.model("model.safetensors", model)
    return result, results.text(result, table, data.dataset.classes)
