"""The rows of a grade sheet: ours hold, assignment one's hold where it is right, and each mistake fails its own row."""

import dataclasses
import importlib.util
import time
from importlib import import_module
from pathlib import Path

import nets
import pytest
import torch

from Experiments.grading import CHECKS, DRAWING, FORMULAS, agreement, judge, local, mistakes, training, truth
from Experiments.grading.bench import Bench
from Experiments.grading.draws import Draw
from Experiments.grading.remote import Candidate
from Pruners import pruners
from Pruners.ranking import choose, kept_count
from Utils import load

HERE = Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("assignment_one", HERE / "students" / "assignment_one.py")
assert SPEC and SPEC.loader
published = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(published)

NETWORKS = ("the MLP, biases too", "the net with BatchNorm", "the text classifier")


def sheet(kind: type, name: str | None, *groups: str, only: str = "") -> dict[str, dict]:
    """{row's name: its content} of these groups, made in this process. only: rows whose names begin so."""
    request = judge.Request("", kind.__name__, "", name, list(groups))
    with local.candidate(kind) as candidate:
        rows = judge.rows(request, candidate, {}, only)
    assert len({row["name"] for row in rows}) == len(rows) > 0
    return {row["name"]: row for row in rows}


def bench_of(name: str, secret: bytes = b"") -> Bench:
    """A bench with ours, and the numbers of a secret."""
    draw = Draw.of(secret, "") if secret else Draw()
    return Bench(local.candidate(load.pruner(name)), name, draw)


def failed(rows: dict[str, dict]) -> dict[str, str]:
    return {name: row["found"] for name, row in rows.items() if not row["ok"]}


def student(base: type, **methods) -> type:
    return type(base.__name__, (base,), methods)


# --- who passes ----------------------------------------------------------------------------------------------------


def test_every_pruner_has_a_reference():
    assert set(nets.PRUNERS) <= set(FORMULAS) == set(load.PRUNERS)
    assert set(truth.REFERENCES) == set(mistakes.OF_EACH) == set(FORMULAS) - {"rand"}


@pytest.mark.parametrize("name", nets.PRUNERS)
def test_the_scores_of_assignment_one_hold(name):
    kind = {kind.lower(): getattr(published, kind) for kind in ("Rand", "Mag", "SNIP", "GraSP", "SynFlow")}[name]
    assert failed(sheet(kind, name, "interface", "scores")) == {}


def test_a_class_of_no_known_name_has_no_truth_but_all_other_rows():
    rows = sheet(published.Custom, None, "interface", "scores", "counts", "effects")
    assert [rows[f"scores of {words}"]["ok"] for words in NETWORKS] == [True] * 3
    assert {"zero scores, global", "weights"} <= rows.keys()
    assert set(failed(rows)) == {
        *(f"{words}, {scope}" for words in TIED for scope in ("global", "local")),
        "shuffle()",
    }


TIED = ("scores of few values", "equal scores", "zero scores")


def test_the_published_code_prunes_too_much_at_ties_shuffles_nothing_and_leaves_gradients():
    rows = failed(sheet(published.SNIP, "snip", "counts", "effects"))
    assert set(rows) == {
        *(f"{words}, {scope}" for words in TIED for scope in ("global", "local")),
        "shuffle()",
        "stored gradients",
        "BatchNorm statistics, train mode",
    }
    assert rows["equal scores, global"].startswith("at density 0.9 0 weights stay, not 418")
    assert "written back" in rows["shuffle()"]


@pytest.mark.parametrize("name", ["rand", "grasp"])
def test_the_published_code_brings_pruned_weights_back(name):
    """Rand draws anew for all; GraSP's scores can be negative while a pruned weight's is zero."""
    rows = failed(sheet({"rand": published.Rand, "grasp": published.GraSP}[name], name, "rounds"))
    assert {"nothing pruned comes back, global", "nothing pruned comes back, local"} <= rows.keys()
    assert all("are back" in rows[f"100 rounds, {scope}"] for scope in ("global", "local"))


# --- the truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["mlp", "conv", "text"])
@pytest.mark.parametrize("name", truth.REFERENCES)
def test_no_mistake_ranks_like_the_truth(name, subject):
    """So that none passes; but for what does not bear on that score or that network."""
    trial = bench_of(name).trial(subject)
    right = _flat(truth.REFERENCES[name](trial.model, trial.names, trial.batches), trial)
    alike = {
        what
        for what, scores in mistakes.made(name, trial.model, trial.names, trial.batches)
        if agreement.alike(right, _flat(scores, trial))
    }
    idle = set()
    if name == "mag":
        idle |= {"the scores are the magnitudes |theta|"}
    if name in ("mag", "synflow", "synflow-l2"):
        idle |= {"only the first batch is used", "only the last batch is used"}
    if name == "mag" or subject != "conv":
        idle |= {"BatchNorm is in train mode: it uses the batch's statistics"}
    assert alike == idle


def _flat(scores, trial):
    return torch.cat([scores[name].flatten() for name in trial.names])


@pytest.mark.parametrize("name", truth.REFERENCES)
def test_single_precision_is_far_closer_to_the_truth_than_the_rows_ask(name):
    """The tolerance is for rounding, and ours takes less than a twentieth of it; of a small difference a fifth."""
    for subject in ("mlp", "conv", "text"):
        trial = bench_of(name).trial(subject)
        right = _flat(truth.REFERENCES[name](trial.model, trial.names, trial.batches), trial)
        found = torch.cat([score.flatten() for score in trial.score()]).double()
        assert ((found - right).abs() / agreement.blur(right)).max() < (0.2 if name in DRAWING else 0.05)


def test_ranks_are_compared_and_not_values():
    draw = torch.Generator().manual_seed(0)
    right = torch.randn(200, generator=draw, dtype=torch.float64)
    assert agreement.alike(right, right.exp()) and agreement.alike(right, 3 * right - 7)
    assert agreement.factor(right, 3 * right) == pytest.approx(3) and agreement.factor(right, right.exp()) is None
    assert agreement.factor(right, -right) is None and not agreement.alike(right, -right)
    assert not agreement.alike(right, right.abs()) and not agreement.alike(right, torch.ones_like(right))
    swapped = right.clone()
    two = right.argsort()[[50, 60]]
    swapped[two] = right[two.flip(0)]
    assert not agreement.alike(right, swapped)
    assert agreement.overlap(right, right, 0.1) == 1 and agreement.overlap(right, -right, 0.1) == 0


# --- wrong scores --------------------------------------------------------------------------------------------------


def altered(base: type, change) -> type:
    """`base` whose scores each go through `change`."""

    def score(self, *args):
        base.score(self, *args)
        for key, value in self.scores.items():
            self.scores[key] = change(value)

    return student(base, score=score)


def test_train_mode_is_named_where_there_is_batchnorm_and_its_traces_fail_too():
    class Training(published.SNIP):
        def score(self, model, loss, dataloader, device):
            model.train()
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.eval()
            super().score(model, loss, dataloader, device)

    rows = failed(sheet(Training, "snip", "scores", "effects"))
    assert rows["scores of the net with BatchNorm"].startswith("BatchNorm is in train mode")
    assert "scores of the MLP, biases too" not in rows
    assert rows["BatchNorm statistics"].startswith("changed: 1.running_mean, 1.running_var, 1.num_batches_tracked")
    assert "the model" in rows["train and eval modes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda score: score * float("nan"), "not finite"),
        (lambda score: score.sum(), "scores of 0.weight are ()"),
        (lambda score: None, "scores of 0.weight are NoneType"),
    ],
)
def test_scores_that_cannot_be_ranked_fail(change, words):
    row = sheet(altered(published.Mag, change), "mag", "scores")["scores of the MLP, biases too"]
    assert not row["ok"] and words in row["found"]


@pytest.mark.parametrize(
    ("score", "row", "words"),
    [
        (
            lambda p: torch.randn(p.shape, generator=torch.Generator().manual_seed(3)),
            "seeds decide the draw",
            "another",
        ),
        (lambda p: torch.randn(p.shape, generator=Ever.draw), "seeds decide the draw", "the same seed gives other"),
        (lambda p: torch.rand_like(p) * p.detach().abs(), "every weight is as likely to stay", "off the middle"),
        (
            lambda p: torch.randn(p.numel(), generator=fixed()).view_as(p),
            "tensors are drawn independently",
            "correlated",
        ),
    ],
)
def test_a_draw_that_is_not_random_fails(score, row, words):
    class Rand(published.Pruner):
        def score(self, model, loss, dataloader, device):
            self.scores = {id(p): score(p) for _, p in self.masked_parameters}

    found = sheet(Rand, "rand", "scores", only=row)[row]
    assert not found["ok"] and words in found["found"]


class Ever:
    draw: torch.Generator = torch.Generator().manual_seed(0)


def fixed() -> torch.Generator:
    """The same draws for every tensor, by the seed of the whole."""
    return torch.Generator().manual_seed(torch.initial_seed())


# --- wrong masks ---------------------------------------------------------------------------------------------------


def test_pruning_and_growing_again_fails():
    def mask(self, density, scope):
        """Exact counts, whatever is pruned already."""
        flat = torch.cat([score.flatten() for score in self.scores.values()])
        keep = choose(flat, torch.ones_like(flat, dtype=torch.bool), kept_count(flat.numel(), density)).chosen
        parts = keep.split([m.numel() for m, _ in self.masked_parameters])
        for part, (mask, _) in zip(parts, self.masked_parameters, strict=True):
            mask.copy_(part.view_as(mask))

    rows = failed(sheet(student(pruners.Rand, mask=mask), "rand", "counts", "rounds"))
    assert "are back" in rows["nothing pruned comes back, global"] and "are back" in rows["100 rounds, global"]
    assert "zero scores, global" not in rows and "equal scores, global" not in rows


# --- what is carried over and left behind --------------------------------------------------------------------------


def test_scores_kept_by_the_class_fail_the_row_of_two_instances():
    class Shared(published.Mag):
        def __init__(self, masked_parameters):
            super().__init__(masked_parameters)
            self.scores = Shared.everyones

        everyones = {}

    class Named(pruners.Mag):
        everyones = {}

        def score(self, *args):
            super().score(*args)
            Named.everyones.clear()
            Named.everyones.update(enumerate(self.scores.values()))

        @property
        def scores(self):
            return list(Named.everyones.values())

        @scores.setter
        def scores(self, value):
            self.__dict__["given"] = value
            Named.everyones = dict(enumerate(value.values()))

    assert not sheet(Named, "mag", "rounds")["two instances"]["ok"]
    assert "two instances" in failed(sheet(Shared, "mag", "rounds"))


@pytest.mark.parametrize(
    ("trace", "rows"),
    [
        (lambda self, model: [p.data.mul_(1.001) for _, p in self.masked_parameters], {"weights"}),
        (lambda self, model: self.masked_parameters[0][0].zero_(), {"masks"}),
        (
            lambda self, model: model[1].running_mean.add_(1),
            {"BatchNorm statistics", "BatchNorm statistics, train mode"},
        ),
        (lambda self, model: model[0].weight.requires_grad_(False), {"requires_grad"}),
        (lambda self, model: self.masked_parameters[0][0].requires_grad_(), {"requires_grad"}),
        (lambda self, model: setattr(model[0].weight, "grad", torch.ones_like(model[0].weight)), {"stored gradients"}),
        (lambda self, model: setattr(model[8].weight, "grad", None), {"stored gradients"}),
        (lambda self, model: model[1].train(not model[1].training), {"train and eval modes"}),
        (lambda self, model: model[0].register_forward_hook(lambda *_: None), {"hooks of modules"}),
        (lambda self, model: torch.rand(1), {"states of random generators"}),
        (lambda self, model: torch.set_default_dtype(torch.float64), {"settings of torch"}),
        (lambda self, model: torch.set_grad_enabled(False), {"settings of torch"}),
    ],
)
def test_what_is_left_behind_fails_its_row_alone(trace, rows):
    class Trace(pruners.Mag):
        def score(self, model, loss, dataloader, device):
            super().score(model, loss, dataloader, device)
            trace(self, model)

    try:
        assert set(failed(sheet(Trace, "mag", "effects"))) == rows
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


def test_gradients_of_zero_where_there_was_none_are_no_trace():
    class Zeros(pruners.Mag):
        def score(self, model, loss, dataloader, device):
            super().score(model, loss, dataloader, device)
            model[0].weight.grad = torch.zeros_like(model[0].weight)

    assert failed(sheet(Zeros, "mag", "effects")) == {}


def test_cost_beside_ours_is_a_ratio_of_measured_times():
    (row,) = sheet(load.pruner("snip"), "snip", "cost").values()
    assert row["figures"]["ratio"] > 0 and row["figures"]["beside"] == "snip"
    assert row["figures"]["seconds"] > 0 and f"{row['figures']['ratio']:.2f} times our snip" in row["found"]


def test_the_time_of_no_work_says_nothing():
    """Scores of ones are quick, and are not SNIP's; magnitudes, a mistake, are some work."""

    class Ones(pruners.Pruner):
        def compute(self, *_):
            return [torch.ones_like(p) for p in self.parameters]

    (row,) = sheet(Ones, "snip", "cost").values()
    assert not row["ok"] and row["found"] == "the scores have nothing of those of snip, so their time says nothing"
    (row,) = sheet(pruners.Mag, "snip", "cost").values()
    assert row["ok"]


def test_rows_that_are_left_when_time_is_over_are_not_run():
    facts: dict = {}
    with Candidate(lambda: local.Local(lambda: pruners.Mag), 60.0, ends=time.monotonic() - 1) as candidate:
        rows = judge.rows(judge.Request("", "Mag", "", "mag", ["interface", "counts"]), candidate, facts)
    assert len(rows) == 16 and facts["timed_out"]
    assert {row["found"] for row in rows} == {"not run: the time for the whole submission is over"}


def test_short_runs_are_made_of_data_sets_with_a_sample(monkeypatch):
    """One that has none is passed over, wherever it stands in the registry."""
    names = [check.name for check in training.rows(None)]
    assert names == ["3 epochs on the MNIST sample", "3 epochs on the AG News sample"]
    bare = dataclasses.replace(load.dataset("mnist"), name="bare", title="Bare", sample=None)
    known = {**load.DATASETS}
    monkeypatch.setattr(load, "DATASETS", {"bare": "", **known})
    monkeypatch.setattr(load, "dataset", lambda name, find=load.dataset: bare if name == "bare" else find(name))
    assert [check.name for check in training.rows(None)] == names


def test_all_names_of_groups_are_modules_with_rows():
    for name in (*FORMULAS, None):
        for place in CHECKS.values():
            assert all(check.expected and check.why for check in import_module(place).rows(name))
