"""Export of the translation model, sublayer by sublayer.

`draft` keeps every weight. `compact` removes what has no path from the input, what has no path to an output, and what
the softmax cancels. Both give the model's logits, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from Layers.attention import MultiheadAttention
from Layers.layers import masked
from Layers.pairs import PAD
from Utils import exported
from Utils.data.corpus import Corpus
from Utils.data.examples import Sentences
from Utils.errors import UserError
from Utils.export import reach
from Utils.export.draft import Draft
from Utils.training import decode

Tensors = dict[str, Tensor]
Entry = dict[str, Any]  # a sublayer in the program, see exported.Translator


@torch.no_grad()
def draft(model: nn.Module) -> Draft:
    """Return the draft of a Models.seq2seq.Seq2SeqTransformer, with masks multiplied in.

    Raises UserError for a model that consists of other parts.
    """
    try:
        return _draft(model)
    except AttributeError as error:
        raise UserError(f"export does not know what {type(model).__name__} is made of ({error})") from error


@torch.no_grad()
def translator(model: nn.Module) -> exported.Translator | None:
    """Return the masked model as a translator whose steps are compiled; None where it has to decode by itself.

    So it has to in a type other than float32, where nothing can be compiled, and if its class is somebody else's, which
    may compute anything.
    """
    ours = type(model).__module__ == "Models.seq2seq" and model.generator.weight.dtype == torch.float32
    if not ours or not exported.available("scattered"):
        return None
    made = _draft(model)
    shares = {name: float(made.tensors[name].count_nonzero()) / made.tensors[name].numel() for name in made.matrices}
    forms = {name: "scattered" if share < exported.SPARSE else "whole" for name, share in shares.items()}
    return exported.Translator(made.program, made.tensors, forms)


def _draft(model: nn.Module) -> Draft:
    tensors: Tensors = {"source": _scaled(model.src_tok_emb), "target": _scaled(model.tgt_tok_emb)}
    program: dict[str, Any] = {"padding": PAD, "eps": model.transformer.decoder.norm.eps}
    for side in ("encoder", "decoder"):
        stack = getattr(model.transformer, side)
        program[side] = [
            entry for k, layer in enumerate(stack.layers) for entry in _layer(f"{side}.{k}", layer, tensors)
        ]
        _put(tensors, f"{side}.norm", stack.norm)
    _put(tensors, "generator", model.generator)
    return _finished(program, {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()})


def _finished(program: dict[str, Any], tensors: Tensors) -> Draft:
    """Return the draft of these tensors. All matrices except the embeddings may be sparse."""
    matrices = [name for name, value in tensors.items() if value.dim() == 2 and "." in name]
    return Draft("translator", program, tensors, matrices, ["source", "target"])


def _scaled(embedding: nn.Module) -> Tensor:
    return masked(embedding.embedding, "weight") * embedding.scale


def _put(tensors: Tensors, name: str, module: nn.Module) -> None:
    for part in ("weight", "bias"):
        tensors[f"{name}.{part}"] = masked(module, part)


def _layer(name: str, layer: nn.Module, tensors: Tensors) -> Iterator[Entry]:
    """Yield the sublayers of a layer, in order, and add their tensors to `tensors`."""
    causal = hasattr(layer, "multihead_attn")
    norms = iter((layer.norm1, layer.norm2, layer.norm3) if causal else (layer.norm1, layer.norm2))
    yield _attention(f"{name}.self", layer.self_attn, tensors, {"kind": "self", "causal": causal})
    _put(tensors, f"{name}.self.norm", next(norms))
    if causal:
        yield _attention(f"{name}.source", layer.multihead_attn, tensors, {"kind": "source"})
        _put(tensors, f"{name}.source.norm", next(norms))
    _put(tensors, f"{name}.feed.in", layer.linear1)
    _put(tensors, f"{name}.feed.out", layer.linear2)
    _put(tensors, f"{name}.feed.norm", next(norms))
    yield {"name": f"{name}.feed", "kind": "feed"}


def _by_head(attention: MultiheadAttention) -> list[tuple[Tensor, Tensor]]:
    """Return (weight [heads, size, E], bias [heads, size]) of query, key, value; the query's times 1 / sqrt(size)."""
    weight, bias = masked(attention, "in_proj_weight"), masked(attention, "in_proj_bias")
    heads, size = attention.num_heads, attention.embed_dim // attention.num_heads
    parts = list(zip(weight.view(3, heads, size, -1), bias.view(3, heads, size), strict=True))
    parts[0] = parts[0][0] / math.sqrt(size), parts[0][1] / math.sqrt(size)
    return parts


def _join(tensors: Tensors, name: str, *parts: tuple[Tensor, Tensor]) -> None:
    """Join several products into one: head after head, and of each head all the parts."""
    tensors[f"{name}.weight"] = torch.cat([weight for weight, _ in parts], 1).flatten(0, 1)
    tensors[f"{name}.bias"] = torch.cat([bias for _, bias in parts], 1).flatten()


def _join_all(tensors: Tensors, name: str, kind: str, parts: list[tuple[Tensor, Tensor]]) -> None:
    """Join query, key and value of an attention; one to the source has its query apart, because the inputs differ."""
    if kind == "self":
        _join(tensors, f"{name}.in", *parts)
    else:
        _join(tensors, f"{name}.in", parts[0])
        _join(tensors, f"{name}.memory", *parts[1:])


def _attention(name: str, attention: MultiheadAttention, tensors: Tensors, entry: Entry) -> Entry:
    _join_all(tensors, name, entry["kind"], _by_head(attention))
    _put(tensors, f"{name}.out", attention.out_proj)
    size = attention.embed_dim // attention.num_heads
    return {"name": name, **entry, "heads": attention.num_heads, "query": size, "value": size}


def use(data: Corpus, size: int, device: torch.device) -> Callable[[nn.Module], Any]:
    """Return a function by which a model translates the first `size` test sentences, as one batch; it is timed."""
    test = cast(Sentences, data.test)
    sources = [test.source(k) for k in range(min(size, len(test)))]
    return lambda model: decode.translate(model, sources, device)


def compact(whole: Draft, data: Corpus | None = None) -> Draft:
    """Return the same function with fewer hidden units, heads and dimensions; the residual stream keeps its width.

    A sublayer without weights becomes "constant": the bias of its output. Sums are taken in float64. `data` is unused;
    other exporters need it.
    """
    tensors = dict(whole.tensors)
    program = {side: [_smaller(entry, tensors) for entry in whole.program[side]] for side in ("encoder", "decoder")}
    if not any(entry["kind"] == "source" for entry in program["decoder"]):  # nothing reads the encoder's output
        for entry in program["encoder"]:
            _drop(entry["name"], tensors, keep=())
        program["encoder"] = []
    return _finished({**whole.program, **program}, tensors)


def _smaller(entry: Entry, tensors: Tensors) -> Entry:
    kind = {"feed": _smaller_feed, "self": _smaller_attention, "source": _smaller_attention}
    return kind[entry["kind"]](entry, tensors) if entry["kind"] in kind else entry


def _drop(name: str, tensors: Tensors, keep: tuple[str, ...] = ("out.bias", "norm.weight", "norm.bias")) -> None:
    for full in [full for full in tensors if full.startswith(f"{name}.") and full[len(name) + 1 :] not in keep]:
        del tensors[full]


def _constant(name: str, tensors: Tensors) -> Entry:
    _drop(name, tensors)
    return {"name": name, "kind": "constant"}


def _carry(name: str, tensors: Tensors, columns: Tensor, values: Tensor) -> None:
    """Add columns [E, n] of the output's matrix, times the constants [n] that enter there, to the output's bias."""
    bias = tensors[f"{name}.out.bias"]
    tensors[f"{name}.out.bias"] = (bias.double() + columns.double() @ values.double()).float()


def _smaller_feed(entry: Entry, tensors: Tensors) -> Entry:
    """Remove hidden units without a way in, which are constant, and those without a way out."""
    name = entry["name"]
    enter, bias, leave = (tensors[f"{name}.{part}"] for part in ("in.weight", "in.bias", "out.weight"))
    entered = reach.fed(enter)
    _carry(name, tensors, leave[:, ~entered], bias[~entered].relu())
    kept = entered & reach.read(leave)
    if not kept.any():
        return _constant(name, tensors)
    tensors[f"{name}.in.weight"], tensors[f"{name}.in.bias"] = enter[kept], bias[kept]
    tensors[f"{name}.out.weight"] = leave[:, kept].contiguous()
    return entry


def _smaller_attention(entry: Entry, tensors: Tensors) -> Entry:
    """Remove heads without values. The others get as many dimensions as the widest of them needs."""
    name = entry["name"]
    heads = [_smaller_head(name, tensors, *head) for head in zip(*_apart(entry, tensors), strict=True)]
    heads = [head for head in heads if len(head[2][0]) > 0]
    if not heads:
        return _constant(name, tensors)
    query, value = max(1, *(len(head[0][0]) for head in heads)), max(len(head[2][0]) for head in heads)
    sizes = (query, query, value)
    padded = ([_padded(head[k], size) for head in heads] for k, size in enumerate(sizes))
    parts = [(torch.stack([w for w, _ in part]), torch.stack([b for _, b in part])) for part in padded]
    _join_all(tensors, name, entry["kind"], parts)
    leave = [nn.functional.pad(head[3], (0, value - head[3].shape[1])) for head in heads]
    tensors[f"{name}.out.weight"] = torch.cat(leave, 1)
    return {**entry, "heads": len(heads), "query": query, "value": value}


def _apart(entry: Entry, tensors: Tensors) -> tuple[list, list, list, list]:
    """Return, by head, (weight [n, E], bias [n]) of query, key and value, and the output's columns [E, n]."""
    name, heads, query, value = (entry[key] for key in ("name", "heads", "query", "value"))
    joined = ["in"] if entry["kind"] == "self" else ["in", "memory"]
    weights, biases = (
        torch.cat([tensors[f"{name}.{part}.{kind}"].unflatten(0, (heads, -1)) for part in joined], 1).split(
            [query, query, value], 1
        )
        for kind in ("weight", "bias")
    )
    queries, keys, values = (list(zip(weight, bias, strict=True)) for weight, bias in zip(weights, biases, strict=True))
    return queries, keys, values, list(tensors[f"{name}.out.weight"].split(value, 1))


def _smaller_head(
    name: str, tensors: Tensors, query: tuple, key: tuple, value: tuple, leave: Tensor
) -> tuple[Any, ...]:
    """Return one head's query, key, value and output columns, without the dimensions that have no effect."""
    # A value that is equal at all positions is not changed by the attention, whose weights add up to one.
    entered = reach.fed(value[0])
    _carry(name, tensors, leave[:, ~entered], value[1][~entered])
    kept = entered & reach.read(leave)
    return *_smaller_scores(query, key), (value[0][kept], value[1][kept]), leave[:, kept]


def _smaller_scores(query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[tuple, tuple]:
    """Return query and key without the dimensions that add the same to the scores of all positions.

    The softmax cancels such a dimension: its key is equal at all positions. For the same reason no key needs a bias.
    Dimensions whose query is equal at all positions are added up to one dimension, whose query is 1.
    """
    moves, asks = reach.fed(key[0]), reach.fed(query[0])
    kept = moves & asks
    weights, biases = query[0][kept], query[1][kept]
    keys = key[0][kept]
    if (fixed := moves & ~asks & query[1].ne(0)).any():
        total = (query[1][fixed].double() @ key[0][fixed].double()).float()
        weights = torch.cat([weights, torch.zeros_like(total)[None]])
        biases, keys = torch.cat([biases, biases.new_ones(1)]), torch.cat([keys, total[None]])
    return (weights, biases), (keys, keys.new_zeros(len(keys)))


def _padded(part: tuple[Tensor, Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Append zeros to (weight [n, E], bias [n]), up to `size` rows."""
    weight, bias = part
    more = size - len(weight)
    return nn.functional.pad(weight, (0, 0, 0, more)), nn.functional.pad(bias, (0, more))
