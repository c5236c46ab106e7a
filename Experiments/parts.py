"""Parts of a run's state that have no class of their own: the model, torch's random generators, and the progress."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from Experiments.checkpoint import State
from Layers.fast import unread


class Network:
    """The weights, masks and buffers of a model, and the units that are known to affect no output."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state(self) -> State:
        return {"tensors": self.model.state_dict(), "unread": unread.noted(self.model)}

    def restore(self, state: State) -> None:
        self.model.load_state_dict(state["tensors"])
        unread.note(self.model, state["unread"])


class Generators:
    """The states of torch's global random generators, which dropout uses: the CPU's and that of `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state(self) -> State:
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def restore(self, state: State) -> None:
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)


@dataclass
class Progress:
    """The steps that a run has done, and the figures measured so far."""

    done: dict[str, int] = field(default_factory=dict)  # step: its number of epochs (training) or of calls
    points: dict[str, dict[str, float]] = field(default_factory=dict)  # name of a moment: the figures measured then
    latest: str | None = None  # the last point, as long as the model has not changed since
    signal: dict[str, float] = field(default_factory=dict)  # signal before and after the last pruning
    dead: dict[str, Any] = field(default_factory=dict)  # report of the units that the last pruning disconnected
    peaks: dict[str, int] = field(default_factory=dict)  # phase: the most bytes in use
    mask_updates: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # phase: column: numbers, by update
    mark: State = field(default_factory=dict)  # weights, buffers and number of epochs at the mark

    def state(self) -> State:
        return dict(vars(self))

    def restore(self, state: State) -> None:
        vars(self).update(state)
