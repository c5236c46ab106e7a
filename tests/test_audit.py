"""The mask auditor: what it says of masks that act, leak, are ignored or not reached, in any model."""

import copy
import json
from collections import Counter
from functools import partial

import calls
import nets
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torchvision import models as tv
from torchvision.models import convnext, efficientnet, mobilenetv3, regnet

import Layers
from Layers import layers
from Pruners import audit, dead

FUSED = [f"encoder.linear{k}.weight" for k in (1, 2)]


class Attends(nn.Module):
    """torch.nn's attention and encoder layer: [B, L, 8] -> [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.fc(self.encoder(self.attention(data, data, data)[0]).mean(1))


class Multiplies(nn.Linear):
    """Somebody's masked layer; `used` says what it multiplies its weight by."""

    def __init__(self, inputs: int, outputs: int, used) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("pattern", (torch.rand(outputs, inputs) < 0.5).float())
        self.used = used

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight * self.used(self.pattern), self.bias)


def whole(pattern: torch.Tensor) -> torch.Tensor:
    return pattern


def half(pattern: torch.Tensor) -> torch.Tensor:
    return torch.cat([pattern[:2], torch.ones_like(pattern[2:])])


TOKENS = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))


def verdicts(model: nn.Module, data: torch.Tensor = TOKENS) -> dict[str, list[str]]:
    return {entry.name: list(entry.verdicts.values()) for entry in audit.audit(model, lambda network: network(data))}


def pruned(*names: str) -> nn.Module:
    """`Attends`, with half of each of these weights pruned by torch.nn.utils.prune."""
    model = nets.drawn(0, Attends)
    for name in names:
        prune.l1_unstructured(model.get_submodule(name.removesuffix(".weight")), "weight", 0.5)
    return model


@torch.no_grad()
def heeds_prune(name: str) -> bool:
    """Whether the product with the mask is made anew in eval mode: it is, if what it is made of changes the output."""
    model = pruned(name).eval()
    before = model(TOKENS)
    model.get_parameter(f"{name}_orig").add_(1.0)
    return not torch.equal(model(TOKENS), before)


def test_masks_of_torch_prune_on_attention_and_in_a_fused_encoder_are_ignored():
    """Newer versions of torch leave the fused path alone where a layer has hooks."""
    names = ["attention.out_proj.weight", "encoder.self_attn.out_proj.weight", *FUSED, "fc.weight"]
    found = verdicts(pruned(*names))
    assert found == {
        **{name: ["ignored"] * 3 for name in names[:2]},  # out_proj is never called, its weight is read
        # The fused path is for eval mode without gradients.
        **{name: ["acts", "acts", "acts" if heeds_prune(name) else "ignored"] for name in FUSED},
        "fc.weight": ["acts"] * 3,
    }


def test_the_same_model_with_attached_masks_holds():
    model = Layers.attach(pruned("attention.out_proj.weight", *FUSED))
    found = verdicts(model)
    assert len(found) == len(list(model.parameters())) and set(map(tuple, found.values())) == {("acts",) * 3}


def test_raw_reads_of_a_layer_of_this_project_are_found():
    """The fault that made this project write its own attention: torch's Transformer around masked layers."""
    model = nets.drawn(0, Attends)
    model.encoder.linear1 = layers.Linear(8, 12)
    model.encoder.self_attn.out_proj = layers.Linear(8, 8)
    model.encoder.linear1.weight_mask[:3] = 0
    found = verdicts(model)
    assert found["encoder.self_attn.out_proj.weight"] == ["ignored"] * 3
    assert found["encoder.linear1.weight"] == ["acts", "acts", "ignored"]


def test_masks_that_somebody_multiplies_in():
    model = nets.drawn(0, lambda: nn.Sequential(Multiplies(8, 6, whole), nn.Tanh(), Multiplies(6, 4, half)))
    assert verdicts(model) == {"0.weight": ["acts"] * 3, "2.weight": ["leaks"] * 3}
    model[0].used = torch.ones_like
    assert verdicts(model)["0.weight"] == ["ignored"] * 3


def test_a_mask_of_a_parent_and_one_of_bools_are_found_and_statistics_are_none():
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.norm, self.out = nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
            self.register_buffer("mask", torch.rand(6, 8) < 0.5)

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.out(self.norm(data @ (self.inner.weight * self.mask).T))

    model = nets.drawn(0, Parent)  # the statistics of `norm`, 0 and 1, are no masks
    assert verdicts(model, torch.randn(4, 8)) == {"inner.weight": ["acts"] * 3}


def test_what_nothing_reaches_is_no_fault():
    model = nets.drawn(0, lambda: nn.Sequential(layers.Linear(8, 6), nn.ReLU(), layers.Linear(6, 4)))
    model.unused = layers.Linear(3, 3)
    model[2].weight_mask.zero_()

    def call(network: nn.Sequential) -> torch.Tensor:
        return network[:3](TOKENS)

    entries = {entry.name: entry for entry in audit.audit(model, call)}
    assert set(entries["unused.weight"].verdicts.values()) == {"not reached"}
    assert set(entries["0.weight"].verdicts.values()) == {"not reached"} and not entries["0.weight"].fault
    assert set(entries["2.weight"].verdicts.values()) == {"acts"} and entries["2.weight"].kept == 0


def test_a_mask_that_changes_the_output_by_a_billionth_acts():
    """Against brute force in float64: a deep network of sigmoids, with one layer of no weights."""

    def deep() -> nn.Sequential:
        return nn.Sequential(*(part for _ in range(14) for part in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 3))

    model = Layers.attach(nets.drawn(0, deep))
    model[4].weight_mask.zero_()
    truth, data = copy.deepcopy(model).double(), TOKENS.double()
    usual, wanted = truth(data), {}
    for name, mask in truth.named_buffers():
        mask.copy_(1 - mask)
        wanted[name.removesuffix("_mask")] = "not reached" if truth(data).equal(usual) else "acts"
        mask.copy_(1 - mask)
    assert Counter(wanted.values()) == {"not reached": 4, "acts": 26}
    assert verdicts(model) == {name: [verdict] * 3 for name, verdict in wanted.items()}


@pytest.mark.parametrize("cast", ["float", "to"])
def test_a_network_that_computes_in_one_type_alone_is_tried_in_it(cast):
    change = torch.Tensor.float if cast == "float" else lambda hidden: hidden.to(torch.float32)
    found = verdicts(Layers.attach(nets.drawn(0, partial(Cast, change))), torch.randn(4, 5))
    assert set(map(tuple, found.values())) == {("acts",) * 3} and len(found) == 6


def test_the_model_is_left_as_it_was():
    model = pruned("attention.out_proj.weight", *FUSED).eval()
    model.fc.requires_grad_(False)
    with torch.no_grad():
        wanted = model(TOKENS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()
    verdicts(model)
    audit.disconnected(model, (5, 8))
    with torch.no_grad():
        assert model(TOKENS).equal(wanted)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags and not model.training
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda data: (data, data), "tuple"),
        (lambda data: data / 0, "not finite in mode train"),
    ],
)
def test_a_model_that_cannot_be_tried_is_refused(forward, words):
    model = layers.Linear(2, 2)
    with pytest.raises(ValueError, match=words):
        audit.audit(model, lambda _: forward(torch.ones(2)))


def test_dead_units_under_anyones_masks():
    """A chain of matrices by torch.prune, somebody's layer, and this project: the same units are cut off."""

    def chain(kind) -> nn.Sequential:
        return nets.drawn(0, lambda: nn.Sequential(kind(8, 6), nn.ReLU(), kind(6, 4)))

    first, second = torch.ones(6, 8), torch.ones(4, 6)
    first[1], second[:, 3], second[2] = 0, 0, 0
    ours = chain(layers.Linear)
    by_torch = chain(nn.Linear)
    theirs = chain(partial(Multiplies, used=whole))
    for layer, mask in ((0, first), (2, second)):
        ours[layer].weight_mask.copy_(mask)
        prune.custom_from_mask(by_torch[layer], "weight", mask)
        theirs[layer].pattern.copy_(mask)
    for model in (ours, by_torch, theirs):
        found = audit.disconnected(model, (8,)).report()
        assert found["units"]["0"] == {"units": 6, "no_way_in": 1, "no_way_out": 1, "dead": 2}
        assert found["classes"] == {"total": 4, "alive": [0, 1, 3]}


class Normalised(nn.Module):
    """A perceptron that divides by the norm of its units, with a function of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.normalize(self.inner(data), dim=1))


NORMALISING = {
    "layer": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 4)),
    "bare layer": lambda: nn.Sequential(
        nn.Linear(5, 6), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4)
    ),
    "image": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 6, 2), nn.LayerNorm([6, 4]), nn.Tanh(), nn.Flatten(), nn.Linear(24, 4)
    ),
    "group": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 6, 2), nn.GroupNorm(2, 6), nn.Tanh(), nn.Conv1d(6, 4, 4), nn.Flatten()
    ),
    "function": Normalised,
}


def moving(model: nn.Module) -> tuple[dict[str, list[bool]], dict[str, list[bool]], list[bool]]:
    """Return which units of each layer change with the input, which change an output, and which outputs change."""
    data = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    held = [name for name, part in model.named_modules() if any(True for _ in part.parameters(recurse=False))]
    usual = model(data)
    inward, outward = dict[str, list[bool]](), dict[str, list[bool]]()
    for name in held:

        def watch(_, __, output, name=name):
            inward[name] = ((output - output[:1]).abs() > 1e-9).transpose(0, 1).flatten(1).any(1).tolist()

        def push(_, __, output, k=None):
            moved = output.clone()
            moved[:, k] += torch.linspace(0.1, 0.7, moved[:, k].numel(), dtype=torch.float64).view_as(moved[:, k])
            return moved

        hook = model.get_submodule(name).register_forward_hook(watch)
        model(data)
        hook.remove()
        outward[name] = []
        for k in range(len(inward[name])):
            hook = model.get_submodule(name).register_forward_hook(partial(push, k=k))
            outward[name].append(bool(((model(data) - usual).abs() > 1e-9).any()))
            hook.remove()
    return inward, outward, ((usual - usual[:1]).abs() > 1e-9).any(0).tolist()


@pytest.mark.parametrize("kind", NORMALISING)
def test_what_a_normalisation_lets_through_is_not_dead(kind):
    """Against brute force: inputs are changed and units watched, units are changed and outputs watched."""
    seen = Counter()
    for seed in range(12):
        model = Layers.attach(nets.drawn(seed, NORMALISING[kind])).double()
        nets.mask_at_random(model, 0.35, seed)
        for name, buffer in model.named_buffers():
            if name.endswith("_mask") and buffer.dim() == 1:
                buffer.fill_(1)
        inward, outward, alive = moving(model)
        found = dead.find(model, (5,))
        assert found.alive == [k for k, moves in enumerate(alive) if moves]
        for name in found.no_way_in:
            assert (~found.no_way_in[name]).tolist() == inward[name], (seed, name)
            assert (~found.no_way_out[name]).tolist() == outward[name], (seed, name)
            seen["in"] += int(found.no_way_in[name].sum())
            seen["out"] += int(found.no_way_out[name].sum())
            seen["alive"] += int((~found.no_way_in[name] & ~found.no_way_out[name]).sum())
    assert min(seen["in"], seen["alive"]) > 2 and (seen["out"] > 2 or "layer" not in kind)


# What networks of others return and compute


class Recurrent(nn.Module):
    """A recurrent layer of which one thing is read: [B, 4, 5] -> [B, 3]."""

    def __init__(self, kind, options, read, width=6) -> None:
        super().__init__()
        self.cells, self.out, self.read = kind(5, 6, batch_first=True, **options), nn.Linear(width, 3), read

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.out(self.read(self.cells(data)))


class Cell(nn.Module):
    """A cell called once a step, of which the last state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.out = nn.LSTMCell(5, 6), nn.Linear(6, 3)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        states = torch.zeros(len(data), 6), torch.zeros(len(data), 6)
        for step in data.unbind(1):
            states = self.cells(step, states)
        return self.out(states[0])


def both_ends(output: tuple) -> torch.Tensor:
    return output[1].transpose(0, 1).flatten(1)


RECURRENT = {
    "outputs": partial(Recurrent, nn.GRU, {}, lambda output: output[0][:, -1]),
    "state": partial(Recurrent, nn.GRU, {}, lambda output: output[1][-1]),
    "long state": partial(Recurrent, nn.LSTM, {}, lambda output: output[1][0][-1]),
    "cell state": partial(Recurrent, nn.LSTM, {}, lambda output: output[1][1][-1]),
    "narrow": partial(Recurrent, nn.LSTM, {"proj_size": 2}, lambda output: output[1][1][-1]),
    "both directions": partial(Recurrent, nn.RNN, {"bidirectional": True}, both_ends, 12),
    "cells": Cell,
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_units_of_a_recurrent_layer_that_something_reads_are_not_dead(kind):
    """Against brute force: the biases of a unit are changed and the outputs watched."""
    data = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    for seed, kept in enumerate((1.0, 0.3, 0.0)):
        model = Layers.attach(nets.drawn(seed, RECURRENT[kind])).eval()
        draw = torch.Generator().manual_seed(seed)
        model.out.weight_mask.copy_(torch.rand(model.out.weight.shape, generator=draw) < kept)
        before, read = model(data), []
        for k in range(6):
            other = nets.drawn(seed, RECURRENT[kind]).eval()
            with torch.no_grad():
                for name, parameter in other.cells.named_parameters():
                    if "bias" in name:
                        parameter[k::6] += 1.0
            other = Layers.attach(other)
            other.out.weight_mask.copy_(model.out.weight_mask)
            read.append(not torch.allclose(other(data), before))
        found = dead.find(model, (4, 5)).no_way_out["cells"].tolist()
        assert found == [not any(read)] * len(found) if len(found) != 6 else found == [not moves for moves in read]


class Cast(nn.Module):
    """A perceptron whose forward pass asks for numbers of some type, in some way."""

    def __init__(self, cast) -> None:
        super().__init__()
        self.first, self.second, self.out, self.cast = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4), cast

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.out(self.cast(self.second(self.cast(self.first(data)))))


def filled(hidden: torch.Tensor) -> torch.Tensor:
    table = torch.zeros(len(hidden), 6)
    table[:, :3] = hidden[:, :3]
    table[:, 3:] += hidden[:, 3:].relu()
    return table


CASTS = {
    "float": lambda hidden: hidden.float().relu(),
    "half": lambda hidden: hidden.to(torch.half).relu(),
    "type": lambda hidden: hidden.to(dtype=torch.float32) @ torch.eye(6),
    "filled": filled,
    "step": lambda hidden: (hidden > 0).float(),
    "steps": lambda hidden: ((hidden > 0) & (hidden < 9)).to(torch.float32),
    "gate": lambda hidden: hidden * (hidden > 0).float(),
    "dropout": lambda hidden: F.dropout(hidden).relu(),
    "dropout of torch": lambda hidden: torch.dropout(hidden, 0.9, True).relu(),
    "dropout in place": lambda hidden: torch.dropout_(hidden * 1, 0.9, True).relu(),
    "channels": lambda hidden: F.dropout2d(hidden[:, :, None, None], 0.9)[:, :, 0, 0].relu(),
    "alpha": lambda hidden: F.feature_alpha_dropout(F.alpha_dropout(hidden, 0.9, training=True), training=True).relu(),
}


@pytest.mark.parametrize("cast", CASTS)
def test_numbers_that_a_forward_pass_asks_for_do_not_matter(cast):
    """What leads on does so with any of these functions as with ReLU; what leads in with all but a gate alone."""
    for seed in range(4):
        found = []
        for function in (CASTS[cast], torch.relu):
            model = Layers.attach(nets.drawn(0, partial(Cast, function)))
            nets.mask_at_random(model, 0.25, seed)
            found.append(dead.find(model, (5,)))
        mine, wanted = found
        assert sum(flags.sum() for flags in wanted.no_way_out.values()) > 0
        assert {name: flags.tolist() for name, flags in mine.no_way_out.items()} == {
            name: flags.tolist() for name, flags in wanted.no_way_out.items()
        }
        if "step" not in cast:
            assert mine.report() == wanted.report()


OWN = np.random.default_rng(0)


@pytest.mark.parametrize(
    "draw", [torch.randn_like, torch.bernoulli, lambda half: OWN.normal()], ids=["normal", "bernoulli", "of NumPy"]
)
def test_what_draws_numbers_in_each_call_is_said_not_to_be_searched(draw):
    model = Layers.attach(Cast(lambda hidden: hidden * draw(torch.full_like(hidden, 0.5))))
    for _ in range(20):  # the number of units that are kept may be the same in several calls
        found, _ = dead.searched(lambda: dead.find(model, (5,)), [1] * 4)
        assert found == {"not_searched": "its output differs from call to call", "classes": {"total": 4}}


class Weighs(nn.Module):
    """Reads the weights of an attention alone."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.attention, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(5, 3)
        self.options = options

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.fc(self.attention(self.first(data), data, data, **self.options)[1].flatten(1, -2).mean(1))


@pytest.mark.parametrize("options", [{}, {"average_attn_weights": False}])
def test_the_weights_of_an_attention_are_read(options):
    model = nets.drawn(0, partial(Weighs, **options))
    model.first = nn.Linear(8, 8)
    found = dead.find(Layers.attach(model), (5, 8)).report()["units"]
    assert {name: units["no_way_out"] for name, units in found.items()} == {"first": 0, "attention.out_proj": 8}
    model.attention.in_proj_weight_mask[:8] = 0  # of the query
    assert dead.find(model, (5, 8)).report()["units"]["first"]["no_way_out"] == 8


class Apart(nn.Module):
    """Reads its first weight without calling the layer; a buffer or a frozen parameter of the same shape is beside it.

    use: what is made of (layer, buffer, data [B, 8]).
    """

    def __init__(self, name: str, use, frozen: bool = False) -> None:
        super().__init__()
        self.a, self.out, self.name, self.use = nn.Linear(8, 8), nn.Linear(8, 3), name, use
        values = torch.tril(torch.ones(8, 8))
        if frozen:
            self.register_parameter(name, nn.Parameter(values, requires_grad=False))
        else:
            self.register_buffer(name, values)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.out(self.use(self.a, getattr(self, self.name), data))


class Unasked(Apart):
    """Calls no layer at all."""

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return F.linear(self.use(self.a, getattr(self, self.name), data), self.out.weight, self.out.bias)


def multiplied(layer: nn.Linear, mask: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    return F.linear(data, layer.weight * mask, layer.bias)


def attended(layer: nn.Linear, mask: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    hidden = layer(data)
    return (hidden.T @ hidden).masked_fill(mask == 0, -torch.inf).softmax(1).expand(len(data), -1, -1)[:, 1]


APART = [
    ("tril", attended, False, None),
    ("attn_mask", attended, False, None),
    ("attn_mask", attended, True, None),
    ("tril", multiplied, False, "acts"),
    ("mask", multiplied, False, "acts"),
    ("mask", multiplied, True, "acts"),
    ("a_mask", multiplied, True, "acts"),
    ("mask_a", lambda layer, mask, data: layer(data), False, "ignored"),
    ("a_mask", lambda layer, mask, data: layer(data), True, "ignored"),
]


@pytest.mark.parametrize(("name", "use", "frozen", "verdict"), APART)
def test_a_mask_of_a_layer_below_is_named_like_it_or_acts(name, use, frozen, verdict):
    model = nets.drawn(0, partial(Apart, name, use, frozen))
    assert verdicts(model, torch.randn(4, 8)) == ({} if verdict is None else {"a.weight": [verdict] * 3})


def test_units_of_a_layer_that_is_never_called_are_not_said_to_be_alive():
    model = nets.drawn(0, partial(Apart, "a_mask", multiplied))
    model.a_mask[3] = 0
    found = audit.disconnected(model, (8,)).report()
    assert found["unsearched"] == ["a"] and found["units"] == {}
    found = audit.disconnected(nets.drawn(0, partial(Unasked, "a_mask", multiplied)), (8,)).report()
    assert found["unsearched"] == ["a", "out"] and found["classes"] == {"total": 3, "alive": [0, 1, 2]}
    assert "unsearched" not in dead.find(Layers.attach(nn.Sequential(nn.Linear(8, 3))), (8,)).report()


# Networks of others: no false alarm


class Once(nn.Module):
    """A Transformer from a sentence to itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return self.inner(data, data)


block, conf = convnext.CNBlockConfig, mobilenetv3.InvertedResidualConfig
NETWORKS = {
    "regnet": lambda: tv.RegNet(regnet.BlockParams([1, 1], [8, 16], [4, 4], [1, 1], [2, 2]), 3, stem_width=8),
    "mobilenet 3": lambda: tv.MobileNetV3(
        [conf(16, 3, 16, 16, True, "RE", 2, 1, 1), conf(16, 3, 32, 16, True, "HS", 1, 1, 1)], 24, num_classes=3
    ),
    "densenet": lambda: tv.DenseNet(4, (2, 2), 8, num_classes=3),
    "shufflenet": lambda: tv.ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 16], num_classes=3),
    "mobilenet": lambda: tv.MobileNetV2(3, 0.1, [[1, 8, 1, 1], [6, 8, 2, 2]], 8),
    "efficientnet": lambda: tv.EfficientNet(
        [efficientnet.MBConvConfig(1, 3, 1, 8, 8, 1), efficientnet.MBConvConfig(4, 3, 2, 8, 16, 2)], 0.1, num_classes=3
    ),
    "convnext": lambda: tv.ConvNeXt([block(8, 16, 1), block(16, None, 1)], layer_scale=0.5, num_classes=3),
    "vision transformer": lambda: tv.VisionTransformer(32, 8, 2, 2, 8, 12, num_classes=3),
    "swin": lambda: tv.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2),
    "transformer": lambda: nn.Transformer(8, 2, 1, 1, 12, batch_first=True),
    "attention": Attends,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_no_false_alarm(name):
    """With masks of ones nothing is dead; masks of which a part is zero all hold, as their independent audit says."""
    model = Layers.attach(nets.drawn(0, NETWORKS[name]))
    words = name in ("encoder", "transformer", "attention")
    data = TOKENS if words else torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    if name == "transformer":  # which takes two inputs
        model = Once(model)
    found = audit.disconnected(model, data.shape[1:]).report()
    assert len(found["units"]) > 5 and found["tensors"] == []
    assert {layer for layer, units in found["units"].items() if units["dead"]} == set()
    nets.mask_at_random(model, 0.7)
    entries = audit.audit(model, lambda network: network(data))
    assert len(entries) >= 15 and {entry.name for entry in entries if entry.fault} == set()
    acting = sum(entry.verdicts["inference"] == "acts" for entry in entries)
    assert acting > 0.6 * len(entries)  # some sit behind small hidden layers whose ReLUs are all shut
    assert nets.audit(model, data, None)


# The experiment

FILE = """
import torch
from torch import nn
from torch.nn.utils import prune

class Rows(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.TransformerEncoderLayer(28, 2, 12, batch_first=True)
        self.fc = nn.Linear(28, num_classes)

    def forward(self, images):
        return self.fc(self.body(images.flatten(1, 2)).mean(1))

class Pruned(Rows):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        prune.l1_unstructured(self.body.self_attn.out_proj, "weight", 0.5)
        prune.l1_unstructured(self.fc, "weight", 0.5)
"""
CALL = "--experiment audit --threads 1 --dataset mnist --source sample"


def read(folder) -> dict:
    (path,) = folder.glob("audit/*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_file_with_masks_of_its_own(tmp_path, sample_data):
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    code, out, err = calls.ask(f"{CALL} --model {tmp_path}/net.py:Pruned --report-dir {tmp_path}/out", sample_data)
    assert (code, err) == (1, "")
    assert "2 masks: 1 that do not hold, none empty." in out and "Dead: nothing" in out
    found = read(tmp_path / "out")
    assert found["masks"] == [
        {"masked": "body.self_attn.out_proj.weight", "kept": 392, "size": 784} | dict.fromkeys(audit.MODES, "ignored"),
        {"masked": "fc.weight", "kept": 140, "size": 280} | dict.fromkeys(audit.MODES, "acts"),
    ]
    (page,) = (tmp_path / "out").glob("audit/*.md")
    assert "| body.self_attn.out_proj.weight | 392 | 784 | ignored | ignored | ignored |" in page.read_text("utf-8")


@pytest.mark.parametrize("model", ["net.py:Rows", "fc", "torchvision:shufflenet_v2_x0_5"])
def test_what_this_project_masks_holds(model, tmp_path, sample_data):
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    where = f"{tmp_path}/{model}" if model.startswith("net") else model
    code, out, err = calls.ask(f"{CALL} --model {where} --report-dir {tmp_path}/out", sample_data)
    assert code == 0 and "masks: none that do not hold, none empty." in out
    assert ("no masks of its own" in err) == (model != "fc")
    assert {record["inference"] for record in read(tmp_path / "out")["masks"]} <= {"acts", "not reached"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--run {}/none", "no config.json of a run there"),
        ("--run {} --seed 2", "--seed means nothing to a finished --run; leave it out"),
        ("--dataset mnist --model {}/none.py:X", "cannot read"),
        ("--dataset mnist --model torchvision:resnet19 --source sample", "did you mean resnet18?"),
        ("--dataset multi30k --model torchvision:resnet18", "does not take multi30k"),
    ],
)
def test_bad_input_is_one_line(words, line, tmp_path, sample_data):
    code, _, err = calls.ask(f"--experiment audit {words.format(tmp_path)}", sample_data)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and line in err
