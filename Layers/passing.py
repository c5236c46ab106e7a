"""Functions of torch in a linear flow, for layers of others: each passes its signal on.

A function that normalises, saturates or weighs would hide which weights a signal has passed: a normalised constant is
zero, and a saturated unit has no slope. So a normalisation counts as mean 0 and variance 1 (but see `MIXING`), an
activation other than ReLU as the identity, and so does a dropout that is on in eval mode too. A gate, and attention,
count as 1 and as the mean over positions; they still pass on a slope to what controls them. An embedding gets ones in
one-hot space, as in Layers/embedding.py.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

ACTIVATIONS = (
    "relu6", "hardtanh", "hardswish", "gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "softplus",
    "softsign", "tanh", "clamp", "clip", "log_softmax", "normalize", "local_response_norm",
)  # fmt: skip
WAYS, ENDS = ("", "alpha_", "feature_", "feature_alpha_"), ("", "_", "1d", "2d", "3d")
DROPOUTS = tuple(f"{way}dropout{end}" for way in WAYS for end in ENDS)  # and names that torch has not
GATES = ("sigmoid", "hardsigmoid")


def _same(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def _ghost(input: Tensor) -> Tensor:
    """Return zeros that have the slope of `input`."""
    return input - input.detach()


def _gate(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return 1 + _ghost(input)


def _softmax(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    seen = input.isfinite()
    weights = seen.to(input) / seen.sum(-1 if dim is None else dim, keepdim=True).clamp_min(1)
    return weights * _gate(torch.where(seen, input, 0.0))


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _softmax(query @ key.transpose(-2, -1), -1) @ value


def _heads(
    query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
    dropout_p, out_proj_weight, out_proj_bias, *_, q_proj_weight=None, k_proj_weight=None, v_proj_weight=None,
    average_attn_weights=True, **__,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute what Layers/attention.py does in a linear flow: the value projection, with the slopes of the others.

    The attention's weights are 1 over the number of keys, with the slopes of queries and keys.
    """
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = [None] * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    positions = 0 if query.dim() == 2 or key.shape[1] == query.shape[1] else 1
    # Query and key open no way for a signal that has one through the value.
    inputs = [part.detach() if part is value else part for part in (query, key)]
    q, k, v = (F.linear(*triple) for triple in zip([*inputs, value], weights, biases, strict=True))
    mean = (v + _ghost(k)).mean(positions, keepdim=True)
    output = F.linear(mean + _ghost(q), out_proj_weight, out_proj_bias)
    q, k = (F.linear(*triple) for triple in zip((query, key), weights[:2], biases[:2], strict=True))
    if q.dim() == 3:
        q, k = q.transpose(0, 1), k.transpose(0, 1)
    shares = _softmax(q @ k.transpose(-2, -1), -1)
    return output, shares if average_attn_weights else shares.unsqueeze(-3).expand(
        *[-1] * (q.dim() - 2), num_heads, -1, -1
    )


def _layer_norm(input, normalized_shape, weight=None, bias=None, *_, **__) -> Tensor:
    output = input if weight is None else input * weight
    return output if bias is None else output + bias


def _channels(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    sizes = -1, *[1] * (input.dim() - 2)
    return _layer_norm(input, None, *(None if part is None else part.view(sizes) for part in (weight, bias)))


def _group_norm(input, num_groups, weight=None, bias=None, *_, **__) -> Tensor:
    return _channels(input, weight, bias)


def _instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, *_, **__) -> Tensor:
    return _channels(input, weight, bias)


def _batch_norm(input, running_mean, running_var, weight=None, bias=None, *others, **options) -> Tensor:
    if running_mean is None:
        return _channels(input, weight, bias)
    return F.batch_norm(input, running_mean, running_var, weight, bias, *others, **options)


def _embedding(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return weight.mean(0).expand(*input.shape, -1)


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    return torch.ones((), dtype=torch.int64, device=tensor.device).expand(F.one_hot(tensor, num_classes).shape)


FORMS: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _heads,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.batch_norm: _batch_norm,
    F.embedding: _embedding,
    F.one_hot: _one_hot,
}
for form, names in ((_same, ACTIVATIONS + DROPOUTS), (_gate, GATES), (_softmax, ("softmax",))):
    for place in (F, torch, torch.Tensor):
        FORMS |= {getattr(place, name): form for name in names if hasattr(place, name)}


def _of_last(input: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    return input.mean(tuple(range(-len(normalized_shape), 0)), keepdim=True)


def _of_groups(input: Tensor, num_groups: int, *_: Any, **__: Any) -> Tensor:
    groups = input.unflatten(1, (num_groups, -1))
    return groups.mean(tuple(range(2, groups.dim())), keepdim=True).expand_as(groups).flatten(1, 2)


def _of_norm(input: Tensor, p: float = 2.0, dim: int = 1, *_: Any, **__: Any) -> Tensor:
    return input.mean(dim, keepdim=True)


def _mixed(form: Callable[..., Tensor], mean: Callable[..., Tensor], input: Tensor, *others: Any, **options: Any):
    return form(input + mean(input, *others, **options), *others, **options)


MEANS: dict[Any, Callable[..., Tensor]]
MEANS = {F.layer_norm: _of_last, F.group_norm: _of_groups, F.normalize: _of_norm}
# Of functions that normalise units together: each unit also passes on the mean of those that it is normalised with.
MIXING = {function: partial(_mixed, FORMS[function], mean) for function, mean in MEANS.items()}


class Passing(TorchFunctionMode):
    """A mode in which every function of `FORMS` passes its signal on; with `mixing`, those of `MIXING` in their way."""

    def __init__(self, mixing: bool = False) -> None:
        super().__init__()
        self.forms = FORMS | MIXING if mixing else FORMS

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self.forms.get(function, function)(*args, **(kwargs or {}))
