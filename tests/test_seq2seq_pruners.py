"""The five scores on the translation model, against the linear network written out, brute force and conservation."""

import copy
import math

import nets
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from Layers.reading import of
from Pruners import dead
from Pruners.pruners import SNIP, GraSP, Mag, Rand, SynFlow
from Utils import generator, load

WORDS = (9, 8)  # of the tiny model, source and target
CHOICES = pytest.mark.parametrize("attention", load.ATTENTION)


@pytest.fixture(autouse=True)
def double():
    """Every network here is float64, so that a wrong formula cannot hide behind rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tiny(depth=1, density=1.0):
    """A model of width 4 whose every entry can be tried out."""
    model = nets.seq2seq(*WORDS, width=4, heads=2, depth=depth, hidden=3)
    if density < 1:
        nets.mask_at_random(model, density, seed=3)
    return model


def _batches(sizes=(5,), words=WORDS):
    return nets.pair_batches(*words, sizes, seed=2)


def _score(kind, model, batches, attention="out", bias=False, seed=0):
    pruner = kind(generator.masked_parameters(model, bias=bias, attention=attention), seed=seed)
    pruner.score(model.eval(), nets.CROSS_ENTROPY, batches, nets.CPU)
    return pruner.scores


def _close(ours, truth, relative=1e-9):
    """Equal up to `relative` of the largest entry; a truth of nothing but zeros would be no test."""
    assert ours.shape == truth.shape and ours.dtype == truth.dtype
    scale = truth.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(ours, truth, rtol=0, atol=relative * scale)


# --- SynFlow -------------------------------------------------------------------------------------------------------


def _positive(model):
    """{name: |mask * parameter|} of every parameter."""
    found = {name: parameter.detach().abs() for name, parameter in model.named_parameters()}
    return found | {name: mask * found[name] for name, mask, _ in nets.masked_tensors(model)}


def _flow(weights, depth):
    """The sum of the outputs of the linear network, written out in products of non-negative matrices and vectors.

    A word is the mean row, times the square root of the width; attention is its value projection and the one after it;
    a normalisation its scale and shift; a ReLU does nothing to what is not negative.
    """
    width = weights["generator.weight"].shape[1]

    def linear(name, x):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def attend(name, x):
        value = weights[f"{name}.in_proj_weight"][2 * width :] @ x + weights[f"{name}.in_proj_bias"][2 * width :]
        return linear(f"{name}.out_proj", value)

    def norm(name, x):
        return weights[f"{name}.weight"] * x + weights[f"{name}.bias"]

    def forward(layer, x):
        return linear(f"{layer}.linear2", linear(f"{layer}.linear1", x))

    source = weights["src_tok_emb.embedding.weight"].mean(0) * math.sqrt(width)
    for k in range(depth):
        layer = f"transformer.encoder.layers.{k}"
        source = norm(f"{layer}.norm1", source + attend(f"{layer}.self_attn", source))
        source = norm(f"{layer}.norm2", source + forward(layer, source))
    memory = norm("transformer.encoder.norm", source)
    target = weights["tgt_tok_emb.embedding.weight"].mean(0) * math.sqrt(width)
    for k in range(depth):
        layer = f"transformer.decoder.layers.{k}"
        target = norm(f"{layer}.norm1", target + attend(f"{layer}.self_attn", target))
        target = norm(f"{layer}.norm2", target + attend(f"{layer}.multihead_attn", memory))
        target = norm(f"{layer}.norm3", target + forward(layer, target))
    return linear("generator", norm("transformer.decoder.norm", target)).sum()


def _slopes(weights, name, depth):
    """What one more of each entry of weights[name] adds to the flow: it is linear in every single entry."""
    whole, tensor = _flow(weights, depth), weights[name]
    slopes = torch.zeros_like(tensor)
    for k in range(tensor.numel()):
        more = tensor.clone()
        more.view(-1)[k] += 1.0
        slopes.view(-1)[k] = _flow(weights | {name: more}, depth) - whole
    return slopes


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("density", [1.0, 0.7])
def test_synflow_is_that_of_the_linear_network_written_out(depth, density):
    """Every entry; those of query and key by the slope of the value in their place. Pruned ones score zero."""
    model = tiny(depth, density)
    weights = _positive(model)
    with torch.enable_grad():
        scores = _score(SynFlow, model, _batches(), "all", bias=True)
    assert scores.keys() == {name for name, _, _ in nets.masked_tensors(model)}
    for name, mask, _ in nets.masked_tensors(model):
        slopes = _slopes(weights, name, depth)
        if "in_proj" in name:
            assert not slopes[:8].any()  # in the linear network nothing depends on them
            slopes = torch.cat([slopes[8:]] * 3)
        _close(scores[name], weights[name] * slopes)
        assert (scores[name][mask == 0] == 0).all()
    for attention in load.ATTENTION:  # what else is scored does not matter to a score
        with torch.enable_grad():
            some = _score(SynFlow, model, _batches(), attention)
        for name, score in some.items():
            torch.testing.assert_close(score, scores[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_synflow_is_conserved(density):
    """All that comes out comes through the generator; into each unit between two matrices flows what flows out of it.

    Biases are sources of flow, so that they belong to what comes in (Tanaka et al. 2020, theorems 1 and 2).
    """
    model = nets.seq2seq()
    nets.mask_at_random(model, density, seed=3)
    scores = _score(SynFlow, model, nets.pair_batches(30, 29, (3,)), "all", bias=True)
    total = _flow(_positive(model), 2)
    _close(scores["generator.weight"].sum() + scores["generator.bias"].sum(), total, 1e-12)
    checked = 0
    for name in scores:
        layer, _, last = name.rpartition(".")
        if name.endswith("linear1.weight"):
            into = scores[name].sum(1) + scores[f"{layer}.bias"]
            _close(into, scores[name.replace("linear1", "linear2")].sum(0), 1e-12)
        elif last == "in_proj_weight":
            into = (scores[name].sum(1) + scores[f"{layer}.in_proj_bias"])[32:]
            _close(into, scores[f"{layer}.out_proj.weight"].sum(0), 1e-12)
        else:
            continue
        checked += 1
    assert checked == 4 + 6


def test_synflow_through_whole_cuts_is_conserved():
    """With shifts and embeddings nothing but sources, a cut of a layer in two carries all that comes out.

    The last layer of the decoder is cut twice: at the feed-forward net and at the attention to the source, each time
    beside the residual connection, whose flow is what the rest of the network adds when its own input is scaled.
    """
    model = tiny()
    scores = _score(SynFlow, model, _batches(), "all", bias=True)
    weights = _positive(model)
    total, layer = _flow(weights, 1), "transformer.decoder.layers.0."
    # Without the feed-forward net's own way out what is left is what passes beside it, and the later sources.
    beside = _flow(weights | {f"{layer}linear2.weight": torch.zeros(4, 3), f"{layer}linear2.bias": torch.zeros(4)}, 1)
    through = scores[f"{layer}linear2.weight"].sum() + scores[f"{layer}linear2.bias"].sum()
    assert 0.01 < through / total < 0.99
    _close(through + beside, total, 1e-12)
    cut = {f"{layer}multihead_attn.out_proj.weight": torch.zeros(4, 4)}
    cut[f"{layer}multihead_attn.out_proj.bias"] = torch.zeros(4)
    through = sum(scores[name].sum() for name in cut)
    assert 0.01 < through / total < 0.99
    _close(through + _flow(weights | cut, 1), total, 1e-12)


@pytest.mark.parametrize("compression", [0.5, 1, 2])
def test_synflow_does_not_wipe_out_query_and_key(compression):
    """They stay in about the proportion of the values, whose gradients they are given, and in every attention."""
    model = nets.seq2seq(width=32, heads=4, hidden=32)
    pruner = SynFlow(generator.masked_parameters(model, attention="all"))
    pruner.score(model, nets.CROSS_ENTROPY, nets.pair_batches(30, 29, (3,)), nets.CPU)
    pruner.mask(10.0**-compression)
    thirds = torch.zeros(3)
    for name, mask, _ in nets.masked_tensors(model):
        if name.endswith("in_proj_weight"):
            thirds += torch.stack([part.sum() for part in mask.chunk(3)])
    assert thirds[2] > 20 and (thirds[:2] / thirds[2] > 1 / 2).all() and (thirds[:2] / thirds[2] < 2).all()


def test_synflow_that_overflows_single_precision_is_computed_in_double():
    """Finite and in the order that a network of float64 has; single precision where that suffices."""
    torch.set_default_dtype(torch.float32)
    for scale, kind in ((1.0, torch.float32), (1e6, torch.float64)):
        model = nets.seq2seq()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= scale
        before = copy.deepcopy(model.state_dict())
        batches = nets.pair_batches(30, 29, (3,))
        scores = _score(SynFlow, model, batches, "all")
        truth = _score(SynFlow, copy.deepcopy(model).double(), batches, "all")
        assert (max(score.max() for score in truth.values()) > torch.finfo(torch.float32).max) == (scale > 1)
        for name, score in scores.items():
            assert score.dtype == kind and score.isfinite().all()
            torch.testing.assert_close(score.double(), truth[name], rtol=1e-4, atol=0)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        pruner = SynFlow(generator.masked_parameters(model, attention="all"))
        pruner.score(model, nets.CROSS_ENTROPY, batches, nets.CPU)
        pruner.mask(0.1)
        kept, total = pruner.stats()
        assert kept == total - math.floor(0.9 * total)
        threshold = torch.cat([score.flatten() for score in truth.values()]).sort(descending=True).values[kept]
        for (mask, _), name in zip(pruner.masked_parameters, pruner.names, strict=True):
            assert (mask[truth[name] > threshold * 1.001] == 1).all()
            assert (mask[truth[name] < threshold * 0.999] == 0).all()


def test_synflow_depends_on_no_sentence_and_not_on_the_mode():
    model = nets.seq2seq()
    one = _score(SynFlow, model, nets.pair_batches(30, 29, (3,)), "all")
    other = _score(SynFlow, model, nets.pair_batches(30, 29, (5, 2), seed=9), "all")
    pruner = SynFlow(generator.masked_parameters(model, attention="all"))
    pruner.score(model.train(), nets.CROSS_ENTROPY, nets.pair_batches(30, 29, (3,)), nets.CPU)
    for name in one:
        assert torch.equal(one[name], other[name]) and torch.equal(one[name], pruner.scores[name])


# --- SNIP and GraSP ------------------------------------------------------------------------------------------------


def _chosen(model, attention, bias):
    return {pair.name: pair[1].detach() for pair in generator.masked_parameters(model, bias=bias, attention=attention)}


@CHOICES
@pytest.mark.parametrize(("sizes", "bias", "density"), [((5,), True, 1.0), ((3, 4), False, 0.7)])
def test_grasp_is_theta_times_hessian_times_gradient(attention, sizes, bias, density):
    """The Hessian of every pair of scored entries, written out; of the loss at logits / 200 summed over the batches."""
    model, batches = tiny(density=density).eval(), _batches(sizes)
    chosen = _chosen(model, attention, bias)
    counts = [parameter.numel() for parameter in chosen.values()]

    def total(flat):
        parts = (part.view_as(p) for part, p in zip(flat.split(counts), chosen.values(), strict=True))
        replaced = dict(zip(chosen, parts, strict=True))
        return sum(nets.CROSS_ENTROPY(functional_call(model, replaced, (x,)) / 200, y) for x, y in batches)

    flat = torch.cat([parameter.flatten() for parameter in chosen.values()])
    with sdpa_kernel(SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(total, flat)
        truth = (flat * (hessian @ torch.autograd.functional.jacobian(total, flat))).split(counts)
    scores = _score(GraSP, model, batches, attention, bias)
    assert scores.keys() == chosen.keys()
    for (name, parameter), expected in zip(chosen.items(), truth, strict=True):
        _close(scores[name], expected.view_as(parameter), 1e-8)


@CHOICES
@pytest.mark.parametrize("sizes", [(5,), (3, 4)])
def test_snip_is_the_loss_differentiated_by_each_mask_entry(attention, sizes):
    """|dL/dm| by central differences in the mask itself, L summed over the batches."""
    model, batches, step = tiny().eval(), _batches(sizes), 1e-5
    scores = _score(SNIP, model, batches, attention, bias=sizes == (5,))

    @torch.no_grad()
    def loss():
        return sum(nets.CROSS_ENTROPY(model(x), y).item() for x, y in batches)

    for name, mask, _ in nets.masked_tensors(model):
        if name not in scores:
            continue
        flat, truth = mask.view(-1), torch.zeros(mask.numel())
        for k in range(mask.numel()):
            flat[k] = 1 + step
            above = loss()
            flat[k] = 1 - step
            truth[k] = abs(above - loss()) / (2 * step)
            flat[k] = 1
        _close(scores[name], truth.view_as(mask), 1e-7)


# --- all five ------------------------------------------------------------------------------------------------------


@CHOICES
@pytest.mark.parametrize("kind", [Rand, Mag, SNIP, GraSP, SynFlow])
@pytest.mark.parametrize("training", [True, False])
def test_every_pruner_scores_and_prunes_and_leaves_no_trace(kind, attention, training):
    """In float32, as in a run; with a sentence longer than any before."""
    torch.set_default_dtype(torch.float32)
    model, draw = nets.seq2seq(depth=1).train(training), torch.Generator().manual_seed(0)
    long = nets.pairs([torch.randint(4, 29, (150,), generator=draw).tolist()], [[5, 6]])
    batches = [*nets.pair_batches(30, 29, (4, 3)), long]
    model.generator.weight.grad = gradient = torch.ones(29, 16)
    before, state = copy.deepcopy(dict([*model.named_parameters(), *model.named_buffers()])), torch.get_rng_state()
    pruner = kind(generator.masked_parameters(model, attention=attention))
    pruner.score(model, nets.CROSS_ENTROPY, batches, nets.CPU)
    assert torch.equal(torch.get_rng_state(), state)
    after = dict(model.named_parameters()) | {k: v for k, v in model.named_buffers() if not k.endswith("table")}
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert all(module.training is training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters()) and model.generator.weight.grad is gradient
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["generator.weight"]
    assert not any(of(module).flow for module in model.modules())
    pruner.mask(0.1)
    kept, total = pruner.stats()
    assert total == sum(p.numel() for p in _chosen(model, attention, False).values())
    assert kept == total - math.floor(0.9 * total)
    pruner.apply_mask()
    for mask, parameter in pruner.masked_parameters:
        assert not parameter[mask == 0].any()
    assert model(batches[0][0]).isfinite().all()


# --- what is dead --------------------------------------------------------------------------------------------------


def _report(model):
    return dead.find(model, (30,)).report()


def test_nothing_is_dead_in_a_whole_model():
    """Every layer is reported but the one that gives the words; of an attention the Linear after the heads."""
    model = nets.seq2seq()
    report = _report(model)
    assert report["tensors"] == [] and report["classes"] == {"total": 29, "alive": list(range(29))}
    names = {name.rpartition(".")[0] for name, _ in model.named_parameters()} - {"generator"}
    names -= {name for name in names if name.endswith("attn")}
    assert set(report["units"]) == names
    for name, found in report["units"].items():
        wanted = 12 if name.endswith("linear1") else 16
        assert found == {"units": wanted, "no_way_in": 0, "no_way_out": 0, "dead": 0}, name


def test_only_the_words_that_the_generator_reaches_are_alive():
    """A bias reaches nothing. Where the generator's column is gone, so is the unit's way out."""
    model = nets.seq2seq()
    model.generator.weight_mask.zero_()
    model.generator.weight_mask[[2, 11, 28], 5:] = 1
    report = _report(model)
    assert report["classes"] == {"total": 29, "alive": [2, 11, 28]}
    assert report["units"]["transformer.decoder.norm"]["no_way_out"] == 5
    model.generator.weight_mask.zero_()
    report = _report(model)
    assert report["tensors"] == ["generator.weight"] and report["classes"]["alive"] == []
    assert all(found["dead"] == found["units"] == found["no_way_out"] for found in report["units"].values())
    assert all(found["no_way_in"] == 0 for found in report["units"].values())


def test_a_feed_forward_net_that_is_gone_leaves_the_residual_connection():
    for first, second in (("linear1", "linear2"), ("linear2", "linear1")):
        model = nets.seq2seq()
        layer = "transformer.encoder.layers.1"
        model.get_submodule(layer).get_submodule(first).weight_mask.zero_()
        report = _report(model)
        assert report["tensors"] == [f"{layer}.{first}.weight"] and len(report["classes"]["alive"]) == 29
        without = "no_way_in" if first == "linear1" else "no_way_out"
        for name, found in report["units"].items():
            expected = found["units"] if name in (f"{layer}.{first}", f"{layer}.{second}") else 0
            if first == "linear2" and name == f"{layer}.linear2":
                assert found["no_way_in"] == found["dead"] == 16 and found["no_way_out"] == 0
            elif first == "linear2" and name == f"{layer}.linear1":
                assert found["no_way_out"] == found["dead"] == 12 and found["no_way_in"] == 0
            else:
                assert found["dead"] == found[without] == expected, name


def test_without_attention_to_the_source_the_encoder_is_dead():
    """By the mask of either projection of the values; those of query and key open and close no way."""
    for cut in ("out_proj.weight", "in_proj_weight"):
        model = nets.seq2seq()
        for layer in model.transformer.decoder.layers:
            mask = layer.multihead_attn.get_buffer(f"{cut}_mask")
            mask[-16:] = 0
        report = _report(model)
        assert len(report["classes"]["alive"]) == 29
        for name, found in report["units"].items():
            source = name.startswith(("transformer.encoder", "src_tok_emb"))
            attended = name.endswith("multihead_attn.out_proj")
            assert found["no_way_out"] == (found["units"] if source else 0), name
            assert found["no_way_in"] == (found["units"] if attended else 0), name
    model = nets.seq2seq()
    for module in model.modules():
        if hasattr(module, "in_proj_weight_mask"):
            module.in_proj_weight_mask[:32] = 0
    report = _report(model)
    assert all(found["dead"] == 0 for found in report["units"].values())


@pytest.mark.parametrize("seed", range(4))
def test_dead_units_of_random_masks_by_counting(seed):
    """With the generator whole every position of the residual stream leads on, so a unit's own weights decide."""
    model = nets.seq2seq()
    nets.mask_at_random(model, 0.06, seed)
    model.generator.weight_mask.fill_(1)
    report, dead_units = _report(model), 0
    assert report["classes"]["alive"] == list(range(29))
    for name, found in report["units"].items():
        layer = name.rpartition(".")[0]
        if name.endswith("linear1"):
            no_in = model.get_buffer(f"{name}.weight_mask").sum(1) == 0
            no_out = model.get_buffer(f"{layer}.linear2.weight_mask").sum(0) == 0
            if layer.startswith("transformer.decoder"):
                assert found["no_way_out"] == no_out.sum() and found["dead"] == (no_in | no_out).sum()
            assert found["no_way_in"] == no_in.sum()
            dead_units += found["dead"]
        elif name.endswith("linear2"):
            reached = model.get_buffer(f"{layer}.linear1.weight_mask").sum(1) > 0
            ways = model.get_buffer(f"{name}.weight_mask") @ reached.to(torch.float64)
            assert found["no_way_in"] == (ways == 0).sum()
        elif name.endswith("out_proj"):
            reached = model.get_buffer(f"{layer}.in_proj_weight_mask")[32:].sum(1) > 0
            ways = model.get_buffer(f"{name}.weight_mask") @ reached.to(torch.float64)
            assert found["no_way_in"] == (ways == 0).sum()
        else:
            assert found["no_way_in"] == 0
    assert dead_units > 10


def test_the_accuracy_that_is_left_counts_the_words_out_of_reach():
    """Two of three words reached, the third told by its bias."""
    model = nets.seq2seq()
    model.generator.weight_mask.zero_()
    model.generator.weight_mask[[4, 5]] = 1
    counts = [0] * 29
    counts[4], counts[5], counts[6], counts[7] = 10, 20, 40, 30
    alive = _report(model)["classes"]["alive"]
    assert dead.accuracy_cap(alive, counts) == 70.0


def test_a_model_that_is_scored_has_its_layers_read_as_they_are():
    """After a pruner has scored, an output is again that of the softmax attention."""
    model, ((data, _),) = nets.seq2seq().eval(), nets.pair_batches(30, 29, (3,))
    expected = model(data)
    for kind in (SNIP, GraSP, SynFlow):
        _score(kind, model, nets.pair_batches(30, 29, (3,)), "all")
        assert torch.equal(model(data), expected)

    class Broken(RuntimeError):
        pass

    def fail(*_):
        raise Broken

    hook = model.generator.register_forward_hook(fail)
    for act in (lambda: _score(SynFlow, model, nets.pair_batches(30, 29, (3,))), lambda: _report(model)):
        with pytest.raises(Broken):
            act()
    hook.remove()
    assert torch.equal(model(data), expected) and isinstance(model.generator, nn.Linear)
