"""The pruning routine: schedules, exact counts, options, and what it leaves behind."""

import copy
import itertools
import math

import nets
import pytest
import torch

from Layers import layers
from Models.text import TextClassificationModel
from Pruners import ranking
from Utils import generator, load
from Utils.training.prune import SCHEDULES, density_after, prune_loop, reinitialize

EPOCHS = (1, 3, 7)


def _pruner(name, model, seed=0, ties="seeded", **flags):
    return load.pruner(name)(generator.masked_parameters(model, **flags), seed=seed, ties=ties)


def _loop(model, pruner, batches, density=0.1, schedule="exponential", scope="global", epochs=1, **options):
    loss = options.pop("loss", nets.CROSS_ENTROPY)
    prune_loop(model, loss, pruner, batches, nets.CPU, density, schedule, scope, epochs, **options)


def _subject(seed=0):
    """A network of 6*10 + 10*8 + 8*4 = 172 weights, and two batches."""
    return nets.mlp(6, 10, 8, 4, seed=seed), nets.image_batches((6,), 4, (12, 5))


def _record(pruner):
    """Makes `pruner` keep, in a list, what it did: a copy of the masks after every call of mask()."""
    history, mask = [], pruner.mask

    def watched(density, scope):
        mask(density, scope)
        history.append((density, [m.clone() for m, _ in pruner.masked_parameters]))

    pruner.mask = watched
    return history


# --- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "density", "epochs", "expected"),
    [
        ("exponential", 0.01, 2, [0.1, 0.01]),
        ("exponential", 0.0001, 4, [0.1, 0.01, 0.001, 0.0001]),
        ("exponential", 0.25, 2, [0.5, 0.25]),
        ("exponential", 1.0, 3, [1.0, 1.0, 1.0]),
        ("linear", 0.1, 3, [0.7, 0.4, 0.1]),
        ("linear", 0.2, 4, [0.8, 0.6, 0.4, 0.2]),
        ("linear", 1.0, 2, [1.0, 1.0]),
        ("linear", 0.01, 1, [0.01]),
        ("exponential", 0.01, 1, [0.01]),
    ],
)
def test_density_after_by_hand(schedule, density, epochs, expected):
    found = [density_after(density, schedule, epoch, epochs) for epoch in range(1, epochs + 1)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_density_is_the_one_asked_for(schedule):
    """Bit for bit, for densities that no power or product gives back, and steps never go up."""
    for compression in (0.0, 0.1, 0.5, 1.0, 1.7, 3.0):
        for epochs in (1, 2, 3, 10, 100):
            steps = [density_after(10.0**-compression, schedule, epoch, epochs) for epoch in range(1, epochs + 1)]
            assert steps[-1] == 10.0**-compression
            assert all(a >= b - 1e-15 for a, b in itertools.pairwise(steps))
            assert all(0 < step <= 1 for step in steps)


@pytest.mark.parametrize(("epoch", "epochs"), [(1, 2), (2, 2), (1, 1)])
def test_an_unknown_schedule_is_an_error(epoch, epochs):
    with pytest.raises(ValueError, match="exponential, linear"):
        density_after(0.1, "cosine", epoch, epochs)


# --- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nets.PRUNERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scope", ranking.SCOPES)
@pytest.mark.parametrize("epochs", EPOCHS)
def test_counts_are_exact_and_nothing_comes_back(name, schedule, scope, epochs):
    """Of 60, 80 and 32 weights, after every epoch; a weight pruned in one epoch is pruned in all that follow.

    Rand draws new scores for all weights, and GraSP's are negative for many while a pruned weight's is zero.
    """
    model, batches = _subject()
    pruner = _pruner(name, model)
    history = _record(pruner)
    _loop(model, pruner, batches, 0.1, schedule, scope, epochs)
    sizes = [60, 80, 32]
    assert len(history) == epochs
    alive = [torch.ones_like(mask) for mask, _ in pruner.masked_parameters]
    for epoch, (_, masks) in enumerate(history, 1):
        share = epoch / epochs
        density = 0.1**share if schedule == "exponential" else 1 - 0.9 * share
        counts = [int(mask.sum()) for mask in masks]
        # The density of the last epoch, 0.1, is met exactly; of the others up to the rounding of the schedule.
        wanted = [n - math.floor((1 - density) * n + 1e-9) for n in (sizes if scope == "local" else [172])]
        assert (counts if scope == "local" else [sum(counts)]) == wanted
        for before, after in zip(alive, masks, strict=True):
            assert not ((after != 0) & (before == 0)).any()
        alive = masks
    assert pruner.stats() == (6 + 8 + 4 if scope == "local" else 18, 172)  # ceil of 6, 8, 3.2 and 17.2
    for mask, parameter in pruner.masked_parameters:
        assert (parameter[mask == 0] == 0).all() and set(mask.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("scope", ranking.SCOPES)
def test_a_later_call_prunes_on_from_where_the_earlier_ended(scope):
    model, batches = _subject()
    pruner = _pruner("rand", model)
    _loop(model, pruner, batches, 0.5, scope=scope)
    first = [mask.clone() for mask, _ in pruner.masked_parameters]
    _loop(model, pruner, batches, 0.25, scope=scope, epochs=2)
    assert pruner.stats() == (43, 172) if scope == "global" else (15 + 20 + 8, 172)
    for (mask, _), before in zip(pruner.masked_parameters, first, strict=True):
        assert (mask <= before).all()


@pytest.mark.parametrize("name", nets.PRUNERS)
def test_a_density_of_one_prunes_nothing(name):
    model, batches = _subject()
    before = copy.deepcopy(model.state_dict())
    _loop(model, _pruner(name, model), batches, 1.0, epochs=3)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_global_mag_keeps_the_largest_weights_of_all():
    """Against a sort of all magnitudes; kept weights keep their value."""
    model, batches = _subject()
    weights = {name: p.detach().clone() for name, p in model.named_parameters() if "weight" in name}
    _loop(model, _pruner("mag", model), batches, 0.1)
    ranked = sorted((w.abs().item() for weight in weights.values() for w in weight.flatten()), reverse=True)
    for name, weight in weights.items():
        expected = torch.where(weight.abs() >= ranked[17], weight, 0.0)
        assert torch.equal(dict(model.named_parameters())[name], expected)


def test_iterations_score_the_network_that_the_last_one_left():
    """The second epoch's scores are those of the network with the masks of the first."""
    model, batches = _subject()
    pruner = _pruner("synflow", model)
    history = _record(pruner)
    _loop(model, pruner, batches, 0.2, epochs=2)
    after_one, _ = _subject()
    again = _pruner("synflow", after_one)
    for (mask, _), recorded in zip(again.masked_parameters, history[0][1], strict=True):
        mask.copy_(recorded)
    again.score(after_one, nets.CROSS_ENTROPY, batches, nets.CPU)
    for name, score in again.scores.items():
        assert torch.equal(pruner.scores[name], score) and (score > 0).any()


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nets.PRUNERS)
@pytest.mark.parametrize("scope", ranking.SCOPES)
@pytest.mark.parametrize("ties", ranking.TIES)
def test_invert_keeps_the_lowest(name, scope, ties):
    """Against a sort of the scores of the same network, the lowest first; equal ones by position, or any by seed."""
    model, batches = _subject()
    scored = _pruner(name, model)
    scored.score(model.eval(), nets.CROSS_ENTROPY, batches, nets.CPU)
    inverted = _pruner(name, model, ties=ties)
    _loop(model, inverted, batches, 0.1, scope=scope, invert=True)
    scores = [score.flatten().tolist() for score in scored.scores.values()]
    masks = [mask.flatten().tolist() for mask, _ in inverted.masked_parameters]
    if scope == "global":
        scores, masks = [[x for s in scores for x in s]], [[x for m in masks for x in m]]
    for score, mask in zip(scores, masks, strict=True):
        lowest = sorted(range(len(score)), key=lambda k: (score[k], k))[: math.ceil(len(score) / 10)]
        kept = [k for k in range(len(mask)) if mask[k]]
        if ties == "position":
            assert kept == sorted(lowest)
        assert sorted(score[k] for k in kept) == sorted(score[k] for k in lowest)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_invert_over_several_epochs_keeps_the_lowest_of_the_whole(schedule):
    """Magnitudes do not change while pruning, so that several epochs come to what one comes to."""
    model, batches = _subject()
    weights = torch.cat([p.detach().abs().flatten() for _, p in generator.masked_parameters(model)])
    pruner = _pruner("mag", model)
    _loop(model, pruner, batches, 0.1, schedule=schedule, epochs=4, invert=True)
    kept = torch.cat([mask.flatten() for mask, _ in pruner.masked_parameters]) != 0
    assert int(kept.sum()) == 18 and weights[kept].max() < weights[~kept].min()


def test_shuffle_moves_the_mask_within_each_tensor_once_at_the_end():
    runs = []
    for shuffle in (False, True):
        model, batches = _subject()
        pruner = _pruner("mag", model)
        history = _record(pruner)
        _loop(model, pruner, batches, 0.1, epochs=3, shuffle=shuffle)
        runs.append((model, pruner, history))
    (_, straight, history), (model, shuffled, other) = runs
    for (_, one), (_, two) in zip(history, other, strict=True):  # while pruning the masks are the same
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    fresh, _ = _subject()
    for name, (mask, _), (moved, parameter), original in zip(
        shuffled.names,
        straight.masked_parameters,
        shuffled.masked_parameters,
        [p for n, p in fresh.named_parameters() if "weight" in n],
        strict=True,
    ):
        assert mask.sum() == moved.sum() and not torch.equal(mask, moved), name
        assert torch.equal(parameter, original * moved)  # the mask is applied where it was moved to
    assert model[0].weight_mask is shuffled.masked_parameters[0][0]


def test_modes_and_weights_that_are_not_pruned_are_as_before():
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (6, 5))
    model.train()
    model.bn1.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    for train_mode in (False, True):
        _loop(model, _pruner("grasp", model), batches, 0.5, epochs=2, train_mode=train_mode)
        assert [m.training for m in model.modules()] == modes
    prunable = {name for _, _, name in _triples(model)}
    assert prunable == {"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight", "out.weight"}
    for key, value in model.state_dict().items():
        if key.removesuffix("_mask") not in prunable:
            assert torch.equal(value, before[key]), key


def _triples(model, **flags):
    return [(*pair, pair.name) for pair in generator.masked_parameters(model, **flags)]


@pytest.mark.parametrize("train_mode", [False, True])
def test_train_mode_decides_the_mode_that_scores_are_taken_in(train_mode):
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (6,))
    model.train(not train_mode)
    seen = []
    hooks = [m.register_forward_hook(lambda m, *_: seen.append(m.training)) for m in model.modules()]
    _loop(model, _pruner("snip", model), batches, 0.5, train_mode=train_mode)
    assert seen and set(seen) == {train_mode}
    assert len(hooks) == len(seen)
    assert all(m.training is not train_mode for m in model.modules())


class Broken(RuntimeError):
    pass


def test_modes_are_put_back_and_no_mask_is_written_when_scoring_fails():
    model, batches = nets.mixed(), nets.image_batches((1, 6, 6), 3, (6,))
    model.train()
    model.bn1.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]

    def loss(*_):
        raise Broken

    with pytest.raises(Broken):
        _loop(model, _pruner("snip", model), batches, 0.5, train_mode=True, loss=loss)
    with pytest.raises(ValueError, match="density"):
        _loop(model, _pruner("mag", model), batches, 0.0)
    assert [m.training for m in model.modules()] == modes
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_nan_score_ends_the_loop_before_a_mask_is_written():
    model, batches = _subject()
    with pytest.raises(FloatingPointError, match=r"scores of 0\.weight are NaN"):
        _loop(model, _pruner("snip", model), batches, loss=lambda logits, target: logits.sum() * math.nan)
    assert all((mask == 1).all() for mask, _ in generator.masked_parameters(model))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_options_decide_which_tensors_are_pruned(bias, batchnorm, residual):
    model = nets.mixed()
    expected = {"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight", "out.weight"}
    if bias:
        expected |= {"conv1.bias", "fc1.bias", "fc2.bias", "out.bias"}
    if batchnorm:
        expected |= {"bn1.weight", "bn2.weight"}
    if batchnorm and bias:
        expected |= {"bn1.bias", "bn2.bias"}
    if residual:
        expected |= {"short1.weight", "short2.weight"}
    flags = {"bias": bias, "batchnorm": batchnorm, "residual": residual}
    assert {name for _, _, name in _triples(model, **flags)} == expected
    for mask, parameter, name in _triples(model, **flags):
        assert parameter is model.get_parameter(name) and mask is model.get_buffer(f"{name}_mask")
    before = copy.deepcopy(model.state_dict())
    pruner = _pruner("rand", model, **flags)
    _loop(model, pruner, nets.image_batches((1, 6, 6), 3, (6,)), 0.3)
    total = sum(model.get_parameter(name).numel() for name in expected)
    assert pruner.stats() == (math.ceil(0.3 * total), total)
    for key, value in model.state_dict().items():
        if key.removesuffix("_mask") not in expected:
            assert torch.equal(value, before[key]), key


def test_generators_of_parameters_and_masks():
    """Residual weights are not trained; a shared parameter is trained once; masks are all there are."""
    model = nets.mixed()
    trained = {id(p) for p in generator.parameters(model)}
    names = {name for name, p in model.named_parameters() if id(p) in trained}
    assert names == {name for name, _ in model.named_parameters()} - {"short1.weight", "short2.weight"}
    assert {id(m) for m in generator.masks(model)} == {id(mask) for _, mask, _ in nets.masked_tensors(model)}
    assert not generator.trainable(model.short1) and generator.trainable(model.bn1)
    model.fc2.bias = model.bn2.bias
    listed = [id(p) for p in generator.parameters(model)]
    assert len(listed) == len(set(listed)) == len(trained) - 1


# --- reinitialize --------------------------------------------------------------------------------------------------


def test_reinitialize_draws_new_weights_and_keeps_masks():
    model = nets.mixed()
    nets.mask_at_random(model, 0.5)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    reinitialize(model, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    constant = {"bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "short1.weight", "short2.weight"}
    for name, parameter in model.named_parameters():
        if name in constant:  # normalisation begins anew at one and zero, a residual weight is one for good
            assert torch.equal(parameter, torch.full_like(parameter, name.endswith("weight"))), name
        else:
            assert (parameter != before[name]).all(), name
    for name, mask, _ in nets.masked_tensors(model):
        assert torch.equal(mask, before[f"{name}_mask"]), name
    for norm in (model.bn1, model.bn2):
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all()


@pytest.mark.parametrize("make", [nets.mixed, nets.text_model, lambda seed: nets.mlp(4, 5, 3, seed=seed)])
def test_reinitialize_is_determined_by_its_seed(make):
    """Not by the weights before, nor by the state of torch's generator."""
    one, same, other = make(seed=1), make(seed=2), make(seed=1)
    reinitialize(one, seed=7)
    torch.manual_seed(99)
    reinitialize(same, seed=7)
    reinitialize(other, seed=8)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        if not ("bn" in name or "short" in name or name == "fc.bias"):
            assert not torch.equal(a, c), name


def test_reinitialize_uses_the_models_own_distribution():
    """The text model's: uniform in [-0.5, 0.5] with a bias of zero, not that of its layers."""
    model = TextClassificationModel((400,), 4)
    for parameter in model.parameters():
        parameter.data.fill_(7.0)
    reinitialize(model, seed=3)
    assert (model.fc.bias == 0).all()
    for weight in (model.embedding.weight, model.fc.weight):
        assert 0.45 < weight.abs().max() <= 0.5
        assert abs(weight.std().item() - 1 / math.sqrt(12)) < 0.03


@pytest.mark.parametrize("shuffle", [False, True])
def test_prune_loop_reinitializes_before_the_mask_is_applied(shuffle):
    model, batches = _subject()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pruner = _pruner("mag", model)
    history = _record(pruner)
    _loop(model, pruner, batches, 0.3, epochs=2, reinitialize_from=21, shuffle=shuffle)
    fresh, _ = _subject(seed=4)
    reinitialize(fresh, 21)
    for name, mask, parameter in nets.masked_tensors(model):
        assert torch.equal(parameter, fresh.get_parameter(name) * mask), name
        assert not torch.equal(parameter, before[name] * mask), name
    if not shuffle:  # the masks are those that the weights before deserved
        for (mask, _), final in zip(pruner.masked_parameters, history[-1][1], strict=True):
            assert torch.equal(mask, final)
    assert pruner.stats()[0] == 52


def test_the_masked_layer_kinds_are_all_known_to_the_generator():
    assert {kind for kind in layers.MASKED if generator.prunable(_one(kind), True, True)} == set(layers.MASKED)
    assert {kind for kind in layers.MASKED if generator.prunable(_one(kind), False, False)} == {
        layers.Linear,
        layers.Conv2d,
    }


def _one(kind):
    sizes = {layers.Linear: (2, 2), layers.Conv2d: (2, 2, 1)}
    return kind(*sizes.get(kind, (2,)))
