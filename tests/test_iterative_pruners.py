"""Pruners of many rounds, and what is derived from them, against algebra and finite differences."""

import copy
import itertools

import nets
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from Layers.initial import redraw
from Pruners.iterative import FORCE, SNIPIter
from Pruners.ntksap import NTKSAP
from Pruners.pathnorm import SynFlowL2
from Pruners.pruners import SNIP
from Utils import generator, load
from Utils.training.prune import prune_loop

SUBJECTS = {
    "tanh": (lambda: nets.mlp(4, 5, 3, 3, activation=nn.Tanh), lambda sizes: nets.image_batches((4,), 3, sizes)),
    "mixed": (nets.mixed, lambda sizes: nets.image_batches((1, 6, 6), 3, sizes)),
    "text": (nets.text_model, lambda sizes: nets.text_batches(30, 3, sizes)),
    "translation": (lambda: nets.seq2seq(dropout=0.0), lambda sizes: nets.pair_batches(30, 29, sizes)),
}
subjects = pytest.mark.parametrize("subject", SUBJECTS)
NEW = ("snip-iter", "force", "synflow-l2", "ntk-sap")


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _made(subject, sizes=(4, 3)):
    model, batches = SUBJECTS[subject]
    return model().eval(), batches(sizes)


def _pruner(kind, model, seed=0):
    return kind(generator.masked_parameters(model, bias=True), seed=seed)


def _scored(kind, model, batches, seed=0):
    pruner = _pruner(kind, model, seed)
    pruner.score(model, nets.CROSS_ENTROPY, batches, nets.CPU)
    return pruner.scores


@subjects
@pytest.mark.parametrize("kind", [SNIPIter, FORCE])
def test_the_first_round_is_that_of_snip(subject, kind):
    model, batches = _made(subject)
    for name, score in _scored(SNIP, model, batches).items():
        torch.testing.assert_close(_scored(kind, model, batches)[name], score, rtol=1e-12, atol=1e-15)


def _by_mask(model, batches, name, index, step=1e-5):
    """dL/dm at one entry of a mask, by a central difference."""
    losses = []
    for sign in (1, -1):
        mask = model.get_buffer(f"{name}_mask").clone()
        mask.view(-1)[index] += sign * step
        outputs = [functional_call(model, {f"{name}_mask": mask}, (x,)) for x, _ in batches]
        losses.append(sum(nets.CROSS_ENTROPY(out, y) for out, (_, y) in zip(outputs, batches, strict=True)))
    return float(losses[0] - losses[1]) / (2 * step)


@pytest.mark.parametrize("subject", ["tanh", "translation"])
def test_force_is_the_slope_by_the_mask_of_the_sparse_network_also_of_what_is_pruned(subject):
    model, batches = _made(subject)
    nets.mask_at_random(model, 0.5, seed=3)
    found, pruned = _scored(FORCE, model, batches), 0
    with torch.no_grad():
        for name, score in list(found.items())[:3]:
            flat, mask = score.flatten(), model.get_buffer(f"{name}_mask").flatten()
            for index in range(0, len(flat), max(1, len(flat) // 7)):
                slope = abs(_by_mask(model, batches, name, index))
                assert float(flat[index]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
                pruned += int(mask[index] == 0 and slope > 1e-4)
    assert pruned


def test_in_force_weights_come_back_and_in_iterative_snip_none():
    back = {}
    for kind in (FORCE, SNIPIter):
        model, batches = _made("tanh", (8, 8))
        pruner = _pruner(kind, model)
        seen, total = [], pruner.stats()[1]
        for density in (0.6, 0.4, 0.3, 0.25):
            pruner.score(model, nets.CROSS_ENTROPY, batches, nets.CPU)
            pruner.mask(density)
            assert pruner.stats()[0] == total - int((1 - density) * total)
            seen.append(torch.cat([mask.flatten() for mask, _ in pruner.masked_parameters]).clone())
        back[kind] = sum(int((after > before).sum()) for before, after in itertools.pairwise(seen))
    assert back[FORCE] > 0 == back[SNIPIter]


def test_the_path_norm_is_conserved_in_every_unit_and_layer():
    """Tanaka et al. 2020, theorems 1 and 2: what comes into a hidden unit by weights and bias goes out by weights."""
    model = nets.mlp(4, 6, 5, 3)
    nets.mask_at_random(model, 0.7)
    found = _scored(SynFlowL2, model, nets.image_batches((4,), 3, [2]))
    masks = {name: model.get_buffer(f"{name}_mask") for name in found}
    kept = {name: score * masks[name] for name, score in found.items()}
    for layer, after in ((0, 2), (2, 4)):
        into = kept[f"{layer}.weight"].sum(1) + kept[f"{layer}.bias"]
        torch.testing.assert_close(into, kept[f"{after}.weight"].sum(0), rtol=1e-10, atol=1e-12)
        assert (into > 0).any()
    # Without biases the flow through a layer is the norm of all paths: the squared weights' product along each, summed.
    model = nets.mlp(3, 4, 2, bias=False)
    found = _scored(SynFlowL2, model, nets.image_batches((3,), 2, [2]))
    first, second = (model[k].weight.detach() for k in (0, 2))
    norm = sum(float(first[j, i] * second[k, j]) ** 2 for i in range(3) for j in range(4) for k in range(2))
    assert all(float(score.sum()) == pytest.approx(norm) for score in found.values())


@subjects
def test_ntk_sap_is_the_slope_by_the_mask_of_what_a_perturbation_changes(subject):
    """Central differences in single entries of a half-pruned mask; the draws are made again in the order it tells."""
    model, batches = _made(subject, (3, 2))
    nets.mask_at_random(model, 0.6, seed=1)
    pruner = _pruner(NTKSAP, model, seed=5)
    found = list(_scored(NTKSAP, model, batches, seed=5).values())
    draw, points = torch.Generator().manual_seed(5), []
    for data, _ in batches:
        fresh = copy.deepcopy(model)
        with torch.random.fork_rng([]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=draw)))
            redraw(fresh)
        moved = copy.deepcopy(fresh)
        for name in pruner.names:
            noise = torch.randn(moved.get_parameter(name).shape, generator=draw)
            moved.get_parameter(name).data.add_(0.01 * noise)
        points.append((fresh, moved, data))

    @torch.no_grad()
    def distance(name, index, step):
        total = 0.0
        for fresh, moved, data in points:
            outputs = []
            for network in (fresh, moved):
                mask = network.get_buffer(f"{name}_mask").clone()
                mask.view(-1)[index] += step
                outputs.append(functional_call(network, {f"{name}_mask": mask}, (data,)))
            total += float((outputs[0] - outputs[1]).square().sum()) / len(outputs[0])
        return total

    largest = max(float(score.max()) for score in found)
    assert largest > 0
    for name, score in list(zip(pruner.names, found, strict=True))[:4]:
        for index in range(0, score.numel(), max(1, score.numel() // 5)):
            slope = (distance(name, index, 1e-4) - distance(name, index, -1e-4)) / 2e-4
            assert float(score.flatten()[index]) == pytest.approx(abs(slope), rel=1e-3, abs=1e-6 * largest)


@subjects
@pytest.mark.parametrize("name", NEW)
def test_rounds_end_at_the_count_and_what_is_left_learns(subject, name):
    model, batches = _made(subject)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pruner = load.pruner(name)(generator.masked_parameters(model))
    prune_loop(model, nets.CROSS_ENTROPY, pruner, batches, nets.CPU, 0.2, "exponential", "global", 5)
    kept, total = pruner.stats()
    assert kept == total - int(0.8 * total)
    for key, value in model.state_dict().items():
        if key.endswith("_mask"):
            continue
        mask = model.state_dict().get(f"{key}_mask", torch.ones(()))
        assert torch.equal(value, before[key] * mask)
    optimizer, losses = torch.optim.Adam(generator.parameters(model), lr=0.01), []
    for _ in range(10):
        losses.append(sum(nets.CROSS_ENTROPY(model(data), target) for data, target in batches))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("name", load.PRUNERS)
def test_a_score_costs_the_steps_that_it_says(name, batches):
    """Multiply-adds counted by torch; the input's gradient, which a step does not need, is little in a deep network."""
    model = nets.mlp(*[40] * 12, activation=nn.Tanh, bias=False)
    data = nets.image_batches((40,), 40, [16] * batches)
    with FlopCounterMode(display=False) as step:
        nets.CROSS_ENTROPY(model(data[0][0]), data[0][1]).backward()
    pruner = load.pruner(name)(generator.masked_parameters(model))
    with FlopCounterMode(display=False) as scoring:
        pruner.score(model, nets.CROSS_ENTROPY, data, nets.CPU)
    found = scoring.get_total_flops() / (step.get_total_flops() / 16)
    assert found == pytest.approx(pruner.cost([16] * batches), rel=0.06)
