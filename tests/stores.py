"""Result stores made by hand: what a run leaves behind, without the run."""

import json
from pathlib import Path
from typing import Any

from Utils.store import run as store

CONFIG: dict[str, Any] = {
    "compression_schedule": "exponential",
    "data_key": "0123456789abcdef",
    "dense_classifier": False,
    "experiment": "singleshot",
    "invert": False,
    "lr": 0.001,
    "lr_drop_rate": 0.1,
    "lr_drops": [],
    "mask_scope": "global",
    "optimizer": "adam",
    "post_epochs": 10,
    "pre_epochs": 0,
    "pretrained": None,
    "prune_batch_size": 256,
    "prune_batchnorm": False,
    "prune_bias": False,
    "prune_dataset_ratio": 10,
    "prune_epochs": 1,
    "prune_residual": False,
    "prune_train_mode": False,
    "reinitialize": False,
    "shuffle": False,
    "source": "real",
    "test_batch_size": 256,
    "train_batch_size": 64,
    "weight_decay": 0.0,
}
# CONFIG and TASKS are of runs as they were stored before there were --init, --ties and --prune-augment. What a run of
# today's defaults says otherwise:
TODAY = {
    "agnews": {"train_batch_size": 256, "ties": "seeded"},
    "cifar10": {"train_batch_size": 256, "ties": "seeded", "prune_augment": True},
    "mnist": {"train_batch_size": 256, "ties": "seeded"},
    "multi30k": {"train_batch_size": 256, "test_batch_size": 256, "prune_batch_size": 256, "ties": "seeded"},
}
TASKS: dict[str, dict[str, Any]] = {
    "agnews": {"model": "text-classification", "model_class": "nlp"},
    "cifar10": {"model": "conv", "model_class": "default"},
    "mnist": {"model": "fc", "model_class": "default"},
    "multi30k": {
        "model": "seq2seq", "model_class": "nlp", "adam_betas": [0.9, 0.98], "adam_eps": 1e-9, "lr": 1e-4,
        "train_batch_size": 128, "test_batch_size": 128, "prune_batch_size": 128, "prune_dataset_ratio": None,
        "prune_dataset_size": 1280, "src": "de", "tgt": "en", "test_set": "2016_flickr", "beam": 1, "bleu_every": 0,
        "bleu_weights": [0.25] * 4,
    },
}  # fmt: skip
CLASSES = {"agnews": 4, "cifar10": 10, "mnist": 10, "multi30k": 10_837}
# The least that every result has.
RESULT: dict[str, Any] = {
    "source": "real", "data": {"files": {}}, "versions": {}, "machine": {"device": "cpu", "threads": 2},
    "parameters": {"kept": 110, "total": 1010, "prunable": 1000, "prunable_kept": 100},
    "flops": {"kept": 110, "total": 1010}, "dead": {"classes": {"total": 10, "alive": []}}, "seconds": {"train": 1.0},
    "per_tensor": [{"module": "fc", "param": "weight", "kept": 100, "size": 1000, "flops": 1000, "prunable": True}],
}  # fmt: skip
EXAMPLE = {"source": "Ein Hund.", "reference": "A dog.", "output": "A cat."}


def add(
    place: Path, dataset: str, pruner: str, compression: float, seed: int, value: float, *,
    train: float = 99.0, name: str | None = None, examples: list[dict] | None = None, **settings,
) -> Path:  # fmt: skip
    """One run whose metric (test accuracy, BLEU for multi30k) is `value`; returns its directory."""
    seeds = dict.fromkeys(("seed", "init_seed", "data_seed", "prune_seed"), seed)
    config = {**CONFIG, **TASKS[dataset], **seeds, "dataset": dataset, "pruner": pruner, "compression": compression}
    config |= settings
    density = 10.0**-compression
    first, second = round(6_000 * density), round(4_000 * density)
    tensors = [
        {"module": module, "param": param, "kept": kept, "size": size, "prunable": prunable}
        for module, param, kept, size, prunable in (
            ("fc1", "weight", first, 6_000, True),
            ("fc1", "bias", 10, 10, False),
            ("fc2", "weight", second, 4_000, True),
        )
    ]
    result = {
        "dataset": dataset,
        "source": config["source"],
        "data": {"files": {}, "rows": {"train": 1_000, "test": 100}, "notes": []},
        "parameters": {
            "kept": first + second + 10,
            "total": 10_010,
            "prunable": 10_000,
            "prunable_kept": first + second,
        },
        "flops": {"kept": first + second + 10, "total": 10_010},
        "final": {"train_top1": train, "test_top1": value, "test_loss": 0.5},
        "per_tensor": tensors,
        "dead": {"classes": {"total": CLASSES[dataset], "alive": []}},
        "seconds": {"train": 1.0},
        "versions": {"python": "3.11.7", "torch": "2.3.1"},
        "machine": {"device": "cpu", "threads": 1},
        "commit": "c0ffee" * 6,
    }
    if dataset == "multi30k":
        scores = {"bleu": value, **{f"bleu_{n}": value * (5 - n) for n in range(1, 5)}}
        result["final"] = {"val_top1": 50.0, "test_top1": 50.0, "bleu": value}
        result["translation"] = {"final": scores, "examples": examples or [EXAMPLE]}
    path = place / config["experiment"] / (name or store.name(config))
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "result.json").write_text(json.dumps(result))
    return path


def fill(place: Path, dataset: str, curves: dict[str, dict[float, list[float]]], **settings) -> None:
    """curves: pruner -> compression -> the values of seeds 1, 2, ..."""
    for pruner, by_compression in curves.items():
        for compression, values in by_compression.items():
            for seed, value in enumerate(values, start=1):
                add(place, dataset, pruner, compression, seed, value, **settings)
