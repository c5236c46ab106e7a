"""Graphs that ONNX Runtime runs, with the interface of the exported models that torch runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from Layers.pairs import PAD
from Utils.export.formats import GRAPH_ONLY
from Utils.export.graphs.translator import NEXT
from Utils.store import files

Found = dict[str, Tensor]


class _Session:
    """A session of ONNX Runtime on the CPU, with torch's present number of threads: tensors by name -> the same."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = ([x.name for x in f()] for f in (self.session.get_inputs, self.session.get_outputs))

    def __call__(self, given: Mapping[str, Tensor]) -> Found:
        feeds = {name: given[name].numpy() for name in self.inputs}
        return {name: torch.from_numpy(x) for name, x in zip(self.outputs, self.session.run(None, feeds), strict=True)}


class Network(nn.Module):
    """A network: images [B, C, H, W], or any object with `ids` [N] and `offsets` [B] -> logits [B, classes]."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        super().__init__()
        self.session = _Session(contents["network"])

    def forward(self, data: Any) -> Tensor:
        given = {"data": data} if isinstance(data, Tensor) else {"ids": data.ids, "offsets": data.offsets}
        return self.session(given)["logits"]


class _State:
    """The state of a batch of translations: its parts by name, the batch first in each."""

    def __init__(self, parts: Found) -> None:
        self.parts = parts

    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may occur more than once."""
        self.parts = {name: value[rows] for name, value in self.parts.items()}


class Translator(nn.Module):
    """A translation model; see exported.Translator, of which it has the methods."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        super().__init__()
        self.encoder, self.decoder = _Session(contents["encoder"]), _Session(contents["decoder"])

    def begin(self, source: Tensor, room: int) -> _State:
        """Encode `source` [B, S] and return the state. `room` is unused: the state grows."""
        return _State(self.encoder({"source": source}))

    def step(self, tokens: Tensor, state: _State) -> Tensor:
        """Return the logits of the next token: latest tokens [B] -> [B, words]. `state` moves to the next position."""
        found = self.decoder({"tokens": tokens, **state.parts})
        logits = found.pop("logits")
        state.parts |= {name.removeprefix(NEXT): value for name, value in found.items()}
        return logits

    def likeliest_step(self, tokens: Tensor, state: _State) -> Tensor:
        """Do a `step` and return only the word with the highest logit, [B]. Ties: the first word."""
        return self.step(tokens, state).max(1)[1]

    def forward(self, data: Any) -> Tensor:
        """Return the logits [n, words] of the n target positions that are not padding, step by step."""
        state, words = self.begin(data.source, 0), data.target != PAD
        steps = [self.step(tokens.contiguous(), state) for tokens in data.target.unbind(1)]
        return torch.stack(steps, 1)[words]


KINDS = {"network": Network, GRAPH_ONLY: Network, "translator": Translator}


def load(path: Path) -> nn.Module:
    """Return the model of the JSON file that an export has written; its graphs are in the same directory."""
    about = files.read_json(path)
    return KINDS[about["kind"]]({part: (path.parent / name).read_bytes() for part, name in about["graphs"].items()})
