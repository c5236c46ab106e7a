"""The two graphs of a translator: an encoder, and a decoder that does one step.

The encoder returns the state of a translation, and each step of the decoder replaces a part of it. All parts have the
batch first, so a row of every part is one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from Utils import exported
from Utils.export.draft import Draft
from Utils.export.graphs.builder import FLOAT, INTEGER, Graph
from Utils.export.graphs.network import rows

NEXT = "next."  # a decoder's output of this name and a part of the state replaces that part
ABOUT = {
    "source": "the token numbers of each sentence, <bos> words <eos>, filled up with <pad>",
    "tokens": "the latest token of each translation; at first <bos>",
    "logits": "the logit of every word as the next token; <eos> ends a translation",
}
STATE = {
    "padding": "state: 0 at a word of the source, minus infinity at <pad>",
    "position": "state: the number of tokens before the latest",
    "self": "state: keys and values, by attention head, of the translation so far",
    "source": "state: keys and values, by attention head, of the source",
}


def graphs(draft: Draft, shape: Sequence[int], classes: int) -> dict[str, Graph]:
    """Return {"encoder": its graph, "decoder": its graph} of a draft of `exported.Translator`. `shape` is unused."""
    return {"encoder": _Encoder(draft).graph, "decoder": _Decoder(draft, classes).graph}


class _Side:
    """Base of the two sides: the parts of the state, and the sublayers' operations."""

    def __init__(self, draft: Draft, side: str) -> None:
        self.program, self.tensors = draft.program, draft.tensors
        self.entries: list[dict[str, Any]] = draft.program[side]
        caches = {
            f"{e['kind']}.{k}": e for k, e in enumerate(draft.program["decoder"]) if e["kind"] in ("self", "source")
        }
        self.state: dict[str, tuple[int, list[int | str]]] = {"padding": (FLOAT, ["batch", "source"])}
        self.state["position"] = INTEGER, ["batch"]
        for name, entry in caches.items():
            length = "target" if entry["kind"] == "self" else "source"
            self.state[name] = FLOAT, ["batch", length, entry["heads"], entry["query"] + entry["value"]]
        about = {name: STATE[name.partition(".")[0]] for name in self.state}
        self.graph = Graph(ABOUT | about | {f"{NEXT}{name}": text for name, text in about.items()})

    def product(self, name: str, value: str) -> str:
        return self.graph.linear(value, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def normalised(self, name: str, value: str) -> str:
        parts = (self.tensors[f"{name}.norm.{part}"] for part in ("weight", "bias"))
        return self.graph("LayerNormalization", value, *parts, axis=-1, epsilon=self.program["eps"])

    def embedded(self, name: str, ids: str, position: str) -> str:
        """Add the words' rows and the position encoding (see exported.Translator). position: [...], integers."""
        graph, found = self.graph, rows(self.graph, exported.Lookup(name, self.tensors), ids)
        width = self.tensors[name].shape[1]
        frequencies = torch.exp(torch.arange(0, width, 2) * (-torch.tensor(10_000.0).log() / width))
        frequencies = frequencies.repeat_interleave(2)[:width]
        angles = graph("Mul", graph("Unsqueeze", graph("Cast", position, to=FLOAT), torch.tensor([-1])), frequencies)
        even = torch.arange(width) % 2 == 0
        return graph("Add", found, graph("Where", even, graph("Sin", angles), graph("Cos", angles)))

    def joined(self, entry: dict[str, Any], part: str, value: str, *sizes: int) -> str:
        """Multiply by an attention's matrix: [B, L, E] -> [B, L, heads, sum of sizes]."""
        return self.graph.shaped(self.product(f"{entry['name']}.{part}", value), 0, -1, entry["heads"], sum(sizes))

    def attended(self, entry: dict[str, Any], query: str, cache: str, padding: str | None) -> str:
        """Return the heads' outputs: query [B, L, heads, q], cache [B, S, heads, q + v] -> [B, L, heads * v]."""
        graph, (size, value) = self.graph, (entry["query"], entry["value"])
        keys, values = graph.split(cache, (size, value), 3)
        query, keys = graph("Transpose", query, perm=(0, 2, 1, 3)), graph("Transpose", keys, perm=(0, 2, 3, 1))
        scores = graph("MatMul", query, keys)
        if padding is not None:
            scores = graph("Add", scores, padding)
        heads = graph("MatMul", graph("Softmax", scores, axis=-1), graph("Transpose", values, perm=(0, 2, 1, 3)))
        return graph.shaped(graph("Transpose", heads, perm=(0, 2, 1, 3)), 0, -1, entry["heads"] * value)

    def added(self, entry: dict[str, Any], hidden: str, found: str | None) -> str:
        """Add a sublayer's output, the product with its last matrix or the bias alone, and normalise."""
        name, graph = entry["name"], self.graph
        output = self.tensors[f"{name}.out.bias"] if found is None else self.product(f"{name}.out", found)
        return self.normalised(name, graph("Add", hidden, output))

    def fed(self, entry: dict[str, Any], hidden: str) -> str | None:
        """Return the hidden units of a feed-forward net; None of a sublayer without weights."""
        return self.graph("Relu", self.product(f"{entry['name']}.in", hidden)) if entry["kind"] == "feed" else None

    def hidden_padding(self, padding: str) -> str:
        return self.graph("Unsqueeze", padding, torch.tensor([1, 2]))


class _Encoder(_Side):
    """The encoder: source [B, S] -> the state."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft, "encoder")
        graph = self.graph
        source = graph.input("source", INTEGER, ["batch", "source"])
        real = graph("Not", graph("Equal", source, torch.tensor(self.program["padding"])))
        padding = graph("Where", real, torch.tensor(0.0), torch.tensor(-math.inf))
        batch, length = graph("Shape", source, end=1), graph("Shape", source, start=1)
        made = {"padding": padding, "position": graph.zeros(batch, INTEGER)}
        if any(entry["kind"] == "source" for entry in self.program["decoder"]):
            places = graph("Range", torch.tensor(0), graph("Squeeze", length, torch.tensor([0])), torch.tensor(1))
            hidden, hide = self.embedded("source", source, places), self.hidden_padding(padding)
            for entry in self.entries:
                hidden = self.added(entry, hidden, self._found(entry, hidden, hide))
            memory = self.normalised("encoder", hidden)
        for name, (kind, shape) in self.state.items():
            part, _, number = name.partition(".")
            entry = self.program["decoder"][int(number)] if number else {}
            if part == "source":
                made[name] = self.joined(entry, "memory", memory, entry["query"], entry["value"])
            elif part == "self":  # no tokens yet
                rest = torch.tensor([0, entry["heads"], entry["query"] + entry["value"]])
                made[name] = graph.zeros(graph("Concat", batch, rest, axis=0), FLOAT)
            graph.output(name, made[name], kind, shape)

    def _found(self, entry: dict[str, Any], hidden: str, hide: str) -> str | None:
        if entry["kind"] != "self":
            return self.fed(entry, hidden)
        size, value = entry["query"], entry["value"]
        query, cache = self.graph.split(self.joined(entry, "in", hidden, size, size, value), (size, size + value), 3)
        return self.attended(entry, query, cache, hide)


class _Decoder(_Side):
    """The decoder: the latest tokens [B] and the state -> logits [B, words] and what changes of the state."""

    def __init__(self, draft: Draft, classes: int) -> None:
        super().__init__(draft, "decoder")
        graph = self.graph
        tokens = graph.input("tokens", INTEGER, ["batch"])
        for name, (kind, shape) in self.state.items():
            graph.input(name, kind, shape)
        self.changed = {"position": graph("Add", "position", torch.tensor(1))}
        hidden = graph("Unsqueeze", self.embedded("target", tokens, "position"), torch.tensor([1]))
        for number, entry in enumerate(self.entries):
            hidden = self.added(entry, hidden, self._found(entry, number, hidden))
        hidden = graph("Squeeze", self.normalised("decoder", hidden), torch.tensor([1]))
        graph.output("logits", self.product("generator", hidden), FLOAT, ["batch", classes])
        for name, value in self.changed.items():
            kind, shape = self.state[name]
            longer = ["longer" if size == "target" else size for size in shape]
            graph.output(f"{NEXT}{name}", value, kind, longer)

    def _found(self, entry: dict[str, Any], number: int, hidden: str) -> str | None:
        """Return a sublayer's output before its last matrix: [B, 1, E] -> [B, 1, n]."""
        size, value = entry.get("query", 0), entry.get("value", 0)
        if entry["kind"] == "self":
            joined = self.joined(entry, "in", hidden, size, size, value)
            query, latest = self.graph.split(joined, (size, size + value), 3)
            cache = self.changed[f"self.{number}"] = self.graph("Concat", f"self.{number}", latest, axis=1)
            return self.attended(entry, query, cache, None)
        if entry["kind"] == "source":
            query = self.joined(entry, "in", hidden, size)
            return self.attended(entry, query, f"source.{number}", self.hidden_padding("padding"))
        return self.fed(entry, hidden)
