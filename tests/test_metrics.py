"""Counts, moments, accuracies and dead units against numbers found by hand or by brute force."""

import copy
import itertools
import math
from collections import Counter
from functools import partial

import nets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import Layers
from Layers import layers
from Layers.attention import MultiheadAttention
from Models.matched import MatchedMLP, MatchedTransformer
from Models.mlp import conv, fc
from Models.text import TextClassificationModel
from Pruners import dead
from Pruners.pruners import SNIP
from Utils import generator, metrics
from Utils.training.evaluate import evaluate
from Utils.training.train import train, train_epoch

# --- multiply-adds -------------------------------------------------------------------------------------------------


def test_flops_of_fc_by_hand():
    hidden = {f"{k}": {"weight": 10_000, "bias": 100} for k in (3, 5, 7, 9)}
    expected = {"1": {"weight": 78_400, "bias": 100}, **hidden, "11": {"weight": 1_000, "bias": 10}}
    model = fc((1, 28, 28), 10)
    assert metrics.flop(model, (1, 28, 28), nets.CPU) == expected
    assert metrics.flop(fc((1, 28, 28), 10, True), (1, 28, 28), nets.CPU) == expected
    parameters, flops = metrics.totals(_table(model, (1, 28, 28)))
    assert flops == {"kept": 119_910, "total": 119_910}
    assert parameters["total"] == 119_910  # in an MLP every parameter costs one multiply-add


def test_flops_of_conv_by_hand():
    assert metrics.flop(conv((1, 28, 28), 10), (1, 28, 28), nets.CPU) == {
        "0": {"weight": 32 * 9 * 784, "bias": 32 * 784},
        "2": {"weight": 32 * 32 * 9 * 784, "bias": 32 * 784},
        "5": {"weight": 32 * 784 * 10, "bias": 10},
    }


def test_flops_of_the_text_model_by_hand():
    """A look-up costs nothing."""
    model = TextClassificationModel((50,), 4)
    assert metrics.flop(model, (50,), nets.CPU) == {"embedding": {"weight": 0}, "fc": {"weight": 256, "bias": 4}}
    _, flops = metrics.totals(_table(model, (50,)))
    assert flops == {"kept": 260, "total": 260}


def test_flops_of_strides_normalisation_and_residual_layers_by_hand():
    """[1, 6, 6] -> stride 2 -> [4, 3, 3]; normalisation and residual layers cost one a channel and position."""
    assert metrics.flop(nets.mixed(), (1, 6, 6), nets.CPU) == {
        "conv1": {"weight": 4 * 9 * 9, "bias": 4 * 9},
        "bn1": {"weight": 4 * 9, "bias": 4 * 9},
        "conv2": {"weight": 4 * 4 * 9 * 9},
        "short1": {"weight": 4 * 9},
        "fc1": {"weight": 36 * 6, "bias": 6},
        "bn2": {"weight": 6, "bias": 6},
        "short2": {"weight": 6},
        "fc2": {"weight": 36, "bias": 6},
        "out": {"weight": 18, "bias": 3},
    }


@pytest.mark.parametrize(
    ("layer", "weight", "bias"),
    [
        (layers.Conv2d(4, 6, 3, groups=2), 6 * 2 * 9 * 5 * 6, 6 * 5 * 6),
        (layers.Conv2d(4, 6, (3, 1), stride=(2, 3), padding=(1, 0)), 6 * 4 * 3 * 4 * 3, 6 * 4 * 3),
        (nn.Conv2d(4, 2, 1), 2 * 4 * 7 * 8, 2 * 7 * 8),
        (layers.BatchNorm2d(4), 4 * 7 * 8, 4 * 7 * 8),
    ],
)
def test_flops_of_one_layer_by_hand(layer, weight, bias):
    """Of an input of four channels, 7 by 8."""
    assert metrics.flop(nn.Sequential(layer), (4, 7, 8), nets.CPU) == {"0": {"weight": weight, "bias": bias}}


class Again(nn.Module):
    """A convolution at 8x8 and at 2x2, and a matrix that is called three times and read once from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.h = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 3)

    def forward(self, data):
        data = self.c(nn.functional.avg_pool2d(self.c(data), 4)).mean((2, 3))
        return nn.functional.linear(self.h(self.h(self.h(data))), weight=self.h.weight)


@pytest.mark.parametrize("attached", [False, True])
def test_a_layer_costs_each_of_its_calls(attached):
    model = Layers.attach(Again()) if attached else Again()
    found = metrics.flop(model, (3, 8, 8), nets.CPU)
    assert found["c"] == {"weight": 81 * (64 + 4), "bias": 3 * (64 + 4)}
    assert found["h"] == {"weight": 9 * (3 + attached), "bias": 3 * 3}


class Read(nn.Module):
    """Two layers, of which it computes `what(inner, out, x)`: [B, 6] -> ..."""

    def __init__(self, what) -> None:
        super().__init__()
        self.inner, self.out, self.what = nn.Linear(6, 4), nn.Linear(4, 3), what

    def forward(self, data):
        return self.what(self.inner, self.out, data)


BOTH = ["out.weight", "out.bias"]  # never used, of no known cost
READ = {  # what is computed, by hand: multiply-adds of inner.weight, inner.bias, out.weight, out.bias; who is named
    "decoder": (lambda a, b, x: F.linear(a(x).relu(), a.weight.t()), (2 * 24, 4, None, None), BOTH),
    "without": (lambda a, b, x: (F.linear(x, a.weight, a.bias), F.linear(x, a.weight)), (48, 4, None, None), BOTH),
    "matmul": (lambda a, b, x: x @ a.weight.t(), (24, 0, None, None), BOTH),
    "all ways": (
        lambda a, b, x: torch.mm(x, a.weight.T).matmul(b.weight.mT) + F.linear(x[:, :4], weight=b.weight, bias=b.bias),
        (24, 0, 2 * 12, 3),
        [],
    ),
    "positions": (
        lambda a, b, x: a.bias[:3] + x.expand(5, 7, 6) @ a.weight[:3].t(),
        (35 * 18, 35 * 3, None, None),
        BOTH,
    ),
    "looked up": (lambda a, b, x: F.embedding(x.long(), a.weight), (0, 0, None, None), BOTH),
    "copied": (lambda a, b, x: x.double() @ a.weight.t().contiguous().to(torch.double), (24, 0, None, None), BOTH),
    "scaled": (lambda a, b, x: F.linear(a(x), b.weight * 2, b.bias), (24, 4, 0, 3), ["out.weight"]),
    "product": (
        lambda a, b, x: b(a(x)) + x @ (b.weight @ a.weight).t(),
        (24, 4, 12, 3),
        ["inner.weight", "out.weight"],
    ),
    "summed": (lambda a, b, x: b(a(x)) + torch.einsum("bi,oi->b", x, a.weight), (24, 4, 12, 3), ["inner.weight"]),
    "form": (lambda a, b, x: b(a(x.to(a.weight)).type_as(b.bias)) + b.bias.new_zeros(3), (24, 4, 12, 3), []),
}


@pytest.mark.parametrize("what", READ)
def test_what_is_computed_with_a_layers_parameters_outside_it_is_counted_or_named(what):
    call, wanted, named = READ[what]
    model = Layers.attach(Read(call))
    found = metrics.flop(model, (6,), nets.CPU)
    layer = [(path, name) for path in ("inner", "out") for name in ("weight", "bias")]
    costs = tuple(found.get(path, {}).get(name) for path, name in layer)
    assert (costs, metrics.uncounted(model, found)) == (wanted, named)


class Calls(nn.Module):
    """A layer that is called in some way on six positions: [B, 6, 4] -> whatever it returns."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, data):
        return self.call(self.layer, data)


def five_packed(layer, data):
    return layer(pack_padded_sequence(data, torch.tensor([5]), batch_first=True, enforce_sorted=False))[1]


def cell_by_cell(cell, data):
    state = None
    for step in data.unbind(1):
        state = cell(step, state)
    return state


GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}
CALLS = {  # multiply-adds by hand: those of a step or position, times how many there are
    **{
        f"{kind.__name__}{' packed' * (steps == 5)}": (
            partial(kind, 4, 5, 2, batch_first=True, bidirectional=True),
            five_packed if steps == 5 else lambda layer, data: layer(data)[0],
            steps * 2 * gates * 5 * ((4 + 5 + 2) + (10 + 5 + 2)),
        )
        for kind, gates in GATES.items()
        for steps in (5, 6)
    },
    "cells": (lambda: nn.LSTMCell(4, 5), cell_by_cell, 6 * 4 * 5 * (4 + 5 + 2)),
    "bilinear": (lambda: nn.Bilinear(4, 4, 3), lambda layer, data: layer(data, data), 6 * (3 * 4 * 4 + 3)),
    "cross": (
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        lambda layer, data: layer(data[:, :1], data, data)[0],
        (1 + 6 + 6 + 1) * 20,  # a query, keys, values, an output
    ),
    "cross by name": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=2, bias=False, batch_first=True),
        lambda layer, data: layer(value=data[..., :2], key=data[..., :3], query=data[:, :2]),
        2 * 16 + 6 * 12 + 6 * 8 + 2 * 16,
    ),
    "of this project": (
        lambda: MultiheadAttention(4, 2),
        lambda layer, data: layer(data[:, :2], memory=data),
        (2 + 6 + 6 + 2) * 20,
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("attached", [False, True])
def test_flops_of_steps_and_of_attention_to_something_else_by_hand(name, attached):
    make, call, cost = CALLS[name]
    model = Calls(make(), call)
    found = metrics.flop(Layers.attach(model) if attached else model, (6, 4), nets.CPU)
    assert sum(sum(costs.values()) for costs in found.values()) == cost
    assert metrics.uncounted(model, found) == []


def test_parameters_of_no_known_cost_are_named():
    """A scale that a network applies itself, a weight that a hook makes, and a layer that returns a table."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.first = nn.Parameter(torch.ones(4)), nn.Linear(4, 4)
            self.hooked = nn.utils.spectral_norm(nn.Linear(4, 3))

        def forward(self, data):
            return {"logits": self.hooked(self.first(data) * self.scale)}

    model = nn.Sequential(Scaled())
    found = metrics.flop(model, (4,), nets.CPU)
    assert found == {"0.first": {"weight": 16, "bias": 4}, "0.hooked": {"bias": 3}}
    assert metrics.uncounted(model, found) == ["0.scale", "0.hooked.weight_orig"]


def test_flop_leaves_no_trace(capsys):
    model = nets.mixed().train()
    model.bn1.eval()
    state, modes, random = copy.deepcopy(model.state_dict()), _modes(model), torch.get_rng_state()
    metrics.flop(model, (1, 6, 6), nets.CPU)
    assert metrics.flop(model, (1, 60, 6), nets.CPU) == {}  # the wrong shape
    assert (
        "note: multiply-adds are not counted, as the model does not run on one example of ones ("
        in capsys.readouterr().err
    )
    assert _modes(model) == modes and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def _modes(model):
    return [module.training for module in model.modules()]


# --- the table -----------------------------------------------------------------------------------------------------


def _table(model, shape, scores=(), batchnorm=False, residual=False):
    flops = metrics.flop(model, shape, nets.CPU)
    return metrics.summary(model, dict(scores), flops, lambda m: generator.prunable(m, batchnorm, residual))


def test_totals_after_a_given_mask():
    """By hand: Linear(4, 3) keeps 5 of 12, Linear(3, 2) all of 6; of the biases, 1 of 3 and 2 of 2."""
    model = nets.mlp(4, 3, 2)
    model[0].weight_mask.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]]))
    model[0].bias_mask.copy_(torch.tensor([0.0, 1, 0]))
    scores = {"0.weight": torch.rand(3, 4), "2.weight": torch.rand(2, 3)}
    table = _table(model, (4,), scores)
    parameters, flops = metrics.totals(table)
    assert parameters == {"kept": 5 + 1 + 6 + 2, "total": 23, "prunable": 18, "prunable_kept": 11}
    assert flops == {"kept": 14, "total": 23}
    assert table["sparsity"].tolist() == pytest.approx([5 / 12, 1 / 3, 1.0, 1.0])
    assert table["prunable"].tolist() == [True, False, True, False]
    assert table["shape"].tolist() == [(3, 4), (3,), (2, 3), (2,)]
    assert (table["module"] + "." + table["param"]).tolist() == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_kept_convolution_weight_costs_its_output_positions():
    """7 of 54 weights at 25 positions, 11 of 54 at 9, 20 of 54 in the Linear, and all of the 3 + 2 + 3 biases."""
    model = nets.conv_net()
    for layer, kept in ((model[0], 7), (model[2], 11), (model[5], 20)):
        assert layer.weight.numel() == 54
        layer.weight_mask.copy_((torch.arange(54) < kept).view_as(layer.weight))
    parameters, flops = metrics.totals(_table(model, (2, 5, 5)))
    assert flops["kept"] == 7 * 25 + 3 * 25 + 11 * 9 + 2 * 9 + 20 + 3
    assert flops["total"] == 54 * 25 + 3 * 25 + 54 * 9 + 2 * 9 + 54 + 3
    assert parameters["kept"] == 7 + 11 + 20 + 8 and parameters["total"] == 3 * 54 + 8
    assert parameters["prunable"] == parameters["prunable_kept"] == 0  # nothing has a score


def test_moments_are_those_of_numpy():
    """Population variance, in float64; a tensor without scores has moments of zero."""
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (9,))
    pruner = SNIP(generator.masked_parameters(model))
    pruner.score(model.eval(), nets.CROSS_ENTROPY, batches, nets.CPU)
    pruner.scores["out.weight"] -= pruner.scores["out.weight"].mean() * 1.5  # signs of either kind
    table = _table(model, (1, 6, 6), pruner.scores, batchnorm=True)
    assert isinstance(table, pd.DataFrame) and len(table) == len(list(model.parameters()))
    signs = set()
    for row in table.to_dict("records"):
        name = f"{row['module']}.{row['param']}"
        scores = pruner.scores.get(name)
        assert row["prunable"] == (scores is not None)
        values = np.zeros(1) if scores is None else scores.numpy().astype(np.float64)
        signs |= set(np.sign(values).flatten())
        for prefix, x in (("score", values), ("score abs", np.abs(values))):
            assert row[f"{prefix} mean"] == pytest.approx(np.mean(x), rel=1e-12)
            assert row[f"{prefix} variance"] == pytest.approx(np.var(x), rel=1e-12, abs=1e-300)
            assert row[f"{prefix} sum"] == pytest.approx(np.sum(x), rel=1e-12)
    assert signs == {-1.0, 0.0, 1.0}


# --- evaluate ------------------------------------------------------------------------------------------------------


class Table(nn.Module):
    """Looks its logits up: the data are row numbers."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.dropout = nn.Dropout(0.5)

    def forward(self, data):
        return self.dropout(self.logits[data])


def _numpy_accuracies(logits, target):
    order = np.argsort(-logits, axis=1)
    ranks = [k for k in (1, 2, 5) if k <= logits.shape[1]]
    return {f"top{k}": 100 * np.mean([t in row[:k] for row, t in zip(order, target, strict=True)]) for k in ranks}


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 10])
def test_evaluate_is_the_same_computation_in_numpy(classes):
    """In batches of unlike sizes; top-k only where there are k classes."""
    draw = torch.Generator().manual_seed(classes)
    logits = torch.randn(37, classes, generator=draw, dtype=torch.float64)
    target = torch.randint(classes, (37,), generator=draw)
    rows = torch.arange(37)
    batches = [(rows[a:b], target[a:b]) for a, b in ((0, 16), (16, 32), (32, 37))]
    found = evaluate(Table(logits).train(), nets.CROSS_ENTROPY, batches, nets.CPU)
    x, t = logits.numpy(), target.numpy()
    expected = _numpy_accuracies(x, t)
    assert found.keys() == {"loss"} | expected.keys()
    assert ("top5" in found) is (classes >= 5) and ("top2" in found) is (classes >= 2)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-12)
    loss = np.mean(np.log(np.exp(x).sum(1)) - x[np.arange(37), t])
    assert found["loss"] == pytest.approx(loss, rel=1e-9, abs=1e-12)


def test_evaluate_runs_without_gradients_in_eval_mode_and_puts_the_mode_back():
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (4, 3))
    seen = []
    model.out.register_forward_hook(lambda m, i, o: seen.append((m.training, model.bn1.training, o.requires_grad)))
    for mode in (True, False):
        model.train(mode)
        before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        evaluate(model, nets.CROSS_ENTROPY, batches, nets.CPU)
        assert _modes(model) == [mode] * len(_modes(model))
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
    assert seen == [(False, False, False)] * 4


def test_evaluate_puts_the_mode_of_every_layer_back():
    """As scoring and pruning do, where one layer is kept in eval mode."""
    model, batches = nets.mixed().train(), nets.image_batches((1, 6, 6), 3, (4,))
    model.bn1.eval()
    before = _modes(model)
    evaluate(model, nets.CROSS_ENTROPY, batches, nets.CPU)
    assert _modes(model) == before


def test_evaluate_puts_the_mode_back_when_it_fails():
    model = nets.mixed().train()
    with pytest.raises(RuntimeError):
        evaluate(model, nets.CROSS_ENTROPY, nets.image_batches((1, 60, 6), 3, (4,)), nets.CPU)
    assert all(_modes(model))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_evaluate_refuses_a_loss_that_is_not_finite(bad):
    logits = torch.zeros(4, 3)
    logits[2, 1] = bad
    batches = [(torch.arange(4), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(FloatingPointError, match="4 examples"):
        evaluate(Table(logits), nets.CROSS_ENTROPY, batches, nets.CPU)


# --- training ------------------------------------------------------------------------------------------------------


def _spoilt(at, value):
    """A loss that is `value` from its call number `at` on."""
    calls = itertools.count(1)

    def loss(logits, target):
        true = nets.CROSS_ENTROPY(logits, target)
        return true + value if next(calls) == at else true

    return loss


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 2, 63, 64, 65, 70, 128, 129, 130])
def test_train_epoch_names_the_first_batch_whose_loss_is_not_finite(at, value):
    """On either side of the 64 batches between two looks, of 130 batches."""
    model = nets.mlp(3, 2)
    batches = nets.image_batches((3,), 2, (2,) * 130)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(FloatingPointError, match=rf"at batch {at}$"):
        train_epoch(model, _spoilt(at, value), optimizer, batches, nets.CPU)


def test_train_adds_the_epoch():
    model = nets.mlp(3, 2)
    batches = nets.image_batches((3,), 2, (2,) * 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1])
    with pytest.raises(FloatingPointError, match=r"nan at batch 3 of epoch 2"):
        train(model, _spoilt(8, math.nan), optimizer, scheduler, batches, nets.CPU, 4, lambda epoch, value: None)


def test_train_epoch_is_plain_gradient_descent_and_returns_the_mean_over_examples():
    """Against the loop written out with derivatives of softmax regression by hand; batches of unlike sizes."""
    torch.manual_seed(0)
    model = nets.mlp(3, 4).double().eval()
    batches = [(x.double(), y) for x, y in nets.image_batches((3,), 4, (5, 2, 7))]
    weight, bias = (p.detach().numpy().copy() for p in model.parameters())
    total = 0.0
    for x, y in ((x.numpy(), y.numpy()) for x, y in batches):
        logits = x @ weight.T + bias
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total -= np.log(chance[np.arange(len(y)), y]).sum()
        slope = (chance - np.eye(4)[y]) / len(y)
        weight, bias = weight - 0.3 * slope.T @ x, bias - 0.3 * slope.sum(0)
    mean = train_epoch(model, nets.CROSS_ENTROPY, torch.optim.SGD(model.parameters(), lr=0.3), batches, nets.CPU)
    assert mean == pytest.approx(total / 14, rel=1e-12)
    np.testing.assert_allclose(model[0].weight.detach().numpy(), weight, rtol=1e-12)
    np.testing.assert_allclose(model[0].bias.detach().numpy(), bias, rtol=1e-12)
    assert model.training


def test_train_steps_the_scheduler_and_reports_once_an_epoch_and_every_64_batches():
    model = nets.mlp(3, 2)
    batches = nets.image_batches((3,), 2, (2,) * 130)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], gamma=0.1)
    epochs, logs = [], []
    train(
        model,
        nets.CROSS_ENTROPY,
        optimizer,
        scheduler,
        batches,
        nets.CPU,
        3,
        lambda epoch, value: epochs.append((epoch, optimizer.param_groups[0]["lr"])),
        lambda epoch, batch, value: logs.append((epoch, batch)),
    )
    assert epochs == [(1, 1.0), (2, pytest.approx(0.1)), (3, pytest.approx(0.1))]
    assert logs == [(epoch, batch) for epoch in (1, 2, 3) for batch in (64, 128)]


# --- what is dead --------------------------------------------------------------------------------------------------


def _reachability(matrices):
    """Of 0/1 matrices [out, in], one a layer: for each layer's units (has a way in, has a way out), as booleans.

    By boolean matrix products with the inputs, all of which count, and with the outputs, all of which count.
    """
    ways_in = [np.ones(matrices[0].shape[1], bool)]
    for matrix in matrices:
        ways_in.append(matrix.astype(int) @ ways_in[-1] > 0)
    ways_out = [np.ones(matrices[-1].shape[0], bool)]
    for matrix in reversed(matrices):
        ways_out.append(matrix.T.astype(int) @ ways_out[-1] > 0)
    return list(zip(ways_in[1:], ways_out[::-1][1:], strict=True))


@st.composite
def sparse_mlps(draw, more_classes=6):
    """(widths, masks) of an MLP whose tensors keep anything from nothing to all; more classes than hidden units."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    widths[-1] += more_classes
    seed, masks = draw(st.integers(0, 10**6)), []
    random = np.random.default_rng(seed)
    for before, after in itertools.pairwise(widths):
        masks.append(random.random((after, before)) < draw(st.sampled_from([0.0, 0.15, 0.3, 0.5, 0.8, 1.0])))
    return widths, masks


def _masked_mlp(widths, masks, activation, bias=True):
    model = nets.mlp(*widths, activation=activation, bias=bias)
    for layer, mask in zip(model[::2], masks, strict=True):
        layer.weight_mask.copy_(torch.from_numpy(mask))
    return model


many = settings(deadline=None, derandomize=True, max_examples=120)


@many
@given(sparse_mlps(), st.sampled_from([nn.ReLU, nn.Tanh]), st.booleans())
def test_dead_units_and_classes_are_those_of_reachability(made, activation, bias):
    widths, masks = made
    report = dead.find(_masked_mlp(widths, masks, activation, bias), (widths[0],)).report()
    truth = _reachability(masks)
    assert report["tensors"] == [f"{2 * k}.weight" for k, mask in enumerate(masks) if not mask.any()]
    assert report["classes"] == {"total": widths[-1], "alive": np.flatnonzero(truth[-1][0]).tolist()}
    for k, (way_in, way_out) in enumerate(truth[:-1]):
        found = report["units"][f"{2 * k}"]
        assert found["units"] == widths[k + 1]
        assert found["no_way_in"] == (~way_in).sum()
        assert found["dead"] == (~way_in | ~way_out).sum()


@many
@given(sparse_mlps(), st.sampled_from([nn.ReLU, nn.Tanh]))
def test_units_with_no_way_out_are_those_of_reachability(made, activation):
    """Also of units that have no way in either."""
    widths, masks = made
    report = dead.find(_masked_mlp(widths, masks, activation), (widths[0],)).report()
    for k, (_, way_out) in enumerate(_reachability(masks)[:-1]):
        assert report["units"][f"{2 * k}"]["no_way_out"] == (~way_out).sum()


@many
@given(sparse_mlps(more_classes=0))
def test_every_hidden_layer_is_reported(made):
    """Also one that is as wide as there are classes."""
    widths, masks = made
    report = dead.find(_masked_mlp(widths, masks, nn.ReLU), (widths[0],)).report()
    assert list(report["units"]) == [f"{2 * k}" for k in range(len(masks) - 1)]


def test_a_hidden_layer_as_wide_as_there_are_classes_is_reported():
    """Of a network that lives, as of fc with 100 classes, and of one in which all is dead."""
    for density in (1.0, 0.0):
        model = nets.mlp(5, 4, 4)
        for _, mask, _ in nets.masked_tensors(model):
            mask.fill_(density)
        units = dead.find(model, (5,)).report()["units"]
        dead_units = 0 if density else 4
        assert list(units) == ["0"]
        assert units["0"]["units"] == 4 and units["0"]["dead"] == dead_units


def test_a_dead_network_by_hand():
    """3 inputs, 4 hidden, 2 classes. Unit 0: no way in; unit 1: no way out; unit 2: neither; unit 3 lives."""
    first = np.array([[0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]], bool)
    second = np.array([[1, 0, 0, 0], [1, 0, 0, 1]], bool)
    report = dead.find(_masked_mlp((3, 4, 2), (first, second), nn.Tanh), (3,)).report()
    assert report == {
        "tensors": [],
        "units": {"0": {"units": 4, "no_way_in": 2, "no_way_out": 2, "dead": 3}},
        "classes": {"total": 2, "alive": [1]},
    }


def _unrolled(layer, height, width):
    """The 0/1 matrix [out positions, in positions] of a masked convolution, by its definition in loops."""
    mask, stride, padding = layer.weight_mask.numpy(), layer.stride[0], layer.padding[0]
    outs, ins, size, _ = mask.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    matrix = np.zeros((outs, rows, columns, ins, height, width), bool)
    for o, r, c, i, y, x in itertools.product(*map(range, (outs, rows, columns, ins, size, size))):
        down, right = r * stride + y - padding, c * stride + x - padding
        if 0 <= down < height and 0 <= right < width and mask[o, i, y, x]:
            matrix[o, r, c, i, down, right] = True
    return matrix.reshape(outs * rows * columns, ins * height * width), (rows, columns)


DENSITIES = ((0.03, 0.1, 0.1), (0.06, 0.06, 0.3))  # of the three layers of a convolutional net


@pytest.mark.parametrize("seed", range(25))
def test_dead_channels_and_classes_are_those_of_reachability(seed):
    """A channel has a way in if any of its positions has one, the padding is no input."""
    model = nets.conv_net()
    for layer, density in zip((model[0], model[2], model[5]), DENSITIES[seed % 2], strict=True):
        nets.mask_at_random(layer, density, seed=seed)
    report = dead.find(model, (2, 5, 5)).report()
    first, size = _unrolled(model[0], 5, 5)
    second, _ = _unrolled(model[2], *size)
    truth = _reachability([first, second, model[5].weight_mask.numpy() != 0])
    assert report["classes"]["alive"] == np.flatnonzero(truth[2][0]).tolist()
    for name, channels, (way_in, way_out) in (("0", 3, truth[0]), ("2", 2, truth[1])):
        way_in, way_out = way_in.reshape(channels, -1), way_out.reshape(channels, -1)
        found = report["units"][name]
        assert found["units"] == channels
        assert found["no_way_in"] == (~way_in.any(1)).sum()
        # A channel with a way in at one place and a way out at another only is as dead as one without: both
        # readings of "either" are right.
        least, most = (~way_in.any(1) | ~way_out.any(1)).sum(), (~(way_in & way_out).any(1)).sum()
        assert least <= found["dead"] <= most


def test_the_random_convolutions_are_of_every_kind():
    """Among the networks above there are dead channels and living, dead classes and living."""
    seen = Counter()
    for seed in range(25):
        model = nets.conv_net()
        for layer, density in zip((model[0], model[2], model[5]), DENSITIES[seed % 2], strict=True):
            nets.mask_at_random(layer, density, seed=seed)
        report = dead.find(model, (2, 5, 5)).report()
        for unit in report["units"].values():
            seen["dead"] += unit["dead"]
            seen["living"] += unit["units"] - unit["dead"]
        seen["dead classes"] += 3 - len(report["classes"]["alive"])
        seen["living classes"] += len(report["classes"]["alive"])
    assert min(seen.values()) > 5 and len(seen) == 4


def test_dead_units_of_the_text_model_by_enumeration():
    """An embedding entry has every word for a way in, and a way out where its column keeps a weight."""
    for seed in range(5):
        model = nets.text_model(classes=4)
        nets.mask_at_random(model, 0.02, seed)  # 5 of 256
        mask = model.fc.weight_mask.numpy()
        report = dead.find(model, (30,)).report()
        no_way_out = int((mask.sum(0) == 0).sum())
        expected = {"units": 64, "no_way_in": 0, "no_way_out": no_way_out, "dead": no_way_out}
        assert report["units"] == {"embedding": expected} and no_way_out >= 59
        assert report["classes"] == {"total": 4, "alive": np.flatnonzero(mask.sum(1)).tolist()}


def test_residual_connections_and_normalisation_are_ways():
    model = nets.mixed()
    everything = dead.find(model, (1, 6, 6)).report()
    assert everything["classes"] == {"total": 3, "alive": [0, 1, 2]} and everything["tensors"] == []
    assert all(unit["dead"] == 0 for unit in everything["units"].values())
    # With conv2 and fc2 gone the two shortcuts still lead through; then half of one is cut, then a scale.
    model.conv2.weight_mask.zero_()
    model.fc2.weight_mask.zero_()
    report = dead.find(model, (1, 6, 6)).report()
    assert report["tensors"] == ["conv2.weight", "fc2.weight"]
    assert report["classes"]["alive"] == [0, 1, 2]
    assert report["units"]["short1"]["dead"] == 0 and report["units"]["conv2"]["no_way_in"] == 4
    model.short2.weight_mask[:4] = 0
    assert dead.find(model, (1, 6, 6)).report()["units"]["bn2"]["no_way_out"] == 4
    model.bn1.weight_mask.zero_()
    report = dead.find(model, (1, 6, 6)).report()
    assert report["classes"]["alive"] == [] and report["units"]["bn1"]["no_way_in"] == 4


def test_values_and_biases_do_not_matter_to_what_is_dead():
    """Only masks do: a weight that happens to be zero, a large bias or a running mean open and close no way."""
    model = nets.mixed()
    nets.mask_at_random(model, 0.4, seed=3)
    expected = dead.find(model, (1, 6, 6)).report()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(-1e3 if name.endswith("bias") else 0.0)
        model.bn1.running_mean.fill_(1e6)
        model.bn2.running_var.fill_(1e-8)
    assert dead.find(model, (1, 6, 6)).report() == expected
    assert any(unit["dead"] for unit in expected["units"].values())


def test_report_leaves_the_model_untouched():
    for failing in (False, True):
        model = nets.mixed().train()
        model.bn2.eval()
        model.fc1.weight.requires_grad_(False)
        model.fc2.weight.grad = gradient = torch.ones_like(model.fc2.weight)
        nets.mask_at_random(model, 0.5)
        before, modes = copy.deepcopy(model.state_dict()), _modes(model)
        random, kept = torch.get_rng_state(), [id(p) for p in model.parameters()]
        if failing:
            with pytest.raises(RuntimeError):
                dead.find(model, (1, 60, 6))
        else:
            dead.find(model, (1, 6, 6))
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert [id(p) for p in model.parameters()] == kept and _modes(model) == modes
        assert torch.equal(torch.get_rng_state(), random)
        assert not any(module._forward_hooks for module in model.modules())
        assert model.fc2.weight.grad is gradient and (gradient == 1).all()
        assert all(p.grad is None for name, p in model.named_parameters() if name != "fc2.weight")
        assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"fc1.weight"}


# --- the accuracy that is left -------------------------------------------------------------------------------------


def _best_accuracy(alive, labels, classes):
    """By trying everything: each order of the constant logits, each sign of a living class's logit at an example."""
    constant = [k for k in range(classes) if k not in alive]
    best = 0
    for order in itertools.permutations(range(len(constant))):
        right = 0
        for label in labels:
            answers = set()
            for signs in itertools.product((-10.0, 10.0), repeat=len(alive)):
                logits = dict(zip(alive, signs, strict=True)) | dict(zip(constant, order, strict=True))
                top = max(logits.values())
                answers |= {k for k in logits if logits[k] == top}  # a tie may go either way
            right += label in answers
        best = max(best, right)
    return 100 * best / len(labels)


@many
@given(st.integers(1, 4), st.data())
def test_accuracy_cap_is_the_best_of_all_predictions(classes, data):
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=6))
    alive = sorted(data.draw(st.sets(st.integers(0, classes - 1))))
    counts = [labels.count(k) for k in range(classes)]
    assert dead.accuracy_cap(alive, counts) == pytest.approx(_best_accuracy(alive, labels, classes))


def test_accuracy_cap_by_hand():
    assert dead.accuracy_cap([0, 1, 2, 3], [25, 25, 25, 25]) == 100
    assert dead.accuracy_cap([0, 1, 2], [25, 25, 25, 25]) == 100  # the constant answers for the fourth
    assert dead.accuracy_cap([0], [10, 20, 30, 40]) == 50
    assert dead.accuracy_cap([], [10, 20, 30, 40]) == 40
    assert dead.accuracy_cap([], [0, 0]) == 0


@pytest.mark.parametrize("make", [MatchedTransformer, MatchedMLP])
def test_a_layer_of_a_sequence_counts_at_each_position(make):
    """Each weight of the 32 positions 32 times; those behind the mean once."""
    model = make((1, 28, 28), 10)
    found = metrics.flop(model, (1, 28, 28), "cpu")
    for name, module in model.named_modules():
        for parameter, tensor in module.named_parameters(recurse=False):
            behind = name in ("fc", "linear2", "linear3")
            assert found[name][parameter] == tensor.numel() * (1 if behind else 32), (name, parameter)
