"""Masks that change in training, against a second writing: formulas, RigL in numpy, gradients and moments by hand."""

import math
from argparse import Namespace

import nets
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Layers import fast, layers
from Layers.embedding import EmbeddingBag
from Pruners import dynamic
from Pruners.pruners import Rand
from Utils import generator
from Utils.training import adam
from Utils.training.descent import Descent
from Utils.training.train import train_epoch


def masked(model: nn.Module, density: float = 0.3, ties: str = "seeded") -> Rand:
    """A pruner of random masks, the same density in each tensor, whose weights are applied."""
    found = Rand(generator.masked_parameters(model, embedding=True), seed=1, ties=ties)
    found.score(model, nets.CROSS_ENTROPY, (), nets.CPU)
    found.mask(density, "local")
    found.apply_mask()
    return found


@pytest.mark.parametrize(("first", "last", "end"), [(1.0, 0.1, 40), (0.5, 0.01, 7), (0.3, 0.3, 9)])
def test_the_cubic_curve_is_equation_1(first, last, end):
    """In sparsities: s_t = s_f + (s_i - s_f) * (1 - t / (n * delta)) ** 3."""
    densities = [dynamic.cubic(step, end, first, last) for step in range(end + 1)]
    for step, density in enumerate(densities):
        sparsity = (1 - last) + ((1 - first) - (1 - last)) * (1 - step / end) ** 3
        assert density == pytest.approx(1 - sparsity, abs=1e-12)
    assert densities[0] == pytest.approx(first) and densities[-1] == last
    assert densities == sorted(densities, reverse=True)


def test_the_fraction_that_moves_falls_along_a_cosine():
    moved = [dynamic.cosine(step, 80, 0.3) for step in range(81)]
    assert moved[0] == 0.3 and moved[40] == pytest.approx(0.15) and moved[80] == pytest.approx(0, abs=1e-12)
    assert moved == pytest.approx([0.3 * math.cos(math.pi * step / 160) ** 2 for step in range(81)])


def rigl(weight: np.ndarray, mask: np.ndarray, slope: np.ndarray, fraction: float) -> np.ndarray:
    """The mask after an update of one layer, by sorting lists of positions; of equals the first stays, or grows."""
    flat, kept, steep = weight.ravel(), mask.ravel().astype(bool), np.abs(slope.ravel())
    moved = int(fraction * kept.sum())
    alive = sorted(np.flatnonzero(kept), key=lambda k: (-abs(flat[k]), k))
    stays = set(alive[: len(alive) - moved])
    free = sorted(set(range(flat.size)) - stays, key=lambda k: (-steep[k], k))
    new = np.zeros(flat.size)
    new[np.array([*stays, *free[:moved]], dtype=int)] = 1
    return new.reshape(mask.shape)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.35, 0.999])
@pytest.mark.parametrize("seed", range(4))
def test_an_update_of_rigl_is_the_one_by_brute_force(fraction, seed):
    draw = np.random.default_rng(seed)
    for shape in [(7, 9), (4, 3, 3, 3), (30, 5), (11,)]:
        weight, slope = draw.normal(size=shape).round(1), draw.normal(size=shape).round(1)  # with equal values
        mask = (draw.random(shape) < 0.4).astype(np.float32)
        tensors = [torch.tensor(each, dtype=torch.float32) for each in (mask, weight * mask, slope)]
        pruner = Rand([(tensors[0], tensors[1])], ties="position")
        dynamic.regrow(pruner, [tensors[2]], fraction)
        expected = rigl(tensors[1].numpy(), mask, tensors[2].numpy(), fraction)
        assert (tensors[0].numpy() == expected).all() and tensors[0].sum() == mask.sum()


def test_equal_values_are_drawn_from_the_pruners_generator_and_counted():
    def once(seed: int, ties: str) -> tuple[torch.Tensor, int]:
        mask = (torch.arange(200) < 50).float()
        pruner = Rand([(mask, torch.ones(200) * mask)], seed=seed, ties=ties)
        dynamic.regrow(pruner, [torch.zeros(200)], 0.5)
        return mask, pruner.by_tie

    (one, ties), (same, _), (other, _) = once(1, "seeded"), once(1, "seeded"), once(2, "seeded")
    assert one.equal(same) and not one.equal(other) and one.sum() == other.sum() == 50 and ties == 50
    assert once(1, "position")[0].equal(once(2, "position")[0])


def test_a_full_tensor_stays_and_a_gradient_that_is_not_a_number_is_named():
    mask, weight = torch.ones(5, 4), torch.randn(5, 4)
    pruner = Rand([(mask, weight)])
    dynamic.regrow(pruner, [torch.randn(5, 4)], 0.5)
    assert mask.all()
    with pytest.raises(FloatingPointError, match="tensor 0"):
        dynamic.regrow(pruner, [torch.full((5, 4), torch.nan)], 0.5)


def test_the_dense_gradient_of_a_perceptron_by_hand():
    """Backpropagation in numpy: the masked network's gradient, at the zeros of the masks as well."""
    model = nets.mlp(6, 5, 3)
    pruner = masked(model)
    data, target = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    found = dynamic.dense_gradients(model, pruner.masked_parameters, nets.CROSS_ENTROPY, data, target)
    x, one, two = data.numpy().astype(float), model[0], model[2]
    w1, w2 = ((layer.weight * layer.weight_mask).detach().double().numpy() for layer in (one, two))
    hidden = x @ w1.T + one.bias.detach().numpy()
    logits = np.maximum(hidden, 0) @ w2.T + two.bias.detach().numpy()
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    share[np.arange(8), target.numpy()] -= 1
    share /= 8
    by_hand = [((share @ w2) * (hidden > 0)).T @ x, share.T @ np.maximum(hidden, 0)]
    for (mask, _), ours, theirs in zip(pruner.masked_parameters, found, by_hand, strict=True):
        assert np.allclose(ours.numpy(), theirs, atol=1e-6) and (ours[mask == 0] != 0).any()


class Bags(nn.Module):
    """Bags of masked words, then a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = EmbeddingBag(30, 6), layers.Linear(6, 3)
        generator.mask_embeddings(self)

    def forward(self, data):
        return self.fc(self.embedding(data.ids, data.offsets))


def test_the_dense_gradients_of_a_convolution_and_of_words():
    """Against autograd on a function without layers, by the product of mask and weight."""
    model, (data, target) = nets.conv_net(), nets.image_batches((2, 5, 5), 3, (6,))[0]
    pairs = masked(model).masked_parameters
    found = dynamic.dense_gradients(model, pairs, nets.CROSS_ENTROPY, data, target)
    weights = [(mask * weight).detach().requires_grad_() for mask, weight in pairs]
    hidden = F.relu(F.conv2d(data, weights[0], model[0].bias, padding=1))
    hidden = F.relu(F.conv2d(hidden, weights[1], model[2].bias, stride=2, padding=1)).flatten(1)
    loss = F.cross_entropy(F.linear(hidden, weights[2], model[5].bias), target)
    for ours, theirs in zip(found, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(ours, theirs)

    words, (bags, labels) = nets.drawn(0, Bags), nets.text_batches(30, 3, (5,))[0]
    adam.Adam(words.parameters()).attach(words)  # which reads rows
    pairs = masked(words).masked_parameters
    found = dynamic.dense_gradients(words, pairs, nets.CROSS_ENTROPY, bags, labels)
    weights = [(mask * weight).detach().requires_grad_() for mask, weight in pairs]
    pooled = F.embedding_bag(bags.ids, weights[0], bags.offsets, mode="mean")
    loss = F.cross_entropy(F.linear(pooled, weights[1], words.fc.bias), labels)
    for ours, theirs in zip(found, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (found[0][pairs[0][0] == 0] != 0).any()


@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_taking_the_dense_gradient_leaves_the_model_as_it_was(amp):
    """Running statistics, dropout's generator, modes, gradients, and every weight and mask."""
    model, (data, target) = nets.mixed(), nets.image_batches((1, 6, 6), 3, (8,))[0]
    pairs = masked(model).masked_parameters
    model.train()
    F.cross_entropy(model(data), target).backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slopes = [parameter.grad for parameter in model.parameters()]
    noise = torch.get_rng_state()
    found = dynamic.dense_gradients(model, pairs, nets.CROSS_ENTROPY, data, target, amp)
    assert all(gradient.dtype == torch.float32 and gradient.any() for gradient in found)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert all(now is then for now, then in zip((p.grad for p in model.parameters()), slopes, strict=True))
    assert torch.get_rng_state().equal(noise) and model.training and all(p.requires_grad for p in model.parameters())


SETTINGS = {
    "lr": 0.1, "lr_drops": [], "lr_drop_rate": 0.1, "adam_betas": (0.9, 0.999), "adam_eps": 1e-8,
    "lr_scheduler": "multistep", "warmup_steps": 0, "clip_grad_norm": 0.0,
}  # fmt: skip


def descent_of(model: nn.Module, optimizer: str) -> Descent:
    decay = 0.01 if optimizer == "adamw" else 0.0
    return Descent(model, Namespace(optimizer=optimizer, weight_decay=decay, **SETTINGS))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw", "rms"])
def test_what_goes_and_what_grows_is_zero_and_has_no_past(optimizer, plain, monkeypatch):
    """Weights and moments; those that stay keep theirs. And a grown weight's next step is that of a fresh one."""
    monkeypatch.setattr(fast, "_used", not plain)
    model = nets.drawn(0, Bags)
    descent, batches = descent_of(model, optimizer), nets.text_batches(30, 3, (5, 5, 5))
    pruner = masked(model)
    train_epoch(model, nets.CROSS_ENTROPY, descent.optimizer, batches, nets.CPU)
    descent.settle()
    was = [(mask.clone(), weight.detach().clone()) for mask, weight in pruner.masked_parameters]
    state = descent.optimizer.state
    moments = [
        {k: v.clone() for k, v in state.get(p, {}).items() if torch.is_tensor(v) and v.shape == p.shape}
        for p in pruner.parameters
    ]
    assert optimizer == "sgd" or (all(moments) and all(value.any() for each in moments for value in each.values()))
    slopes = dynamic.dense_gradients(model, pruner.masked_parameters, nets.CROSS_ENTROPY, *batches[0])
    dynamic.regrow(pruner, slopes, 0.4)
    stay = [(old != 0) & (mask != 0) for (old, _), (mask, _) in zip(was, pruner.masked_parameters, strict=True)]
    descent.clear(pruner.parameters, stay)
    for flags, (old, before), (mask, weight), held in zip(stay, was, pruner.masked_parameters, moments, strict=True):
        assert (old != mask).any() and mask.sum() == old.sum() and flags.sum() < mask.sum()
        assert weight.equal(torch.where(flags, before, 0.0))
        for name, then in held.items():
            assert state[weight][name].equal(torch.where(flags, then, 0.0)), name

    grown = [(mask != 0) & ~flags for (mask, _), flags in zip(pruner.masked_parameters, stay, strict=True)]
    slopes = dynamic.dense_gradients(model, pruner.masked_parameters, nets.CROSS_ENTROPY, *batches[0])
    train_epoch(model, nets.CROSS_ENTROPY, descent.optimizer, batches[:1], nets.CPU)
    descent.settle()
    step = 1 - 0.9**4, 1 - 0.999**4  # Adam's bias correction, which counts the steps of all
    fresh = {
        "sgd": lambda g: -0.1 * g,
        "momentum": lambda g: -0.1 * (g + 0.9 * g),
        "rms": lambda g: -0.1 * g / ((0.01 * g * g).sqrt() + 1e-8),
    }
    moved = fresh.get(optimizer, lambda g: -0.1 * (0.1 * g / step[0]) / ((0.001 * g * g / step[1]).sqrt() + 1e-8))
    for flags, slope, weight in zip(grown, slopes, pruner.parameters, strict=True):
        assert flags.any()
        torch.testing.assert_close(weight.detach()[flags], moved(slope)[flags], rtol=2e-3, atol=1e-5)
