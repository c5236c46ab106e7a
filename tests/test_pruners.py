"""The five scores against algebra and brute force, and that scoring leaves no trace."""

import copy
import itertools
import math

import nets
import pytest
import torch
from torch import nn
from torch.func import functional_call

from Layers import layers
from Pruners import pruners
from Pruners.pruners import SNIP, GraSP, Mag, Pruner, Rand, SynFlow
from Utils import generator, load

ALL = [Rand, Mag, SNIP, GraSP, SynFlow]


@pytest.fixture(autouse=True)
def double():
    """Every network here is float64, so that a wrong formula cannot hide behind rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _close(ours, truth, relative=1e-9):
    """Equal up to `relative` of the largest entry; a truth of nothing but zeros would be no test."""
    assert ours.shape == truth.shape and ours.dtype == truth.dtype
    scale = truth.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(ours, truth, rtol=0, atol=relative * scale)


def _score(kind, model, batches, loss=nets.CROSS_ENTROPY, seed=0, **flags):
    pruner = kind(generator.masked_parameters(model, **flags), seed=seed)
    pruner.score(model, loss, batches, nets.CPU)
    return pruner.scores


# name -> (model, batches of these sizes)
SUBJECTS = {
    "tanh": (lambda: nets.mlp(4, 5, 3, 3, activation=nn.Tanh), lambda sizes: nets.image_batches((4,), 3, sizes)),
    "relu": (lambda: nets.mlp(4, 6, 5, 3), lambda sizes: nets.image_batches((4,), 3, sizes)),
    "conv": (nets.conv_net, lambda sizes: nets.image_batches((2, 5, 5), 3, sizes)),
    "text": (nets.text_model, lambda sizes: nets.text_batches(30, 3, sizes)),
}
subjects = pytest.mark.parametrize("subject", SUBJECTS)


# --- GraSP ---------------------------------------------------------------------------------------------------------


def _grasp_by_hessian(model, batches, bias):
    """{name: theta * (H g)} with the whole Hessian written out."""
    chosen = {name: p.detach() for _, p, name in _triples(model, bias)}
    sizes = [p.numel() for p in chosen.values()]

    def total(flat):
        parts = (part.view_as(p) for part, p in zip(flat.split(sizes), chosen.values(), strict=True))
        replaced = dict(zip(chosen, parts, strict=True))
        return sum(nets.CROSS_ENTROPY(functional_call(model, replaced, (x,)) / 200, y) for x, y in batches)

    flat = torch.cat([p.flatten() for p in chosen.values()])
    hessian = torch.autograd.functional.hessian(total, flat)
    gradient = torch.autograd.functional.jacobian(total, flat)
    scores = (flat * (hessian @ gradient)).split(sizes)
    return {name: score.view_as(p) for (name, p), score in zip(chosen.items(), scores, strict=True)}


def _triples(model, bias):
    return [(mask, p, name) for name, mask, p in nets.masked_tensors(model) if bias or not name.endswith("bias")]


@subjects
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (5, 2, 4)])
@pytest.mark.parametrize("density", [1.0, 0.6])
def test_grasp_is_theta_times_hessian_times_gradient(subject, bias, sizes, density):
    """Of the loss at logits / 200 summed over the batches, in both factors, of the masked parameters only."""
    make, batches = SUBJECTS[subject]
    model, batches = make(), batches(sizes)
    if density < 1:
        nets.mask_at_random(model, density, seed=2)
    scores, truth = _score(GraSP, model, batches, bias=bias), _grasp_by_hessian(model, batches, bias)
    assert scores.keys() == truth.keys()
    for name in truth:
        _close(scores[name], truth[name])
    for name, mask, _ in nets.masked_tensors(model):
        if name in scores:
            assert (scores[name][mask == 0] == 0).all()


@subjects
def test_grasp_excludes_the_cross_terms_to_parameters_without_score(subject):
    """With the biases among the scored, the weights' scores are other ones: their H g has more terms."""
    make, batches = SUBJECTS[subject]
    model, batches = make(), batches((7,))
    without, with_bias = _score(GraSP, model, batches), _score(GraSP, model, batches, bias=True)
    for name in without:
        assert not torch.allclose(without[name], with_bias[name], rtol=1e-3, atol=0)


def test_grasp_of_several_batches_is_not_the_sum_of_the_scores_of_each():
    """The gradient of the sum meets the Hessian of the sum, cross terms between batches included."""
    model, batches = nets.mlp(4, 5, 3), nets.image_batches((4,), 3, (5, 2, 4))
    together = _score(GraSP, model, batches)
    each = [_score(GraSP, model, [batch]) for batch in batches]
    for name in together:
        assert not torch.allclose(together[name], sum(scores[name] for scores in each), rtol=1e-2, atol=0)


@pytest.mark.parametrize(("sizes", "calls"), [((7,), 1), ((5, 2), 4), ((5, 2, 4), 6)])
def test_grasp_calls_the_model_once_for_one_batch_and_twice_a_batch_for_several(sizes, calls):
    model, seen = nets.mlp(4, 5, 3), []
    model.register_forward_hook(lambda *_: seen.append(1))
    _score(GraSP, model, nets.image_batches((4,), 3, sizes))
    assert len(seen) == calls


def test_grasp_sees_the_same_batches_in_both_factors_of_a_loader_that_shuffles():
    """A loader whose every pass has other batches is read once."""
    batches = nets.image_batches((4,), 3, (5, 5, 5, 5))
    passes = itertools.count()

    class Other:
        def __iter__(self):
            first = 2 * next(passes)
            return iter(batches[first : first + 2])

    model = nets.mlp(4, 5, 3)
    scores = _score(GraSP, model, Other())
    for name, truth in _grasp_by_hessian(model, batches[:2], bias=False).items():
        _close(scores[name], truth)


@pytest.mark.parametrize("kind", [SNIP, GraSP])
@pytest.mark.parametrize("sizes", [(6,), (3, 4)])
def test_no_gradient_of_an_embedding_is_computed(kind, sizes):
    """It would cost as much as the rest: while scoring, only the scored parameters require gradients."""
    model = nets.text_model()
    flags, reached = [], []

    def look(module, inputs, output):
        flags.append({name: p.requires_grad for name, p in model.named_parameters()})
        reached.append(output.requires_grad)

    model.embedding.register_forward_hook(look)
    _score(kind, model, nets.text_batches(30, 3, sizes))
    assert flags and all(f == {"embedding.weight": False, "fc.weight": True, "fc.bias": False} for f in flags)
    assert not any(reached)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


# --- SNIP ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _loss_at(model, batches):
    return sum(nets.CROSS_ENTROPY(model(x), y).item() for x, y in batches)


@subjects
@pytest.mark.parametrize("sizes", [(7,), (5, 2, 4)])
def test_snip_is_the_loss_differentiated_by_each_mask_entry(subject, sizes):
    """|dL/dm| by central differences in the mask itself, L summed over the batches."""
    make, batches = SUBJECTS[subject]
    model, batches = make(), batches(sizes)
    scores, step = _score(SNIP, model, batches, bias=True), 1e-5
    assert scores.keys() == {name for name, _, _ in nets.masked_tensors(model)}
    for name, mask, _ in nets.masked_tensors(model):
        flat, truth = mask.view(-1), torch.zeros(mask.numel())
        for k in range(mask.numel()):
            flat[k] = 1 + step
            above = _loss_at(model, batches)
            flat[k] = 1 - step
            truth[k] = abs(above - _loss_at(model, batches)) / (2 * step)
            flat[k] = 1
        _close(scores[name], truth.view_as(mask), 1e-7)


@subjects
def test_snip_of_a_pruned_weight_is_zero_and_of_the_rest_that_of_the_pruned_network(subject):
    make, batches = SUBJECTS[subject]
    model, batches = make(), batches((6,))
    nets.mask_at_random(model, 0.5, seed=1)
    scores = _score(SNIP, model, batches, bias=True)
    # A network that has no masks but zeros for weights: its gradients, where they count, are the same.
    bare = copy.deepcopy(model)
    for _, mask, parameter in nets.masked_tensors(bare):
        parameter.data *= mask
        mask.fill_(1)
    data, target = batches[0]
    nets.CROSS_ENTROPY(bare(data), target).backward()
    for name, mask, _ in nets.masked_tensors(model):
        parameter = bare.get_parameter(name)
        _close(scores[name], (mask * parameter * parameter.grad).abs().detach())
        assert (scores[name][mask == 0] == 0).all()


@pytest.mark.parametrize("name", load.PRUNERS)
def test_scores_do_not_depend_on_whether_gradients_are_on(name):
    """Under no_grad a score would be zero everywhere, and the masks drawn by lot."""
    model, batches = nets.mixed(0.0), nets.image_batches((1, 6, 6), 3, (6,))
    wanted = _score(load.pruner(name), model, batches)
    with torch.no_grad():
        found = _score(load.pruner(name), model, batches)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_snip_takes_the_magnitude_after_the_sum_over_batches():
    """Batches that pull a weight in opposite directions cancel, as in one large batch."""
    model = nets.mlp(4, 5, 3)
    ((data, target),) = nets.image_batches((4,), 3, (8,))
    halves = [(data[:4], target[:4]), (data[4:], target[4:])]
    whole, halved = _score(SNIP, model, [(data, target)]), _score(SNIP, model, halves)
    for name in whole:
        _close(halved[name], 2 * whole[name])  # the mean of eight is half the sum of two means of four


# --- SynFlow -------------------------------------------------------------------------------------------------------


def _flow_by_paths(model):
    """{name: sum over all paths through that entry of the product of magnitudes}, and the sum over all paths.

    A path begins at an input, or at a bias, and passes one kept weight a layer to an output.
    """
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, layers.Linear)]
    weights, biases, flow = [], [], {}
    for name, module in linears:
        weights.append((module.weight_mask * module.weight).abs().tolist())
        flow[f"{name}.weight"] = torch.zeros_like(module.weight)
        biases.append(None)
        if module.bias is not None:
            biases[-1] = (module.bias_mask * module.bias).abs().tolist()
            flow[f"{name}.bias"] = torch.zeros_like(module.bias)
    widths = [linears[0][1].in_features, *(module.out_features for _, module in linears)]
    everything = 0.0
    for first in range(len(widths)):  # the layer of units at which the path begins; 0 are the inputs
        if first > 0 and biases[first - 1] is None:
            continue
        for units in itertools.product(*map(range, widths[first:])):
            product = 1.0 if first == 0 else biases[first - 1][units[0]]
            for k in range(len(units) - 1):
                product *= weights[first + k][units[k + 1]][units[k]]
            everything += product
            if first > 0:
                flow[f"{linears[first - 1][0]}.bias"][units[0]] += product
            for k in range(len(units) - 1):
                flow[f"{linears[first + k][0]}.weight"][units[k + 1], units[k]] += product
    return flow, everything


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("density", [1.0, 0.7])
def test_synflow_is_the_sum_over_all_paths(bias, density):
    model = nets.mlp(3, 4, 2, 3, bias=bias, seed=5)
    nets.mask_at_random(model, density, seed=3)
    scores = _score(SynFlow, model, nets.image_batches((3,), 3, (2,)), bias=True)
    truth, _ = _flow_by_paths(model)
    assert scores.keys() == truth.keys()
    for name in truth:
        _close(scores[name], truth[name].detach())
    # Without --prune-bias the weights' scores are the same, biases still carry flow.
    for name, score in _score(SynFlow, model, nets.image_batches((3,), 3, (2,))).items():
        torch.testing.assert_close(score, scores[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("density", [1.0, 0.7])
@pytest.mark.parametrize("make", [lambda: nets.mlp(4, 6, 5, 3, bias=False), lambda: nets.conv_net(bias=False)])
def test_synflow_of_every_layer_sums_to_the_output(make, density):
    """Layer-wise conservation (Tanaka et al. 2020, theorem 2) of a network without biases."""
    model = make()
    nets.mask_at_random(model, density, seed=3)
    shape = (4,) if isinstance(model[0], layers.Linear) else (2, 5, 5)
    scores = _score(SynFlow, model, nets.image_batches(shape, 3, (2,)))
    positive = copy.deepcopy(model)
    for parameter in positive.parameters():
        parameter.data.abs_()
    output = positive(torch.ones(1, *shape)).sum().item()
    assert output > 0 and len(scores) == 3
    for score in scores.values():
        assert score.sum().item() == pytest.approx(output, rel=1e-12)
        assert (score >= 0).all()


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_synflow_into_a_unit_is_synflow_out_of_it(density):
    """Neuron-wise conservation (theorem 1), of the hidden units of an MLP without biases."""
    model = nets.mlp(4, 6, 5, 3, bias=False)
    nets.mask_at_random(model, density, seed=3)
    scores = list(_score(SynFlow, model, nets.image_batches((4,), 3, (2,))).values())
    for before, after in itertools.pairwise(scores):
        _close(before.sum(1), after.sum(0), 1e-12)


def test_synflow_into_a_channel_is_synflow_out_of_it():
    model = nets.conv_net(bias=False)
    scores = list(_score(SynFlow, model, nets.image_batches((2, 5, 5), 3, (2,))).values())
    _close(scores[0].sum((1, 2, 3)), scores[1].sum((0, 2, 3)), 1e-12)


@pytest.mark.parametrize("make", [nets.conv_net, nets.mixed])
def test_synflow_is_what_the_output_loses_without_the_weight(make):
    """The flow is linear in each entry of |theta|, so a score is the output less the output with that entry zero.

    Holds for convolutions, residual layers and normalisation (running mean taken as zero) with all their biases.
    """
    model = make()
    shape = (1, 6, 6) if isinstance(model, nets.Mixed) else (2, 5, 5)
    nets.mask_at_random(model, 0.8, seed=3)
    scores = _score(SynFlow, model, nets.image_batches(shape, 3, (2,)), bias=True, batchnorm=True, residual=True)
    positive = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
        for name, buffer in positive.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
        ones = torch.ones(1, *shape)
        whole = positive(ones).sum()
        assert scores.keys() == {name for name, _, _ in nets.masked_tensors(model)}
        for name, mask, _ in nets.masked_tensors(positive):
            truth, flat, before = torch.zeros(mask.numel()), mask.view(-1), mask.flatten().clone()
            for k in range(mask.numel()):
                flat[k] = 0
                truth[k] = whole - positive(ones).sum()
                flat[k] = before[k]
            _close(scores[name], truth.view_as(mask), 1e-9)


def test_synflow_feeds_a_text_model_the_mean_magnitude_of_each_embedding_entry():
    model = nets.text_model(vocabulary=30, classes=3)
    scores = _score(SynFlow, model, nets.text_batches(30, 3, (4, 2)), bias=True)
    entering = model.embedding.weight.detach().abs().mean(0)
    _close(scores["fc.weight"], model.fc.weight.detach().abs() * entering)
    _close(scores["fc.bias"], model.fc.bias.detach().abs())


@subjects
def test_synflow_depends_on_no_example(subject):
    """Of the data only the shape counts."""
    make, batches = SUBJECTS[subject]
    model = make()
    one, other = _score(SynFlow, model, batches((3,))), _score(SynFlow, model, batches((5, 4))[::-1])
    for name in one:
        assert torch.equal(one[name], other[name])


def test_synflow_scores_a_float64_network_that_was_made_under_float32():
    """float64 is the way out where the flow of a deep network overflows float32."""
    torch.set_default_dtype(torch.float32)
    model = nets.mlp(3, 4, 3).double()
    batches = [(x.double(), y) for x, y in nets.image_batches((3,), 3, (2,))]
    scores = _score(SynFlow, model, batches)
    truth, _ = _flow_by_paths(model)
    for name in scores:
        _close(scores[name], truth[name].detach())


# --- Mag and Rand --------------------------------------------------------------------------------------------------


@subjects
def test_mag_is_the_magnitude(subject):
    make, batches = SUBJECTS[subject]
    model = make()
    scores = _score(Mag, model, batches((3,)), bias=True)
    assert scores.keys() == {name for name, _, _ in nets.masked_tensors(model)}
    for name, _, parameter in nets.masked_tensors(model):
        assert scores[name].tolist() == parameter.detach().abs().tolist()
        assert scores[name].data_ptr() != parameter.data_ptr()  # not a view that would follow the weights


def test_rand_depends_on_its_seed_alone():
    """Not on the weights, the data, the state of torch's generator or the mode."""
    torch.manual_seed(1)
    one = _score(Rand, nets.mlp(4, 6, 3, seed=1), nets.image_batches((4,), 3, (3,)), seed=11)
    torch.manual_seed(2)
    same = _score(Rand, nets.mlp(4, 6, 3, seed=2).train(), nets.image_batches((4,), 3, (5, 5), seed=9), seed=11)
    other = _score(Rand, nets.mlp(4, 6, 3, seed=1), nets.image_batches((4,), 3, (3,)), seed=12)
    for name in one:
        assert torch.equal(one[name], same[name])
        assert (one[name] != other[name]).all()


def test_rand_draws_anew_each_time_and_for_each_tensor():
    model = nets.mlp(6, 6, 6)
    pruner = Rand(generator.masked_parameters(model))
    drawn = []
    for _ in range(2):
        pruner.score(model, nets.CROSS_ENTROPY, [], nets.CPU)
        drawn += list(pruner.scores.values())
    for one, other in itertools.combinations(drawn, 2):
        assert (one != other).all()


@pytest.mark.parametrize("scope", ["global", "local"])
def test_rand_keeps_every_position_equally_often(scope):
    """Over 400 seeds each of 24 weights stays in half of the cases, within five standard deviations."""
    counts = torch.zeros(24)
    for seed in range(400):
        pairs = [(torch.ones(3, 4), torch.zeros(3, 4)), (torch.ones(12), torch.full((12,), 9.0))]
        pruner = Rand(pairs, seed=seed)
        pruner.score(nn.Identity(), nets.CROSS_ENTROPY, [], nets.CPU)
        pruner.mask(0.5, scope)
        counts += torch.cat([mask.flatten() for mask, _ in pairs])
    assert counts.sum() == 400 * 12
    assert (counts - 200).abs().max() <= 5 * math.sqrt(400 * 0.25)


# --- no trace ------------------------------------------------------------------------------------------------------


def _prepared():
    """A network in a state with nothing at its default: mixed modes, flags, gradients, masks and statistics."""
    model = nets.mixed()
    nets.mask_at_random(model, 0.7, seed=4)
    model.train()
    model.bn1.eval()
    model.fc2.eval()
    model.conv2.weight.requires_grad_(False)
    model.out.weight.requires_grad_(False)
    model.fc1.bias_mask.requires_grad_(True)
    model.fc1.weight.grad = torch.full_like(model.fc1.weight, 3.0)
    model.conv1.weight.grad = torch.randn(model.conv1.weight.shape)
    return model


def _photograph(model):
    """Everything of a model, and of torch, that scoring must leave as it is."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    return {
        "identity": {name: id(tensor) for name, tensor in tensors.items()},
        "values": {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()},
        "flags": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "grads": {name: None if t.grad is None else (id(t.grad), t.grad.tolist()) for name, t in tensors.items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "random": torch.get_rng_state().tolist(),
        "hooks": {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in model.named_modules()},
        "autograd": torch.is_grad_enabled(),
        "kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
    }


def _assert_unchanged(before, model):
    after = _photograph(model)
    for aspect in before:
        assert before[aspect] == after[aspect], aspect


MODES = {
    "mixed": lambda model: None,
    "train": lambda model: model.train(),
    "eval": lambda model: model.eval(),
}
SIZES = pytest.mark.parametrize("sizes", [(6,), (6, 5)])


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("mode", MODES)
@SIZES
def test_scoring_leaves_no_trace(kind, mode, sizes):
    """Dropout draws and BatchNorm counts while the scores are computed in train mode; afterwards all is as it was."""
    model = _prepared()
    MODES[mode](model)
    before = _photograph(model)
    scores = _score(kind, model, nets.image_batches((1, 6, 6), 3, sizes), bias=True, batchnorm=True, residual=True)
    _assert_unchanged(before, model)
    for name, _, parameter in nets.masked_tensors(model):
        assert scores[name].shape == parameter.shape and not scores[name].requires_grad


@pytest.mark.parametrize("kind", [SNIP, GraSP])
def test_train_mode_scores_really_use_batch_statistics_and_dropout(kind):
    """Otherwise the test above would show nothing."""
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (6,))
    calm, lively = _score(kind, model.eval(), batches), _score(kind, model.train(), batches)
    for name in calm:
        assert not torch.allclose(calm[name], lively[name], rtol=1e-3, atol=0)


class ById(Pruner):
    """Magnitude as assignment one fills `scores`: by the ids of the parameters."""

    def score(self, model, loss, dataloader, device):
        for _, parameter in self.masked_parameters:
            self.scores[id(parameter)] = parameter.detach().abs()


def test_scores_may_have_the_ids_of_parameters_for_keys():
    masks = []
    for kind in (Mag, ById):
        model = nets.mixed()
        pruner = kind(generator.masked_parameters(model))
        pruner.score(model, nets.CROSS_ENTROPY, [], nets.CPU)
        for density in (0.5, 0.2):
            pruner.mask(density)
        masks.append([mask.clone() for mask, _ in pruner.masked_parameters])
    assert all(map(torch.equal, *masks))


class Broken(RuntimeError):
    pass


class Rough(Pruner):
    """A pruner as a careless student writes it."""

    def compute(self, model, loss, dataloader, device):
        model.train()
        torch.manual_seed(123)
        for data, _ in dataloader:
            model(data).sum().backward()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        raise Broken


def _failing_loss():
    calls = itertools.count(1)

    def loss(logits, target):
        if next(calls) == 2:
            raise Broken
        return nets.CROSS_ENTROPY(logits, target)

    return loss


@pytest.mark.parametrize("kind", [SNIP, GraSP, Rough])
@pytest.mark.parametrize("mode", MODES)
def test_scoring_that_raises_midway_leaves_no_trace(kind, mode):
    """The loss raises at the second batch, after the first has moved statistics and drawn dropout."""
    model = _prepared()
    MODES[mode](model)
    before = _photograph(model)
    pruner = kind(generator.masked_parameters(model, True, True, True))
    pruner.scores = earlier = {"kept": torch.ones(1)}
    with pytest.raises(Broken):
        pruner.score(model, _failing_loss(), nets.image_batches((1, 6, 6), 3, (6, 5)), nets.CPU)
    _assert_unchanged(before, model)
    assert pruner.scores is earlier


@pytest.mark.parametrize("mode", MODES)
def test_synflow_that_raises_midway_leaves_no_trace(mode):
    """It has no loss; here the network itself fails in its last layer."""
    model = _prepared()
    MODES[mode](model)

    def fail(*_):
        raise Broken

    model.out.register_forward_hook(fail)
    before = _photograph(model)
    with pytest.raises(Broken):
        _score(SynFlow, model, nets.image_batches((1, 6, 6), 3, (6,)))
    _assert_unchanged(before, model)


@pytest.mark.parametrize("kind", [SNIP, GraSP])
@SIZES
def test_a_nan_score_is_an_error_that_names_the_tensor_and_leaves_no_trace(kind, sizes):
    model = _prepared()
    with torch.no_grad():
        model.fc1.weight[0, 0] = math.nan
        model.fc1.weight_mask.fill_(1)
    before = _photograph(model)
    pruner = kind(generator.masked_parameters(model))
    with pytest.raises(FloatingPointError, match=r"are NaN") as caught:
        pruner.score(model, nets.CROSS_ENTROPY, nets.image_batches((1, 6, 6), 3, sizes), nets.CPU)
    assert any(name in str(caught.value) for name in pruner.names)
    assert pruner.scores == {}
    _assert_unchanged(before, model)


# --- what a pruner does with its scores ----------------------------------------------------------------------------


def _ready(kind=SNIP, seed=0):
    model = nets.mlp(6, 8, 5, seed=seed)
    pruner = kind(generator.masked_parameters(model), seed=seed)
    pruner.score(model, nets.CROSS_ENTROPY, nets.image_batches((6,), 5, (20,)), nets.CPU)
    return model, pruner


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("scope", ["global", "local"])
def test_invert_reverses_the_order(kind, scope):
    """What stays of half the weights is what went before: no two scores here are equal."""
    (_, straight), (_, reversed_) = _ready(kind), _ready(kind)
    for one, other in zip(straight.scores.values(), reversed_.scores.values(), strict=True):
        assert torch.equal(one, other)
        assert one.unique().numel() == one.numel()
    reversed_.invert()
    for name in straight.names:
        order, back = straight.scores[name].flatten().argsort(), reversed_.scores[name].flatten().argsort()
        assert order.tolist() == back.tolist()[::-1]
    for pruner in (straight, reversed_):
        pruner.mask(0.5, scope)
    for (one, _), (other, _) in zip(straight.masked_parameters, reversed_.masked_parameters, strict=True):
        assert torch.equal(one, 1 - other)


def test_invert_of_extreme_scores():
    """Zero and infinite scores are reversed like any other: nothing is divided."""
    pruner = Pruner([(torch.ones(5), torch.ones(5))])
    original = torch.tensor([0.0, math.inf, -math.inf, 1e-320, -2.0])
    pruner.scores = {"tensor 0": original.clone()}
    pruner.invert()
    assert pruner.scores["tensor 0"].tolist() == [0.0, -math.inf, math.inf, -1e-320, 2.0]
    pruner.mask(0.4)
    assert pruner.masked_parameters[0][0].tolist() == [0.0, 0.0, 1.0, 0.0, 1.0]
    pruner.invert()
    assert torch.equal(pruner.scores["tensor 0"], original)


def test_shuffle_permutes_the_masks_that_the_model_reads():
    model, pruner = _ready(Mag)
    pruner.mask(0.4)
    masks = [mask for mask, _ in pruner.masked_parameters]
    assert masks[0] is model[0].weight_mask
    before = [mask.clone() for mask in masks]
    data = nets.image_batches((6,), 5, (3,))[0][0]
    output, state = model(data), torch.get_rng_state()
    pruner.shuffle()
    for mask, old in zip(masks, before, strict=True):
        assert not torch.equal(mask, old)
        assert mask.sum() == old.sum() and set(mask.unique().tolist()) == {0.0, 1.0}
    assert masks[0] is model[0].weight_mask
    assert not torch.allclose(model(data), output)
    assert torch.equal(torch.get_rng_state(), state)


def test_shuffle_depends_on_its_seed_and_draws_anew():
    drawn = []
    for seed in (1, 1, 2):
        pruner = Pruner([(torch.cat([torch.ones(30), torch.zeros(30)]), torch.ones(60))], seed=seed)
        for _ in range(2):
            pruner.shuffle()
            drawn.append(pruner.masked_parameters[0][0].tolist())
    assert drawn[0:2] == drawn[2:4]
    assert len({tuple(mask) for mask in drawn}) == 4


def test_shuffle_brings_every_position_everywhere():
    """A single kept weight is found at each of six positions about equally often over 600 shuffles."""
    pruner = Pruner([(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.ones(2, 3))])
    mask, counts = pruner.masked_parameters[0][0], torch.zeros(2, 3)
    for _ in range(600):
        pruner.shuffle()
        counts += mask
    assert (counts - 100).abs().max() <= 5 * math.sqrt(600 * 5 / 36)


def test_stats_count_what_stays():
    pruner = Pruner([(torch.tensor([1.0, 0.0, 1.0]), torch.ones(3)), (torch.zeros(2, 2), torch.ones(2, 2))])
    assert pruner.stats() == (2, 7)
    assert Pruner([]).stats() == (0, 0)
    model, pruner = _ready(Rand)
    pruner.mask(0.25)
    assert pruner.stats() == (22, 88)
    assert sum(int(mask.sum()) for name, mask, _ in nets.masked_tensors(model) if "bias" not in name) == 22


def test_apply_mask_sets_pruned_weights_to_zero_and_no_other():
    model, pruner = _ready(Rand)
    pruner.mask(0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pruner.apply_mask()
    for name, mask, parameter in nets.masked_tensors(model):
        expected = before[name].clone()
        if name in pruner.names:
            expected[mask == 0] = 0
        assert torch.equal(parameter, expected)
        assert parameter.requires_grad and parameter.is_leaf


def test_scores_are_by_name_and_unnamed_pairs_get_a_number():
    model = nets.mlp(4, 5, 3)
    batches = nets.image_batches((4,), 3, (3,))
    assert list(_score(Mag, model, batches, bias=True)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    unnamed = Mag([(mask, p) for _, mask, p in nets.masked_tensors(model)])
    unnamed.score(model, nets.CROSS_ENTROPY, batches, nets.CPU)
    assert list(unnamed.scores) == ["tensor 0", "tensor 1", "tensor 2", "tensor 3"]


def test_a_parameter_that_the_loss_does_not_reach_scores_zero():
    """A masked layer beside the path, also for GraSP's second derivative; and a Hessian of nothing but zeros."""

    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = layers.Linear(4, 3), layers.Linear(4, 3)

        def forward(self, data):
            return self.used(data)

    model = Spare()
    for kind in (SNIP, GraSP, SynFlow):
        for sizes in ((3,), (3, 2)):
            scores = _score(kind, model, nets.image_batches((4,), 3, sizes))
            assert (scores["spare.weight"] == 0).all() and (scores["used.weight"] != 0).any()
    # A loss that is linear in the weights has a gradient and no curvature.
    linear = _score(GraSP, model, nets.image_batches((4,), 3, (3, 2)), loss=lambda logits, target: logits.sum())
    assert all((score == 0).all() for score in linear.values())


def test_a_pruner_without_compute_says_so():
    with pytest.raises(TypeError, match="Pruner defines no compute"):
        Pruner([]).score(nets.mlp(2, 2), nets.CROSS_ENTROPY, [], nets.CPU)


def test_the_five_are_registered_and_tested_here():
    assert [load.pruner(name) for name in nets.PRUNERS] == ALL
    assert pruners.GraSP.temperature == 200
