"""All that the rest of a run depends on, as tensors and JSON values: taken after each epoch, put back after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from Experiments.workshop import Workshop


def _parts(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix` and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def take(shop: Workshop) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, JSON values): weights, masks, optimizer, random generators, scores; what is done and was measured."""
    tensors = {f"model.{name}": tensor for name, tensor in shop.model.state_dict().items()}
    numbers: dict[str, dict[str, Any]] = {}
    for key, state in shop.optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{key}.{name}"] = value
            else:
                numbers.setdefault(str(key), {})[name] = value
    tensors |= {f"scores.{name}": score for name, score in shop.pruner.scores.items()}
    tensors |= {f"rewind.{name}": tensor for name, tensor in shop.rewind_point.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    tensors["random.pruner"] = shop.pruner.generator.get_state()
    if shop.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(shop.device)
    record = {
        "made_by": shop.made_by,
        "done": shop.done,
        "points": shop.points,
        "epochs": shop.stage.epochs,
        "seconds": shop.clock.reading(),
        "evaluation": shop.evaluation.state(),
        "order": shop.train_loader.epoch,
        "scoring": shop.prune_loader.epoch,
        "by_tie": shop.pruner.by_tie,
        "signal": shop.signal,
        "peaks": shop.peaks,
        "optimizer": numbers,
        "rates": [group["lr"] for group in shop.optimizer.param_groups],
        "scheduler": {key: getattr(shop.scheduler, key) for key in ("last_epoch", "_step_count", "_last_lr")},
    }
    return tensors, record


def foreign(shop: Workshop, record: dict[str, Any]) -> str | None:
    """What made this checkpoint otherwise than this process would, if anything: its rest would be other bits."""
    before, now = record["made_by"], shop.made_by
    differing = [key for key in now if before.get(key) != now[key]]
    return f"{differing[0]} {before.get(differing[0])}, not {now[differing[0]]}" if differing else None


def put_back(shop: Workshop, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Bring the workshop, new as it is, to where the checkpoint was taken."""
    shop.model.load_state_dict(_parts(tensors, "model"))
    parameters = [p for group in shop.optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in record["optimizer"].items()}
    for name, value in _parts(tensors, "optimizer").items():
        key, _, leaf = name.partition(".")
        like = parameters[int(key)]
        if value.shape == like.shape:  # in the parameter's own layout and place
            value = torch.empty_like(like).copy_(value)
        state.setdefault(int(key), {})[leaf] = value
    shop.optimizer.load_state_dict({**shop.optimizer.state_dict(), "state": state})
    for group, rate in zip(shop.optimizer.param_groups, record["rates"], strict=True):
        group["lr"] = rate
    shop.scheduler.load_state_dict(record["scheduler"])
    shop.pruner.scores = {name: score.to(shop.device) for name, score in _parts(tensors, "scores").items()}
    shop.rewind_point = {name: tensor.to(shop.device) for name, tensor in _parts(tensors, "rewind").items()}
    torch.set_rng_state(tensors["random.cpu"])
    shop.pruner.generator.set_state(tensors["random.pruner"])
    if shop.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], shop.device)
    shop.done, shop.points = record["done"], record["points"]
    shop.stage.epochs_so_far(record["epochs"])
    shop.clock.seconds = record["seconds"]
    shop.evaluation.restore(record["evaluation"])
    shop.train_loader.epoch, shop.prune_loader.epoch = record["order"], record["scoring"]
    shop.pruner.by_tie = record["by_tie"]
    shop.signal, shop.peaks = record["signal"], record["peaks"]
