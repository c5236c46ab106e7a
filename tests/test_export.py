"""Exported networks against the masked models that they are made of, form by form and unit by unit."""

import copy

import nets
import pytest
import safetensors.torch
import torch
from torch import nn

from Layers import layers
from Layers.attached import attach
from Layers.bags import Bags
from Layers.reading import Raw
from Pruners import dead
from Utils import exported, load
from Utils.errors import UserError
from Utils.export import dead_units, form_timing, package, reach, trace, translation
from Utils.export.formats import FORMATS

MODELS = [
    ("fc", "default", (1, 8, 8)),
    ("conv", "default", (3, 9, 7)),
    ("vgg11", "lottery", (3, 32, 32)),
    ("vgg11-bn", "lottery", (3, 32, 32)),
    ("resnet20", "lottery", (3, 16, 16)),
    ("text-classification", "nlp", (300,)),
]
FORMS = ("whole", "csr", "block")


def masked(name, kind, shape, density, everything=False):
    """The model in eval mode with random masks, biases and statistics; signals stay large enough to be compared.

    everything: masks on what is seldom pruned too, BatchNorm scales and residual connections.
    """
    model = nets.drawn(0, load.model(name, kind), shape, 10)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        weights = isinstance(module, (nn.Linear, nn.Conv2d))
        for at, parameter in module.named_parameters(recurse=False):
            if at == "bias":
                parameter.data.normal_(0.0, 0.3, generator=generator)
            elif weights:
                parameter.data.mul_(2.0 * density**-0.5)
        for at, buffer in module.named_buffers(recurse=False):
            if at == "running_mean":
                buffer.normal_(0.0, 0.3, generator=generator)
            elif at == "running_var":
                buffer.uniform_(0.5, 1.5, generator=generator)
            elif at == "weight_mask" and (weights or everything):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) < (density if weights else 0.7))
    return model.eval()


def examples(shape, count=3):
    generator = torch.Generator().manual_seed(2)
    if len(shape) == 1:
        return Bags(torch.randint(shape[0], (40,), generator=generator), torch.tensor([0, 13, 20][:count]))
    return torch.randn(count, *shape, generator=generator)


def zeros(shape):
    return examples(shape, 1) if len(shape) == 1 else torch.zeros(1, *shape)


@torch.no_grad()
def near(found, wanted):
    """1e-5 of the largest logit, or of 1."""
    return (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("density", [1.0, 0.3, 0.02])
@pytest.mark.parametrize(("name", "kind", "shape"), MODELS)
@torch.no_grad()
def test_an_export_gives_the_logits_of_the_masked_model(name, kind, shape, density):
    model, data = masked(name, kind, shape, density), examples(shape)
    draft = trace.draft(model)
    smaller = dead_units.compact(draft, zeros(shape))
    wanted = model(data)
    for form in FORMS if density < 1 else FORMS[:1]:
        for each in (draft, smaller):
            forms = dict.fromkeys(each.matrices, form)
            assert near(exported.Network(each.program, each.tensors, forms)(data), wanted), form


@pytest.mark.parametrize(("name", "kind", "shape"), [MODELS[3], MODELS[4]])
@torch.no_grad()
def test_masks_on_scales_and_residual_connections_are_exported(name, kind, shape):
    model, data = masked(name, kind, shape, 0.5, everything=True), examples(shape)
    draft = trace.draft(model)
    smaller = dead_units.compact(draft, zeros(shape))
    assert near(exported.Network(draft.program, draft.tensors)(data), model(data))
    assert near(exported.Network(smaller.program, smaller.tensors)(data), model(data))
    assert sum(v.numel() for v in smaller.tensors.values()) < 0.75 * sum(v.numel() for v in draft.tensors.values())


def test_every_batchnorm_is_folded_and_no_mask_is_left():
    for name in ("vgg11-bn", "resnet20"):
        draft = trace.draft(masked(name, "lottery", (3, 16, 16), 0.5))
        assert not any("mask" in at or "running" in at for at in draft.tensors)
        affine = [step["output"] for step in draft.program if step["op"] == "affine"]
        assert all("shortcut" in at or "identity" in at.lower() for at in affine), affine


class ReadTwice(nn.Module):
    """A normalised layer that is read by a second normalisation and beside it, or returned as it is."""

    def __init__(self, alone):
        super().__init__()
        self.fc, self.first, self.second = layers.Linear(4, 3), layers.BatchNorm1d(3), layers.BatchNorm1d(3)
        self.alone = alone

    def forward(self, data):
        hidden = self.first(self.fc(data))
        return hidden if self.alone else hidden + self.second(hidden)


@pytest.mark.parametrize("alone", [True, False])
def test_a_folded_value_that_is_read_twice_is_folded_once(alone):
    model = drawn_norms(ReadTwice(alone))
    data = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    draft = trace.draft(model)
    with torch.no_grad():
        assert near(exported.Network(draft.program, draft.tensors)(data), model(data))
    assert [step["op"] for step in draft.program] == (["linear"] if alone else ["linear", "affine", "add"])


def drawn_norms(model):
    """The model in eval mode, its BatchNorms with scales, shifts and statistics unlike a new one's."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 2.0, generator=generator)
    return model.eval()


def test_ignored_masks_are_ignored_in_the_export_too():
    model = nets.mlp(6, 5, 4)
    model[0].weight_mask.zero_()
    model[0].reading = Raw()
    data = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    draft = trace.draft(model)
    with torch.no_grad():
        assert near(exported.Network(draft.program, draft.tensors)(data), model(data))
    assert draft.tensors["0.weight"].count_nonzero() == 30


@pytest.mark.parametrize("density", [0.05, 0.02])
def test_the_units_left_are_those_that_the_search_for_dead_units_finds_alive(density):
    for name, kind, shape in MODELS[:3]:
        model = masked(name, kind, shape, density)
        found = dead.find(model, shape).report()["units"]
        smaller = dead_units.compact(trace.draft(model), zeros(shape))
        left = {
            step["output"]: len(smaller.tensors[step["tensors"]["weight"]])
            for step in smaller.program
            if "tensors" in step
        }
        for at, counted in found.items():
            assert left[at] == max(1, counted["units"] - counted["dead"]), at
        assert sum(counted["dead"] for counted in found.values()) > 0


@pytest.mark.parametrize("density", [0.3, 0.05, 0.02])
@pytest.mark.parametrize(("name", "kind", "shape"), MODELS)
def test_the_ways_by_weights_are_those_that_derivatives_find(name, kind, shape, density):
    """Unit by unit: `reach` follows the operations of the export, `dead.find` the model itself."""
    model = masked(name, kind, shape, density)
    found, draft = dead.find(model, shape), trace.draft(model)
    with torch.no_grad():
        values = exported.Network(draft.program, draft.tensors).values(zeros(shape))
    sizes = {at: tuple(value.shape) if isinstance(value, torch.Tensor) else (1,) for at, value in values.items()}
    ways = reach.Ways(draft.program, draft.tensors, sizes)
    layers_of_both = found.no_way_in.keys() & ways.way_in.keys()
    assert len(layers_of_both) >= len(draft.matrices) - 1, "all but the one that gives the classes"
    for at in layers_of_both:
        assert (~found.no_way_in[at]).equal(ways.way_in[at]) and (~found.no_way_out[at]).equal(ways.way_out[at]), at


@torch.no_grad()
def test_a_dead_channel_before_a_padded_convolution_leaves_its_constant_border():
    """By hand: one channel is the constant relu(b); through padding it weighs less at the border."""
    model = nn.Sequential(layers.Conv2d(1, 2, 3, padding=1), nn.ReLU(), layers.Conv2d(2, 1, 3, padding=1), nn.Flatten())
    model[0].weight_mask[1] = 0
    model[0].bias.copy_(torch.tensor([0.1, 0.7]))
    smaller = dead_units.compact(trace.draft(model), torch.zeros(1, 1, 9, 9))
    kernel = model[2].weight[0, 1]
    by_hand = torch.nn.functional.conv2d(torch.full((1, 1, 9, 9), 0.7), kernel[None, None], padding=1)[0]
    step = next(step for step in smaller.program if step["output"] == "2")
    offset = exported.spread(smaller.tensors["2.offset"], step["repeat"]) + (smaller.tensors["2.bias"] - model[2].bias)
    torch.testing.assert_close(offset, by_hand, atol=1e-6, rtol=0)
    assert smaller.tensors["2.weight"].shape == (1, 1, 3, 3)
    assert smaller.tensors["2.offset"].shape == (1, 3, 3), "9 x 9, but only border, middle and border differ"
    data = torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert near(exported.Network(smaller.program, smaller.tensors)(data), model(data))


@torch.no_grad()
def test_a_network_cut_in_two_is_its_constant():
    model = masked("conv", "default", (3, 6, 6), 1.0)
    model[2].weight_mask.zero_()
    smaller = dead_units.compact(trace.draft(model), torch.zeros(1, 3, 6, 6))
    assert sum(value.numel() for value in smaller.tensors.values()) < 900
    assert near(exported.Network(smaller.program, smaller.tensors)(examples((3, 6, 6))), model(examples((3, 6, 6))))


def emptied(name):
    """[B, 2, 5, 5] -> [B, 3] with a stride; layers 0, 2 and 5 of which nothing is left, or that read dead channels."""
    model = nets.conv_net().eval()
    for module in model:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.bias.data.uniform_(0.2, 0.9, generator=torch.Generator().manual_seed(module.weight.numel()))
    if name == "dead input":  # the first layer keeps output 0 alone, the second reads output 1 alone
        model[0].weight_mask[1:] = 0
        model[2].weight_mask.zero_()
        model[2].weight_mask[:, 1] = 1
    else:
        for at in name.split():
            model[int(at)].weight_mask.zero_()
    return model


@pytest.mark.parametrize("name", ["0", "2", "5", "0 2", "0 2 5", "dead input"])
@torch.no_grad()
def test_a_layer_with_nothing_left_is_its_bias(name, monkeypatch):
    """In each form and each format, for images of more than one size in memory."""
    monkeypatch.setattr(form_timing, "SECONDS", 0.0005)
    model, data = emptied(name), examples((2, 5, 5))
    wanted, whole = model(data), trace.draft(model)
    for format, kind in FORMATS.items():
        draft = package.reduced(whole, format, dead_units, data[:1])
        for form in kind.forms:
            for tensors in (draft.tensors, exported.channels_last(draft.tensors)):
                network = exported.Network(draft.program, tensors, dict.fromkeys(draft.matrices, form))
                assert near(network(data), wanted) and near(network(data[:1]), wanted[:1]), (format, form)
        about, tensors = package.package(draft, format, {1: lambda made: made(data[:1]), 3: lambda made: made(data)})
        stored = safetensors.torch.load(package.content(tensors))
        assert near(exported.build(about, stored, 3)(data), wanted), format


@torch.no_grad()
def test_of_an_embedding_only_columns_with_a_way_out_are_left():
    model = masked("text-classification", "nlp", (300,), 1.0)
    model.fc.weight_mask.zero_()
    model.fc.weight_mask[1, 7] = model.fc.weight_mask[2, 40] = model.fc.weight_mask[3, 7] = 1
    smaller = dead_units.compact(trace.draft(model), examples((300,), 1))
    assert smaller.tensors["embedding.weight"].equal(model.embedding.weight[:, [7, 40]])
    assert near(exported.Network(smaller.program, smaller.tensors)(examples((300,))), model(examples((300,))))


def test_drafts_leave_the_model_as_it_was():
    model = masked("resnet20", "lottery", (3, 16, 16), 0.3)
    before = copy.deepcopy(model.state_dict())
    dead_units.compact(trace.draft(model), zeros((3, 16, 16)))
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert not model.training


class Reads(nn.Module):
    """A perceptron that multiplies by the weights of its layers itself; `last` is what it does with the last one."""

    def __init__(self, last):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(48, 6), nn.Linear(6, 6), nn.Linear(6, 10)
        self.last = last

    def forward(self, data):
        hidden = torch.relu(nn.functional.linear(data.flatten(1), self.first.weight, self.first.bias))
        return self.last(torch.relu(self.second(hidden)), self.out)


def linear(hidden, layer):
    return nn.functional.linear(hidden, weight=layer.weight)


def product(hidden, layer):
    return hidden @ layer.weight.T


@torch.no_grad()
def test_a_weight_that_forward_reads_itself_is_exported_and_the_model_left_as_it_was():
    model, data = attach(nets.drawn(0, Reads, linear)).eval(), examples((3, 4, 4))
    nets.mask_at_random(model, 0.4)
    before = set(vars(model))
    for _ in range(2):
        whole = trace.draft(model)
        for draft in (whole, dead_units.compact(whole, zeros((3, 4, 4)))):
            assert near(exported.Network(draft.program, draft.tensors, {})(data), model(data))
    model.last = product
    with pytest.raises(
        UserError, match="matmul with a tensor that forward reads itself, such as the weight of a layer"
    ):
        trace.draft(model)
    assert set(vars(model)) == before


class Doubtful(nn.Module):
    """Branches on what it is given: nothing that a list of operations can say."""

    def __init__(self, kind):
        super().__init__()
        self.fc, self.kind = layers.Linear(4, 2), kind

    def forward(self, data):
        if self.kind == "branch":
            return self.fc(data) if data.sum() > 0 else self.fc(-data)
        if self.kind == "sine":
            return self.fc(torch.sin(data))
        if self.kind == "loop":
            return sum(self.fc(data[k : k + 1]) for k in range(len(data)))
        if self.kind == "size":
            return self.fc(data) + torch.zeros(int(data.shape[0]), 2)
        if self.kind == "number":
            return self.fc(data) + 1.0
        if self.kind == "own":
            return self.fc.weight
        if self.kind == "fixed":
            return data + self.fc(torch.ones(1, 4)) @ torch.ones(2, 4)
        if self.kind == "twice":
            return self.fc(data), data
        return self.fc(self.fc.weight @ data.T)


@pytest.mark.parametrize("kind", ["branch", "sine", "weight", "loop", "size", "number", "twice", "own", "fixed"])
def test_a_model_beyond_the_operations_is_refused_in_one_line(kind):
    with pytest.raises(UserError, match="export does not know") as refused:
        trace.draft(Doubtful(kind))
    assert "\n" not in str(refused.value)


def test_another_translation_model_is_refused_in_one_line():
    with pytest.raises(UserError, match="export does not know what Doubtful is made of") as refused:
        translation.draft(Doubtful("branch"))
    assert "\n" not in str(refused.value)


def test_the_loader_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="no operation 'sine'"):
        exported.Network([{"op": "sine", "inputs": ["data"], "output": "x"}], {})
    with pytest.raises(ValueError, match="does not know"):
        exported.unpack("w", {"shape": [1], "stored": "folded"}, {})
