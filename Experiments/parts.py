"""Parts of a run's state that belong to no class of ours: the model, torch's random generators, and the progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from Experiments.checkpoint import State
from Layers.fast import unread


class Network:
    """A model's weights, masks and buffers, and the units of which it is known that no output reads them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state(self) -> State:
        return {"tensors": self.model.state_dict(), "unread": unread.noted(self.model)}

    def restore(self, state: State) -> None:
        self.model.load_state_dict(state["tensors"])
        unread.note(self.model, state["unread"])


class Generators:
    """The states of torch's own random generators, from which dropout draws: the CPU's and that of `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state(self) -> State:
        found = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def restore(self, state: State) -> None:
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)


@dataclass
class Progress:
    """How far a run has come, and what has been found on the way."""

    done: dict[str, int] = field(default_factory=dict)  # by step; of a phase of training its epochs, else how often
    points: dict[str, dict[str, float]] = field(default_factory=dict)  # the figures measured, by the moment's name
    latest: str | None = None  # the last point, until something happens to the model
    signal: dict[str, float] = field(default_factory=dict)  # before and after the last pruning
    dead: dict[str, Any] = field(default_factory=dict)  # what the last pruning cut off
    peaks: dict[str, int] = field(default_factory=dict)  # bytes in use at most, by phase
    mark: State = field(default_factory=dict)  # weights and buffers at the mark, and the epochs before it

    def state(self) -> State:
        return dict(vars(self))

    def restore(self, state: State) -> None:
        vars(self).update(state)
