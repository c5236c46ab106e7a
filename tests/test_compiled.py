"""The loops of adam.c against torch's calls, bit for bit, and against float64."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from Layers.embedding import Embedding, EmbeddingBag
from Utils.training import compiled, dense, loops
from Utils.training.adam import Adam
from Utils.training.rows import Rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytestmark = pytest.mark.skipif(loops.library() is None, reason="no C compiler")

HEIGHT = 90
WIDTHS = st.sampled_from([1, 3, 16, 50, 64, 65, 200, 1030])


class Network(nn.Module):
    """Bags of one table, then a Linear; a second lookup in the same table if `twice`."""

    def __init__(self, width, mode, twice=False, masked=False):
        super().__init__()
        self.table = EmbeddingBag(HEIGHT, width, mode)
        self.fc, self.twice = nn.Linear(width, 3), twice
        if masked:
            self.table.register_buffer("weight_mask", (torch.rand(HEIGHT, width) < 0.5).float())

    def forward(self, ids, offsets):
        found = self.table(ids, offsets)
        return self.fc(found + self.table(ids.flip(0), offsets) if self.twice else found)


def batches(count, seed):
    """Ids, many of them twice, in bags of which some are empty."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        size = int(torch.randint(1, 120, (), generator=draw))
        offsets = torch.randint(size + 1, (int(torch.randint(1, 9, (), generator=draw)),), generator=draw).sort().values
        offsets[0] = 0
        ids = (HEIGHT * torch.rand(size, generator=draw) ** 3).long()
        yield ids, offsets, torch.randint(3, offsets.shape, generator=draw)


def trained(kind, monkeypatch, seed=0, width=64, mode="mean", threads=1, between=None, shape=(), **options):
    """Return all numbers of a training of 40 steps: outputs, parameters and the optimizer's state."""
    before = torch.get_num_threads()
    monkeypatch.setattr(compiled, "kind", lambda weight: kind)
    monkeypatch.setattr(dense, "_agree", lambda: kind is compiled.Compiled)
    monkeypatch.setattr(loops, "EACH", 1)
    torch.manual_seed(seed)
    model = Network(width, mode, *shape)
    optimizer = Adam(model.parameters(), **options)
    optimizer.attach(model)
    outputs = []
    torch.set_num_threads(threads)
    try:
        for step, (ids, offsets, target) in enumerate(batches(40, seed)):
            optimizer.zero_grad()
            outputs.append(model(ids, offsets))
            F.cross_entropy(outputs[-1], target).backward()
            if between:
                optimizer = between(step, model, optimizer) or optimizer
            optimizer.step()
        assert {type(rows) for rows in optimizer._rows.values()} == {kind}
    finally:
        torch.set_num_threads(before)
    state = optimizer.state_dict()["state"]
    return [*outputs, *model.parameters(), *(value for one in state.values() for value in one.values())]


def assert_same(monkeypatch, **options):
    with monkeypatch.context() as patch:
        called = trained(Rows, patch, **options)
    with monkeypatch.context() as patch:
        looped = trained(compiled.Compiled, patch, **{"threads": 1, **options})
    assert len(called) == len(looped) > 40
    assert all(torch.equal(one, other) for one, other in zip(called, looped, strict=True))
    assert any(value.ne(0).any() for value in looped[-4:])


@given(
    seed=st.integers(0, 10**6),
    width=WIDTHS,
    mode=st.sampled_from(["mean", "sum", "max"]),
    threads=st.sampled_from([1, 3]),
    betas=st.sampled_from([(0.9, 0.999), (0.9, 0.98), (0.0, 0.9), (0.7, 0.5)]),
    eps=st.sampled_from([1e-8, 1e-4, 1e-12]),
    lr=st.sampled_from([1e-3, 0.3]),
    shape=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=15, deadline=None)
def test_a_training_has_the_bits_of_torchs_calls(seed, width, mode, threads, betas, eps, lr, shape):
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = {"seed": seed, "width": width, "mode": mode, "threads": threads, "shape": shape}
        assert_same(monkeypatch, **given, betas=betas, eps=eps, lr=lr)


def _rates(step, model, optimizer):
    optimizer.param_groups[0]["lr"] = 1e-3 * (1 + step % 3)


def _read(step, model, optimizer):
    if step % 4 == 1:
        model.state_dict()
    if step % 5 == 1:
        optimizer.catch_up()


def _clipped(step, model, optimizer):
    nn.utils.clip_grad_norm_([*model.parameters(), *optimizer.gradients()], 0.1)


def _resumed(step, model, optimizer):
    """Another optimizer goes on from the state, after an update of its own."""
    if step != 20:
        return None
    optimizer.step()
    state, after = optimizer.state_dict(), Adam(model.parameters())
    after.load_state_dict(state)
    after.attach(model)
    after.zero_grad()
    ids, offsets, target = next(batches(1, 99))
    F.cross_entropy(model(ids, offsets), target).backward()
    return after


@pytest.mark.parametrize("between", [_rates, _read, _clipped, _resumed])
@pytest.mark.parametrize("shape", [(False, False), (True, True)])
def test_what_happens_between_gradient_and_step_changes_no_bit(between, shape, monkeypatch):
    """Other rates, weights that are read, clipped gradients, a training that is resumed."""
    assert_same(monkeypatch, between=between, shape=shape)


def test_the_training_is_dense_adams_in_float64(monkeypatch):
    """In all weights, to what float32 keeps."""
    looped = trained(compiled.Compiled, monkeypatch, lr=1e-3)
    torch.manual_seed(0)
    model = Network(64, "mean").double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for ids, offsets, target in batches(40, 0):
        optimizer.zero_grad()
        F.cross_entropy(
            F.linear(F.embedding_bag(ids, model.table.weight, offsets), *model.fc.parameters()), target
        ).backward()
        optimizer.step()
    for found, wanted in zip(looped[40:43], model.parameters(), strict=True):
        assert (found - wanted).abs().median() < 1e-6 < wanted.abs().max()


@given(seed=st.integers(0, 10**6), width=WIDTHS, mode=st.sampled_from(["mean", "sum"]))
@settings(max_examples=60, deadline=None)
def test_bags_and_their_gradients_are_those_of_float64(seed, width, mode):
    torch.manual_seed(seed)
    weight = torch.randn(HEIGHT, width)
    exact = weight.double().requires_grad_()
    rows = compiled.Compiled(weight, {}, {"betas": (0.9, 0.999), "eps": 1e-8, "lr": 0.0})
    for ids, offsets, _ in batches(2, seed):
        named, table, indices = rows.look_up(ids)
        found, wanted = rows.bag(indices, table, offsets, mode), F.embedding_bag(ids, exact, offsets, mode=mode)
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
        slope = torch.randn(found.shape[::-1]).t()
        found.backward(slope)
        (truth,) = torch.autograd.grad(wanted, exact, slope.double())
        gradient = torch.zeros(HEIGHT, width).index_copy_(0, named, rows.gathered().grad)
        torch.testing.assert_close(gradient.double(), truth, atol=1e-5, rtol=1e-5)
        rows.forget()


def test_bags_may_be_changed_in_place_and_lookups_forgotten():
    model = Network(5, "mean")
    optimizer = Adam(model.parameters())
    optimizer.attach(model)
    (rows,) = optimizer._rows.values()
    for _ in range(2):
        model.table(torch.tensor([1, 1, 2]), torch.tensor([0])).relu_().sum().backward()
        assert len(rows.pending) == 1
        optimizer.zero_grad()
        assert rows.pending == []
        assert optimizer.gradients() == []


def test_an_embedding_that_is_no_bag_moves_the_same(monkeypatch):
    found = []
    for kind in (Rows, compiled.Compiled):
        monkeypatch.setattr(compiled, "kind", lambda weight, kind=kind: kind)
        torch.manual_seed(0)
        model = Embedding(HEIGHT, 20)
        optimizer = Adam(model.parameters())
        optimizer.attach(model)
        for ids, _, _ in batches(30, 1):
            optimizer.zero_grad()
            model(ids.view(1, -1)).pow(3).sum().backward()
            optimizer.step()
        found.append(optimizer.state_dict()["state"][0] | {"weight": model.state_dict()["weight"]})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(("ids", "offsets"), [([HEIGHT], [0]), ([-1], [0]), ([1, 2], [1]), ([1, 2], [0, 3])])
def test_ids_and_offsets_that_are_wrong_are_errors(ids, offsets):
    model = Network(4, "mean")
    optimizer = Adam(model.parameters())
    optimizer.attach(model)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.tensor(ids), torch.tensor(offsets))
    assert torch.isfinite(model(torch.tensor([1]), torch.tensor([0]))).all()


@given(
    sizes=st.lists(st.sampled_from([(1,), (0,), (5, 3), (1025,), (), (3, 2, 3, 3)]), min_size=1),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_whole_parameters_move_as_by_torchs_calls(sizes, seed):
    """Also images' kernels in another layout, gradients in a layout of their own, zero and subnormal squares."""
    draw = torch.Generator().manual_seed(seed)

    def drawn():
        values = [torch.randn(size, generator=draw) * 10.0 ** -(seed % 30) for size in sizes]
        return [
            value.to(memory_format=torch.channels_last) if value.dim() == 4 and seed % 2 else value for value in values
        ]

    numbers = [drawn() for _ in range(4)]
    numbers[3] = [value.square() * (value > 0) for value in numbers[3]]
    if seed % 3 == 0:
        numbers[1] = [value.contiguous() for value in numbers[1]]
    before, copies = ([[value.clone() for value in values] for values in numbers] for _ in range(2))
    for number in (1, 2, 1000):
        dense.move(*numbers, number, (0.9, 0.999), 1e-8, 1e-3)
        dense._called(*copies, 0.1, 0.999, 1 - 0.999, (1 - 0.999**number) ** 0.5, 1e-8, -1e-3 / (1 - 0.9**number))
    for values, others in zip(numbers, copies, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(values, others, strict=True))
    assert all(not torch.equal(one, old) for one, old in zip(numbers[2], before[2], strict=True) if one.numel())


def test_without_a_compiler_torchs_calls_do_the_same(monkeypatch, capsys):
    model = Network(8, "mean")
    loops.library.cache_clear()
    dense._agree.cache_clear()
    monkeypatch.setenv("PATH", "")
    try:
        assert compiled.kind(model.table.weight) is Rows and not dense._agree()
        said = capsys.readouterr().err  # once
        assert said.startswith("note: there is no C compiler, so torch's calls, which give the same bits")
        assert said.count("\n") == 1
    finally:
        loops.library.cache_clear()
        dense._agree.cache_clear()


def test_loops_that_round_in_another_way_are_not_used(monkeypatch, capsys):
    """A library whose functions do nothing stands for one of another processor or another torch."""

    class Idle:
        def __getattr__(self, name):
            return lambda *of: 0

    assert compiled._agree(7) and dense._agree()
    for agree, of in ((compiled._agree, (7,)), (dense._agree, ())):
        agree.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(loops, "library", Idle)
            assert not agree(*of)
        assert "note: adam.c rounds otherwise than torch does here" in capsys.readouterr().err
        agree.cache_clear()
        assert agree(*of)


def test_numbers_of_another_kind_are_left_to_torch():
    wide = torch.zeros(3, 8)
    assert compiled.kind(wide) is compiled.Compiled
    for weight in (wide.double(), wide.t(), wide.bfloat16(), wide[:0], wide.to("meta")):
        assert compiled.kind(weight) is Rows
