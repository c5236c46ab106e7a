"""A recipe of one's own has no duties but its steps: it runs, goes on after a kill, and is reported."""

import os
import signal
from pathlib import Path

import pytest
import torch
import toy_recipe
from calls import ask
from test_resume import begin, ended, whole

from Experiments import checkpoint, workshop
from Utils import load
from Utils.machine import seeds
from Utils.store import run as store

TOY = "--experiment toy --dataset mnist --model fc --compression 0.7 --pruner rand --lr-drops 2"
SAVED = ["warm 1", "search 0.5 1", "prune 1", "search 0.2 1", "prune 2", "end 1", "end 2"]  # the checkpoints, in order


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(load.EXPERIMENTS, "toy", toy_recipe.__name__)


@pytest.fixture
def made(monkeypatch):
    """made(body): from now on the toy recipe is that body."""
    return lambda body: monkeypatch.setattr(toy_recipe, "make", body)


def replaced(monkeypatch, times: int) -> None:
    """Kill this process as it puts its checkpoint number `times` in place; the one before is what is left."""
    replace, seen = Path.replace, []

    def dying(self, target):
        if Path(target).name == store.CHECKPOINT:
            seen.append(self)
            if len(seen) == times:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)


def test_it_goes_on_to_the_same_bits_after_a_kill(tmp_path, sample_data, monkeypatch):
    """Between a pruning and the rewinding that follows it; and after a rewinding, where the schedule is new."""
    assert ended(begin(TOY, tmp_path / "whole", sample_data)) == 0
    wanted = whole(tmp_path / "whole")
    assert [line["phase"] for line in wanted["result.json"]["epochs"]] == [
        "warm", "search 0.5", "search 0.2", "end", "end"
    ]  # fmt: skip
    for last in ("prune 1", "prune 2", "end 1"):
        k = SAVED.index(last) + 2  # the checkpoint that is never whole
        results, said = tmp_path / str(k), tmp_path / "said"
        with monkeypatch.context() as patch:
            replaced(patch, k)
            assert ended(begin(TOY, results, sample_data)) == -signal.SIGKILL
        assert ended(begin(TOY, results, sample_data, said)) == 0
        (line,) = (line for line in said.read_text().splitlines() if line.startswith("Going on"))
        assert last in line
        assert whole(results) == wanted, last


def test_it_is_reported(cli, tmp_path, sample_data):
    outcome = cli(TOY)
    assert {"final", "dead", "signal"} <= outcome.result.keys() and "init" not in outcome.result
    assert outcome.result["parameters"]["prunable_kept"] == outcome.result["parameters"]["prunable"] // 5
    assert "Final" in outcome.out and "Init." not in outcome.out
    code, out, _ = ask(f"--experiment report --store {outcome.results} --report-dir {tmp_path / 'report'}", sample_data)
    assert code == 0 and out.startswith("1 run, 1 task.")
    assert outcome.path.name in (tmp_path / "report" / "tables" / "settings.csv").read_text(encoding="utf-8")


def test_a_recipe_that_does_nothing_has_a_result(cli, made):
    """The figures of the untouched network, without those of moments that it does not have."""
    made(lambda shop: shop.result())
    outcome = cli(TOY)
    assert outcome.result.keys().isdisjoint({"init", "pre_prune", "post_prune", "final", "signal"})
    assert outcome.result["dead"]["accuracy_cap"] == 100.0 and outcome.result["kept_by_tie"] == 0.0
    assert "Train results" not in outcome.out and "Dead: nothing" in outcome.out


def test_a_point_takes_over_figures_only_where_nothing_has_happened_since(cli, made, monkeypatch):
    def make(shop):
        shop.measure("first")
        shop.mark()
        shop.measure("second")
        shop.prune(0.1)
        shop.measure("third")
        shop.fit("none", 0)
        shop.measure("fourth")
        shop.rewind()
        shop.measure("final")
        return shop.result()

    made(make)
    known = []
    measure = load.evaluation(load.dataset("mnist")).measure

    def noting(self, model, loss, point, given):
        known.append((point, bool(given)))
        return measure(self, model, loss, point, given)

    monkeypatch.setattr(load.evaluation(load.dataset("mnist")), "measure", noting)
    found = cli(TOY).result
    assert known == [("first", False), ("second", True), ("third", False), ("fourth", True), ("final", False)]
    assert found["second"] == found["first"] != found["third"] == found["fourth"]


def test_a_rewinding_without_a_mark_is_refused(cli, made):
    made(lambda shop: shop.rewind())
    with pytest.raises(ValueError, match="mark"):
        cli(TOY)


def test_a_state_that_is_kept_elsewhere_is_where_another_run_begins(cli, made, tmp_path):
    """A run that starts from it ends in the bits of the run that wrote it."""
    kept = tmp_path / "kept.safetensors"

    def writes(shop):
        shop.fit("pre", 2)
        shop.prune(0.01)  # so that units are dead, of which the layers know
        checkpoint.write(kept, shop.state())
        return ends(shop)

    def starts(shop):
        assert shop.progress.done == {}
        shop.restore(checkpoint.read(kept))
        return ends(shop)

    def ends(shop):
        shop.fit("post", 2)
        shop.measure("final")
        return shop.result()

    runs = []
    for body in (writes, starts):
        made(body)
        runs.append(cli(f"{TOY} --dataset agnews --model text-classification", results=tmp_path / body.__name__))
    one, other = ({k: v for k, v in run.result.items() if k not in ("seconds", "peak_memory")} for run in runs)
    assert one == other and len(one["epochs"]) == 4
    assert (runs[0].path / "model.safetensors").read_bytes() == (runs[1].path / "model.safetensors").read_bytes()


def test_what_holds_for_the_process_is_set_before_the_workshop(cli, made, monkeypatch):
    """And making a workshop leaves it as it is: the number of threads, and torch's random generator."""
    seen = []
    build = workshop.Workshop.__init__

    def noting(self, *rest):
        seen.append((torch.get_num_threads(), torch.get_rng_state()))
        build(self, *rest)

    def stop(shop):
        seen.append((torch.get_num_threads(), torch.get_rng_state()))
        raise KeyboardInterrupt

    monkeypatch.setattr(workshop.Workshop, "__init__", noting)
    made(stop)
    assert cli(f"{TOY} --threads 2").code == 130
    (threads, state), (threads_then, state_then) = seen
    assert threads == threads_then == 2 and torch.equal(state, state_then)
    torch.manual_seed(seeds.derive(1, "noise"))
    assert torch.equal(torch.get_rng_state(), state)
