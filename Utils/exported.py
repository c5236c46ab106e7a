"""Load an exported model and run it. This file needs torch and safetensors alone, and nothing else of the project:
copied beside an export it serves anywhere.

    model = exported.load("model.sparse.json")  # with model.sparse.safetensors beside it
    logits = model(images)                      # float [B, C, H, W], as the data set normalises them
    logits = model(texts)                       # anything with `ids` [N] and `offsets` [B], as torch's EmbeddingBag has
    state = model.begin(source, room=20)        # translation: token numbers [B, S], at most 20 tokens each
    tokens = model.likeliest_step(tokens, state)  # [B] -> [B], from the token that begins a sentence on

An export is a list of operations, or of a translator's sublayers, in JSON and their tensors in safetensors. A matrix is
stored "whole"; or as the values that are not zero, row by row, with a bit for each place ("bits") or a column for each
value ("columns"); or as the "block" of those rows and columns that are not all zero. However it is stored, it computes
in any of three forms: whole, as torch's sparse CSR, as its block. The JSON says which was the quickest where it was
exported, and in which "layout" of images, by examples at a time; also "classes", what the logits stand for, and the
"shape" of an input.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

VERSION = 1
PLANES, PLACES = "planes", "places"  # how images lie in memory: channel by channel, or all channels of a place together


def unpack(name: str, kept: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    """The whole matrix of that name from what is stored of it. kept: its entry in the JSON's "matrices"."""
    shape, stored = kept["shape"], kept["stored"]
    if stored == "whole":
        return tensors[name]
    found = torch.zeros(shape)
    if stored == "block":
        found[tensors[f"{name}.rows"].long().unsqueeze(1), tensors[f"{name}.columns"].long()] = tensors[name]
    elif stored == "bits":
        bits = tensors[f"{name}.bits"].unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
        found.view(-1)[bits.flatten()[: found.numel()].bool()] = tensors[name]
    elif stored == "columns":
        rows = torch.arange(shape[0]).repeat_interleave(_unsigned(tensors[f"{name}.counts"]))
        found.flatten(1)[rows, _unsigned(tensors[f"{name}.columns"])] = tensors[name]
    else:
        raise ValueError(f"{name} is stored as {stored!r}, which this loader does not know")
    return found


def _unsigned(numbers: Tensor) -> Tensor:
    """Whole numbers as int64; what is stored as int16 counts from 0 to 65535."""
    return numbers.long() & 0xFFFF if numbers.dtype == torch.int16 else numbers.long()


def _csr(matrix: Tensor) -> Tensor:
    """[O, I] as torch's sparse CSR with 32-bit indices, which halves what is read beside the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "sparse CSR tensor support is in beta state"
        wide = matrix.to_sparse_csr()
        narrow = wide.crow_indices().int(), wide.col_indices().int()
        return torch.sparse_csr_tensor(*narrow, wide.values(), wide.shape)


def block(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rows, columns, block): those of [O, I, ...] with any entry that is not zero, and what they hold."""
    entries = matrix.flatten(2).ne(0).any(2) if matrix.dim() > 2 else matrix.ne(0)
    rows, columns = (entries.any(dim).nonzero().flatten() for dim in (1, 0))
    part = matrix[rows][:, columns]
    in_places = matrix.dim() == 4 and not matrix.is_contiguous()
    return rows, columns, part.contiguous(memory_format=torch.channels_last if in_places else torch.contiguous_format)


class Form:
    """A matrix [O, I] or kernel [O, I, h, w] with its bias, as it computes. `tensors` are what it holds in memory."""

    def __init__(self, weight: Tensor, bias: Tensor | None, **how: Any) -> None:
        self.bias, self.how = bias, how
        self.tensors = [] if bias is None else [bias]
        self.outputs = weight.shape[0]
        self.prepare(weight)

    def hold(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.tensors += tensors
        return tensors

    def prepare(self, weight: Tensor) -> None:
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        raise NotImplementedError


class WholeLinear(Form):
    def prepare(self, weight: Tensor) -> None:
        (self.weight,) = self.hold(weight)

    def __call__(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


class CsrLinear(Form):
    def prepare(self, weight: Tensor) -> None:
        self.weight = _csr(weight)
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        if len(rows) == 1:  # a product with a vector is several times as quick as one with a matrix of one column
            found = self.weight.mv(rows[0]) if self.bias is None else torch.addmv(self.bias, self.weight, rows[0])
        else:
            columns = rows.t().contiguous()
            if self.bias is None:
                found = (self.weight @ columns).t()
            else:
                found = torch.addmm(self.bias.unsqueeze(1).expand(-1, len(rows)), self.weight, columns).t()
        return found.reshape(*input.shape[:-1], self.outputs)


class _Block(Form):
    """Only the rows and columns with weights: the rest of the output is the bias alone."""

    dim: int  # of inputs and outputs

    def prepare(self, weight: Tensor) -> None:
        rows, columns, part = block(weight)
        (self.weight,) = self.hold(part)
        self.part_bias, self.rows, self.columns = self.bias, None, None
        if len(columns) < weight.shape[1]:
            (self.columns,) = self.hold(columns)
        if len(rows) < self.outputs:
            (self.rows,) = self.hold(rows)
            if self.bias is not None:
                (self.part_bias,) = self.hold(self.bias[rows])

    def product(self, input: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        found = self.product(input if self.columns is None else input.index_select(self.dim, self.columns))
        if self.rows is None:
            return found
        size = list(found.shape)
        size[self.dim] = self.outputs
        if self.bias is None:
            whole = found.new_zeros(size)
        else:
            whole = self.bias.view(-1, *[1] * (-1 - self.dim)).expand(size).clone()
        return whole.index_copy_(self.dim, self.rows, found)


class BlockLinear(_Block):
    dim = -1

    def product(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.part_bias)


class WholeConv(Form):
    def prepare(self, weight: Tensor) -> None:
        (self.weight,) = self.hold(weight)

    def __call__(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, **self.how)


class BlockConv(_Block):
    dim = -3

    def product(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.part_bias, **self.how)


class CsrConv(Form):
    """A sparse product with the patches that the kernel sees, one below the other."""

    def prepare(self, weight: Tensor) -> None:
        self.kernel = tuple(weight.shape[2:])
        self.weight = _csr(weight.flatten(1))
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        count, _, *size = input.shape
        stride, padding = self.how["stride"], self.how["padding"]
        height, width = ((size[k] + 2 * padding[k] - self.kernel[k]) // stride[k] + 1 for k in range(2))
        patches = F.unfold(input, self.kernel, padding=padding, stride=stride)
        found = self.weight @ patches.transpose(0, 1).flatten(1)
        if self.bias is not None:
            found = found + self.bias.unsqueeze(1)
        return found.view(self.outputs, count, height, width).transpose(0, 1)


LINEAR = {"whole": WholeLinear, "csr": CsrLinear, "block": BlockLinear}
CONV = {"whole": WholeConv, "csr": CsrConv, "block": BlockConv}


def spread(core: Tensor, repeat: list[list[int]]) -> Tensor:
    """A map [C, H, W] from its core. repeat: of height, then width, which row stands how often for itself."""
    for dim, (place, times) in enumerate(repeat, 1):
        counts = torch.ones(core.shape[dim], dtype=torch.long)
        counts[place] = times
        core = core.repeat_interleave(counts, dim)
    return core


class Network(nn.Module):
    """The operations in their order: `data` -> logits [B, classes].

    program: for each operation its "op", the values it reads ("inputs") and the one it makes ("output"), its tensors by
    role ("tensors") and what else it needs. forms: by the matrix's name the form to compute in, a key of LINEAR and
    CONV or something to call like their values; those left out are whole. `held`: the tensors in memory.
    """

    def __init__(
        self, program: list[dict[str, Any]], tensors: Mapping[str, Tensor], forms: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.steps: list[tuple[Callable, list[str], str]] = []
        self.held: list[Tensor] = []
        self.result = program[-1]["output"]
        for step in program:
            own = {role: tensors[name] for role, name in step.get("tensors", {}).items()}
            form = (forms or {}).get(step.get("tensors", {}).get("weight", ""), "whole")
            if step["op"] not in OPERATIONS:
                raise ValueError(f"this loader knows no operation {step['op']!r}")
            body, held = OPERATIONS[step["op"]](own, step, form)
            self.steps.append((body, step["inputs"], step["output"]))
            self.held += held

    def forward(self, data: Any) -> Tensor:
        return self.values(data)[self.result]

    def values(self, data: Any) -> dict[str, Any]:
        """Every value on the way, by name."""
        found = {"data": data}
        for body, inputs, output in self.steps:
            found[output] = body(*(found[name] for name in inputs))
        return found


# An operation: (its tensors, its entry, the form of its matrix) -> (what computes it, the tensors held in memory).


def _linear(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = LINEAR.get(form, form)(own["weight"], own.get("bias"))
    return made, made.tensors


def _conv(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = CONV.get(form, form)(own["weight"], own.get("bias"), stride=step["stride"], padding=step["padding"])
    if "offset" not in own:
        return made, made.tensors
    offset = spread(own["offset"], step["repeat"])
    return lambda input: made(input) + offset, [*made.tensors, offset]


def _affine(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    shape = -1, *[1] * step["trailing"]
    scale = own["weight"].view(shape)
    if "bias" not in own:
        return lambda input: input * scale, [scale]
    shift = own["bias"].view(shape)
    return lambda input: torch.addcmul(shift, input, scale), [scale, shift]


def _bag(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    table = own["weight"]
    return lambda texts: F.embedding_bag(texts.ids, table, texts.offsets, mode="mean"), [table]


def _without(body: Callable[[dict[str, Any]], Callable]) -> Callable:
    """An operation that has no tensors."""
    return lambda own, step, form: (body(step), [])


OPERATIONS = {
    "linear": _linear,
    "conv": _conv,
    "affine": _affine,
    "bag": _bag,
    "relu": _without(lambda step: F.relu),
    "add": _without(lambda step: torch.add),
    "flatten": _without(lambda step: lambda input: input.flatten(1)),
    "max_pool": _without(lambda step: lambda input: F.max_pool2d(input, step["size"])),
    "mean": _without(lambda step: lambda input: input.mean((2, 3), keepdim=True)),
}


class Product:
    """A form as the translator calls it: rows [..., I], or a single row [I] with nothing between it and torch."""

    def __init__(self, made: Callable) -> None:
        self.made: Any = made  # has a weight and a bias where `direct`
        self.direct = type(made) in (WholeLinear, CsrLinear)

    def __call__(self, input: Tensor) -> Tensor:
        if input.dim() > 1:
            return self.made(input)
        if self.direct:
            return torch.addmv(self.made.bias, self.made.weight, input)
        return self.made(input.unsqueeze(0)).squeeze(0)

    def into(self, out: Tensor, input: Tensor) -> None:
        """Write the product to `out`."""
        if self.direct and input.dim() == 1:
            torch.addmv(self.made.bias, self.made.weight, input, out=out)
        else:
            out.copy_(self(input))

    def onto(self, base: Tensor, input: Tensor) -> Tensor:
        """`base` plus the product, of a form that has no bias."""
        if self.direct and input.dim() == 1:
            return torch.addmv(base, self.made.weight, input)
        return base + self(input)


class _Sublayer:
    """An attention or a feed-forward net, added to its input and normalised; this one has no weights left.

    The bias of its last product is in its input already: the normalisation before adds it, and the bias of its first
    product takes it out again. So it costs no operation, and the last product is added to the input as it is computed.
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        """products: by name, "in", "out" and "memory"; norm: what F.layer_norm takes behind its input."""
        self.enter: Product | Any  # Any, for None where the kind has none: no kind calls what it does not have
        self.leave: Product | Any
        self.memory: Product | Any
        self.about, self.norm = about, norm
        self.enter, self.leave, self.memory = (products.get(name) for name in ("in", "out", "memory"))

    def __call__(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, L, E] -> [B, L, E]; memory: [B, S, E] of the source; mask: boolean [B, 1, 1, S], False at its padding."""
        return torch.layer_norm(self.added(input, memory, mask), *self.norm)

    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        return input

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> _Cache | None:
        """What its steps read and write. memory: [B, S, E] of the source; padding: see `_Cache`."""
        return None

    def step(self, input: Tensor, cache: Any, position: int) -> Tensor:
        """What `added` gives at `position` from that one's input alone, [B, E], or [E] of a single sentence."""
        return input


class _FeedForward(_Sublayer):
    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        return self.leave.onto(input, torch.relu_(self.enter(input)))

    def step(self, input: Tensor, cache: Any, position: int) -> Tensor:
        return self.leave.onto(input, torch.relu_(self.enter(input)))


class _Attention(_Sublayer):
    """Its products give head after head, of each its query, key and value. 1 / sqrt(size) is in the query's weights.

    about: "heads", and the sizes of a head's "query", which the key has too, and of its "value".
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        super().__init__(about, products, norm)
        self.heads, self.query, self.value = (about[key] for key in ("heads", "query", "value"))

    def apart(self, found: Tensor, *sizes: int) -> tuple[Tensor, ...]:
        """[B, L, heads * sum of sizes] -> [B, L, heads, size] each."""
        return found.unflatten(2, (self.heads, -1)).split(sizes, 3)

    def attend(self, input: Tensor, parts: Sequence[Tensor], mask: Tensor | None, causal: bool = False) -> Tensor:
        """parts: query, key and value, each [B, L, heads, size]."""
        query, key, value = (part.transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=1.0)
        return self.leave.onto(input, found.transpose(1, 2).flatten(2))


class _SelfAttention(_Attention):
    """Over all of the source; or, where "causal" is true, over what comes before in the target."""

    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        parts = self.apart(self.enter(input), self.query, self.query, self.value)
        causal = self.about["causal"]
        return self.attend(input, parts, None if causal else mask, causal)

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> _Cache:
        size = self.heads * (2 * self.query + self.value)
        return _OwnCache(memory.new_empty(room, len(memory), size), (self.heads, self.query, self.value))

    def step(self, input: Tensor, cache: _OwnCache, position: int) -> Tensor:
        self.enter.into(cache.rows[position], input)
        seen = position + 1
        scores = torch.bmm(cache.queries[position], cache.keys.narrow(2, 0, seen))
        heads = torch.bmm(torch.softmax(scores, 2), cache.values.narrow(1, 0, seen))
        return self.leave.onto(input, heads.view(cache.shape))


class _SourceAttention(_Attention):
    """Of the target over the source."""

    def added(self, input: Tensor, memory: Tensor | Any, mask: Tensor | None) -> Tensor:
        parts = *self.apart(self.enter(input), self.query), *self.apart(self.memory(memory), self.query, self.value)
        return self.attend(input, parts, mask)

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> _Cache:
        held = self.memory(memory).transpose(0, 1).contiguous()
        return _Cache(held, (self.heads, self.query, self.value), padding)

    def step(self, input: Tensor, cache: _Cache, position: int) -> Tensor:
        query = self.enter(input).reshape(-1, 1, self.query)
        if cache.hidden is None:
            scores = torch.bmm(query, cache.keys)
        else:
            scores = torch.baddbmm(cache.hidden, query, cache.keys)
        heads = torch.bmm(torch.softmax(scores, 2), cache.values)
        return self.leave.onto(input, heads.view(cache.shape))


class _Cache:
    """Keys and values of an attention to the source, [S, B, heads * (query + value)], and how a step reads them.

    Positions come first, so that one product writes those of a step. As views: keys [B * heads, query, S] and values
    [B * heads, S, value], which bmm reads in place. shape: of the heads' values side by side, [B, ...], or [...] of a
    single sentence. padding: [B, 1, S], minus infinity at the source's padding and zero elsewhere, or None; hidden: the
    same for each head.
    """

    def __init__(self, held: Tensor, sizes: tuple[int, int, int], padding: Tensor | None = None) -> None:
        """sizes: of the heads, how many, and each one's query and value."""
        self.held, self.sizes, self.padding = held, sizes, padding
        heads, query, value = sizes
        room, batch, width = held.shape
        by_head = held.view(room, batch * heads, width // heads)
        first = width // heads - query - value
        self.keys = by_head[:, :, first : first + query].permute(1, 2, 0)
        self.values = by_head[:, :, first + query :].transpose(0, 1)
        self.shape = (heads * value,) if batch == 1 else (batch, heads * value)
        self.hidden = None if padding is None else padding.repeat_interleave(heads, 0)

    def kept(self, rows: Tensor, filled: int) -> _Cache:
        """The same of these sentences; filled: positions of the target so far."""
        padding = None if self.padding is None else self.padding.index_select(0, rows)
        return _Cache(self.held.index_select(1, rows), self.sizes, padding)


class _OwnCache(_Cache):
    """The same of the target so far, with room for the rest, and its queries: [room, B, heads * (2 query + value)].

    Of each position, rows: what a step writes, [B, ...] or [...]; queries: [B * heads, 1, query].
    """

    def __init__(self, held: Tensor, sizes: tuple[int, int, int]) -> None:
        super().__init__(held, sizes)
        heads, query, _ = sizes
        room, batch, width = held.shape
        self.rows = (held.view(room, width) if batch == 1 else held).unbind(0)
        self.queries = held.view(room, batch * heads, 1, width // heads)[..., :query].unbind(0)

    def kept(self, rows: Tensor, filled: int) -> _OwnCache:
        held = self.held.new_empty(len(self.held), len(rows), self.held.shape[2])
        torch.index_select(self.held[:filled], 1, rows, out=held[:filled])
        return _OwnCache(held, self.sizes)


SUBLAYERS = {"self": _SelfAttention, "source": _SourceAttention, "feed": _FeedForward, "constant": _Sublayer}


class _Words(Product):
    """The product that gives every word its logit."""

    BLOCK = 1024  # words at a time, where many sentences look for their likeliest

    def __init__(self, made: Callable) -> None:
        super().__init__(made)
        self.rest: Any = None  # (the highest bias, its word) of the words left out, [] each
        if type(made) is BlockLinear and made.rows is not None:  # the logits of the words left out are their biases
            assert made.bias is not None  # each word has one
            others = torch.ones_like(made.bias, dtype=torch.bool).index_fill_(0, made.rows, False).nonzero().flatten()
            value, place = made.bias[others].max(0)
            self.rest = value, others[place]

    def likeliest(self, hidden: Tensor) -> Tensor:
        """[B, E], or [E] of a single sentence -> the word with the highest logit, [B]; the first of equals."""
        if self.rest is not None:
            return self._of_block(hidden.view(-1, hidden.shape[-1]))
        if type(self.made) is WholeLinear and hidden.dim() > 1:
            return self._by_blocks(hidden)
        return self(hidden).max(-1, keepdim=True)[1].view(-1)

    def _of_block(self, hidden: Tensor) -> Tensor:
        """No logit is computed of a word that has no weights."""
        value, word = self.rest
        if len(self.made.rows) == 0:
            return word.expand(len(hidden))
        columns = self.made.columns
        found = self.made.product(hidden if columns is None else hidden.index_select(1, columns))
        best, place = found.max(1)
        best_word = self.made.rows[place]
        return torch.where((best > value) | (best == value) & (best_word < word), best_word, word)

    def _by_blocks(self, hidden: Tensor) -> Tensor:
        """Words are looked at in blocks that stay in the processor's cache; all their logits are never written out."""
        best, words = hidden.new_full((len(hidden),), -torch.inf), hidden.new_zeros(len(hidden), dtype=torch.long)
        parts = zip(self.made.weight.split(self.BLOCK), self.made.bias.split(self.BLOCK), strict=True)
        for k, (weight, bias) in enumerate(parts):
            value, place = F.linear(hidden, weight, bias).max(1)
            better = value > best
            best, words = torch.where(better, value, best), torch.where(better, place + k * self.BLOCK, words)
        return words


class Translating:
    """Where a batch of translations stands: the sublayers' caches, what to add at each position, and the next one."""

    def __init__(self, caches: list[_Cache | None], positions: Sequence[Tensor]) -> None:
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
        self.generator = _Words(self.form("generator", tensors, tensors["generator.bias"]))

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


KINDS = {"network": Network, "translator": Translator}


def load(path: str | Path, batch_size: int = 1, device: torch.device | str = "cpu") -> nn.Module:
    """The model of an export, in eval mode. path: its JSON, with the safetensors file beside it.

    batch_size: examples at a time to be quick at; each matrix takes the form that was the quickest at the nearest size
    measured. On another device than the CPU all are whole. Raises ValueError where the files are not such an export.
    """
    path = Path(path)
    about = json.loads(path.read_text())
    if about.get("version") != VERSION:
        raise ValueError(f"{path} is version {about.get('version')} of an export; this loader reads {VERSION}")
    return build(about, load_file(path.with_suffix(".safetensors")), batch_size, device)


def build(
    about: Mapping[str, Any], stored: Mapping[str, Tensor], batch_size: int = 1, device: torch.device | str = "cpu"
) -> nn.Module:
    """As `load`, from what the two files hold."""
    parts = {f"{name}.{part}" for name in about["matrices"] for part in ("rows", "columns", "bits", "counts")}
    tensors = {name: value for name, value in stored.items() if name not in parts}
    tensors |= {name: unpack(name, kept, stored) for name, kept in about["matrices"].items()}
    tensors = {name: value.to(device) for name, value in tensors.items()}
    forms = {}
    if torch.device(device).type == "cpu":
        forms = {name: nearest(kept["quickest"], batch_size) for name, kept in about["matrices"].items()}
        if nearest(about["layout"], batch_size, PLANES) == PLACES:
            tensors = by_place(tensors)
    return KINDS[about["kind"]](about["program"], tensors, forms).eval()


def by_place(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with kernels that hold the channels of a place side by side, as all that is computed with them will."""
    return {
        name: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in tensors.items()
    }


def nearest(quickest: Mapping[str, str], batch_size: int, otherwise: str = "whole") -> str:
    """What was found the quickest at the size, of those measured, that is nearest in proportion."""
    if not quickest:
        return otherwise
    return quickest[min(quickest, key=lambda size: abs(math.log(int(size) / batch_size)))]
