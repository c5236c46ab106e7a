"""Adam by rows against torch's dense Adam, and the quadrature behind it against plain sums."""

import copy
import math

import nets
import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from Layers.bags import Bags
from Models.text import TextClassificationModel
from Pruners import dead
from Pruners.pruners import SNIP, GraSP, Mag, Rand, SynFlow
from Utils import generator
from Utils.training import adam, rows
from Utils.training.adam import Adam
from Utils.training.prune import reinitialize
from Utils.training.rows import Tail, gauss
from Utils.training.train import train

VOCABULARY, CLASSES = 500, 4
SHIPPED = {name: getattr(rows, name) for name in ("TOLERANCE", "MOST_NODES")}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """float64 and a quadrature to match, so that what is equal in exact arithmetic is equal to ten digits.

    In float32 two dense Adams that add in another order already part: a first gradient near zero moves its weight by
    some lr in the direction of its sign, and that sign may be rounding.
    """
    monkeypatch.setattr(rows, "TOLERANCE", 1e-13)
    monkeypatch.setattr(rows, "MOST_NODES", 24)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def shipped(exact, monkeypatch):
    """The settings that users get."""
    for name, value in SHIPPED.items():
        monkeypatch.setattr(rows, name, value)
    torch.set_default_dtype(torch.float32)


def _batches(count, seed=0, vocabulary=VOCABULARY):
    """Four texts of ten words each by a steep Zipf law: a few words are in every batch, most in none of hundreds."""
    draw = torch.Generator().manual_seed(seed)
    chances = torch.arange(1, vocabulary + 1).double() ** -1.5
    ids = torch.multinomial(chances, 40 * count, replacement=True, generator=draw).view(count, 40)
    # The number of a word says nothing about how frequent it is.
    ids = torch.randperm(vocabulary, generator=draw)[ids]
    targets = torch.randint(CLASSES, (count, 4), generator=draw)
    return [(Bags(row, torch.arange(0, 40, 10)), target) for row, target in zip(ids, targets, strict=True)]


def _pair(lr=1e-2, attach=True, **options):
    """((model, our optimizer, attached), (an equal model, torch's optimizer))."""
    ours = nets.drawn(0, TextClassificationModel, (VOCABULARY,), CLASSES)
    theirs = copy.deepcopy(ours)
    optimizer = Adam(ours.parameters(), lr=lr, **options)
    if attach:
        optimizer.attach(ours)
    return (ours, optimizer), (theirs, torch.optim.Adam(theirs.parameters(), lr=lr, foreach=False, **options))


def _step(model, optimizer, batch):
    data, target = batch
    optimizer.zero_grad(set_to_none=True)
    loss = nets.CROSS_ENTROPY(model(data), target)
    loss.backward()
    optimizer.step()
    return loss.item()


def _assert_equal(one, other, weights=1e-8, moments=1e-8):
    """Parameters within `weights`, moments within `moments` of the largest of their kind, steps exactly."""
    (ours, optimizer), (theirs, dense) = one, other
    found, truth = optimizer.state_dict(), dense.state_dict()  # catches up
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=weights, msg=lambda text, name=name: f"{name}: {text}")
    assert found["state"].keys() == truth["state"].keys()
    for k, state in truth["state"].items():
        assert found["state"][k].keys() == state.keys()
        assert float(found["state"][k]["step"]) == float(state["step"])
        for moment in ("exp_avg", "exp_avg_sq"):
            scale = state[moment].abs().max().item()
            torch.testing.assert_close(found["state"][k][moment], state[moment], rtol=0, atol=moments * scale)
    assert {k: v for k, v in found["param_groups"][0].items() if k in ("lr", "betas", "eps", "params")} == {
        k: v for k, v in truth["param_groups"][0].items() if k in ("lr", "betas", "eps", "params")
    }


# --- against dense Adam --------------------------------------------------------------------------------------------


def test_the_batches_leave_most_rows_at_rest_for_long():
    """What the comparisons below live on: rows that rest for more than a hundred steps and are then needed again."""
    last, longest = {}, {}
    for step, (data, _) in enumerate(_batches(300)):
        for word in set(data.ids.tolist()):
            longest[word] = max(longest.get(word, 0), step - last.get(word, step))
            last[word] = step
    assert sum(rest > 100 for rest in longest.values()) > 40
    assert sum(300 - step > 100 for step in last.values()) > 40
    assert VOCABULARY - len(last) > 20  # and some words never come


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 1e-3},
        {"betas": (0.9, 0.98), "eps": 1e-9},
        {"betas": (0.0, 0.999)},
        {"betas": (0.5, 0.9), "eps": 1e-4},
    ],
)
def test_300_steps_are_those_of_dense_adam(options):
    """The losses of all steps, and in the end all parameters and moments."""
    ours, theirs = _pair(**options)
    losses = [(_step(*ours, batch), _step(*theirs, batch)) for batch in _batches(300)]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=0, atol=1e-8)
    _assert_equal(ours, theirs)


def test_300_steps_in_float32_are_those_of_dense_adam(shipped):
    """With nothing changed, at the usual learning rate."""
    ours, theirs = _pair(lr=1e-3)
    losses = [(_step(*ours, batch), _step(*theirs, batch)) for batch in _batches(300)]
    assert ours[0].embedding.weight.dtype == torch.float32
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=0, atol=1e-5)
    _assert_equal(ours, theirs, weights=5e-6, moments=1e-4)


def test_float32_is_as_near_to_exact_arithmetic_as_dense_float32_is(shipped):
    """At ten times that rate: by the mean error of all weights, against dense Adam in float64."""
    ours, theirs = _pair()
    exact = copy.deepcopy(theirs[0]).double()
    optimizer = torch.optim.Adam(exact.parameters(), lr=1e-2)
    for batch in _batches(300):
        for pair in (ours, theirs, (exact, optimizer)):
            _step(*pair, batch)
    ours[1].catch_up()
    truth = exact.embedding.weight
    mine, dense = ((model.embedding.weight - truth).abs().mean().item() for model, _ in (ours, theirs))
    assert mine < 2 * dense + 1e-8


def test_catching_up_at_any_time_changes_nothing():
    """Neither between steps nor many times in a row, and each time the weights are the dense ones."""
    ours, theirs = _pair()
    for step, batch in enumerate(_batches(150)):
        _step(*ours, batch)
        _step(*theirs, batch)
        if step in (0, 1, 40, 41, 90):
            ours[1].catch_up()
            ours[1].catch_up()
            _assert_equal(ours, theirs)
    _assert_equal(ours, theirs)


def test_two_catch_ups_are_bitwise_one():
    """A row at rest gathers no rounding error by being asked for again."""
    ours, _ = _pair()
    for batch in _batches(30):
        _step(*ours, batch)
    ours[1].catch_up()
    before = ours[0].embedding.weight.detach().clone()
    ours[1].catch_up()
    assert torch.equal(ours[0].embedding.weight, before)


def test_a_row_that_never_had_a_gradient_stays_bit_for_bit():
    ours, _ = _pair()
    before = ours[0].embedding.weight.detach().clone()
    batches = _batches(60)
    for batch in batches:
        _step(*ours, batch)
    ours[1].catch_up()
    never = torch.ones(VOCABULARY, dtype=torch.bool)
    never[torch.cat([data.ids for data, _ in batches])] = False
    assert never.sum() > 100
    assert torch.equal(ours[0].embedding.weight[never], before[never])
    assert (ours[0].embedding.weight[~never] != before[~never]).any(1).all()


def test_the_learning_rate_may_change_by_schedule():
    """Through the training routine, which catches up after each epoch."""
    ours, theirs = _pair()
    batches = _batches(80)
    for model, optimizer in (ours, theirs):
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 2], gamma=0.1)
        train(model, nets.CROSS_ENTROPY, optimizer, scheduler, batches, nets.CPU, 3, lambda epoch, value: None)
    assert ours[1].param_groups[0]["lr"] == pytest.approx(1e-4)
    _assert_equal(ours, theirs)


def test_the_learning_rate_may_change_between_any_two_steps():
    """Also while most rows are behind; down, up and to zero."""
    ours, theirs = _pair()
    for step, batch in enumerate(_batches(200)):
        for _, optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] = {50: 1e-3, 51: 3e-2, 90: 0.0, 120: 5e-3}.get(
                step, optimizer.param_groups[0]["lr"]
            )
        _step(*ours, batch)
        _step(*theirs, batch)
    _assert_equal(ours, theirs)


def test_the_learning_rate_may_change_between_forward_and_step():
    ours, theirs = _pair()
    for step, (data, target) in enumerate(_batches(80)):
        for model, optimizer in (ours, theirs):
            optimizer.zero_grad()
            loss = nets.CROSS_ENTROPY(model(data), target)
            if step == 40:
                optimizer.param_groups[0]["lr"] = 1e-3
            loss.backward()
            optimizer.step()
    _assert_equal(ours, theirs)


def test_a_state_dict_continues_in_a_fresh_optimizer():
    """The same as without a break, bit for bit in each of two continuations, and as dense Adam."""
    ours, theirs = _pair()
    batches = _batches(200)
    for batch in batches[:100]:
        _step(*ours, batch)
        _step(*theirs, batch)
    stored, weights = copy.deepcopy(ours[1].state_dict()), copy.deepcopy(ours[0].state_dict())
    continued = []
    for _ in range(2):
        (fresh, optimizer), _ = _pair()
        fresh.load_state_dict(weights)
        optimizer.load_state_dict(copy.deepcopy(stored))
        continued.append((fresh, optimizer))
    for batch in batches[100:]:
        for pair in (ours, theirs, *continued):
            _step(*pair, batch)
    for pair in continued:
        _assert_equal(pair, theirs)
        _assert_equal(pair, ours)
    assert all(torch.equal(a, b) for a, b in zip(*(pair[0].parameters() for pair in continued), strict=True))


def test_a_state_dict_may_be_torchs_and_torch_may_load_ours():
    batches = _batches(120)
    ours, theirs = _pair()
    for batch in batches[:60]:
        _step(*ours, batch)
        _step(*theirs, batch)
    mine, dense = copy.deepcopy(ours[1].state_dict()), copy.deepcopy(theirs[1].state_dict())
    ours[1].load_state_dict(dense)
    theirs[1].load_state_dict(mine)
    for batch in batches[60:]:
        _step(*ours, batch)
        _step(*theirs, batch)
    _assert_equal(ours, theirs)


def test_a_state_dict_brings_its_own_hyperparameters():
    """As for torch's: betas, eps and learning rate are the stored ones, not those of the fresh optimizer."""
    ours, theirs = _pair(betas=(0.8, 0.95), eps=1e-6)
    batches = _batches(120)
    for batch in batches[:60]:
        _step(*ours, batch)
        _step(*theirs, batch)
    stored = copy.deepcopy(ours[1].state_dict())
    fresh = Adam(ours[0].parameters(), lr=1.0)
    fresh.attach(ours[0])
    fresh.load_state_dict(stored)
    for batch in batches[60:]:
        _step(ours[0], fresh, batch)
        _step(*theirs, batch)
    _assert_equal((ours[0], fresh), theirs)


def test_weights_changed_from_outside_after_a_catch_up_are_respected():
    """Rows at rest go on from their new values; moments stay."""
    ours, theirs = _pair()
    batches = _batches(160)
    for batch in batches[:80]:
        _step(*ours, batch)
        _step(*theirs, batch)
    ours[1].catch_up()
    for model, _ in (ours, theirs):
        reinitialize(model, seed=5)
        with torch.no_grad():
            model.embedding.weight[::2].mul_(-3)
    for batch in batches[80:]:
        _step(*ours, batch)
        _step(*theirs, batch)
    _assert_equal(ours, theirs)


@pytest.mark.parametrize("order", ["model optimizer", "optimizer model", "model", "optimizer"])
def test_rolling_back_in_the_middle_of_an_epoch(order):
    """Stored weights, or moments, or both in either order, are loaded while most rows are behind."""
    ours, theirs = _pair()
    batches = _batches(140)
    for batch in batches[:60]:
        _step(*ours, batch)
        _step(*theirs, batch)
    stored = []
    for model, optimizer in (ours, theirs):
        stored.append({"model": copy.deepcopy(model.state_dict()), "optimizer": copy.deepcopy(optimizer.state_dict())})
    for batch in batches[60:100]:
        _step(*ours, batch)
        _step(*theirs, batch)
    for (model, optimizer), states in zip((ours, theirs), stored, strict=True):
        for part in order.split():
            {"model": model, "optimizer": optimizer}[part].load_state_dict(states[part])
    for batch in batches[100:]:
        _step(*ours, batch)
        _step(*theirs, batch)
    _assert_equal(ours, theirs)


def test_a_state_dict_of_the_model_holds_the_weights_of_the_present_step():
    ours, theirs = _pair()
    for batch in _batches(60):
        _step(*ours, batch)
        _step(*theirs, batch)
    found, truth = ours[0].state_dict()["embedding.weight"], theirs[0].state_dict()["embedding.weight"]
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-8)


@pytest.mark.parametrize("look", ["no_grad", "state_dict", "catch_up"])
def test_looking_at_the_model_between_forward_and_step_changes_nothing(look):
    """As a callback that evaluates, or saves, in the middle of a step does."""
    ours, theirs = _pair()
    batches = _batches(120)
    for step, (data, target) in enumerate(batches):
        for model, optimizer in (ours, theirs):
            optimizer.zero_grad()
            loss = nets.CROSS_ENTROPY(model(data), target)
            if step % 10 == 5:
                if look == "no_grad":
                    with torch.no_grad():
                        model(batches[0][0])
                elif look == "state_dict":
                    optimizer.state_dict()
                elif model is ours[0]:
                    optimizer.catch_up()
            loss.backward()
            optimizer.step()
    _assert_equal(ours, theirs)


def test_evaluation_between_steps_reads_the_dense_weights():
    """Without gradients, in the middle of an epoch, of words that have rested since long."""
    ours, theirs = _pair()
    everything = Bags(torch.arange(VOCABULARY), torch.arange(VOCABULARY))  # each word a text of its own
    for step, batch in enumerate(_batches(120)):
        _step(*ours, batch)
        _step(*theirs, batch)
        if step % 20 == 7:
            with torch.no_grad():
                torch.testing.assert_close(ours[0](everything), theirs[0](everything), rtol=0, atol=1e-8)
    _assert_equal(ours, theirs)


def test_several_forward_passes_before_a_step_add_up():
    """Two batches with words in common in one loss, and gradients accumulated over two backward passes."""
    ours, theirs = _pair()
    batches = _batches(120)
    for step in range(0, 120, 2):
        for model, optimizer in (ours, theirs):
            optimizer.zero_grad()
            first, second = (nets.CROSS_ENTROPY(model(data), target) for data, target in batches[step : step + 2])
            if step % 4:
                (first + second).backward()
            else:
                first.backward()
                second.backward()
            optimizer.step()
    _assert_equal(ours, theirs)


def test_a_step_without_gradient_is_no_step():
    ours, theirs = _pair()
    batches = _batches(20)
    for step, batch in enumerate(batches):
        for model, optimizer in (ours, theirs):
            if step % 3 == 1:
                optimizer.zero_grad()
                model(batch[0])  # a forward pass that is not differentiated
                optimizer.step()
            else:
                _step(model, optimizer, batch)
    _assert_equal(ours, theirs)


def test_a_closure_works_as_torchs_does():
    ours, theirs = _pair()
    for data, target in _batches(60):
        values = []
        for model, optimizer in (ours, theirs):

            def closure(model=model, optimizer=optimizer, data=data, target=target):
                optimizer.zero_grad()
                loss = nets.CROSS_ENTROPY(model(data), target)
                loss.backward()
                return loss

            values.append(optimizer.step(closure).item())
        assert values[0] == pytest.approx(values[1], abs=1e-8)
    _assert_equal(ours, theirs)


def test_attached_rows_move_though_other_parameters_are_on_another_device():
    ours, theirs = _pair()
    apart = nn.Parameter(torch.empty(3, device="meta"))  # a device at hand everywhere; its gradient stays None
    ours[1].add_param_group({"params": [apart]})
    for batch in _batches(60):
        for model, optimizer in (ours, theirs):
            _step(model, optimizer, batch)
    ours[1].catch_up()
    for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)


# --- where it is not exact it is not used --------------------------------------------------------------------------


@pytest.mark.parametrize(("attach", "decay"), [(False, 0.0), (False, 1e-2), (True, 1e-2)])
def test_without_attach_or_under_weight_decay_it_is_torchs_adam(attach, decay):
    """Bit for bit: decay gives every row a gradient, so that no row rests."""
    ours, theirs = _pair(attach=attach, weight_decay=decay)
    for batch in _batches(60):
        assert _step(*ours, batch) == _step(*theirs, batch)
    assert ours[0].embedding.weight.grad is not None
    for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_a_memory_of_squares_it_is_torchs_adam():
    ours, theirs = _pair(attach=True, betas=(0.9, 0.0))
    for batch in _batches(20):
        assert _step(*ours, batch) == _step(*theirs, batch)
    for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-21, 1e-10, 1.0])
def test_gradients_of_any_size_move_weights_as_torchs_adam_does(size, shipped):
    """Bit for bit: squares that are zero, subnormal or lost beside eps too."""
    weights = [nn.Parameter(torch.linspace(-1, 1, 64)) for _ in range(2)]
    optimizers = Adam(weights[:1], eps=1e-9), torch.optim.Adam(weights[1:], eps=1e-9, foreach=False)
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        gradient = size * torch.randn(64, generator=draw)
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(*weights)
    for name, value in optimizers[1].state[weights[1]].items():
        assert torch.equal(optimizers[0].state[weights[0]][name], value), name


def test_many_small_and_large_parameters_of_any_age_move_as_under_torchs_adam(shipped, monkeypatch):
    """Bit for bit, however they are put together: they differ in size, type, group and number of steps."""
    monkeypatch.setattr(adam, "TOGETHER", 100)
    sizes, draw = [(60,), (8, 5), (1,), (), (300,), (0,), (3,)], torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(size, generator=draw, dtype=(torch.float32, torch.float64)[k == 2]) for k, size in enumerate(sizes)
    ]
    sides = []
    for make in (Adam, lambda groups: torch.optim.Adam(groups, foreach=False)):
        weights = [nn.Parameter(value.clone()) for value in drawn]
        sides.append(
            (weights, make([{"params": weights[:4]}, {"params": weights[4:], "lr": 0.1, "weight_decay": 0.01}]))
        )
    for step in range(30):
        for k, value in enumerate(drawn):
            gradient = torch.randn(value.shape, generator=draw, dtype=value.dtype)
            for weights, _ in sides:
                weights[k].grad = None if (step + k) % 5 == 0 else gradient.clone()
        for _, optimizer in sides:
            optimizer.step()
    (ours, one), (theirs, other) = sides
    for a, b, value in zip(ours, theirs, drawn, strict=True):
        assert torch.equal(a, b) and (value.numel() == 0 or not torch.equal(a, value))
        assert one.state[a]["step"] == other.state[b]["step"] == 24


class Tied(nn.Module):
    """A text model that scores each word by the embedding itself."""

    def __init__(self):
        super().__init__()
        self.text = TextClassificationModel((VOCABULARY,), CLASSES)
        self.out = nn.Linear(64, VOCABULARY, bias=False)
        self.out.weight = self.text.embedding.weight

    def forward(self, data):
        return self.out(self.text.embedding(data.ids, data.offsets))[:, :CLASSES]


def test_a_weight_that_another_module_shares_is_not_attached():
    """Its gradient is dense; the result is torch's bit for bit."""
    ours = nets.drawn(0, Tied)
    theirs = copy.deepcopy(ours)
    one, other = Adam(ours.parameters(), lr=1e-2), torch.optim.Adam(theirs.parameters(), lr=1e-2, foreach=False)
    one.attach(ours)
    for batch in _batches(40):
        assert _step(ours, one, batch) == _step(theirs, other, batch)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_weight_of_another_optimizer_is_not_attached():
    """Only the classifier is handed over, so the embedding is neither moved nor kept from its own gradient."""
    model = nets.text_model()
    before = model.embedding.weight.detach().clone()
    optimizer = Adam(model.fc.parameters(), lr=1e-2)
    optimizer.attach(model)
    for data, target in nets.text_batches(30, 3, (4, 4)):
        _step(model, optimizer, (data, target))
    assert torch.equal(model.embedding.weight, before)
    assert model.embedding.weight.grad is not None


def test_parameter_groups_have_learning_rates_of_their_own():
    ours, theirs = _pair(attach=False)
    pairs = []
    for kind, model in ((Adam, ours[0]), (torch.optim.Adam, theirs[0])):
        groups = [{"params": model.fc.parameters(), "lr": 1e-3}, {"params": model.embedding.parameters(), "lr": 2e-2}]
        pairs.append((model, kind(groups)))
    pairs[0][1].attach(pairs[0][0])
    for batch in _batches(100):
        for pair in pairs:
            _step(*pair, batch)
    pairs[0][1].catch_up()
    for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)


@pytest.mark.parametrize("decay", [0.0, 1e-2])
@pytest.mark.parametrize("attach", [True, False])
def test_a_later_optimizer_takes_over(decay, attach):
    """Rows or not: the first optimizer no longer keeps the embedding from being trained."""
    ours, theirs = _pair()
    batches = _batches(120)
    for batch in batches[:60]:
        _step(*ours, batch)
        _step(*theirs, batch)
    ours[1].catch_up()
    second = (ours[0], Adam(ours[0].parameters(), lr=2e-3, weight_decay=decay))
    if attach:
        second[1].attach(ours[0])
    else:
        copied = copy.deepcopy(ours[0])  # a copy is free of the optimizer of its original
        second = (copied, Adam(copied.parameters(), lr=2e-3, weight_decay=decay))
    dense = (theirs[0], torch.optim.Adam(theirs[0].parameters(), lr=2e-3, weight_decay=decay))
    for batch in batches[60:]:
        _step(*second, batch)
        _step(*dense, batch)
    _assert_equal(second, dense)


def test_a_copy_holds_the_weights_of_the_present_step():
    """Also where rows of the original are behind."""
    ours, theirs = _pair()
    for batch in _batches(60):
        _step(*ours, batch)
        _step(*theirs, batch)
    twin = copy.deepcopy(ours[0])
    torch.testing.assert_close(twin.embedding.weight, theirs[0].embedding.weight, rtol=0, atol=1e-8)


# --- together with the rest of the house ---------------------------------------------------------------------------


def _trained():
    """A model with an attached optimizer, all rows caught up, and a copy that never had an optimizer."""
    (model, optimizer), _ = _pair()
    for batch in _batches(30):
        _step(model, optimizer, batch)
    optimizer.catch_up()
    nets.mask_at_random(model, 0.05)
    bare = TextClassificationModel((VOCABULARY,), CLASSES)
    bare.load_state_dict(model.state_dict())
    return model, bare


def test_stand_in_weights_are_read_not_the_optimizers():
    """A call with other weights (torch.func) is answered from those, whether they require gradients or not."""
    model, bare = _trained()
    data = _batches(1, seed=3)[0][0]
    for needed in (False, True):
        other = {name: torch.full_like(p, 0.5, requires_grad=needed) for name, p in bare.named_parameters()}
        assert torch.equal(functional_call(model, other, (data,)), functional_call(bare, other, (data,)))


def test_dead_units_are_found_while_an_optimizer_is_attached(shipped):
    model, bare = _trained()
    assert dead.find(model, (VOCABULARY,)).report() == dead.find(bare, (VOCABULARY,)).report()


@pytest.mark.parametrize("kind", [Rand, Mag, SNIP, GraSP, SynFlow])
def test_scores_are_the_same_while_an_optimizer_is_attached(kind):
    """And scoring leaves the weights bit for bit, and no gradient for the next step."""
    model, bare = _trained()
    before = copy.deepcopy(model.state_dict())
    scores = []
    for network in (model, bare):
        pruner = kind(generator.masked_parameters(network))
        pruner.score(network, nets.CROSS_ENTROPY, _batches(2, seed=5), nets.CPU)
        scores.append(pruner.scores["fc.weight"])
    assert torch.equal(*scores)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_scoring_between_steps_does_not_move_training():
    ours, theirs = _pair()
    for step, batch in enumerate(_batches(60)):
        if step % 20 == 11:
            for kind in (SNIP, GraSP, SynFlow):
                pruner = kind(generator.masked_parameters(ours[0]))
                pruner.score(ours[0], nets.CROSS_ENTROPY, _batches(2, seed=5), nets.CPU)
        _step(*ours, batch)
        _step(*theirs, batch)
    _assert_equal(ours, theirs)


# --- quadrature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_gauss_is_exact_up_to_degree_2n_minus_1_and_no_further(order):
    """On random discrete measures, three at a time."""
    draw = np.random.default_rng(order)
    points, weights = draw.uniform(0.1, 2.0, (3, 40)), draw.uniform(0.1, 1.0, (3, 40))
    nodes, masses = gauss(points, weights, order)
    assert nodes.shape == masses.shape == (3, order)
    assert (masses > 0).all() and (nodes > points.min(1)[:, None] - 1e-12).all()
    assert (nodes < points.max(1)[:, None] + 1e-12).all()
    for degree in range(2 * order):
        truth = (weights * points**degree).sum(1)
        np.testing.assert_allclose((masses * nodes**degree).sum(1), truth, rtol=1e-10)
    # Of the next degree the rule misses the squared distance to the nodes, which is what it must miss.
    missing = (weights * np.prod((points[:, :, None] - nodes[:, None, :]) ** 2, axis=2)).sum(1)
    error = (weights * points ** (2 * order)).sum(1) - (masses * nodes ** (2 * order)).sum(1)
    np.testing.assert_allclose(error, missing, rtol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 4, 7])
def test_gauss_of_a_fine_even_measure_is_gauss_legendre(order):
    points = (np.arange(20_000) + 0.5) / 10_000 - 1
    nodes, masses = gauss(points[None], np.full((1, 20_000), 1e-4), order)
    truth, weights = np.polynomial.legendre.leggauss(order)
    np.testing.assert_allclose(nodes[0], truth, atol=1e-7)
    np.testing.assert_allclose(masses[0], weights, atol=1e-7)


def test_gauss_of_as_many_nodes_as_points_is_the_measure():
    points, weights = np.array([[0.2, 0.5, 0.9]]), np.array([[1.0, 2.0, 0.5]])
    nodes, masses = gauss(points, weights, 3)
    np.testing.assert_allclose(nodes, points, rtol=1e-12)
    np.testing.assert_allclose(masses, weights, rtol=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.98), (0.5, 0.9), (0.95, 0.999), (0.0, 0.999), (0.1, 0.5)])
def test_the_tail_is_the_sum_over_all_steps_to_come(betas, shipped):
    """Sum over j >= 0 of a_j / (b_j s + eps), by its definition, term by term, early and late, for s from 0 to 1e4."""
    tail, (beta1, beta2) = Tail(*betas), betas
    for step in (1, 2, 3, 5, 10, 31, 100, 255, 256, 300, 1_000, 2_000):
        for eps in (1e-8, 1e-4):
            for s in (0.0, 1e-12, 1e-9, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e4):
                terms = []
                for j in range(1_200):
                    a = beta1**j / (1 - beta1 ** (step + j))
                    b = math.sqrt(beta2**j / (1 - beta2 ** (step + j)))
                    if a == 0:
                        break
                    terms.append(a / (b * s + eps))
                found = math.fsum(weight / (node * s + eps) for node, weight in tail.rule(step))
                assert found == pytest.approx(math.fsum(terms), rel=2e-7), (step, eps, s)


def test_a_rule_does_not_depend_on_when_it_is_asked_for():
    forwards, backwards = Tail(0.9, 0.999), Tail(0.9, 0.999)
    steps = [1, 2, 7, 300, 900]
    one = [forwards.rule(step) for step in steps]
    assert one == [backwards.rule(step) for step in reversed(steps)][::-1]
    assert all(rule for rule in one)
