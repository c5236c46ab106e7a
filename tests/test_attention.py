"""Masked attention and Embedding against the torch.nn layers that they stand for, and linear forms."""

import itertools

import nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from Layers.attention import MultiheadAttention
from Layers.embedding import Embedding
from Layers.flow import linear_flow
from Layers.reading import PLAIN
from Utils import generator

WIDTH, HEADS = 12, 3
LENGTHS = torch.tensor([5, 2, 4, 1])  # of the sentences attended to, padded to five


def _pair(dropout=0.0, masked=False, seed=0):
    """(ours, torch's) with the same weights and biases of no special value; torch's multiplied by our masks."""

    def make():
        ours, theirs = MultiheadAttention(WIDTH, HEADS, dropout), nn.MultiheadAttention(WIDTH, HEADS, dropout)
        theirs.batch_first = True
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.normal_(std=0.5)
        return ours, theirs

    ours, theirs = nets.drawn(seed, make)
    if masked:
        nets.mask_at_random(ours, 0.5, seed)
    theirs.load_state_dict({name: mask * parameter for name, mask, parameter in nets.masked_tensors(ours)})
    return ours, theirs


def _data(kind, seed=1):
    """(query [4, T, 12], memory [4, 5, 12]): the same tensor for "self"."""
    draw = torch.Generator().manual_seed(seed)
    query, memory = (torch.randn(4, length, WIDTH, generator=draw, requires_grad=True) for length in (3, 5))
    return (memory, memory) if kind == "self" else (query, memory)


def _view(which, queries):
    """Where to look, as (our keywords, torch's): everywhere, not at the padding, or not ahead."""
    if which == "padding":
        ahead = torch.arange(5) >= LENGTHS.unsqueeze(1)
        return {"mask": ~ahead[:, None, None, :]}, {"key_padding_mask": ahead}
    if which == "causal":
        return {"causal": True}, {"attn_mask": torch.ones(queries, 5, dtype=torch.bool).triu(1)}
    return {}, {}


def _gradients(output, tensors):
    coefficients = torch.randn(output.shape, generator=torch.Generator().manual_seed(8))
    return torch.autograd.grad((output * coefficients).sum(), tensors)


def _close(ours, theirs, tolerance=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["self", "cross"])
@pytest.mark.parametrize("where", ["all", "padding", "causal"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_with_the_masked_weights(kind, where, training, masked):
    """Outputs with and without autograd, and the gradients: of what is masked, zero."""
    (ours, theirs), (query, memory) = _pair(masked=masked), _data(kind)
    ours.train(training), theirs.train(training)
    mine, its = _view(where, query.shape[1])
    truth, _ = theirs(query, memory, memory, need_weights=False, **its)
    output = ours(query, memory, **mine)
    _close(output, truth)
    with torch.no_grad():
        _close(ours(query, memory, **mine), truth)
    inputs = [memory] if kind == "self" else [query, memory]
    names = dict(ours.named_parameters())
    found = _gradients(output, [*inputs, *names.values()])
    expected = _gradients(truth, [*inputs, *(theirs.get_parameter(name) for name in names)])
    for k in range(len(inputs)):
        _close(found[k], expected[k], 1e-5)
    for name, a, b in zip(names, found[len(inputs) :], expected[len(inputs) :], strict=True):
        mask = ours.get_buffer(f"{name}_mask")
        _close(a, mask * b, 1e-5)
        assert (a[mask == 0] == 0).all() and (mask == 0).any() == masked


def test_what_is_out_of_sight_does_not_matter():
    """Padding, and in causal attention all that comes later, may hold anything finite."""
    (ours, _), (query, memory) = _pair(), _data("cross")
    for where in ("padding", "causal"):
        mine, its = _view(where, 3)
        hidden = its.get("key_padding_mask")
        hidden = torch.arange(5).expand(4, 5) >= 3 if hidden is None else hidden  # the last query is the third position
        other = memory.detach().clone()
        other[hidden] = 100.0
        _close(ours(query, other, **mine), ours(query, memory, **mine))
        assert not torch.allclose(ours(query, other), ours(query, memory), atol=0.1)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_dropout_is_of_the_attention_weights_in_train_mode_alone(kind):
    """The same draws as torch's; in eval mode none."""
    (ours, theirs), (query, memory) = _pair(dropout=0.4), _data(kind)
    outputs = []
    for layer in (ours, theirs):
        torch.manual_seed(3)
        found = layer(query, memory) if layer is ours else layer(query, memory, memory, need_weights=False)[0]
        outputs.append(found)
    _close(*outputs)
    assert not torch.allclose(ours(query, memory), outputs[0], atol=1e-2)
    calm = ours.eval()(query, memory)
    assert torch.equal(calm, ours(query, memory)) and not torch.allclose(calm, outputs[0], atol=1e-2)


@pytest.mark.parametrize("masked", [False, True])
def test_project_gives_the_parts_asked_for_head_by_head(masked):
    """By the definition: head h of a part is features h d to (h + 1) d of that part's own third of the weight."""
    (ours, theirs), (_, memory) = _pair(masked=masked), _data("self")
    size = WIDTH // HEADS
    thirds = zip(theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True)
    truth = {}
    for name, (weight, bias) in zip("qkv", thirds, strict=True):
        flat = memory @ weight.T + bias
        truth[name] = torch.stack([flat[..., h * size : (h + 1) * size] for h in range(HEADS)], dim=1)
    for which in ("q", "k", "v", "qk", "kv", "qkv"):
        parts = ours.project(memory, which)
        assert len(parts) == len(which)
        for name, part in zip(which, parts, strict=True):
            assert part.shape == (4, HEADS, 5, size)
            _close(part, truth[name])


def test_attention_can_be_taken_in_two_steps():
    """`attend` on what `project` gives is `forward`: what decoding with a cache rests on."""
    (ours, _), (query, memory) = _pair(masked=True), _data("cross")
    mask = _view("padding", 3)[0]["mask"]
    found = ours.attend(*ours.project(query, "q"), *ours.project(memory, "kv"), mask=mask)
    _close(found, ours(query, memory, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_a_single_position_is_that_of_many(masked):
    """`attend_once`, whose keys and values have the positions first, beside `attend`; and there is no dropout in it."""
    (ours, theirs), (_, memory) = _pair(dropout=0.5, masked=masked), _data("cross")
    query = torch.randn(4, 1, WIDTH, generator=torch.Generator().manual_seed(4))
    parts = [heads.permute(2, 0, 1, 3) for heads in ours.project(memory, "kv")]
    (single,) = ours.project(query, "q")
    for which in ("all", "padding"):
        mine, its = _view(which, 1)
        mask = mine["mask"][:, 0, 0, :].T.unsqueeze(2) if mine else None
        found = ours.attend_once(single.squeeze(2), *parts, mask)
        _close(found, theirs.eval()(query, memory, memory, need_weights=False, **its)[0][:, 0])
        _close(found, ours.eval()(query, memory, **mine)[:, 0])
        ours.train()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="10 features cannot be shared out among 3 heads"):
        MultiheadAttention(10, 3)


def test_parameters_masks_and_initial_values_are_torchs():
    """The names; Xavier for the three projections as one matrix, biases zero; each draw another, masks kept."""
    ours = nets.drawn(0, MultiheadAttention, 64, 4)
    theirs = nn.MultiheadAttention(64, 4)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.named_parameters()} == shapes
    state = {name: value.shape for name, value in ours.state_dict().items()}
    assert state == shapes | {f"{name}_mask": shape for name, shape in shapes.items()}
    assert all((mask == 1).all() for _, mask, _ in nets.masked_tensors(ours))
    ours.in_proj_weight_mask[0] = 0
    bound, drawn = (6 / (64 + 3 * 64)) ** 0.5, []
    for _ in range(2):
        assert 0.99 * bound < ours.in_proj_weight.abs().max() <= bound
        assert ours.in_proj_weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not ours.in_proj_bias.any() and not ours.out_proj.bias.any()
        drawn.append(ours.in_proj_weight.detach().clone())
        with torch.no_grad():
            ours.in_proj_bias += 1
            ours.out_proj.bias += 1
        nets.drawn(1, ours.reset_parameters)
    assert not torch.equal(*drawn)
    assert not ours.in_proj_weight_mask[0].any() and ours.in_proj_weight_mask[1:].all()


def test_an_attention_is_prunable_as_asked():
    """Its last Linear is told from other Linears, whatever holds it."""
    layer = nn.Sequential(MultiheadAttention(4, 2), nn.Linear(4, 4))
    wanted = {"none": [], "out": ["0.out_proj.weight"], "all": ["0.in_proj_weight", "0.out_proj.weight"]}
    for choice, names in wanted.items():
        assert [pair.name for pair in generator.masked_parameters(layer, attention=choice)] == names
        with_bias = [name.replace("weight", kind) for name in names for kind in ("weight", "bias")]
        assert [pair.name for pair in generator.masked_parameters(layer, bias=True, attention=choice)] == with_bias


# --- linear flow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["self", "cross"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("autograd", [True, False])
def test_in_a_linear_flow_attention_is_the_value_path(kind, masked, autograd):
    """out_proj(value(memory)), bit for bit; where to look does not matter there, nor does the query."""
    (ours, _), (query, memory) = _pair(dropout=0.5, masked=masked), _data(kind)
    weights = [mask * parameter for _, mask, parameter in nets.masked_tensors(ours)]
    named = dict(zip([name for name, _, _ in nets.masked_tensors(ours)], weights, strict=True))
    with torch.set_grad_enabled(autograd), linear_flow(ours):
        value = F.linear(memory, named["in_proj_weight"][2 * WIDTH :], named["in_proj_bias"][2 * WIDTH :])
        truth = F.linear(value, named["out_proj.weight"], named["out_proj.bias"])
        assert torch.equal(ours(query, memory), truth)
        assert torch.equal(ours(query, memory, **_view("padding", 3)[0]), truth)


@pytest.mark.parametrize("kind", ["self", "cross"])
@pytest.mark.parametrize("masked", [False, True])
def test_query_and_key_get_the_gradient_of_a_value_in_their_place_and_disturb_no_other(kind, masked):
    """By the chain rule in matrices, of every parameter and of the memory. The query gets none."""
    (ours, theirs), (query, memory) = _pair(masked=masked), _data(kind)
    with linear_flow(ours):
        output = ours(query, memory)
        names = [name for name, _, _ in nets.masked_tensors(ours)]
        found = dict(zip(names, _gradients(output, [ours.get_parameter(name) for name in names]), strict=True))
        (to_memory,) = _gradients(ours(query, memory), [memory])
        if kind == "cross":
            with pytest.raises(RuntimeError, match="not have been used"):
                _gradients(ours(query, memory), [query])
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(8)).flatten(0, 1)
    rows = memory.detach().flatten(0, 1)
    weight, bias = (theirs.state_dict()[name][2 * WIDTH :] for name in ("in_proj_weight", "in_proj_bias"))
    into = upstream @ theirs.out_proj.weight.detach()  # what comes back to the heads
    truth = {
        "in_proj_weight": torch.cat([into.T @ rows] * 3),
        "in_proj_bias": torch.cat([into.sum(0)] * 3),
        "out_proj.weight": upstream.T @ (rows @ weight.T + bias),
        "out_proj.bias": upstream.sum(0),
    }
    for name, mask, _ in nets.masked_tensors(ours):
        _close(found[name], mask * truth[name], 1e-5)
    _close(to_memory.flatten(0, 1), into @ weight, 1e-5)


def test_a_linear_flow_is_switched_off_again_also_by_an_error():
    (ours, _), (query, memory) = _pair(), _data("cross")
    before = ours(query, memory)
    with linear_flow(ours):
        assert not torch.equal(ours(query, memory), before)
    assert torch.equal(ours(query, memory), before)
    with pytest.raises(KeyError), linear_flow(ours):
        raise KeyError
    assert torch.equal(ours(query, memory), before) and ours.reading is PLAIN


def test_in_a_linear_flow_layer_norm_is_its_scale_and_shift():
    ours = nn.LayerNorm(6)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(generator=draw)
    data = 3 + 2 * torch.randn(2, 5, 6, generator=draw)
    expected = ours(data)
    with linear_flow(nn.Sequential(ours)):
        found = ours(data)
    scale, shift = ours.weight.tolist(), ours.bias.tolist()
    for b, position, k in itertools.product(range(2), range(5), range(6)):
        wanted = data[b, position, k].item() * scale[k] + shift[k]
        assert found[b, position, k].item() == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(ours(data), expected)


def test_embedding_is_torchs_and_in_a_linear_flow_its_mean_row():
    """Whatever the ids: at every position the mean over the whole weight, which every row has an equal share in."""
    ours, theirs = nets.drawn(0, Embedding, 7, 4), nn.Embedding(7, 4)
    theirs.load_state_dict(ours.state_dict())
    for ids in (torch.tensor([[1, 6, 1], [0, 0, 3]]), torch.tensor([5]), torch.zeros(0, 3, dtype=torch.int64)):
        found, truth = ours(ids), theirs(ids)
        assert torch.equal(found, truth)
        if ids.numel():
            assert torch.equal(*(_gradients(f, [layer.weight])[0] for f, layer in ((found, ours), (truth, theirs))))
        with linear_flow(ours):
            flow = ours(ids)
            assert flow.shape == found.shape
            _close(flow, torch.tensor([sum(c) / 7 for c in zip(*ours.weight.tolist(), strict=True)]).expand_as(flow))
            if ids.numel():
                (gradient,) = torch.autograd.grad(flow.sum(), ours.weight)
                _close(gradient, torch.full((7, 4), ids.numel() / 7))
    assert list(ours.state_dict()) == ["weight"]


def test_a_mask_and_causality_hold_together():
    """As torch.nn.MultiheadAttention has it with both masks."""
    theirs = nets.drawn(0, torch.nn.MultiheadAttention, 8, 2, batch_first=True)
    ours = MultiheadAttention(8, 2)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    data = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected, _ = theirs(data, data, data, key_padding_mask=padding, attn_mask=ahead, need_weights=False)
    found = ours(data, data, ~padding[:, None, None, :], causal=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
