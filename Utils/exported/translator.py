"""The translator: an encoder and a decoder of sublayers, run on whole sentences or token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .caches import Cache
from .compiled import SPARSE, Compiled, Together
from .forms import LINEAR, available
from .lookup import Lookup
from .products import Product, Words
from .sublayers import SUBLAYERS


class Translating:
    """The state of a batch of translations: the sublayers' caches, the position encodings, and the next position."""

    def __init__(self, caches: list[Cache | None], positions: Sequence[Tensor]) -> None:
        self.caches, self.positions, self.position = caches, positions, 0

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may occur more than once."""
        self.caches = [cache and cache.kept(rows, self.position) for cache in self.caches]


class Translator(nn.Module):
    """A translation model: sentence pairs -> logits [n, words] of the n target positions that are not padding.

    program: the number of the "padding" token, "eps" of the normalisations, and the sublayers of "encoder" and
    "decoder", in order: each has a "name", a "kind" (a key of SUBLAYERS) and sizes.
    tensors: <name>.in, <name>.out and <name>.norm of each sublayer, and <name>.memory of the source's keys and values;
    encoder.norm, decoder.norm and generator. Each has a .weight and a .bias. The embeddings, times their scale, are
    called source and target.
    forms, `held`: see Network.
    """

    def __init__(
        self, program: dict[str, Any], tensors: Mapping[str, Tensor], forms: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.padding, self.eps, self.forms = program["padding"], program["eps"], forms or {}
        self.source, self.target = Lookup("source", tensors), Lookup("target", tensors)
        self.held: list[Tensor] = [*self.source.held, *self.target.held]
        self.encoder = _Stack(self, "encoder", program["encoder"], tensors)
        self.decoder = _Stack(self, "decoder", program["decoder"], tensors)
        self.generator = Words(self.form("generator", tensors, tensors["generator.bias"]))
        self.compiled = self._compiled()

    def _compiled(self) -> Compiled | None:
        """Return what decodes instead of the steps below, if this machine and all forms allow it."""
        if self.held[0].device.type != "cpu" or not available("scattered"):
            return None
        try:
            return Compiled(self)
        except TypeError:  # a form of somebody else's
            return None

    def form(self, name: str, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Callable:
        """Return the matrix of that name in its form."""
        form, weight = self.forms.get(f"{name}.weight", "whole"), tensors[f"{name}.weight"]
        if form in ("csr", "block") and weight.device.type == "cpu" and available("scattered"):  # decoder.c has neither
            form = "scattered" if weight.count_nonzero() < SPARSE * weight.numel() else "whole"
        made = LINEAR.get(form, form)(weight, bias)
        self.held += made.tensors
        return made

    def normalisation(self, name: str, tensors: Mapping[str, Tensor], more: Tensor | float = 0.0) -> tuple:
        """Return the arguments of F.layer_norm after the input. more: a number or tensor that is added to the bias."""
        weight, bias = tensors[f"{name}.norm.weight"], tensors[f"{name}.norm.bias"] + more
        self.held += [weight, bias]
        return tuple(weight.shape), weight, bias, self.eps

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the encoder: [B, S] -> (memory [B, S, E], mask [B, 1, 1, S]). The mask is False at padding, or None."""
        words = source != self.padding
        mask = None if words.all() else words[:, None, None, :]
        return self.encoder(self.source(source), mask=mask), mask

    @torch.no_grad()
    def forward(self, data: Any) -> Tensor:
        """Return the logits. data: an object with `source` [B, S] and `target` [B, T], token numbers with padding."""
        memory, mask = self.encode(data.source)
        hidden = self.decoder(self.target(data.target), memory, mask)
        return self.generator(hidden[data.target != self.padding])

    @torch.inference_mode()
    def begin(self, source: Tensor, room: int) -> Translating | Together:
        """Encode `source` [B, S] and return the state for translating it into at most `room` tokens each."""
        if self.compiled:
            return self.compiled.begin(source, room)
        memory, mask = self.encode(source)
        padding = None if mask is None else torch.where(mask[:, 0], 0.0, -torch.inf)
        caches = [sublayer.cache(memory, padding, room) for sublayer in self.decoder.sublayers]
        return Translating(caches, self.decoder.positions(room).unbind(0))

    @torch.no_grad()
    def step(self, tokens: Tensor, state: Translating | Together) -> Tensor:
        """Return the logits of the next token: latest tokens [B] -> [B, words]. `state` moves to the next position."""
        return self.generator(self._advance(tokens, state)).view(len(tokens), -1)

    @torch.no_grad()
    def likeliest_step(self, tokens: Tensor, state: Translating | Together) -> Tensor:
        """Do a `step` and return only the word with the highest logit, [B]. Ties: the first word."""
        if isinstance(state, Together):
            return state.step(tokens, likeliest=True)
        return self.generator.likeliest(self._advance(tokens, state))

    @torch.inference_mode()  # saves a tenth of a step; callers get tensors made outside, which they may change in place
    def _advance(self, tokens: Tensor, state: Translating | Together) -> Tensor:
        """Run the latest tokens through the decoder: [B] -> [B, E], or [E] of a single sentence."""
        if isinstance(state, Together):
            return state.step(tokens, likeliest=False)
        position = state.position
        hidden = self.target(tokens if len(tokens) > 1 else tokens.squeeze(0))
        hidden += state.positions[position]
        for sublayer, cache in zip(self.decoder.sublayers, state.caches, strict=True):
            hidden = torch.layer_norm(sublayer.step(hidden, cache, position), *sublayer.norm)
        state.position = position + 1
        return torch.layer_norm(hidden, *self.decoder.norm)


class _Stack:
    """An encoder or decoder: the position encoding, the sublayers, and a final normalisation."""

    def __init__(
        self, model: Translator, side: str, entries: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
    ) -> None:
        # The input of each sublayer already contains its output bias (see _Sublayer); after the last there is none.
        self.norm = model.normalisation(side, tensors)
        biases = [*(tensors[f"{about['name']}.out.bias"] for about in entries), torch.zeros_like(self.norm[1])]
        self.before, self.table = biases[0], torch.empty(0)
        self.sublayers = []
        for about, bias, after in zip(entries, biases, biases[1:], strict=False):
            products = _products(model, about["name"], tensors, bias)
            norm = model.normalisation(about["name"], tensors, after)
            self.sublayers.append(SUBLAYERS[about["kind"]](about, products, norm))

    def positions(self, length: int) -> Tensor:
        """Return the position encoding (Vaswani et al. 2017, section 3.5) plus the first output bias: [length, E]."""
        if length > len(self.table):
            width = len(self.before)
            frequencies = torch.exp(torch.arange(0, width, 2) * (-torch.tensor(10_000.0).log() / width))
            angles = torch.arange(2 * length).unsqueeze(1) * frequencies
            table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
            self.table = table.to(self.before) + self.before
        return self.table[:length]

    def __call__(self, embedded: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Run all sublayers: [B, L, E] -> [B, L, E]. memory, mask: see _Sublayer."""
        hidden = embedded + self.positions(embedded.shape[1])
        for sublayer in self.sublayers:
            hidden = sublayer(hidden, memory, mask)
        return torch.layer_norm(hidden, *self.norm)


def _products(model: Translator, name: str, tensors: Mapping[str, Tensor], bias: Tensor) -> dict[str, Product]:
    """Return the products of a sublayer. bias: its output bias, which its input already contains."""
    made = {}
    if f"{name}.in.weight" in tensors:
        own = tensors[f"{name}.in.bias"] - tensors[f"{name}.in.weight"] @ bias
        made["in"] = Product(model.form(f"{name}.in", tensors, own))
        made["out"] = Product(model.form(f"{name}.out", tensors, None))
    if f"{name}.memory.weight" in tensors:
        made["memory"] = Product(model.form(f"{name}.memory", tensors, tensors[f"{name}.memory.bias"]))
    return made
