"""The translator: encoder and decoder of sublayers, all of a sentence at once or token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .caches import Cache
from .forms import LINEAR
from .products import Product, Words
from .sublayers import SUBLAYERS


class Translating:
    """Where a batch of translations stands: the sublayers' caches, what to add at each position, and the next one."""

    def __init__(self, caches: list[Cache | None], positions: Sequence[Tensor]) -> None:
        self.caches, self.positions, self.position = caches, positions, 0

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch, in this order; a row may be taken more than once."""
        self.caches = [cache and cache.kept(rows, self.position) for cache in self.caches]


class Translator(nn.Module):
    """Sentence pairs -> logits [n, words] at the n target positions that are not padding, row by row; or step by step.

    program: the number of the "padding" token, "eps" of the normalisations, and of "encoder" and "decoder" the
    sublayers in their order: "name", "kind" (a key of SUBLAYERS) and the kind's sizes. A sublayer's tensors are
    <name>.in, .out and, for the source's keys and values, .memory, each with .weight and .bias, and <name>.norm. The
    others are encoder.norm, decoder.norm, generator, and the embeddings, times their scale: source and target.
    forms, `held`: as of Network.
    """

    def __init__(
        self, program: dict[str, Any], tensors: Mapping[str, Tensor], forms: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.padding, self.eps, self.forms = program["padding"], program["eps"], forms or {}
        self.held: list[Tensor] = [tensors["source"], tensors["target"]]
        self.source, self.target = self.held
        self.encoder = _Stack(self, "encoder", program["encoder"], tensors)
        self.decoder = _Stack(self, "decoder", program["decoder"], tensors)
        self.generator = Words(self.form("generator", tensors, tensors["generator.bias"]))

    def form(self, name: str, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Callable:
        """The matrix of that name as it computes."""
        form = self.forms.get(f"{name}.weight", "whole")
        made = LINEAR.get(form, form)(tensors[f"{name}.weight"], bias)
        self.held += made.tensors
        return made

    def normalisation(self, name: str, tensors: Mapping[str, Tensor], more: Tensor | float = 0.0) -> tuple:
        """What F.layer_norm takes behind its input; `more` is added to its bias."""
        weight, bias = tensors[f"{name}.norm.weight"], tensors[f"{name}.norm.bias"] + more
        self.held += [weight, bias]
        return tuple(weight.shape), weight, bias, self.eps

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, S] -> (memory [B, S, E], mask [B, 1, 1, S], False at padding, or None where there is no padding)."""
        words = source != self.padding
        mask = None if words.all() else words[:, None, None, :]
        return self.encoder(torch.embedding(self.source, source), mask=mask), mask

    @torch.no_grad()
    def forward(self, data: Any) -> Tensor:
        """data: anything with `source` [B, S] and `target` [B, T], token numbers padded at the end."""
        memory, mask = self.encode(data.source)
        hidden = self.decoder(torch.embedding(self.target, data.target), memory, mask)
        return self.generator(hidden[data.target != self.padding])

    @torch.inference_mode()
    def begin(self, source: Tensor, room: int) -> Translating:
        """Ready to translate `source` [B, S] into at most `room` tokens each, one a `step`."""
        memory, mask = self.encode(source)
        padding = None if mask is None else torch.where(mask[:, 0], 0.0, -torch.inf)
        caches = [sublayer.cache(memory, padding, room) for sublayer in self.decoder.sublayers]
        return Translating(caches, self.decoder.positions(room).unbind(0))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: Translating) -> Tensor:
        """The latest token of each target, [B] -> logits of the next, [B, words]; `state` moves on."""
        return self.generator(self._advance(tokens, state)).view(len(tokens), -1)

    @torch.no_grad()
    def likeliest_step(self, tokens: Tensor, state: Translating) -> Tensor:
        """As `step`, but the word with the highest logit alone, [B]; the first of equals."""
        return self.generator.likeliest(self._advance(tokens, state))

    @torch.inference_mode()  # which saves a tenth of a step; what a caller gets is made outside, and may be written to
    def _advance(self, tokens: Tensor, state: Translating) -> Tensor:
        """[B] -> [B, E], or [E] of a single sentence: the latest tokens through the decoder."""
        position = state.position
        hidden = torch.embedding(self.target, tokens if len(tokens) > 1 else tokens.squeeze(0))
        hidden += state.positions[position]
        for sublayer, cache in zip(self.decoder.sublayers, state.caches, strict=True):
            hidden = torch.layer_norm(sublayer.step(hidden, cache, position), *sublayer.norm)
        state.position = position + 1
        return torch.layer_norm(hidden, *self.decoder.norm)


class _Stack:
    """Encoder or decoder: the sublayers, a normalisation behind them, and the positions' sines and cosines before."""

    def __init__(
        self, model: Translator, side: str, entries: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
    ) -> None:
        # Each sublayer's output bias comes with its input (see _Sublayer); behind the last there is none.
        self.norm = model.normalisation(side, tensors)
        biases = [*(tensors[f"{about['name']}.out.bias"] for about in entries), torch.zeros_like(self.norm[1])]
        self.before, self.table = biases[0], torch.empty(0)
        self.sublayers = []
        for about, bias, after in zip(entries, biases, biases[1:], strict=False):
            products = _products(model, about["name"], tensors, bias)
            norm = model.normalisation(about["name"], tensors, after)
            self.sublayers.append(SUBLAYERS[about["kind"]](about, products, norm))

    def positions(self, length: int) -> Tensor:
        """[length, E]: sines and cosines (Vaswani et al. 2017, section 3.5), and the first sublayer's output bias."""
        if length > len(self.table):
            width = len(self.before)
            frequencies = torch.exp(torch.arange(0, width, 2) * (-torch.tensor(10_000.0).log() / width))
            angles = torch.arange(2 * length).unsqueeze(1) * frequencies
            table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
            self.table = table.to(self.before) + self.before
        return self.table[:length]

    def __call__(self, embedded: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, L, E] -> [B, L, E]; memory and mask: see _Sublayer."""
        hidden = embedded + self.positions(embedded.shape[1])
        for sublayer in self.sublayers:
            hidden = sublayer(hidden, memory, mask)
        return torch.layer_norm(hidden, *self.norm)


def _products(model: Translator, name: str, tensors: Mapping[str, Tensor], bias: Tensor) -> dict[str, Product]:
    """Those of a sublayer whose input has the `bias` of its output in it."""
    made = {}
    if f"{name}.in.weight" in tensors:
        own = tensors[f"{name}.in.bias"] - tensors[f"{name}.in.weight"] @ bias
        made["in"] = Product(model.form(f"{name}.in", tensors, own))
        made["out"] = Product(model.form(f"{name}.out", tensors, None))
    if f"{name}.memory.weight" in tensors:
        made["memory"] = Product(model.form(f"{name}.memory", tensors, tensors[f"{name}.memory.bias"]))
    return made
