"""The translation model on its way out: its sublayers one by one, and those without what can do nothing.

`draft` has every weight of the model; `compact` leaves out, for good, what no input reaches, what reaches no output and
what the softmax does not see. Both give the model's logits but for rounding.
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
from Utils.data.corpus import Corpus
from Utils.data.examples import Sentences
from Utils.errors import UserError
from Utils.export import reach
from Utils.export.draft import Draft
from Utils.training import decode

Tensors = dict[str, Tensor]
Entry = dict[str, Any]  # of a sublayer in the program, see exported.Translator


@torch.no_grad()
def draft(model: nn.Module) -> Draft:
    """What `exported.Translator` runs, masks multiplied in as the forward pass reads them.

    model: a Models.seq2seq.Seq2SeqTransformer. Raises UserError for a model that is made of other parts.
    """
    try:
        return _draft(model)
    except AttributeError as error:
        raise UserError(f"export does not know what {type(model).__name__} is made of ({error})") from error


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
    """All matrices but the embeddings may be thin."""
    matrices = [name for name, value in tensors.items() if value.dim() == 2 and "." in name]
    return Draft("translator", program, tensors, matrices)


def _scaled(embedding: nn.Module) -> Tensor:
    return embedding.embedding.weight * embedding.scale


def _put(tensors: Tensors, name: str, module: nn.Module) -> None:
    for part in ("weight", "bias"):
        tensors[f"{name}.{part}"] = masked(module, part)


def _layer(name: str, layer: nn.Module, tensors: Tensors) -> Iterator[Entry]:
    """Its sublayers in their order; what they hold goes to `tensors`."""
    causal = hasattr(layer, "multihead_attn")
    norms = iter((layer.norm1, layer.norm2, layer.norm3) if causal else (layer.norm1, layer.norm2))
    yield _self_attention(f"{name}.self", layer.self_attn, causal, tensors)
    _put(tensors, f"{name}.self.norm", next(norms))
    if causal:
        yield _source_attention(f"{name}.source", layer.multihead_attn, tensors)
        _put(tensors, f"{name}.source.norm", next(norms))
    _put(tensors, f"{name}.feed.in", layer.linear1)
    _put(tensors, f"{name}.feed.out", layer.linear2)
    _put(tensors, f"{name}.feed.norm", next(norms))
    yield {"name": f"{name}.feed", "kind": "feed"}


def _by_head(attention: MultiheadAttention) -> list[tuple[Tensor, Tensor]]:
    """(weight [heads, size, E], bias [heads, size]) of query, key and value; 1 / sqrt(size) is in the query's."""
    weight, bias = masked(attention, "in_proj_weight"), masked(attention, "in_proj_bias")
    heads, size = attention.num_heads, attention.embed_dim // attention.num_heads
    parts = list(zip(weight.view(3, heads, size, -1), bias.view(3, heads, size), strict=True))
    parts[0] = parts[0][0] / math.sqrt(size), parts[0][1] / math.sqrt(size)
    return parts


def _join(tensors: Tensors, name: str, *parts: tuple[Tensor, Tensor]) -> None:
    """One product of several: head after head, of each all the parts."""
    tensors[f"{name}.weight"] = torch.cat([weight for weight, _ in parts], 1).flatten(0, 1)
    tensors[f"{name}.bias"] = torch.cat([bias for _, bias in parts], 1).flatten()


def _sizes(attention: MultiheadAttention) -> Entry:
    size = attention.embed_dim // attention.num_heads
    return {"heads": attention.num_heads, "query": size, "value": size}


def _self_attention(name: str, attention: MultiheadAttention, causal: bool, tensors: Tensors) -> Entry:
    _join(tensors, f"{name}.in", *_by_head(attention))
    _put(tensors, f"{name}.out", attention.out_proj)
    return {"name": name, "kind": "self", "causal": causal, **_sizes(attention)}


def _source_attention(name: str, attention: MultiheadAttention, tensors: Tensors) -> Entry:
    query, *memory = _by_head(attention)
    _join(tensors, f"{name}.in", query)
    _join(tensors, f"{name}.memory", *memory)
    _put(tensors, f"{name}.out", attention.out_proj)
    return {"name": name, "kind": "source", **_sizes(attention)}


def use(data: Corpus, size: int, device: torch.device) -> Callable[[nn.Module], Any]:
    """What a model is for: translations of the first `size` sentences of the test split, as one batch."""
    test = cast(Sentences, data.test)
    sources = [test.source(k) for k in range(min(size, len(test)))]
    return lambda model: decode.translate(model, sources, device)


def compact(whole: Draft, data: Corpus | None = None) -> Draft:
    """The same function with fewer hidden units, heads and dimensions of heads; the residual stream keeps its width.

    A sublayer with nothing left becomes "constant": the bias of its output. Sums are taken in float64. data: other
    exporters look at it; here the weights say all.
    """
    tensors = dict(whole.tensors)
    program = {side: [_smaller(entry, tensors) for entry in whole.program[side]] for side in ("encoder", "decoder")}
    if not any(entry["kind"] == "source" for entry in program["decoder"]):  # nobody reads what the encoder makes
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
    """Into the output's bias: its matrix's columns [E, n] times what always enters there, [n]."""
    bias = tensors[f"{name}.out.bias"]
    tensors[f"{name}.out.bias"] = (bias.double() + columns.double() @ values.double()).float()


def _smaller_feed(entry: Entry, tensors: Tensors) -> Entry:
    """Hidden units with no way in say the same for ever, those with no way out say it to nobody."""
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
    """Heads with no value to give go; the others have as many dimensions as the widest of them needs."""
    name = entry["name"]
    heads = [_smaller_head(name, tensors, *head) for head in zip(*_apart(entry, tensors), strict=True)]
    heads = [head for head in heads if len(head[2][0]) > 0]
    if not heads:
        return _constant(name, tensors)
    query, value = max(1, *(len(head[0][0]) for head in heads)), max(len(head[2][0]) for head in heads)
    sizes = (query, query, value)
    padded = ([_padded(head[k], size) for head in heads] for k, size in enumerate(sizes))
    parts = [(torch.stack([w for w, _ in part]), torch.stack([b for _, b in part])) for part in padded]
    if entry["kind"] == "self":
        _join(tensors, f"{name}.in", *parts)
    else:
        _join(tensors, f"{name}.in", parts[0])
        _join(tensors, f"{name}.memory", *parts[1:])
    leave = [nn.functional.pad(head[3], (0, value - head[3].shape[1])) for head in heads]
    tensors[f"{name}.out.weight"] = torch.cat(leave, 1)
    return {**entry, "heads": len(heads), "query": query, "value": value}


def _apart(entry: Entry, tensors: Tensors) -> tuple[list, list, list, list]:
    """Head by head the (weight [n, E], bias [n]) of query, key and value, and the columns of the output's, [E, n]."""
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
    """One head's query, key, value and output columns, of the dimensions that matter."""
    # A value that is the same at all positions is so after the attention too: its weights add up to one.
    entered = reach.fed(value[0])
    _carry(name, tensors, leave[:, ~entered], value[1][~entered])
    kept = entered & reach.read(leave)
    return *_smaller_scores(query, key), (value[0][kept], value[1][kept]), leave[:, kept]


def _smaller_scores(query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[tuple, tuple]:
    """Query and key of the dimensions that make a difference between one position and another.

    Where the key is the same at all positions, a dimension adds the same to all scores, and the softmax does not see
    it; for the same reason no key needs its bias. Dimensions where the query is the same at all positions add up to
    one, whose query is 1.
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
    """(weight [n, E], bias [n]) with zeros behind, up to `size` rows."""
    weight, bias = part
    more = size - len(weight)
    return nn.functional.pad(weight, (0, 0, 0, more)), nn.functional.pad(bias, (0, more))
